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
