//! What comes from the bus, one thing after the other.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::requests::Answer;
use super::waits::told;
use super::{Cluster, PeerData};
use crate::broker::Mailbox;
use crate::cluster::{About, Acquaintance, Item, Parcel, Target};
use crate::error::Code;
use crate::id::{NodeId, RoomId};
use crate::observe::{self, Parcels};
use crate::server::batch::Batch;
use crate::server::dispatch::NO_SUCH_PEER;
use crate::sync::lock;
use crate::wire::notice;

/// Dealt with at a time, before others have their turn.
const AT_ONCE: usize = 256;

impl PeerData {
    /// Deals with some of what has come. Whether there may be more.
    pub(super) fn take_inbox(&self, cluster: &Cluster, now: Instant) -> bool {
        let _batch = Batch::open();
        let dropped = cluster.inbox.take_dropped();
        cluster.counters.add(Parcels::Lost, dropped);
        for _ in 0..AT_ONCE {
            let Some(item) = cluster.inbox.pop() else {
                return false;
            };
            match item {
                Item::Parcel(parcel) => {
                    cluster.counters.add(Parcels::Received, 1);
                    self.read_parcel(cluster, parcel, now);
                }
                Item::Connected => {
                    lock(&cluster.nodes).connected(now);
                    cluster.counters.metrics.connected(true);
                    observe::bus_connected();
                    cluster.beat(Target::All, true);
                }
                Item::Lost => {
                    lock(&cluster.nodes).lost();
                    // Answers may be lost as well: whoever waits for one is not to wait in vain.
                    let askers = lock(&cluster.requests).give_up();
                    self.tell_unanswered(askers);
                    lock(&cluster.serving).give_up();
                    cluster.counters.metrics.connected(false);
                    observe::bus_lost();
                    for room in cluster.watched() {
                        self.with_roster(cluster, &room, |roster, _| roster.lost());
                    }
                }
                Item::Ready(room) => {
                    self.with_roster(cluster, &room, |roster, effects| {
                        roster.ready(&cluster.stamps, now, effects);
                    });
                }
                Item::Missed => {
                    cluster.note_overload(now);
                    cluster.soil_all(None);
                }
            }
        }
        true
    }

    fn read_parcel(&self, cluster: &Cluster, bytes: Bytes, now: Instant) {
        let Ok((from, parcel)) = Parcel::decode(bytes) else {
            return cluster.counters.add(Parcels::Unreadable, 1);
        };
        if from == cluster.node {
            let is_other = matches!(parcel, Parcel::Beat { run, .. } if run != cluster.run);
            if is_other && !cluster.conflict.swap(true, Ordering::Relaxed) {
                observe::node_conflict();
            }
            return;
        }
        let acquaintance = lock(&cluster.nodes).hear(from, now);
        match acquaintance {
            Acquaintance::Stranger => return,
            Acquaintance::Known => {}
            Acquaintance::New => cluster.meet(from, &parcel),
        }
        let parcel = match parcel {
            Parcel::Piece {
                of,
                index,
                is_last,
                bytes,
            } => {
                let piece = (index, is_last, &bytes);
                let (whole, lost) = lock(&cluster.pieces).add(from, of, piece, now);
                cluster.counters.add(Parcels::Lost, lost.into());
                let Some(whole) = whole else { return };
                match Parcel::decode(whole) {
                    // A node speaks for itself, and does not cut pieces into pieces.
                    Ok((node, parcel))
                        if node == from && !matches!(parcel, Parcel::Piece { .. }) =>
                    {
                        parcel
                    }
                    _ => return cluster.counters.add(Parcels::Unreadable, 1),
                }
            }
            parcel => parcel,
        };
        self.act_on(cluster, from, parcel, now);
    }

    fn act_on(&self, cluster: &Cluster, from: NodeId, parcel: Parcel, now: Instant) {
        match parcel {
            Parcel::Beat { greets, .. } => {
                if greets {
                    // It was away, and has given up all that was on its way by then.
                    let askers = lock(&cluster.requests).node_gone(from);
                    self.tell_unanswered(askers);
                    lock(&cluster.serving).node_gone(from);
                    cluster.beat(Target::Node(from), false);
                }
            }
            Parcel::Leaving => self.let_polls_go(cluster, from),
            Parcel::Goodbye => {
                lock(&cluster.nodes).leave(from, now);
                self.node_gone(cluster, from);
            }
            Parcel::About { room, said } => self.hear_about(cluster, from, &room, said, now),
            Parcel::NoSuchPeer { room, caller } => {
                if let Some(client) = self.inner.broker.mailbox(&caller) {
                    let error = notice::error(Code::NoSuchPeer, NO_SUCH_PEER, Some(room.as_str()));
                    if client.deliver(&error).is_err() {
                        self.close_slow(&[caller]);
                    }
                }
            }
            Parcel::Outcome { request, outcome } => {
                let answer = Answer::Outcome(outcome);
                let asker = lock(&cluster.requests).answer(request, from, answer);
                if let Some((asker, Answer::Outcome(outcome))) = asker {
                    self.tell(asker, told(outcome));
                }
            }
            Parcel::ToPeer { peer, signal } => {
                let delivery = self.inner.broker.to_peer(&peer, &signal);
                self.close_slow(&delivery.full);
            }
            Parcel::Disconnect { peer } => {
                self.disconnect_here(&peer);
            }
            Parcel::Request { request, body } => self.serve(from, request, body),
            Parcel::Reply { request, body } => {
                // Of a poll: what is for a signal's sender is none, and is as good as nothing.
                let asker = lock(&cluster.requests).answer(request, from, Answer::Reply(body));
                self.tell_unanswered(asker.into_iter().map(|(asker, _)| asker).collect());
            }
            Parcel::Cut { request } => lock(&cluster.serving).cut(from, request),
            // Was put together before.
            Parcel::Piece { .. } => {}
        }
    }

    fn hear_about(
        &self,
        cluster: &Cluster,
        from: NodeId,
        room: &RoomId,
        said: About,
        now: Instant,
    ) {
        match said {
            About::Announced { except, signal } => {
                let broker = &self.inner.broker;
                let told = broker.to_room(room, except.as_ref(), &signal);
                self.close_slow(&told.full);
            }
            About::Close => {
                self.close_room_here(room);
            }
            said => {
                if let About::Roster { members, .. } = &said {
                    let max = cluster.max_members;
                    lock(&cluster.searches).find(room, from, members, max);
                }
                let direct = match &said {
                    About::Direct {
                        caller, request, ..
                    } => Some((*caller, *request)),
                    _ => None,
                };
                let asks = match said {
                    About::Ask { asks, only } if only.is_none_or(|only| only == cluster.node) => {
                        Some(asks)
                    }
                    _ => None,
                };
                let found = self.with_roster(cluster, room, |roster, effects| {
                    roster.handle(from, said, now, effects);
                });
                if found {
                    return;
                }
                if let Some((caller, request)) = direct {
                    cluster.answer(caller, room, request, false);
                }
                if let Some(ticket) = asks {
                    // If it is not heard, it is asked again.
                    let _ = cluster.deny(Some((from, ticket)), room);
                }
            }
        }
    }

    /// A node is dead or has left: its peers are gone from all rooms.
    pub(super) fn node_gone(&self, cluster: &Cluster, node: NodeId) {
        let askers = lock(&cluster.requests).node_gone(node);
        self.tell_unanswered(askers);
        lock(&cluster.serving).node_gone(node);
        for room in cluster.watched() {
            self.with_roster(cluster, &room, |roster, effects| {
                roster.node_gone(node, effects);
            });
        }
    }

    /// Does what is due.
    pub(super) fn cluster_tick(&self, cluster: &Cluster, now: Instant) {
        if !lock(&cluster.agenda).is_due(now) {
            return;
        }
        let _batch = Batch::open();
        let (beats, dead, connected, others) = {
            let mut nodes = lock(&cluster.nodes);
            (
                nodes.is_beat_due(now),
                nodes.take_dead(now),
                nodes.is_connected(),
                nodes.count(),
            )
        };
        cluster.counters.metrics.nodes(others);
        if beats {
            cluster.beat(Target::All, false);
        }
        for node in dead {
            self.node_gone(cluster, node);
        }
        let unfinished = lock(&cluster.pieces).expire(now);
        cluster.counters.add(Parcels::Lost, unfinished as u64);
        let askers = lock(&cluster.requests).expire(now);
        self.tell_unanswered(askers);
        let waiting = lock(&cluster.agenda).take_waiting();
        for room in waiting {
            self.with_roster(cluster, &room, |roster, effects| roster.tick(now, effects));
        }
        if connected {
            self.mend(cluster, now);
        }
    }

    /// Asks and tells what may have been missed, a few rooms at a time.
    fn mend(&self, cluster: &Cluster, now: Instant) {
        let dirty = lock(&cluster.agenda).take_dirty();
        for (room, only) in dirty {
            self.with_roster(cluster, &room, |roster, effects| {
                roster.ask(only, now, effects);
            });
        }
        let emptied = lock(&cluster.agenda).take_emptied();
        for room in emptied {
            cluster.deny_emptied(&room);
        }
        // Listed first: a room is locked before the agenda.
        let is_due = lock(&cluster.agenda).is_round_due(now);
        let all = if is_due {
            cluster.watched()
        } else {
            Vec::new()
        };
        let compared = lock(&cluster.agenda).take_compared(now, all);
        for room in compared {
            self.with_roster(cluster, &room, |roster, effects| roster.check(now, effects));
        }
    }
}

impl Cluster {
    /// Another node is heard for the first time, or again after it was taken for dead. What it has
    /// said of rooms before that was missed.
    fn meet(&self, node: NodeId, parcel: &Parcel) {
        let is_new_itself = match parcel {
            Parcel::Beat { has_spoken, .. } => !has_spoken,
            Parcel::About {
                said: About::Join {
                    before: 0, asks, ..
                },
                ..
            } => *asks > 0,
            _ => false,
        };
        // It may not know of this one either.
        if !matches!(parcel, Parcel::Beat { .. } | Parcel::Goodbye) {
            self.beat(Target::Node(node), false);
        }
        if !is_new_itself {
            self.soil_all(Some(node));
        }
    }

    fn soil_all(&self, only: Option<NodeId>) {
        let rooms = self.watched();
        let mut agenda = lock(&self.agenda);
        for room in rooms {
            agenda.soil(room, only);
        }
    }
}
