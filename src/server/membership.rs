//! Who comes to be a peer, who is in which room, and who hears of it: each change and all that is
//! said of it are one step of the client that it is about, whichever thread makes it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::batch::Batch;
use super::client::Client;
use super::{JoinError, LifecycleEvent, Peer, PeerData};
use crate::broker::{Delivery, Mailbox, Members, Undelivered, shrink};
use crate::clock;
use crate::cluster::Member;
use crate::ending::CloseReason;
use crate::id::{PeerId, RoomId};
use crate::identity::Identity;
use crate::session::{Ending, Presence};
use crate::signal::Signal;
use crate::wire::notice;

/// A client whose peers nobody else can attach, move or detach, nor speak of, for as long.
///
/// Held while the broker is changed *and* while the others are told, so that a CONNECT is never
/// heard after the DISCONNECT that follows it. Never two at once: who turns out to be too slow is
/// closed afterwards. Wakers are foreign code, so they wait as well.
pub(super) struct Held<'a> {
    client: &'a Arc<Client>,
    _guard: MutexGuard<'a, ()>,
    /// After the guard: dropping it wakes.
    _batch: Batch,
}

impl<'a> Held<'a> {
    pub(super) fn new(client: &'a Arc<Client>) -> Self {
        Self {
            client,
            _guard: client.membership(),
            _batch: Batch::open(),
        }
    }
}

/// Those who are left in a room that a peer has left.
pub(super) struct Others {
    here: Members<Client>,
    elsewhere: Vec<Member>,
}

impl Default for Others {
    fn default() -> Self {
        Self {
            here: Members::none(),
            elsewhere: Vec::new(),
        }
    }
}

/// What a join came to.
pub(super) struct Entered {
    /// Those who were there before.
    pub(super) peers: Vec<PeerId>,
    pub(super) delivery: Delivery,
}

impl PeerData {
    /// Makes a client a peer and tells it so. `None` if its session is over.
    pub(super) fn attach(
        &self,
        client: &Arc<Client>,
        presence: Presence,
        identity: Identity,
    ) -> Option<Peer> {
        let id = presence.id;
        // Before the client is held: the application answers.
        let field = self.inner.settings.tracer.field(&identity);
        let recovery = self.recovery(client, &presence);
        let held = Held::new(client);
        // Attached first: the client may not learn an id at which it cannot be reached.
        if presence.namespace.is_none() && self.inner.broker.attach(id, Arc::clone(client)).is_err()
        {
            drop(held);
            client.close(CloseReason::ProtocolError);
            return None;
        }
        let ice = self.mint_for(client, &id);
        let (accepted, wakes) = client.step(|session| {
            if let Some(recovery) = recovery {
                session.recoverable(recovery);
            }
            session.accept(presence.clone(), identity.clone(), ice.as_deref());
            if ice.is_some() {
                self.note_minted(session, clock::now());
            }
            if session.is_closed() {
                session.leave(&presence);
            }
            !session.is_closed()
        });
        let peer = Peer::known(self, client, presence, identity);
        if accepted {
            client.connected();
            self.note_connected(client, &peer, field.as_deref());
            self.announce(|| LifecycleEvent::Connected { peer: peer.clone() });
        } else {
            // Nobody has seen the id, and nobody will report it.
            self.inner.broker.detach(&id);
        }
        drop(held);
        wakes.wake();
        if ice.is_some() {
            self.await_refresh(client);
        }
        accepted.then_some(peer)
    }

    /// Puts a peer into a room that takes `capacity` and gives `signal` to the others there, also if
    /// it is in it already.
    pub(super) fn enter(
        &self,
        held: &Held<'_>,
        id: &PeerId,
        room: &RoomId,
        capacity: usize,
        signal: &Signal,
    ) -> Result<Entered, JoinError> {
        self.check_room_count(id, room, None)?;
        let (joined, delivery) = self.join_room(held.client, id, room, capacity, signal)?;
        if joined.newly {
            self.announce_joined(held, id, room, joined.members.len());
        }
        let peers = joined.members.ids().filter(|other| other != id).collect();
        Ok(Entered { peers, delivery })
    }

    fn announce_joined(&self, held: &Held<'_>, id: &PeerId, room: &RoomId, members: usize) {
        self.note_joined(held.client, id, room, members);
        self.announce(|| LifecycleEvent::Joined {
            peer: Peer::new(self, held.client, Presence::main(*id)),
            room: room.clone(),
        });
    }

    /// How many peers a room takes. Never asked while a client is held: the application answers, and
    /// may do to that client whatever the handle can do.
    pub(super) fn capacity(&self, room: &RoomId) -> usize {
        let settings = &self.inner.settings;
        let most = settings.limits.max_peers_per_room;
        settings.policies.capacity(room).min(most)
    }

    /// Whether a peer may be in one room more, once it has left another.
    fn check_room_count(
        &self,
        id: &PeerId,
        room: &RoomId,
        leaving: Option<&RoomId>,
    ) -> Result<(), JoinError> {
        let (broker, limits) = (&self.inner.broker, &self.inner.settings.limits);
        let left = usize::from(leaving.is_some());
        let one_more = |count: usize, max| count.saturating_sub(left) < max;
        let refusal = if !one_more(broker.room_count_of(id), limits.max_rooms_per_peer) {
            JoinError::TooManyRooms
        } else if !one_more(
            self.inner.memberships.load(Ordering::Relaxed),
            limits.max_memberships,
        ) {
            JoinError::TooManyMemberships
        } else {
            return Ok(());
        };
        if broker.is_member(id, room.as_str()) {
            return Ok(());
        }
        Err(refusal)
    }

    /// Takes a peer out of a room and gives `signal` to the others there. `None` if it was not in
    /// it.
    pub(super) fn exit(
        &self,
        held: &Held<'_>,
        id: &PeerId,
        room: &str,
        signal: &Signal,
    ) -> Option<(Others, Delivery)> {
        // Without a member of its own, this node does not know of them any more.
        let elsewhere = self.members_elsewhere(room);
        let (departure, delivery) = self.leave_room(id, room, signal)?;
        self.note_left(held.client, id, &departure);
        self.announce(|| LifecycleEvent::Left {
            peer: Peer::new(self, held.client, Presence::main(*id)),
            room: departure.room.clone(),
        });
        let here = departure.others;
        Some((Others { here, elsewhere }, delivery))
    }

    /// Takes a peer out of a room for another, which takes `capacity`. Nothing is changed if it cannot be.
    pub(super) fn shift(
        &self,
        held: &Held<'_>,
        id: &PeerId,
        from: &RoomId,
        to: &RoomId,
        capacity: usize,
    ) -> Result<(Others, Delivery), JoinError> {
        let broker = &self.inner.broker;
        if !broker.is_member(id, from.as_str()) {
            return Err(JoinError::NotInRoom);
        }
        if from == to {
            return Ok(Default::default());
        }
        self.check_room_count(id, to, Some(from))?;
        let joined = self.take_place(id, to, capacity)?;
        let left = self.exit(held, id, from.as_str(), &notice::departure(id, from));
        let (others, mut delivery) = left.ok_or(JoinError::NotInRoom)?;
        if joined.newly {
            let arrival = notice::arrival(id, to);
            let told = self.tell_arrival(held.client, id, to, &joined, &arrival);
            self.end_joining(id, to);
            delivery.full.extend(told.full);
            self.announce_joined(held, id, to, joined.members.len());
        }
        Ok((others, delivery))
    }

    /// Tells a peer that was taken out of a room of each of those who were left there, that they
    /// have left: its client has to end its connections to them. Returns it if it is too slow.
    ///
    /// What is said of each is said while that one is held, as everything is, as far as it is at this
    /// node. Who is in the room together with the peer again is not gone.
    pub(super) fn tell_of_others(
        &self,
        client: &Arc<Client>,
        id: &PeerId,
        room: &RoomId,
        others: &Others,
    ) -> Option<PeerId> {
        let broker = &self.inner.broker;
        let _batch = Batch::open();
        for (other, of) in others.here.iter() {
            let _held = Held::new(of);
            let are_together =
                broker.is_member(id, room.as_str()) && broker.is_member(&other, room.as_str());
            if are_together {
                continue;
            }
            match client.deliver(&notice::departure(&other, room)) {
                Ok(()) => {}
                Err(Undelivered::Full) => return Some(*id),
                Err(Undelivered::Closed) => return None,
            }
        }
        for other in &others.elsewhere {
            if broker.is_member(id, room.as_str()) {
                break;
            }
            match client.deliver(&notice::departure(&other.id, room)) {
                Ok(()) => {}
                Err(Undelivered::Full) => return Some(*id),
                Err(Undelivered::Closed) => return None,
            }
        }
        None
    }

    /// Makes a client that peer no longer, as it has asked for. Returns those too slow to be told.
    pub(super) fn leave(&self, client: &Arc<Client>, presence: Presence) -> Vec<PeerId> {
        let held = Held::new(client);
        let left = client.with(|session| session.leave(&presence));
        left.map_or_else(Vec::new, |identity| {
            let peer = Peer::known(self, client, presence, identity);
            self.depart(&held, peer, CloseReason::ClientClosed)
        })
    }

    /// Takes note of the end of a session, which is reported once. Returns those too slow to be
    /// told, or `None` if there is nothing to report.
    pub(super) fn end(&self, client: &Arc<Client>) -> Option<Vec<PeerId>> {
        let held = Held::new(client);
        let ((ending, usage), wakes) =
            client.step(|session| (session.take_ending(), session.usage()));
        let slow = ending.map(|Ending { reason, peers }| {
            {
                let mut sessions = self.inner.sessions.lock(&client.sid);
                sessions.remove(&client.sid);
                shrink(&mut sessions);
            }
            self.inner.sweeper.note_gone();
            client.leave_seat();
            self.inner.inspection.ended(usage);
            let peers = peers.into_iter();
            let peers =
                peers.map(|(presence, identity)| Peer::known(self, client, presence, identity));
            peers
                .flat_map(|peer| self.depart(&held, peer, reason))
                .collect()
        });
        drop(held);
        wakes.wake();
        slow
    }

    /// Takes a peer out of all rooms and tells them.
    fn depart(&self, held: &Held<'_>, peer: Peer, reason: CloseReason) -> Vec<PeerId> {
        let id = peer.id();
        let mut slow = Vec::new();
        for departure in self.inner.broker.detach(&id) {
            slow.extend(self.tell_departure(&id, &departure).full);
            self.note_left(held.client, &id, &departure);
            self.announce(|| LifecycleEvent::Left {
                peer: peer.clone(),
                room: departure.room,
            });
        }
        self.inner.calls.gone(&id);
        self.announce(|| LifecycleEvent::Disconnected { peer, reason });
        slow
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::thread;
    use std::time::Duration;

    use bytes::Buf;

    use super::*;
    use crate::clock;
    use crate::id::SessionId;
    use crate::server::client::Arrival;
    use crate::session::Session;
    use crate::session::{Event, Link};
    use crate::wire::segments::Segments;

    /// A peer on the plain JSON wire.
    struct Guest {
        id: PeerId,
        client: Arc<Client>,
        link: Link,
    }

    impl Guest {
        fn of(server: &PeerData) -> Self {
            let limits = &server.inner.settings.limits;
            let (session, link) = Session::json(limits, clock::now());
            let sid = SessionId::random().unwrap();
            let client = server.register(sid, session, Arrival::default());
            server.connect_unasked(&client, Ok(Identity::anonymous()));
            let id = client.with(|session| session.peer()).unwrap();
            let guest = Self { id, client, link };
            assert_eq!(guest.hear().len(), 1);
            guest
        }

        /// The texts that have come since it was last asked.
        fn hear(&self) -> Vec<String> {
            let mut out = Segments::default();
            self.client
                .with(|session| session.poll_transmit(self.link, usize::MAX, &mut out));
            let mut bytes = out.copy_to_bytes(out.remaining());
            let mut texts = Vec::new();
            while bytes.has_remaining() {
                assert_eq!(bytes.get_u8(), 0x81);
                let length = match bytes.get_u8() {
                    126 => usize::from(bytes.get_u16()),
                    length => usize::from(length),
                };
                texts.push(String::from_utf8(bytes.split_to(length).to_vec()).unwrap());
            }
            texts
        }

        /// What it has heard of another since it was last asked, in a word each.
        fn hear_of(&self, other: &Self) -> Vec<&'static str> {
            let own = format!(r#""caller":{{"id":"{}"}}"#, other.id);
            let texts = self.hear().into_iter();
            let texts = texts.filter(|text| text.contains(&own));
            texts
                .map(|text| match &text[..14] {
                    r#"{"type":"CONNE"# => "came",
                    r#"{"type":"DISCO"# => "went",
                    _ => panic!("{text}"),
                })
                .collect()
        }
    }

    fn room(name: &str) -> RoomId {
        RoomId::new(name).unwrap()
    }

    /// Ann comes, and while that is only half told another thread does something. Returns what the
    /// second of those who were there hears of her.
    fn while_ann_comes(meanwhile: impl Fn(&PeerData, &Guest, &Guest) + Sync) -> Vec<&'static str> {
        let server = PeerData::new();
        let [first, second, ann] = [(); 3].map(|()| Guest::of(&server));
        for guest in [&first, &second] {
            server.join(&guest.id, &room("r")).unwrap();
        }
        thread::scope(|scope| {
            first.client.with(|_| {
                // She cannot go on to tell the second while the first does not take it.
                scope.spawn(|| server.join(&ann.id, &room("r")).unwrap());
                while !server.inner.broker.is_member(&ann.id, "r") {
                    thread::yield_now();
                }
                // Whoever goes now has only the second to tell, and time enough to do so.
                server.inner.broker.leave(&first.id, "r").unwrap();
                let other = scope.spawn(|| meanwhile(&server, &ann, &second));
                for _ in 0..100 {
                    if other.is_finished() {
                        break;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
        });
        second.hear_of(&ann)
    }

    #[test]
    fn a_departure_is_never_told_before_the_arrival() {
        let both = ["came", "went"];
        let r = &room("r");
        let heard = while_ann_comes(|server, ann, _| assert!(server.remove(&ann.id, r)));
        assert_eq!(heard, both);
        let heard = while_ann_comes(|server, _, _| assert!(server.close_room(r) >= 1));
        assert_eq!(heard, both);
        let heard = while_ann_comes(|server, ann, _| {
            server.move_peer(&ann.id, r, &room("other")).unwrap();
        });
        assert_eq!(heard, both);
        let heard = while_ann_comes(|server, ann, _| assert!(server.disconnect(&ann.id)));
        assert_eq!(heard, both);
        let heard = while_ann_comes(|server, ann, _| {
            let text = r#"{"type":"DISCONNECT","room":{"id":"r"}}"#;
            let sender = ann.id;
            let waits = server.handle(&ann.client, Event::Json { sender, text });
            assert!(waits.is_none());
        });
        assert_eq!(heard, both);
    }

    /// What a removed peer is told of the others comes after what they have said of themselves.
    #[test]
    fn who_is_removed_hears_no_late_arrival() {
        let heard = while_ann_comes(|server, _, second| {
            assert!(server.remove(&second.id, &room("r")));
        });
        assert_eq!(heard, ["came", "went"]);
    }

    #[tokio::test]
    async fn whoever_moves_peers_about_each_thing_is_told_once_and_in_order() {
        let server = PeerData::new();
        let rooms = [room("r"), room("s")];
        let listeners = rooms.each_ref().map(|room| {
            let listener = Guest::of(&server);
            server.join(&listener.id, room).unwrap();
            listener
        });
        let mut lifecycle = server.lifecycle();
        let guests = [(); 2].map(|()| Guest::of(&server));
        thread::scope(|scope| {
            for thread in 0..3 {
                let (server, rooms, guests) = (&server, &rooms, &guests);
                scope.spawn(move || {
                    for round in 0..150 {
                        let id = &guests[(round + thread) % 2].id;
                        let [here, there] = [&rooms[round / 2 % 2], &rooms[(round / 2 + 1) % 2]];
                        let _ = server.join(id, here);
                        let _ = server.move_peer(id, here, there);
                        server.remove(id, there);
                    }
                    server.disconnect(&guests[thread % 2].id);
                });
            }
        });
        for guest in &guests {
            assert!(server.peer(&guest.id).is_none());
        }
        for listener in listeners {
            let told = listener.hear();
            for guest in &guests {
                let own = format!(r#""caller":{{"id":"{}"}}"#, guest.id);
                let of_it = told.iter().filter(|text| text.contains(&own));
                for (at, text) in of_it.enumerate() {
                    let expected = ["CONNECT", "DISCONNECT"][at % 2];
                    assert!(
                        text.starts_with(&format!(r#"{{"type":"{expected}""#)),
                        "{at}"
                    );
                }
            }
        }
        drop(server);
        let mut stories: HashMap<PeerId, Option<Vec<RoomId>>> = HashMap::new();
        let mut ended = 0;
        while ended < guests.len() {
            match lifecycle.next().await.unwrap() {
                LifecycleEvent::Connected { peer } => {
                    assert!(stories.insert(peer.id(), Some(Vec::new())).is_none());
                }
                LifecycleEvent::Joined { peer, room } => {
                    let rooms = stories.get_mut(&peer.id()).unwrap().as_mut().unwrap();
                    assert!(!rooms.contains(&room));
                    rooms.push(room);
                }
                LifecycleEvent::Left { peer, room } => {
                    let rooms = stories.get_mut(&peer.id()).unwrap().as_mut().unwrap();
                    assert!(rooms.contains(&room));
                    rooms.retain(|other| *other != room);
                }
                LifecycleEvent::Disconnected { peer, reason } => {
                    assert_eq!(reason, CloseReason::Kicked);
                    let rooms = stories.insert(peer.id(), None);
                    assert_eq!(rooms, Some(Some(vec![])));
                    ended += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
