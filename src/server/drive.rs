//! What all stacks do with a websocket, one step at a time: they differ in how bytes are moved.

use std::cell::Cell;
use std::task::{Context, Poll};

use super::Connection;
use crate::clock;
use crate::session::Look;

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
    /// Write what can be written: what was handed out, and else what the connection transmits.
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
    /// means that nothing will come any more. With a `backlog`, bytes that were handed out are still
    /// to be written; a `blocked` socket takes none, and wakes its task by itself once it does.
    pub(crate) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        backlog: bool,
        blocked: bool,
        mut read: impl FnMut(&mut Context<'_>, &mut Vec<u8>) -> Poll<usize>,
    ) -> Poll<Step> {
        loop {
            let (waiting, congested) = match self.look(cx.waker(), blocked) {
                Look::Open {
                    waiting, congested, ..
                } => (waiting, congested),
                Look::Over => {
                    // Whatever this connection was still waiting for, others must not wait for it.
                    let stalled = self.is_stalled();
                    self.lost();
                    return Poll::Ready(if stalled { Step::Lost } else { Step::Over });
                }
            };
            if !blocked && (backlog || waiting) {
                return Poll::Ready(Step::Write);
            }
            // Not while the client does not take its own mail.
            if self.is_readable() && !congested {
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
                    Poll::Ready(1..) => {}
                    Poll::Ready(0) => {
                        self.lost();
                        return Poll::Ready(Step::Lost);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            } else if self.poll_waiting(cx, clock::now()).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
