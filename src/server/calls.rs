//! How calls are set up, told from the types of events alone: who has offered, answered and sent a
//! candidate to whom, and when.
//!
//! Each peer has a short list of its own, so that one who offers to everybody spoils no figures but
//! its own, and nothing is kept of peers who are not setting up a call.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::broker::{Drawn, shrink};
use crate::clock;
use crate::id::PeerId;
use crate::limits::{MAX_TIMED_JOINS, MAX_TIMED_OFFERS, SETUP_PATIENCE};
use crate::observe::{Metrics, Mishap, Said, Stage};

/// What is under way.
pub(super) struct Calls {
    metrics: Metrics,
    /// Of clients of this node alone: nobody chooses the keys.
    peers: Drawn<PeerId, Underway>,
    offering: Offering,
    /// Rooms are known by their hash: their names are as long as clients like.
    rooms: RandomState,
}

/// What one peer has begun.
#[derive(Default)]
struct Underway {
    joins: Vec<Join>,
    offers: Vec<Offer>,
}

/// It has come to others, and no offer has been made yet.
struct Join {
    room: u64,
    since: Instant,
}

/// It has made an offer, and the other has not sent a candidate since its answer.
struct Offer {
    to: PeerId,
    room: u64,
    /// Since the offer, or since the answer.
    since: Instant,
    answered: bool,
}

/// How many offers are under way, by the callers' first characters. A look at it tells that there is
/// nothing to time without a lock: most candidates come when their call has long been set up.
#[derive(Default)]
struct Offering([[AtomicUsize; 8]; 8]);

impl Offering {
    fn of(&self, caller: &PeerId) -> &AtomicUsize {
        let first = usize::from(caller.as_bytes()[0]);
        &self.0[first / 8 % 8][first % 8]
    }
}

impl Calls {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            metrics: metrics.clone(),
            peers: Drawn::new(),
            offering: Offering::default(),
            rooms: RandomState::new(),
        }
    }

    /// A peer has joined a room, where there may have been others.
    pub(super) fn joined(&self, peer: &PeerId, room: &str, to_others: bool) {
        // Whoever is alone is offered nothing, however long that takes.
        if to_others {
            let (room, since) = (self.rooms.hash_one(room), clock::now());
            let mut peers = self.peers.lock(peer);
            let joins = &mut peers.entry(*peer).or_default().joins;
            if joins.len() < MAX_TIMED_JOINS {
                joins.push(Join { room, since });
            }
        }
    }

    /// A peer has said something to another, which is about to hear it.
    pub(super) fn said(&self, said: Said, from: &PeerId, to: &PeerId, room: &str) {
        // Asked once there is something to time: most candidates come long after the first.
        let moment = || (self.rooms.hash_one(room), clock::now());
        match said {
            Said::Offer => {
                let (room, now) = moment();
                self.offered(from, to, room, now);
            }
            Said::Answer => self.with_offers(to, |offers| {
                let (room, now) = moment();
                if let Some(offer) = find(offers, from, room).filter(|offer| !offer.answered) {
                    self.took(Stage::OfferToAnswer, offer.since, now);
                    offer.answered = true;
                    offer.since = now;
                }
            }),
            Said::Candidate => self.with_offers(to, |offers| {
                let (room, now) = moment();
                offers.retain(|offer| {
                    let first = offer.answered && offer.is(from, room);
                    if first {
                        self.took(Stage::AnswerToCandidate, offer.since, now);
                    }
                    !first
                });
            }),
            _ => {}
        }
    }

    fn offered(&self, from: &PeerId, to: &PeerId, room: u64, now: Instant) {
        // One after the other, never both at once.
        self.with(to, |callee| {
            self.first_offer(callee, room, now);
            let own = find(&mut callee.offers, from, room);
            if own.is_some_and(|offer| !offer.answered) {
                self.metrics.mishap(Mishap::Glare);
            }
        });
        let mut peers = self.peers.lock(from);
        let caller = peers.entry(*from).or_default();
        self.first_offer(caller, room, now);
        match find(&mut caller.offers, to, room) {
            // Said again: the user has waited since the first.
            Some(offer) if !offer.answered => return,
            Some(offer) => {
                offer.answered = false;
                offer.since = now;
                return;
            }
            None => {}
        }
        if caller.offers.len() < MAX_TIMED_OFFERS {
            caller.offers.push(Offer {
                to: *to,
                room,
                since: now,
                answered: false,
            });
            self.offering.of(from).fetch_add(1, Relaxed);
        }
    }

    fn first_offer(&self, peer: &mut Underway, room: u64, now: Instant) {
        if let Some(at) = peer.joins.iter().position(|join| join.room == room) {
            let join = peer.joins.swap_remove(at);
            self.took(Stage::JoinToOffer, join.since, now);
        }
    }

    /// A peer is out of a room.
    pub(super) fn left(&self, peer: &PeerId, room: &str) {
        let room = self.rooms.hash_one(room);
        self.with(peer, |peer| {
            peer.joins.retain(|join| join.room != room);
            self.give_up(peer, |offer| offer.room == room);
        });
    }

    /// A peer is gone, out of all rooms.
    pub(super) fn gone(&self, peer: &PeerId) {
        self.with(peer, |peer| {
            peer.joins.clear();
            self.give_up(peer, |_| true);
        });
    }

    /// Looks whether a peer has waited for too long.
    pub(super) fn look_at(&self, peer: Option<PeerId>, now: Instant) {
        let late = |since| now.saturating_duration_since(since) >= SETUP_PATIENCE;
        if let Some(peer) = peer {
            self.with(&peer, |peer| {
                peer.joins.retain(|join| !late(join.since));
                self.give_up(peer, |offer| late(offer.since));
            });
        }
    }

    fn give_up(&self, peer: &mut Underway, which: impl Fn(&Offer) -> bool) {
        peer.offers.retain(|offer| {
            let over = which(offer);
            if over && !offer.answered {
                self.metrics.mishap(Mishap::Unanswered);
            }
            !over
        });
    }

    /// Does something about what a peer has offered, if it has.
    fn with_offers(&self, peer: &PeerId, step: impl FnOnce(&mut Vec<Offer>)) {
        if self.offering.of(peer).load(Relaxed) > 0 {
            self.with(peer, |peer| {
                if !peer.offers.is_empty() {
                    step(&mut peer.offers);
                }
            });
        }
    }

    /// Does something about what a peer has begun, if it has, and forgets what is done.
    fn with(&self, peer: &PeerId, step: impl FnOnce(&mut Underway)) {
        let mut peers = self.peers.lock(peer);
        if let Some(underway) = peers.get_mut(peer) {
            let before = underway.offers.len();
            step(underway);
            let done = before.saturating_sub(underway.offers.len());
            if done > 0 {
                self.offering.of(peer).fetch_sub(done, Relaxed);
            }
            if underway.joins.is_empty() && underway.offers.is_empty() {
                peers.remove(peer);
                shrink(&mut peers);
            }
        }
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let mut offering = self.offering.0.iter().flatten();
        offering.all(|offers| offers.load(Relaxed) == 0) && self.peers.len() == 0
    }

    fn took(&self, stage: Stage, since: Instant, now: Instant) {
        let took = now.saturating_duration_since(since);
        self.metrics.stage(stage, took);
    }
}

impl Offer {
    fn is(&self, to: &PeerId, room: u64) -> bool {
        self.to == *to && self.room == room
    }
}

fn find<'a>(offers: &'a mut [Offer], to: &PeerId, room: u64) -> Option<&'a mut Offer> {
    offers.iter_mut().find(|offer| offer.is(to, room))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)] // small whole numbers, which a double holds as they are

    use std::time::Duration;

    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two peers in a room and one more, on a clock that stands still.
    struct Scene {
        calls: Calls,
        figures: PrometheusHandle,
        start: Instant,
        ann: PeerId,
        ben: PeerId,
    }

    impl Scene {
        fn new() -> Self {
            let recorder = PrometheusBuilder::new()
                .set_buckets(&[1.5, 100.0])
                .unwrap()
                .build_recorder();
            let metrics = metrics::with_local_recorder(&recorder, Metrics::register);
            let start = Instant::now();
            clock::set(start);
            Self {
                calls: Calls::new(&metrics),
                figures: recorder.handle(),
                start,
                ann: PeerId::random().unwrap(),
                ben: PeerId::random().unwrap(),
            }
        }

        fn at(&self, seconds: u32) -> &Self {
            clock::set(self.start + SECOND * seconds);
            self
        }

        fn ann_says(&self, said: Said) {
            self.calls.said(said, &self.ann, &self.ben, "r");
        }

        fn ben_says(&self, said: Said) {
            self.calls.said(said, &self.ben, &self.ann, "r");
        }

        fn figure(&self, line: &str) -> f64 {
            let text = self.figures.render();
            let found = text.lines().find_map(|other| other.strip_prefix(line));
            let found = found.unwrap_or_else(|| panic!("no {line} in {text}"));
            found.trim().parse().unwrap()
        }

        /// How often a stage was timed, and all its times together.
        fn stage(&self, stage: &str) -> (f64, f64) {
            let figure = |what| {
                self.figure(&format!(
                    "peer_data_setup_seconds_{what}{{stage=\"{stage}\"}}"
                ))
            };
            (figure("count"), figure("sum"))
        }

        fn mishaps(&self) -> [f64; 2] {
            ["unanswered", "glare"].map(|kind| {
                self.figure(&format!("peer_data_setup_mishaps_total{{kind=\"{kind}\"}}"))
            })
        }

        /// How many have begun something.
        fn peers(&self) -> usize {
            let offering = self.calls.offering.0.iter().flatten();
            let counted = offering.map(|offers| offers.load(Relaxed)).sum::<usize>();
            let offers = self.calls.peers.collect(|_, peer| peer.offers.len());
            assert_eq!(counted, offers.iter().sum::<usize>());
            offers.len()
        }
    }

    #[test]
    fn each_step_of_a_call_is_timed_once() {
        let scene = Scene::new();
        scene.calls.joined(&scene.ann, "r", false);
        assert_eq!(scene.peers(), 0, "nobody could offer anything");
        scene.calls.joined(&scene.ben, "r", true);
        scene.at(1).ann_says(Said::Offer);
        scene.at(1).ann_says(Said::Candidate);
        scene.at(3).ben_says(Said::Answer);
        scene.at(7).ben_says(Said::Candidate);
        for _ in 0..10 {
            scene.at(8).ben_says(Said::Candidate);
            scene.at(8).ben_says(Said::Answer);
            scene.at(8).ann_says(Said::Candidate);
        }
        assert_eq!(scene.stage("join_to_offer"), (1.0, 1.0));
        assert_eq!(scene.stage("offer_to_answer"), (1.0, 2.0));
        assert_eq!(scene.stage("answer_to_candidate"), (1.0, 4.0));
        assert_eq!((scene.mishaps(), scene.peers()), ([0.0, 0.0], 0));
        // And again, for a track that is added.
        scene.at(10).ben_says(Said::Offer);
        scene.at(11).ann_says(Said::Answer);
        assert_eq!(scene.stage("join_to_offer"), (1.0, 1.0));
        assert_eq!(scene.stage("offer_to_answer"), (2.0, 3.0));
    }

    #[test]
    fn other_rooms_and_other_peers_have_nothing_to_do_with_it() {
        let scene = Scene::new();
        let (ann, ben, eve) = (scene.ann, scene.ben, PeerId::random().unwrap());
        scene.calls.joined(&ben, "other", true);
        scene.ann_says(Said::Offer);
        scene.calls.said(Said::Answer, &ben, &ann, "other");
        scene.calls.said(Said::Answer, &eve, &ann, "r");
        scene.calls.said(Said::Offer, &ben, &ann, "third");
        scene.ann_says(Said::Answer);
        for stage in ["join_to_offer", "offer_to_answer", "answer_to_candidate"] {
            assert_eq!(scene.stage(stage), (0.0, 0.0), "{stage}");
        }
        assert_eq!(scene.mishaps(), [0.0, 0.0]);
    }

    #[test]
    fn offers_that_meet_are_glare() {
        let scene = Scene::new();
        scene.ann_says(Said::Offer);
        scene.ben_says(Said::Offer);
        assert_eq!(scene.mishaps(), [0.0, 1.0]);
        // The one who yields answers, and later makes its own offer.
        scene.ben_says(Said::Answer);
        scene.ben_says(Said::Offer);
        assert_eq!(scene.mishaps(), [0.0, 1.0]);
        assert_eq!(scene.stage("offer_to_answer").0, 1.0);
    }

    #[test]
    fn what_was_never_answered_is_counted_once() {
        let scene = Scene::new();
        let end = |seconds| {
            let now = scene.start + SECOND * seconds;
            scene.calls.look_at(Some(scene.ann), now);
        };
        scene.ann_says(Said::Offer);
        scene.at(30).ann_says(Said::Offer);
        end(59);
        assert_eq!((scene.mishaps(), scene.peers()), ([0.0, 0.0], 1));
        end(60);
        end(61);
        assert_eq!((scene.mishaps(), scene.peers()), ([1.0, 0.0], 0));
        scene.ann_says(Said::Offer);
        scene.calls.left(&scene.ann, "other");
        scene.calls.left(&scene.ann, "r");
        assert_eq!((scene.mishaps(), scene.peers()), ([2.0, 0.0], 0));
        scene.ann_says(Said::Offer);
        scene.calls.gone(&scene.ann);
        assert_eq!((scene.mishaps(), scene.peers()), ([3.0, 0.0], 0));
        // One that was answered is no loss, whatever follows.
        scene.ann_says(Said::Offer);
        scene.ben_says(Said::Answer);
        scene.calls.gone(&scene.ann);
        assert_eq!((scene.mishaps(), scene.peers()), ([3.0, 0.0], 0));
    }

    #[test]
    fn whoever_offers_to_everybody_spoils_its_own_figures_only() {
        let scene = Scene::new();
        let eve = PeerId::random().unwrap();
        for room in 0..10_000 {
            scene.calls.joined(&eve, &room.to_string(), true);
            let callee = PeerId::random().unwrap();
            scene.calls.said(Said::Offer, &eve, &callee, "r");
        }
        let size = |underway: &Underway| (underway.joins.len(), underway.offers.len());
        let sizes = scene.calls.peers.collect(|_, underway| size(underway));
        assert_eq!(sizes, [(MAX_TIMED_JOINS, MAX_TIMED_OFFERS)]);
        scene.ann_says(Said::Offer);
        scene.at(1).ben_says(Said::Answer);
        assert_eq!(scene.stage("offer_to_answer"), (1.0, 1.0));
        scene.calls.gone(&eve);
        assert_eq!(scene.mishaps(), [64.0, 0.0]);
        assert_eq!(scene.peers(), 1);
    }
}
