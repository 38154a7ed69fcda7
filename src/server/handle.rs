//! What the application can see and do: rooms, the peers in them, and who has to go.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::intake::AddressKey;
use super::membership::Held;
use super::{Peer, PeerData};
use crate::broker::{BrokerError, Delivery};
use crate::clock;
use crate::ending::CloseReason;
use crate::id::{PeerId, RoomId};
use crate::session::Presence;
use crate::signal::Signal;
use crate::wire::notice;

/// Why a peer was not put into a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// No peer of that id is connected to `/` at this node.
    NoSuchPeer,
    /// It is not in the room that it was to be moved from.
    NotInRoom,
    /// It is in as many rooms as a peer may be in:
    /// [`max_rooms_per_peer`](crate::Limits::max_rooms_per_peer).
    TooManyRooms,
    /// All peers together have as many places in rooms as the server gives:
    /// [`max_memberships`](crate::Limits::max_memberships).
    TooManyMemberships,
    /// The room takes no more peers: [`max_peers_per_room`](crate::Limits::max_peers_per_room), or
    /// the [`capacity`](crate::Policy::capacity) that a policy gives it.
    RoomFull,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchPeer => "no peer of that id is connected",
            Self::NotInRoom => "the peer is not in the room that it was to leave",
            Self::TooManyRooms => "the peer is in too many rooms",
            Self::TooManyMemberships => "the server has no more places in rooms",
            Self::RoomFull => "the room is full",
        })
    }
}

impl std::error::Error for JoinError {}

/// Of the broker's reasons, those that can keep a peer out of a room.
impl From<BrokerError> for JoinError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::RoomFull => Self::RoomFull,
            _ => Self::NoSuchPeer,
        }
    }
}

/// Looking around. Lists are copies of one moment: what they show may have changed already.
impl PeerData {
    /// How many peers are connected to this node. Clients that have not asked to connect yet do not count.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.inner.broker.peer_count()
    }

    /// How many rooms have a member at this node.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.inner.broker.room_count()
    }

    /// The rooms that have a member at this node, in no order.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        self.inner.broker.rooms()
    }

    /// The members of a room, oldest first; nobody, if there is no such room. Those at other nodes
    /// follow in no order, if this one has a member in the room itself: else it does not know, and
    /// [`find_members`](Self::find_members) asks.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<PeerId> {
        let here = self.inner.broker.members(room.as_str());
        let elsewhere = self.members_elsewhere(room.as_str()).into_iter();
        here.ids()
            .chain(elsewhere.map(|member| member.id))
            .collect()
    }

    /// The rooms that a peer of this node is in, in no order.
    #[must_use]
    pub fn rooms_of(&self, peer: &PeerId) -> Vec<RoomId> {
        self.inner.broker.rooms_of(peer)
    }

    /// Every peer that is connected to `/` at this node, in no order.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let peers = self.inner.broker.peers().into_iter();
        peers
            .filter_map(|(id, client)| Peer::connected(self, &client, Presence::main(id)))
            .collect()
    }

    /// The peer of that id, if it is connected to `/` at this node.
    ///
    /// ```
    /// use peer_data_server::{PeerData, PeerId};
    ///
    /// let server = PeerData::new();
    /// let id: PeerId = "zVM8wOtnweVu5FYeAAAA".parse()?;
    /// assert!(server.peer(&id).is_none());
    /// # Ok::<(), peer_data_server::InvalidId>(())
    /// ```
    #[must_use]
    pub fn peer(&self, id: &PeerId) -> Option<Peer> {
        let client = self.inner.broker.mailbox(id)?;
        Peer::connected(self, &client, Presence::main(*id))
    }

    /// The members of a room as peers, oldest first; nobody, if there is no such room. For those at
    /// other nodes see [`members`](Self::members).
    #[must_use]
    pub fn room_peers(&self, room: &RoomId) -> Vec<Peer> {
        let members = self.inner.broker.members(room.as_str());
        let members = members.iter();
        let elsewhere = self.members_elsewhere(room.as_str());
        members
            .filter_map(|(id, client)| Peer::connected(self, client, Presence::main(id)))
            .chain(elsewhere.iter().map(|member| Peer::elsewhere(self, member)))
            .collect()
    }
}

/// Speaking.
impl PeerData {
    /// Sends to one peer, whatever its rooms. Returns at once; a peer whose outbox is full is
    /// disconnected, and named in the result. A signal for a peer at another node is handed to the
    /// bus, and counts as delivered if that has taken it.
    pub fn to_peer(&self, to: &PeerId, signal: &Signal) -> Delivery {
        let mut delivery = self.inner.broker.to_peer(to, signal);
        if delivery == Delivery::default() {
            delivery = self.to_peer_elsewhere(to, signal);
        }
        self.close_slow(&delivery.full);
        delivery
    }

    /// Sends to everybody in a room but `except`. Returns at once; peers whose outbox is full are
    /// disconnected, and named in the result. Members at other nodes count as delivered if this one
    /// knows of them and the bus has taken the signal; it is sent also if it does not know.
    pub fn to_room(&self, room: &RoomId, except: Option<&PeerId>, signal: &Signal) -> Delivery {
        let mut delivery = self.inner.broker.to_room(room, except, signal);
        self.close_slow(&delivery.full);
        self.to_room_elsewhere(room, except, signal, &mut delivery);
        delivery
    }
}

/// Moving peers of this node. Each returns once the change is made and everybody concerned has been told.
impl PeerData {
    /// Puts a peer into a room: the others there are told CONNECT with its id as the caller, as if
    /// it had joined by itself, and will make it their offers. Does nothing if it is there already.
    ///
    /// The peer itself is not told; what it is to know, [`to_peer`](Self::to_peer) can say.
    ///
    /// # Errors
    ///
    /// [`JoinError::NoSuchPeer`], [`JoinError::TooManyRooms`], [`JoinError::TooManyMemberships`],
    /// [`JoinError::RoomFull`]. Policies are
    /// not asked to [`admit`](crate::Policy::admit) it: the application has decided.
    ///
    /// ```
    /// use peer_data_server::{JoinError, PeerData, PeerId, RoomId};
    ///
    /// let server = PeerData::new();
    /// let ann: PeerId = "zVM8wOtnweVu5FYeAAAA".parse()?;
    /// let kitchen = RoomId::new("kitchen")?;
    /// assert_eq!(server.join(&ann, &kitchen), Err(JoinError::NoSuchPeer));
    /// # Ok::<(), peer_data_server::InvalidId>(())
    /// ```
    pub fn join(&self, peer: &PeerId, room: &RoomId) -> Result<(), JoinError> {
        let client = self.inner.broker.mailbox(peer);
        let client = client.ok_or(JoinError::NoSuchPeer)?;
        let capacity = self.capacity(room);
        let entered = {
            let held = Held::new(&client);
            if self.inner.broker.is_member(peer, room.as_str()) {
                return Ok(());
            }
            self.enter(&held, peer, room, capacity, &notice::arrival(peer, room))?
        };
        self.end_joining(peer, room);
        self.close_slow(&entered.delivery.full);
        Ok(())
    }

    /// Takes a peer out of a room; it stays connected. False if it is not there.
    ///
    /// The others are told that it has left, and it is told of each of them that they have, so that
    /// both sides end their connections to each other.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn remove(&self, peer: &PeerId, room: &RoomId) -> bool {
        let Some(client) = self.inner.broker.mailbox(peer) else {
            return false;
        };
        let left = {
            let held = Held::new(&client);
            self.exit(&held, peer, room.as_str(), &notice::departure(peer, room))
        };
        let Some((others, mut told)) = left else {
            return false;
        };
        told.full
            .extend(self.tell_of_others(&client, peer, room, &others));
        self.close_slow(&told.full);
        true
    }

    /// Takes a peer out of one room and puts it into another, in one step: no other change of its
    /// rooms comes between. Both rooms and the peer are told as by [`remove`](Self::remove) and
    /// [`join`](Self::join). Nothing happens if both are the same room.
    ///
    /// # Errors
    ///
    /// [`JoinError::NotInRoom`], and those of [`join`](Self::join). Nothing is changed then.
    pub fn move_peer(&self, peer: &PeerId, from: &RoomId, to: &RoomId) -> Result<(), JoinError> {
        let client = self.inner.broker.mailbox(peer);
        let client = client.ok_or(JoinError::NoSuchPeer)?;
        let capacity = self.capacity(to);
        let (others, mut told) = {
            let held = Held::new(&client);
            self.shift(&held, peer, from, to, capacity)?
        };
        told.full
            .extend(self.tell_of_others(&client, peer, from, &others));
        self.close_slow(&told.full);
        Ok(())
    }

    /// Empties a room, as if by [`remove`](Self::remove) for each member: each is told that each
    /// other has left, and stays connected. Returns how many members there were, as far as this node
    /// knows: see [`members`](Self::members).
    ///
    /// Who joins meanwhile may stay. Other nodes are told to do the same with their members.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn close_room(&self, room: &RoomId) -> usize {
        let elsewhere = self.members_elsewhere(room.as_str()).len();
        self.close_room_elsewhere(room);
        self.close_room_here(room) + elsewhere
    }

    pub(super) fn close_room_here(&self, room: &RoomId) -> usize {
        let members = self.inner.broker.members(room.as_str());
        for id in members.ids() {
            self.remove(&id, room);
        }
        members.len()
    }
}

/// Showing the door.
impl PeerData {
    /// Disconnects a peer and tells its rooms. False if there is no such peer.
    ///
    /// Over a websocket, signals that wait for the peer are still sent, and a Socket.IO client is
    /// told not to come back by itself; on long-polling, if a poll of it waits at this moment. If a
    /// message of the peer is being dealt with at this moment, its rooms are told right after it.
    ///
    /// For a peer at another node that is asked to do so: true means that the bus has taken it.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn disconnect(&self, peer: &PeerId) -> bool {
        self.disconnect_here(peer) || self.disconnect_elsewhere(peer)
    }

    pub(super) fn disconnect_here(&self, peer: &PeerId) -> bool {
        let Some(peer) = self.inner.broker.mailbox(peer) else {
            return false;
        };
        self.close(&peer, CloseReason::Kicked);
        true
    }

    /// Ends every session from an address, with [`CloseReason::Banned`], and answers all requests
    /// from it 403 for so long, at most a year. Returns how many sessions there were, those that
    /// were not peers yet included.
    ///
    /// An IPv6 address stands for its /64, which is what one household is given. Behind a proxy,
    /// be sure that it is one of the [`trusted_proxies`](crate::Builder::trusted_proxies): else its
    /// own address is everybody's. Banned again, the address has the new time. There are 10,000 bans
    /// at most; one more ends the one that has the least time left.
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use std::time::Duration;
    /// use peer_data_server::PeerData;
    ///
    /// let server = PeerData::new();
    /// let address: IpAddr = "192.0.2.7".parse()?;
    /// assert_eq!(server.ban(address, Duration::from_secs(600)), 0);
    /// assert_eq!(server.bans()[0].0, address);
    /// assert!(server.unban(address) && server.bans().is_empty());
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn ban(&self, address: IpAddr, duration: Duration) -> usize {
        // First the ban: who comes in meanwhile is found below, or finds it.
        self.inner.intake.ban(address, duration, clock::now());
        let key = AddressKey::of(address);
        let sessions = self.inner.sessions.collect(|_, client| {
            let own = client.address.map(AddressKey::of);
            (own == Some(key)).then(|| Arc::clone(client))
        });
        let mut count = 0;
        for client in sessions.into_iter().flatten() {
            self.close(&client, CloseReason::Banned);
            count += 1;
        }
        count
    }

    /// Lifts a ban. False if there is none.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn unban(&self, address: IpAddr) -> bool {
        self.inner.intake.unban(address, clock::now())
    }

    /// The addresses that are banned, and for how long still, in no order; of an IPv6 network, its
    /// first address.
    #[must_use]
    pub fn bans(&self) -> Vec<(IpAddr, Duration)> {
        self.inner.intake.bans(clock::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::identity::Identity;
    use crate::server::client::Arrival;
    use crate::session::Session;

    /// It was let in before the ban, and opens its session after it.
    #[test]
    fn a_ban_finds_who_is_on_the_way() {
        let server = PeerData::new();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for (banned, alive) in [(false, true), (true, false)] {
            if banned {
                assert_eq!(server.ban(address, Duration::from_secs(60)), 1);
            }
            let (session, _) = Session::json(&server.inner.settings.limits, clock::now());
            let arrival = Arrival {
                address: Some(address),
                ..Arrival::default()
            };
            let sid = SessionId::random().unwrap();
            let client = server.register(sid, session, arrival);
            server.connect_unasked(&client, Ok(Identity::anonymous()));
            assert_eq!(server.session(&sid).is_some(), alive);
            assert_eq!(server.peer_count(), usize::from(alive));
        }
    }

    #[test]
    fn who_comes_from_nowhere_is_never_banned() {
        let server = PeerData::new();
        server.ban("192.0.2.1".parse().unwrap(), Duration::MAX);
        let (session, _) = Session::json(&server.inner.settings.limits, clock::now());
        let sid = SessionId::random().unwrap();
        server.register(sid, session, Arrival::default());
        assert!(server.session(&sid).is_some());
        assert!(server.bans()[0].1 > Duration::from_secs(300 * 24 * 60 * 60));
    }
}
