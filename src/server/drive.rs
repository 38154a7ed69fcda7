//! What all stacks do with a websocket, one step at a time: they differ in how bytes are moved.

use std::cell::Cell;
use std::task::{Context, Poll};

use bytes::Buf;

use super::Connection;
use crate::clock;
use crate::wire::segments::Segments;

thread_local! {
    /// Read into by all connections of a thread: frames are unmasked where they lie, and an idle
    /// connection has no buffer.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the memory that all connections of this thread share.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = SCRATCH.take();
    let done = work(&mut scratch);
    SCRATCH.set(scratch);
    done
}

/// What whoever drives a connection has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write what can be written.
    Write,
    /// The connection is over, by the protocol: hand out what it transmits until that is all, and
    /// end the socket.
    Over,
    /// The client is gone, or takes nothing any more: the socket can go.
    Lost,
}

impl Connection {
    /// Goes on until there is something to write or the connection has ended.
    ///
    /// `read` fills the buffer from its beginning, resizing it as it likes, and says how far; 0
    /// means that nothing will come any more. A `blocked` socket is given nothing to write: it wakes
    /// its task by itself once it takes more.
    pub(crate) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Segments,
        blocked: bool,
        mut read: impl FnMut(&mut Context<'_>, &mut Vec<u8>) -> Poll<usize>,
    ) -> Poll<Step> {
        loop {
            if self.is_over() {
                // Whatever this connection was still waiting for, others must not wait for it.
                let stalled = self.is_stalled();
                self.lost();
                return Poll::Ready(if stalled { Step::Lost } else { Step::Over });
            }
            if !blocked {
                if !out.has_remaining() {
                    self.transmit(out);
                }
                if out.has_remaining() {
                    return Poll::Ready(Step::Write);
                }
            }
            if self.wants_read() {
                let count = with_scratch(|scratch| {
                    let count = read(cx, scratch);
                    if let Poll::Ready(count) = count
                        && let Some(bytes @ [_, ..]) = scratch.get_mut(..count)
                    {
                        self.receive(bytes, clock::now());
                    }
                    count
                });
                match count {
                    Poll::Ready(1..) => continue,
                    Poll::Ready(0) => {
                        self.lost();
                        return Poll::Ready(Step::Lost);
                    }
                    Poll::Pending => {}
                }
            } else if self.poll_waiting(cx, clock::now()).is_ready() {
                continue;
            }
            // What else there is to write can wait until a blocked socket wakes.
            if self.register(cx.waker()) || (blocked && !self.is_over()) {
                return Poll::Pending;
            }
        }
    }
}
