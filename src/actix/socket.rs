//! A websocket as actix has it: what the client sends is the request's payload, what it is sent the
//! response's body.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::{Bytes, Payload};
use futures_core::Stream;

use crate::server::{Connection, OpenSocket, SocketTask, Step};
use crate::wire::segments::Segments;

/// The body of a 101. Dropped before its end, it means that the client is gone.
pub(super) struct SocketBody {
    payload: Payload,
    out: Segments,
    state: State,
    _open: OpenSocket,
}

enum State {
    /// Nobody has asked for the body yet: perhaps nobody will.
    Offered(SocketTask),
    Open(Connection),
    /// The last words are on their way.
    Closing(Connection),
    Ended,
}

impl SocketBody {
    pub(super) fn new(socket: SocketTask, payload: Payload) -> Self {
        Self {
            payload,
            out: Segments::default(),
            _open: socket.hold_open(),
            state: State::Offered(socket),
        }
    }
}

impl MessageBody for SocketBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Self {
            payload,
            out,
            state,
            ..
        } = self.get_mut();
        if let State::Open(connection) = state {
            connection.progressed();
        }
        let mut heard = 0;
        loop {
            let piece = out.take_piece();
            out.release();
            if !piece.is_empty() {
                if let State::Open(connection) = state {
                    // actix says no more than when it wants the next piece.
                    connection.blocked();
                }
                return Poll::Ready(Some(Ok(piece)));
            }
            *state = match std::mem::replace(state, State::Ended) {
                State::Offered(socket) => socket.start().map_or(State::Ended, State::Open),
                State::Open(mut connection) => {
                    let read = |cx: &mut Context<'_>, buffer: &mut Vec<u8>| {
                        read(Pin::new(&mut *payload), cx, buffer)
                    };
                    // actix asks again once it has got rid of what it was given, and not before:
                    // the socket is never blocked.
                    let step = connection.poll_step(cx, false, false, &mut heard, read);
                    let Poll::Ready(step) = step else {
                        *state = State::Open(connection);
                        return Poll::Pending;
                    };
                    match step {
                        Step::Write => {
                            connection.transmit(out);
                            State::Open(connection)
                        }
                        Step::Over => State::Closing(connection),
                        Step::Lost => State::Ended,
                    }
                }
                State::Closing(mut connection) => {
                    if connection.transmit(out) {
                        State::Closing(connection)
                    } else {
                        State::Ended
                    }
                }
                // actix then writes what it has, throws away what still comes, and closes when
                // the client hangs up or `client_disconnect_timeout` is over.
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

/// Copies what came to the beginning of the buffer; how much. 0: there will be nothing more.
fn read(mut payload: Pin<&mut Payload>, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<usize> {
    loop {
        // An error is how actix puts it that the client has hung up.
        let Some(Ok(bytes)) = ready!(payload.as_mut().poll_next(cx)) else {
            return Poll::Ready(0);
        };
        let count = bytes.len();
        if buffer.len() < count {
            buffer.resize(count, 0);
        }
        if let Some(target @ [_, ..]) = buffer.get_mut(..count) {
            target.copy_from_slice(&bytes);
            return Poll::Ready(count);
        }
    }
}

impl fmt::Debug for SocketBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketBody").finish_non_exhaustive()
    }
}
