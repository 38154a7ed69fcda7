//! The members that one other node has in a room.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use super::super::parcel::{About, Member};
use super::Effect;
use crate::id::{NodeId, PeerId};
use crate::limits::{
    CLUSTER_HELD_BYTES, CLUSTER_HELD_TIME, CLUSTER_ITEM_OVERHEAD, CLUSTER_ROSTER_PATIENCE,
};
use crate::signal::Signal;

/// Nobody is asked again within that time.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Remote {
    node: NodeId,
    members: Vec<Member>,
    /// How far the node's log is known; 0: not at all.
    position: u64,
    /// What came before the news that it needs.
    held: VecDeque<Held>,
    held_bytes: usize,
    asked: Option<Instant>,
    /// When it has told all of its members last.
    answered: Option<Instant>,
    /// When it has last done so because it has heard the first join of this one.
    greeted: Option<Instant>,
    /// When it has shown last that what is known of it is true.
    confirmed: Instant,
    /// All members that are known were there before those of this node.
    quiet: bool,
    max_members: usize,
}

#[derive(Debug)]
struct Held {
    said: About,
    until: Instant,
    manner: Manner,
}

/// How a newcomer is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Announced,
    Silent,
    /// It came while this node was new to the room itself. Which of them was there first shows by
    /// then.
    Undecided(Instant),
}

/// This node, and when it has asked who is in the room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) node: NodeId,
    pub(super) ticket: u64,
    pub(super) asked: Option<Instant>,
}

impl Remote {
    pub(super) fn new(node: NodeId, max_members: usize, now: Instant) -> Self {
        Self {
            node,
            members: Vec::new(),
            position: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            asked: None,
            answered: None,
            greeted: None,
            confirmed: now,
            quiet: false,
            max_members,
        }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.members.iter().any(|member| member.id == *peer)
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.position == 0
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn has_answered(&self, since: Instant) -> bool {
        self.answered.is_some_and(|at| at >= since)
    }

    pub(super) fn handle(&mut self, said: About, own: Asking, now: Instant, out: &mut Vec<Effect>) {
        match said {
            About::Roster { answers, .. } if answers != 0 && answers != own.ticket => {}
            About::Roster {
                position,
                members,
                silent,
                ..
            } => {
                self.answered = Some(now);
                if silent {
                    self.greeted = Some(now);
                    self.decide(own, now, out);
                }
                // One that was overtaken by what has happened since says nothing new.
                if position >= self.position {
                    self.confirmed = now;
                    self.quiet = silent && self.is_unknown();
                    self.replace(position, members, self.quiet, out);
                    self.go_on(now, out);
                }
            }
            About::Position { position } if position == self.position => self.confirmed = now,
            About::Position { position } => {
                if position > self.position {
                    self.ask(now, own.ticket, out);
                }
            }
            About::Join { .. }
            | About::Leave { .. }
            | About::Said { .. }
            | About::Direct { .. } => {
                let manner = self.manner(&said, own, now);
                self.follow(said, manner, now, out);
                self.ask_if_stuck(now, own.ticket, out);
            }
            About::Ask { .. } | About::Announced { .. } | About::Close => {}
        }
    }

    /// If both nodes are new to the room and each has heard what the other said of its first member,
    /// only one of these two is to hear of the other: that of the node with the lesser id. That the
    /// other node has heard this one shows by its answer. If none comes, it was there later.
    fn manner(&self, said: &About, own: Asking, now: Instant) -> Manner {
        let (About::Join { asks, .. }, Some(asked)) = (said, own.asked) else {
            return Manner::Announced;
        };
        if *asks == 0 {
            return Manner::Announced;
        }
        let until = asked + CLUSTER_ROSTER_PATIENCE;
        if now >= until {
            Manner::Announced
        } else if self.greeted.is_some_and(|at| at >= asked) {
            self.of_two(own)
        } else {
            Manner::Undecided(until)
        }
    }

    fn of_two(&self, own: Asking) -> Manner {
        if own.node < self.node {
            Manner::Announced
        } else {
            Manner::Silent
        }
    }

    /// The node has answered: what waits for that goes on.
    fn decide(&mut self, own: Asking, now: Instant, out: &mut Vec<Effect>) {
        let manner = self.of_two(own);
        let mut undecided = false;
        for held in &mut self.held {
            if matches!(held.manner, Manner::Undecided(_)) {
                held.manner = manner;
                undecided = true;
            }
        }
        if undecided {
            self.go_on(now, out);
        }
    }

    /// In order, and not before what it needs is known.
    fn follow(&mut self, said: About, manner: Manner, now: Instant, out: &mut Vec<Effect>) {
        if self.held.is_empty() && !matches!(manner, Manner::Undecided(_)) {
            match self.apply(said, manner, out) {
                None => self.confirmed = now,
                Some(said) => self.hold(said, manner, now, out),
            }
        } else {
            self.hold(said, manner, now, out);
            self.go_on(now, out);
        }
    }

    fn hold(&mut self, said: About, manner: Manner, now: Instant, out: &mut Vec<Effect>) {
        let cost = cost(&said);
        if self.held_bytes + cost > CLUSTER_HELD_BYTES && !self.held.is_empty() {
            out.push(Effect::Lost(u64::from(is_signal(&said))));
            return;
        }
        self.held_bytes += cost;
        self.held.push_back(Held {
            said,
            until: now + CLUSTER_HELD_TIME,
            manner,
        });
    }

    /// Deals with what was held, as far as that is possible now.
    fn go_on(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(mut held) = self.held.pop_front() {
            if let Manner::Undecided(by) = held.manner {
                if now < by {
                    self.held.push_front(held);
                    return;
                }
                held.manner = Manner::Announced;
            }
            let cost = cost(&held.said);
            if let Some(said) = self.apply(held.said, held.manner, out) {
                self.held.push_front(Held { said, ..held });
                return;
            }
            self.held_bytes -= cost;
        }
        self.held = VecDeque::new();
    }

    /// Does what is said, or gives it back if there is something to be known first.
    fn apply(&mut self, said: About, manner: Manner, out: &mut Vec<Effect>) -> Option<About> {
        match said {
            About::Join {
                position,
                member,
                signal,
                asks,
                ..
            } if asks > 0 && position <= self.position && self.quiet && self.has(&member.id) => {
                // Its answer has overtaken it.
                self.quiet = false;
                if manner == Manner::Announced {
                    out.push(Effect::Announce { member, signal });
                }
            }
            About::Join { position, .. } | About::Leave { position, .. }
                if position <= self.position => {}
            About::Join { before, .. } | About::Leave { before, .. } if before != self.position => {
                return Some(said);
            }
            About::Said { at, .. } | About::Direct { at, .. } if at > self.position => {
                return Some(said);
            }
            About::Join {
                position,
                member,
                signal,
                ..
            } => {
                self.position = position;
                self.add(member, signal, manner == Manner::Silent, out);
            }
            About::Leave {
                position,
                peer,
                signal,
                ..
            } => {
                self.position = position;
                self.remove(&peer, signal, out);
            }
            About::Said { caller, signal, .. } if self.has(&caller) => {
                out.push(Effect::Said(signal));
            }
            About::Direct {
                caller,
                callee,
                request,
                signal,
                ..
            } if self.has(&caller) => out.push(Effect::Direct {
                caller,
                callee,
                request,
                signal,
            }),
            // Said by one who has left since, or was never there.
            About::Said { .. } | About::Direct { .. } => out.push(Effect::Lost(1)),
            About::Roster { .. }
            | About::Ask { .. }
            | About::Position { .. }
            | About::Announced { .. }
            | About::Close => {}
        }
        None
    }

    /// Nobody is there twice, and a node speaks for its own peers only.
    fn add(
        &mut self,
        member: Member,
        signal: Option<Signal>,
        silently: bool,
        out: &mut Vec<Effect>,
    ) {
        let is_its_own = member.id.node() == self.node;
        if is_its_own && !self.has(&member.id) && self.members.len() < self.max_members {
            self.members.push(member);
            out.push(Effect::Came {
                member,
                signal,
                silently,
            });
        }
    }

    fn remove(&mut self, peer: &PeerId, signal: Option<Signal>, out: &mut Vec<Effect>) {
        if let Some(at) = self.members.iter().position(|member| member.id == *peer) {
            let member = self.members.remove(at);
            out.push(Effect::Went { member, signal });
        }
    }

    /// All members are these.
    fn replace(
        &mut self,
        position: u64,
        members: Vec<Member>,
        silently: bool,
        out: &mut Vec<Effect>,
    ) {
        self.position = position;
        let there: HashSet<_> = members.iter().map(|member| member.id).collect();
        let (stay, gone) = mem::take(&mut self.members)
            .into_iter()
            .partition(|member| there.contains(&member.id));
        let gone: Vec<_> = gone;
        let gone = gone.into_iter();
        out.extend(gone.map(|member| Effect::Went {
            member,
            signal: None,
        }));
        self.members = stay;
        let known: HashSet<_> = self.members.iter().map(|member| member.id).collect();
        for member in members {
            if !known.contains(&member.id) {
                self.add(member, None, silently, out);
            }
        }
    }

    /// Asks for what is missing, but not while it is only undecided.
    fn ask_if_stuck(&mut self, now: Instant, ticket: u64, out: &mut Vec<Effect>) {
        let front = self.held.front();
        if front.is_some_and(|held| !matches!(held.manner, Manner::Undecided(_))) {
            self.ask(now, ticket, out);
        }
    }

    /// Asks, if it has members and has not said so since then.
    pub(super) fn ask_if_silent(
        &mut self,
        since: Option<Instant>,
        now: Instant,
        ticket: u64,
        out: &mut Vec<Effect>,
    ) {
        let silent = since.is_some_and(|since| !self.has_answered(since));
        if silent && !self.members.is_empty() {
            self.ask(now, ticket, out);
        }
    }

    fn ask(&mut self, now: Instant, ticket: u64, out: &mut Vec<Effect>) {
        if self.asked.is_none_or(|at| now >= at + ASK_AGAIN) {
            self.asked = Some(now);
            let asks = ticket;
            let only = None;
            out.push(Effect::Tell(self.node, About::Ask { asks, only }));
        }
    }

    pub(super) fn tick(&mut self, now: Instant, ticket: u64, out: &mut Vec<Effect>) {
        self.go_on(now, out);
        while let Some(Held { said, until, .. }) = self.held.front() {
            if now < *until {
                break;
            }
            self.held_bytes -= cost(said);
            if is_signal(said) {
                out.push(Effect::Lost(1));
            }
            self.held.pop_front();
        }
        self.ask_if_stuck(now, ticket, out);
    }

    pub(super) fn check(
        &mut self,
        stale: Duration,
        now: Instant,
        ticket: u64,
        out: &mut Vec<Effect>,
    ) {
        if !self.members.is_empty() && now >= self.confirmed + stale {
            self.ask(now, ticket, out);
        }
    }

    /// The node is gone.
    pub(super) fn end(self, out: &mut Vec<Effect>) {
        let lost = self.held.iter().filter(|held| is_signal(&held.said));
        match lost.count() as u64 {
            0 => {}
            lost => out.push(Effect::Lost(lost)),
        }
        let members = self.members.into_iter();
        out.extend(members.map(|member| Effect::Went {
            member,
            signal: None,
        }));
    }
}

fn is_signal(said: &About) -> bool {
    matches!(said, About::Said { .. } | About::Direct { .. })
}

fn cost(said: &About) -> usize {
    let signal = match said {
        About::Join { signal, .. } | About::Leave { signal, .. } => signal.as_ref(),
        About::Said { signal, .. } | About::Direct { signal, .. } => Some(signal),
        _ => None,
    };
    size_of::<Held>() + CLUSTER_ITEM_OVERHEAD + signal.map_or(0, Signal::size)
}
