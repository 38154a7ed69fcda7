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
