//! The members that one other node has in a room.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use super::super::parcel::{About, Member};
use super::Effect;
use crate::id::{NodeId, PeerId};
use crate::limits::{CLUSTER_HELD_BYTES, CLUSTER_HELD_TIME, CLUSTER_ITEM_OVERHEAD};
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
    /// When it has shown last that what is known of it is true.
    confirmed: Instant,
    max_members: usize,
}

#[derive(Debug)]
struct Held {
    said: About,
    until: Instant,
}

/// What is missing before something can be dealt with.
struct Gap;

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
            confirmed: now,
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

    /// `silently`: whoever comes by this is not announced.
    pub(super) fn handle(
        &mut self,
        said: About,
        silently: bool,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        match said {
            About::Roster {
                position,
                members,
                silent,
                ..
            } => {
                self.answered = Some(now);
                // One that was overtaken by what has happened since says nothing new.
                if position >= self.position {
                    self.confirmed = now;
                    self.replace(position, members, silent && self.is_unknown(), out);
                    self.go_on(out);
                }
            }
            About::Position { position } if position == self.position => self.confirmed = now,
            About::Position { position } => {
                if position > self.position {
                    self.ask(now, out);
                }
            }
            About::Join { .. }
            | About::Leave { .. }
            | About::Said { .. }
            | About::Direct { .. } => {
                self.follow(said, silently, now, out);
            }
            About::Ask { .. } | About::Announced { .. } | About::Close => {}
        }
    }

    /// In order, and not before what it needs is known.
    fn follow(&mut self, said: About, silently: bool, now: Instant, out: &mut Vec<Effect>) {
        if self.held.is_empty() {
            match self.apply(said, silently, out) {
                Ok(()) => self.confirmed = now,
                Err((Gap, said)) => self.hold(said, now, out),
            }
        } else {
            self.hold(said, now, out);
            self.go_on(out);
        }
        if self.is_waiting() {
            self.ask(now, out);
        }
    }

    fn hold(&mut self, said: About, now: Instant, out: &mut Vec<Effect>) {
        let cost = cost(&said);
        if self.held_bytes + cost > CLUSTER_HELD_BYTES && !self.held.is_empty() {
            out.push(Effect::Lost(u64::from(is_signal(&said))));
            return;
        }
        self.held_bytes += cost;
        let until = now + CLUSTER_HELD_TIME;
        self.held.push_back(Held { said, until });
    }

    /// Deals with what was held, as far as that is possible now.
    fn go_on(&mut self, out: &mut Vec<Effect>) {
        while let Some(Held { said, until }) = self.held.pop_front() {
            self.held_bytes -= cost(&said);
            if let Err((Gap, said)) = self.apply(said, false, out) {
                self.held_bytes += cost(&said);
                self.held.push_front(Held { said, until });
                return;
            }
        }
        self.held = VecDeque::new();
    }

    fn apply(
        &mut self,
        said: About,
        silently: bool,
        out: &mut Vec<Effect>,
    ) -> Result<(), (Gap, About)> {
        match said {
            About::Join { position, .. } | About::Leave { position, .. }
                if position <= self.position => {}
            About::Join { before, .. } | About::Leave { before, .. } if before != self.position => {
                return Err((Gap, said));
            }
            About::Said { at, .. } | About::Direct { at, .. } if at > self.position => {
                return Err((Gap, said));
            }
            About::Join {
                position,
                member,
                signal,
                ..
            } => {
                self.position = position;
                self.add(member, signal, silently, out);
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
        Ok(())
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

    fn ask(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.asked.is_none_or(|at| now >= at + ASK_AGAIN) {
            self.asked = Some(now);
            out.push(Effect::Tell(self.node, About::Ask { only: None }));
        }
    }

    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(Held { said, until }) = self.held.front() {
            if now < *until {
                break;
            }
            self.held_bytes -= cost(said);
            if is_signal(said) {
                out.push(Effect::Lost(1));
            }
            self.held.pop_front();
        }
        if self.is_waiting() {
            self.ask(now, out);
        }
    }

    pub(super) fn check(&mut self, stale: Duration, now: Instant, out: &mut Vec<Effect>) {
        if !self.members.is_empty() && now >= self.confirmed + stale {
            self.ask(now, out);
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
