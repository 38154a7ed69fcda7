//! Rooms and the peers in them, without wires, clocks or tasks.

mod room;
mod room_set;
mod shards;

use std::fmt;
use std::sync::Arc;

pub use room::Members;
use room_set::RoomSet;
pub(crate) use shards::{Drawn, Shards, shrink};

use crate::id::{PeerId, RoomId};
use crate::signal::Signal;

/// Where the broker leaves mail for one peer.
///
/// Delivering must neither block nor call the broker: it runs in the middle of somebody else's
/// message. Put the signal into a queue and wake whoever empties it.
pub trait Mailbox: Send + Sync + 'static {
    /// Takes the signal, or says why not.
    ///
    /// # Errors
    ///
    /// [`Undelivered::Full`] reports the receiver in [`Delivery::full`];
    /// [`Undelivered::Closed`] is passed over in silence, since the receiver is about to be
    /// detached anyway.
    fn deliver(self: &Arc<Self>, signal: &Signal) -> Result<(), Undelivered>;
}

/// Why a mailbox did not take a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undelivered {
    /// Its bound is reached: the receiver does not keep up.
    Full,
    /// Nobody empties it any more.
    Closed,
}

/// What became of a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// How many mailboxes took it.
    pub delivered: usize,
    /// Whose mailbox was full.
    pub full: Vec<PeerId>,
    /// What became of it on its way to peers at other nodes, if there are any. Those whom it is
    /// known to be on its way to are counted as delivered.
    pub remote: Remote,
}

/// What became of a signal on its way to other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remote {
    /// There is nobody at another node whom it is for, as far as this one knows.
    #[default]
    Unneeded,
    /// It was handed to the bus.
    Sent,
    /// Too much waits to be sent: it was dropped.
    Full,
    /// The bus is away: it was dropped.
    Down,
}

/// Why the broker did not do as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerError {
    /// A peer of that id is attached already.
    AlreadyAttached,
    /// No peer of that id is attached.
    NotAttached,
    /// The sender is not in that room.
    NotInRoom,
    /// The receiver is not in that room, or does not exist: a stranger cannot tell which.
    NoSuchPeer,
    /// The room has as many members as it may have.
    RoomFull,
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyAttached => "a peer of that id is attached already",
            Self::NotAttached => "no peer of that id is attached",
            Self::NotInRoom => "the sender is not in that room",
            Self::NoSuchPeer => "no such peer in that room",
            Self::RoomFull => "the room is full",
        })
    }
}

impl std::error::Error for BrokerError {}

/// What a join did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Joined<M> {
    /// Everybody in the room, the one who joined included.
    pub members: Members<M>,
    /// False if the peer was in the room before.
    pub newly: bool,
}

/// A room that a peer has left.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Departure<M> {
    /// The room.
    pub room: RoomId,
    /// Those who were left in it at that moment.
    pub others: Members<M>,
}

/// The rooms of one node and the peers in them.
///
/// Plain synchronous methods over `&self`, safe to call from any thread. Locks are held for a
/// look-up or a change, never while a signal is delivered. A join or a departure is one moment:
/// the members it reports are exactly those who must be told of it.
///
/// The broker knows no sockets; a mailbox can be as simple as a vector:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use peer_data_server::{Broker, Mailbox, PeerId, RoomId, Signal, Undelivered};
///
/// struct Inbox(Mutex<Vec<Signal>>);
///
/// impl Mailbox for Inbox {
///     fn deliver(self: &Arc<Self>, signal: &Signal) -> Result<(), Undelivered> {
///         self.0.lock().map_err(|_| Undelivered::Closed)?.push(signal.clone());
///         Ok(())
///     }
/// }
///
/// let broker = Broker::new();
/// let kitchen = RoomId::new("kitchen")?;
/// let (ann, ben) = (PeerId::random()?, PeerId::random()?);
/// let inbox = Arc::new(Inbox(Mutex::default()));
/// broker.attach(ann, Arc::new(Inbox(Mutex::default())))?;
/// broker.attach(ben, inbox.clone())?;
/// broker.join(&ann, &kitchen)?;
/// broker.join(&ben, &kitchen)?;
///
/// let hello = Signal::new("HELLO", Some(&kitchen), &"there")?;
/// assert_eq!(broker.to_room(&kitchen, Some(&ann), &hello).delivered, 1);
/// assert_eq!(inbox.0.lock().unwrap().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Broker<M> {
    peers: Drawn<PeerId, Entry<M>>,
    rooms: Shards<RoomId, Members<M>>,
}

struct Entry<M> {
    mailbox: Arc<M>,
    rooms: RoomSet,
}

// Lock order: a peer's shard before a room's, and never two of either. While a peer's shard is
// held its entry cannot go, so a join cannot outlive the peer.
impl<M: Mailbox> Broker<M> {
    /// A broker with nobody in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            peers: Drawn::new(),
            rooms: Shards::new(),
        }
    }

    /// Makes a peer known under `id`.
    ///
    /// # Errors
    ///
    /// [`BrokerError::AlreadyAttached`]: the one who has the id keeps it.
    pub fn attach(&self, id: PeerId, mailbox: Arc<M>) -> Result<(), BrokerError> {
        let mut shard = self.peers.lock(&id);
        if shard.contains_key(&id) {
            return Err(BrokerError::AlreadyAttached);
        }
        let rooms = RoomSet::default();
        shard.insert(id, Entry { mailbox, rooms });
        Ok(())
    }

    /// Gives a peer another mailbox, in all its rooms. False if there is no such peer.
    pub(crate) fn move_mailbox(&self, id: &PeerId, mailbox: &Arc<M>) -> bool {
        let mut peers = self.peers.lock(id);
        let Some(entry) = peers.get_mut(id) else {
            return false;
        };
        entry.mailbox = Arc::clone(mailbox);
        for room in entry.rooms.iter() {
            if let Some(members) = self.rooms.lock(room).get_mut(room) {
                members.replace(id, mailbox);
            }
        }
        true
    }

    /// Forgets a peer; the rooms it was in come back, each with those who are left there.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn detach(&self, id: &PeerId) -> Vec<Departure<M>> {
        let rooms = {
            let mut shard = self.peers.lock(id);
            let Some(entry) = shard.remove(id) else {
                return Vec::new();
            };
            shrink(&mut shard);
            entry.rooms
        };
        rooms
            .into_iter()
            .map(|room| {
                let others = self.remove_member(id, &room);
                Departure { room, others }
            })
            .collect()
    }

    /// Puts a peer into a room, which comes to be with its first member.
    ///
    /// # Errors
    ///
    /// [`BrokerError::NotAttached`].
    pub fn join(&self, id: &PeerId, room: &RoomId) -> Result<Joined<M>, BrokerError> {
        self.join_within(id, room, usize::MAX)
    }

    /// Puts a peer into a room, unless that has `capacity` members without it. Looked at and done
    /// in one moment: of two that want the last place, one gets it. Who is in the room already
    /// needs no place.
    ///
    /// # Errors
    ///
    /// [`BrokerError::NotAttached`], [`BrokerError::RoomFull`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use peer_data_server::{Broker, BrokerError, Mailbox, PeerId, RoomId, Signal, Undelivered};
    ///
    /// struct Void;
    ///
    /// impl Mailbox for Void {
    ///     fn deliver(self: &Arc<Self>, _: &Signal) -> Result<(), Undelivered> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let broker = Broker::new();
    /// let booth = RoomId::new("booth")?;
    /// let (ann, ben) = (PeerId::random()?, PeerId::random()?);
    /// broker.attach(ann, Arc::new(Void))?;
    /// broker.attach(ben, Arc::new(Void))?;
    /// broker.join_within(&ann, &booth, 1)?;
    /// let refused = broker.join_within(&ben, &booth, 1);
    /// assert!(matches!(refused, Err(BrokerError::RoomFull)));
    /// assert!(broker.join_within(&ann, &booth, 1).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join_within(
        &self,
        id: &PeerId,
        room: &RoomId,
        capacity: usize,
    ) -> Result<Joined<M>, BrokerError> {
        let mut peers = self.peers.lock(id);
        let entry = peers.get_mut(id).ok_or(BrokerError::NotAttached)?;
        let newly = !entry.rooms.contains(room.as_str());
        let mut rooms = self.rooms.lock(room);
        if newly && rooms.get(room).map_or(0, Members::len) >= capacity {
            return Err(BrokerError::RoomFull);
        }
        // All who are in a room share one copy of its name.
        let shared = rooms.get_key_value(room).map(|(room, _)| room.clone());
        let room = shared.unwrap_or_else(|| room.clone());
        let members = rooms.entry(room.clone()).or_insert_with(Members::none);
        if newly {
            entry.rooms.insert(room);
            members.push(*id, Arc::clone(&entry.mailbox));
        }
        let members = members.clone();
        Ok(Joined { members, newly })
    }

    /// Takes a peer out of a room and reports those who are left, or `None` if it was not there.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn leave(&self, id: &PeerId, room: &str) -> Option<Departure<M>> {
        let mut peers = self.peers.lock(id);
        let room = peers.get_mut(id)?.rooms.take(room)?;
        let others = self.remove_member(id, &room);
        Some(Departure { room, others })
    }

    fn remove_member(&self, id: &PeerId, room: &RoomId) -> Members<M> {
        let mut rooms = self.rooms.lock(room);
        let Some(members) = rooms.get_mut(room) else {
            return Members::none();
        };
        members.remove(id);
        let others = members.clone();
        if others.is_empty() {
            rooms.remove(room);
            shrink(&mut rooms);
        }
        others
    }

    /// The mailbox of a peer.
    #[must_use]
    pub fn mailbox(&self, id: &PeerId) -> Option<Arc<M>> {
        self.peers
            .lock(id)
            .get(id)
            .map(|entry| Arc::clone(&entry.mailbox))
    }

    /// The mailbox of `to`, if both peers are in `room`.
    ///
    /// # Errors
    ///
    /// [`BrokerError::NotInRoom`] if `from` is not; [`BrokerError::NoSuchPeer`] if `to` is not,
    /// whether or not it exists.
    pub fn route(&self, from: &PeerId, to: &PeerId, room: &str) -> Result<Arc<M>, BrokerError> {
        self.check_member(from, room)?;
        match self.peers.lock(to).get(to) {
            Some(entry) if entry.rooms.contains(room) => Ok(Arc::clone(&entry.mailbox)),
            _ => Err(BrokerError::NoSuchPeer),
        }
    }

    /// The members of `room`, if `from` is one of them.
    ///
    /// # Errors
    ///
    /// [`BrokerError::NotInRoom`].
    pub fn audience(&self, from: &PeerId, room: &str) -> Result<Members<M>, BrokerError> {
        self.check_member(from, room)?;
        Ok(self.members(room))
    }

    fn check_member(&self, id: &PeerId, room: &str) -> Result<(), BrokerError> {
        if self.is_member(id, room) {
            Ok(())
        } else {
            Err(BrokerError::NotInRoom)
        }
    }

    /// Whether that peer is in that room.
    #[must_use]
    pub fn is_member(&self, id: &PeerId, room: &str) -> bool {
        let shard = self.peers.lock(id);
        shard
            .get(id)
            .is_some_and(|entry| entry.rooms.contains(room))
    }

    /// How many rooms a peer is in.
    #[must_use]
    pub fn room_count_of(&self, id: &PeerId) -> usize {
        let shard = self.peers.lock(id);
        shard.get(id).map_or(0, |entry| entry.rooms.len())
    }

    /// The rooms that a peer is in, in no order.
    #[must_use]
    pub fn rooms_of(&self, id: &PeerId) -> Vec<RoomId> {
        let shard = self.peers.lock(id);
        let rooms = shard.get(id).map(|entry| entry.rooms.iter().cloned());
        rooms.into_iter().flatten().collect()
    }

    /// The members of a room; nobody, if there is no such room.
    #[must_use]
    pub fn members(&self, room: &str) -> Members<M> {
        let shard = self.rooms.lock(room);
        shard.get(room).cloned().unwrap_or_else(Members::none)
    }

    /// Sends to one peer, whatever its rooms.
    #[must_use]
    pub fn to_peer(&self, to: &PeerId, signal: &Signal) -> Delivery {
        let mut delivery = Delivery::default();
        if let Some(mailbox) = self.mailbox(to) {
            delivery.note(*to, mailbox.deliver(signal));
        }
        delivery
    }

    /// Sends to everybody in a room but `except`.
    #[must_use]
    pub fn to_room(&self, room: &RoomId, except: Option<&PeerId>, signal: &Signal) -> Delivery {
        self.members(room.as_str()).deliver(except, signal)
    }

    /// Every peer with its mailbox, in no order.
    pub(crate) fn peers(&self) -> Vec<(PeerId, Arc<M>)> {
        self.peers
            .collect(|id, entry| (*id, Arc::clone(&entry.mailbox)))
    }

    /// How many peers are attached.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// How many rooms have a member.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// The rooms that have a member, in no order.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        self.rooms.collect(|room, _| room.clone())
    }
}

impl<M: Mailbox> Default for Broker<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> fmt::Debug for Broker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
