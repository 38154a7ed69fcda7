//! Joins, departures and signals of local members, for all nodes.

use super::watch::Watch;
use super::{Cluster, PeerData};
use crate::broker::{BrokerError, Delivery, Departure, Joined, Remote};
use crate::clock;
use crate::cluster::{About, ClusterError, Effect, Member, Outcome, Parcel, Target};
use crate::id::{NodeId, PeerId, RoomId};
use crate::observe::Parcels;
use crate::server::Wire;
use crate::server::client::Client;
use crate::signal::Signal;
use crate::sync::lock;
use crate::wire::notice;

/// How many members at other nodes a signal was sent to.
type Reach = (usize, Remote);

/// What became of a signal for a peer that is not at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Direct {
    /// On its way to the node that the peer is at.
    Sent,
    /// The bus has not taken it.
    Failed,
    /// That node is there, but nobody knows of such a peer in that room.
    Unknown,
    /// There is no such node.
    Nowhere,
}

impl From<&Result<(), ClusterError>> for Remote {
    fn from(outcome: &Result<(), ClusterError>) -> Self {
        match outcome {
            Ok(()) => Self::Sent,
            Err(ClusterError::Full | ClusterError::TooLarge) => Self::Full,
            Err(_) => Self::Down,
        }
    }
}

impl PeerData {
    /// Puts a peer into a room that takes `capacity` on all nodes together, as far as they know of
    /// each other, and gives `signal` to all others in it, also if it is in it already.
    pub(in crate::server) fn join_room(
        &self,
        client: &Client,
        id: &PeerId,
        room: &RoomId,
        capacity: usize,
        signal: &Signal,
    ) -> Result<(Joined<Client>, Delivery), BrokerError> {
        let broker = &self.inner.broker;
        let Some(cluster) = self.cluster() else {
            let joined = broker.join_within(id, room, capacity)?;
            let delivery = joined.members.deliver(Some(id), signal);
            return Ok((joined, delivery));
        };
        cluster.in_room(room, |watch| {
            let elsewhere = watch.roster.remote_count();
            let joined = broker.join_within(id, room, capacity.saturating_sub(elsewhere))?;
            let delivery = cluster.tell_join(watch, client, id, &joined, signal);
            Ok((joined, delivery))
        })
    }

    /// Puts a peer into a room as [`join_room`](Self::join_room) does, and tells nobody yet.
    pub(in crate::server) fn take_place(
        &self,
        id: &PeerId,
        room: &RoomId,
        capacity: usize,
    ) -> Result<Joined<Client>, BrokerError> {
        let elsewhere = self.count_elsewhere(room.as_str());
        let capacity = capacity.saturating_sub(elsewhere);
        self.inner.broker.join_within(id, room, capacity)
    }

    /// Tells all others in a room of a peer that has taken a place in it.
    pub(in crate::server) fn tell_arrival(
        &self,
        client: &Client,
        id: &PeerId,
        room: &RoomId,
        joined: &Joined<Client>,
        signal: &Signal,
    ) -> Delivery {
        match self.cluster() {
            None => joined.members.deliver(Some(id), signal),
            Some(cluster) => cluster.in_room(room, |watch| {
                cluster.tell_join(watch, client, id, joined, signal)
            }),
        }
    }

    /// Takes a peer out of a room and gives `signal` to those who are left. `None` if it was not in
    /// it.
    pub(in crate::server) fn leave_room(
        &self,
        id: &PeerId,
        room: &str,
        signal: &Signal,
    ) -> Option<(Departure<Client>, Delivery)> {
        let broker = &self.inner.broker;
        let Some(cluster) = self.cluster() else {
            let departure = broker.leave(id, room)?;
            let delivery = departure.others.deliver(None, signal);
            return Some((departure, delivery));
        };
        cluster.in_watched(room, |watch| {
            self.pay_leaver(watch, id);
            let departure = broker.leave(id, room)?;
            let mut delivery = departure.others.deliver(None, signal);
            let reach = cluster.say_left(watch, id, Some(signal));
            delivery.reach(reach, watch.roster.remote_count());
            Some((departure, delivery))
        })?
    }

    /// Tells those who are left in a room that a peer is gone.
    pub(in crate::server) fn tell_departure(
        &self,
        id: &PeerId,
        departure: &Departure<Client>,
    ) -> Delivery {
        let tell = || {
            if departure.others.is_empty() {
                return Delivery::default();
            }
            let signal = notice::departure(id, &departure.room);
            departure.others.deliver(None, &signal)
        };
        let Some(cluster) = self.cluster() else {
            return tell();
        };
        let room = &departure.room;
        let told = cluster.in_watched(room.as_str(), |watch| {
            let delivery = tell();
            cluster.say_left(watch, id, None);
            delivery
        });
        told.unwrap_or_default()
    }

    /// Gives a signal of a local member to the members of its room at other nodes.
    pub(in crate::server) fn say_elsewhere(
        &self,
        caller: &PeerId,
        room: &str,
        signal: &Signal,
    ) -> Reach {
        let said = self.cluster().and_then(|cluster| {
            cluster.in_watched(room, |watch| {
                let mut effects = Vec::new();
                let count = watch.roster.say(caller, signal, &mut effects);
                (count, cluster.publish_all(watch, effects))
            })
        });
        match said {
            Some((count, Some(Ok(())))) => (count, Remote::Sent),
            Some((_, Some(outcome))) => (0, Remote::from(&outcome)),
            Some((_, None)) | None => (0, Remote::Unneeded),
        }
    }

    /// Gives a signal of a local member to one that may be at another node. With a request other
    /// than 0, that is answered, and it need not be known that the peer is there.
    pub(super) fn direct_elsewhere(
        &self,
        from: &PeerId,
        to: &PeerId,
        room: &RoomId,
        request: u64,
        signal: &Signal,
    ) -> Direct {
        let Some(cluster) = self.cluster() else {
            return Direct::Nowhere;
        };
        let node = to.node();
        if !cluster.knows(node) {
            return Direct::Nowhere;
        }
        let sent = cluster.in_watched(room.as_str(), |watch| {
            if request == 0 && !watch.roster.is_remote(to) {
                return None;
            }
            let said = watch.roster.direct(*from, *to, request, signal)?;
            let outcome = cluster.publish(Target::Node(node), &about(room, said));
            Some(outcome)
        });
        match sent.flatten() {
            Some(Ok(())) => Direct::Sent,
            Some(Err(_)) => Direct::Failed,
            None => Direct::Unknown,
        }
    }

    /// Returns once everybody in the room at other nodes is known, as far as they have answered in
    /// time: within half a second or so.
    pub(in crate::server) async fn settled(&self, room: &RoomId) {
        let Some(cluster) = self.cluster() else {
            return;
        };
        let waits = cluster.in_watched(room.as_str(), |watch| {
            (!cluster.is_settled(watch)).then(|| {
                lock(&cluster.agenda).wait(room);
                let (settled, waits) = tokio::sync::oneshot::channel();
                watch.waiters.push(settled);
                waits
            })
        });
        if let Some(waits) = waits.flatten() {
            // The room may come to its end first, and then there is nothing to wait for either.
            let _ = waits.await;
        }
    }

    /// The members of a room at other nodes, as far as this one has a member in it, and so knows.
    pub(in crate::server) fn members_elsewhere(&self, room: &str) -> Vec<Member> {
        let members = self.cluster().and_then(|cluster| {
            cluster.in_watched(room, |watch| watch.roster.remote_members().collect())
        });
        members.unwrap_or_default()
    }

    /// How many they are.
    fn count_elsewhere(&self, room: &str) -> usize {
        let count = self
            .cluster()
            .and_then(|cluster| cluster.in_watched(room, |watch| watch.roster.remote_count()));
        count.unwrap_or_default()
    }
}

impl Cluster {
    /// Whether everybody in the room at other nodes is known, as far as they have answered in time.
    pub(super) fn is_settled(&self, watch: &Watch) -> bool {
        let nodes = lock(&self.nodes);
        let connected = nodes.is_connected();
        watch
            .roster
            .is_settled(connected, nodes.iter(), clock::now())
    }

    /// Gives what a peer has said when it joined to all others in the room.
    fn tell_join(
        &self,
        watch: &mut Watch,
        client: &Client,
        id: &PeerId,
        joined: &Joined<Client>,
        signal: &Signal,
    ) -> Delivery {
        let mut delivery = joined.members.deliver(Some(id), signal);
        let elsewhere = watch.roster.remote_count();
        let mut effects = Vec::new();
        if joined.newly {
            watch.begin_joining(*id);
            watch.is_known |= lock(&self.agenda).fill(watch.room.as_str());
            let member = Member {
                id: *id,
                wire: Wire::from(client.wire).number(),
            };
            let at = (&self.stamps, clock::now());
            watch.roster.join(member, signal, at, &mut effects);
        } else {
            watch.roster.say(id, signal, &mut effects);
        }
        delivery.reach(self.publish_all(watch, effects), elsewhere);
        delivery
    }

    fn say_left(
        &self,
        watch: &mut Watch,
        id: &PeerId,
        signal: Option<&Signal>,
    ) -> Option<Result<(), ClusterError>> {
        let mut effects = Vec::new();
        // One that is gone altogether is owed nothing.
        watch.take_leaver(id);
        watch.roster.leave(id, signal, &self.stamps, &mut effects);
        let outcome = self.publish_all(watch, effects);
        let was_heard = matches!(outcome, Some(Ok(())));
        if watch.is_known && !was_heard && !watch.roster.has_local() && !self.is_over() {
            lock(&self.agenda).empty(&watch.room);
        }
        outcome
    }

    /// Publishes what comes of something that has happened here: of that, nothing is news to local
    /// members. What the bus made of the last of it, if there was any.
    fn publish_all(
        &self,
        watch: &mut Watch,
        effects: Vec<Effect>,
    ) -> Option<Result<(), ClusterError>> {
        let mut last = None;
        for effect in effects {
            match effect {
                Effect::Publish(said) => last = Some(self.say(watch, said)),
                Effect::Lost(count) => self.counters.add(Parcels::Lost, count),
                _ => {}
            }
        }
        last
    }

    /// Says something to the room. What cannot be heard of its log is said again later.
    pub(super) fn say(&self, watch: &mut Watch, said: About) -> Result<(), ClusterError> {
        let is_log = matches!(
            said,
            About::Join { .. } | About::Leave { .. } | About::Roster { .. }
        );
        let outcome = self.publish(Target::Room(&watch.room), &about(&watch.room, said));
        if is_log && outcome.is_ok() {
            watch.is_known = true;
        }
        if is_log && outcome.is_err() && !self.is_over() {
            watch.roster.unheard();
            lock(&self.agenda).wait(&watch.room);
        }
        outcome
    }
}

impl Cluster {
    /// Tells the node of a caller what became of its signal, if it wants to know.
    pub(super) fn answer(&self, caller: PeerId, room: &RoomId, request: u64, found: bool) {
        let parcel = match (request, found) {
            (0, true) => return,
            (0, false) => Parcel::NoSuchPeer {
                room: room.clone(),
                caller,
            },
            (request, _) => Parcel::Outcome {
                request,
                outcome: if found {
                    Outcome::Delivered
                } else {
                    Outcome::NoSuchPeer
                },
            },
        };
        // If it does not arrive, nobody is told; or its sender has waited in vain.
        let _ = self.publish(Target::Node(caller.node()), &parcel);
    }

    /// Tells others that nobody here is in a room that was emptied, unless somebody is again: that is
    /// said then, and in between this must not be.
    pub(super) fn deny_emptied(&self, room: &RoomId) {
        loop {
            {
                // Whoever is to join it needs this lock first.
                let rooms = self.rooms.lock(room);
                if !rooms.contains_key(room) {
                    if self.deny(None, room).is_err() {
                        lock(&self.agenda).empty(room);
                    }
                    return;
                }
            }
            if self
                .in_watched(room.as_str(), |watch| watch.is_known = true)
                .is_some()
            {
                return;
            }
        }
    }

    /// Says to a room, or to one node that has asked with a ticket, that this node has nobody in it.
    pub(super) fn deny(
        &self,
        to: Option<(NodeId, u64)>,
        room: &RoomId,
    ) -> Result<(), ClusterError> {
        let said = About::Roster {
            position: self.stamps.next(),
            members: Vec::new(),
            asks: 0,
            answers: to.map_or(0, |(_, ticket)| ticket),
            silent: false,
        };
        let to = to.map_or(Target::Room(room), |(node, _)| Target::Node(node));
        self.publish(to, &about(room, said))
    }
}

pub(super) fn about(room: &RoomId, said: About) -> Parcel {
    Parcel::About {
        room: room.clone(),
        said,
    }
}

impl Delivery {
    /// Adds those at other nodes.
    fn reach(&mut self, outcome: Option<Result<(), ClusterError>>, count: usize) {
        match outcome {
            None => {}
            Some(outcome) => {
                self.remote = Remote::from(&outcome);
                if outcome.is_ok() {
                    self.delivered += count;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::MemoryBus;
    use crate::server::simulation::connect;

    fn room(number: usize) -> RoomId {
        RoomId::new(&number.to_string()).unwrap()
    }

    /// Rooms that others are to be told of once the bus is there.
    fn owed(server: &PeerData) -> Vec<RoomId> {
        lock(&server.cluster().unwrap().agenda).take_emptied()
    }

    fn two_nodes(bus: &MemoryBus) -> (PeerData, PeerData) {
        let node = || PeerData::builder().cluster(bus.node()).build().unwrap();
        (node(), node())
    }

    fn visit(server: &PeerData, peer: &PeerId, room: &RoomId) {
        server.join(peer, room).unwrap();
        assert!(server.remove(peer, room));
    }

    #[tokio::test]
    async fn nobody_is_told_of_a_room_that_nobody_has_heard_of() {
        let bus = MemoryBus::new();
        let (server, other) = two_nodes(&bus);
        let _connection = connect(&server);
        let peer = server.peers()[0].id();
        // The bus has not even been entered.
        (0..100).for_each(|number| visit(&server, &peer, &room(number)));
        assert!(owed(&server).is_empty());

        server.join(&peer, &room(0)).unwrap();
        while other.find_members(&room(0)).await.is_empty() {
            tokio::task::yield_now().await;
        }
        bus.go_down();
        while server.cluster_status().unwrap().connected {
            tokio::task::yield_now().await;
        }
        (1..100).for_each(|number| visit(&server, &peer, &room(number)));
        assert!(server.remove(&peer, &room(0)));
        visit(&server, &peer, &room(0));
        assert_eq!(owed(&server), [room(0)]);
    }

    #[tokio::test]
    async fn nobody_is_waited_for_by_who_has_left() {
        let bus = MemoryBus::new();
        let server = PeerData::builder().cluster(bus.node()).build().unwrap();
        let _connection = connect(&server);
        while !server.cluster_status().unwrap().connected {
            tokio::task::yield_now().await;
        }
        // The subscription does not come to be.
        bus.pause();
        server.join(&server.peers()[0].id(), &room(0)).unwrap();
        let cluster = server.cluster().unwrap();
        let settled = cluster.in_watched("0", |watch| cluster.is_settled(watch));
        assert_eq!(settled, Some(false));
        let waiting = server.clone();
        let waiting = tokio::spawn(async move { waiting.settled(&room(0)).await });
        tokio::task::yield_now().await;
        server.leave_cluster().await;
        let ended = tokio::time::timeout(Duration::from_secs(15), waiting).await;
        ended.expect("an end of waiting").unwrap();
    }

    #[tokio::test]
    async fn who_has_left_keeps_nothing_in_mind() {
        let (server, other) = two_nodes(&MemoryBus::new());
        let _connection = connect(&server);
        let peer = server.peers()[0].id();
        server.join(&peer, &room(0)).unwrap();
        // The other knows of it, and would have to be told.
        while other.find_members(&room(0)).await.is_empty() {}
        server.leave_cluster().await;
        assert!(server.remove(&peer, &room(0)));
        (0..100).for_each(|number| visit(&server, &peer, &room(number)));
        assert!(owed(&server).is_empty());
        let mut agenda = lock(&server.cluster().unwrap().agenda);
        assert!(agenda.take_waiting().is_empty());
    }
}
