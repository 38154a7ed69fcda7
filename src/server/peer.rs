//! A peer as the application's hooks see it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::PeerData;
use super::client::Client;
use crate::broker::{Delivery, Mailbox, Undelivered};
use crate::clock;
use crate::cluster::Member;
use crate::ending::CloseReason;
use crate::id::{PeerId, RoomId};
use crate::identity::Identity;
use crate::session::{self, Presence, Transport};
use crate::signal::Signal;
use crate::wire::engine::Revision;
use crate::wire::socket;

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wire {
    /// Socket.IO over Engine.IO revision 3: socket.io-client 2, and so `peer-data`.
    SocketIo2,
    /// Socket.IO over Engine.IO revision 4: socket.io-client 3 and 4.
    SocketIo4,
    /// Plain JSON over a websocket.
    Json,
}

impl From<session::Wire> for Wire {
    fn from(wire: session::Wire) -> Self {
        match wire {
            session::Wire::Engine(Revision::V3) => Self::SocketIo2,
            session::Wire::Engine(Revision::V4) => Self::SocketIo4,
            session::Wire::Json => Self::Json,
        }
    }
}

impl Wire {
    /// What other nodes are told.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Json => 1,
            Self::SocketIo2 => 2,
            Self::SocketIo4 => 4,
        }
    }

    /// A number that a later version may have is taken for the plainest.
    fn numbered(number: u8) -> Self {
        match number {
            2 => Self::SocketIo2,
            4 => Self::SocketIo4,
            _ => Self::Json,
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SocketIo2 => "socket.io 2",
            Self::SocketIo4 => "socket.io 4",
            Self::Json => "json",
        })
    }
}

/// A client that is connected, in one namespace. Cloning shares it.
///
/// The hooks are given one; it may be kept and used from any task. It does not keep the client
/// connected: once that is gone, what is sent to it goes nowhere.
#[derive(Clone)]
pub struct Peer {
    server: PeerData,
    place: Place,
    presence: Presence,
    identity: Identity,
}

/// Where a peer's client is connected.
#[derive(Clone)]
enum Place {
    Here(Arc<Client>),
    /// At another node, from which this one knows how it speaks.
    Elsewhere(Wire),
}

impl Peer {
    /// A peer of a client that is acted for at the moment, or held.
    pub(super) fn new(server: &PeerData, client: &Arc<Client>, presence: Presence) -> Self {
        let identity = client.with(|session| session.identity(&presence));
        Self::known(server, client, presence, identity.unwrap_or_default())
    }

    /// A peer of any client, if that is still connected as it.
    pub(super) fn connected(
        server: &PeerData,
        client: &Arc<Client>,
        presence: Presence,
    ) -> Option<Self> {
        let identity = client.with(|session| {
            let connected = session.is_connected(&presence);
            connected.then(|| session.identity(&presence))
        });
        Some(Self::known(server, client, presence, identity??))
    }

    pub(super) fn known(
        server: &PeerData,
        client: &Arc<Client>,
        presence: Presence,
        identity: Identity,
    ) -> Self {
        Self {
            server: server.clone(),
            place: Place::Here(Arc::clone(client)),
            presence,
            identity,
        }
    }

    /// A peer at another node.
    pub(super) fn elsewhere(server: &PeerData, member: &Member) -> Self {
        Self {
            server: server.clone(),
            place: Place::Elsewhere(Wire::numbered(member.wire)),
            presence: Presence::main(member.id),
            identity: Identity::anonymous(),
        }
    }

    fn client(&self) -> Option<&Arc<Client>> {
        match &self.place {
            Place::Here(client) => Some(client),
            Place::Elsewhere(_) => None,
        }
    }

    /// Whether it is connected to this node. Of a peer at another one this node knows its id and
    /// which protocol it speaks; it can be sent signals and be disconnected.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.client().is_some()
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

    /// Who it is, in the application's own terms: what the policy that let it in has called it, if
    /// that is a `T`. It stays so when the peer is gone. None of a peer at another node.
    #[must_use]
    pub fn identity<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.identity.get()
    }

    /// Which protocol its client speaks.
    #[must_use]
    pub fn wire(&self) -> Wire {
        match &self.place {
            Place::Here(client) => client.wire.into(),
            Place::Elsewhere(wire) => *wire,
        }
    }

    /// What carries its client's packets at the moment; nothing, if that is gone, or at another node.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        self.client()?.latest().with(|session| session.transport())
    }

    /// How long ago its client opened the session; nothing, if that is at another node.
    #[must_use]
    pub fn age(&self) -> Duration {
        let since = self.client().map(|client| client.since);
        since.map_or(Duration::ZERO, |since| {
            clock::now().saturating_duration_since(since)
        })
    }

    /// The address that its client opened the session from, which
    /// [trusted proxies](crate::Builder::trusted_proxies) speak for. None where the web framework
    /// does not tell who connected, and of a peer at another node.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.client()?.address
    }

    /// This server, whichever node of it the peer is at.
    #[must_use]
    pub fn server(&self) -> &PeerData {
        &self.server
    }

    /// The rooms that it is in, in no order. Rooms are for peers in `/`; others are in none. Of a
    /// peer at another node, none are known.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        self.server.inner.broker.rooms_of(&self.presence.id)
    }

    /// Sends to this peer alone: an answer. Returns at once; a peer whose outbox is full is
    /// disconnected, and named in the result.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn send(&self, signal: &Signal) -> Delivery {
        let mut delivery = Delivery::default();
        let Some(client) = self.client() else {
            return self.server.to_peer(&self.presence.id, signal);
        };
        let client = &client.latest();
        if !client.is_connected(&self.presence) {
            return delivery;
        }
        let delivered = match &self.presence.namespace {
            None => client.deliver(signal),
            Some(namespace) => {
                let packet = socket::in_namespace(signal.packet(), namespace);
                client.deliver(&signal.with_packet(packet))
            }
        };
        match delivered {
            Ok(()) => delivery.delivered = 1,
            Err(Undelivered::Full) => {
                delivery.full.push(self.presence.id);
                self.server.close(client, CloseReason::SlowConsumer);
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
        let Some(client) = self.client() else {
            return self.server.disconnect(&self.presence.id);
        };
        let client = &client.latest();
        let connected = client.is_connected(&self.presence);
        if connected {
            self.server.close(client, CloseReason::Kicked);
        }
        connected
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.presence.id)
            .field("namespace", &self.namespace())
            .field("wire", &self.wire())
            .finish_non_exhaustive()
    }
}
