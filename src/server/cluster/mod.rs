//! This node among others: what it publishes, and what it makes of what comes.
//!
//! Local delivery comes first and never waits for the bus. A room's [`Watch`] is locked while its
//! roster is changed and what comes of it is told, here and to others, so that both are told in the
//! same order. The lock order is: a client's membership, a watch, a session.

mod acks;
mod agenda;
mod bodies;
mod counters;
mod forward;
mod inbound;
mod news;
mod outreach;
mod requests;
mod rooms;
mod searches;
mod status;
mod task;
#[cfg(test)]
mod tests;
mod waits;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) use forward::Post;
pub use status::ClusterStatus;

use super::PeerData;
use crate::broker::Shards;
use crate::clock;
use crate::cluster::{
    ClusterAdapter, ClusterError, Edition, Inbox, Nodes, Parcel, Pieces, Stamps, Target, cut,
};
use crate::error::Error;
use crate::id::{NodeId, PeerId, RoomId, SessionId};
use crate::limits::{
    CLUSTER_ALL_UNSAID_BYTES, CLUSTER_LEAVE_TIME, CLUSTER_OVERLOAD_TIME,
    CLUSTER_UNKNOWN_REQUEST_BYTES, Limits,
};
use crate::sync::{Budget, lock};
use agenda::Agenda;
use bodies::Bodies;
use counters::Counters;
use forward::Serving;
use requests::Requests;
use rooms::about;
use searches::Searches;
use watch::Watched;

/// What a builder has been told of the cluster.
pub(super) struct Membership {
    pub(super) adapter: Box<dyn ClusterAdapter>,
    pub(super) edition: Edition,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").finish_non_exhaustive()
    }
}

pub(super) struct Cluster {
    adapter: Box<dyn ClusterAdapter>,
    node: NodeId,
    /// Differs between nodes that have come to the same id by chance.
    run: u64,
    edition: Edition,
    inbox: Inbox,
    stamps: Stamps,
    /// Of requests, and of parcels that are cut into pieces.
    numbers: AtomicU64,
    nodes: Mutex<Nodes>,
    rooms: Shards<RoomId, Arc<Watched>>,
    agenda: Mutex<Agenda>,
    pieces: Mutex<Pieces>,
    requests: Mutex<Requests>,
    bodies: Mutex<Bodies>,
    /// What waits for an answer of another node that may not know what it is about.
    questions: Budget,
    serving: Mutex<Serving>,
    searches: Mutex<Searches>,
    counters: Counters,
    /// Until when the node is said to have more to send or to hear than it can.
    overloaded: Mutex<Option<Instant>>,
    /// Another node has the same id.
    conflict: AtomicBool,
    /// Why the adapter will never work.
    broken: Mutex<Option<ClusterError>>,
    stopped: AtomicBool,
    /// What members have said while nobody else could hear it.
    unsaid: Arc<Budget>,
    max_members: usize,
}

impl Cluster {
    /// Also, what the adapter is to be given at its start.
    pub(super) fn new(
        membership: Membership,
        limits: &Limits,
    ) -> Result<(Arc<Self>, crate::cluster::Inbound), Error> {
        let node = NodeId::random();
        let node = node.map_err(|error| Error::new("cluster", error.to_string()))?;
        let (inbox, inbound) = Inbox::new();
        let now = clock::now();
        let cluster = Self {
            adapter: membership.adapter,
            node,
            run: crate::id::number(),
            edition: membership.edition,
            inbox,
            stamps: Stamps::default(),
            numbers: AtomicU64::new(1),
            nodes: Mutex::new(Nodes::new(node)),
            rooms: Shards::new(),
            agenda: Mutex::new(Agenda::new(now)),
            pieces: Mutex::default(),
            requests: Mutex::default(),
            bodies: Mutex::default(),
            questions: Budget::new(CLUSTER_UNKNOWN_REQUEST_BYTES),
            serving: Mutex::default(),
            searches: Mutex::default(),
            counters: Counters::new(),
            overloaded: Mutex::default(),
            conflict: AtomicBool::new(false),
            broken: Mutex::default(),
            stopped: AtomicBool::new(false),
            unsaid: Arc::new(Budget::new(CLUSTER_ALL_UNSAID_BYTES)),
            max_members: limits
                .max_peers_per_room
                .min(crate::limits::CLUSTER_ROSTER_MEMBERS),
        };
        Ok((Arc::new(cluster), inbound))
    }

    /// Hands a parcel to the bus, in pieces if it is long.
    fn publish(&self, to: Target<'_>, parcel: &Parcel) -> Result<(), ClusterError> {
        let outcome = self.try_publish(to, parcel);
        self.counters.published(&outcome);
        if outcome == Err(ClusterError::Full) {
            self.note_overload(clock::now());
        }
        outcome
    }

    /// Whether there is no task any more that sees to what the node has to do.
    fn is_over(&self) -> bool {
        self.is_stopped() || lock(&self.broken).is_some()
    }

    /// The node has left the others.
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn note_overload(&self, now: Instant) {
        *lock(&self.overloaded) = Some(now + CLUSTER_OVERLOAD_TIME);
    }

    fn try_publish(&self, to: Target<'_>, parcel: &Parcel) -> Result<(), ClusterError> {
        if self.is_stopped() {
            return Err(ClusterError::Down);
        }
        let whole = parcel.encode(self.node, self.edition);
        if let Some(mut pieces) = cut(&whole, self.number()) {
            return pieces.try_for_each(|piece| {
                let piece = piece.encode(self.node, self.edition);
                self.adapter.publish(to, piece)
            });
        }
        self.adapter.publish(to, whole)
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn knows(&self, node: NodeId) -> bool {
        lock(&self.nodes).knows(node)
    }

    fn beat(&self, to: Target<'_>, greets: bool) {
        let parcel = Parcel::Beat {
            greets,
            run: self.run,
            has_spoken: self.stamps.have_begun(),
        };
        // If it is not heard, the next one is.
        let _ = self.publish(to, &parcel);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl PeerData {
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.inner.cluster.as_ref()
    }

    fn node(&self) -> Option<NodeId> {
        self.cluster().map(|cluster| cluster.node)
    }

    /// A new id that names this node, if there are others.
    pub(super) fn new_peer_id(&self) -> Option<PeerId> {
        PeerId::random_at(self.node()).ok()
    }

    /// A new id that names this node, if there are others.
    pub(super) fn new_session_id(&self) -> Option<SessionId> {
        SessionId::random_at(self.node()).ok()
    }

    /// Tells the other nodes that this one goes, so that they need not wait for it, and leaves the
    /// bus. Polls that wait here for sessions of other nodes are answered before, within a second. Its
    /// peers, if there are any left, are gone for the others; here they stay, and are alone from then
    /// on. Does nothing on a server without a cluster.
    ///
    /// A node whose last handle and connection are dropped does so by itself, as long as its runtime
    /// goes on; call this before a process ends, after its clients have gone.
    ///
    /// # Cancellation
    ///
    /// Dropped before it is done, the others may have to wait for 15 seconds.
    ///
    /// # Panics
    ///
    /// On a bus, outside of a tokio runtime that has its timer enabled.
    ///
    /// ```
    /// use peer_data_server::{MemoryBus, PeerData};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), peer_data_server::Error> {
    /// let server = PeerData::builder().cluster(MemoryBus::new().node()).build()?;
    /// server.leave_cluster().await;
    /// assert!(!server.cluster_status().is_some_and(|status| status.connected));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn leave_cluster(&self) {
        self.leave_cluster_within(CLUSTER_LEAVE_TIME).await;
    }

    /// The same, with that much time for the polls that wait here for other nodes.
    pub(super) async fn leave_cluster_within(&self, patience: Duration) {
        let Some(cluster) = self.cluster() else {
            return;
        };
        cluster.let_polls_go(patience).await;
        if !cluster.say_goodbye() {
            return;
        }
        let askers = lock(&cluster.requests).give_up();
        self.tell_unanswered(askers);
        for room in cluster.watched() {
            // There is nobody left to be waited for.
            self.with_roster(cluster, &room, |_, _| {});
        }
        cluster.adapter.stop().await;
    }

    /// What the sweeper of the cluster does: everything that has come, and what is due.
    pub(super) fn cluster_turn(&self, cluster: &Cluster, now: Instant) -> bool {
        let more = self.take_inbox(cluster, now);
        self.cluster_tick(cluster, now);
        more
    }
}
