//! The server: sessions, peers and rooms brought together, still without any framework.

mod batch;
mod bounds;
mod builder;
#[cfg_attr(not(feature = "metrics"), path = "without_calls.rs")]
mod calls;
mod client;
mod cluster;
mod connect;
mod connection;
mod custom;
mod dispatch;
mod drive;
mod edge;
mod environment;
mod handle;
mod handshake;
mod hello;
mod ice;
#[cfg_attr(not(feature = "inspector"), path = "without_inspection.rs")]
mod inspection;
mod intake;
mod lifecycle;
mod membership;
mod namespace;
mod observed;
mod opening;
mod outlet;
mod peer;
mod policy;
mod polling;
mod recovery;
mod request;
mod shutdown;
#[cfg(test)]
pub(crate) mod simulation;
mod sweeper;
#[cfg(feature = "tracing")]
mod trace;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Instant;

pub use builder::Builder;
pub use cluster::ClusterStatus;
pub(crate) use cluster::Post;
pub(crate) use connection::Connection;
pub use custom::{CustomEvent, Verdict};
pub(crate) use drive::{Step, with_scratch};
pub use environment::Variable;
pub use handle::JoinError;
pub use handshake::Handshake;
pub use hello::Hello;
#[cfg(feature = "inspector")]
pub(crate) use inspection::{Log, Naming, PairView, PeerView, Rate, RoomView};
pub use lifecycle::{Lifecycle, LifecycleEvent};
pub use namespace::{Ack, AppEvent, Namespace};
pub(crate) use opening::{Later, Opened, SocketTask};
pub use peer::{Peer, Wire};
pub use policy::{Policy, Relay};
pub(crate) use polling::PollFuture;
pub(crate) use request::Task;
pub(crate) use shutdown::OpenSocket;

use crate::broker::{Broker, Drawn};
use crate::clock;
use crate::ending::CloseReason;
use crate::ice::IceServers;
use crate::id::{PeerId, SessionId};
use crate::limits::Limits;
use crate::observe::{Metrics, Tracer};
use crate::session::Session;
use crate::sync::Budget;
use crate::wire::intent::Paths;
use calls::Calls;
use client::{Arrival, Client};
use cluster::Cluster;
use custom::CustomHook;
use edge::Edge;
use inspection::Inspection;
use intake::Intake;
use lifecycle::Listeners;
use policy::Policies;
use sweeper::Sweeper;
use turn::Turn;

/// A signaling server. Cloning shares it.
///
/// It does nothing until requests reach it, through [`PeerDataLayer`](crate::PeerDataLayer) or
/// [`PeerDataService`](crate::PeerDataService); the same handle lets the application look at the
/// rooms, speak to peers, and show them the door.
///
/// ```
/// use peer_data_server::{PeerData, RoomId, Signal};
///
/// let server = PeerData::new();
/// let kitchen = RoomId::new("kitchen")?;
/// assert_eq!(server.peer_count(), 0);
///
/// let signal = Signal::new("MOTD", Some(&kitchen), "Dinner is ready")?;
/// assert_eq!(server.to_room(&kitchen, None, &signal).delivered, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PeerData {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    broker: Broker<Client>,
    sessions: Drawn<SessionId, Arc<Client>>,
    sweeper: Sweeper,
    intake: Arc<Intake>,
    listeners: Listeners,
    metrics: Metrics,
    calls: Calls,
    inspection: Inspection,
    /// What waits for peers beyond what each may have for itself.
    waiting: Arc<Budget>,
    /// What is kept for peers that may come back.
    recovered: Arc<Budget>,
    /// Places in rooms that peers have.
    memberships: AtomicUsize,
    /// Events that nobody asked for.
    ignored: AtomicU64,
    /// None, where this node is all there is.
    cluster: Option<Arc<Cluster>>,
}

/// What the builder has settled.
struct Settings {
    paths: Paths,
    edge: Edge,
    limits: Arc<Limits>,
    expose_session_ids: bool,
    reference_compat: bool,
    custom: Option<CustomHook>,
    ice: Option<IceServers>,
    policies: Policies,
    keep_handshakes: Keep,
    tracer: Tracer,
    /// `/`, then the others.
    namespaces: Vec<Namespace>,
    dialect: Dialect,
}

/// How long a hook may want to know of the request that opened a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keep {
    /// Nobody asks.
    #[default]
    Never,
    /// Until the client is authorized: there is nothing else that it could connect to.
    UntilConnected,
    Always,
}

/// How much of what clients say is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dialect {
    #[default]
    Signaling,
    /// Socket.IO: a `message` is an event like any other.
    Events,
    /// Engine.IO alone: what comes is sent back.
    #[cfg_attr(not(feature = "conformance"), allow(dead_code))]
    EngineEcho,
}

impl Settings {
    /// The namespace of that name; `/` is called `None`.
    fn namespace(&self, name: Option<&str>) -> Option<&Namespace> {
        let name = name.unwrap_or("/");
        let mut namespaces = self.namespaces.iter();
        namespaces.find(|namespace| &*namespace.name == name)
    }
}

impl PeerData {
    /// A server with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Changes the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn with(settings: Settings) -> Self {
        Self::among(settings, None)
    }

    fn among(settings: Settings, cluster: Option<Arc<Cluster>>) -> Self {
        let metrics = Metrics::register();
        Self {
            inner: Arc::new(Inner {
                calls: Calls::new(&metrics),
                inspection: Inspection::default(),
                metrics,
                sweeper: Sweeper::new(&settings.limits),
                intake: Intake::new(&settings.limits),
                waiting: Arc::new(Budget::new(settings.limits.max_outbox_total)),
                recovered: Arc::new(Budget::new(settings.limits.max_recovery_total)),
                settings,
                broker: Broker::new(),
                sessions: Drawn::new(),
                listeners: Listeners::default(),
                memberships: AtomicUsize::new(0),
                ignored: AtomicU64::new(0),
                cluster,
            }),
        }
    }

    /// The limits that the server was built with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.settings.limits
    }

    /// Where the server is to be mounted.
    pub(crate) fn paths(&self) -> &Paths {
        &self.inner.settings.paths
    }

    fn register(&self, sid: SessionId, session: Session, arrival: Arrival) -> Arc<Client> {
        let echoes = self.inner.settings.dialect == Dialect::EngineEcho;
        let session = if echoes { session.bare() } else { session };
        let mut session = self.observed(session);
        session.share(Arc::clone(&self.inner.waiting));
        let due = session.poll_timeout();
        let peer = Client::new(sid, session, arrival);
        if echoes {
            // There is nothing that it could connect to.
            peer.connected();
        }
        self.inner
            .sessions
            .lock(&sid)
            .insert(sid, Arc::clone(&peer));
        self.schedule(&peer, due);
        // A ban ends the sessions that it finds; this one may have been on its way.
        if self.inner.intake.is_banned(peer.address, clock::now()) {
            self.close(&peer, CloseReason::Banned);
        }
        // So does a shutdown the sessions that it finds.
        if self.inner.intake.drain.has_begun() {
            self.close(&peer, CloseReason::ShuttingDown);
        }
        peer
    }

    fn session(&self, sid: &SessionId) -> Option<Arc<Client>> {
        self.inner.sessions.lock(sid).get(sid).map(Arc::clone)
    }

    /// Ends a session from outside.
    fn close(&self, peer: &Arc<Client>, reason: CloseReason) {
        let peer = &peer.latest();
        peer.close(reason);
        self.settle(peer);
    }

    /// The same at the next moment at which the client can be told. False: that is yet to come.
    fn close_once_heard(&self, peer: &Arc<Client>, reason: CloseReason) -> bool {
        let peer = &peer.latest();
        let is_told = peer.with(|session| session.close_once_heard(reason));
        self.settle(peer);
        is_told
    }

    fn close_slow(&self, slow: &[PeerId]) {
        for id in slow {
            if let Some(peer) = self.inner.broker.mailbox(id) {
                self.close(&peer, CloseReason::SlowConsumer);
            }
        }
    }

    /// Reports the end of a session if it is over and nobody is acting on its behalf.
    ///
    /// Whoever closes a session calls this, and whoever gives its turn back; between the two of
    /// them an end is never missed, and the session reports it only once.
    fn settle(&self, peer: &Arc<Client>) {
        let (has_ending, away_until) = peer.with(|session| {
            let has_ending = session.has_ending();
            (has_ending, session.begin_absence(clock::now()))
        });
        self.schedule(peer, away_until);
        if !has_ending {
            return;
        }
        // A list, not recursion: telling a room may find the next peer that is too slow.
        let mut open = vec![Arc::clone(peer)];
        while let Some(peer) = open.pop() {
            // Asked before the turn is taken: taking it for nothing could hide an end that comes
            // meanwhile from the one who brings it.
            if !peer.with(|session| session.has_ending()) {
                continue;
            }
            let Some(turn) = Turn::try_take(&peer) else {
                continue;
            };
            for slow in self.end(&peer).unwrap_or_default() {
                if let Some(slow) = self.inner.broker.mailbox(&slow) {
                    slow.close(CloseReason::SlowConsumer);
                    open.push(slow);
                }
            }
            drop(turn);
        }
    }

    fn schedule(&self, peer: &Client, due: Option<Instant>) {
        if let Some(due) = due {
            self.inner.sweeper.schedule(&self.inner, peer, due);
        }
    }
}

impl Default for PeerData {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PeerData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerData")
            .field("paths", &self.inner.settings.paths)
            .field("limits", &self.inner.settings.limits)
            .finish_non_exhaustive()
    }
}
