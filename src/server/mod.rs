//! The server: sessions, peers and rooms brought together, still without any framework.

mod batch;
mod bounds;
mod builder;
mod client;
mod connect;
mod connection;
mod custom;
mod dispatch;
mod drive;
mod edge;
mod environment;
mod handshake;
mod hello;
mod intake;
mod namespace;
mod opening;
mod peer;
mod policy;
mod polling;
mod request;
mod sweeper;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

pub use builder::Builder;
pub(crate) use connection::Connection;
pub use custom::{CustomEvent, Verdict};
pub(crate) use drive::{Step, with_scratch};
pub use environment::Variable;
pub use handshake::Handshake;
pub use hello::Hello;
pub use namespace::{Ack, AppEvent, Namespace};
pub(crate) use opening::{Later, Opened, SocketTask};
pub use peer::Peer;
pub use policy::{Policy, Relay};
pub(crate) use polling::{PollFuture, Post};
pub(crate) use request::Task;

use crate::broker::{Broker, Delivery, Shards, shrink};
use crate::ending::CloseReason;
use crate::id::{PeerId, RoomId, SessionId};
use crate::limits::Limits;
use crate::session::Session;
use crate::signal::Signal;
use crate::wire::intent::Paths;
use crate::wire::notice;
use client::{Arrival, Client};
use custom::CustomHook;
use edge::Edge;
use intake::Intake;
use policy::Policies;
use sweeper::Sweeper;

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
    sessions: Shards<SessionId, Arc<Client>>,
    sweeper: Sweeper,
    intake: Arc<Intake>,
    /// Events that nobody asked for.
    ignored: AtomicU64,
}

/// What the builder has settled.
struct Settings {
    paths: Paths,
    edge: Edge,
    limits: Arc<Limits>,
    expose_session_ids: bool,
    reference_compat: bool,
    custom: Option<CustomHook>,
    policies: Policies,
    keep_handshakes: Keep,
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
        Self {
            inner: Arc::new(Inner {
                sweeper: Sweeper::new(&settings.limits),
                intake: Intake::new(&settings.limits),
                settings,
                broker: Broker::new(),
                sessions: Shards::new(),
                ignored: AtomicU64::new(0),
            }),
        }
    }

    /// The limits that the server was built with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.settings.limits
    }

    /// How many peers are connected. Clients that have not asked to connect yet do not count.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.inner.broker.peer_count()
    }

    /// How many rooms have a member.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.inner.broker.room_count()
    }

    /// The rooms that have a member, in no order.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        self.inner.broker.rooms()
    }

    /// The members of a room, oldest first; nobody, if there is no such room.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<PeerId> {
        self.inner.broker.members(room.as_str()).ids().collect()
    }

    /// The rooms that a peer is in, in no order.
    #[must_use]
    pub fn rooms_of(&self, peer: &PeerId) -> Vec<RoomId> {
        self.inner.broker.rooms_of(peer)
    }

    /// Sends to one peer, whatever its rooms. Returns at once; a peer whose outbox is full is
    /// disconnected, and named in the result.
    pub fn to_peer(&self, to: &PeerId, signal: &Signal) -> Delivery {
        let delivery = self.inner.broker.to_peer(to, signal);
        self.close_slow(&delivery);
        delivery
    }

    /// Sends to everybody in a room but `except`. Returns at once; peers whose outbox is full are
    /// disconnected, and named in the result.
    pub fn to_room(&self, room: &RoomId, except: Option<&PeerId>, signal: &Signal) -> Delivery {
        let delivery = self.inner.broker.to_room(room, except, signal);
        self.close_slow(&delivery);
        delivery
    }

    /// Disconnects a peer and tells its rooms. False if there is no such peer.
    ///
    /// Over a websocket, signals that wait for the peer are still sent, and a Socket.IO client is
    /// told not to come back by itself; on long-polling, if a poll of it waits at this moment. If a message of the peer is being dealt with at this moment, its rooms are
    /// told right after it.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn disconnect(&self, peer: &PeerId) -> bool {
        let Some(peer) = self.inner.broker.mailbox(peer) else {
            return false;
        };
        self.close(&peer, CloseReason::Kicked);
        true
    }

    /// Empties a room: each member is told that each other has left, and stays connected. Returns
    /// how many members there were.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn close_room(&self, room: &RoomId) -> usize {
        let members = self.inner.broker.members(room.as_str());
        for id in members.ids() {
            // Who has left by himself meanwhile has been announced already.
            if self.inner.broker.leave(&id, room.as_str()).is_some() {
                let signal = notice::departure(&id, room.as_str());
                self.close_slow(&members.deliver(Some(&id), &signal));
            }
        }
        members.len()
    }

    /// Where the server is to be mounted.
    pub(crate) fn paths(&self) -> &Paths {
        &self.inner.settings.paths
    }

    fn register(&self, sid: SessionId, session: Session, arrival: Arrival) -> Arc<Client> {
        let echoes = self.inner.settings.dialect == Dialect::EngineEcho;
        let session = if echoes { session.bare() } else { session };
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
        peer
    }

    fn session(&self, sid: &SessionId) -> Option<Arc<Client>> {
        self.inner.sessions.lock(sid).get(sid).map(Arc::clone)
    }

    /// Ends a session from outside.
    fn close(&self, peer: &Arc<Client>, reason: CloseReason) {
        peer.close(reason);
        self.settle(peer);
    }

    fn close_slow(&self, delivery: &Delivery) {
        for id in &delivery.full {
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
        // A list, not recursion: telling a room may find the next peer that is too slow.
        let mut open = vec![Arc::clone(peer)];
        while let Some(peer) = open.pop() {
            // Asked before the turn is taken: taking it for nothing could hide an end that comes
            // meanwhile from the one who brings it.
            if !peer.with(|session| session.has_ending()) {
                continue;
            }
            let Ok(turn) = peer.turn.try_lock() else {
                continue;
            };
            let Some((_, id)) = peer.with(Session::take_ending) else {
                continue;
            };
            {
                let mut sessions = self.inner.sessions.lock(&peer.sid);
                sessions.remove(&peer.sid);
                shrink(&mut sessions);
            }
            peer.leave_seat();
            for slow in id.map(|id| self.depart(&id)).unwrap_or_default() {
                if let Some(slow) = self.inner.broker.mailbox(&slow) {
                    slow.close(CloseReason::SlowConsumer);
                    open.push(slow);
                }
            }
            drop(turn);
        }
    }

    /// Takes a peer out of all rooms and tells them. Returns those too slow to be told.
    fn depart(&self, id: &PeerId) -> Vec<PeerId> {
        let mut slow = Vec::new();
        for departure in self.inner.broker.detach(id) {
            if departure.others.is_empty() {
                continue;
            }
            let signal = notice::departure(id, departure.room.as_str());
            slow.extend(departure.others.deliver(None, &signal).full);
        }
        slow
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
