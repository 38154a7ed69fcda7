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
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::ice::{IceServers, TurnSecret};
    use crate::id::PeerId;
    use crate::identity::Identity;
    use crate::server::Settings;
    use crate::server::client::Arrival;
    use crate::session::{Presence, Session};
    use crate::wire::engine::{self, Revision};

    const SECOND: Duration = Duration::from_secs(1);

    /// A server with the defaults, and so with a tick of one second.
    fn server() -> PeerData {
        let server = PeerData::new();
        assert_eq!(server.inner.sweeper.tick, SECOND);
        server
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    impl PeerData {
        fn at(&self, since_start: Duration) -> Instant {
            self.inner.sweeper.start + since_start
        }

        /// A client of whom the server knows nothing yet.
        fn stranger(&self) -> Arc<Client> {
            let limits = &self.inner.settings.limits;
            let session = Session::json(limits, self.at(Duration::ZERO)).0;
            Client::new(SessionId::random().unwrap(), session, Arrival::default())
        }

        /// A peer of revision 3, silent since the start.
        fn silent(&self) -> Arc<Client> {
            let limits = &self.inner.settings.limits;
            let sid = SessionId::random().unwrap();
            let start = self.at(Duration::ZERO);
            let mut session = Session::polling(Revision::V3, &sid, false, limits, start);
            let id = PeerId::random().unwrap();
            session.accept(Presence::main(id), Identity::anonymous(), None);
            let peer = self.register(sid, session, Arrival::default());
            self.inner.broker.attach(id, Arc::clone(&peer)).unwrap();
            peer
        }

        /// The peer pings.
        fn hears(&self, peer: &Client, at: Duration) {
            let packet = engine::decode_text(Revision::V3, "2");
            let now = self.at(at);
            peer.with(|session| assert!(session.handle_packet(packet, now).is_none()));
        }

        fn wants(&self, peer: &Client, due: Duration) {
            let sweeper = &self.inner.sweeper;
            sweeper.schedule(&self.inner, peer, self.at(due));
        }

        /// What is due at that time; `None` once the wheel is empty.
        fn due(&self, at: Duration) -> Option<Vec<(u64, SessionId)>> {
            self.inner.sweeper.take_due(self.at(at))
        }

        /// Turns the wheel by hand.
        fn turn_to(&self, at: Duration) {
            self.turn_wheel(self.at(at));
        }

        fn is_turning(&self) -> bool {
            lock(&self.inner.sweeper.wheel).turning
        }

        fn entries(&self) -> usize {
            let wheel = lock(&self.inner.sweeper.wheel);
            wheel.slots.values().map(Vec::len).sum()
        }
    }

    /// It takes no task any more, and who comes is not held up for that.
    #[test]
    fn a_runtime_that_is_gone_stops_nobody() {
        let runtime = runtime();
        let gone = runtime.handle().clone();
        drop(runtime);
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _in_runtime = gone.enter();
            let server = server();
            let peer = server.stranger();
            server.wants(&peer, SECOND);
            // Told whether or not anybody still waits.
            let _ = done.send(server.is_turning());
        });
        let turning = is_done.recv_timeout(60 * SECOND);
        assert_eq!(turning, Ok(false), "the next who comes starts a task");
    }

    #[test]
    fn the_tick_is_a_tenth_of_the_shortest_time() {
        let tick = |limits: Limits| Sweeper::new(&limits).tick;
        let limits = Limits::default;
        let (short, tenth) = (Duration::from_millis(500), Duration::from_millis(50));
        let settings = [
            Limits {
                ping_interval: short,
                ..limits()
            },
            Limits {
                ping_timeout: short,
                ..limits()
            },
            Limits {
                upgrade_timeout: short,
                ..limits()
            },
            Limits {
                connect_timeout: short,
                ..limits()
            },
        ];
        assert!(settings.into_iter().all(|limits| tick(limits) == tenth));
        let ping_timeout = Duration::from_millis(2);
        let shortest = Limits {
            ping_timeout,
            ..limits()
        };
        assert_eq!(tick(shortest), Duration::from_millis(1));
    }

    #[test]
    fn sessions_come_in_the_order_of_their_deadlines() {
        let server = server();
        let (a, b, c) = (server.stranger(), server.stranger(), server.stranger());
        server.wants(&a, 5 * SECOND + SECOND / 2);
        server.wants(&b, 2 * SECOND);
        server.wants(&c, 9 * SECOND);
        assert_eq!(server.due(SECOND), Some(vec![]));
        assert_eq!(server.due(6 * SECOND), Some(vec![(3, b.sid), (6, a.sid)]));
        assert_eq!(server.due(9 * SECOND), Some(vec![]));
        assert_eq!(server.due(60 * SECOND), Some(vec![(10, c.sid)]));
        assert_eq!(server.due(60 * SECOND), None);
    }

    #[test]
    fn a_session_is_looked_at_after_its_deadline_and_within_a_tick() {
        for millis in [0, 1, 500, 999, 1_000, 1_001, 2_500] {
            let server = server();
            let due = Duration::from_millis(millis);
            server.wants(&server.stranger(), due);
            assert_eq!(server.due(due), Some(vec![]), "{millis}");
            assert_eq!(server.due(due + SECOND).unwrap().len(), 1, "{millis}");
        }
    }

    #[test]
    fn an_earlier_slot_wins_and_a_later_one_is_not_taken() {
        let server = server();
        let peer = server.stranger();
        server.wants(&peer, 5 * SECOND);
        server.wants(&peer, 5 * SECOND);
        server.wants(&peer, 9 * SECOND);
        assert_eq!(server.entries(), 1);
        server.wants(&peer, 2 * SECOND);
        assert_eq!(server.due(3 * SECOND), Some(vec![(3, peer.sid)]));
        assert_eq!(peer.slot.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_deadline_beyond_all_slots_is_never() {
        let ping_timeout = Duration::from_millis(1);
        let limits = Arc::new(Limits {
            ping_timeout,
            ..Limits::default()
        });
        let server = PeerData::with(Settings {
            limits,
            ..Settings::default()
        });
        server.wants(&server.stranger(), Duration::from_secs(1 << 62));
        assert_eq!(server.due(SECOND), None);
    }

    #[test]
    fn activity_moves_the_deadline_and_silence_ends_the_session() {
        let server = server();
        let peer = server.silent();
        assert_eq!(server.peer_count(), 1);
        server.hears(&peer, 30 * SECOND);
        server.turn_to(46 * SECOND);
        server.turn_to(74 * SECOND);
        assert!(server.session(&peer.sid).is_some());
        assert_eq!(server.entries(), 1);
        server.turn_to(76 * SECOND);
        assert!(server.session(&peer.sid).is_none());
        assert_eq!(server.peer_count(), 0, "its end is reported");
        assert_eq!(server.due(77 * SECOND), None);
    }

    #[test]
    fn a_session_is_looked_at_again_within_a_ping_interval() {
        let server = server();
        let peer = server.silent();
        server.hears(&peer, 46 * SECOND);
        server.turn_to(46 * SECOND);
        assert_eq!(server.due(71 * SECOND), Some(vec![]));
        assert_eq!(server.due(72 * SECOND), Some(vec![(72, peer.sid)]));
    }

    #[test]
    fn credentials_are_made_anew_in_time_however_long_the_heartbeat_is() {
        let secret = TurnSecret::new("s");
        let servers = IceServers::new().turn(["turn:turn.test"], &secret);
        let server = PeerData::builder()
            .ice_servers(servers.lifetime(60 * SECOND))
            .ping_interval(120 * SECOND)
            .ping_timeout(600 * SECOND)
            .build()
            .unwrap();
        clock::set(server.at(Duration::ZERO));
        let (peer, other) = (server.silent(), server.silent());
        let own = peer.with(|session| session.peer()).unwrap();
        assert!(server.tell_ice(&peer, &own, "r").is_some());
        let waiting = |peer: &Client| peer.with(|session| session.waiting());
        let (asked, untold) = (waiting(&peer), waiting(&other));
        let mut told = asked;
        for seconds in [30, 61] {
            server.turn_to(seconds * SECOND);
            assert_eq!(waiting(&peer), told, "{seconds}");
            clock::set(server.at((seconds + 1) * SECOND));
            server.turn_to((seconds + 1) * SECOND);
            assert!(waiting(&peer) > told, "{seconds}");
            told = waiting(&peer);
        }
        assert_eq!(waiting(&other), untold, "it has asked for none");

        // Who connects again over the same transport has asked for none either.
        peer.with(|session| session.leave(&Presence::main(own)));
        server.turn_to(200 * SECOND);
        let again = Presence::main(PeerId::random().unwrap());
        peer.with(|session| session.accept(again, Identity::anonymous(), None));
        told = waiting(&peer);
        server.turn_to(400 * SECOND);
        assert_eq!(waiting(&peer), told);
    }

    #[test]
    fn a_left_over_entry_is_passed_by() {
        let server = server();
        let peer = server.silent();
        server.wants(&peer, 20 * SECOND);
        assert_eq!(server.entries(), 2);
        server.look_at(46, &peer.sid, server.at(46 * SECOND));
        assert!(server.session(&peer.sid).is_some(), "that is not its slot");
        assert_eq!(peer.slot.0.load(Ordering::Relaxed), 21);
        server.look_at(21, &peer.sid, server.at(46 * SECOND));
        assert!(server.session(&peer.sid).is_none());
    }

    #[test]
    fn two_entries_of_one_slot_are_one_look() {
        let server = server();
        let peer = server.silent();
        server.wants(&peer, 20 * SECOND);
        server.turn_to(21 * SECOND);
        server.hears(&peer, 30 * SECOND);
        // Back in the slot where it stood at first, whose entry is still there.
        assert_eq!(server.due(46 * SECOND).unwrap().len(), 2);
        server.look_at(46, &peer.sid, server.at(46 * SECOND));
        let slot = peer.slot.0.load(Ordering::Relaxed);
        assert_eq!(server.entries(), 1);
        server.look_at(46, &peer.sid, server.at(46 * SECOND));
        assert_eq!(server.entries(), 1);
        assert_eq!(peer.slot.0.load(Ordering::Relaxed), slot);
    }

    #[test]
    fn a_session_that_is_gone_is_passed_by() {
        let server = server();
        let peer = server.silent();
        server.close(&peer, crate::ending::CloseReason::Kicked);
        assert_eq!(server.entries(), 1);
        server.turn_to(46 * SECOND);
        assert_eq!(server.due(46 * SECOND), None);
    }

    #[test]
    fn those_who_come_and_go_leave_nothing_on_the_wheel() {
        let server = server();
        let staying: Vec<_> = [(); 5].map(|()| server.silent()).into();
        for round in 1..=20 {
            for _ in 0..LITTER {
                let peer = server.silent();
                server.close(&peer, crate::ending::CloseReason::Kicked);
            }
            assert_eq!(server.entries(), staying.len() + LITTER);
            server.turn_to(SECOND * round);
            assert_eq!(server.entries(), staying.len());
        }
        server.turn_to(76 * SECOND);
        assert_eq!(server.peer_count(), 0, "those who stayed were looked at");
        assert!(!server.turn_wheel(server.at(77 * SECOND)));
    }

    #[test]
    fn the_wheel_is_not_searched_for_a_few_who_have_gone() {
        let server = server();
        let staying: Vec<_> = (0..4 * LITTER).map(|_| server.silent()).collect();
        // It stands in two places from here on, of which one counts.
        server.wants(&staying[0], 3 * SECOND);
        let go = |peers: usize| {
            for _ in 0..peers {
                let peer = server.silent();
                server.close(&peer, crate::ending::CloseReason::Kicked);
            }
        };
        for few in [LITTER - 1, 2 * LITTER] {
            go(few);
            let before = server.entries();
            server.turn_to(SECOND);
            assert_eq!(server.entries(), before);
        }
        go(2 * LITTER);
        server.turn_to(SECOND);
        assert_eq!(server.entries(), staying.len());
        assert_eq!(server.due(4 * SECOND), Some(vec![(4, staying[0].sid)]));
    }

    #[test]
    fn the_wheel_turns_only_while_there_is_something_on_it() {
        let server = server();
        server.wants(&server.stranger(), SECOND);
        assert!(!server.is_turning(), "there is no runtime");
        let runtime = runtime();
        let _entered = runtime.enter();
        server.wants(&server.stranger(), SECOND);
        assert!(server.is_turning());
        assert_eq!(server.due(2 * SECOND).unwrap().len(), 2);
        assert!(server.is_turning());
        assert_eq!(server.due(2 * SECOND), None);
        assert!(!server.is_turning());
        server.wants(&server.stranger(), SECOND);
        assert!(server.is_turning());
    }

    #[test]
    fn another_runtime_goes_on_where_one_has_ended() {
        let server = server();
        let first = runtime();
        first.block_on(async { server.wants(&server.stranger(), SECOND) });
        assert!(server.is_turning());
        drop(first);
        assert!(!server.is_turning());
        let second = runtime();
        second.block_on(async { server.wants(&server.stranger(), SECOND) });
        assert!(server.is_turning());
        assert_eq!(server.entries(), 2);
    }

    #[test]
    fn a_task_that_stopped_in_order_leaves_the_next_one_alone() {
        let server = server();
        for armed in [false, true] {
            lock(&server.inner.sweeper.wheel).turning = true;
            let turning = Turning {
                server: Arc::downgrade(&server.inner),
                armed,
            };
            drop(turning);
            assert_eq!(server.is_turning(), !armed);
        }
    }

    #[tokio::test]
    async fn the_task_ends_what_is_due_and_then_itself() {
        let limits = Limits {
            ping_timeout: Duration::from_millis(10),
            connect_timeout: Duration::from_millis(1),
            ..Limits::default()
        };
        let server = PeerData::with(Settings {
            limits: Arc::new(limits),
            ..Settings::default()
        });
        let sid = SessionId::random().unwrap();
        let limits = &server.inner.settings.limits;
        let (session, _) = Session::json(limits, server.at(Duration::ZERO));
        server.register(sid, session, Arrival::default());
        let over = async {
            while server.session(&sid).is_some() || server.is_turning() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, over).await.unwrap();
        assert_eq!(server.entries(), 0);
    }
}
