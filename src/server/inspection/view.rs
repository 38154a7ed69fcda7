//! Rooms and peers as they are shown.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::super::PeerData;
use super::super::client::Client;
use super::pairs::PairView;
use super::rates::{Measured, Rate};
use crate::clock;
use crate::id::{PeerId, RoomId};
use crate::identity::Identity;
use crate::observe::Usage;
use crate::session::{Presence, Transport};

/// How the application calls somebody.
pub(crate) type Naming = dyn Fn(&Identity) -> Option<String> + Send + Sync;

#[derive(Debug, Serialize)]
pub(crate) struct RoomView {
    pub(crate) room: RoomId,
    /// How many members it has at this node, and at others as far as this one knows.
    pub(crate) members: usize,
    pub(crate) elsewhere: usize,
    /// What waits for its members here, in bytes.
    pub(crate) queue: usize,
    /// What its members here have said and were told, in all their rooms.
    #[serde(flatten)]
    pub(crate) usage: Usage,
    /// The same in a second, of those of whom it is known.
    #[serde(flatten)]
    pub(crate) rate: Option<Rate>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PeerView {
    pub(crate) id: PeerId,
    /// What the application calls it.
    pub(crate) name: Option<String>,
    pub(crate) wire: String,
    /// None while its connection is lost and it may come back.
    pub(crate) transport: Option<String>,
    pub(crate) address: Option<IpAddr>,
    /// For how many seconds it has been connected.
    pub(crate) age: f64,
    pub(crate) rooms: usize,
    /// What waits for it, in bytes.
    pub(crate) queue: usize,
    #[serde(flatten)]
    pub(crate) usage: Usage,
    /// Not before it has been seen twice.
    #[serde(flatten)]
    pub(crate) rate: Option<Rate>,
}

impl PeerData {
    pub(crate) fn view_rooms(&self) -> Vec<RoomView> {
        let measured = self.measured();
        let rooms = self.rooms().into_iter();
        rooms.map(|room| self.view_room(room, &measured)).collect()
    }

    fn view_room(&self, room: RoomId, measured: &Measured) -> RoomView {
        let here = self.inner.broker.members(room.as_str());
        let mut view = RoomView {
            members: here.len(),
            elsewhere: self.members(&room).len().saturating_sub(here.len()),
            room,
            queue: 0,
            usage: Usage::default(),
            rate: None,
        };
        for (_, client) in here.iter() {
            let (queue, usage) = client.with(|session| (session.waiting(), session.usage()));
            view.queue += queue;
            view.usage += usage;
            if let Some(rate) = measured.of(&client.sid) {
                *view.rate.get_or_insert_default() += rate;
            }
        }
        view
    }

    pub(crate) fn view_peers(&self, naming: Option<&Naming>) -> Vec<PeerView> {
        let measured = self.measured();
        let peers = self.inner.broker.peers().into_iter();
        peers
            .map(|(id, client)| self.view_peer(id, &client, naming, &measured))
            .collect()
    }

    /// The members of a room at this node, oldest first, at most `max`; and how many there are.
    pub(crate) fn view_members(
        &self,
        room: &RoomId,
        max: usize,
        naming: Option<&Naming>,
    ) -> (Vec<PeerView>, usize) {
        let measured = self.measured();
        let here = self.inner.broker.members(room.as_str());
        let shown = here.iter().take(max);
        let views = shown.map(|(id, client)| self.view_peer(id, client, naming, &measured));
        (views.collect(), here.len())
    }

    /// How the calls between members of a room stand, at most `max` of them, the unfinished first;
    /// and how many have begun.
    pub(crate) fn view_pairs(&self, room: &RoomId, max: usize) -> (Vec<PairView>, usize) {
        let Some(kept) = self.inner.inspection.0.get() else {
            return (Vec::new(), 0);
        };
        let here: Vec<_> = self.inner.broker.members(room.as_str()).ids().collect();
        kept.pairs.of_room(room.as_str(), &here, max, clock::now())
    }

    fn view_peer(
        &self,
        id: PeerId,
        client: &Arc<Client>,
        naming: Option<&Naming>,
        measured: &Measured,
    ) -> PeerView {
        let (transport, identity, queue, usage) = client.with(|session| {
            let identity = session.identity(&Presence::main(id));
            let transport = session.transport();
            (transport, identity, session.waiting(), session.usage())
        });
        // The application answers, and the client is not held for that.
        let name = naming.zip(identity).and_then(|(naming, who)| naming(&who));
        let age = clock::now().saturating_duration_since(client.since);
        PeerView {
            id,
            name,
            wire: super::super::Wire::from(client.wire).to_string(),
            transport: transport.as_ref().map(Transport::to_string),
            address: client.address,
            age: age.as_secs_f64(),
            rooms: self.inner.broker.room_count_of(&id),
            queue,
            usage,
            rate: measured.of(&client.sid),
        }
    }
}
