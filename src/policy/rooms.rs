//! Which rooms there are, and how many fit in.

use std::collections::HashSet;
use std::fmt;

use crate::error::{Code, Refused};
use crate::id::{PeerId, RoomId};
use crate::server::{Peer, Policy};

/// Lets peers into rooms of these names, and no others.
///
/// ```
/// use peer_data_server::policy::RoomList;
/// use peer_data_server::{PeerData, RoomId};
///
/// let rooms = [RoomId::new("lobby")?, RoomId::new("kitchen")?];
/// let server = PeerData::builder().policy(RoomList::new(rooms)).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RoomList(HashSet<RoomId>);

impl RoomList {
    /// These rooms.
    pub fn new(rooms: impl IntoIterator<Item = RoomId>) -> Self {
        Self(rooms.into_iter().collect())
    }
}

impl Policy for RoomList {
    async fn admit(&self, _: &Peer, room: &RoomId) -> Result<(), Refused> {
        if self.0.contains(room) {
            Ok(())
        } else {
            Err(Refused::forbidden("there is no such room"))
        }
    }
}

/// Bounds how many peers a room takes, room by room if it must be. Whoever comes then is told
/// `room_full`. Two who come at the same moment do not both get the last place.
///
/// ```
/// use peer_data_server::PeerData;
/// use peer_data_server::policy::RoomCapacity;
///
/// let server = PeerData::builder()
///     .policy(RoomCapacity::of(|room| if room.as_str().starts_with("call-") { 2 } else { 50 }))
///     .build()?;
/// # Ok::<(), peer_data_server::Error>(())
/// ```
pub struct RoomCapacity(Box<dyn Fn(&RoomId) -> usize + Send + Sync>);

impl RoomCapacity {
    /// As many in every room.
    #[must_use]
    pub fn new(peers: usize) -> Self {
        Self::of(move |_| peers)
    }

    /// As many as the closure says. It is asked at each join.
    pub fn of(capacity: impl Fn(&RoomId) -> usize + Send + Sync + 'static) -> Self {
        Self(Box::new(capacity))
    }
}

impl Policy for RoomCapacity {
    fn capacity(&self, room: &RoomId) -> usize {
        (self.0)(room)
    }
}

impl fmt::Debug for RoomCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomCapacity").finish_non_exhaustive()
    }
}

/// Bounds how many connections a peer must hold where everybody in a room calls everybody else.
///
/// In such a mesh a peer has a connection to each other peer that it shares a room with. A join that
/// would give the one who joins, or anybody who is there, more than so many is refused with
/// `room_full`. In one room that is a capacity of one more, and exact; a peer in several rooms that
/// others join at the very same moment may come to a few more. Of a peer at another node of a
/// [`cluster`](crate::Builder::cluster) it is not known which other rooms it is in, nor who is in a
/// room that this node has no member in, so that there may be more of them as well.
///
/// ```
/// use peer_data_server::PeerData;
/// use peer_data_server::policy::MeshCap;
///
/// // What a laptop's camera and uplink can bear.
/// let server = PeerData::builder().policy(MeshCap::new(7)).build()?;
/// # Ok::<(), peer_data_server::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MeshCap(usize);

impl MeshCap {
    /// At most so many connections for each peer.
    #[must_use]
    pub const fn new(connections: usize) -> Self {
        Self(connections)
    }
}

impl Policy for MeshCap {
    async fn admit(&self, peer: &Peer, room: &RoomId) -> Result<(), Refused> {
        let full = Err(Refused::new(
            Code::RoomFull,
            "that would be too many connections",
        ));
        let server = peer.server();
        let others = |id: PeerId, with: &[PeerId]| {
            let rooms = server.rooms_of(&id);
            let mut others: HashSet<_> = with.iter().copied().collect();
            others.extend(rooms.iter().flat_map(|room| server.members(room)));
            others.remove(&id);
            others.len()
        };
        let members = server.members(room);
        // Before each of many members is asked for its rooms.
        if members.len() > self.0.saturating_add(1) || others(peer.id(), &members) > self.0 {
            return full;
        }
        if members
            .iter()
            .any(|member| others(*member, &[peer.id()]) > self.0)
        {
            return full;
        }
        Ok(())
    }

    fn capacity(&self, _: &RoomId) -> usize {
        self.0.saturating_add(1)
    }
}
