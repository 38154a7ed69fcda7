//! What the application can do about peers and rooms at other nodes.

use super::PeerData;
use super::rooms::about;
use super::searches::Seeker;
use crate::broker::{Delivery, Remote};
use crate::cluster::{About, Parcel, Target};
use crate::id::{PeerId, RoomId};
use crate::limits::CLUSTER_ROSTER_PATIENCE;
use crate::signal::Signal;

impl PeerData {
    /// Hands a signal for a peer of another node to the bus.
    pub(in crate::server) fn to_peer_elsewhere(&self, to: &PeerId, signal: &Signal) -> Delivery {
        let mut delivery = Delivery::default();
        let Some(cluster) = self.cluster().filter(|cluster| cluster.knows(to.node())) else {
            return delivery;
        };
        let parcel = Parcel::ToPeer {
            peer: *to,
            signal: signal.clone(),
        };
        let outcome = cluster.publish(Target::Node(to.node()), &parcel);
        delivery.delivered = usize::from(outcome.is_ok());
        delivery.remote = Remote::from(&outcome);
        delivery
    }

    /// Hands a signal for a room to the bus, unless it is known that nobody would hear it.
    pub(in crate::server) fn to_room_elsewhere(
        &self,
        room: &RoomId,
        except: Option<&PeerId>,
        signal: &Signal,
        delivery: &mut Delivery,
    ) {
        let Some(cluster) = self.cluster() else {
            return;
        };
        let count = cluster.in_watched(room.as_str(), |watch| {
            let members = watch.roster.remote_members();
            members.filter(|member| except != Some(&member.id)).count()
        });
        if count == Some(0) {
            return;
        }
        let said = About::Announced {
            except: except.copied(),
            signal: signal.clone(),
        };
        let outcome = cluster.publish(Target::Room(room), &about(room, said));
        delivery.remote = Remote::from(&outcome);
        if outcome.is_ok() {
            delivery.delivered += count.unwrap_or_default();
        }
    }

    /// Asks the node of a peer to disconnect it. Whether that was handed to the bus.
    pub(in crate::server) fn disconnect_elsewhere(&self, peer: &PeerId) -> bool {
        self.cluster().is_some_and(|cluster| {
            let node = peer.node();
            cluster.knows(node)
                && cluster
                    .publish(Target::Node(node), &Parcel::Disconnect { peer: *peer })
                    .is_ok()
        })
    }

    /// Asks all other nodes to empty a room.
    pub(in crate::server) fn close_room_elsewhere(&self, room: &RoomId) {
        if let Some(cluster) = self.cluster() {
            // As far as it does not arrive, the application can see who is left.
            let _ = cluster.publish(Target::Room(room), &about(room, About::Close));
        }
    }

    /// The members of a room on all nodes, whether or not this one has a member in it: if it has
    /// none, it asks the others, and waits a quarter of a second for what they say. In no order.
    ///
    /// Without a cluster it is the same as [`members`](Self::members).
    ///
    /// ```
    /// use peer_data_server::{PeerData, RoomId};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), peer_data_server::InvalidId> {
    /// let server = PeerData::new();
    /// assert!(server.find_members(&RoomId::new("kitchen")?).await.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    ///
    /// It can be dropped at any time.
    ///
    /// # Panics
    ///
    /// On a bus, outside of a tokio runtime that has its timer enabled.
    pub async fn find_members(&self, room: &RoomId) -> Vec<PeerId> {
        let Some(cluster) = self.cluster() else {
            return self.members(room);
        };
        let watched = cluster.in_watched(room.as_str(), |_| ()).is_some();
        if watched {
            self.settled(room).await;
            return self.members(room);
        }
        let seeker = Seeker::new(cluster, room);
        tokio::time::sleep(CLUSTER_ROSTER_PATIENCE).await;
        seeker.found()
    }
}
