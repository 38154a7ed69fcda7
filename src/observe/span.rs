//! A span for each session, and what becomes of it. Never what clients say, nor where they come
//! from; their rooms at `DEBUG` only.

use std::fmt;

use tracing::field::Empty;
pub(crate) use tracing::span::Entered;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::{Handshake, Line};
use crate::ending::CloseReason;
use crate::error::Code;
use crate::id::{PeerId, RoomId};
use crate::identity::Identity;

/// What filters know the crate by, wherever in it something is said.
const TARGET: &str = "peer_data_server";

/// The span of one session; none, until it is told which. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Span(tracing::Span);

impl Default for Span {
    fn default() -> Self {
        Self(tracing::Span::none())
    }
}

impl Span {
    /// A session begins. Its span has no parent: it outlives the request that opened it.
    pub(crate) fn open([wire, transport]: Line) -> Self {
        let span = info_span!(
            target: TARGET,
            parent: None,
            "session",
            wire,
            transport,
            peer = Empty,
            identity = Empty
        );
        debug!(target: TARGET, parent: &span, "session opened");
        Self(span)
    }

    /// What happens until this is dropped happens in the session. Must not be held across an await.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.0.enter()
    }

    /// What the future does happens in the session.
    pub(crate) fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future.instrument(self.0.clone())
    }

    /// The client is a peer.
    pub(crate) fn connected(&self, peer: &PeerId, identity: Option<&str>) {
        self.0.record("peer", peer.as_str());
        if let Some(identity) = identity {
            self.0.record("identity", identity);
        }
        info!(target: TARGET, parent: &self.0, "peer connected");
    }

    /// A websocket carries the session from now on.
    pub(crate) fn upgraded(&self, [_, transport]: Line) {
        self.0.record("transport", transport);
        debug!(target: TARGET, parent: &self.0, "transport upgraded");
    }

    pub(crate) fn joined(&self, room: &RoomId) {
        debug!(target: TARGET, parent: &self.0, room = room.as_str(), "room joined");
    }

    pub(crate) fn left(&self, room: &RoomId) {
        debug!(target: TARGET, parent: &self.0, room = room.as_str(), "room left");
    }

    /// An event was answered with an error.
    pub(crate) fn refused(&self, code: Code) {
        debug!(target: TARGET, parent: &self.0, %code, "event refused");
    }

    pub(crate) fn ended(&self, reason: CloseReason) {
        info!(target: TARGET, parent: &self.0, %reason, "session ended");
    }
}

/// A client did not get in.
pub(crate) fn turned_away(outcome: Handshake) {
    let outcome = Handshake::TEXTS.get(outcome as usize);
    debug!(target: TARGET, outcome, "handshake refused");
}

pub(crate) fn shutdown_begun(sessions: usize) {
    info!(target: TARGET, sessions, "shutting down");
}

pub(crate) fn shutdown_done(open: usize) {
    if open == 0 {
        info!(target: TARGET, "shut down");
    } else {
        warn!(target: TARGET, open, "shut down, and some did not go in time");
    }
}

pub(crate) fn bus_connected() {
    info!(target: TARGET, "connected to the other nodes' bus");
}

pub(crate) fn bus_lost() {
    warn!(target: TARGET, "the bus is away: peers at other nodes cannot be reached");
}

/// Only buses of their own have reasons.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) fn bus_unreachable(why: &str) {
    warn!(target: TARGET, why, "no connection to the other nodes' bus; it is tried again");
}

pub(crate) fn bus_broken(why: &str) {
    error!(target: TARGET, why, "the bus will never be there");
}

pub(crate) fn node_conflict() {
    error!(target: TARGET, "another node has the same id: start this one anew");
}

/// What the application wants to be told of its clients in their spans.
#[derive(Default)]
pub(crate) struct Tracer(Option<Field>);

type Field = Box<dyn Fn(&Identity) -> Option<String> + Send + Sync>;

impl Tracer {
    pub(crate) fn new(field: impl Fn(&Identity) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(field)))
    }

    /// The `identity` of a span.
    pub(crate) fn field(&self, identity: &Identity) -> Option<String> {
        self.0.as_ref()?(identity)
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer(..)")
    }
}
