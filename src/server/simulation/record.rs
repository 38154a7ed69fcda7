//! What must be heard, by whom and in which order: taken down at the moment in which the server
//! decides it.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::id::{PeerId, RoomId};
use crate::server::{Lifecycle, LifecycleEvent, Relay};
use crate::sync::lock;

/// What one peer hears of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Came(PeerId, RoomId),
    Left(PeerId, RoomId),
    Said(PeerId, u64),
}

/// Kept by the policy of the server under test, and read by the test.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    lifecycle: Option<Lifecycle>,
    /// In the order in which they came.
    rooms: BTreeMap<RoomId, Vec<PeerId>>,
    expected: HashMap<PeerId, Vec<Heard>>,
    connected: Vec<PeerId>,
    gone: Vec<PeerId>,
}

impl Record {
    pub(super) fn listen(&self, lifecycle: Lifecycle) {
        lock(&self.0).lifecycle = Some(lifecycle);
    }

    /// An event is about to be relayed to those whom it is for.
    pub(super) fn relay(&self, event: &Relay<'_>) {
        let mut book = lock(&self.0);
        book.catch_up();
        let number = number(event.payload.unwrap_or_default());
        let room: RoomId = RoomId::new(event.room).unwrap();
        let members = book.rooms.get(&room).cloned().unwrap_or_default();
        assert!(members.contains(&event.caller), "the caller is a member");
        let receivers = match event.callee {
            Some(callee) => {
                assert!(members.contains(&callee), "the callee is a member");
                vec![callee]
            }
            None => members
                .into_iter()
                .filter(|id| *id != event.caller)
                .collect(),
        };
        for receiver in receivers {
            book.expect(receiver, Heard::Said(event.caller, number));
        }
    }

    /// What that peer must have heard by now.
    pub(super) fn expected(&self, peer: &PeerId) -> Vec<Heard> {
        let mut book = lock(&self.0);
        book.catch_up();
        book.expected.get(peer).cloned().unwrap_or_default()
    }

    /// Everybody who was a peer is one no more, and nobody is in a room.
    pub(super) fn is_over(&self) -> bool {
        let mut book = lock(&self.0);
        book.catch_up();
        book.rooms.is_empty() && book.connected.is_empty()
    }
}

impl Book {
    fn expect(&mut self, receiver: PeerId, heard: Heard) {
        self.expected.entry(receiver).or_default().push(heard);
    }

    /// Joins and departures are told in the order in which they are made.
    fn catch_up(&mut self) {
        while let Some(event) = self.next() {
            match event {
                LifecycleEvent::Connected { peer } => {
                    assert!(
                        !self.connected.contains(&peer.id()),
                        "nobody connects twice"
                    );
                    self.connected.push(peer.id());
                }
                LifecycleEvent::Joined { peer, room } => {
                    assert!(self.connected.contains(&peer.id()));
                    let members = self.rooms.entry(room.clone()).or_default();
                    assert!(!members.contains(&peer.id()), "nobody joins twice");
                    members.push(peer.id());
                    for other in members.clone() {
                        if other != peer.id() {
                            self.expect(other, Heard::Came(peer.id(), room.clone()));
                        }
                    }
                }
                LifecycleEvent::Left { peer, room } => {
                    let members = self.rooms.get_mut(&room).expect("a room with members");
                    let before = members.len();
                    members.retain(|member| *member != peer.id());
                    assert_eq!(members.len() + 1, before, "nobody leaves twice");
                    let others = members.clone();
                    if others.is_empty() {
                        self.rooms.remove(&room);
                    }
                    for other in others {
                        self.expect(other, Heard::Left(peer.id(), room.clone()));
                    }
                }
                LifecycleEvent::Disconnected { peer, .. } => {
                    let rooms = self.rooms.values();
                    assert!(!rooms.flatten().any(|member| *member == peer.id()));
                    let before = self.connected.len();
                    self.connected.retain(|other| *other != peer.id());
                    assert_eq!(self.connected.len() + 1, before, "nobody goes twice");
                    assert!(!self.gone.contains(&peer.id()));
                    self.gone.push(peer.id());
                }
                LifecycleEvent::Refused { .. } => {}
                LifecycleEvent::Missed(count) => panic!("{count} events were missed"),
            }
        }
    }

    fn next(&mut self) -> Option<LifecycleEvent> {
        let next = pin!(self.lifecycle.as_mut()?.next());
        match next.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }
}

/// The number that an event's payload begins with: `{"n":7,…`.
pub(super) fn number(payload: &str) -> u64 {
    let digits = payload.trim_start_matches("{\"n\":");
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number in {payload}"))
}
