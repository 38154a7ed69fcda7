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
use crate::wire::intent::Head;

/// Something that became of a client.
///
/// Of one peer each thing is told once and in order: connected, then joined and left in turns,
/// then, once it has left the last room, disconnected. Of different peers, in no particular order.
///
/// Of peers at other nodes of a [`cluster`](crate::Builder::cluster) it is told that they join and
/// leave rooms in which this node has a member itself, and nothing else: while it has none, it does
/// not hear of the room. [`Peer::is_here`] tells them apart.
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
/// the server alive, but events that it has and nobody has read do, as the [`Peer`]s in them.
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
        let sender = self.inner.listeners.0.get();
        let sender = sender.filter(|sender| sender.receiver_count() > 0);
        let inspection = &self.inner.inspection;
        if sender.is_none() && !inspection.is_on() {
            return;
        }
        let event = event();
        inspection.note(&event);
        if let Some(sender) = sender {
            // The last one may have gone just now.
            let _ = sender.send(event);
        }
    }

    /// Tells of a request that was refused before anything was made of it.
    pub(super) fn announce_refused_request(
        &self,
        head: &Head<'_>,
        wire: Option<Wire>,
        why: impl Into<Refused>,
    ) {
        let address = self.inner.settings.edge.proxies().client_address(head);
        self.announce_stranger(address, wire, why);
    }

    /// Tells of a client that was refused before it had a session.
    pub(super) fn announce_stranger(
        &self,
        address: Option<IpAddr>,
        wire: Option<Wire>,
        why: impl Into<Refused>,
    ) {
        self.announce(|| LifecycleEvent::Refused {
            address,
            wire,
            peer: None,
            room: None,
            why: why.into(),
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

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::clock;
    use crate::id::{PeerId, SessionId};
    use crate::identity::Identity;
    use crate::server::client::Arrival;
    use crate::session::Session;

    /// A client that is no peer yet.
    fn client(server: &PeerData) -> Arc<Client> {
        let limits = &server.inner.settings.limits;
        let (session, _) = Session::json(limits, clock::now());
        server.register(SessionId::random().unwrap(), session, Arrival::default())
    }

    fn connect(server: &PeerData, identity: Identity) -> Peer {
        let id = PeerId::random().unwrap();
        let attached = server.attach(&client(server), Presence::main(id), identity);
        attached.unwrap()
    }

    async fn peer_of(lifecycle: &mut Lifecycle) -> Peer {
        match lifecycle.next().await {
            Some(
                LifecycleEvent::Connected { peer }
                | LifecycleEvent::Disconnected { peer, .. }
                | LifecycleEvent::Joined { peer, .. }
                | LifecycleEvent::Left { peer, .. },
            ) => peer,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_lags_is_told_how_much_he_missed_and_goes_on() {
        let server = PeerData::new();
        let peer = connect(&server, Identity::anonymous());
        let room = RoomId::new("r").unwrap();
        let (mut lagging, mut reading) = (server.lifecycle(), server.lifecycle());
        for _ in 0..Lifecycle::CAPACITY / 2 + 10 {
            server.join(&peer.id(), &room).unwrap();
            server.remove(&peer.id(), &room);
            for _ in 0..2 {
                assert_eq!(peer_of(&mut reading).await.id(), peer.id());
            }
        }
        let missed = lagging.next().await;
        assert!(
            matches!(missed, Some(LifecycleEvent::Missed(20))),
            "{missed:?}"
        );
        for _ in 0..Lifecycle::CAPACITY {
            assert_eq!(peer_of(&mut lagging).await.id(), peer.id());
        }
        peer.disconnect();
        for lifecycle in [&mut lagging, &mut reading] {
            let last = lifecycle.next().await;
            let reason = CloseReason::Kicked;
            assert!(
                matches!(last, Some(LifecycleEvent::Disconnected { reason: why, .. }) if why == reason)
            );
        }
    }

    #[tokio::test]
    async fn the_identity_stays_with_the_peer() {
        let server = PeerData::new();
        let mut lifecycle = server.lifecycle();
        let peer = connect(&server, Identity::new("ann"));
        let room = RoomId::new("r").unwrap();
        server.join(&peer.id(), &room).unwrap();
        let name = |peer: &Peer| peer.identity::<&str>().map(|name| *name);
        assert_eq!(name(&peer), Some("ann"));
        assert_eq!(peer.identity::<u8>(), None);
        assert_eq!(server.peer(&peer.id()).as_ref().and_then(name), Some("ann"));
        assert_eq!(server.peers().first().and_then(name), Some("ann"));
        assert_eq!(server.room_peers(&room).first().and_then(name), Some("ann"));
        peer.disconnect();
        assert!(server.peers().is_empty());
        for _ in ["connected", "joined", "left", "disconnected"] {
            assert_eq!(name(&peer_of(&mut lifecycle).await), Some("ann"));
        }
        assert_eq!(name(&peer), Some("ann"));
    }

    #[test]
    fn nothing_is_made_for_nobody() {
        let server = PeerData::new();
        server.announce(|| panic!("nobody has subscribed"));
        drop(server.lifecycle());
        server.announce(|| panic!("nobody listens any more"));
        // Whoever comes again hears what comes from now on.
        let mut lifecycle = server.lifecycle();
        server.announce(|| LifecycleEvent::Missed(7));
        let event = lifecycle.events.try_recv().unwrap();
        assert!(matches!(event, LifecycleEvent::Missed(7)));
    }

    #[tokio::test]
    async fn it_ends_with_the_server_and_does_not_keep_it() {
        let server = PeerData::new();
        let inner: Weak<_> = Arc::downgrade(&server.inner);
        let (mut reading, unread) = (server.lifecycle(), server.lifecycle());
        let peer = connect(&server, Identity::anonymous());
        peer.disconnect();
        drop((server, peer));
        assert!(inner.upgrade().is_some(), "events that wait need it");
        drop(unread);
        assert!(reading.next().await.is_some());
        assert!(reading.next().await.is_some());
        assert!(reading.next().await.is_none());
        assert!(inner.upgrade().is_none());
    }

    /// The session ends while its client is being made a peer.
    #[test]
    fn who_is_gone_already_is_not_connected() {
        let server = PeerData::new();
        let lifecycle = server.lifecycle();
        let client = client(&server);
        client.close(CloseReason::TransportLost);
        let id = PeerId::random().unwrap();
        let attached = server.attach(&client, Presence::main(id), Identity::anonymous());
        assert!(attached.is_none());
        server.settle(&client);
        assert_eq!((server.peer_count(), lifecycle.events.len()), (0, 0));
        assert!(server.session(&client.sid).is_none());
    }

    #[test]
    fn what_waits_takes_about_a_megabyte() {
        // Beside the event, its number, how many have to read it, and a lock.
        let slot = size_of::<LifecycleEvent>() + 32;
        assert!(slot * Lifecycle::CAPACITY <= 1 << 20, "{slot}");
    }
}
