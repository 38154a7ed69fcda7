//! Several nodes as one, on a bus within this process.

use peer_data_server::{MemoryBus, NodeId, PeerData, PeerId, RoomId};

use super::{Host, Peer, ROOM, Site, Wire, eventually};

/// One node, and where clients find it.
pub(crate) struct Node {
    pub(crate) server: PeerData,
    pub(crate) site: Site,
    pub(crate) id: NodeId,
}

impl Node {
    pub(crate) async fn start(bus: &MemoryBus) -> Self {
        let builder = PeerData::builder().cluster(bus.node());
        Self::of(builder.build().expect("good settings")).await
    }

    pub(crate) async fn of(server: PeerData) -> Self {
        let site = Host::Axum.start_built(server.clone()).await;
        let id = server.cluster_status().expect("a cluster").node;
        Self { server, site, id }
    }

    pub(crate) fn others(&self) -> usize {
        self.server.cluster_status().expect("a cluster").others
    }

    /// A peer of this node in [`ROOM`].
    pub(crate) async fn join(&self, wire: Wire) -> Peer {
        Peer::join(&self.site, wire, ROOM).await
    }

    /// Returns once the node knows so many members of [`ROOM`], wherever they are.
    pub(crate) async fn sees(&self, count: usize) {
        let room = room();
        eventually("the members are known", || {
            self.server.members(&room).len() == count
        })
        .await;
    }
}

/// So many nodes that know each other.
pub(crate) async fn cluster<const COUNT: usize>() -> (MemoryBus, [Node; COUNT]) {
    let bus = MemoryBus::new();
    let mut nodes = Vec::new();
    for _ in 0..COUNT {
        nodes.push(Node::start(&bus).await);
    }
    acquaint(&nodes).await;
    let nodes: Result<[Node; COUNT], _> = nodes.try_into();
    (bus, nodes.ok().expect("as many as there should be"))
}

/// Returns once all nodes know each other.
pub(crate) async fn acquaint(nodes: &[Node]) {
    for node in nodes {
        let others = nodes.len() - 1;
        eventually("the nodes know each other", || node.others() == others).await;
    }
}

/// A peer on each wire in [`ROOM`], on three nodes in turns; each with the number of its node.
pub(crate) async fn everywhere(nodes: &[Node; 3]) -> Vec<(usize, Peer)> {
    let mut peers: Vec<(usize, Peer)> = Vec::new();
    for (number, wire) in Wire::ALL.into_iter().enumerate() {
        let at = number % 3;
        let newcomer = nodes[at].join(wire).await;
        for (_, peer) in &mut peers {
            let heard = peer.signal().await;
            assert_eq!(heard["type"], "CONNECT", "{heard}");
            assert_eq!(heard["caller"]["id"], newcomer.id, "{heard}");
        }
        peers.push((at, newcomer));
        for node in nodes {
            if node.server.room_count() > 0 {
                node.sees(peers.len()).await;
            }
        }
    }
    peers
}

/// Asserts that nothing is on its way to any of them.
pub(crate) async fn quiet_everywhere(nodes: &[Node; 3], peers: &mut [(usize, Peer)]) {
    for (at, peer) in peers {
        peer.hears_nothing(&nodes[*at].site).await;
    }
}

pub(crate) fn room() -> RoomId {
    RoomId::new(ROOM).expect("a room's id")
}

pub(crate) fn id(peer: &Peer) -> PeerId {
    peer.id.parse().expect("a peer's id")
}
