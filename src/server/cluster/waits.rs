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

/// Who has sent a signal of which another node says what became of it.
#[derive(Debug)]
pub(super) struct Asker {
    client: Arc<Client>,
    pub(super) own: PeerId,
    ack: Option<Box<str>>,
    room: RoomId,
}

/// Why no node was asked.
enum Unasked {
    Refused((Code, &'static str)),
    /// There is something to wait for first.
    NotYet(Asker),
}

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
        let asker = Asker {
            client: Arc::clone(client),
            own: *own,
            ack: ack.map(Into::into),
            room,
        };
        let asker = match self.ask_about(asker, &callee, &signal) {
            Ok(()) => return Ok(Progress::Owed),
            Err(Unasked::Refused((code, message))) => return Err(envelope.flaw(code, message)),
            Err(Unasked::NotYet(asker)) => asker,
        };
        let server = self.clone();
        Ok(Progress::Waits(Box::pin(async move {
            let outcome = server.seek_out(asker.own, callee, &asker.room, &signal);
            let outcome = outcome.await;
            server.tell(asker, outcome);
        })))
    }

    /// Gives a signal to a peer of which only its own node may know. The sender is told later what
    /// that says, and is read on meanwhile: a node, or a bus, that does not answer is no obstacle to
    /// what it says to others.
    fn ask_about(&self, asker: Asker, to: &PeerId, signal: &Signal) -> Result<(), Unasked> {
        let Some(cluster) = self.cluster() else {
            return Err(Unasked::Refused((Code::NoSuchPeer, NO_SUCH_PEER)));
        };
        let (own, room) = (asker.own, asker.room.clone());
        let number = cluster.number();
        let until = clock::now() + CLUSTER_OUTCOME_TIME;
        let owed = lock(&cluster.requests).owe(number, to.node(), until, asker);
        owed.map_err(Unasked::NotYet)?;
        let sent = self.direct_elsewhere(&own, to, &room, number, signal);
        if sent == Direct::Sent {
            return Ok(());
        }
        let asker = lock(&cluster.requests).take_back(number);
        match (sent, asker) {
            // Nobody there knows the sender yet.
            (Direct::Unknown, Some(asker)) => Err(Unasked::NotYet(asker)),
            (sent, Some(_)) => {
                let refused = delivered(&sent).err();
                Err(Unasked::Refused(
                    refused.unwrap_or((Code::Busy, UNREACHABLE)),
                ))
            }
            // The bus was lost in that moment, and the sender was told.
            (_, None) => Ok(()),
        }
    }

    /// Tells somebody what became of its signal, unless it is gone.
    pub(super) fn tell(&self, asker: Asker, outcome: Result<usize, (Code, &'static str)>) {
        let Asker {
            client,
            own,
            ack,
            room,
        } = asker;
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
        self.answer(&client, &own, ack.as_deref(), &outcome);
    }

    /// Tells those that no node has answered.
    pub(super) fn tell_unanswered(&self, askers: Vec<Asker>) {
        for asker in askers {
            self.tell(asker, Err((Code::Busy, UNREACHABLE)));
        }
    }

    /// Gives a signal to a peer of which only its own node may know, and returns once that has
    /// answered: for a sender whom nobody there knows yet, and for one of whom enough waits already.
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
            Ok(Answer::Outcome(outcome)) => told(outcome),
            Ok(Answer::Reply(_)) | Err(_) => Err((Code::Busy, UNREACHABLE)),
        }
    }
}

/// What a sender is told.
pub(super) fn told(outcome: Outcome) -> Result<usize, (Code, &'static str)> {
    match outcome {
        Outcome::Delivered => Ok(1),
        Outcome::NoSuchPeer => Err((Code::NoSuchPeer, NO_SUCH_PEER)),
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
