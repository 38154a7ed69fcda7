//! What a node has to do about its rooms as time passes: never all at once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::cluster::jitter;
use crate::id::{NodeId, RoomId};
use crate::limits::CLUSTER_EMPTIED_ROOMS;

/// How often the node looks at what is due.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Rooms that are asked about, or that others are told of, in one tick: 500 a second, so that a bus
/// which returns does not meet all rooms in one moment.
const PACE: usize = 50;

/// Rooms that are compared in one tick: 100 a second.
const COMPARED: usize = 10;

/// From one comparison of all rooms to the next, at least.
const ROUND: Duration = Duration::from_secs(45);

#[derive(Debug)]
pub(super) struct Agenda {
    next_tick: Instant,
    /// Rooms in which something waits for news.
    waiting: HashSet<RoomId>,
    /// Rooms whose other nodes are to be asked, all of them or one.
    dirty: HashMap<RoomId, Option<NodeId>>,
    /// Rooms that have no local member any more, which nobody has heard yet.
    emptied: HashSet<RoomId>,
    /// Rooms that are still to be compared in this round.
    round: Vec<RoomId>,
    next_round: Instant,
}

impl Agenda {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next_tick: now,
            waiting: HashSet::new(),
            dirty: HashMap::new(),
            emptied: HashSet::new(),
            round: Vec::new(),
            next_round: now + ROUND + jitter(ROUND / 3),
        }
    }

    /// Whether a tick is due; the next one is a while after.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next_tick;
        if due {
            self.next_tick = now + TICK;
        }
        due
    }

    pub(super) fn wait(&mut self, room: &RoomId) {
        if !self.waiting.contains(room) {
            self.waiting.insert(room.clone());
        }
    }

    pub(super) fn take_waiting(&mut self) -> Vec<RoomId> {
        self.waiting.drain().collect()
    }

    pub(super) fn soil(&mut self, room: RoomId, only: Option<NodeId>) {
        self.dirty
            .entry(room)
            .and_modify(|other| {
                if *other != only {
                    *other = None;
                }
            })
            .or_insert(only);
    }

    pub(super) fn take_dirty(&mut self) -> Vec<(RoomId, Option<NodeId>)> {
        let rooms: Vec<_> = self.dirty.keys().take(PACE).cloned().collect();
        let rooms = rooms.into_iter();
        rooms
            .filter_map(|room| self.dirty.remove_entry(&room))
            .collect()
    }

    /// Of one too many, the others ask by themselves once they have not heard of it for long.
    pub(super) fn empty(&mut self, room: &RoomId) {
        if self.emptied.len() < CLUSTER_EMPTIED_ROOMS {
            self.emptied.insert(room.clone());
        }
    }

    /// There is a local member again, and others will hear of that. Whether they had yet to hear that
    /// there was none.
    pub(super) fn fill(&mut self, room: &str) -> bool {
        self.emptied.remove(room)
    }

    pub(super) fn take_emptied(&mut self) -> Vec<RoomId> {
        let rooms: Vec<_> = self.emptied.iter().take(PACE).cloned().collect();
        let rooms = rooms.into_iter();
        rooms.filter_map(|room| self.emptied.take(&room)).collect()
    }

    /// Whether a new round of comparing rooms begins, which is then to be given their names.
    pub(super) fn is_round_due(&self, now: Instant) -> bool {
        self.round.is_empty() && now >= self.next_round
    }

    /// The next rooms to compare; `all` names those of a new round.
    pub(super) fn take_compared(&mut self, now: Instant, all: Vec<RoomId>) -> Vec<RoomId> {
        if self.is_round_due(now) {
            self.next_round = now + ROUND + jitter(ROUND / 3);
            self.round = all;
        }
        let rest = self.round.len().saturating_sub(COMPARED);
        self.round.split_off(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(number: usize) -> RoomId {
        RoomId::new(&number.to_string()).unwrap()
    }

    #[test]
    fn a_returning_bus_does_not_meet_all_rooms_in_one_moment() {
        let mut agenda = Agenda::new(Instant::now());
        let node = "node".parse().ok();
        for number in 0..10_000 {
            agenda.soil(room(number), node);
            agenda.soil(room(number), node);
        }
        agenda.soil(room(7), None);
        let mut asked = HashMap::new();
        for ticks in 1.. {
            let some = agenda.take_dirty();
            assert!(some.len() <= PACE);
            if some.is_empty() {
                assert_eq!(ticks, 10_000 / PACE + 1);
                break;
            }
            asked.extend(some);
        }
        assert_eq!(asked.len(), 10_000);
        assert_eq!((asked[&room(7)], asked[&room(8)]), (None, node));
    }

    #[test]
    fn so_many_rooms_are_kept_in_mind_and_no_more() {
        let mut agenda = Agenda::new(Instant::now());
        for number in 0..=CLUSTER_EMPTIED_ROOMS {
            agenda.empty(&room(number));
        }
        assert!(agenda.fill("7") && !agenda.fill("7"));
        assert!(!agenda.fill(&CLUSTER_EMPTIED_ROOMS.to_string()));
    }

    #[test]
    fn all_rooms_are_compared_in_turns_and_not_too_often() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start);
        let all: Vec<_> = (0..25).map(room).collect();
        assert!(!agenda.is_round_due(start));
        assert!(agenda.take_compared(start, all.clone()).is_empty());
        let later = start + 2 * ROUND;
        assert!(agenda.is_round_due(later));
        let compared: Vec<_> = (0..4)
            .flat_map(|_| agenda.take_compared(later, all.clone()))
            .collect();
        assert_eq!(compared.iter().collect::<HashSet<_>>().len(), 25);
        assert_eq!(compared.len(), 25);
        assert!(!agenda.is_round_due(later));
        assert!(agenda.take_compared(later, all).is_empty());
    }
}
