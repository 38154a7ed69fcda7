//! The rooms that one peer is in.

use std::collections::HashSet;

use crate::id::RoomId;

/// Up to so many names are compared one by one: that is faster than to hash the one that is looked
/// for.
const FEW: usize = 8;

/// Most peers are in one room, which is looked for with every message: it takes no list.
#[derive(Debug, Default)]
pub(super) struct RoomSet {
    first: Option<RoomId>,
    /// Those for which there was no place but here.
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    few: Vec<RoomId>,
    many: HashSet<RoomId>,
}

impl RoomSet {
    pub(super) fn contains(&self, room: &str) -> bool {
        self.first.as_ref().is_some_and(|one| one.as_str() == room)
            || self.more.as_ref().is_some_and(|more| more.contains(room))
    }

    pub(super) fn len(&self) -> usize {
        let more = self.more.as_ref();
        usize::from(self.first.is_some()) + more.map_or(0, |more| more.few.len() + more.many.len())
    }

    /// Adds a room that is not among them.
    pub(super) fn insert(&mut self, room: RoomId) {
        if self.first.is_none() {
            self.first = Some(room);
        } else {
            self.more.get_or_insert_default().insert(room);
        }
    }

    /// Takes a room out, if it is among them.
    pub(super) fn take(&mut self, room: &str) -> Option<RoomId> {
        if let Some(first) = self.first.take_if(|one| one.as_str() == room) {
            return Some(first);
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
        let more = self.more.iter();
        let more = more.flat_map(|more| more.few.iter().chain(&more.many));
        self.first.iter().chain(more)
    }

    /// In no order.
    pub(super) fn into_iter(self) -> impl Iterator<Item = RoomId> {
        let More { few, many } = self.more.map(|more| *more).unwrap_or_default();
        self.first.into_iter().chain(few).chain(many)
    }
}

impl More {
    fn contains(&self, room: &str) -> bool {
        self.few.iter().any(|one| one.as_str() == room)
            || !self.many.is_empty() && self.many.contains(room)
    }

    fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    fn insert(&mut self, room: RoomId) {
        if self.few.len() < FEW {
            self.few.push(room);
        } else {
            self.many.insert(room);
        }
    }

    fn take(&mut self, room: &str) -> Option<RoomId> {
        if let Some(at) = self.few.iter().position(|one| one.as_str() == room) {
            return Some(self.few.swap_remove(at));
        }
        self.many.take(room)
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
