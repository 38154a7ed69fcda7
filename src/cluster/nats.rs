//! NATS as the bus.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{AbortHandle, Abortable, SelectAll, abortable};
use percent_encoding::percent_decode_str;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::link::{Broken, Bus, Complaints, Connection, Gate, Line, Link, choose_cryptography};
use super::{Backoff, BoxFuture, ClusterAdapter, ClusterError, Inbound, Subjects, Target};
use crate::error::Error;
use crate::id::{NodeId, RoomId};
use crate::limits::{CLUSTER_BATCH_BYTES, CLUSTER_BUS_TIME, CLUSTER_OUTBOX_BYTES};
use crate::sync::lock;

/// What the client holds back while it writes, in commands. Parcels are counted in bytes before.
const CLIENT_COMMANDS: usize = 128;

/// Many nodes as one, on [NATS](https://nats.io).
///
/// It uses core NATS alone: no `JetStream`, nothing is stored. Any server of version 2 will do, one or
/// a cluster of them.
///
/// ```no_run
/// use peer_data_server::{Nats, NatsOptions, PeerData};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), peer_data_server::Error> {
/// let bus = Nats::connect("nats://10.0.0.5:4222", NatsOptions::default())?;
/// let server = PeerData::builder().cluster(bus).build()?;
/// # Ok(())
/// # }
/// ```
///
/// # What goes over it
///
/// A subscription for all nodes, one for this node, and one for each room that has a member here:
/// see [`Subjects`]. A node is never sent what it has published itself.
///
/// While the server is away the client tries again, with [`Backoff`] between attempts, and also finds
/// servers of the cluster that it was told of. A few parcels, at most 128, that the client had taken
/// already may then be sent late; the queue before it is given up.
pub struct Nats {
    link: Link<NatsBus>,
}

impl Nats {
    /// An adapter for the servers of a URL: `nats://host:4222`, or `tls://host:4222`, with
    /// `user:password@` or `token@` before the host if need be; several with commas between.
    ///
    /// It does not connect yet: the server does, when it is built, and goes on trying while the bus
    /// is away.
    ///
    /// # Errors
    ///
    /// When the URL cannot be read. [`Error::subject`] is `cluster`; the text does not repeat the URL,
    /// which may hold a password.
    pub fn connect(url: &str, options: NatsOptions) -> Result<Self, Error> {
        let addresses = url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<Vec<ServerAddr>, _>>()
            .map_err(|error| Error::new("cluster", format!("not a URL of NATS: {error}")))?;
        for address in &addresses {
            if !matches!(address.scheme(), "nats" | "tls") {
                let problem = format!("{} is no scheme of NATS: nats, tls", address.scheme());
                return Err(Error::new("cluster", problem));
            }
        }
        let mut client = options.client;
        // The client reads none of this from its URLs.
        if let Some(address) = addresses.iter().find(|address| address.has_user_pass()) {
            let user = decoded(address.username());
            client = match address.password() {
                Some(password) => client.user_and_password(user, decoded(Some(password))),
                None => client.token(user),
            };
        }
        // Servers that the first one tells of have no scheme, and one that is asked again may say that it
        // needs no TLS.
        if addresses.iter().any(|address| address.scheme() == "tls") {
            client = client.require_tls(true);
        }
        let bus = NatsBus {
            addresses,
            options: client,
            presence: Arc::default(),
            client: Mutex::default(),
        };
        Ok(Self {
            link: Link::new(bus, options.subjects, options.queue_bytes),
        })
    }
}

/// As it was before it was put into a URL.
fn decoded(part: Option<&str>) -> String {
    let part = percent_decode_str(part.unwrap_or_default());
    part.decode_utf8_lossy().into_owned()
}

impl ClusterAdapter for Nats {
    fn start(&self, node: NodeId, inbound: Inbound) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(std::future::ready(self.link.start(node, inbound)))
    }

    fn publish(&self, to: Target<'_>, parcel: Bytes) -> Result<(), ClusterError> {
        self.link.publish(to, parcel)
    }

    fn interest(&self, room: &RoomId, wanted: bool) {
        self.link.interest(room, wanted);
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.link.stop())
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").finish_non_exhaustive()
    }
}

/// How [`Nats`] is used.
///
/// ```
/// use peer_data_server::{NatsOptions, Subjects};
///
/// let client = async_nats::ConnectOptions::new()
///     .require_tls(true)
///     .add_root_certificates("/etc/ssl/company.pem".into());
/// let options = NatsOptions::default()
///     .subjects(Subjects::new("shop")?)
///     .client(client);
/// # Ok::<(), peer_data_server::Error>(())
/// ```
#[derive(Clone)]
pub struct NatsOptions {
    subjects: Subjects,
    queue_bytes: usize,
    client: ConnectOptions,
}

impl NatsOptions {
    /// Below which prefix the subjects are. Default: `peer-data`. Applications that share a bus must
    /// not share a prefix.
    #[must_use]
    pub fn subjects(mut self, subjects: Subjects) -> Self {
        self.subjects = subjects;
        self
    }

    /// Bytes of parcels that may wait to be sent. Default: 16 MiB. Over it a parcel is refused, with
    /// [`ClusterError::Full`].
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// TLS, credentials and whatever else [`async_nats::ConnectOptions`] of version 0.51 has to offer,
    /// but for its callbacks of events and of delays, its capacity, `max_reconnects`,
    /// `retry_on_initial_connect` and `no_echo`, which are set here.
    #[must_use]
    pub fn client(mut self, client: ConnectOptions) -> Self {
        self.client = client;
        self
    }
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            subjects: Subjects::default(),
            queue_bytes: CLUSTER_OUTBOX_BYTES,
            client: ConnectOptions::new()
                .connection_timeout(CLUSTER_BUS_TIME)
                .ping_interval(CLUSTER_BUS_TIME),
        }
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("subjects", &self.subjects)
            .field("queue_bytes", &self.queue_bytes)
            .finish_non_exhaustive()
    }
}

struct NatsBus {
    addresses: Vec<ServerAddr>,
    options: ConnectOptions,
    presence: Arc<Presence>,
    /// It reconnects by itself, so there is one for good.
    client: Mutex<Option<Client>>,
}

/// What the client says of its connection.
struct Presence {
    is_up: watch::Sender<bool>,
    /// What has kept it from having one.
    complaints: Complaints,
    /// Of the connection that is in use. Dropped when that is gone.
    in_use: Mutex<Option<(Gate, oneshot::Sender<()>)>>,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            is_up: watch::Sender::new(false),
            complaints: Complaints::default(),
            in_use: Mutex::default(),
        }
    }
}

impl Presence {
    fn heard(&self, event: &Event) {
        match event {
            Event::SlowConsumer(_) => {
                if let Some((gate, _)) = &*lock(&self.in_use) {
                    gate.missed();
                }
            }
            Event::Connected | Event::Disconnected | Event::Closed => {
                // One that comes is another one, whatever has become of the last.
                lock(&self.in_use).take();
                if *event == Event::Connected {
                    self.complaints.forget();
                }
                self.is_up.send_replace(*event == Event::Connected);
            }
            Event::ClientError(error) => self.complaints.tell(Broken::by(error)),
            _ => {}
        }
    }
}

impl NatsBus {
    async fn client(&self) -> Result<Client, Broken> {
        if let Some(client) = lock(&self.client).clone() {
            return Ok(client);
        }
        choose_cryptography();
        let presence = Arc::clone(&self.presence);
        let backoff = Mutex::new(Backoff::default());
        let options = self
            .options
            .clone()
            .no_echo()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .client_capacity(CLIENT_COMMANDS)
            .event_callback(move |event| {
                presence.heard(&event);
                std::future::ready(())
            })
            .reconnect_delay_callback(move |attempt| {
                let mut backoff = lock(&backoff);
                if attempt <= 1 {
                    backoff.reset();
                }
                backoff.next_delay()
            });
        let client = async_nats::connect_with_options(&self.addresses, options).await;
        let client = client.map_err(|error| Broken::by(error.kind()))?;
        *lock(&self.client) = Some(client.clone());
        Ok(client)
    }
}

impl Bus for NatsBus {
    type Line = NatsLine;

    async fn connect(&self, gate: Gate) -> Result<Connection<NatsLine>, Broken> {
        let client = self.client().await?;
        let mut is_up = self.presence.is_up.subscribe();
        let there = is_up.wait_for(|is_up| *is_up).await;
        there.map(drop).map_err(Broken::by)?;
        let (sender, gone) = oneshot::channel();
        *lock(&self.presence.in_use) = Some((gate.clone(), sender));
        if !*self.presence.is_up.borrow() {
            return Err(Broken::by("it was there for a moment"));
        }
        let (subscribed, subscribers) = mpsc::unbounded_channel();
        let line = NatsLine {
            client,
            subscriptions: HashMap::new(),
            subscribed,
            reader: tokio::spawn(read(subscribers, gate)),
        };
        Ok(Connection { line, gone })
    }

    fn close(&self) {
        lock(&self.client).take();
    }
}

struct NatsLine {
    client: Client,
    /// What ends each of them, by its subject.
    subscriptions: HashMap<String, AbortHandle>,
    subscribed: mpsc::UnboundedSender<Abortable<Subscriber>>,
    reader: JoinHandle<()>,
}

/// Hands in what comes through all subscriptions of one connection.
async fn read(mut new: mpsc::UnboundedReceiver<Abortable<Subscriber>>, gate: Gate) {
    let mut all = SelectAll::new();
    loop {
        tokio::select! {
            biased;
            subscriber = new.recv() => match subscriber {
                Some(subscriber) => all.push(subscriber),
                None => return,
            },
            // Copied: it is a part of what was read at once, all of which would be kept for as long as
            // one signal of it waits for a slow receiver.
            Some(message) = all.next() => gate.deliver(Bytes::copy_from_slice(&message.payload)),
        }
    }
}

impl Line for NatsLine {
    fn max_parcel(&self) -> usize {
        self.client.server_info().max_payload
    }

    async fn subscribe(&mut self, subjects: Vec<String>) -> Result<(), Broken> {
        for subject in subjects {
            let subscriber = self.client.subscribe(subject.clone()).await;
            let (subscriber, handle) = abortable(subscriber.map_err(Broken::by)?);
            self.subscriptions.insert(subject, handle);
            self.subscribed.send(subscriber).map_err(Broken::by)?;
        }
        // The server takes subscriptions and parcels of one connection in their order.
        Ok(())
    }

    async fn unsubscribe(&mut self, subjects: Vec<String>) -> Result<(), Broken> {
        for subject in subjects {
            if let Some(handle) = self.subscriptions.remove(&subject) {
                // The reader drops it then, and its drop unsubscribes.
                handle.abort();
            }
        }
        Ok(())
    }

    async fn publish(&mut self, parcels: Vec<(String, Bytes)>) -> Result<(), Broken> {
        let mut bytes = 0;
        for (subject, parcel) in parcels {
            bytes += parcel.len();
            let sent = self.client.publish(subject, parcel).await;
            sent.map_err(Broken::by)?;
        }
        if bytes >= CLUSTER_BATCH_BYTES {
            // What the client has taken is to be bounded in bytes too.
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        self.client.flush().await.map_err(Broken::by)
    }
}

impl Drop for NatsLine {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
