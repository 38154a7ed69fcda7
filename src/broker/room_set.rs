//! The rooms that one peer is in.

use std::collections::HashSet;

use crate::id::RoomId;

/// Up to so many names are compared one by one: that is faster than to hash the one that is looked
/// for, and takes no table for the one room in which most peers are.
const FEW: usize = 8;

#[derive(Debug, Default)]
pub(super) struct RoomSet {
    few: Vec<RoomId>,
    /// Those for which there was no place among the few.
    #[allow(clippy::box_collection)]
    // empty for most peers, and six times as large without the box
    more: Option<Box<HashSet<RoomId>>>,
}

impl RoomSet {
    pub(super) fn contains(&self, room: &str) -> bool {
        self.few.iter().any(|one| one.as_str() == room)
            || self.more.as_ref().is_some_and(|more| more.contains(room))
    }

    pub(super) fn len(&self) -> usize {
        self.few.len() + self.more.as_ref().map_or(0, |more| more.len())
    }

    /// Adds a room that is not among them.
    pub(super) fn insert(&mut self, room: RoomId) {
        if self.few.len() < FEW {
            self.few.reserve_exact(1);
            self.few.push(room);
        } else {
            self.more.get_or_insert_default().insert(room);
        }
    }

    /// Takes a room out, if it is among them.
    pub(super) fn take(&mut self, room: &str) -> Option<RoomId> {
        if let Some(at) = self.few.iter().position(|one| one.as_str() == room) {
            return Some(self.few.swap_remove(at));
        }
        let more = self.more.as_mut()?;
        let taken = more.take(room);
        if more.is_empty() {
            self.more = None;
        }
        taken
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RoomId> {
        self.few
            .iter()
            .chain(self.more.iter().flat_map(|more| more.iter()))
    }

    /// In no order.
    pub(super) fn into_iter(self) -> impl Iterator<Item = RoomId> {
        let more = self.more.map(|more| *more).unwrap_or_default();
        self.few.into_iter().chain(more)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..30_u8), 0..200)) {
            let mut rooms = RoomSet::default();
            let mut model = HashSet::new();
            for (insert, name) in steps {
                let room = RoomId::new(&name.to_string()).unwrap();
                prop_assert_eq!(rooms.contains(room.as_str()), model.contains(&room));
                if !insert {
                    prop_assert_eq!(rooms.take(room.as_str()), model.take(&room));
                } else if model.insert(room.clone()) {
                    rooms.insert(room);
                }
                prop_assert_eq!(rooms.len(), model.len());
                let listed: HashSet<_> = rooms.iter().cloned().collect();
                prop_assert_eq!(&listed, &model);
            }
            let listed: HashSet<_> = rooms.into_iter().collect();
            prop_assert_eq!(listed, model);
        }
    }
}
