//! A simulated client that loses its connection, and comes back: as the same peer, if it may.

use std::mem;

use serde_json::Value;

use super::{Guest, Kind, ROOMS, Say};
use crate::id::{PeerId, RoomId};
use crate::wire::engine::Revision;

/// Whether it is connected, as far as it knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    Not,
    /// It has lost its connection.
    Lost,
    /// It has another, and does not know yet as whom.
    Returning,
}

/// What it has to show when it comes back.
pub(super) struct Recall {
    pid: String,
    /// Of the last event that it has heard whole.
    offset: Option<String>,
    /// How many messages of plain JSON it has had.
    seen: u64,
}

impl Guest {
    /// It has become a peer, or is again the one that it was.
    pub(super) fn be(&mut self, id: PeerId, pid: Option<&Value>) {
        let former = self.id.replace(id);
        self.absence = Absence::Not;
        if former == Some(id) {
            self.returns += 1;
            // What it said last may have been lost on the way.
            let rooms = (0..ROOMS.len()).filter(|&at| {
                let room = RoomId::new(ROOMS[at]).unwrap();
                self.server.members(&room).contains(&id)
            });
            self.rooms = rooms.collect();
        } else if let Some(former) = former {
            self.former.push((former, mem::take(&mut self.heard)));
            self.rooms.clear();
            self.recall = None;
            self.partial = None;
        }
        if let Some(pid) = pid.and_then(Value::as_str) {
            let recall = self.recall.get_or_insert_with(|| Recall {
                pid: pid.to_owned(),
                offset: None,
                seen: 0,
            });
            assert_eq!(recall.pid, pid, "what it shows is of that peer");
        }
    }

    pub(super) fn counts(&mut self) {
        if let Some(recall) = &mut self.recall {
            recall.seen += 1;
        }
    }

    pub(super) fn notes(&mut self, offset: Option<String>) {
        if let (Some(recall), Some(offset)) = (&mut self.recall, offset) {
            recall.offset = Some(offset);
        }
    }

    /// Nothing comes through any more. Whether the server has noticed is another matter.
    pub(in super::super) fn lose(&mut self) {
        if self.recall.is_none() || self.over {
            return self.end();
        }
        self.absence = Absence::Lost;
        self.sid = None;
        self.says.clear();
        self.get = None;
        self.post = None;
        self.moving = false;
        if self.kind != Kind::Json {
            // Half an event is none.
            self.partial = None;
        }
        let sockets = [self.socket.take(), self.probe.take()];
        for mut socket in sockets.into_iter().flatten() {
            socket.hang_up();
            self.lost.push(socket);
        }
    }

    pub(in super::super) fn come_back(&mut self) {
        if self.absence == Absence::Lost && !self.over {
            self.absence = Absence::Returning;
            self.enter();
        }
    }

    /// What it says of itself as it opens a session of plain JSON.
    pub(super) fn protocols(&self) -> Option<String> {
        let Recall { pid, seen, .. } = self.recall.as_ref()?;
        Some(format!("peer-data, resume.{pid}.{seen}"))
    }

    /// What a client of revision 4 says to be let in.
    pub(super) fn connect(&mut self) {
        if self.kind.revision() != Some(Revision::V4) {
            return;
        }
        let auth = self.recall.as_ref().map(|Recall { pid, offset, .. }| {
            serde_json::json!({"pid": pid, "offset": offset}).to_string()
        });
        let auth = auth.unwrap_or_default();
        self.says.push_back(Say::Text(format!("40{auth}")));
    }
}
