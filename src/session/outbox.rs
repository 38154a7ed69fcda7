//! What waits for one peer, bounded in bytes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::limits::OUTBOX_OWN_BYTES;
use crate::signal::Attachments;
use crate::sync::Budget;
use crate::wire::engine::Outgoing;

/// What a waiting packet costs besides its bytes: its place in the queue and its share of the
/// buffer's bookkeeping. Counted, so that a million empty packets are not free.
const OVERHEAD: usize = 64;

/// The outbox has no room for that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// How a peer's wire wants its signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Socket.IO packets, attachments in the order of their numbers.
    Packets,
    /// Plain JSON, then a binary frame for each placeholder.
    Json,
}

thread_local! {
    /// A long queue that was emptied, for the next one that grows.
    static SPARE: Cell<VecDeque<Outgoing>> = const { Cell::new(VecDeque::new()) };
}

/// An emptied queue of so many places or fewer stays with its peer until it has
/// [rested](Outbox::rest). Whoever speaks to many would ask the allocator for one after the other,
/// and other threads, as they write, would all return them to where that one takes them from.
const KEPT_PLACES: usize = 4;

/// The most places that are kept for the next queue.
const SPARE_PLACES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// What waits the longest: mostly all that does, and at hand with the session then. Only the
    /// rest of it takes a queue.
    first: Option<Outgoing>,
    queue: VecDeque<Outgoing>,
    cost: usize,
    /// What all peers share, and what this one has taken of it, in whole steps: few touch what all
    /// threads would otherwise pass to each other with each message.
    budget: Option<Arc<Budget>>,
    taken: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The bytes that wait, bookkeeping included.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// From now on what waits beyond [`OUTBOX_OWN_BYTES`] is taken of that.
    pub(crate) fn share(&mut self, budget: Arc<Budget>) {
        self.budget = Some(budget);
    }

    /// Queues one packet. Nothing is queued if it would go over `max`, or over what all may have.
    pub(crate) fn push(&mut self, packet: Outgoing, max: usize) -> Result<(), Full> {
        self.reserve(cost(&packet), max)?;
        self.append(packet);
        Ok(())
    }

    /// Queues the text of a signal with all its attachments, or nothing of it.
    pub(crate) fn push_signal(
        &mut self,
        text: Bytes,
        attachments: Option<&Attachments>,
        view: View,
        max: usize,
    ) -> Result<(), Full> {
        if attachments.is_none() {
            return self.push(Outgoing::Text(text), max);
        }
        let mut total = 0;
        frames(text.clone(), attachments, view, |frame| {
            total += cost(&frame);
        });
        self.reserve(total, max)?;
        frames(text, attachments, view, |frame| self.append(frame));
        Ok(())
    }

    fn reserve(&mut self, cost: usize, max: usize) -> Result<(), Full> {
        let total = self.cost.saturating_add(cost);
        // Into an empty outbox goes anything: one message must not make its receiver a slow one.
        if total > max && !self.is_empty() {
            return Err(Full);
        }
        let more = share_of(total).saturating_sub(self.taken);
        if more > 0
            && let Some(budget) = &self.budget
        {
            if !budget.take(more) {
                return Err(Full);
            }
            self.taken = self.taken.saturating_add(more);
        }
        self.cost = total;
        Ok(())
    }

    /// Gives back what is no longer needed of what all share.
    fn give_back(&mut self) {
        let needed = share_of(self.cost);
        if let Some(budget) = &self.budget
            && let Some(spare @ 1..) = self.taken.checked_sub(needed)
        {
            budget.give_back(spare);
            self.taken = needed;
        }
    }

    fn append(&mut self, packet: Outgoing) {
        if self.first.is_none() {
            self.first = Some(packet);
            return;
        }
        let grows = self.queue.len() == self.queue.capacity();
        if grows && self.queue.capacity() == KEPT_PLACES {
            let mut longer = SPARE.take();
            longer.append(&mut self.queue);
            self.queue = longer;
        }
        self.queue.push_back(packet);
    }

    /// The next packet. An emptied queue gives back all but a little of its memory.
    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        let packet = self.first.take()?;
        self.cost = self.cost.saturating_sub(cost(&packet));
        if self.taken > 0 {
            self.give_back();
        }
        self.first = self.queue.pop_front();
        if self.first.is_none() && self.queue.capacity() > KEPT_PLACES {
            let emptied = std::mem::take(&mut self.queue);
            if emptied.capacity() <= SPARE_PLACES {
                SPARE.set(emptied);
            }
        }
        Some(packet)
    }

    /// Packets worth up to `budget` bytes, at least one if there is one.
    pub(crate) fn take(&mut self, budget: usize) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < budget {
            let Some(packet) = self.pop() else { break };
            bytes = bytes.saturating_add(cost(&packet));
            taken.push(packet);
        }
        taken
    }

    /// Gives back what a queue keeps while nothing waits in it.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Throws away what waits.
    pub(crate) fn clear(&mut self) {
        self.first = None;
        self.queue = VecDeque::new();
        self.cost = 0;
        self.give_back();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.cost = 0;
        self.give_back();
    }
}

/// How much so much waiting takes of what all share.
fn share_of(cost: usize) -> usize {
    let beyond = cost.saturating_sub(OUTBOX_OWN_BYTES);
    beyond
        .div_ceil(OUTBOX_OWN_BYTES)
        .saturating_mul(OUTBOX_OWN_BYTES)
}

/// The text of a signal and its attachments, as one wire wants them.
pub(super) fn frames(
    text: Bytes,
    attachments: Option<&Attachments>,
    view: View,
    mut each: impl FnMut(Outgoing),
) {
    each(Outgoing::Text(text));
    let Some(attachments) = attachments else {
        return;
    };
    let mut binary = |part: &Bytes| each(Outgoing::Binary(part.clone()));
    match view {
        View::Packets => attachments.parts.iter().for_each(binary),
        View::Json => attachments
            .placeholders
            .iter()
            .filter_map(|&number| attachments.parts.get(number as usize))
            .for_each(&mut binary),
    }
}

fn cost(packet: &Outgoing) -> usize {
    let (Outgoing::Text(bytes) | Outgoing::Binary(bytes)) = packet;
    bytes.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Outgoing {
        Outgoing::Text(Bytes::from(vec![b'x'; length]))
    }

    #[test]
    fn is_bounded_in_bytes_and_frees_what_is_taken() {
        let mut outbox = Outbox::default();
        let max = 3 * (100 + OVERHEAD);
        for _ in 0..3 {
            outbox.push(text(100), max).unwrap();
        }
        assert_eq!(outbox.push(text(0), max), Err(Full));
        assert_eq!(outbox.cost(), max);
        assert!(outbox.pop().is_some());
        outbox.push(text(100), max).unwrap();
        assert_eq!(outbox.take(usize::MAX).len(), 3);
        assert_eq!((outbox.cost(), outbox.queue.capacity()), (0, KEPT_PLACES));
        outbox.rest();
        assert_eq!(outbox.queue.capacity(), 0);
    }

    #[test]
    fn what_all_share_is_bounded_and_comes_back() {
        let budget = Arc::new(Budget::new(3 * OUTBOX_OWN_BYTES));
        let outbox = || {
            let mut outbox = Outbox::default();
            outbox.share(Arc::clone(&budget));
            outbox
        };
        let (mut one, mut two) = (outbox(), outbox());
        let own = OUTBOX_OWN_BYTES - OVERHEAD;
        one.push(text(own), usize::MAX).unwrap();
        assert_eq!(budget.used(), 0, "each has some for itself");
        one.push(text(0), usize::MAX).unwrap();
        one.push(text(0), usize::MAX).unwrap();
        assert_eq!(budget.used(), OUTBOX_OWN_BYTES, "in steps");
        two.push(text(OUTBOX_OWN_BYTES + own), usize::MAX).unwrap();
        two.push(text(own), usize::MAX).unwrap();
        assert_eq!(budget.used(), 3 * OUTBOX_OWN_BYTES);
        assert_eq!(one.push(text(own), usize::MAX), Err(Full));
        assert_eq!(outbox().push(text(2 * own), usize::MAX), Err(Full));
        outbox().push(text(own), usize::MAX).unwrap();
        assert_eq!(one.cost(), own + 3 * OVERHEAD, "and nothing is queued");
        assert_eq!(two.pop(), Some(text(OUTBOX_OWN_BYTES + own)));
        assert_eq!(budget.used(), OUTBOX_OWN_BYTES);
        two.push(text(own), usize::MAX).unwrap();
        one.clear();
        assert_eq!(budget.used(), OUTBOX_OWN_BYTES);
        drop(two);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_long_queue_is_passed_on_and_nothing_is_lost_on_the_way() {
        let mut outbox = Outbox::default();
        for round in [100, 6, 100] {
            for length in 0..round {
                outbox.push(text(length), usize::MAX).unwrap();
            }
            outbox.rest();
            let taken = outbox.take(usize::MAX);
            assert_eq!(taken, (0..round).map(text).collect::<Vec<_>>());
            assert_eq!(outbox.queue.capacity(), 0, "it was too long to be kept");
        }
    }

    #[test]
    fn empty_packets_are_not_free() {
        let mut outbox = Outbox::default();
        let pushed = (0..1_000).take_while(|_| outbox.push(text(0), 6_400).is_ok());
        assert_eq!(pushed.count(), 100);
    }

    #[test]
    fn a_budget_is_kept_but_one_packet_always_goes() {
        let mut outbox = Outbox::default();
        for _ in 0..4 {
            outbox.push(text(1_000), usize::MAX).unwrap();
        }
        assert_eq!(outbox.take(1).len(), 1);
        assert_eq!(outbox.take(1_500).len(), 2);
        assert_eq!(outbox.take(1_500).len(), 1);
    }
}
