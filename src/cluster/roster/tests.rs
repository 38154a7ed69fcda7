//! Rosters of several nodes against each other, over lanes that delay and lose.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::id::RoomId;

const SECOND: Duration = Duration::from_secs(1);
const NODES: usize = 3;

fn node(number: usize) -> NodeId {
    format!("nod{number}").parse().unwrap()
}

fn number_of(node: NodeId) -> usize {
    node.as_str()[3..].parse().unwrap()
}

/// A peer of a node, by a number.
fn peer(at: usize, number: usize) -> PeerId {
    format!("nod{at}{number:016}").parse().unwrap()
}

fn signal(text: &str) -> Signal {
    Signal::new("CHAT", RoomId::new("r").ok().as_ref(), text).unwrap()
}

/// What local members of a node have heard.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Came(PeerId),
    CameSilently(PeerId),
    Announced(PeerId),
    Went(PeerId),
    Said(String),
    Lost,
}

/// To a node by a room (true) or by itself: within each there is order.
type Lane = (usize, usize, bool);

struct World {
    now: Instant,
    rosters: Vec<Option<Roster>>,
    stamps: Vec<Stamps>,
    /// The subscription has been asked for, and is not in effect.
    pending: BTreeSet<usize>,
    lanes: BTreeMap<Lane, VecDeque<About>>,
    heard: Vec<Vec<Heard>>,
    truth: BTreeSet<(usize, usize)>,
    said: u64,
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            rosters: (0..NODES).map(|_| None).collect(),
            stamps: (0..NODES).map(|_| Stamps::default()).collect(),
            pending: BTreeSet::new(),
            lanes: BTreeMap::new(),
            heard: vec![Vec::new(); NODES],
            truth: BTreeSet::new(),
            said: 0,
        }
    }

    fn join(&mut self, at: usize, number: usize) {
        if !self.truth.insert((at, number)) {
            return;
        }
        let now = self.now;
        if self.rosters[at].is_none() {
            // Nobody there has heard anything yet.
            self.heard[at].clear();
            self.pending.insert(at);
            self.rosters[at] = Some(Roster::new(
                node(at),
                self.stamps[at].next(),
                100,
                &budget(),
                now,
            ));
        }
        let member = Member {
            id: peer(at, number),
            wire: 1,
        };
        let mut effects = Vec::new();
        let roster = self.rosters[at].as_mut().unwrap();
        let signal = signal("came");
        roster.join(member, &signal, (&self.stamps[at], now), &mut effects);
        self.carry_out(at, effects);
    }

    fn leave(&mut self, at: usize, number: usize) {
        if !self.truth.remove(&(at, number)) {
            return;
        }
        let mut effects = Vec::new();
        let roster = self.rosters[at].as_mut().unwrap();
        roster.leave(&peer(at, number), None, &self.stamps[at], &mut effects);
        let is_over = !roster.has_local();
        self.carry_out(at, effects);
        if is_over {
            self.rosters[at] = None;
            self.pending.remove(&at);
            self.lanes
                .retain(|(_, to, by_room), _| *to != at || !*by_room);
        }
    }

    fn say(&mut self, at: usize, number: usize) {
        if self.truth.contains(&(at, number)) {
            self.said += 1;
            let text = format!("{:08} by {}", self.said, peer(at, number));
            let mut effects = Vec::new();
            let roster = self.rosters[at].as_mut().unwrap();
            roster.say(&peer(at, number), &signal(&text), &mut effects);
            self.carry_out(at, effects);
        }
    }

    fn be_ready(&mut self, at: usize) {
        if self.pending.remove(&at) {
            let mut effects = Vec::new();
            let roster = self.rosters[at].as_mut().unwrap();
            roster.ready(&self.stamps[at], self.now, &mut effects);
            self.carry_out(at, effects);
        }
    }

    fn lose_connection(&mut self, at: usize) {
        if let Some(roster) = &mut self.rosters[at] {
            roster.lost();
            self.pending.insert(at);
            self.lanes.retain(|(_, to, _), _| *to != at);
        }
    }

    fn is_subscribed(&self, at: usize) -> bool {
        self.rosters[at].is_some() && !self.pending.contains(&at)
    }

    fn carry_out(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish(said) => {
                    for to in (0..NODES).filter(|to| *to != at) {
                        if self.is_subscribed(to) {
                            let lane = self.lanes.entry((at, to, true)).or_default();
                            lane.push_back(said.clone());
                        }
                    }
                }
                Effect::Tell(to, said) => {
                    let lane = self.lanes.entry((at, number_of(to), false)).or_default();
                    lane.push_back(said);
                }
                Effect::Came {
                    member, silently, ..
                } => self.heard[at].push(if silently {
                    Heard::CameSilently(member.id)
                } else {
                    Heard::Came(member.id)
                }),
                Effect::Announce { member, .. } => {
                    self.heard[at].push(Heard::Announced(member.id));
                }
                Effect::Went { member, .. } => self.heard[at].push(Heard::Went(member.id)),
                Effect::Said(signal) => {
                    self.heard[at].push(Heard::Said(signal.payload().unwrap()));
                }
                Effect::Direct { .. } => {}
                Effect::Lost(_) => self.heard[at].push(Heard::Lost),
            }
        }
    }

    /// What is first on some lane arrives, or not.
    fn advance(&mut self, lane: usize, arrives: bool) -> bool {
        let lanes = self.lanes.iter().filter(|(_, lane)| !lane.is_empty());
        let lanes: Vec<Lane> = lanes.map(|(key, _)| *key).collect();
        if lanes.is_empty() {
            return false;
        }
        let key = lanes[lane % lanes.len()];
        let said = self.lanes.get_mut(&key).unwrap().pop_front().unwrap();
        let (from, to, _) = key;
        if !arrives {
            return true;
        }
        let mut effects = Vec::new();
        if let Some(roster) = &mut self.rosters[to] {
            roster.handle(node(from), said, self.now, &mut effects);
        } else if let About::Ask { asks, .. } = said {
            let position = self.stamps[to].next();
            let said = About::Roster {
                position,
                members: Vec::new(),
                asks: 0,
                answers: asks,
                silent: false,
            };
            effects.push(Effect::Tell(node(from), said));
        }
        self.carry_out(to, effects);
        true
    }

    fn pass(&mut self, time: Duration, checks: bool) {
        self.now += time;
        for at in 0..NODES {
            let mut effects = Vec::new();
            if let Some(roster) = &mut self.rosters[at] {
                roster.tick(self.now, &mut effects);
                if checks {
                    roster.check(self.now, &mut effects);
                }
            }
            self.carry_out(at, effects);
        }
    }

    /// Nothing is lost any more.
    fn heal(&mut self) {
        for _ in 0..6 {
            for at in 0..NODES {
                self.be_ready(at);
            }
            while self.advance(0, true) {}
            self.pass(STALE, true);
            while self.advance(0, true) {}
        }
    }

    fn judge(&self) {
        for at in 0..NODES {
            self.judge_what_was_heard(at);
            let Some(roster) = &self.rosters[at] else {
                continue;
            };
            let known: BTreeSet<_> = roster.remote_members().map(|member| member.id).collect();
            let truth = self.truth.iter().filter(|(other, _)| *other != at);
            let truth: BTreeSet<_> = truth.map(|(at, number)| peer(*at, *number)).collect();
            assert_eq!(known, truth, "what node {at} knows");
            assert!(!roster.is_waiting(), "nothing is left over");
        }
    }

    /// Everybody comes and goes in turns, and speaks in between, in order.
    fn judge_what_was_heard(&self, at: usize) {
        let mut there = BTreeSet::new();
        let mut last = BTreeMap::new();
        for heard in &self.heard[at] {
            match heard {
                Heard::Came(id) | Heard::CameSilently(id) => {
                    assert!(there.insert(*id), "{id} comes once: {:?}", self.heard[at]);
                }
                Heard::Announced(id) => assert!(there.contains(id)),
                Heard::Went(id) => assert!(there.remove(id), "{id} goes once"),
                Heard::Said(text) => {
                    let (number, by) = text.split_once(" by ").unwrap();
                    let by: PeerId = by.parse().unwrap();
                    assert!(there.contains(&by), "{by} speaks while it is there");
                    let before = last.insert(by, number.to_owned());
                    assert!(before < Some(number.to_owned()), "in order and once");
                }
                Heard::Lost => {}
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Leave(usize, usize),
    Say(usize, usize),
    Ready(usize),
    Disconnect(usize),
    Arrive(usize),
    Vanish(usize),
    Pass(u64),
}

fn step(losses: bool) -> impl Strategy<Value = Step> {
    let at = 0..NODES;
    let who = (at.clone(), 0..3_usize);
    prop_oneof![
        3 => who.clone().prop_map(|(at, number)| Step::Join(at, number)),
        2 => who.clone().prop_map(|(at, number)| Step::Leave(at, number)),
        3 => who.prop_map(|(at, number)| Step::Say(at, number)),
        3 => at.clone().prop_map(Step::Ready),
        u32::from(losses) => at.prop_map(Step::Disconnect),
        12 => any::<usize>().prop_map(Step::Arrive),
        2 * u32::from(losses) => any::<usize>().prop_map(Step::Vanish),
        1 => (0..6_000_u64).prop_map(Step::Pass),
    ]
}

impl World {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Join(at, number) => self.join(at, number),
            Step::Leave(at, number) => self.leave(at, number),
            Step::Say(at, number) => self.say(at, number),
            Step::Ready(at) => self.be_ready(at),
            Step::Disconnect(at) => self.lose_connection(at),
            Step::Arrive(lane) => {
                self.advance(lane, true);
            }
            Step::Vanish(lane) => {
                self.advance(lane, false);
            }
            Step::Pass(millis) => self.pass(Duration::from_millis(millis), false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_is_lost_or_late_all_know_the_same_in_the_end(
        steps in prop::collection::vec(step(true), 0..120),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.heal();
        world.judge();
    }

    /// Where nothing is lost nobody has to wait for a comparison.
    #[test]
    fn what_is_only_late_is_never_lost(
        steps in prop::collection::vec(step(false), 0..120),
    ) {
        let mut world = World::new();
        for step in &steps {
            if !matches!(step, Step::Pass(_)) {
                world.take(step);
            }
        }
        for at in 0..NODES {
            world.be_ready(at);
        }
        while world.advance(0, true) {}
        world.pass(SECOND, false);
        while world.advance(0, true) {}
        world.judge();
    }
}

/// Two peers meet in a room that is new to both nodes.
fn meet(world: &mut World) {
    world.join(0, 0);
    world.be_ready(0);
    world.join(1, 0);
    world.be_ready(1);
    while world.advance(0, true) {}
}

fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(usize::MAX))
}

#[test]
fn those_who_were_there_hear_of_the_newcomer_and_not_the_other_way_round() {
    let mut world = World::new();
    meet(&mut world);
    assert!(world.heard[0].is_empty(), "he may be the first as well");
    world.pass(CLUSTER_ROSTER_PATIENCE, false);
    assert_eq!(world.heard[0], [Heard::Came(peer(1, 0))]);
    assert_eq!(world.heard[1], [Heard::CameSilently(peer(0, 0))]);
}

/// Each was asked before it knew of the other.
#[test]
fn of_two_who_come_in_the_same_moment_one_hears_of_the_other() {
    for order in 0..4 {
        let mut world = World::new();
        for at in 0..2 {
            world.join(at, 0);
        }
        // The subscriptions are in effect before either has said anything.
        let stamps = &world.stamps;
        let effects: Vec<_> = (0..2)
            .map(|at| {
                let mut effects = Vec::new();
                let roster = world.rosters[at].as_mut().unwrap();
                roster.ready(&stamps[at], world.now, &mut effects);
                effects
            })
            .collect();
        world.pending.clear();
        for (at, effects) in effects.into_iter().enumerate() {
            world.carry_out(at, effects);
        }
        while world.advance(order, true) {}
        let aloud = |heard: &Heard| matches!(heard, Heard::Came(_) | Heard::Announced(_));
        let heard = world.heard[..2].iter().flatten();
        assert_eq!(
            heard.filter(|heard| aloud(heard)).count(),
            1,
            "{:?}",
            world.heard
        );
        world.judge();
    }
}

#[test]
fn a_room_of_one_node_says_nothing_of_what_is_said_in_it() {
    let mut world = World::new();
    world.join(0, 0);
    world.join(0, 1);
    world.be_ready(0);
    let roster = world.rosters[0].as_mut().unwrap();
    let mut effects = Vec::new();
    assert_eq!(roster.say(&peer(0, 0), &signal("x"), &mut effects), 0);
    assert!(effects.is_empty());
}

#[test]
fn what_is_said_before_anybody_can_hear_it_is_said_later_and_in_order() {
    let mut world = World::new();
    world.join(1, 0);
    world.be_ready(1);
    world.pass(SECOND, false);
    world.join(0, 0);
    world.say(0, 0);
    world.join(0, 1);
    world.be_ready(0);
    while world.advance(0, true) {}
    let said = Heard::Said(format!("{:08} by {}", 1, peer(0, 0)));
    let came = [0, 1].map(|number| Heard::Came(peer(0, number)));
    assert_eq!(world.heard[1], [came[0].clone(), said, came[1].clone()]);
}

#[test]
fn what_waits_to_be_said_is_bounded() {
    let mut world = World::new();
    world.join(0, 0);
    let roster = world.rosters[0].as_mut().unwrap();
    let long = signal(&"x".repeat(CLUSTER_UNSAID_BYTES / 4));
    let mut effects = Vec::new();
    for _ in 0..10 {
        roster.say(&peer(0, 0), &long, &mut effects);
    }
    assert!(roster.unsaid_bytes <= CLUSTER_UNSAID_BYTES);
    let lost = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Lost(1)));
    assert_eq!(lost.count(), 7);

    // Whoever leaves takes along what was to be said of it.
    let budget = Arc::clone(&roster.budget);
    world.join(0, 1);
    world.leave(0, 0);
    let roster = world.rosters[0].as_ref().unwrap();
    assert!(roster.unsaid_bytes < 1_000, "that of the other");
    assert_eq!(budget.used(), roster.unsaid_bytes);
    world.leave(0, 1);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_waits_for_news_is_bounded_in_bytes_and_time() {
    let now = Instant::now();
    let mut roster = Roster::new(node(0), 1, 100, &budget(), now);
    let mut effects = Vec::new();
    for _ in 0..10 {
        let said = About::Said {
            at: 5,
            caller: peer(1, 0),
            signal: signal(&"x".repeat(300_000)),
        };
        roster.handle(node(1), said, now, &mut effects);
    }
    let asked = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Tell(..)));
    assert_eq!(asked.count(), 1, "and is asked for once");
    let lost = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Lost(1)));
    assert_eq!(lost.count(), 7);
    assert!(roster.is_waiting());
    effects.clear();
    roster.tick(now + 10 * SECOND, &mut effects);
    let lost = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Lost(1)));
    assert_eq!(lost.count(), 3);
    assert!(!roster.is_waiting());
}

#[test]
fn a_node_speaks_for_its_own_peers_only_and_for_so_many() {
    let now = Instant::now();
    let mut roster = Roster::new(node(0), 1, 2, &budget(), now);
    let mut effects = Vec::new();
    let member = |at, number| Member {
        id: peer(at, number),
        wire: 1,
    };
    let said = About::Roster {
        position: 1,
        members: vec![member(2, 0), member(1, 0), member(1, 1), member(1, 2)],
        asks: 0,
        answers: 0,
        silent: false,
    };
    roster.handle(node(1), said, now, &mut effects);
    let known: Vec<_> = roster.remote_members().collect();
    assert_eq!(known, [member(1, 0), member(1, 1)]);
}

#[test]
fn a_node_that_is_gone_takes_its_members_with_it_once() {
    let mut world = World::new();
    meet(&mut world);
    world.pass(SECOND, false);
    let roster = world.rosters[0].as_mut().unwrap();
    let mut effects = Vec::new();
    roster.node_gone(node(1), &mut effects);
    roster.node_gone(node(1), &mut effects);
    assert!(matches!(
        effects[..],
        [Effect::Went { member, .. }] if member.id == peer(1, 0)
    ));
    assert_eq!(roster.remote_count(), 0);
}

#[test]
fn a_room_is_settled_once_all_have_answered_or_had_the_time_to() {
    let now = Instant::now();
    let patience = CLUSTER_ROSTER_PATIENCE;
    let others = || [node(1), node(2)].into_iter();
    let mut world = World::new();
    world.join(0, 0);
    let roster = world.rosters[0].as_mut().unwrap();
    assert!(!roster.is_settled(true, others(), now));
    assert!(roster.is_settled(false, others(), now), "there is nobody");
    assert!(roster.is_settled(true, others(), now + 3 * patience));
    world.be_ready(0);
    let now = world.now;
    let answer = || About::Roster {
        position: 1,
        members: Vec::new(),
        asks: 0,
        answers: 0,
        silent: true,
    };
    let roster = world.rosters[0].as_mut().unwrap();
    let mut effects = Vec::new();
    roster.handle(node(1), answer(), now, &mut effects);
    assert!(!roster.is_settled(true, others(), now));
    assert!(roster.is_settled(true, others(), now + patience));
    roster.handle(node(2), answer(), now, &mut effects);
    assert!(roster.is_settled(true, others(), now));
}

#[test]
fn what_is_unsaid_in_all_rooms_has_one_bound() {
    let now = Instant::now();
    let signal = signal("x");
    let each = signal.size() + CLUSTER_ITEM_OVERHEAD;
    let budget = Arc::new(Budget::new(3 * each));
    let stamps = Stamps::default();
    let mut rooms = [(); 2].map(|()| Roster::new(node(0), 1, 100, &budget, now));
    let say = |roster: &mut Roster, number| {
        let mut out = Vec::new();
        let member = Member {
            id: peer(0, number),
            wire: 0,
        };
        roster.join(member, &signal, (&stamps, now), &mut out);
        roster.say(&member.id, &signal, &mut out);
        // One is lost for each that there was no room for, besides what a join has said.
        out.len()
    };
    let [one, two] = &mut rooms;
    assert_eq!((say(one, 1), say(two, 2)), (0, 1));
    // What the one has said is said, and what the other has is gone with it.
    one.ready(&stamps, now, &mut Vec::new());
    let mut third = Roster::new(node(0), 1, 100, &budget, now);
    assert_eq!(say(&mut third, 3), 0);
    drop(third);
    let mut fourth = Roster::new(node(0), 1, 100, &budget, now);
    assert_eq!(say(&mut fourth, 4), 0);
}
