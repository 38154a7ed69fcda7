//! How the calls of a room stand, pair by pair, told from the types of events alone.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use serde::Serialize;

use crate::broker::{Drawn, shrink};
use crate::id::PeerId;
use crate::limits::MAX_PAIRS;
use crate::observe::Said;

/// Each pair is kept with the one who has made the offer.
pub(super) struct Pairs {
    /// Of clients of this node alone: nobody chooses the keys.
    offers: Drawn<PeerId, Vec<Pair>>,
    /// Rooms are known by their hash: their names are as long as clients like.
    rooms: RandomState,
}

struct Pair {
    to: PeerId,
    room: u64,
    offered: Instant,
    answered: Option<Instant>,
    /// Of the one who has offered, and of the other, since the offer.
    candidates: [u32; 2],
    /// The other has made an offer too, before it has answered.
    glare: bool,
}

/// A pair as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct PairView {
    from: PeerId,
    to: PeerId,
    state: State,
    /// For how long, in seconds.
    seconds: f64,
    /// How many candidates each has sent since the offer, `from` first.
    candidates: [u32; 2],
    /// Both have made an offer before one was answered.
    glare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The offer has no answer yet.
    Offered,
    /// It has, and one of the two has sent no candidate.
    Answered,
    /// There is an answer, and candidates of both.
    Negotiated,
}

impl Pairs {
    pub(super) fn new() -> Self {
        Self {
            offers: Drawn::new(),
            rooms: RandomState::new(),
        }
    }

    pub(super) fn said(&self, said: Said, from: &PeerId, to: &PeerId, room: &str, now: Instant) {
        let room = self.rooms.hash_one(room);
        match said {
            Said::Offer => self.offered(from, to, room, now),
            Said::Answer => {
                let is_known = self.with(to, from, room, |pair| {
                    pair.answered.get_or_insert(now);
                });
                if is_known {
                    // Where two offers have met, it has given up its own.
                    self.take(from, to, room, |pair| pair.answered.is_none());
                }
            }
            Said::Candidate => {
                let count = |at: usize| {
                    move |pair: &mut Pair| {
                        pair.candidates[at] = pair.candidates[at].saturating_add(1);
                    }
                };
                if !self.with(from, to, room, count(0)) {
                    self.with(to, from, room, count(1));
                }
            }
            _ => {}
        }
    }

    fn offered(&self, from: &PeerId, to: &PeerId, room: u64, now: Instant) {
        let mut met = false;
        // One after the other, never both at once. One who offers after the other has been answered
        // begins anew, in its own name.
        self.take(to, from, room, |pair| {
            met = pair.answered.is_none();
            pair.glare |= met;
            !met
        });
        let mut offers = self.offers.lock(from);
        let offers = offers.entry(*from).or_default();
        offers.retain(|pair| !pair.is(to, room));
        if offers.len() == MAX_PAIRS {
            offers.remove(0);
        }
        offers.push(Pair {
            to: *to,
            room,
            offered: now,
            answered: None,
            candidates: [0, 0],
            glare: met,
        });
    }

    /// A peer is out of a room, and the others with it.
    pub(super) fn left(&self, peer: &PeerId, room: &str, others: impl Iterator<Item = PeerId>) {
        let room = self.rooms.hash_one(room);
        self.retain(peer, |pair| pair.room != room);
        for other in others {
            self.retain(&other, |pair| !pair.is(peer, room));
        }
    }

    /// What is known of those in a room, at most `max` offers; and between how many two of them
    /// there is one.
    pub(super) fn of_room(
        &self,
        room: &str,
        members: &[PeerId],
        max: usize,
        now: Instant,
    ) -> (Vec<PairView>, usize) {
        let room = self.rooms.hash_one(room);
        let mut views: Vec<PairView> = Vec::new();
        for from in members {
            if let Some(offers) = self.offers.lock(from).get(from) {
                let here = offers.iter().filter(|pair| pair.room == room);
                views.extend(here.map(|pair| pair.view(from, now)));
            }
        }
        // Two offers that met are of one pair.
        let pairs = views
            .iter()
            .map(|view| [view.from.min(view.to), view.from.max(view.to)]);
        let begun = pairs.collect::<HashSet<_>>().len();
        // Whoever looks is here for what does not come about; that is not to be cut off.
        views.sort_by(|a, b| {
            let is_done = |view: &PairView| view.state == State::Negotiated;
            let by_state = is_done(a).cmp(&is_done(b));
            by_state.then(b.seconds.total_cmp(&a.seconds))
        });
        views.truncate(max);
        (views, begun)
    }

    /// False if there is no such pair.
    fn with(&self, from: &PeerId, to: &PeerId, room: u64, step: impl FnOnce(&mut Pair)) -> bool {
        let mut offers = self.offers.lock(from);
        let mut pairs = offers.get_mut(from).into_iter().flatten();
        let found = pairs.find(|pair| pair.is(to, room));
        found.map(step).is_some()
    }

    /// Looks at a pair, and forgets it if it is to be.
    fn take(&self, from: &PeerId, to: &PeerId, room: u64, mut over: impl FnMut(&mut Pair) -> bool) {
        self.retain(from, |pair| !(pair.is(to, room) && over(pair)));
    }

    fn retain(&self, peer: &PeerId, keep: impl FnMut(&mut Pair) -> bool) {
        let mut offers = self.offers.lock(peer);
        if let Some(own) = offers.get_mut(peer) {
            own.retain_mut(keep);
            if own.is_empty() {
                offers.remove(peer);
                shrink(&mut offers);
            }
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.offers.len() == 0
    }
}

impl Pair {
    fn is(&self, to: &PeerId, room: u64) -> bool {
        self.to == *to && self.room == room
    }

    fn view(&self, from: &PeerId, now: Instant) -> PairView {
        let state = match (self.answered, self.candidates) {
            (None, _) => State::Offered,
            (Some(_), [0, _] | [_, 0]) => State::Answered,
            (Some(_), _) => State::Negotiated,
        };
        let since = self.answered.unwrap_or(self.offered);
        PairView {
            from: *from,
            to: self.to,
            state,
            seconds: now.saturating_duration_since(since).as_secs_f64(),
            candidates: self.candidates,
            glare: self.glare,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Scene {
        pairs: Pairs,
        start: Instant,
        ann: PeerId,
        ben: PeerId,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                pairs: Pairs::new(),
                start: Instant::now(),
                ann: PeerId::random().unwrap(),
                ben: PeerId::random().unwrap(),
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn ann_says(&self, said: Said, seconds: u64) {
            self.pairs
                .said(said, &self.ann, &self.ben, "r", self.at(seconds));
        }

        fn ben_says(&self, said: Said, seconds: u64) {
            self.pairs
                .said(said, &self.ben, &self.ann, "r", self.at(seconds));
        }

        /// Each pair of the room: by whom, how it stands, since how many seconds, candidates, glare.
        fn shows(&self, seconds: u64) -> Vec<(bool, State, u64, [u32; 2], bool)> {
            let members = [self.ann, self.ben];
            let (views, _) = self.pairs.of_room("r", &members, 10, self.at(seconds));
            let shown = views.iter().map(|view| {
                let since = Duration::from_secs_f64(view.seconds).as_secs();
                (
                    view.from == self.ann,
                    view.state,
                    since,
                    view.candidates,
                    view.glare,
                )
            });
            shown.collect()
        }
    }

    #[test]
    fn a_call_is_followed_from_its_offer_on() {
        let scene = Scene::new();
        scene.ben_says(Said::Answer, 0);
        scene.ben_says(Said::Candidate, 0);
        assert!(
            scene.shows(0).is_empty() && scene.pairs.is_empty(),
            "nobody has offered"
        );
        scene.ann_says(Said::Offer, 1);
        scene.ann_says(Said::Candidate, 2);
        assert_eq!(scene.shows(13), [(true, State::Offered, 12, [1, 0], false)]);
        scene.ben_says(Said::Answer, 14);
        assert_eq!(scene.shows(15), [(true, State::Answered, 1, [1, 0], false)]);
        scene.ben_says(Said::Candidate, 15);
        scene.ben_says(Said::Candidate, 15);
        assert_eq!(
            scene.shows(16),
            [(true, State::Negotiated, 2, [1, 2], false)]
        );
        // Once more, and by the other.
        scene.ben_says(Said::Offer, 20);
        assert_eq!(scene.shows(21), [(false, State::Offered, 1, [0, 0], false)]);
    }

    #[test]
    fn offers_that_meet_are_both_shown() {
        let scene = Scene::new();
        scene.ann_says(Said::Offer, 0);
        scene.ben_says(Said::Offer, 1);
        let offered = |by_ann, since| (by_ann, State::Offered, since, [0, 0], true);
        assert_eq!(scene.shows(2), [offered(true, 2), offered(false, 1)]);
        let members = [scene.ann, scene.ben];
        let (_, begun) = scene.pairs.of_room("r", &members, 10, scene.at(2));
        assert_eq!(begun, 1, "of one pair");
        // Ben gives up his, and what he says from now on is of hers.
        scene.ben_says(Said::Answer, 3);
        scene.ben_says(Said::Candidate, 3);
        scene.ann_says(Said::Candidate, 3);
        let negotiated = (true, State::Negotiated, 1, [1, 1], true);
        assert_eq!(scene.shows(4), [negotiated]);
    }

    #[test]
    fn who_leaves_takes_its_pairs_along() {
        let scene = Scene::new();
        scene.ann_says(Said::Offer, 0);
        scene
            .pairs
            .left(&scene.ben, "other", [scene.ann].into_iter());
        assert_eq!(scene.shows(0).len(), 1, "that was another room");
        scene.pairs.left(&scene.ben, "r", [scene.ann].into_iter());
        assert!(scene.pairs.is_empty());
        scene.ann_says(Said::Offer, 0);
        scene.pairs.left(&scene.ann, "r", std::iter::empty());
        assert!(scene.pairs.is_empty());
    }

    #[test]
    fn one_who_offers_to_everybody_is_bounded() {
        let scene = Scene::new();
        let now = scene.at(0);
        let all: Vec<_> = (0..2 * MAX_PAIRS)
            .map(|_| PeerId::random().unwrap())
            .collect();
        for to in &all {
            scene.pairs.said(Said::Offer, &scene.ann, to, "r", now);
        }
        let (views, begun) = scene.pairs.of_room("r", &[scene.ann], usize::MAX, now);
        let to: Vec<_> = views.iter().map(|view| view.to).collect();
        assert_eq!(to, all[MAX_PAIRS..], "the last are kept");
        assert_eq!(begun, MAX_PAIRS);
    }

    #[test]
    fn what_does_not_come_about_is_not_cut_off() {
        let scene = Scene::new();
        let say = |said, from: &PeerId, to: &PeerId, seconds| {
            scene.pairs.said(said, from, to, "r", scene.at(seconds));
        };
        let others: Vec<_> = (0..5).map(|_| PeerId::random().unwrap()).collect();
        for (seconds, to) in (0..).zip(&others[..3]) {
            say(Said::Offer, &scene.ann, to, seconds);
            say(Said::Answer, to, &scene.ann, seconds);
            say(Said::Candidate, to, &scene.ann, seconds);
            say(Said::Candidate, &scene.ann, to, seconds);
        }
        say(Said::Offer, &scene.ann, &others[3], 4);
        say(Said::Answer, &others[3], &scene.ann, 6);
        say(Said::Offer, &scene.ann, &others[4], 5);
        let (views, begun) = scene.pairs.of_room("r", &[scene.ann], 3, scene.at(9));
        let shown: Vec<_> = views.iter().map(|view| (view.to, view.state)).collect();
        let expected = [
            (others[4], State::Offered),
            (others[3], State::Answered),
            (others[0], State::Negotiated),
        ];
        assert_eq!(
            shown, expected,
            "the unfinished, longest first, then the rest"
        );
        assert_eq!(begun, 5);
    }
}
