//! Redis as the bus.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, Pipeline,
    ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::link::{Broken, Bus, Connection, Gate, Line, Link, choose_cryptography};
use super::{BoxFuture, ClusterAdapter, ClusterError, Inbound, Subjects, Target};
use crate::error::Error;
use crate::id::{NodeId, RoomId};
use crate::limits::{CLUSTER_BUS_TIME, CLUSTER_OUTBOX_BYTES};
use crate::sync::lock;

/// Many nodes as one, on [Redis](https://redis.io) 6 or later, or what speaks its protocol.
///
/// It uses publish and subscribe alone: no key is written.
///
/// ```no_run
/// use peer_data_server::{PeerData, Redis, RedisOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), peer_data_server::Error> {
/// let bus = Redis::connect("redis://10.0.0.5:6379", RedisOptions::default())?;
/// let server = PeerData::builder().cluster(bus).build()?;
/// # Ok(())
/// # }
/// ```
///
/// # What goes over it
///
/// One connection, of protocol RESP3, subscribed to a channel for all nodes, one for this node, and
/// one for each room that has a member here: see [`Subjects`]. Redis sends a node also what it has
/// published itself to a room, which costs its way back.
///
/// If the server is one of a Redis Cluster, of version 7 or later, the channels are sharded ones
/// (`SSUBSCRIBE`, `SPUBLISH`), each at the server that its name belongs to, and there is a connection
/// to each server. If one of these is lost, all are made anew, and rosters are compared, as after any
/// loss. All nodes find the same, so all use the same kind of channel; an older Redis Cluster is used
/// like one server, and repeats all that is published at each of its own.
pub struct Redis {
    link: Link<RedisBus>,
}

impl Redis {
    /// An adapter for the server of a URL: `redis://user:password@host:6379`, `rediss://` with TLS.
    ///
    /// It does not connect yet: the server does, when it is built, and goes on trying while the bus
    /// is away.
    ///
    /// # Errors
    ///
    /// When the URL or a certificate cannot be read. [`Error::subject`] is `cluster`; the text does
    /// not repeat the URL, which may hold a password.
    pub fn connect(url: &str, options: RedisOptions) -> Result<Self, Error> {
        let refuse = |error: redis::RedisError| {
            Error::new("cluster", format!("not a URL of Redis: {error}"))
        };
        let info: ConnectionInfo = url.into_connection_info().map_err(refuse)?;
        let settings = info.redis_settings().clone();
        let info = info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
        let client = match &options.tls {
            Some(certificates) => Client::build_with_tls(info.clone(), certificates.clone()),
            None => Client::open(info.clone()),
        };
        let bus = RedisBus {
            client: client.map_err(refuse)?,
            info,
            tls: options.tls,
        };
        Ok(Self {
            link: Link::new(bus, options.subjects, options.queue_bytes),
        })
    }
}

impl ClusterAdapter for Redis {
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

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

/// How [`Redis`] is used.
///
/// ```
/// use peer_data_server::{RedisOptions, Subjects};
///
/// let options = RedisOptions::default().subjects(Subjects::new("shop")?);
/// # Ok::<(), peer_data_server::Error>(())
/// ```
pub struct RedisOptions {
    subjects: Subjects,
    queue_bytes: usize,
    tls: Option<TlsCertificates>,
}

impl RedisOptions {
    /// Below which prefix the channels are. Default: `peer-data`. Applications that share a bus must
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

    /// Whom to trust and as whom to come, for `rediss://`, as [`redis::TlsCertificates`] of version 1
    /// has it. Default: whom the operating system trusts, and as nobody.
    #[must_use]
    pub fn tls(mut self, certificates: TlsCertificates) -> Self {
        self.tls = Some(certificates);
        self
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            subjects: Subjects::default(),
            queue_bytes: CLUSTER_OUTBOX_BYTES,
            tls: None,
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("subjects", &self.subjects)
            .field("queue_bytes", &self.queue_bytes)
            .finish_non_exhaustive()
    }
}

struct RedisBus {
    client: Client,
    /// The same once more, for a client of all servers of a Redis Cluster.
    info: ConnectionInfo,
    tls: Option<TlsCertificates>,
}

impl Bus for RedisBus {
    type Line = RedisLine;

    async fn connect(&self, gate: Gate) -> Result<Connection<RedisLine>, Broken> {
        choose_cryptography();
        let (sender, gone) = oneshot::channel();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CLUSTER_BUS_TIME))
            .set_response_timeout(Some(CLUSTER_BUS_TIME))
            .set_push_sender(pushes(gate.clone(), sender, Arc::default()));
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let mut connection = connection.await.map_err(broken)?;
        if is_sharded(&mut connection).await {
            return self.connect_to_all(gate).await;
        }
        let line = RedisLine::One(connection);
        Ok(Connection { line, gone })
    }
}

impl RedisBus {
    /// Connects to each server of a Redis Cluster.
    async fn connect_to_all(&self, gate: Gate) -> Result<Connection<RedisLine>, Broken> {
        let (sender, gone) = oneshot::channel();
        let wanted = Arc::<Wanted>::default();
        let mut builder = ClusterClient::builder([self.info.clone()])
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(CLUSTER_BUS_TIME)
            .response_timeout(CLUSTER_BUS_TIME)
            .overall_response_timeout(Some(CLUSTER_BUS_TIME))
            // What is tried again may come twice. A channel that has moved ends the connection: the
            // next one knows where it is.
            .retries(0)
            .push_sender(pushes(gate, sender, Arc::clone(&wanted)));
        if let Some(certificates) = &self.tls {
            builder = builder.certs(certificates.clone());
        }
        let client = builder.build().map_err(broken)?;
        let connection = client.get_async_connection().await.map_err(broken)?;
        let line = RedisLine::Shards(connection, wanted);
        Ok(Connection { line, gone })
    }
}

/// Why there is no connection. What else the client says of it may name servers.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn broken(error: RedisError) -> Broken {
    match error.code() {
        _ if error.is_io_error() => Broken::by(error),
        Some(code) => Broken::by(format!("{} ({code})", error.category())),
        None => Broken::by(error.category()),
    }
}

/// Whether the server is one of several that have sharded channels.
async fn is_sharded(connection: &mut MultiplexedConnection) -> bool {
    let info = redis::cmd("INFO").arg("cluster").to_owned();
    let info: Result<String, _> = info.query_async(connection).await;
    if !info.is_ok_and(|info| info.contains("cluster_enabled:1")) {
        return false;
    }
    let known = redis::cmd("COMMAND").arg("INFO").arg("SPUBLISH").to_owned();
    let known: Result<Vec<Value>, _> = known.query_async(connection).await;
    known.is_ok_and(|known| known.first().is_some_and(|about| *about != Value::Nil))
}

/// What is done about what a server says unasked. `gone` ends with the connection.
fn pushes(
    gate: Gate,
    gone: oneshot::Sender<()>,
    wanted: Arc<Wanted>,
) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync + 'static {
    let gone = Mutex::new(Some(gone));
    move |push| {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let Some(Value::BulkString(parcel)) = push.data.into_iter().nth(1) {
                    gate.deliver(parcel.into());
                }
            }
            PushKind::Disconnection => drop(lock(&gone).take()),
            // A server that has given a channel's slot to another ends the subscription and nothing else.
            PushKind::SUnsubscribe if wanted.has(push.data.first()) => drop(lock(&gone).take()),
            _ => {}
        }
        Ok(())
    }
}

/// The sharded channels that a connection is to be subscribed to.
#[derive(Default)]
struct Wanted(Mutex<HashSet<String>>);

impl Wanted {
    fn has(&self, channel: Option<&Value>) -> bool {
        let Some(Value::BulkString(channel)) = channel else {
            return false;
        };
        let channel = std::str::from_utf8(channel);
        channel.is_ok_and(|channel| lock(&self.0).contains(channel))
    }
}

enum RedisLine {
    One(MultiplexedConnection),
    /// To all servers of a Redis Cluster.
    Shards(ClusterConnection, Arc<Wanted>),
}

impl Line for RedisLine {
    /// What Redis itself allows, unless it is told otherwise, for one string.
    fn max_parcel(&self) -> usize {
        512 << 20
    }

    async fn subscribe(&mut self, subjects: Vec<String>) -> Result<(), Broken> {
        match self {
            Self::One(connection) => connection.subscribe(subjects).await.map_err(broken),
            Self::Shards(connection, wanted) => {
                lock(&wanted.0).extend(subjects.iter().cloned());
                each(subjects, |subject| {
                    let mut connection = connection.clone();
                    async move { connection.ssubscribe(subject).await }
                })
                .await
            }
        }
    }

    async fn unsubscribe(&mut self, subjects: Vec<String>) -> Result<(), Broken> {
        match self {
            Self::One(connection) => connection.unsubscribe(subjects).await.map_err(broken),
            Self::Shards(connection, wanted) => {
                {
                    let mut wanted = lock(&wanted.0);
                    for subject in &subjects {
                        wanted.remove(subject);
                    }
                }
                each(subjects, |subject| {
                    let mut connection = connection.clone();
                    async move { connection.sunsubscribe(subject).await }
                })
                .await
            }
        }
    }

    async fn publish(&mut self, parcels: Vec<(String, Bytes)>) -> Result<(), Broken> {
        match self {
            Self::One(connection) => {
                let mut pipe = redis::pipe();
                for (subject, parcel) in &parcels {
                    pipe.cmd("PUBLISH").arg(subject).arg(&**parcel).ignore();
                }
                let answered = pipe.query_async::<()>(connection).await;
                answered.map_err(broken)
            }
            // In the order of each subject: others are at other servers.
            Self::Shards(connection, _) => {
                let mut pipes = HashMap::<String, Pipeline>::new();
                for (subject, parcel) in parcels {
                    let pipe = pipes.entry(subject.clone()).or_default();
                    pipe.cmd("SPUBLISH").arg(subject).arg(&*parcel).ignore();
                }
                each(pipes.into_values(), |pipe| {
                    let mut connection = connection.clone();
                    async move { pipe.query_async::<()>(&mut connection).await }
                })
                .await
            }
        }
    }

    /// Nothing waits: what was published was answered.
    async fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

/// Does all of it at once: what is at one server need not wait for another.
async fn each<T, F>(items: impl IntoIterator<Item = T>, act: impl Fn(T) -> F) -> Result<(), Broken>
where
    F: Future<Output = RedisResult<()>> + Send + 'static,
{
    let mut acts: JoinSet<_> = items.into_iter().map(act).collect();
    while let Some(done) = acts.join_next().await {
        done.map_err(Broken::by)?.map_err(broken)?;
    }
    Ok(())
}
