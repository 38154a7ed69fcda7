//! Acks of CONNECTs that name those at other nodes, and so wait for what these have to say.

use std::sync::Arc;

use super::PeerData;
use super::watch::Watch;
use crate::id::{PeerId, RoomId};
use crate::server::batch;
use crate::server::client::Client;
use crate::server::dispatch::{Done, Progress, Waits};
use crate::session::Presence;
use crate::sync::lock;
use crate::wire::{notice, socket};

/// The answer to a CONNECT, until it is known who is in the room at other nodes, or they have had the
/// time to say so.
///
/// A client has one for each room at most, and so not more than `max_rooms_per_peer`.
pub(super) struct Owed {
    client: Arc<Client>,
    pub(super) own: PeerId,
    ack: Box<str>,
    done: Done,
}

/// When a CONNECT is answered.
enum When {
    Now,
    /// By whoever finds that everybody has told of its members, or has had the time to. The client
    /// is read on.
    Later,
    /// In line, since another one for the same room is to be answered before: whoever repeats itself
    /// is not read until then, or what is owed to it would have no bound.
    InLine,
}

impl PeerData {
    /// What a CONNECT comes to that is to be answered by `ack`, if the client has asked for that.
    pub(in crate::server) fn answer_join(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        ack: Option<&str>,
        room: &RoomId,
        mut done: Done,
    ) -> Progress {
        let (Some(cluster), Some(ack)) = (self.cluster(), ack) else {
            self.end_joining(own, room);
            return done.into();
        };
        let mut owed = Some(Owed {
            client: Arc::clone(client),
            own: *own,
            ack: ack.into(),
            done,
        });
        let when = cluster.in_watched(room.as_str(), |watch| {
            if cluster.is_settled(watch) {
                return When::Now;
            }
            if watch.owes(own) {
                return When::InLine;
            }
            lock(&cluster.agenda).wait(room);
            owed.take().into_iter().for_each(|owed| watch.owe(owed));
            When::Later
        });
        match (owed, when) {
            (None, _) => Progress::Owed,
            (Some(owed), Some(When::InLine)) => Progress::Waits(self.answer_in_line(owed, room)),
            (Some(owed), _) => {
                done = owed.done;
                self.add_elsewhere(own, room, &mut done);
                done.into()
            }
        }
    }

    fn answer_in_line(&self, mut owed: Owed, room: &RoomId) -> Waits {
        let (server, room) = (self.clone(), room.clone());
        Box::pin(async move {
            server.settled(&room).await;
            server.add_elsewhere(&owed.own, &room, &mut owed.done);
            server.pay(owed);
        })
    }

    /// Completes the answer to a CONNECT.
    fn add_elsewhere(&self, own: &PeerId, room: &RoomId, done: &mut Done) {
        if let Some(cluster) = self.cluster() {
            cluster.in_watched(room.as_str(), |watch| {
                let heard = watch.end_joining(own);
                self.complete(watch, &heard, done);
            });
        }
    }

    /// Adds those at other nodes of whom the peer has not heard by a CONNECT of their own, and takes
    /// those of this node out who have left while it waited.
    fn complete(&self, watch: &Watch, heard: &[PeerId], done: &mut Done) {
        let Some(peers) = &mut done.peers else {
            return;
        };
        let broker = &self.inner.broker;
        peers.retain(|peer| broker.is_member(peer, watch.room.as_str()));
        let members = watch.roster.remote_members().map(|member| member.id);
        peers.extend(members.filter(|id| !heard.contains(id)));
    }

    /// Nobody is to be told who was in the room before.
    pub(in crate::server) fn end_joining(&self, own: &PeerId, room: &RoomId) {
        if let Some(cluster) = self.cluster() {
            cluster.in_watched(room.as_str(), |watch| watch.end_joining(own));
        }
    }

    /// All that is owed in a room of which is known who is there. It is given once the room is free.
    pub(super) fn take_owed(&self, watch: &mut Watch) -> Vec<Owed> {
        let owed = watch.take_owed().into_iter();
        let completed = owed.map(|(mut owed, heard)| {
            self.complete(watch, &heard, &mut owed.done);
            owed
        });
        completed.collect()
    }

    /// Gives an answer, unless its client is gone or has become another peer.
    pub(super) fn pay(&self, owed: Owed) {
        let Owed {
            client,
            own,
            ack,
            done,
        } = owed;
        if client.is_connected(&Presence::main(own)) {
            self.answer(&client, &own, Some(&ack), &Ok(done));
        }
    }

    /// Gives one that leaves the room what is owed to it, with what is known by now: nobody else
    /// will. It is held meanwhile, so whoever carries it is woken with the batch.
    pub(super) fn pay_leaver(&self, watch: &mut Watch, own: &PeerId) {
        let Some((mut owed, heard)) = watch.take_leaver(own) else {
            return;
        };
        self.complete(watch, &heard, &mut owed.done);
        let peers = owed.done.peers.unwrap_or_default().into_iter();
        let body = notice::ack_ok(own, owed.done.delivered, Some(peers), None);
        let presence = Presence::main(*own);
        let ((), wakes) = owed.client.step(|session| {
            if session.is_connected(&presence) {
                session.push(socket::ack(&owed.ack, &body));
            }
        });
        wakes.into_iter().for_each(batch::wake);
    }
}
