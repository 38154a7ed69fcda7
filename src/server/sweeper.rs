//! One coarse timer for all sessions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;

use super::client::Client;
use super::{Inner, PeerData};
use crate::clock;
use crate::id::SessionId;
use crate::limits::Limits;
use crate::sync::lock;

/// So many may have gone before they are looked for on the wheel.
const LITTER: usize = 64;

/// Sessions in the order in which they want to be looked at.
///
/// A session stands in one slot. Activity moves its deadline, not its place: when its slot comes
/// and it is not due after all, it takes a later one. So a message costs no timer, and an idle
/// session is looked at about once for each heartbeat.
///
/// One that has ended keeps its place too, but not for long: once as many have gone as half of
/// those on the wheel, the wheel is cleared of them. So it takes memory by how many there are, and
/// not by how many come and go.
pub(super) struct Sweeper {
    tick: Duration,
    start: Instant,
    wheel: Mutex<Wheel>,
    /// How many have gone since the wheel was cleared.
    gone: AtomicUsize,
}

#[derive(Default)]
struct Wheel {
    slots: Slots,
    turning: bool,
}

type Slots = BTreeMap<u64, Vec<SessionId>>;

/// The slot of a session, shared with its entry in the wheel. An entry whose slot is not this one
/// is left over from before the session took an earlier one.
#[derive(Debug)]
pub(super) struct Slot(AtomicU64);

impl Slot {
    const NONE: u64 = u64::MAX;

    pub(super) fn none() -> Self {
        Self(AtomicU64::new(Self::NONE))
    }
}

impl Sweeper {
    pub(super) fn new(limits: &Limits) -> Self {
        let shortest = limits
            .ping_interval
            .min(limits.ping_timeout)
            .min(limits.upgrade_timeout)
            .min(limits.connect_timeout)
            .min(limits.write_timeout);
        let shortest = match limits.recovery {
            Duration::ZERO => shortest,
            recovery => shortest.min(recovery),
        };
        Self {
            // A tenth keeps deadlines true to ten percent; a millisecond is what the timer can do.
            tick: (shortest / 10).clamp(Duration::from_millis(1), Duration::from_secs(1)),
            start: clock::now(),
            wheel: Mutex::default(),
            gone: AtomicUsize::new(0),
        }
    }

    /// Has the session looked at once `due` has passed, or earlier.
    pub(super) fn schedule(&self, server: &Arc<Inner>, peer: &Client, due: Instant) {
        let slot = self.slot(due) + 1;
        // Without the lock first: a deadline that is moved often is seldom the earliest. Whoever
        // takes the session off its slot asks for its deadline after that, and finds this one.
        if peer.slot.0.load(Ordering::Relaxed) <= slot {
            return;
        }
        let mut wheel = lock(&self.wheel);
        if peer.slot.0.load(Ordering::Relaxed) <= slot {
            return;
        }
        peer.slot.0.store(slot, Ordering::Relaxed);
        wheel.slots.entry(slot).or_default().push(peer.sid);
        if !wheel.turning
            && let Ok(runtime) = Handle::try_current()
        {
            wheel.turning = true;
            // A runtime that has been shut down drops the task at once, which asks for the wheel.
            drop(wheel);
            let server = Arc::downgrade(server);
            let armed = true;
            runtime.spawn(turn(Turning { server, armed }, self.tick));
        }
    }

    fn slot(&self, at: Instant) -> u64 {
        let ticks = at.saturating_duration_since(self.start).as_nanos() / self.tick.as_nanos();
        ticks.try_into().unwrap_or(Slot::NONE - 1)
    }

    /// The sessions whose slots have come; `None` when the wheel is empty and stops.
    fn take_due(&self, now: Instant) -> Option<Vec<(u64, SessionId)>> {
        let mut wheel = lock(&self.wheel);
        if wheel.slots.is_empty() {
            wheel.turning = false;
            return None;
        }
        let later = wheel.slots.split_off(&(self.slot(now) + 1));
        let due = std::mem::replace(&mut wheel.slots, later);
        let entries = due.into_iter();
        Some(
            entries
                .flat_map(|(slot, sids)| sids.into_iter().map(move |sid| (slot, sid)))
                .collect(),
        )
    }

    /// A session has ended.
    pub(super) fn note_gone(&self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    /// All that is on the wheel, if many of those have gone.
    fn take_littered(&self) -> Option<Slots> {
        let gone = self.gone.load(Ordering::Relaxed);
        if gone < LITTER {
            return None;
        }
        let mut wheel = lock(&self.wheel);
        let places: usize = wheel.slots.values().map(Vec::len).sum();
        if gone < places / 2 {
            return None;
        }
        self.gone.store(0, Ordering::Relaxed);
        Some(std::mem::take(&mut wheel.slots))
    }

    /// Puts them back, beside those who have come meanwhile.
    fn put_back(&self, slots: Slots) {
        let mut wheel = lock(&self.wheel);
        for (slot, sids) in slots.into_iter().filter(|(_, sids)| !sids.is_empty()) {
            wheel.slots.entry(slot).or_default().extend(sids);
        }
    }
}

/// The task's hold on the wheel: if the runtime drops the task, the next session starts another.
struct Turning {
    server: Weak<Inner>,
    /// Cleared when the wheel was stopped in order: another task may be turning it by now.
    armed: bool,
}

impl Drop for Turning {
    fn drop(&mut self) {
        if let Some(server) = self.server.upgrade().filter(|_| self.armed) {
            lock(&server.sweeper.wheel).turning = false;
        }
    }
}

async fn turn(mut turning: Turning, tick: Duration) {
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = turning.server.upgrade() else {
            break;
        };
        let server = PeerData { inner };
        if !server.turn_wheel(clock::now()) {
            turning.armed = false;
            break;
        }
    }
}

impl PeerData {
    /// Looks at all who are due. False once nobody is on the wheel, which then stops.
    pub(super) fn turn_wheel(&self, now: Instant) -> bool {
        let Some(due) = self.inner.sweeper.take_due(now) else {
            return false;
        };
        for (slot, sid) in due {
            self.look_at(slot, &sid, now);
        }
        self.clear_wheel();
        true
    }

    /// Takes those off the wheel who have gone, or stand there twice.
    fn clear_wheel(&self) {
        let sweeper = &self.inner.sweeper;
        let Some(mut slots) = sweeper.take_littered() else {
            return;
        };
        for (slot, sids) in &mut slots {
            sids.retain(|sid| {
                let session = self.session(sid);
                session.is_some_and(|peer| peer.slot.0.load(Ordering::Relaxed) == *slot)
            });
            sids.shrink_to_fit();
        }
        sweeper.put_back(slots);
    }

    fn look_at(&self, slot: u64, sid: &SessionId, now: Instant) {
        let Some(peer) = self.session(sid) else {
            return;
        };
        let current =
            peer.slot
                .0
                .compare_exchange(slot, Slot::NONE, Ordering::Relaxed, Ordering::Relaxed);
        if current.is_err() {
            return;
        }
        let next = peer.with(|session| {
            session.handle_timeout(now);
            self.refresh_ice(session, now);
            self.inner.calls.look_at(session.peer(), now);
            session.poll_timeout()
        });
        // An answered ping moves the deadline from the end of the wait to the next ping, which may
        // be sooner, but not sooner than one interval from now.
        let latest = now + self.inner.settings.limits.ping_interval;
        let next = next.map(|due| due.min(latest));
        self.schedule(&peer, next);
        self.settle(&peer);
    }
}

#[cfg(test)]
mod tests;
