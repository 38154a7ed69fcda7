//! What nodes have relayed, and to whom: taken down at the moment in which the sender's node does it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::guest::Guest;
use super::record::{Heard, number};
use crate::id::{PeerId, RoomId};
use crate::server::{Peer, Relay};
use crate::sync::lock;

/// Kept by the policy of the nodes under test, and read by the test.
#[derive(Clone, Default)]
pub(super) struct Relayed(Arc<Mutex<Vec<Said>>>);

struct Said {
    caller: PeerId,
    number: u64,
    room: RoomId,
    /// Those whom the node knew of then, wherever they are.
    receivers: Vec<PeerId>,
}

impl Relayed {
    pub(super) fn relay(&self, by: &Peer, event: &Relay<'_>) {
        let room = RoomId::new(event.room).unwrap();
        let mut receivers = by.server().members(&room);
        receivers.retain(|id| *id != event.caller && event.callee.is_none_or(|to| to == *id));
        lock(&self.0).push(Said {
            caller: event.caller,
            number: number(event.payload.unwrap_or_default()),
            room,
            receivers,
        });
    }

    /// How many signals were to be heard by somebody who was in a room together with the sender from
    /// then on, and how many of these were not. What one node misses is one signal, however many of
    /// its peers it was for.
    pub(super) fn missed(
        &self,
        together: &BTreeMap<RoomId, BTreeSet<PeerId>>,
        guests: &[Guest],
    ) -> (usize, usize) {
        let heard: BTreeMap<_, BTreeSet<_>> = guests
            .iter()
            .filter_map(|guest| {
                let said = guest.heard.iter().filter_map(|heard| match heard {
                    Heard::Said(caller, number) => Some((*caller, *number)),
                    _ => None,
                });
                Some((guest.id?, said.collect()))
            })
            .collect();
        let (mut expected, mut missed) = (0, BTreeSet::new());
        for said in &*lock(&self.0) {
            let stayed = |id: &PeerId| together.get(&said.room).is_some_and(|all| all.contains(id));
            for receiver in said.receivers.iter().filter(|id| stayed(id)) {
                let Some(heard) = heard.get(receiver).filter(|_| stayed(&said.caller)) else {
                    continue;
                };
                expected += 1;
                if !heard.contains(&(said.caller, said.number)) {
                    let is_near = receiver.node() == said.caller.node();
                    assert!(
                        !is_near,
                        "{receiver} misses {} of {}",
                        said.number, said.caller
                    );
                    missed.insert((said.caller, said.number, receiver.node()));
                }
            }
        }
        (expected, missed.len())
    }
}
