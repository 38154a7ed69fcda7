//! The numbers that change with every message, added up on the way: cores that count at one place
//! in turn wait for each other each time.

use std::cell::Cell;

use super::Said;

/// What one thread has counted for one server and not reported yet.
struct Counts {
    /// Which server; 0 while nobody counts.
    of: Cell<usize>,
    events: [Cell<u64>; Said::TEXTS.len()],
    deliveries: Cell<u64>,
}

thread_local! {
    static COUNTS: Counts = const {
        Counts {
            of: Cell::new(0),
            events: [const { Cell::new(0) }; Said::TEXTS.len()],
            deliveries: Cell::new(0),
        }
    };
}

/// What was counted.
pub(super) struct Sums {
    pub(super) events: [u64; Said::TEXTS.len()],
    pub(super) deliveries: u64,
}

/// From here on this thread counts for that server. False if it counts for one already.
pub(super) fn begin(of: usize) -> bool {
    COUNTS.with(|counts| {
        let free = counts.of.get() == 0;
        if free {
            counts.of.set(of);
        }
        free
    })
}

/// Ends it.
pub(super) fn end() -> Sums {
    COUNTS.with(|counts| {
        counts.of.set(0);
        Sums {
            events: counts.events.each_ref().map(Cell::take),
            deliveries: counts.deliveries.take(),
        }
    })
}

/// Counts an event. False if this thread does not count for that server.
pub(super) fn event(of: usize, said: Said) -> bool {
    add(of, |counts| counts.events.get(said as usize))
}

/// Counts a delivery, as above.
pub(super) fn delivery(of: usize) -> bool {
    add(of, |counts| Some(&counts.deliveries))
}

fn add(of: usize, which: impl FnOnce(&Counts) -> Option<&Cell<u64>>) -> bool {
    COUNTS.with(|counts| match which(counts) {
        Some(sum) if counts.of.get() == of => {
            sum.set(sum.get() + 1);
            true
        }
        _ => false,
    })
}
