//! A peer as the application's hooks see it.

use std::fmt;
use std::sync::Arc;

use super::PeerData;
use super::client::Client;
use crate::broker::{Delivery, Mailbox, Undelivered};
use crate::ending::CloseReason;
use crate::id::{PeerId, RoomId};
use crate::session::Presence;
use crate::signal::Signal;
use crate::wire::socket;

/// A client that is connected, in one namespace. Cloning shares it.
///
/// The hooks are given one; it may be kept and used from any task. It does not keep the client
/// connected: once that is gone, what is sent to it goes nowhere.
#[derive(Clone)]
pub struct Peer {
    server: PeerData,
    client: Arc<Client>,
    presence: Presence,
}

impl Peer {
    pub(super) fn new(server: &PeerData, client: &Arc<Client>, presence: Presence) -> Self {
        Self {
            server: server.clone(),
            client: Arc::clone(client),
            presence,
        }
    }

    /// Its public name, which it has while it is connected.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.presence.id
    }

    /// The namespace that it is connected to: `/`, unless the server has others.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.presence.namespace.as_deref().unwrap_or("/")
    }

    /// The server that it is connected to.
    #[must_use]
    pub fn server(&self) -> &PeerData {
        &self.server
    }

    /// The rooms that it is in, in no order. Rooms are for peers in `/`; others are in none.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        self.server.inner.broker.rooms_of(&self.presence.id)
    }

    /// Sends to this peer alone: an answer. Returns at once; a peer whose outbox is full is
    /// disconnected, and named in the result.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn send(&self, signal: &Signal) -> Delivery {
        let mut delivery = Delivery::default();
        if !self.client.is_connected(&self.presence) {
            return delivery;
        }
        let delivered = match &self.presence.namespace {
            None => self.client.deliver(signal),
            Some(namespace) => {
                let packet = socket::in_namespace(signal.packet(), namespace);
                self.client.deliver(&signal.with_packet(packet))
            }
        };
        match delivered {
            Ok(()) => delivery.delivered = 1,
            Err(Undelivered::Full) => {
                delivery.full.push(self.presence.id);
                self.server.close(&self.client, CloseReason::SlowConsumer);
            }
            Err(Undelivered::Closed) => {}
        }
        delivery
    }

    /// Sends to the others in a room: a broadcast. It need not be in the room itself.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn to_room(&self, room: &RoomId, signal: &Signal) -> Delivery {
        self.server.to_room(room, Some(&self.presence.id), signal)
    }

    /// Ends its client's connection, with all its namespaces, as [`PeerData::disconnect`] does.
    /// False if it is gone already.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn disconnect(&self) -> bool {
        let connected = self.client.is_connected(&self.presence);
        if connected {
            self.server.close(&self.client, CloseReason::Kicked);
        }
        connected
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.presence.id)
            .field("namespace", &self.namespace())
            .finish_non_exhaustive()
    }
}
