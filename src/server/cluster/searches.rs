//! Who is in rooms that this node has no member in, for those who ask.

use std::collections::{BTreeMap, HashMap};

use super::{Cluster, about};
use crate::cluster::{About, Member, Target};
use crate::id::{NodeId, PeerId, RoomId};
use crate::sync::lock;

/// Rooms that are looked for, by how many, and what was found of each.
#[derive(Debug, Default)]
pub(super) struct Searches {
    rooms: HashMap<RoomId, Search>,
}

#[derive(Debug, Default)]
struct Search {
    seekers: usize,
    found: BTreeMap<NodeId, Vec<Member>>,
}

impl Searches {
    /// What a node has told of a room, if somebody wants to know. `max` of its members are kept.
    pub(super) fn find(&mut self, room: &RoomId, from: NodeId, members: &[Member], max: usize) {
        if let Some(search) = self.rooms.get_mut(room) {
            let members = members.iter().take(max).copied().collect();
            search.found.insert(from, members);
        }
    }
}

/// Somebody looks for a room until this is dropped.
pub(super) struct Seeker<'a> {
    cluster: &'a Cluster,
    room: &'a RoomId,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(cluster: &'a Cluster, room: &'a RoomId) -> Self {
        let mut searches = lock(&cluster.searches);
        searches.rooms.entry(room.clone()).or_default().seekers += 1;
        let asks = cluster.stamps.next();
        // If it is not heard, nothing will be found.
        let _ = cluster.publish(
            Target::Room(room),
            &about(room, About::Ask { asks, only: None }),
        );
        Self { cluster, room }
    }

    pub(super) fn found(&self) -> Vec<PeerId> {
        let searches = lock(&self.cluster.searches);
        let search = searches.rooms.get(self.room);
        let found = search.into_iter().flat_map(|search| search.found.values());
        found.flatten().map(|member| member.id).collect()
    }
}

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        let mut searches = lock(&self.cluster.searches);
        if let Some(search) = searches.rooms.get_mut(self.room) {
            search.seekers -= 1;
            if search.seekers == 0 {
                searches.rooms.remove(self.room);
            }
        }
    }
}
