//! A bus within one process, for tests and for trying things out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use super::{BoxFuture, ClusterAdapter, ClusterError, Inbound, Target};
use crate::id::{NodeId, RoomId};
use crate::sync::lock;

/// A bus within one process. Cloning shares it.
///
/// It is what tests of an application with many nodes need: it counts what passes, and on demand it
/// loses, delays, or splits in two. It has no bound of its own and is no use in production, where one
/// process is one node.
///
/// ```
/// use peer_data_server::{MemoryBus, PeerData};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), peer_data_server::Error> {
/// let bus = MemoryBus::new();
/// let one = PeerData::builder().cluster(bus.node()).build()?;
/// let other = PeerData::builder().cluster(bus.node()).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryBus {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    seats: BTreeMap<NodeId, Seat>,
    /// What is on its way: of one node to one target at one receiver, in order.
    lanes: BTreeMap<Lane, VecDeque<Cargo>>,
    /// Everything stays on its way until it is told to arrive.
    paused: bool,
    /// The bus itself is away.
    down: bool,
    /// So many parcels more vanish.
    losing: usize,
    published: u64,
}

struct Seat {
    inbound: Inbound,
    wanted: BTreeSet<RoomId>,
    subscribed: BTreeSet<RoomId>,
    connected: bool,
    /// Takes nothing to publish.
    full: bool,
    /// Nodes on different sides do not hear each other.
    side: u8,
    received: u64,
}

type Lane = (NodeId, NodeId, Key);

/// A target that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Node,
    Room(RoomId),
    All,
}

enum Cargo {
    Parcel(Bytes),
    /// Not a parcel: a subscription that is to take effect.
    Subscription(RoomId),
}

/// Knobs and counters.
impl MemoryBus {
    /// A bus that nobody is on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A place on the bus, for one node.
    #[must_use]
    pub fn node(&self) -> MemoryNode {
        MemoryNode {
            bus: self.clone(),
            id: OnceLock::new(),
            early: Mutex::default(),
        }
    }

    /// How many parcels were published so far, each counted once whoever hears it.
    #[must_use]
    pub fn published(&self) -> u64 {
        lock(&self.shared).published
    }

    /// How many parcels a node was handed so far.
    #[must_use]
    pub fn received_by(&self, node: NodeId) -> u64 {
        let shared = lock(&self.shared);
        shared.seats.get(&node).map_or(0, |seat| seat.received)
    }

    /// The rooms that a node is subscribed to.
    #[must_use]
    pub fn rooms_of(&self, node: NodeId) -> Vec<RoomId> {
        let shared = lock(&self.shared);
        let seat = shared.seats.get(&node);
        seat.map_or_else(Vec::new, |seat| seat.subscribed.iter().cloned().collect())
    }

    /// The next so many parcels vanish, and nobody is told.
    pub fn lose(&self, count: usize) {
        lock(&self.shared).losing = count;
    }

    /// Nothing arrives any more but by [`arrive`](Self::arrive), until [`resume`](Self::resume).
    pub fn pause(&self) {
        lock(&self.shared).paused = true;
    }

    /// Everything that is on its way arrives, and from now on at once.
    pub fn resume(&self) {
        lock(&self.shared).paused = false;
        while self.arrive(0) {}
    }

    /// On how many lanes something is on its way. A lane is from one node to one target at one
    /// receiver; within it there is order, between lanes there is none.
    #[must_use]
    pub fn lanes(&self) -> usize {
        lock(&self.shared).lanes.len()
    }

    /// What is first on the lane of that number arrives. False if there is no such lane.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn arrive(&self, lane: usize) -> bool {
        lock(&self.shared).advance(lane, true)
    }

    /// What is first on the lane of that number vanishes, and nobody is told. False if there is no
    /// such lane.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub fn vanish(&self, lane: usize) -> bool {
        lock(&self.shared).advance(lane, false)
    }

    /// Parts these nodes from all others: what one half says vanishes for the other, and nobody is
    /// told.
    pub fn split(&self, nodes: &[NodeId]) {
        for (id, seat) in &mut lock(&self.shared).seats {
            seat.side = u8::from(nodes.contains(id));
        }
    }

    /// Ends a split.
    pub fn heal(&self) {
        self.split(&[]);
    }

    /// The bus goes away, and all nodes notice.
    pub fn go_down(&self) {
        let mut shared = lock(&self.shared);
        shared.down = true;
        shared.lanes.clear();
        for seat in shared.seats.values_mut() {
            seat.disconnect();
        }
    }

    /// The bus is back.
    pub fn come_up(&self) {
        let mut shared = lock(&self.shared);
        shared.down = false;
        for node in shared.seats.keys().copied().collect::<Vec<_>>() {
            shared.connect(node);
        }
    }

    /// One node loses its connection, and notices.
    pub fn disconnect(&self, node: NodeId) {
        if let Some(seat) = lock(&self.shared).seats.get_mut(&node) {
            seat.disconnect();
        }
    }

    /// It has its connection back.
    pub fn connect(&self, node: NodeId) {
        lock(&self.shared).connect(node);
    }

    /// What is on its way to a node vanishes, and the node is told that it may have missed something.
    pub fn overflow(&self, node: NodeId) {
        let mut shared = lock(&self.shared);
        shared.lanes.retain(|(_, to, _), cargo| {
            *to != node
                || cargo
                    .iter()
                    .any(|cargo| matches!(cargo, Cargo::Subscription(_)))
        });
        if let Some(seat) = shared.seats.get(&node) {
            seat.inbound.missed();
        }
    }

    /// A node is gone without a word, as if its machine had stopped.
    pub fn kill(&self, node: NodeId) {
        let mut shared = lock(&self.shared);
        shared.seats.remove(&node);
        shared.lanes.retain(|(_, to, _), _| *to != node);
    }

    /// Whether what a node publishes is refused as too much.
    pub fn fill(&self, node: NodeId, full: bool) {
        if let Some(seat) = lock(&self.shared).seats.get_mut(&node) {
            seat.full = full;
        }
    }
}

impl Shared {
    fn publish(
        &mut self,
        from: NodeId,
        to: Target<'_>,
        parcel: &Bytes,
    ) -> Result<(), ClusterError> {
        let seat = self.seats.get(&from).filter(|seat| seat.connected);
        let seat = seat.ok_or(ClusterError::Down)?;
        if seat.full {
            return Err(ClusterError::Full);
        }
        let side = seat.side;
        self.published += 1;
        if self.losing > 0 {
            self.losing -= 1;
            return Ok(());
        }
        let key = match to {
            Target::Node(_) => Key::Node,
            Target::Room(room) => Key::Room(room.clone()),
            Target::All => Key::All,
        };
        let hears = |(id, seat): (&NodeId, &Seat)| {
            let meant = match to {
                Target::Node(node) => node == *id,
                Target::Room(room) => seat.subscribed.contains(room),
                Target::All => true,
            };
            (meant && *id != from && seat.connected && seat.side == side).then_some(*id)
        };
        let receivers: Vec<_> = self.seats.iter().filter_map(hears).collect();
        for to in receivers {
            self.send((from, to, key.clone()), Cargo::Parcel(parcel.clone()));
        }
        Ok(())
    }

    fn send(&mut self, lane: Lane, cargo: Cargo) {
        if self.paused {
            self.lanes.entry(lane).or_default().push_back(cargo);
        } else {
            self.hand_in(lane.1, cargo);
        }
    }

    fn advance(&mut self, lane: usize, arrives: bool) -> bool {
        let Some(lane) = self.lanes.keys().nth(lane).cloned() else {
            return false;
        };
        let Some(cargo) = self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) else {
            return false;
        };
        if self.lanes.get(&lane).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(&lane);
        }
        // A subscription may take its time, but it is not forgotten.
        if arrives || matches!(cargo, Cargo::Subscription(_)) {
            self.hand_in(lane.1, cargo);
        }
        true
    }

    fn hand_in(&mut self, to: NodeId, cargo: Cargo) {
        let Some(seat) = self.seats.get_mut(&to).filter(|seat| seat.connected) else {
            return;
        };
        match cargo {
            Cargo::Parcel(parcel) => {
                seat.received += 1;
                seat.inbound.deliver(parcel);
            }
            Cargo::Subscription(room) if seat.wanted.contains(&room) => {
                seat.inbound.ready(&room);
                seat.subscribed.insert(room);
            }
            Cargo::Subscription(_) => {}
        }
    }

    fn subscribe(&mut self, node: NodeId, room: RoomId) {
        self.send((node, node, Key::All), Cargo::Subscription(room));
    }

    fn connect(&mut self, node: NodeId) {
        let down = self.down;
        let seat = self.seats.get_mut(&node);
        let Some(seat) = seat.filter(|seat| !seat.connected && !down) else {
            return;
        };
        seat.connected = true;
        seat.inbound.connected();
        for room in seat.wanted.clone() {
            self.subscribe(node, room);
        }
    }
}

impl Seat {
    fn disconnect(&mut self) {
        if self.connected {
            self.connected = false;
            self.subscribed.clear();
            self.inbound.lost();
        }
    }
}

/// One node's place on a [`MemoryBus`].
pub struct MemoryNode {
    bus: MemoryBus,
    /// Whose it is, once that has started.
    id: OnceLock<NodeId>,
    /// What it wants to hear of until then.
    early: Mutex<BTreeSet<RoomId>>,
}

impl ClusterAdapter for MemoryNode {
    fn start(&self, node: NodeId, inbound: Inbound) -> BoxFuture<'_, Result<(), ClusterError>> {
        let mut shared = lock(&self.bus.shared);
        let seat = Seat {
            inbound,
            wanted: std::mem::take(&mut lock(&self.early)),
            subscribed: BTreeSet::new(),
            connected: false,
            full: false,
            side: 0,
            received: 0,
        };
        let outcome = if self.id.set(node).is_err() || shared.seats.contains_key(&node) {
            let problem = "a place on a bus is for one node";
            Err(ClusterError::Misconfigured(problem.to_owned()))
        } else {
            shared.seats.insert(node, seat);
            shared.connect(node);
            Ok(())
        };
        Box::pin(std::future::ready(outcome))
    }

    fn publish(&self, to: Target<'_>, parcel: Bytes) -> Result<(), ClusterError> {
        let from = self.id.get().ok_or(ClusterError::Down)?;
        lock(&self.bus.shared).publish(*from, to, &parcel)
    }

    fn interest(&self, room: &RoomId, wanted: bool) {
        let mut shared = lock(&self.bus.shared);
        let Some(&node) = self.id.get() else {
            let mut early = lock(&self.early);
            if wanted {
                early.insert(room.clone());
            } else {
                early.remove(room);
            }
            return;
        };
        let Some(seat) = shared.seats.get_mut(&node) else {
            return;
        };
        if !wanted {
            seat.wanted.remove(room);
            seat.subscribed.remove(room);
        } else if seat.wanted.insert(room.clone()) && seat.connected {
            shared.subscribe(node, room.clone());
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        if let Some(node) = self.id.get() {
            self.bus.kill(*node);
        }
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = lock(&self.shared);
        f.debug_struct("MemoryBus")
            .field("nodes", &shared.seats.keys())
            .field("published", &shared.published)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNode")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Inbox, Item};

    async fn seat(bus: &MemoryBus) -> (MemoryNode, NodeId, Inbox) {
        let (inbox, inbound) = Inbox::new();
        let (node, id) = (bus.node(), NodeId::random().unwrap());
        node.start(id, inbound).await.unwrap();
        (node, id, inbox)
    }

    fn parcels(inbox: &Inbox) -> Vec<Bytes> {
        let items = std::iter::from_fn(|| inbox.pop());
        items
            .filter_map(|item| match item {
                Item::Parcel(parcel) => Some(parcel),
                _ => None,
            })
            .collect()
    }

    fn room(name: &str) -> RoomId {
        RoomId::new(name).unwrap()
    }

    #[tokio::test]
    async fn parcels_come_to_whom_they_are_for() {
        let bus = MemoryBus::new();
        let (a, _, at_a) = seat(&bus).await;
        let (b, second, at_b) = seat(&bus).await;
        let (_c, third, at_c) = seat(&bus).await;
        b.interest(&room("r"), true);
        let parcel = Bytes::from_static(b"x");
        for target in [Target::All, Target::Node(second), Target::Room(&room("r"))] {
            a.publish(target, parcel.clone()).unwrap();
        }
        let heard = [&at_a, &at_b, &at_c].map(|inbox| parcels(inbox).len());
        assert_eq!(heard, [0, 3, 1]);
        assert_eq!((bus.published(), bus.received_by(third)), (3, 1));
        b.interest(&room("r"), false);
        a.publish(Target::Room(&room("r")), parcel).unwrap();
        assert!(parcels(&at_b).is_empty());
        let (_, inbound) = Inbox::new();
        assert!(b.start(second, inbound).await.is_err());
    }

    #[tokio::test]
    async fn each_knob_does_what_it_says() {
        let bus = MemoryBus::new();
        let (a, first, at_a) = seat(&bus).await;
        let (_b, second, at_b) = seat(&bus).await;
        a.interest(&room("r"), true);
        let say = |text: &'static str| a.publish(Target::All, Bytes::from_static(text.as_bytes()));
        let heard = || parcels(&at_b).len();

        bus.lose(1);
        say("lost").unwrap();
        say("heard").unwrap();
        assert_eq!(heard(), 1);

        bus.split(&[second]);
        say("apart").unwrap();
        bus.heal();
        assert_eq!(heard(), 0);

        bus.pause();
        say("1").unwrap();
        say("2").unwrap();
        say("3").unwrap();
        assert_eq!((heard(), bus.lanes()), (0, 1));
        assert!(bus.vanish(0) && bus.arrive(0));
        assert_eq!(parcels(&at_b), ["2"]);
        bus.resume();
        assert_eq!(parcels(&at_b), ["3"]);
        assert!(!bus.arrive(0));

        bus.fill(first, true);
        assert_eq!(say("much"), Err(ClusterError::Full));
        bus.fill(first, false);

        bus.go_down();
        assert_eq!(say("nowhere"), Err(ClusterError::Down));
        while at_a.pop().is_some() {}
        bus.come_up();
        assert_eq!(at_a.pop(), Some(Item::Connected));
        assert_eq!(at_a.pop(), Some(Item::Ready(room("r"))));
        say("again").unwrap();
        assert_eq!(heard(), 1);
        assert_eq!(bus.rooms_of(first), [room("r")]);

        bus.kill(first);
        assert_eq!(say("dead"), Err(ClusterError::Down));
    }
}
