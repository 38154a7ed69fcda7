//! What other nodes say of a room, told to its local members.

use std::sync::Arc;

use super::acks::Owed;
use super::rooms::about;
use super::watch::Watch;
use super::{Cluster, PeerData};
use crate::broker::{Mailbox, Undelivered};
use crate::cluster::{About, Effect, Member, Roster, Target};
use crate::id::{PeerId, RoomId};
use crate::observe::Parcels;
use crate::server::client::Client;
use crate::server::{LifecycleEvent, Peer};
use crate::signal::Signal;
use crate::sync::lock;
use crate::wire::notice;

/// What is left to do once a room is no longer locked.
#[derive(Default)]
struct Told {
    /// Those who were too slow to be told.
    slow: Vec<PeerId>,
    /// Who has come, and who has gone.
    news: Vec<(Member, bool)>,
    /// What those are answered who have waited until it was known who is in the room.
    owed: Vec<Owed>,
}

/// What comes of news from other nodes.
impl PeerData {
    /// Has a roster deal with something, and does what comes of it. Nothing if this node has no
    /// member in the room.
    pub(super) fn with_roster(
        &self,
        cluster: &Cluster,
        room: &RoomId,
        deal: impl FnOnce(&mut Roster, &mut Vec<Effect>),
    ) -> bool {
        let mut told = Told::default();
        let found = cluster.in_watched(room.as_str(), |watch| {
            let mut effects = Vec::new();
            deal(&mut watch.roster, &mut effects);
            for effect in effects {
                self.carry_out(cluster, watch, effect, &mut told);
            }
            if watch.roster.is_waiting() {
                lock(&cluster.agenda).wait(room);
            }
            if watch.has_waiting() {
                if cluster.is_settled(watch) {
                    told.owed = self.take_owed(watch);
                    watch.waiters.drain(..).for_each(|waiter| {
                        // Whoever has waited may be gone.
                        let _ = waiter.send(());
                    });
                } else {
                    lock(&cluster.agenda).wait(room);
                }
            }
        });
        // What follows is foreign code, or asks for locks of its own.
        self.close_slow(&told.slow);
        told.owed.into_iter().for_each(|owed| self.pay(owed));
        for (member, came) in told.news {
            self.announce(|| {
                let (peer, room) = (Peer::elsewhere(self, &member), room.clone());
                if came {
                    LifecycleEvent::Joined { peer, room }
                } else {
                    LifecycleEvent::Left { peer, room }
                }
            });
        }
        found.is_some()
    }

    fn carry_out(&self, cluster: &Cluster, watch: &mut Watch, effect: Effect, told: &mut Told) {
        let room = watch.room.clone();
        let mut tell = |signal: &Signal| {
            let members = self.inner.broker.members(room.as_str());
            told.slow.extend(members.deliver(None, signal).full);
        };
        match effect {
            Effect::Publish(said) => {
                // If it fails it is said again, as far as that is of use.
                let _ = cluster.say(watch, said);
            }
            Effect::Tell(node, said) => {
                watch.is_known |=
                    matches!(&said, About::Roster { members, .. } if !members.is_empty());
                let _ = cluster.publish(Target::Node(node), &about(&room, said));
            }
            Effect::Came {
                member,
                signal,
                silently,
            } => {
                if !silently {
                    watch.note_heard(member.id);
                    tell(&signal.unwrap_or_else(|| notice::arrival(&member.id, &room)));
                }
                told.news.push((member, true));
            }
            Effect::Announce { member, signal } => {
                watch.note_heard(member.id);
                tell(&signal.unwrap_or_else(|| notice::arrival(&member.id, &room)));
            }
            Effect::Went { member, signal } => {
                watch.note_gone(&member.id);
                tell(&signal.unwrap_or_else(|| notice::departure(&member.id, &room)));
                told.news.push((member, false));
            }
            Effect::Said(signal) => tell(&signal),
            Effect::Direct {
                caller,
                callee,
                request,
                signal,
            } => {
                let to = self.named_here(&callee, watch);
                let found = to.is_some();
                if let Some((id, client)) = to
                    && client.deliver(&signal) == Err(Undelivered::Full)
                {
                    told.slow.push(id);
                }
                cluster.answer(caller, &room, request, found);
            }
            Effect::Lost(count) => cluster.counters.add(Parcels::Lost, count),
        }
    }

    /// A local member by its id, or by the other name that revision-3 clients have.
    fn named_here(&self, callee: &PeerId, watch: &Watch) -> Option<(PeerId, Arc<Client>)> {
        let broker = &self.inner.broker;
        let id = if watch.roster.is_local(callee) {
            *callee
        } else {
            self.by_session_id(callee)
                .filter(|id| broker.is_member(id, watch.room.as_str()))?
        };
        Some((id, broker.mailbox(&id)?))
    }
}
