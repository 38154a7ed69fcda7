//! One websocket of a client: bytes in, frames out. Whoever owns the socket drives it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;
use std::{fmt, mem};

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Sleep;

use super::PeerData;
use super::batch::Batch;
use super::client::Client;
use crate::clock;
use crate::ending::CloseReason;
use crate::session::{Charged, Link, Transmit};
use crate::wire::frame::{self, Assembler, CloseCode, FrameError, FrameLimits, Message};
use crate::wire::segments::Segments;

/// How much is handed out to be written at a time: enough for one large write, little enough that
/// what a client does not take stays in its outbox, where it is counted.
const TRANSMIT_BUDGET: usize = 64 << 10;

pub(crate) struct Connection {
    server: PeerData,
    peer: Arc<Client>,
    link: Link,
    assembler: Assembler,
    /// The answer to the client's last ping.
    pong: Option<Bytes>,
    /// What to say last, where the session's reason does not tell.
    farewell: Option<Bytes>,
    said_goodbye: bool,
    /// Bytes that came while somebody else acted for this client, and the wait for its end.
    stash: Vec<u8>,
    turn: Option<Turn>,
    /// The client has said too much: when it is read again.
    pause: Option<Pin<Box<Sleep>>>,
    /// The session knows that this socket takes nothing.
    blocked: bool,
}

type Turn = Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>;

impl Connection {
    pub(super) fn new(server: PeerData, peer: Arc<Client>, link: Link) -> Self {
        Self {
            server,
            peer,
            link,
            assembler: Assembler::default(),
            pong: None,
            farewell: None,
            said_goodbye: false,
            stash: Vec::new(),
            turn: None,
            pause: None,
            blocked: false,
        }
    }

    /// Takes what the client sent. The bytes are unmasked in place.
    pub(crate) fn receive(&mut self, bytes: &mut [u8], now: Instant) {
        let peer = Arc::clone(&self.peer);
        let Ok(turn) = peer.turn.try_lock() else {
            self.stash = bytes.to_vec();
            self.turn = Some(Box::pin(Arc::clone(&peer.turn).lock_owned()));
            return;
        };
        self.act(bytes, now);
        drop(turn);
        self.server.settle(&peer);
    }

    /// Whether the client may be read. Not while it does not take its own mail, nor while it has
    /// said too much.
    pub(crate) fn wants_read(&self) -> bool {
        self.turn.is_none()
            && self.pause.is_none()
            && !self.peer.with(|session| session.is_congested(self.link))
    }

    /// Goes on with stashed bytes once nobody else acts for this client, or with reading once its
    /// pause is over.
    pub(crate) fn poll_wait(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let Some(turn) = &mut self.turn else {
            let Some(pause) = &mut self.pause else {
                return Poll::Pending;
            };
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
            return Poll::Ready(());
        };
        let Poll::Ready(turn) = turn.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.turn = None;
        let mut bytes = mem::take(&mut self.stash);
        self.act(&mut bytes, now);
        drop(turn);
        self.server.settle(&self.peer);
        Poll::Ready(())
    }

    fn act(&mut self, bytes: &mut [u8], now: Instant) {
        let length = bytes.len();
        let events = self.act_on_all(bytes, now);
        if !self.server.inner.settings.limits.has_rates() {
            return;
        }
        let charged = self
            .peer
            .with(|session| session.charge(events, length, now));
        if let Charged::Pause(pause) = charged {
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
    }

    /// Acts on each message; how many there were.
    fn act_on_all(&mut self, mut bytes: &mut [u8], now: Instant) -> usize {
        let settings = &self.server.inner.settings;
        let limits = FrameLimits {
            max_message: settings.limits.max_message,
            max_fragments: settings.limits.max_fragments,
        };
        let _batch = Batch::open();
        let mut events = 0;
        loop {
            let message = self.assembler.next(&mut bytes, limits);
            events += 1;
            let event = match message {
                Ok(None) => return events - 1,
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
                        .with(|session| session.handle_frame(self.link, now));
                    continue;
                }
                Ok(Some(Message::Close(code))) => {
                    self.farewell = Some(frame::close(code, ""));
                    self.close(CloseReason::ClientClosed);
                    return events;
                }
                Err(error) => {
                    self.farewell = Some(frame::close(Some(error.close_code()), ""));
                    self.close(match error {
                        FrameError::TooLarge => CloseReason::MessageTooLarge,
                        _ => CloseReason::ProtocolError,
                    });
                    return events;
                }
            };
            if let Some(event) = event {
                self.server.handle(&self.peer, event);
            }
        }
    }

    fn close(&self, reason: CloseReason) {
        self.peer
            .with(|session| session.close_link(self.link, reason));
    }

    /// The socket has ended or broken, or this side is about to end it.
    pub(crate) fn lost(&mut self) {
        // The wait for the turn may have been granted already: given up first, or nobody could
        // report the end.
        self.turn = None;
        self.pause = None;
        self.stash = Vec::new();
        self.close(CloseReason::TransportLost);
        self.server.settle(&self.peer);
    }

    /// Whether this websocket has nothing more to do than to say goodbye.
    pub(crate) fn is_over(&self) -> bool {
        self.peer.with(|session| session.is_over(self.link))
    }

    /// Whether the session ended because this websocket takes nothing: there is no use in saying
    /// goodbye.
    pub(crate) fn is_stalled(&self) -> bool {
        self.peer.with(|session| session.is_stalled(self.link))
    }

    /// What was handed out cannot be written now: from here on the client has `write_timeout` to
    /// take some of it.
    pub(crate) fn blocked(&mut self) {
        if !mem::replace(&mut self.blocked, true) {
            self.handed_out();
        }
    }

    /// Something was written of what could not be before.
    pub(crate) fn progressed(&mut self) {
        if mem::take(&mut self.blocked) {
            self.peer.with(|session| session.unblock(self.link));
        }
    }

    /// Something was handed to a stack that says no more than when it wants the next piece: the
    /// client has `write_timeout` until then.
    pub(crate) fn handed_out(&self) {
        let now = clock::now();
        let due = self.peer.with(|session| session.block(self.link, now));
        self.server.schedule(&self.peer, due);
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

    /// Asks to be woken when there is something to write or the session ends. False: there is
    /// already, or it has.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        let idle = self.peer.with(|session| session.register(self.link, waker));
        idle && self.pong.is_none()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lost();
    }
}

/// The close frame for a session that ended, or for a websocket that must not take over.
fn farewell(reason: Option<CloseReason>) -> Bytes {
    let code = match reason {
        // Engine.IO closes its websockets without a code.
        None | Some(CloseReason::ProtocolError | CloseReason::TransportLost) => None,
        Some(CloseReason::ClientClosed | CloseReason::Kicked) => Some(CloseCode::Normal),
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
