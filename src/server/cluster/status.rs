//! How a node stands among others, for those who watch it.

use std::sync::atomic::Ordering;

use super::PeerData;
use crate::clock;
use crate::cluster::ClusterError;
use crate::id::NodeId;
use crate::observe::Parcels;
use crate::sync::lock;

/// How a node stands among others at one moment. Counters run from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// This node, until it ends.
    pub node: NodeId,
    /// Whether the bus is there. Without it, rooms go on with the peers of this node alone, and
    /// nobody is told that those of others have gone.
    pub connected: bool,
    /// How many other nodes were heard within the last 15 seconds.
    pub others: usize,
    /// Rooms that this node has a member in, and so hears of.
    pub rooms: usize,
    /// Parcels that the bus has taken.
    pub published: u64,
    /// Parcels that have come, those that are not read included.
    pub received: u64,
    /// Parcels that were of no version that this node reads, or broken.
    pub unreadable: u64,
    /// Parcels that the bus has not taken: it was away, or its queue was full. What they would have
    /// said of who is in a room is said later; a signal in them is lost, and its sender was told.
    pub refused: u64,
    /// Signals of other nodes that came without anybody knowing who said them, or too late, or when
    /// this one took no more from the bus; and those of this node that waited to be sent when the bus
    /// was lost. Requests of polls and their answers are counted with them. What the bus itself has
    /// lost nobody can count.
    pub lost: u64,
    /// Within the last ten seconds the bus has taken no more from this node, or this node no more from
    /// the bus.
    pub overloaded: bool,
    /// Another node has drawn the same id, which happens about once to every thousandth cluster of
    /// two hundred nodes. Start this node anew.
    pub conflict: bool,
    /// Why the bus will never be there.
    pub broken: Option<ClusterError>,
}

impl ClusterStatus {
    /// Whether clients should be sent to this node: it is connected, keeps up, and can be told from
    /// others.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.connected && !self.overloaded && !self.conflict && self.broken.is_none()
    }
}

impl PeerData {
    /// How this node stands among others; none on a server without a
    /// [`cluster`](crate::Builder::cluster).
    ///
    /// ```
    /// use peer_data_server::PeerData;
    ///
    /// /// What a readiness probe is answered.
    /// fn is_ready(server: &PeerData) -> bool {
    ///     server.cluster_status().is_none_or(|status| status.is_ready())
    /// }
    /// assert!(is_ready(&PeerData::new()));
    /// ```
    #[must_use]
    pub fn cluster_status(&self) -> Option<ClusterStatus> {
        let cluster = self.cluster()?;
        let (connected, others) = {
            let nodes = lock(&cluster.nodes);
            (nodes.is_connected(), nodes.count())
        };
        let counters = &cluster.counters;
        Some(ClusterStatus {
            node: cluster.node,
            connected: connected && !cluster.stopped.load(Ordering::Acquire),
            others,
            rooms: cluster.rooms.len(),
            published: counters.read(Parcels::Published),
            received: counters.read(Parcels::Received),
            unreadable: counters.read(Parcels::Unreadable),
            refused: counters.read(Parcels::Refused),
            lost: counters.read(Parcels::Lost),
            overloaded: lock(&cluster.overloaded).is_some_and(|until| clock::now() < until),
            conflict: cluster.conflict.load(Ordering::Relaxed),
            broken: lock(&cluster.broken).clone(),
        })
    }
}
