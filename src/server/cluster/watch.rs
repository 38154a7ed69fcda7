//! The rooms that this node has a member in, each behind a lock of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::Cluster;
use super::acks::Owed;
use crate::broker::shrink;
use crate::clock;
use crate::cluster::Roster;
use crate::id::{PeerId, RoomId};
use crate::sync::lock;

/// Exists from the first local member to the last.
pub(super) struct Watched {
    watch: Mutex<Watch>,
}

pub(super) struct Watch {
    pub(super) room: RoomId,
    pub(super) roster: Roster,
    /// Other nodes may hold somebody here for a member: they were told so, in this room or in the last of
    /// its name.
    pub(super) is_known: bool,
    /// Those who wait until it is known who is in the room.
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    /// Local members whose CONNECT is not answered yet, each once.
    joining: Vec<Joining>,
    /// The room has no local member any more: who looks for it takes the next one.
    is_over: bool,
}

struct Joining {
    peer: PeerId,
    /// Those at other nodes whom it has heard come since, and who are still there, so never more than
    /// a room has: the answer must not name them again.
    heard: Vec<PeerId>,
    /// The answer, if it is given once others have told of their members.
    owed: Option<Owed>,
}

impl Watch {
    /// A local peer has joined, and is told later of those who were there before.
    pub(super) fn begin_joining(&mut self, peer: PeerId) {
        self.joining.push(Joining {
            peer,
            heard: Vec::new(),
            owed: None,
        });
    }

    /// It is answered later.
    pub(super) fn owe(&mut self, owed: Owed) {
        if !self.joining.iter().any(|joining| joining.peer == owed.own) {
            self.begin_joining(owed.own);
        }
        let mut joining = self.joining.iter_mut();
        if let Some(joining) = joining.find(|joining| joining.peer == owed.own) {
            joining.owed = Some(owed);
        }
    }

    /// Whether it is answered later.
    pub(super) fn owes(&self, peer: &PeerId) -> bool {
        let mut joining = self.joining.iter();
        joining.any(|joining| joining.peer == *peer && joining.owed.is_some())
    }

    /// Whether anybody waits until it is known who is in the room.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiters.is_empty() || self.joining.iter().any(|joining| joining.owed.is_some())
    }

    /// What is owed to all, each with those whom it has heard come meanwhile.
    pub(super) fn take_owed(&mut self) -> Vec<(Owed, Vec<PeerId>)> {
        let owed = self
            .joining
            .extract_if(.., |joining| joining.owed.is_some());
        let owed = owed.filter_map(|joining| Some((joining.owed?, joining.heard)));
        owed.collect()
    }

    /// A local member leaves; what is owed to it still.
    pub(super) fn take_leaver(&mut self, peer: &PeerId) -> Option<(Owed, Vec<PeerId>)> {
        let mut joining = self.joining.iter();
        let at = joining.position(|joining| joining.peer == *peer)?;
        let joining = self.joining.swap_remove(at);
        Some((joining.owed?, joining.heard))
    }

    /// All local members hear that one at another node has come.
    pub(super) fn note_heard(&mut self, other: PeerId) {
        for joining in &mut self.joining {
            joining.heard.push(other);
        }
    }

    /// One at another node is gone.
    pub(super) fn note_gone(&mut self, other: &PeerId) {
        for joining in &mut self.joining {
            joining.heard.retain(|heard| heard != other);
        }
    }

    /// It is told now, unless that is for later: whom it has heard come meanwhile.
    pub(super) fn end_joining(&mut self, peer: &PeerId) -> Vec<PeerId> {
        let at = self
            .joining
            .iter()
            .position(|joining| joining.peer == *peer && joining.owed.is_none());
        at.map_or_else(Vec::new, |at| self.joining.swap_remove(at).heard)
    }
}

impl Cluster {
    /// Does something with a room, which comes to be for it; if it has no local member after that, it
    /// is gone again.
    pub(super) fn in_room<T>(&self, room: &RoomId, work: impl FnOnce(&mut Watch) -> T) -> T {
        loop {
            let watched = self.watched_or_new(room);
            let mut watch = lock(&watched.watch);
            if !watch.is_over {
                return self.work_in(&mut watch, work);
            }
        }
    }

    /// Does something with a room, if there is a local member in it.
    pub(super) fn in_watched<T>(
        &self,
        room: &str,
        work: impl FnOnce(&mut Watch) -> T,
    ) -> Option<T> {
        loop {
            let watched = self.rooms.lock(room).get(room).cloned()?;
            let mut watch = lock(&watched.watch);
            if !watch.is_over {
                return Some(self.work_in(&mut watch, work));
            }
        }
    }

    /// All rooms with a local member, in no order.
    pub(super) fn watched(&self) -> Vec<RoomId> {
        self.rooms.collect(|room, _| room.clone())
    }

    fn watched_or_new(&self, room: &RoomId) -> Arc<Watched> {
        let mut rooms = self.rooms.lock(room);
        let watched = rooms.entry(room.clone()).or_insert_with(|| {
            Arc::new(Watched {
                watch: Mutex::new(Watch {
                    room: room.clone(),
                    roster: Roster::new(
                        self.node,
                        self.stamps.next(),
                        self.max_members,
                        &self.unsaid,
                        clock::now(),
                    ),
                    is_known: false,
                    waiters: Vec::new(),
                    joining: Vec::new(),
                    is_over: false,
                }),
            })
        });
        Arc::clone(watched)
    }

    fn work_in<T>(&self, watch: &mut Watch, work: impl FnOnce(&mut Watch) -> T) -> T {
        let was_wanted = watch.roster.has_local();
        let outcome = work(watch);
        let is_wanted = watch.roster.has_local();
        let is_on_bus = !self.stopped.load(Ordering::Acquire);
        if is_wanted && !was_wanted && is_on_bus {
            self.adapter.interest(&watch.room, true);
        }
        if is_wanted {
            return outcome;
        }
        // The next room of that name comes to be after this is said.
        if was_wanted && is_on_bus {
            self.adapter.interest(&watch.room, false);
        }
        watch.is_over = true;
        watch.waiters = Vec::new();
        let mut rooms = self.rooms.lock(&watch.room);
        rooms.remove(&watch.room);
        shrink(&mut rooms);
        outcome
    }
}
