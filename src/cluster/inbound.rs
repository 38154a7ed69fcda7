//! What comes from the bus, until the node gets round to it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::Parcel;
use crate::id::RoomId;
use crate::limits::{CLUSTER_INBOX_BYTES, CLUSTER_ITEM_OVERHEAD};
use crate::sync::lock;

/// Where an adapter hands in what comes from the bus. Cloning shares it.
///
/// Everything is queued and nothing is done about it there and then, so it may be called from
/// anywhere, also from within a method of the adapter. No call blocks.
///
/// The node deals with everything in the order in which it was handed in.
#[derive(Clone)]
pub struct Inbound {
    shared: Arc<Mutex<Shared>>,
}

impl Inbound {
    /// Hands in one parcel, whichever target it was published to.
    ///
    /// False if the node is so far behind that it takes no more: the parcel is dropped, and the
    /// rosters are asked for again, so there is nothing to do but to go on.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn deliver(&self, parcel: Bytes) -> bool {
        let cost = parcel.len() + CLUSTER_ITEM_OVERHEAD;
        self.push(|shared| {
            if shared.bytes + cost > CLUSTER_INBOX_BYTES {
                shared.dropped += u64::from(Parcel::is_said_once(&parcel));
                shared.overflow();
                return false;
            }
            shared.bytes += cost;
            shared.items.push_back(Item::Parcel(parcel));
            true
        })
    }

    /// The connection is there, for the first time or again, and what is to this node and to all
    /// nodes comes through it. Rooms follow one by one, by [`ready`](Self::ready).
    pub fn connected(&self) {
        self.push(|shared| shared.items.push_back(Item::Connected));
    }

    /// The connection is gone; the adapter is trying to have it back.
    pub fn lost(&self) {
        self.push(|shared| shared.items.push_back(Item::Lost));
    }

    /// The subscription to a room is in effect, for the first time or again: all that is published
    /// to it from now on comes here. The node then asks the others who is in it.
    pub fn ready(&self, room: &RoomId) {
        self.push(|shared| shared.items.push_back(Item::Ready(room.clone())));
    }

    /// Parcels may have been lost although the connection has held, as when a buffer has
    /// overflowed. The node asks again who is in its rooms, not all at once.
    pub fn missed(&self) {
        self.push(Shared::overflow);
    }

    /// Parcels that were to be sent are dropped, and so many of them would have said what nobody says
    /// again.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(super) fn dropped(&self, count: u64) {
        self.push(|shared| shared.dropped += count);
    }

    fn push<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        let (outcome, waker) = {
            let mut shared = lock(&self.shared);
            (change(&mut shared), shared.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        outcome
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}

/// Something that came from the bus.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Parcel(Bytes),
    Connected,
    Lost,
    Ready(RoomId),
    Missed,
}

#[derive(Default)]
struct Shared {
    items: VecDeque<Item>,
    /// Of the parcels among them.
    bytes: usize,
    /// What was dropped, at either end of the bus, and is lost with that.
    dropped: u64,
    waker: Option<Waker>,
}

impl Shared {
    /// Said once, however much is missed before the node gets round to it.
    fn overflow(&mut self) {
        if self.items.back() != Some(&Item::Missed) {
            self.items.push_back(Item::Missed);
        }
    }
}

/// The node's end.
pub(crate) struct Inbox {
    shared: Arc<Mutex<Shared>>,
}

impl Inbox {
    pub(crate) fn new() -> (Self, Inbound) {
        let shared = Arc::<Mutex<Shared>>::default();
        let inbound = Inbound {
            shared: Arc::clone(&shared),
        };
        (Self { shared }, inbound)
    }

    /// What comes next.
    pub(crate) fn pop(&self) -> Option<Item> {
        let mut shared = lock(&self.shared);
        let item = shared.items.pop_front()?;
        if let Item::Parcel(parcel) = &item {
            shared.bytes -= parcel.len() + CLUSTER_ITEM_OVERHEAD;
        }
        if shared.items.is_empty() {
            shared.items = VecDeque::new();
        }
        Some(item)
    }

    /// How much was lost since the last look, of what nobody says again.
    pub(crate) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut lock(&self.shared).dropped)
    }

    /// Ready once there is something.
    pub(crate) fn poll_filled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut shared = lock(&self.shared);
        if shared.items.is_empty() {
            shared.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{About, Edition, Member};
    use crate::id::PeerId;

    #[test]
    fn what_comes_is_bounded_in_bytes_and_an_overflow_is_told_once() {
        let (inbox, inbound) = Inbox::new();
        let parcel = Bytes::from(vec![0; CLUSTER_INBOX_BYTES / 4 - CLUSTER_ITEM_OVERHEAD]);
        for _ in 0..4 {
            assert!(inbound.deliver(parcel.clone()));
        }
        assert!(!inbound.deliver(Bytes::new()));
        assert!(!inbound.deliver(parcel.clone()));
        assert_eq!(inbox.pop(), Some(Item::Parcel(parcel.clone())));
        assert!(inbound.deliver(parcel.clone()), "there is room again");
        for _ in 0..3 {
            assert_eq!(inbox.pop(), Some(Item::Parcel(parcel.clone())));
        }
        assert_eq!(inbox.pop(), Some(Item::Missed));
        assert_eq!(inbox.pop(), Some(Item::Parcel(parcel)));
        assert_eq!(inbox.pop(), None);
        assert_eq!(lock(&inbox.shared).bytes, 0);
    }

    #[test]
    fn what_is_dropped_and_not_said_again_is_counted() {
        let (inbox, inbound) = Inbox::new();
        while inbound.deliver(Bytes::from(vec![0; CLUSTER_INBOX_BYTES / 4])) {}
        let node = "node".parse().unwrap();
        let deliver = |parcel: Parcel| inbound.deliver(parcel.encode(node, Edition::default()));
        let fill = Bytes::from(vec![0; CLUSTER_INBOX_BYTES / 4]);
        let (request, body) = (1, fill.clone());
        assert!(!deliver(Parcel::Reply { request, body }));
        assert_eq!(inbox.take_dropped(), 1);
        // Who is in a room is asked for again.
        let room = RoomId::new("r").unwrap();
        let said = About::Roster {
            position: 1,
            members: vec![
                Member {
                    id: PeerId::random_at(Some(node)).unwrap(),
                    wire: 1
                };
                1 << 18
            ],
            asks: 0,
            answers: 0,
            silent: false,
        };
        assert!(!deliver(Parcel::About { room, said }));
        assert_eq!(inbox.take_dropped(), 0);
    }

    #[test]
    fn the_node_is_woken_for_everything() {
        let (inbox, inbound) = Inbox::new();
        let room = RoomId::new("r").unwrap();
        let said: [&dyn Fn(); 5] = [
            &|| inbound.connected(),
            &|| inbound.lost(),
            &|| inbound.ready(&room),
            &|| inbound.missed(),
            &|| assert!(inbound.deliver(Bytes::new())),
        ];
        for say in said {
            let waiting = Context::from_waker(Waker::noop());
            assert!(inbox.poll_filled(&waiting).is_pending());
            say();
            assert!(lock(&inbox.shared).waker.is_none(), "it was taken to wake");
            assert!(inbox.poll_filled(&waiting).is_ready());
            assert!(inbox.pop().is_some());
        }
    }
}
