//! Who is in one room, on all nodes, as one of them knows it.
//!
//! Each node keeps the log of its own members and says its entries to the room; all others follow
//! it. What was lost shows as a gap, and then the whole roster is asked for. Nothing here blocks,
//! reads a clock, or knows a bus: what is to be done comes out as [`Effect`]s, in order.

mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::parcel::{About, Member};
use crate::id::{NodeId, PeerId};
use crate::limits::{CLUSTER_ITEM_OVERHEAD, CLUSTER_ROSTER_PATIENCE, CLUSTER_UNSAID_BYTES};
use crate::signal::Signal;
use crate::sync::Budget;
use remote::{Asking, Remote};

/// A node with members in the room says so about once a minute. Of one that was not heard for
/// longer it is asked.
const STALE: Duration = Duration::from_secs(90);

/// All in a room have answered within that time, unless something was lost or they are in it no more.
const RECHECK: Duration = Duration::from_secs(1);

/// Numbers that only grow, of all logs of a node: a room that comes to be again goes on where it
/// has ended.
#[derive(Debug, Default)]
pub(crate) struct Stamps(AtomicU64);

impl Stamps {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether there was one.
    pub(crate) fn have_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Something to be done about a room.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// To all nodes with members in the room.
    Publish(About),
    /// To one of them.
    Tell(NodeId, About),
    /// A member at another node. Local members hear of it, unless they were there after it.
    Came {
        member: Member,
        signal: Option<Signal>,
        silently: bool,
    },
    /// One that has come silently; local members hear of it after all.
    Announce {
        member: Member,
        signal: Option<Signal>,
    },
    Went {
        member: Member,
        signal: Option<Signal>,
    },
    /// For all local members.
    Said(Signal),
    /// For one local member, if it is one.
    Direct {
        caller: PeerId,
        callee: PeerId,
        request: u64,
        signal: Signal,
    },
    /// So many signals of other nodes came too late, or without anybody knowing who said them.
    Lost(u64),
}

/// What local members have said while nobody else could hear it.
#[derive(Debug)]
enum Unsaid {
    Join(Member, Option<Signal>),
    Said(PeerId, Signal),
}

#[derive(Debug)]
pub(crate) struct Roster {
    own: NodeId,
    /// By which answers to this roster are known: one that was made for the same room before has
    /// another.
    ticket: u64,
    local: Vec<Member>,
    /// How far the log of local members has come; 0: nothing was said of them.
    position: u64,
    /// The subscription is in effect.
    ready: bool,
    unsaid: Vec<Unsaid>,
    unsaid_bytes: usize,
    /// What is unsaid in all rooms of a node.
    budget: Arc<Budget>,
    /// Something of the log may not have been heard.
    restates: bool,
    /// When the others were asked last.
    asked: Option<Instant>,
    /// When those are asked again, one by one, who have members and have not answered.
    recheck: Option<Instant>,
    since: Instant,
    remotes: BTreeMap<NodeId, Remote>,
    max_members: usize,
}

/// Local members.
impl Roster {
    pub(crate) fn new(
        own: NodeId,
        ticket: u64,
        max_members: usize,
        budget: &Arc<Budget>,
        now: Instant,
    ) -> Self {
        Self {
            own,
            ticket,
            local: Vec::new(),
            position: 0,
            ready: false,
            unsaid: Vec::new(),
            unsaid_bytes: 0,
            budget: Arc::clone(budget),
            restates: false,
            asked: None,
            recheck: None,
            since: now,
            remotes: BTreeMap::new(),
            max_members,
        }
    }

    pub(crate) fn has_local(&self) -> bool {
        !self.local.is_empty()
    }

    pub(crate) fn is_local(&self, peer: &PeerId) -> bool {
        self.local.iter().any(|member| member.id == *peer)
    }

    /// A local peer has joined, and has said `signal` with it.
    pub(crate) fn join(
        &mut self,
        member: Member,
        signal: &Signal,
        (stamps, now): (&Stamps, Instant),
        out: &mut Vec<Effect>,
    ) {
        self.local.push(member);
        if self.ready {
            self.say_join(member, Some(signal.clone()), stamps, now, out);
        } else {
            let fits = self.reserve(signal);
            let signal = fits.then(|| signal.clone());
            self.unsaid.push(Unsaid::Join(member, signal));
        }
    }

    /// A local peer has left.
    pub(crate) fn leave(
        &mut self,
        peer: &PeerId,
        signal: Option<&Signal>,
        stamps: &Stamps,
        out: &mut Vec<Effect>,
    ) {
        self.local.retain(|member| member.id != *peer);
        let waiting = self.unsaid.len();
        let mut forgotten = 0;
        self.unsaid.retain(|unsaid| {
            let (id, signal) = match unsaid {
                Unsaid::Join(member, signal) => (&member.id, signal.as_ref()),
                Unsaid::Said(id, signal) => (id, Some(signal)),
            };
            if id == peer {
                forgotten += signal.map_or(0, unsaid_cost);
            }
            id != peer
        });
        self.unsaid_bytes -= forgotten;
        self.budget.give_back(forgotten);
        if self.unsaid.len() < waiting {
            // Nobody has ever heard of it.
            return;
        }
        let before = self.position;
        self.position = stamps.next();
        if self.ready {
            out.push(Effect::Publish(About::Leave {
                before,
                position: self.position,
                peer: *peer,
                signal: signal.cloned(),
            }));
        } else {
            self.restates = true;
        }
    }

    /// A local member has something for everybody. How many members at other nodes it goes to.
    pub(crate) fn say(&mut self, caller: &PeerId, signal: &Signal, out: &mut Vec<Effect>) -> usize {
        if self.is_unsaid(caller) {
            if self.reserve(signal) {
                self.unsaid.push(Unsaid::Said(*caller, signal.clone()));
            } else {
                out.push(Effect::Lost(1));
            }
            return 0;
        }
        let count = self.remote_count();
        if count > 0 {
            out.push(Effect::Publish(self.said(*caller, signal.clone())));
        }
        count
    }

    /// What a local member has for one peer at another node. None while nobody there knows the one
    /// who speaks.
    pub(crate) fn direct(
        &self,
        from: PeerId,
        to: PeerId,
        request: u64,
        signal: &Signal,
    ) -> Option<About> {
        (!self.is_unsaid(&from)).then(|| About::Direct {
            at: self.position,
            caller: from,
            callee: to,
            request,
            signal: signal.clone(),
        })
    }

    fn said(&self, caller: PeerId, signal: Signal) -> About {
        About::Said {
            at: self.position,
            caller,
            signal,
        }
    }

    fn is_unsaid(&self, peer: &PeerId) -> bool {
        let mut unsaid = self.unsaid.iter();
        unsaid.any(|unsaid| matches!(unsaid, Unsaid::Join(member, _) if member.id == *peer))
    }

    /// Whether that much more may wait to be said.
    fn reserve(&mut self, signal: &Signal) -> bool {
        let bytes = unsaid_cost(signal);
        let fits = self.unsaid_bytes + bytes <= CLUSTER_UNSAID_BYTES && self.budget.take(bytes);
        if fits {
            self.unsaid_bytes += bytes;
        }
        fits
    }

    fn say_join(
        &mut self,
        member: Member,
        signal: Option<Signal>,
        stamps: &Stamps,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let before = self.position;
        self.position = stamps.next();
        let asks = match self.asked {
            None => self.ticket,
            Some(_) => 0,
        };
        self.asked = self.asked.or(Some(now));
        out.push(Effect::Publish(About::Join {
            before,
            position: self.position,
            member,
            asks,
            signal,
        }));
    }

    /// Those of the local members whom others can know.
    fn own_list(&self, asks: u64, answers: u64, silent: bool) -> About {
        let members = self.local.iter().copied();
        About::Roster {
            position: self.position,
            members: members
                .filter(|member| !self.is_unsaid(&member.id))
                .collect(),
            asks,
            answers,
            silent,
        }
    }
}

fn unsaid_cost(signal: &Signal) -> usize {
    signal.size() + CLUSTER_ITEM_OVERHEAD
}

impl Drop for Roster {
    fn drop(&mut self) {
        self.budget.give_back(self.unsaid_bytes);
    }
}

/// What comes from the bus.
impl Roster {
    /// The subscription is in effect, for the first time or again.
    pub(crate) fn ready(&mut self, stamps: &Stamps, now: Instant, out: &mut Vec<Effect>) {
        self.ready = true;
        self.budget
            .give_back(std::mem::take(&mut self.unsaid_bytes));
        let unsaid = std::mem::take(&mut self.unsaid);
        let is_known = self.position > 0;
        if is_known {
            self.position = stamps.next();
            self.restates = false;
            self.asked = Some(now);
            self.recheck = Some(now + RECHECK);
            out.push(Effect::Publish(self.own_list(self.ticket, 0, false)));
        }
        for unsaid in unsaid {
            match unsaid {
                Unsaid::Join(..) if is_known => {}
                Unsaid::Join(member, signal) => self.say_join(member, signal, stamps, now, out),
                Unsaid::Said(caller, signal) => {
                    out.push(Effect::Publish(self.said(caller, signal)));
                }
            }
        }
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self) {
        self.ready = false;
    }

    /// The bus did not take an entry of the log.
    pub(crate) fn unheard(&mut self) {
        self.restates = true;
    }

    /// Another node says something about the room.
    pub(crate) fn handle(
        &mut self,
        from: NodeId,
        said: About,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let answer = match &said {
            // Its members are about to be told of the newcomers, and need not be announced to them.
            About::Join { asks, .. } if *asks > 0 => Some(self.own_list(0, *asks, true)),
            About::Roster { asks, .. } if *asks > 0 => Some(self.own_list(0, *asks, false)),
            About::Ask { asks, only } if only.is_none_or(|only| only == self.own) => {
                Some(self.own_list(0, *asks, false))
            }
            _ => None,
        };
        out.extend(answer.map(|answer| Effect::Tell(from, answer)));
        let own = Asking {
            node: self.own,
            ticket: self.ticket,
            asked: self.asked,
        };
        let max_members = self.max_members;
        let remote = self.remotes.entry(from);
        let remote = remote.or_insert_with(|| Remote::new(from, max_members, now));
        remote.handle(said, own, now, out);
    }

    /// A node is gone, and its members with it.
    pub(crate) fn node_gone(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if let Some(remote) = self.remotes.remove(&node) {
            remote.end(out);
        }
    }

    /// Everything about other nodes may be out of date, or what one of them says.
    pub(crate) fn ask(&mut self, only: Option<NodeId>, now: Instant, out: &mut Vec<Effect>) {
        if only.is_none() {
            self.asked = Some(now);
            self.recheck = Some(now + RECHECK);
        }
        let asks = self.ticket;
        out.push(Effect::Publish(About::Ask { asks, only }));
    }
}

/// As time passes.
impl Roster {
    /// Whether something waits here for news.
    pub(crate) fn is_waiting(&self) -> bool {
        self.remotes.values().any(Remote::is_waiting)
            || self.recheck.is_some()
            || (self.ready && self.restates)
    }

    /// Asks again for what did not come, says again what may not have been heard, and gives up what
    /// has waited too long.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for remote in self.remotes.values_mut() {
            remote.tick(now, self.ticket, out);
        }
        if self.recheck.is_some_and(|due| now >= due) {
            // Those who have no member in the room any more do not hear what is asked there.
            self.recheck = None;
            for remote in self.remotes.values_mut() {
                remote.ask_if_silent(self.asked, now, self.ticket, out);
            }
        }
        if self.ready && self.restates {
            self.restates = false;
            out.push(Effect::Publish(self.own_list(0, 0, false)));
        }
    }

    /// Says how far the log has come, and asks of those who have not said so for long.
    pub(crate) fn check(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.ready && self.position > 0 {
            let position = self.position;
            out.push(Effect::Publish(About::Position { position }));
        }
        for remote in self.remotes.values_mut() {
            remote.check(STALE, now, self.ticket, out);
        }
    }

    /// Whether all who may know of members have told them, or have had the time to.
    pub(crate) fn is_settled(
        &self,
        connected: bool,
        mut nodes: impl Iterator<Item = NodeId>,
        now: Instant,
    ) -> bool {
        if !connected || now >= self.since + 2 * CLUSTER_ROSTER_PATIENCE {
            return true;
        }
        self.asked.is_some_and(|asked| {
            let has_answered = |node| {
                let remote = self.remotes.get(&node);
                remote.is_some_and(|remote| remote.has_answered(asked))
            };
            now >= asked + CLUSTER_ROSTER_PATIENCE || nodes.all(has_answered)
        })
    }
}

/// Members at other nodes.
impl Roster {
    pub(crate) fn remote_count(&self) -> usize {
        self.remotes
            .values()
            .map(|remote| remote.members().len())
            .sum()
    }

    pub(crate) fn remote_members(&self) -> impl Iterator<Item = Member> + '_ {
        let remotes = self.remotes.values();
        remotes.flat_map(|remote| remote.members().iter().copied())
    }

    pub(crate) fn is_remote(&self, peer: &PeerId) -> bool {
        let remote = self.remotes.get(&peer.node());
        remote.is_some_and(|remote| remote.has(peer))
    }
}

#[cfg(test)]
mod tests;
