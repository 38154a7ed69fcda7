//! Events of local peers that wait for what other nodes know.

use std::borrow::Cow;
use std::sync::Arc;

use super::PeerData;
use super::requests::Answer;
use super::rooms::Direct;
use crate::clock;
use crate::cluster::Outcome;
use crate::error::Code;
use crate::id::{PeerId, RoomId};
use crate::limits::CLUSTER_OUTCOME_TIME;
use crate::server::client::Client;
use crate::server::connect::room_of;
use crate::server::dispatch::{Done, NO_SUCH_PEER, Progress};
use crate::session::Presence;
use crate::signal::Signal;
use crate::sync::lock;
use crate::wire::envelope::{Envelope, Flaw};

const UNREACHABLE: &str = "the node of that peer cannot be reached now";

impl PeerData {
    /// Whether a peer that is not at this node can be at another one.
    pub(in crate::server) fn may_be_elsewhere(&self, peer: &PeerId) -> bool {
        self.cluster()
            .is_some_and(|cluster| cluster.knows(peer.node()))
    }

    /// Answers a CONNECT once it is known who is in the room at other nodes, or they have had the
    /// time to say so.
    pub(in crate::server) fn answer_join(
        &self,
        client: &Arc<Client>,
        own: PeerId,
        ack: &str,
        room: RoomId,
        mut done: Done,
    ) -> Progress {
        let (server, client) = (self.clone(), Arc::clone(client));
        let ack: Box<str> = ack.into();
        Progress::Waits(Box::pin(async move {
            server.settled(&room).await;
            server.add_elsewhere(&own, &room, &mut done);
            if client.is_connected(&Presence::main(own)) {
                server.answer(&client, &own, Some(&ack), &Ok(done));
            }
        }))
    }

    /// Completes the answer to a CONNECT: with those at other nodes of whom the peer has not heard by
    /// a CONNECT of their own, and without those of this node who have left while it waited.
    pub(in crate::server) fn add_elsewhere(&self, own: &PeerId, room: &RoomId, done: &mut Done) {
        let (Some(peers), Some(cluster)) = (&mut done.peers, self.cluster()) else {
            return;
        };
        let broker = &self.inner.broker;
        peers.retain(|peer| broker.is_member(peer, room.as_str()));
        let elsewhere = cluster.in_watched(room.as_str(), |watch| {
            let heard = watch.end_joining(own);
            let members = watch.roster.remote_members().map(|member| member.id);
            members.filter(|id| !heard.contains(id)).collect::<Vec<_>>()
        });
        peers.extend(elsewhere.unwrap_or_default());
    }

    /// Nobody is to be told who was in the room before.
    pub(in crate::server) fn end_joining(&self, own: &PeerId, room: &RoomId) {
        if let Some(cluster) = self.cluster() {
            cluster.in_watched(room.as_str(), |watch| watch.end_joining(own));
        }
    }

    /// Gives a signal to a peer at another node. If that is known to be in the room, that is all
    /// there is to do; if not, its node is asked.
    pub(in crate::server) fn signal_elsewhere<'a>(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        ack: Option<&str>,
        envelope: &Envelope<'a>,
        callee: PeerId,
        signal: Signal,
    ) -> Result<Progress, Flaw<'a>> {
        let room = room_of(envelope)?;
        match self.direct_elsewhere(own, &callee, &room, 0, &signal) {
            Direct::Unknown => {}
            sent => {
                let done = delivered(&sent).map(Done::delivered);
                let done = done.map_err(|(code, message)| envelope.flaw(code, message))?;
                return Ok(done.into());
            }
        }
        let (server, client, own) = (self.clone(), Arc::clone(client), *own);
        let ack: Option<Box<str>> = ack.map(Into::into);
        Ok(Progress::Waits(Box::pin(async move {
            let outcome = server.seek_out(own, callee, &room, &signal).await;
            if !client.is_connected(&Presence::main(own)) {
                return;
            }
            let outcome = outcome
                .map(Done::delivered)
                .map_err(|(code, message)| Flaw {
                    code,
                    message: Cow::Borrowed(message),
                    room: Some(Cow::Borrowed(room.as_str())),
                });
            server.answer(&client, &own, ack.as_deref(), &outcome);
        })))
    }

    /// Gives a signal to a peer of which only its own node may know.
    async fn seek_out(
        &self,
        from: PeerId,
        to: PeerId,
        room: &RoomId,
        signal: &Signal,
    ) -> Result<usize, (Code, &'static str)> {
        // It may be in a roster that is on its way.
        self.settled(room).await;
        match self.direct_elsewhere(&from, &to, room, 0, signal) {
            Direct::Unknown => {}
            sent => return delivered(&sent),
        }
        let cluster = self.cluster().ok_or((Code::NoSuchPeer, NO_SUCH_PEER))?;
        let number = cluster.number();
        let until = clock::now() + CLUSTER_OUTCOME_TIME;
        let expected = lock(&cluster.requests).expect(number, to.node(), until);
        let answered = expected.ok_or((Code::Busy, UNREACHABLE))?;
        match self.direct_elsewhere(&from, &to, room, number, signal) {
            Direct::Sent => {}
            sent => {
                lock(&cluster.requests).forget(number);
                return delivered(&sent);
            }
        }
        match answered.await {
            Ok(Answer::Outcome(Outcome::Delivered)) => Ok(1),
            Ok(Answer::Outcome(Outcome::NoSuchPeer)) => Err((Code::NoSuchPeer, NO_SUCH_PEER)),
            Ok(Answer::Reply(_)) | Err(_) => Err((Code::Busy, UNREACHABLE)),
        }
    }
}

/// To how many a signal is on its way, or what its sender is told.
fn delivered(sent: &Direct) -> Result<usize, (Code, &'static str)> {
    match sent {
        Direct::Sent => Ok(1),
        Direct::Failed => Err((Code::Busy, UNREACHABLE)),
        Direct::Unknown | Direct::Nowhere => Err((Code::NoSuchPeer, NO_SUCH_PEER)),
    }
}
