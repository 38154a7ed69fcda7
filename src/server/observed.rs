//! What the server tells its observers, beside what each session tells its own.

use std::sync::atomic::Ordering;

use super::client::Client;
use super::{Peer, PeerData};
use crate::broker::Departure;
use crate::error::Code;
use crate::id::{PeerId, RoomId};
use crate::observe::{Handshake, Observer, Said, Span, turned_away};
use crate::session::Session;
use crate::wire::envelope::Kind;
use crate::wire::reply::TurnedAway;

impl PeerData {
    /// A session that has just begun, with its observer.
    pub(super) fn observed(&self, session: Session) -> Session {
        let span = Span::open(session.line());
        let metrics = self.inner.metrics.clone();
        session.observed(Observer { metrics, span })
    }

    pub(super) fn note_handshake(&self, outcome: Handshake) {
        self.inner.metrics.handshake(outcome);
        if outcome != Handshake::Connected {
            turned_away(outcome);
        }
    }

    /// Other namespaces are no peers of their own.
    pub(super) fn note_connected(&self, client: &Client, peer: &Peer, field: Option<&str>) {
        if peer.namespace() == "/" {
            self.note_handshake(Handshake::Connected);
            client.span.connected(&peer.id(), field);
        }
    }

    pub(super) fn note_joined(&self, client: &Client, id: &PeerId, room: &RoomId, members: usize) {
        self.inner.memberships.fetch_add(1, Ordering::Relaxed);
        if members == 1 {
            self.inner.metrics.room_opened();
        }
        self.inner.metrics.room_joined(members);
        self.inner.calls.joined(id, room.as_str(), members > 1);
        client.span.joined(room);
    }

    pub(super) fn note_left(&self, client: &Client, id: &PeerId, departure: &Departure<Client>) {
        self.inner.memberships.fetch_sub(1, Ordering::Relaxed);
        if departure.others.is_empty() {
            self.inner.metrics.room_closed();
        }
        self.inner.calls.left(id, departure.room.as_str());
        let Departure { room, others, .. } = departure;
        self.inner.inspection.left(id, room, others);
        client.span.left(&departure.room);
    }

    pub(super) fn note_refused_event(&self, client: &Client, code: Code) {
        self.inner.metrics.refused(code);
        self.inner.inspection.refused(client, code);
        client.span.refused(code);
    }
}

/// What to call an event.
pub(super) fn said(kind: &Kind<'_>) -> Said {
    match kind {
        Kind::Connect => Said::Connect,
        Kind::Disconnect => Said::Disconnect,
        Kind::Offer => Said::Offer,
        Kind::Answer => Said::Answer,
        Kind::Candidate => Said::Candidate,
        Kind::Custom(_) => Said::Custom,
    }
}

/// What to call it that a client was turned away.
pub(super) fn outcome(why: TurnedAway) -> Handshake {
    match why {
        TurnedAway::ServerFull => Handshake::ServerFull,
        TurnedAway::AddressFull => Handshake::AddressFull,
        TurnedAway::Banned => Handshake::Banned,
        TurnedAway::HandshakeTooLarge => Handshake::TooLarge,
        TurnedAway::ShuttingDown => Handshake::ShuttingDown,
    }
}
