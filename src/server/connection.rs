//! One websocket of a client: bytes in, frames out. Whoever owns the socket drives it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;
use std::{fmt, mem};

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Sleep;

use super::PeerData;
use super::batch::Batch;
use super::client::{Arrival, Client};
use super::dispatch::Waits;
use super::drive::{TURN_EVENTS, others_first};
use super::outlet::{Flushed, Outlet};
use super::turn::Turn;
use crate::clock;
use crate::ending::CloseReason;
use crate::error::Refused;
use crate::id::SessionId;
use crate::session::{Charged, Link, Look, Session, Ticket, Transmit, Wire};
use crate::wire::frame::{self, Assembler, CloseCode, FrameError, FrameLimits, Message};
use crate::wire::segments::Segments;

/// How much is handed out to be written at a time: enough for one large write, little enough that
/// what a client does not take stays in its outbox, where it is counted.
pub(super) const TRANSMIT_BUDGET: usize = 64 << 10;

#[allow(clippy::struct_excessive_bools)] // facts that do not depend on each other
pub(crate) struct Connection {
    server: PeerData,
    peer: Arc<Client>,
    link: Link,
    assembler: Assembler,
    /// The client has become a peer.
    is_known: bool,
    /// The session knows that the rest of something is awaited.
    is_cut: bool,
    /// The answer to the client's last ping.
    pong: Option<Bytes>,
    /// What to say last, where the session's reason does not tell.
    farewell: Option<Bytes>,
    said_goodbye: bool,
    heard_goodbye: bool,
    /// Bytes that cannot be dealt with yet, at most one read, and what they wait for.
    stash: Vec<u8>,
    waiting: Option<Waiting>,
    /// The runtime has asked the system for news since this GET came.
    asked_for: Option<Ticket>,
    /// The client has said too much: when it is read again.
    pause: Option<Pin<Box<Sleep>>>,
    /// The session knows that this socket takes nothing.
    blocked: bool,
    way_out: WayOut,
}

/// Where a connection on a plain TCP stream writes.
enum WayOut {
    /// Nowhere: on other streams, and once the socket is given back.
    None,
    /// To its socket; it does not carry the session yet.
    Own(Box<Outlet>),
    /// The same, where others write as well.
    Shared,
}

enum Waiting {
    /// Somebody else acts for this client.
    Turn(Pin<Box<dyn Future<Output = Turn> + Send>>),
    /// The application decides about what the client has asked for.
    Hook(Waits, Turn),
    /// The runtime may not know yet of what came before this GET.
    News(Waits, Ticket),
}

impl Connection {
    pub(super) fn new(server: PeerData, peer: Arc<Client>, link: Link) -> Self {
        Self {
            server,
            peer,
            link,
            assembler: Assembler::default(),
            is_known: false,
            is_cut: false,
            pong: None,
            farewell: None,
            said_goodbye: false,
            heard_goodbye: false,
            stash: Vec::new(),
            waiting: None,
            asked_for: None,
            pause: None,
            blocked: false,
            way_out: WayOut::None,
        }
    }

    /// One that tells its client why it may not have it, and is over.
    pub(super) fn refused(server: &PeerData, refused: &Refused) -> Option<Self> {
        let now = clock::now();
        let (session, link) = Session::json(&server.inner.settings.limits, now);
        // Registered nowhere: nobody will hear of it.
        let client = Client::new(SessionId::random().ok()?, session, Arrival::default());
        client.close(CloseReason::Kicked);
        let mut connection = Self::new(server.clone(), client, link);
        let code = CloseCode::from(refused.close_code());
        connection.farewell = Some(frame::close(Some(code), refused.message()));
        Some(connection)
    }

    /// Takes what the client sent. The bytes are unmasked in place.
    pub(crate) fn receive(&mut self, bytes: &mut [u8], now: Instant) {
        self.server.inner.metrics.received(bytes.len());
        if let Some(turn) = Turn::try_take(&self.peer) {
            return self.act_in(turn, bytes, now);
        }
        self.stash = bytes.to_vec();
        let turn = Turn::take(Arc::clone(&self.peer));
        self.waiting = Some(Waiting::Turn(Box::pin(turn)));
    }

    /// Acts on those bytes; what has to wait keeps the turn.
    fn act_in(&mut self, turn: Turn, bytes: &mut [u8], now: Instant) {
        if let Some(hook) = self.act(bytes, now) {
            self.waiting = Some(Waiting::Hook(hook, turn));
            return;
        }
        drop(turn);
        self.server.settle(&self.peer);
    }

    /// Whether the client may be read: not while it waits for somebody, nor while it has said too
    /// much.
    pub(crate) fn is_readable(&self) -> bool {
        self.waiting.is_none() && self.pause.is_none()
    }

    /// Goes on with stashed bytes once there is nothing to wait for, or with reading once a pause is
    /// over.
    pub(crate) fn poll_waiting(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let turn = match self.waiting.take() {
            None => {
                let Some(pause) = &mut self.pause else {
                    return Poll::Pending;
                };
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
                return Poll::Ready(());
            }
            Some(Waiting::Turn(mut wait)) => {
                let Poll::Ready(turn) = wait.as_mut().poll(cx) else {
                    self.waiting = Some(Waiting::Turn(wait));
                    return Poll::Pending;
                };
                turn
            }
            Some(Waiting::Hook(mut hook, turn)) => {
                if hook.as_mut().poll(cx).is_pending() {
                    self.waiting = Some(Waiting::Hook(hook, turn));
                    return Poll::Pending;
                }
                turn
            }
            Some(Waiting::News(mut wait, get)) => {
                if wait.as_mut().poll(cx).is_pending() {
                    self.waiting = Some(Waiting::News(wait, get));
                    return Poll::Pending;
                }
                self.asked_for = Some(get);
                return Poll::Ready(());
            }
        };
        let mut bytes = mem::take(&mut self.stash);
        self.act_in(turn, &mut bytes, now);
        Poll::Ready(())
    }

    /// Acts on the bytes until there is something to wait for; what comes after that is stashed.
    fn act(&mut self, bytes: &mut [u8], now: Instant) -> Option<Waits> {
        let length = bytes.len();
        let (events, has_ended, waits) = self.act_on_all(bytes, now);
        if waits.is_none() {
            self.note_rest(has_ended, now);
        }
        // What is stashed will be counted when its time comes.
        let length = length.saturating_sub(self.stash.len());
        self.peer.note_said(events, length);
        if self.server.inner.settings.limits.has_rates() {
            let charged = self
                .peer
                .with(|session| session.charge(events, length, now));
            if let Charged::Pause(pause) = charged {
                self.pause = Some(Box::pin(tokio::time::sleep(pause)));
            }
        }
        waits
    }

    /// Acts on each message; how many there were, whether any was more than a control frame, and what
    /// to wait for.
    fn act_on_all(&mut self, mut bytes: &mut [u8], now: Instant) -> (usize, bool, Option<Waits>) {
        let limits = &self.server.inner.settings.limits;
        let mut frame_limits = FrameLimits {
            max_message: limits.max_message_of(true),
            max_fragments: limits.max_fragments,
        };
        let max_message = limits.max_message;
        let _batch = Batch::open();
        // Reported before the batch writes: whoever hears of it finds it counted.
        let _tally = self.server.inner.metrics.tally();
        let client = Arc::clone(&self.peer);
        let _in_session = client.span.enter();
        let mut events = 0;
        let mut has_ended = false;
        loop {
            if events == TURN_EVENTS && !bytes.is_empty() {
                self.stash = bytes.to_vec();
                return (events, has_ended, Some(others_first()));
            }
            self.is_known = self.is_known || !client.with(|session| session.must_connect());
            if self.is_known {
                frame_limits.max_message = max_message;
            }
            let message = self.assembler.next(&mut bytes, frame_limits);
            events += 1;
            let event = match message {
                Ok(None) => return (events - 1, has_ended, None),
                Ok(Some(Message::Text(text))) => self
                    .peer
                    .with(|session| session.handle_text(self.link, text, now)),
                Ok(Some(Message::Binary(data))) => self
                    .peer
                    .with(|session| session.handle_binary(self.link, data, now)),
                Ok(Some(Message::Ping(data))) => {
                    // Only the latest needs an answer (RFC 6455, 5.5.3), so a flood costs nothing.
                    self.pong = Some(frame::pong(data));
                    self.peer
                        .with(|session| session.handle_frame(self.link, now));
                    continue;
                }
                Ok(Some(Message::Pong)) => {
                    self.peer
                        .with(|session| session.handle_pong(self.link, now));
                    continue;
                }
                Ok(Some(Message::Close(code))) => {
                    self.farewell = Some(frame::close(code, ""));
                    self.heard_goodbye = true;
                    // A page that is closed, or left. A Socket.IO client says otherwise that it means to
                    // leave; one that has nothing but this frame means it.
                    if code == Some(CloseCode::Away) || self.peer.wire == Wire::Json {
                        self.peer.with(|session| session.renounce(self.link));
                    }
                    self.close(CloseReason::ClientClosed);
                    return (events, has_ended, None);
                }
                Err(error) => {
                    self.farewell = Some(frame::close(Some(error.close_code()), ""));
                    self.close(match error {
                        FrameError::TooLarge => CloseReason::MessageTooLarge,
                        _ => CloseReason::ProtocolError,
                    });
                    return (events, has_ended, None);
                }
            };
            has_ended = true;
            let waits = event.and_then(|event| self.server.handle(&self.peer, event));
            if waits.is_some() {
                self.stash = bytes.to_vec();
                return (events, has_ended, waits);
            }
        }
    }

    /// Has the session know of a message that has begun and is not all there.
    fn note_rest(&mut self, has_ended: bool, now: Instant) {
        let is_cut = self.assembler.is_unfinished();
        if is_cut || self.is_cut {
            let due = self
                .peer
                .with(|session| session.expect_rest(self.link, is_cut, has_ended, now));
            self.server.schedule(&self.peer, due);
            self.is_cut = is_cut;
        }
    }

    fn close(&self, reason: CloseReason) {
        self.peer
            .with(|session| session.close_link(self.link, reason));
    }

    /// There is nothing more to read for now. False: there is something to wait for before that is certain.
    /// A GET that waits beside a websocket which may take over may have come by another thread, after what
    /// this one's runtime has not heard of yet: it has to ask the system once more.
    pub(super) fn heard_out(&mut self) -> bool {
        let unsure = self.peer.with(|session| {
            let get = session.poll_beside(self.link);
            if get.is_none() || get == self.asked_for {
                session.hear_out(self.link);
                return None;
            }
            get
        });
        self.waiting = unsure.map(|get| Waiting::News(others_first(), get));
        unsure.is_none()
    }

    /// The socket has ended or broken, or this side is about to end it.
    pub(crate) fn lost(&mut self) {
        // The turn may be in hand, or granted already: given up first, or nobody could report the
        // end.
        self.waiting = None;
        self.pause = None;
        self.stash = Vec::new();
        self.close(CloseReason::TransportLost);
        self.server.settle(&self.peer);
    }

    /// Whether the client has sent its close frame and owes nothing: a pong may follow it (RFC 6455,
    /// 5.5.2), and only clients that speak plain JSON are sent pings of the websocket.
    pub(crate) fn has_heard_the_last(&self) -> bool {
        self.heard_goodbye && self.peer.wire != Wire::Json
    }

    /// Whether the session ended because this websocket takes nothing: there is no use in saying
    /// goodbye.
    pub(crate) fn is_stalled(&self) -> bool {
        self.peer.with(|session| session.is_stalled(self.link))
    }

    /// What was handed out is not written yet: from here on the client has `write_timeout` to take
    /// some of it.
    pub(crate) fn blocked(&mut self) {
        if !mem::replace(&mut self.blocked, true) {
            let now = clock::now();
            let due = self.peer.with(|session| session.block(self.link, now));
            self.server.schedule(&self.peer, due);
        }
    }

    /// Something was written of what could not be before.
    pub(crate) fn progressed(&mut self) {
        if mem::take(&mut self.blocked) {
            self.peer.with(|session| session.unblock(self.link));
        }
    }

    /// Hands out frames to write. False: these are the last, and the close frame is among them.
    pub(crate) fn transmit(&mut self, out: &mut Segments) -> bool {
        if let Some(pong) = self.pong.take().filter(|_| !self.said_goodbye) {
            out.push_frame(pong);
        }
        let transmit = self
            .peer
            .with(|session| session.poll_transmit(self.link, TRANSMIT_BUDGET, out));
        let Transmit::Close(reason) = transmit else {
            return true;
        };
        // One close frame, and nothing after it (RFC 6455, 5.5.1).
        if !mem::replace(&mut self.said_goodbye, true) {
            out.push_frame(self.farewell.take().unwrap_or_else(|| farewell(reason)));
        }
        false
    }

    /// What there is to do; the task is woken at the next change.
    pub(crate) fn look(&mut self, waker: &Waker, blocked: bool) -> Look {
        let mut look = self
            .peer
            .with(|session| session.look(self.link, waker, blocked));
        if let Look::Open {
            carries, waiting, ..
        } = &mut look
        {
            *waiting |= self.pong.is_some();
            if *carries && let WayOut::Own(_) = self.way_out {
                self.share_way_out();
            }
        }
        look
    }
}

/// A connection on a plain TCP stream.
impl Connection {
    /// From here on, what is for the client is written to `socket`, by its own task and by others.
    pub(crate) fn write_to(&mut self, socket: OwnedWriteHalf) {
        self.way_out = WayOut::Own(Box::new(Outlet::new(self.link, socket)));
    }

    fn share_way_out(&mut self) {
        if let WayOut::Own(own) = mem::replace(&mut self.way_out, WayOut::Shared)
            && let Err(own) = self.peer.write_through(*own)
        {
            self.way_out = WayOut::Own(Box::new(own));
        }
    }

    fn outlet(&self) -> Option<&Outlet> {
        match &self.way_out {
            WayOut::None => None,
            WayOut::Own(outlet) => Some(outlet),
            WayOut::Shared => self.peer.outlet(),
        }
    }

    /// Whether the socket takes nothing, as far as anybody has found.
    pub(crate) fn is_stuck(&self) -> bool {
        self.outlet().is_some_and(Outlet::is_stuck)
    }

    /// Ready once a socket that was stuck takes more. Until then the client has `write_timeout`.
    pub(crate) fn poll_unstuck(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(outlet) = self.outlet() else {
            return Poll::Ready(());
        };
        let ready = outlet.poll_unstuck(cx);
        match ready {
            Poll::Ready(()) => self.progressed(),
            Poll::Pending => self.blocked(),
        }
        ready
    }

    /// Writes what there is for the client. False: the socket is broken.
    pub(crate) fn flush(&mut self) -> bool {
        let pong = self.pong.take();
        let Some(outlet) = self.outlet() else {
            return false;
        };
        outlet.flush_own(&self.peer, pong) != Flushed::Broken
    }

    /// Gives the socket back to the one who ends it, with what of it was not written.
    pub(crate) fn take_socket(&mut self) -> Option<(OwnedWriteHalf, Segments)> {
        let closed = self.outlet()?.close();
        self.way_out = WayOut::None;
        closed
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lost();
        self.peer.with(|session| session.forget_unsaid(self.link));
        // Others may know it for longer; the socket is not to stay open for that.
        self.take_socket();
    }
}

/// The close frame for a session that ended, or for a websocket that must not take over.
fn farewell(reason: Option<CloseReason>) -> Bytes {
    let code = match reason {
        // Engine.IO closes its websockets without a code.
        None | Some(CloseReason::ProtocolError | CloseReason::TransportLost) => None,
        Some(CloseReason::ClientClosed | CloseReason::Kicked) => Some(CloseCode::Normal),
        Some(CloseReason::ShuttingDown) => Some(CloseCode::Away),
        Some(CloseReason::MessageTooLarge) => Some(CloseCode::Size),
        Some(CloseReason::BinaryNotAccepted) => Some(CloseCode::Unsupported),
        Some(CloseReason::SlowConsumer | CloseReason::Stalled) => Some(CloseCode::Again),
        // In the likeness of HTTP's 403 and 429, among the codes that are the application's own.
        Some(CloseReason::Banned) => Some(CloseCode::from(4403)),
        Some(CloseReason::RateLimited) => Some(CloseCode::from(4429)),
        Some(
            CloseReason::HeartbeatTimeout
            | CloseReason::ConnectTimeout
            | CloseReason::OverlappingPolls
            | CloseReason::BodyTimeout,
        ) => Some(CloseCode::Policy),
    };
    let text = reason
        .filter(|_| code.is_some())
        .map(|reason| reason.to_string());
    frame::close(code, text.as_deref().unwrap_or_default())
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
