//! Serves each receiver once for all that one read of a sender left in its mailbox.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Waker;

use super::client::Client;

/// Up to so many receivers are written to by the sender's own task. More are woken: what comes for
/// each of them meanwhile leaves in the same write, and other threads can help.
const DIRECT: usize = 12;

thread_local! {
    static OPEN: Cell<usize> = const { Cell::new(0) };
    static DIRTY: RefCell<Vec<Arc<Client>>> = const { RefCell::new(Vec::new()) };
    /// Of receivers that came once there were more than [`DIRECT`]. Until the batch is dropped nobody
    /// else can wake them: what others have for them then goes out together with the batch.
    static WAKERS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// While a batch is open on this thread, receivers are noted; once it is dropped, they are written
/// to or woken.
/// Must not be held across an await.
pub(super) struct Batch(());

impl Batch {
    pub(super) fn open() -> Self {
        OPEN.set(OPEN.get() + 1);
        Self(())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
        if OPEN.get() == 0 {
            flush();
        }
    }
}

/// Whether the open batch has so many receivers that all of them will be woken. The next then need
/// not be [noted](note) but [woken](wake).
pub(super) fn is_wide() -> bool {
    OPEN.get() > 0 && DIRTY.with_borrow(Vec::len) > DIRECT
}

/// Sees to it that `peer` is served: with the open batch, or at once.
pub(super) fn note(peer: &Arc<Client>) {
    DIRTY.with_borrow_mut(|dirty| dirty.push(Arc::clone(peer)));
    if OPEN.get() == 0 {
        flush();
    }
}

/// Wakes a receiver at the end of the open batch.
pub(super) fn wake(waker: Waker) {
    WAKERS.with_borrow_mut(|wakers| wakers.push(waker));
}

fn flush() {
    let direct = DIRTY.with_borrow(Vec::len) <= DIRECT;
    // One at a time: a waker is foreign code and may deliver something itself.
    while let Some(peer) = DIRTY.with_borrow_mut(Vec::pop) {
        if direct {
            peer.serve();
        } else {
            peer.wake();
        }
    }
    while let Some(waker) = WAKERS.with_borrow_mut(Vec::pop) {
        waker.wake();
    }
}
