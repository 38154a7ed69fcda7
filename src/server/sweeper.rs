//! One coarse timer for all sessions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;

use super::peer::Peer;
use super::{Inner, PeerData};
use crate::id::SessionId;
use crate::limits::Limits;
use crate::sync::lock;

/// Sessions in the order in which they want to be looked at.
///
/// A session stands in one slot. Activity moves its deadline, not its place: when its slot comes
/// and it is not due after all, it takes a later one. So a message costs no timer, and an idle
/// session is looked at about once for each heartbeat.
pub(super) struct Sweeper {
    tick: Duration,
    start: Instant,
    wheel: Mutex<Wheel>,
}

#[derive(Default)]
struct Wheel {
    slots: BTreeMap<u64, Vec<SessionId>>,
    turning: bool,
}

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
            .min(limits.connect_timeout);
        Self {
            // A tenth keeps deadlines true to ten percent; a millisecond is what the timer can do.
            tick: (shortest / 10).clamp(Duration::from_millis(1), Duration::from_secs(1)),
            start: Instant::now(),
            wheel: Mutex::default(),
        }
    }

    /// Has the session looked at once `due` has passed, or earlier.
    pub(super) fn schedule(&self, server: &Arc<Inner>, peer: &Peer, due: Instant) {
        let slot = self.slot(due) + 1;
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
        let now = Instant::now();
        let Some(due) = server.inner.sweeper.take_due(now) else {
            turning.armed = false;
            break;
        };
        for (slot, sid) in due {
            server.look_at(slot, &sid, now);
        }
    }
}

impl PeerData {
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
