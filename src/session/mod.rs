//! One client across requests, sockets and upgrades: bytes and instants in; events, bytes and a
//! deadline out. No I/O, no clock, no rooms.

mod assembly;
mod deadlines;
mod heartbeat;
mod meter;
mod observed;
pub(crate) mod outbox;
mod packets;
mod presence;
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
use crate::observe::{self, Observer, Upgrade, Usage};
use crate::signal::Signal;
use crate::wire::engine::{self, Outgoing, Revision};
use crate::wire::socket::Namespace;
use crate::wire::{notice, socket};
use assembly::Assembly;
use heartbeat::{Heartbeat, Keeper};
pub(crate) use meter::Charged;
use meter::Meter;
pub(crate) use outbox::Full;
use outbox::{Outbox, View};
pub(crate) use presence::Presence;
use presence::Presences;
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
    /// When the client needs new credentials for TURN servers, if it has some that end.
    credentials_due: Option<Instant>,
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

/// Who sees to what is queued next, so that nobody is woken, and nothing written, for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attended {
    /// Whoever queues something.
    Nobody,
    /// Somebody who has queued something and will come once its own work is done.
    Sender,
    /// The task of the websocket: it is at work, and looks again before it waits.
    Task,
    /// The same task, once the socket takes more.
    Stuck,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    /// As whom the client was connected, the peer in `/` first.
    pub(crate) peers: Vec<(Presence, Identity)>,
}

/// Those to wake once the session's lock is released.
#[derive(Debug, Default)]
pub(crate) struct Wakes([Option<Waker>; 3]);

impl Wakes {
    pub(crate) fn wake(self) {
        self.0.into_iter().flatten().for_each(Waker::wake);
    }
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

    /// Queues one packet of the session's own; one too many ends a client that does not read.
    pub(crate) fn push(&mut self, text: Bytes) {
        self.push_packet(Outgoing::Text(text));
    }

    /// Queues a binary message, as [`push`](Self::push) does a packet.
    pub(crate) fn push_binary(&mut self, data: Bytes) {
        self.push_packet(Outgoing::Binary(data));
    }

    fn push_packet(&mut self, packet: Outgoing) {
        if self.is_closed() {
            return;
        }
        if self.keep_packet(&packet).is_err() {
            return self.close(CloseReason::SlowConsumer);
        }
        if !self.is_away() {
            self.post(packet);
        }
    }

    fn post(&mut self, packet: Outgoing) {
        let pushed = self.outbox.push(packet, self.limits.max_outbox);
        self.observer.metrics.waiting(self.outbox.cost());
        self.stirred = true;
        if pushed.is_err() {
            self.close(CloseReason::SlowConsumer);
        }
    }

    /// Queues a signal of the session's own, as [`push`](Self::push) does a packet.
    pub(crate) fn push_signal(&mut self, signal: &Signal) {
        if self.is_closed() {
            return;
        }
        let queued = self.queue(signal);
        self.stirred = true;
        if queued.is_err() {
            self.close(CloseReason::SlowConsumer);
        }
    }

    /// Queues a signal. True asks the caller to see to it once its own work is done: to write what
    /// waits, or to wake the [`carrier`](Self::take_carrier).
    pub(crate) fn enqueue(&mut self, signal: &Signal) -> Result<bool, Full> {
        self.queue(signal)?;
        Ok(!self.is_away() && self.promises())
    }

    /// The same for a signal that nobody else is to have: its text need not be made one to share.
    pub(crate) fn enqueue_only(&mut self, signal: Signal) -> Result<bool, Full> {
        if self.wire == Wire::Json || signal.attachments().is_some() || self.recovery.is_some() {
            return self.enqueue(&signal);
        }
        let packet = Outgoing::Text(signal.into_packet());
        self.outbox.push(packet, self.limits.max_outbox)?;
        self.note_queued();
        Ok(self.promises())
    }

    /// Whether whoever has queued something has to see to it.
    fn promises(&mut self) -> bool {
        let asked = self.attended == Attended::Nobody;
        if asked {
            self.attended = Attended::Sender;
        }
        asked
    }

    fn queue(&mut self, signal: &Signal) -> Result<(), Full> {
        let kept = self.keep(signal)?;
        if self.is_away() {
            self.note_queued();
            return Ok(());
        }
        let signal = kept.as_ref().unwrap_or(signal);
        let (view, text) = match self.wire {
            Wire::Engine(_) => (View::Packets, signal.packet().clone()),
            Wire::Json => (View::Json, signal.json()),
        };
        self.outbox
            .push_signal(text, signal.attachments(), view, self.limits.max_outbox)?;
        self.note_queued();
        Ok(())
    }

    /// Whoever must be woken for what was queued; nobody, if the carrier looks again by itself.
    pub(crate) fn take_carrier(&mut self) -> Option<Waker> {
        match self.attended {
            Attended::Task | Attended::Stuck => None,
            Attended::Nobody | Attended::Sender => {
                self.attended = Attended::Nobody;
                self.carrier.take()
            }
        }
    }

    /// Those who must look at the session again after the step just made. The carrier's own steps
    /// do not wake it.
    pub(crate) fn take_wakes(&mut self) -> Wakes {
        if !std::mem::take(&mut self.stirred) {
            return Wakes::default();
        }
        let carrier = match self.attended {
            Attended::Task => None,
            _ => self.carrier.take(),
        };
        Wakes([carrier, self.probe.take(), self.post.take()])
    }

    /// Ends the session, once; what is said to the client follows from the reason.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.assembly = None;
        self.note_no_upgrade(Upgrade::Abandoned);
        if self.hold(reason) {
            return;
        }
        if self.is_away() && reason == CloseReason::SlowConsumer {
            self.observer
                .metrics
                .recovery(observe::Recovery::Overflowed);
        }
        match reason {
            CloseReason::ClientClosed
            | CloseReason::TransportLost
            | CloseReason::HeartbeatTimeout
            | CloseReason::SlowConsumer
            | CloseReason::Stalled => self.outbox.clear(),
            CloseReason::Kicked | CloseReason::Banned if self.wire != Wire::Json => {
                // Tells a Socket.IO client that the server means it, so that it stays away.
                for presence in self.presences.iter() {
                    let farewell = match &presence.namespace {
                        None => socket::DISCONNECTED,
                        Some(name) => socket::in_namespace(&socket::DISCONNECTED, name),
                    };
                    let farewell = Outgoing::Text(farewell);
                    let _ = self.outbox.push(farewell, self.limits.max_outbox);
                }
            }
            _ => {}
        }
        self.state = State::Closed {
            reason,
            last: self.state.carrier(),
            reported: false,
        };
        self.stirred = true;
    }

    /// Whether the session is over and nobody has been told.
    pub(crate) fn has_ending(&self) -> bool {
        matches!(
            self.state,
            State::Closed {
                reported: false,
                ..
            }
        )
    }

    /// The end of the session, reported once: why, and as which peers it was connected.
    pub(crate) fn take_ending(&mut self) -> Option<Ending> {
        match &mut self.state {
            State::Closed {
                reason, reported, ..
            } if !*reported => {
                *reported = true;
                let reason = *reason;
                self.note_ended(reason);
                Some(Ending {
                    reason,
                    peers: self.presences.take(),
                })
            }
            _ => None,
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
            Charged::Pause(pause) => self.heartbeat.postpone(pause),
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
