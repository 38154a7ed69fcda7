//! Which transport carries the session, and how one takes over from another.
//!
//! ```text
//!            websocket opens        "5" on the probe
//!   Polling ─────────────────▶ Polling + probe ─────▶ Socket
//!      ▲                             │                  │
//!      └── probe closes, errs, ──────┘                  │
//!          or is too late                               │
//!      │                                                ▼
//!      └───────────── close, loss, silence ─────────▶ Closed
//!
//! Where clients may come back, a loss leads to `Away` first.
//! ```

use std::task::{Poll, Waker};
use std::time::Instant;
use std::{fmt, mem};

use super::{Attended, Session, Wire};
use crate::ending::CloseReason;
use crate::observe::Upgrade;
use crate::wire::engine::{self, Outgoing, Revision};
use crate::wire::payload::{self, Encoded};
use crate::wire::segments::Segments;

/// What carries the packets of a client at the moment.
///
/// A Socket.IO client mostly begins with long-polling and goes on over a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// One HTTP request after the other, each waiting for something to say.
    Polling,
    /// One websocket.
    Websocket,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Polling => "polling",
            Self::Websocket => "websocket",
        })
    }
}

/// One websocket of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(u32);

impl Link {
    pub(super) const FIRST: Self = Self(0);
}

/// One GET of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

#[derive(Debug)]
pub(super) enum State {
    Polling(Polling),
    Socket(Link),
    /// The connection is lost, and the client may come back as the same peer: see `recovery`.
    Away {
        reason: CloseReason,
        last: Option<Link>,
        /// Unknown until somebody with a clock has looked.
        until: Option<Instant>,
        /// A client that has come back is about to be the peer.
        claimed: bool,
    },
    Closed {
        reason: CloseReason,
        /// The websocket that carried the session to its end, and may still drain it.
        last: Option<Link>,
        reported: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Polling {
    get: Option<Ticket>,
    probe: Option<Probe>,
    /// The session ends for that reason as soon as there is a way to tell the client.
    pub(super) leaving: Option<CloseReason>,
}

/// A websocket that wants to take over.
#[derive(Debug)]
struct Probe {
    link: Link,
    until: Instant,
    /// What its own handshake said of binary: it counts once the websocket carries the session.
    base64: bool,
    stage: Stage,
}

/// How far a websocket has come that wants to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has said nothing.
    Open,
    /// `2probe` has come, and is to be answered.
    Asked,
    Answered,
    /// All that has come over it is read: a `5` that was said before the waiting GET was sent would have
    /// been found. The GET is let go, so that the client can say `5`.
    HeardOut,
}

/// How a websocket's task finds its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// There is nothing more for this websocket to carry.
    Over,
    Open {
        /// It carries the session, and does not only want to.
        carries: bool,
        /// There is something to write.
        waiting: bool,
        /// So much waits that nothing more should be read.
        congested: bool,
    },
}

impl State {
    pub(super) fn polling() -> Self {
        Self::Polling(Polling::default())
    }

    pub(super) fn carries(&self, link: Link) -> bool {
        matches!(self, Self::Socket(current) if *current == link)
    }

    pub(super) fn carrier(&self) -> Option<Link> {
        match self {
            Self::Socket(link) => Some(*link),
            Self::Away { last, .. } => *last,
            _ => None,
        }
    }

    pub(super) fn transport(&self) -> Option<Transport> {
        match self {
            Self::Polling(_) => Some(Transport::Polling),
            Self::Socket(_) => Some(Transport::Websocket),
            Self::Away { .. } | Self::Closed { .. } => None,
        }
    }

    /// Whether a websocket carries the session, or carried it to its end.
    pub(super) fn is_on_socket(&self) -> bool {
        matches!(
            self,
            Self::Socket(_) | Self::Away { last: Some(_), .. } | Self::Closed { last: Some(_), .. }
        )
    }

    fn probe(&mut self, link: Link) -> Option<&mut Probe> {
        match self {
            Self::Polling(polling) => polling.probe.as_mut().filter(|probe| probe.link == link),
            _ => None,
        }
    }

    fn leaving(&self) -> Option<CloseReason> {
        match self {
            Self::Polling(polling) => polling.leaving,
            _ => None,
        }
    }

    pub(super) fn drop_probe(&mut self) {
        if let Self::Polling(polling) = self {
            polling.probe = None;
        }
    }

    pub(super) fn upgrade_by(&self) -> Option<Instant> {
        match self {
            Self::Polling(polling) => polling.probe.as_ref().map(|probe| probe.until),
            _ => None,
        }
    }
}

/// What a waiting GET is answered.
#[derive(Debug)]
pub(crate) struct PollAnswer(pub(crate) Encoded);

/// Why a request cannot use the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollRefused {
    /// The session is over.
    Gone,
    /// It is on another transport, or a GET is waiting already.
    BadRequest,
}

/// What a websocket's task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transmit {
    /// Write what was handed out, and come again.
    Open,
    /// Write what was handed out, then close; with the session's reason, if it is over.
    Close(Option<CloseReason>),
}

impl Session {
    /// A GET that wants what there is to send.
    ///
    /// A second one at a time ends the session: the first is answered with a close packet.
    pub(crate) fn open_poll(&mut self) -> Result<Ticket, PollRefused> {
        self.links = self.links.wrapping_add(1);
        let ticket = Ticket(self.links);
        match &mut self.state {
            State::Away { .. } | State::Closed { .. } => Err(PollRefused::Gone),
            State::Socket(_) => Err(PollRefused::BadRequest),
            State::Polling(Polling { get: Some(_), .. }) => {
                self.close(CloseReason::OverlappingPolls);
                Err(PollRefused::BadRequest)
            }
            State::Polling(polling) => {
                polling.get = Some(ticket);
                self.stalled_by = None;
                if let Some(Probe { stage, .. }) = &mut polling.probe
                    && *stage == Stage::HeardOut
                {
                    *stage = Stage::Answered;
                }
                self.stirred = true;
                if let Some(reason) = polling.leaving {
                    self.close(reason);
                }
                Ok(ticket)
            }
        }
    }

    /// The answer for a GET, once there is one; none for a client that has just moved to a
    /// websocket and asks all the same.
    ///
    /// `base64`: this answer cannot carry binary, whatever the handshake said.
    pub(crate) fn poll_answer(
        &mut self,
        ticket: Ticket,
        base64: bool,
        waker: &Waker,
    ) -> Poll<Result<PollAnswer, PollRefused>> {
        let over = match &mut self.state {
            State::Away { reason, .. } | State::Closed { reason, .. } => Some(*reason),
            State::Polling(polling) if polling.get == Some(ticket) => {
                let probe = polling.probe.as_ref();
                let upgrading = probe.is_some_and(|probe| probe.stage == Stage::HeardOut);
                if self.outbox.is_empty() && !upgrading {
                    self.carrier = Some(waker.clone());
                    return Poll::Pending;
                }
                polling.get = None;
                None
            }
            // A websocket has taken over meanwhile; it was there when the client sent this GET.
            State::Socket(link) if link.0 < ticket.0 => {
                return Poll::Ready(Err(PollRefused::BadRequest));
            }
            _ => {
                let noop = [Outgoing::Text(engine::NOOP)];
                return Poll::Ready(Ok(self.payload(&noop, base64)));
            }
        };
        // The last answer takes all that is left: no GET comes after it.
        let budget = over.map_or(self.limits.max_message, |_| usize::MAX);
        let mut packets = self.outbox.take(budget);
        match over {
            Some(CloseReason::ClientClosed) => packets.push(Outgoing::Text(engine::NOOP)),
            Some(_) => packets.push(Outgoing::Text(engine::CLOSE)),
            None if packets.is_empty() => packets.push(Outgoing::Text(engine::NOOP)),
            None => {}
        }
        Poll::Ready(Ok(self.payload(&packets, base64)))
    }

    /// What is queued, as the answer to the handshake itself.
    pub(crate) fn first_answer(&mut self, base64: bool) -> PollAnswer {
        let packets = self.outbox.take(self.limits.max_message);
        self.payload(&packets, base64)
    }

    fn payload(&mut self, packets: &[Outgoing], base64: bool) -> PollAnswer {
        let revision = match self.wire {
            Wire::Engine(revision) => revision,
            Wire::Json => Revision::V4,
        };
        let encoded = payload::encode(revision, packets, base64 || self.base64);
        self.note_sent(encoded.body.len());
        PollAnswer(encoded)
    }

    /// The client cut a GET before it was answered.
    pub(crate) fn drop_poll(&mut self, ticket: Ticket) {
        if matches!(&self.state, State::Polling(polling) if polling.get == Some(ticket)) {
            self.close(CloseReason::TransportLost);
        }
    }

    /// Has a GET answered that waits, with nothing if there is nothing to say.
    pub(crate) fn let_poll_go(&mut self) {
        let waits = matches!(&self.state, State::Polling(polling) if polling.get.is_some());
        if waits && self.outbox.is_empty() {
            self.push(engine::NOOP);
        }
    }

    /// Whether the client is on long-polling, and no GET of its waits.
    pub(crate) fn is_between_polls(&self) -> bool {
        matches!(&self.state, State::Polling(polling) if polling.get.is_none())
    }

    /// Whether packets may come by POST.
    pub(crate) fn check_post(&self) -> Result<(), PollRefused> {
        match self.state {
            State::Polling(_) => Ok(()),
            State::Socket(_) => Err(PollRefused::BadRequest),
            State::Away { .. } | State::Closed { .. } => Err(PollRefused::Gone),
        }
    }

    /// The GET that waits while the websocket with that link may take over.
    pub(crate) fn poll_beside(&self, link: Link) -> Option<Ticket> {
        match &self.state {
            State::Polling(Polling {
                get,
                probe: Some(probe),
                ..
            }) if probe.link == link => *get,
            _ => None,
        }
    }

    /// Asks to be woken when the session ends, while a POST's body is awaited.
    pub(crate) fn wake_post(&mut self, waker: &Waker) {
        self.post = Some(waker.clone());
    }

    /// A websocket for this session. One that may not take over is told to close at once.
    pub(crate) fn open_probe(&mut self, base64: bool, now: Instant) -> Link {
        self.links = self.links.wrapping_add(1);
        let link = Link(self.links);
        let State::Polling(polling @ Polling { probe: None, .. }) = &mut self.state else {
            return link;
        };
        polling.probe = Some(Probe {
            link,
            until: now + self.limits.upgrade_timeout,
            base64,
            stage: Stage::Open,
        });
        link
    }

    /// There is nothing more to read of a websocket for now.
    pub(crate) fn hear_out(&mut self, link: Link) {
        if let Some(probe) = self.state.probe(link)
            && probe.stage == Stage::Answered
        {
            probe.stage = Stage::HeardOut;
            self.stirred = true;
        }
    }

    /// Text on a websocket that does not carry the session.
    pub(super) fn handle_probe(&mut self, link: Link, text: &str, now: Instant) {
        let Some(probe) = self.state.probe(link) else {
            return;
        };
        match text {
            "2probe" => probe.stage = Stage::Asked,
            "5" => {
                // Whatever waits goes on where it stopped, over the websocket.
                self.base64 |= probe.base64;
                let leaving = self.state.leaving();
                self.note_upgraded();
                self.state = State::Socket(link);
                self.stalled_by = None;
                self.heartbeat.heard(&self.limits, now);
                if let Some(reason) = leaving {
                    self.close(reason);
                }
            }
            _ => {
                self.note_no_upgrade(Upgrade::Abandoned);
                self.state.drop_probe();
            }
        }
        self.stirred = true;
    }

    pub(super) fn reject_probe(&mut self, link: Link) {
        if self.state.probe(link).is_some() {
            self.note_no_upgrade(Upgrade::Abandoned);
            self.state.drop_probe();
            // Whoever rejects it is its task; a waker left here would keep that in memory.
            self.probe = None;
        }
    }

    /// A websocket has closed or broken.
    pub(crate) fn close_link(&mut self, link: Link, reason: CloseReason) {
        if self.state.carries(link) {
            self.close(reason);
        } else {
            self.reject_probe(link);
        }
    }

    /// Whether a websocket has nothing more to carry.
    pub(crate) fn is_over(&mut self, link: Link) -> bool {
        !self.state.carries(link) && self.state.probe(link).is_none()
    }

    /// The websocket takes nothing of what it was handed; until when it may go on so, if it is
    /// the one that counts.
    pub(crate) fn block(&mut self, link: Link, now: Instant) -> Option<Instant> {
        if self.state.carries(link) {
            self.stalled_by = Some(now + self.limits.write_timeout);
            return self.stalled_by;
        }
        None
    }

    /// The websocket has taken something.
    pub(crate) fn unblock(&mut self, link: Link) {
        if self.state.carries(link) {
            self.stalled_by = None;
        }
    }

    /// Somebody found that the websocket takes nothing more: what is queued from now on is its
    /// task's, who is to be woken and waits for the socket.
    pub(crate) fn stick(&mut self, link: Link) -> Option<Waker> {
        if !self.state.carries(link) {
            return None;
        }
        self.attended = Attended::Stuck;
        self.carrier.take()
    }

    /// Whether the session ended because this websocket takes nothing.
    pub(crate) fn is_stalled(&self, link: Link) -> bool {
        matches!(
            self.state,
            State::Away { reason: CloseReason::Stalled, last, .. }
            | State::Closed { reason: CloseReason::Stalled, last, .. } if last == Some(link)
        )
    }

    /// Hands out what is to be written to a websocket, up to `budget` bytes.
    pub(crate) fn poll_transmit(
        &mut self,
        link: Link,
        budget: usize,
        out: &mut Segments,
    ) -> Transmit {
        if let Some(probe) = self.state.probe(link) {
            if probe.stage == Stage::Asked {
                probe.stage = Stage::Answered;
                out.push_text(engine::PROBE_PONG);
            }
            return Transmit::Open;
        }
        let over = match self.state {
            State::Socket(current) if current == link => {
                // Asked for more only when all is gone that it had.
                self.unblock(link);
                None
            }
            State::Away { reason, last, .. } | State::Closed { reason, last, .. }
                if last == Some(link) =>
            {
                Some(reason)
            }
            _ => return Transmit::Close(None),
        };
        let before = out.bytes();
        while out.bytes() < budget {
            let Some(packet) = self.outbox.pop() else {
                break;
            };
            self.push_frame(packet, out);
        }
        if mem::take(&mut self.ping_due) {
            out.push_ping();
            if let Some(recovery) = &mut self.recovery
                && self.outbox.is_empty()
            {
                recovery.pings();
            }
        }
        self.note_sent(out.bytes() - before);
        if out.bytes() == 0 && self.attended == Attended::Sender {
            // Whoever promised to come finds that all is done.
            self.attended = Attended::Nobody;
        }
        match over {
            Some(reason) if self.outbox.is_empty() => Transmit::Close(Some(reason)),
            _ => Transmit::Open,
        }
    }

    fn push_frame(&self, packet: Outgoing, out: &mut Segments) {
        match (packet, self.wire) {
            (Outgoing::Text(text), _) => out.push_text(text),
            (Outgoing::Binary(data), Wire::Engine(Revision::V3)) if self.base64 => {
                out.push_text(engine::base64(Revision::V3, &data).into());
            }
            (Outgoing::Binary(data), Wire::Engine(Revision::V3)) => {
                out.push_binary(data, Some(engine::V3_BINARY_MESSAGE));
            }
            (Outgoing::Binary(data), _) => out.push_binary(data, None),
        }
    }

    /// What a websocket's task finds to do. It is woken at the next change, so that it may wait once
    /// there is nothing; or once there is nothing that it can do, because its socket is `blocked`.
    pub(crate) fn look(&mut self, link: Link, waker: &Waker, blocked: bool) -> Look {
        if let Some(probe) = self.state.probe(link) {
            let waiting = probe.stage == Stage::Asked;
            self.probe = Some(waker.clone());
            return Look::Open {
                carries: false,
                waiting,
                congested: false,
            };
        }
        if self.is_over(link) {
            return Look::Over;
        }
        // Also while there is more to write than the socket takes: the end of the session must
        // not go unnoticed.
        match &mut self.carrier {
            Some(carrier) => carrier.clone_from(waker),
            carrier => *carrier = Some(waker.clone()),
        }
        let waiting = !self.outbox.is_empty() || self.ping_due;
        self.attended = match self.attended {
            _ if blocked => Attended::Stuck,
            _ if waiting => Attended::Task,
            Attended::Sender => Attended::Sender,
            _ => Attended::Nobody,
        };
        Look::Open {
            carries: true,
            waiting,
            congested: self.is_congested(link),
        }
    }
}
