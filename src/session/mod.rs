//! One client across requests, sockets and upgrades: bytes and instants in; events, bytes and a
//! deadline out. No I/O, no clock, no rooms.

mod assembly;
mod deadlines;
mod ending;
mod heartbeat;
mod meter;
mod observed;
pub(crate) mod outbox;
mod packets;
mod presence;
mod queue;
mod recovery;
mod state;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use crate::ending::CloseReason;
use crate::error::Refused;
use crate::id::{PeerId, SessionId};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::observe::{Observer, Usage};
use crate::wire::engine::{self, Outgoing, Revision};
use crate::wire::socket::Namespace;
use crate::wire::{notice, socket};
use assembly::Assembly;
pub(crate) use ending::Ending;
use heartbeat::{Heartbeat, Keeper};
pub(crate) use meter::Charged;
use meter::Meter;
pub(crate) use outbox::Full;
use outbox::Outbox;
pub(crate) use presence::Presence;
use presence::Presences;
use queue::Attended;
pub(crate) use queue::Wakes;
pub(crate) use recovery::{Claim, Claimed, Recovery};
use state::State;
pub use state::Transport;
pub(crate) use state::{Link, Look, PollAnswer, PollRefused, Ticket, Transmit};

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Socket.IO over Engine.IO.
    Engine(Revision),
    /// Plain JSON over websocket.
    Json,
}

/// What a client asks for, once its packets are understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// To become a peer. Answered with [`Session::accept`], or with [`Session::reject`] if there
    /// is no such namespace.
    Connect {
        namespace: Namespace<'a>,
        /// The JSON object that the application's client said about itself.
        auth: Option<&'a str>,
    },
    /// A Socket.IO event: `["name", …]`, not yet checked to be JSON.
    Packet(Incoming<'a>),
    /// One signaling event as plain text.
    Json {
        sender: PeerId,
        text: &'a str,
    },
    /// A binary event over the maximum message, dropped.
    TooLarge {
        sender: Presence,
        /// The ack that the client asked for.
        ack: Option<String>,
        /// `["name", …]`.
        data: String,
        /// How many attachments it had.
        announced: usize,
    },
    /// To be that peer no longer; the connection stays. Answered with [`Session::leave`].
    Leave(Presence),
    /// Text and bytes of a client that speaks Engine.IO alone.
    BareText(&'a str),
    BareBinary(Cow<'a, [u8]>),
}

/// A Socket.IO event as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Incoming<'a> {
    /// As whom the client was connected when it said this.
    pub(crate) sender: Presence,
    /// The number of the ack that the client asks for.
    pub(crate) ack: Option<Cow<'a, str>>,
    /// `["name", …]`.
    pub(crate) data: Cow<'a, str>,
    /// Present for a binary event.
    pub(crate) attachments: Option<Vec<Bytes>>,
}

/// A time that most sessions have none of, and so no room for.
type Seldom = Option<Box<Instant>>;

/// One client. Every method is a step; between steps nothing runs.
#[allow(clippy::struct_excessive_bools)] // facts that do not depend on each other
#[derive(Debug)]
pub(crate) struct Session {
    wire: Wire,
    state: State,
    presences: Presences,
    /// Engine.IO alone: what is in its messages is not looked at.
    bare: bool,
    /// Binary must be written as base64: the client said so at the handshake.
    base64: bool,
    /// Until when the client must have asked to connect.
    connect_by: Option<Instant>,
    heartbeat: Heartbeat,
    /// Nothing of the client is read: the application decides about what it has asked for.
    unread: bool,
    ping_due: bool,
    /// Where there are rates to keep to.
    meter: Option<Box<Meter>>,
    /// Until when the websocket must have taken something of what it was given.
    stalled_by: Option<Instant>,
    /// Until when the rest must have come of a message, or of an event with attachments.
    rest_by: Seldom,
    /// When the client needs new credentials for TURN servers, if it has some that end.
    credentials_due: Seldom,
    assembly: Option<Box<Assembly>>,
    /// Where the client may come back after a loss.
    recovery: Option<Box<Recovery>>,
    outbox: Outbox,
    limits: Arc<Limits>,
    /// Whoever carries packets to the client: its socket's task or its waiting GET.
    carrier: Option<Waker>,
    /// The task of a websocket that wants to take over.
    probe: Option<Waker>,
    /// A POST whose body is still coming.
    post: Option<Waker>,
    /// Something happened that all who wait should look at.
    stirred: bool,
    attended: Attended,
    links: u32,
    usage: Usage,
    observer: Observer,
}

impl Session {
    fn new(wire: Wire, state: State, limits: &Arc<Limits>, now: Instant) -> Self {
        let keeper = match wire {
            Wire::Engine(Revision::V3) => Keeper::Client,
            Wire::Engine(Revision::V4) | Wire::Json => Keeper::Server,
        };
        Self {
            wire,
            state,
            presences: Presences::default(),
            bare: false,
            base64: false,
            connect_by: Some(now + limits.connect_timeout),
            heartbeat: Heartbeat::new(keeper, limits, now),
            unread: false,
            ping_due: false,
            meter: Meter::new(limits, now),
            stalled_by: None,
            rest_by: None,
            credentials_due: None,
            assembly: None,
            recovery: None,
            outbox: Outbox::default(),
            limits: Arc::clone(limits),
            carrier: None,
            probe: None,
            post: None,
            stirred: false,
            attended: Attended::Nobody,
            links: 1,
            usage: Usage::default(),
            observer: Observer::default(),
        }
    }

    /// A session that starts with long-polling. The open packet is queued.
    pub(crate) fn polling(
        revision: Revision,
        sid: &SessionId,
        base64: bool,
        limits: &Arc<Limits>,
        now: Instant,
    ) -> Self {
        let mut session = Self::new(Wire::Engine(revision), State::polling(), limits, now);
        session.base64 = base64;
        session.push_open(revision, sid, true);
        session
    }

    /// A session born on a websocket. The open packet is queued.
    pub(crate) fn socket(
        revision: Revision,
        sid: &SessionId,
        base64: bool,
        limits: &Arc<Limits>,
        now: Instant,
    ) -> (Self, Link) {
        let link = Link::FIRST;
        let mut session = Self::new(Wire::Engine(revision), State::Socket(link), limits, now);
        session.base64 = base64;
        session.push_open(revision, sid, false);
        (session, link)
    }

    /// A session on the plain JSON wire.
    pub(crate) fn json(limits: &Arc<Limits>, now: Instant) -> (Self, Link) {
        let link = Link::FIRST;
        (
            Self::new(Wire::Json, State::Socket(link), limits, now),
            link,
        )
    }

    fn push_open(&mut self, revision: Revision, sid: &SessionId, upgrades: bool) {
        let millis =
            |duration: std::time::Duration| duration.as_millis().try_into().unwrap_or(u64::MAX);
        let open = engine::open(
            revision,
            sid.as_str(),
            upgrades,
            millis(self.limits.ping_interval),
            millis(self.limits.ping_timeout),
            self.limits.max_message,
        );
        self.push(open);
    }

    pub(crate) fn wire(&self) -> Wire {
        self.wire
    }

    /// Takes no notice of Socket.IO: messages are handed out as they come.
    pub(crate) fn bare(mut self) -> Self {
        self.bare = true;
        self.connect_by = None;
        self
    }

    /// The peer that the client is connected as.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        self.presences.main()
    }

    /// Whether the client is still connected as that peer.
    pub(crate) fn is_connected(&self, presence: &Presence) -> bool {
        !self.is_closed() && self.presences.has(presence)
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether so much waits for this client that nothing more should be read from it.
    pub(crate) fn is_congested(&self, link: Link) -> bool {
        // A websocket that only wants to take over must be heard: it may relieve the session.
        self.state.carries(link) && self.outbox.cost() > self.limits.max_outbox / 2
    }

    /// Who the client is as that peer, if it is connected as that.
    pub(crate) fn identity(&self, presence: &Presence) -> Option<Identity> {
        self.presences.identity(presence).cloned()
    }

    /// What carries the client's packets; nothing, if the session is over.
    pub(crate) fn transport(&self) -> Option<Transport> {
        self.state.transport()
    }

    /// What waits for this client, in bytes.
    #[cfg(any(test, fuzzing, feature = "inspector"))]
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.cost()
    }

    /// Makes the client a peer and tells it its id; and of STUN and TURN servers, a JSON array, if its
    /// wire does that at once.
    pub(crate) fn accept(&mut self, presence: Presence, identity: Identity, ice: Option<&str>) {
        self.welcome(presence, identity, ice, false);
    }

    /// `resumed`: it was that peer before.
    fn welcome(
        &mut self,
        presence: Presence,
        identity: Identity,
        ice: Option<&str>,
        resumed: bool,
    ) {
        if self.is_closed() {
            return;
        }
        let pid = self.pid(&presence);
        let welcome = match self.wire {
            Wire::Engine(revision) => {
                socket::connected(revision, presence.id.as_str(), pid.as_deref())
            }
            Wire::Json => notice::ready(&presence.id, pid.as_deref(), resumed, ice),
        };
        let welcome = match &presence.namespace {
            None => welcome,
            Some(namespace) => socket::in_namespace(&welcome, namespace),
        };
        self.note_accepted(&presence);
        self.presences.add(presence, identity);
        self.connect_by = None;
        // Not one of those that are counted.
        self.post(Outgoing::Text(welcome));
    }

    /// Tells the client that it is not let in. It may ask again, until the connect timeout.
    pub(crate) fn refuse(&mut self, namespace: Option<&str>, refused: &Refused) {
        if let Wire::Engine(revision) = self.wire {
            let refusal = socket::refused(revision, refused.code(), refused.message());
            self.push(match namespace {
                None => refusal,
                Some(namespace) => socket::in_namespace(&refusal, namespace),
            });
        }
    }

    /// Makes the client that peer no longer; returns who it was, if it was that.
    pub(crate) fn leave(&mut self, presence: &Presence) -> Option<Identity> {
        if presence.namespace.is_none() {
            // Who comes next has asked for nothing yet.
            self.credentials_due = None;
            self.recovery = None;
        }
        let left = self.presences.remove(presence);
        self.note_left(presence, left.is_some());
        left
    }

    /// Tells the client that there is no such namespace.
    pub(crate) fn reject(&mut self, namespace: Namespace<'_>) {
        if let Wire::Engine(revision) = self.wire {
            self.push(socket::invalid_namespace(revision, namespace));
        }
    }

    /// Takes what was read of the client from its allowances; one that has gone over them for too
    /// long is ended.
    pub(crate) fn charge(&mut self, events: usize, bytes: usize, now: Instant) -> Charged {
        let Some(meter) = &mut self.meter else {
            return Charged::Free;
        };
        let charged = meter.charge(events, bytes, now);
        match charged {
            Charged::Free => {}
            Charged::Pause(pause) => {
                self.heartbeat.postpone(pause);
                if let Some(by) = &mut self.rest_by {
                    **by += pause;
                }
            }
            Charged::Spent => self.close(CloseReason::RateLimited),
        }
        charged
    }

    /// Text that came over a websocket.
    pub(crate) fn handle_text<'a>(
        &mut self,
        link: Link,
        text: &'a str,
        now: Instant,
    ) -> Option<Event<'a>> {
        if !self.state.carries(link) {
            self.handle_probe(link, text, now);
            return None;
        }
        self.attended = Attended::Task;
        let Wire::Engine(revision) = self.wire else {
            self.heartbeat.answered(&self.limits, now);
            self.rest_by = None;
            let sender = self.peer()?;
            return Some(Event::Json { sender, text });
        };
        let packet = engine::decode_text(revision, text);
        self.handle_packet(packet, now)
    }

    /// Bytes that came over a websocket as a binary message.
    pub(crate) fn handle_binary<'a>(
        &mut self,
        link: Link,
        data: &'a [u8],
        now: Instant,
    ) -> Option<Event<'a>> {
        if !self.state.carries(link) {
            self.reject_probe(link);
            return None;
        }
        self.attended = Attended::Task;
        let Wire::Engine(revision) = self.wire else {
            self.close(CloseReason::BinaryNotAccepted);
            return None;
        };
        let packet = engine::decode_binary(revision, data);
        self.handle_packet(packet, now)
    }

    /// Any websocket frame of a plain JSON client shows that it lives.
    pub(crate) fn handle_frame(&mut self, link: Link, now: Instant) {
        if self.wire == Wire::Json && self.state.carries(link) {
            let took = self.heartbeat.answered(&self.limits, now);
            self.observer.metrics.heartbeat(took);
        }
    }

    /// A pong does, and that all has come which was said before the ping.
    pub(crate) fn handle_pong(&mut self, link: Link, now: Instant) {
        self.handle_frame(link, now);
        if let Some(recovery) = &mut self.recovery
            && self.wire == Wire::Json
            && self.state.carries(link)
        {
            recovery.answered();
        }
    }
}
