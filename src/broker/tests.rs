//! The broker against a naive model and from several threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Inbox {
    signals: Mutex<Vec<Signal>>,
    refusal: Option<Undelivered>,
}

impl Mailbox for Inbox {
    fn deliver(self: &Arc<Self>, signal: &Signal) -> Result<(), Undelivered> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        self.signals.lock().unwrap().push(signal.clone());
        Ok(())
    }
}

fn peer(broker: &Broker<Inbox>) -> (PeerId, Arc<Inbox>) {
    let id = PeerId::random().unwrap();
    let inbox = Arc::<Inbox>::default();
    broker.attach(id, Arc::clone(&inbox)).unwrap();
    (id, inbox)
}

fn signal() -> Signal {
    Signal::new("X", None, &0).unwrap()
}

#[test]
fn a_route_needs_both_in_the_room() {
    let broker = Broker::new();
    let (ann, _) = peer(&broker);
    let (ben, _) = peer(&broker);
    let room = RoomId::new("r").unwrap();
    assert_eq!(
        broker.route(&ann, &ben, "r").err(),
        Some(BrokerError::NotInRoom)
    );
    broker.join(&ann, &room).unwrap();
    assert_eq!(
        broker.route(&ann, &ben, "r").err(),
        Some(BrokerError::NoSuchPeer)
    );
    let nobody = PeerId::random().unwrap();
    assert_eq!(
        broker.route(&ann, &nobody, "r").err(),
        Some(BrokerError::NoSuchPeer)
    );
    broker.join(&ben, &room).unwrap();
    assert!(broker.route(&ann, &ben, "r").is_ok());
    assert!(broker.route(&ben, &ann, "r").is_ok());
}

#[test]
fn a_full_room_takes_only_those_who_are_there() {
    let broker = Broker::new();
    let room = RoomId::new("r").unwrap();
    let [(ann, _), (ben, _)] = [peer(&broker), peer(&broker)];
    let join = |id, capacity| {
        broker
            .join_within(id, &room, capacity)
            .map(|joined| joined.newly)
    };
    assert_eq!(join(&ann, 0), Err(BrokerError::RoomFull));
    assert_eq!((broker.room_count(), broker.room_count_of(&ann)), (0, 0));
    assert_eq!(join(&ann, 1), Ok(true));
    assert_eq!(join(&ben, 1), Err(BrokerError::RoomFull));
    assert!(!broker.is_member(&ben, "r"));
    assert_eq!(join(&ann, 1), Ok(false), "that is no new place");
    assert_eq!(join(&ben, 2), Ok(true));
    broker.leave(&ann, "r").unwrap();
    assert_eq!(join(&ann, 2), Ok(true));
}

#[test]
fn the_last_place_is_one_peers_alone() {
    let broker = Broker::new();
    let room = RoomId::new("r").unwrap();
    let ids: Vec<_> = (0..8).map(|_| peer(&broker).0).collect();
    for _ in 0..200 {
        let joined = std::thread::scope(|scope| {
            let join = |id| broker.join_within(id, &room, 3).is_ok();
            let threads: Vec<_> = ids.iter().map(|id| scope.spawn(move || join(id))).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.filter(|joined| *joined).count()
        });
        assert_eq!((joined, broker.members("r").len()), (3, 3));
        for id in &ids {
            broker.leave(id, "r");
        }
    }
}

#[test]
fn a_room_named_like_a_peer_is_only_a_room() {
    let broker = Broker::new();
    let (ann, inbox) = peer(&broker);
    let (eve, taps) = peer(&broker);
    broker
        .join(&eve, &RoomId::new(ann.as_str()).unwrap())
        .unwrap();
    assert_eq!(broker.to_peer(&ann, &signal()).delivered, 1);
    assert_eq!(inbox.signals.lock().unwrap().len(), 1);
    assert!(taps.signals.lock().unwrap().is_empty());
}

#[test]
fn full_mailboxes_are_named_and_closed_ones_passed_over() {
    let broker = Broker::new();
    let room = RoomId::new("r").unwrap();
    let mut ids = Vec::new();
    for refusal in [None, Some(Undelivered::Full), Some(Undelivered::Closed)] {
        let id = PeerId::random().unwrap();
        let inbox = Inbox {
            refusal,
            ..Inbox::default()
        };
        broker.attach(id, Arc::new(inbox)).unwrap();
        broker.join(&id, &room).unwrap();
        ids.push(id);
    }
    let delivery = broker.to_room(&room, None, &signal());
    assert_eq!((delivery.delivered, delivery.full), (1, vec![ids[1]]));
}

#[test]
fn an_id_is_attached_once() {
    let broker = Broker::new();
    let (ann, inbox) = peer(&broker);
    let again = broker.attach(ann, Arc::default());
    assert_eq!(again, Err(BrokerError::AlreadyAttached));
    assert_eq!(broker.to_peer(&ann, &signal()).delivered, 1);
    assert_eq!(inbox.signals.lock().unwrap().len(), 1);
}

#[test]
fn a_departure_reports_those_who_are_left_at_that_moment() {
    let broker = Broker::new();
    let room = RoomId::new("r").unwrap();
    let ids: Vec<_> = (0..3).map(|_| peer(&broker).0).collect();
    for id in &ids {
        broker.join(id, &room).unwrap();
    }
    let departures = broker.detach(&ids[0]);
    assert_eq!(departures.len(), 1);
    let (late, inbox) = peer(&broker);
    broker.join(&late, &room).unwrap();
    assert_eq!(departures[0].others.ids().collect::<Vec<_>>(), &ids[1..]);
    assert_eq!(departures[0].others.deliver(None, &signal()).delivered, 2);
    assert!(inbox.signals.lock().unwrap().is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Join(usize, usize),
    Leave(usize, usize),
    Detach(usize),
    Attach(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6usize, 0..4usize).prop_map(|(p, r)| Op::Join(p, r)),
        2 => (0..6usize, 0..4usize).prop_map(|(p, r)| Op::Leave(p, r)),
        1 => (0..6usize).prop_map(Op::Detach),
        2 => (0..6usize).prop_map(Op::Attach),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_map_of_sets(ops in prop::collection::vec(op(), 0..120)) {
        let broker = Broker::new();
        let ids: Vec<_> = (0..6).map(|_| PeerId::random().unwrap()).collect();
        let rooms: Vec<_> = (0..4).map(|n| RoomId::new(&format!("room {n}")).unwrap()).collect();
        // peer -> the rooms it is in
        let mut model: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Attach(p) => {
                    let fresh = !model.contains_key(&p);
                    prop_assert_eq!(broker.attach(ids[p], Arc::<Inbox>::default()).is_ok(), fresh);
                    model.entry(p).or_default();
                }
                Op::Detach(p) => {
                    let left = broker.detach(&ids[p]).len();
                    prop_assert_eq!(left, model.remove(&p).map_or(0, |rooms| rooms.len()));
                }
                Op::Join(p, r) => match (broker.join(&ids[p], &rooms[r]), model.get_mut(&p)) {
                    (Ok(joined), Some(mine)) => prop_assert_eq!(joined.newly, mine.insert(r)),
                    (Err(e), None) => prop_assert_eq!(e, BrokerError::NotAttached),
                    _ => prop_assert!(false, "only an attached peer joins"),
                },
                Op::Leave(p, r) => {
                    let was_there = model.get_mut(&p).is_some_and(|mine| mine.remove(&r));
                    prop_assert_eq!(broker.leave(&ids[p], rooms[r].as_str()).is_some(), was_there);
                }
            }
            for (r, room) in rooms.iter().enumerate() {
                let expected: BTreeSet<_> =
                    model.iter().filter(|(_, mine)| mine.contains(&r)).map(|(p, _)| ids[*p]).collect();
                let members: BTreeSet<_> = broker.members(room.as_str()).ids().collect();
                prop_assert_eq!(members, expected);
            }
            prop_assert_eq!(broker.peer_count(), model.len());
            let occupied: BTreeSet<_> = model.values().flatten().collect();
            prop_assert_eq!(broker.room_count(), occupied.len());
        }
    }
}

proptest! {
    /// Each thread has peers of its own, and all have the same rooms.
    #[test]
    fn behaves_like_a_map_of_sets_from_several_threads(
        scripts in prop::collection::vec(prop::collection::vec(op(), 0..60), 3),
    ) {
        let broker = Broker::<Inbox>::new();
        let rooms: Vec<_> = (0..4).map(|n| RoomId::new(&format!("room {n}")).unwrap()).collect();
        let expected: BTreeSet<(usize, PeerId)> = std::thread::scope(|scope| {
            let run = |script: Vec<Op>| {
                let ids: Vec<_> = (0..6).map(|_| PeerId::random().unwrap()).collect();
                let mut model: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
                for op in script {
                    match op {
                        Op::Attach(p) => {
                            let fresh = !model.contains_key(&p);
                            assert_eq!(broker.attach(ids[p], Arc::default()).is_ok(), fresh);
                            model.entry(p).or_default();
                        }
                        Op::Detach(p) => {
                            let left = broker.detach(&ids[p]).len();
                            assert_eq!(left, model.remove(&p).map_or(0, |rooms| rooms.len()));
                        }
                        Op::Join(p, r) => {
                            let newly = broker.join(&ids[p], &rooms[r]).ok().map(|joined| joined.newly);
                            assert_eq!(newly, model.get_mut(&p).map(|mine| mine.insert(r)));
                        }
                        Op::Leave(p, r) => {
                            let was_there = model.get_mut(&p).is_some_and(|mine| mine.remove(&r));
                            let left = broker.leave(&ids[p], rooms[r].as_str());
                            assert_eq!(left.is_some(), was_there);
                        }
                    }
                    for (p, mine) in &model {
                        for (r, room) in rooms.iter().enumerate() {
                            assert_eq!(broker.is_member(&ids[*p], room.as_str()), mine.contains(&r));
                        }
                    }
                }
                let places = model.into_iter().flat_map(|(p, mine)| mine.into_iter().map(move |r| (p, r)));
                places.map(|(p, r)| (r, ids[p])).collect::<BTreeSet<_>>()
            };
            let threads: Vec<_> = scripts.into_iter().map(|script| scope.spawn(move || run(script))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let found = rooms.iter().enumerate().flat_map(|(r, room)| {
            broker.members(room.as_str()).ids().map(|id| (r, id)).collect::<Vec<_>>()
        });
        prop_assert_eq!(found.collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn threads_that_join_and_go_leave_nothing_behind() {
    let broker = Broker::<Inbox>::new();
    let rooms: Vec<_> = (0..3)
        .map(|n| RoomId::new(&n.to_string()).unwrap())
        .collect();
    let shared = PeerId::random().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..300 {
                    let (own, _) = peer(&broker);
                    // One id that all threads attach and detach at once, besides their own.
                    let _ = broker.attach(shared, Arc::default());
                    for id in [own, shared] {
                        let _ = broker.join(&id, &rooms[round % 3]);
                        let _ = broker.to_room(&rooms[round % 3], Some(&own), &signal());
                        broker.detach(&id);
                    }
                }
            });
        }
    });
    assert_eq!((broker.peer_count(), broker.room_count()), (0, 0));
}
