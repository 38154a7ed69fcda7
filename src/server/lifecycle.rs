//! What becomes of clients, told to the application as it happens.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

use super::client::Client;
use super::peer::Wire;
use super::{Peer, PeerData};
use crate::ending::CloseReason;
use crate::error::Refused;
use crate::id::RoomId;
use crate::session::Presence;
use crate::wire::intent::{Door, Head};

/// Something that became of a client.
///
/// Of one peer each thing is told once and in order: connected, then joined and left in turns,
/// then, once it has left the last room, disconnected. Of different peers, in no particular order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LifecycleEvent {
    /// A client is a peer, in the namespace that [`Peer::namespace`] says. A client whose session
    /// ends before that is not told of, unless it was refused.
    #[non_exhaustive]
    Connected {
        /// Who.
        peer: Peer,
    },
    /// A peer has come into a room, by itself or by the application.
    #[non_exhaustive]
    Joined {
        /// Who.
        peer: Peer,
        /// Where.
        room: RoomId,
    },
    /// A peer is out of a room: it has left, was taken out, or is about to be disconnected.
    #[non_exhaustive]
    Left {
        /// Who.
        peer: Peer,
        /// Where.
        room: RoomId,
    },
    /// A peer is gone. Told of each namespace that its client was connected to; for
    /// [`CloseReason::ClientClosed`] it may have left that one alone.
    #[non_exhaustive]
    Disconnected {
        /// Who, its identity included; nothing that is sent to it will arrive.
        peer: Peer,
        /// Why.
        reason: CloseReason,
    },
    /// A client was not let in, or a peer not into a room. It was told why.
    #[non_exhaustive]
    Refused {
        /// Where it comes from, as far as anybody knows.
        address: Option<IpAddr>,
        /// What it speaks. None if it was refused before that was looked at.
        wire: Option<Wire>,
        /// Who, if it is a peer.
        peer: Option<Peer>,
        /// The room that it may not join.
        room: Option<RoomId>,
        /// Why.
        why: Refused,
    },
    /// So many events were not read in time, and are lost. What is now, [`PeerData::peers`] and
    /// [`Peer::rooms`] tell.
    Missed(u64),
}

/// The events of a server from [`PeerData::lifecycle`] on.
///
/// Every subscription sees all events. While there is none, they cost nothing. It does not keep
/// the server alive.
pub struct Lifecycle {
    events: Receiver<LifecycleEvent>,
}

impl Lifecycle {
    /// How many events wait for a reader before it misses the oldest. 4,096: a thousand peers that
    /// go at once, each out of three rooms. It takes about a megabyte once somebody has subscribed.
    pub const CAPACITY: usize = 4_096;

    /// The next event, or `None` once the server is gone: the last handle and the last connection.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost if this is dropped before it is done.
    pub async fn next(&mut self) -> Option<LifecycleEvent> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(LifecycleEvent::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Who listens: nobody, until the first does.
#[derive(Debug, Default)]
pub(super) struct Listeners(OnceLock<Sender<LifecycleEvent>>);

impl Listeners {
    fn subscribe(&self) -> Lifecycle {
        let sender = self
            .0
            .get_or_init(|| broadcast::channel(Lifecycle::CAPACITY).0);
        let events = sender.subscribe();
        Lifecycle { events }
    }
}

impl PeerData {
    /// Tells of clients that come, go, join, leave and are refused from now on, also to several
    /// readers. One that reads too slowly misses events, and is told how many.
    ///
    /// ```
    /// use peer_data_server::{LifecycleEvent, PeerData};
    ///
    /// async fn watch(server: &PeerData) {
    ///     let mut lifecycle = server.lifecycle();
    ///     while let Some(event) = lifecycle.next().await {
    ///         match event {
    ///             LifecycleEvent::Joined { peer, room, .. } => println!("{} is in {room}", peer.id()),
    ///             LifecycleEvent::Disconnected { peer, reason, .. } => {
    ///                 println!("{} is gone: {reason}", peer.id());
    ///             }
    ///             LifecycleEvent::Missed(count) => println!("{count} more"),
    ///             _ => {}
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        self.inner.listeners.subscribe()
    }

    /// Tells those who listen, if there are any. Said of a peer while that is held.
    pub(super) fn announce(&self, event: impl FnOnce() -> LifecycleEvent) {
        if let Some(sender) = self.inner.listeners.0.get()
            && sender.receiver_count() > 0
        {
            // The last one may have gone just now.
            let _ = sender.send(event());
        }
    }

    /// Tells of a request that was refused before anything was made of it.
    pub(super) fn announce_refused_request(&self, door: Door, head: &Head<'_>, why: &Refused) {
        let address = self.inner.settings.edge.proxies().client_address(head);
        self.announce_stranger(address, (door == Door::Json).then_some(Wire::Json), why);
    }

    /// Tells of a client that was refused before it had a session.
    pub(super) fn announce_stranger(
        &self,
        address: Option<IpAddr>,
        wire: Option<Wire>,
        why: &Refused,
    ) {
        self.announce(|| LifecycleEvent::Refused {
            address,
            wire,
            peer: None,
            room: None,
            why: why.clone(),
        });
    }

    /// Tells of a client that was refused; as which peer, and in which room, if there is one.
    pub(super) fn announce_refused(
        &self,
        client: &Arc<Client>,
        peer: Option<Presence>,
        room: Option<&RoomId>,
        why: &Refused,
    ) {
        self.announce(|| LifecycleEvent::Refused {
            address: client.address,
            wire: Some(client.wire.into()),
            peer: peer.map(|presence| Peer::new(self, client, presence)),
            room: room.cloned(),
            why: why.clone(),
        });
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("waiting", &self.events.len())
            .finish_non_exhaustive()
    }
}
