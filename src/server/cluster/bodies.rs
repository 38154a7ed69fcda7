//! Bodies of POSTs for sessions of other nodes, while they come: who has no session anywhere must not
//! fill the memory of a node that cannot tell.

use std::collections::HashSet;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};

use crate::id::SessionId;
use crate::limits::{CLUSTER_REQUEST_BYTES, CLUSTER_UNKNOWN_BODY_BYTES, CLUSTER_UNKNOWN_BYTES};
use crate::sync::lock;

/// What has come of all of them.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// Bytes for sessions that nobody has been asked about.
    unknown: usize,
    /// Bytes for sessions that their nodes know.
    known: usize,
    /// Those sessions: one body of each at a time, as within a node.
    sessions: HashSet<SessionId>,
}

/// What has come of one. Dropped, it gives its room to others.
#[derive(Debug)]
pub(super) struct Body<'a> {
    bodies: &'a Mutex<Bodies>,
    sid: SessionId,
    is_known: bool,
    bytes: BytesMut,
}

impl<'a> Body<'a> {
    pub(super) fn new(bodies: &'a Mutex<Bodies>, sid: SessionId) -> Self {
        Self {
            bodies,
            sid,
            is_known: false,
            bytes: BytesMut::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether its session's node has said that it knows it.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Adds a piece, if there is room for it.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let mut bodies = lock(self.bodies);
        let fits = if self.is_known {
            bodies.known + piece.len() <= CLUSTER_REQUEST_BYTES
        } else {
            self.bytes.len() + piece.len() <= CLUSTER_UNKNOWN_BODY_BYTES
                && bodies.unknown + piece.len() <= CLUSTER_UNKNOWN_BYTES
        };
        if fits {
            *bodies.count(self.is_known) += piece.len();
            self.bytes.extend_from_slice(piece);
        }
        fits
    }

    /// Its session is known. Whether it may go on: not if there is another body for it.
    pub(super) fn note_known(&mut self) -> bool {
        let mut bodies = lock(self.bodies);
        if !bodies.sessions.insert(self.sid) {
            return false;
        }
        *bodies.count(false) -= self.bytes.len();
        *bodies.count(true) += self.bytes.len();
        self.is_known = true;
        true
    }

    /// All of it, to be sent at once.
    pub(super) fn take(mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.bytes).freeze();
        self.give_back(bytes.len());
        bytes
    }

    fn give_back(&mut self, bytes: usize) {
        let mut bodies = lock(self.bodies);
        *bodies.count(self.is_known) -= bytes;
        if std::mem::take(&mut self.is_known) {
            bodies.sessions.remove(&self.sid);
        }
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.give_back(self.bytes.len());
    }
}

impl Bodies {
    fn count(&mut self, known: bool) -> &mut usize {
        if known {
            &mut self.known
        } else {
            &mut self.unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid() -> SessionId {
        SessionId::random().unwrap()
    }

    fn counts(bodies: &Mutex<Bodies>) -> [usize; 3] {
        let bodies = lock(bodies);
        [bodies.unknown, bodies.known, bodies.sessions.len()]
    }

    #[test]
    fn whoever_is_not_known_has_little_room_and_all_together_some() {
        let bodies = Mutex::default();
        let piece = vec![0; CLUSTER_UNKNOWN_BODY_BYTES];
        let mut all = Vec::new();
        for _ in 0..CLUSTER_UNKNOWN_BYTES / piece.len() {
            let mut body = Body::new(&bodies, sid());
            assert!(body.push(&piece) && !body.push(b"x"));
            all.push(body);
        }
        assert_eq!(counts(&bodies), [CLUSTER_UNKNOWN_BYTES, 0, 0]);
        let mut late = Body::new(&bodies, sid());
        assert!(!late.push(b"x"));
        // A session that is known does not suffer by it.
        assert!(late.note_known() && late.push(&piece));
        assert_eq!(late.take().len(), piece.len());
        drop(all);
        assert_eq!(counts(&bodies), [0, 0, 0]);
    }

    #[test]
    fn a_session_has_one_body_at_a_time() {
        let bodies = Mutex::default();
        let sid = sid();
        let [mut first, mut second] = [(); 2].map(|()| Body::new(&bodies, sid));
        assert!(first.push(b"12") && first.note_known() && first.push(b"345"));
        assert!(second.push(b"6") && !second.note_known());
        assert_eq!(counts(&bodies), [1, 5, 1]);
        drop(second);
        assert_eq!(first.take(), b"12345"[..]);
        assert_eq!(counts(&bodies), [0, 0, 0]);
        assert!(Body::new(&bodies, sid).note_known());
    }

    #[test]
    fn all_sessions_have_so_much_room() {
        let bodies = Mutex::default();
        let mut bodies_of_many: Vec<_> = (0..64).map(|_| Body::new(&bodies, sid())).collect();
        for body in &mut bodies_of_many {
            assert!(body.note_known() && body.push(&vec![0; CLUSTER_REQUEST_BYTES / 64]));
        }
        let mut late = Body::new(&bodies, sid());
        assert!(late.note_known() && !late.push(b"x"));
    }
}
