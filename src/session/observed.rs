//! What a session tells its observer: what it is connected as, over what, and for how long.

use super::{Presence, Session, Wire};
use crate::ending::CloseReason;
use crate::observe::{Line, Observer, Span, Upgrade, Usage};
use crate::wire::engine::Revision;

impl Wire {
    fn label(self) -> &'static str {
        match self {
            Self::Engine(Revision::V3) => "socket_io_2",
            Self::Engine(Revision::V4) => "socket_io_4",
            Self::Json => "json",
        }
    }
}

impl Session {
    /// Has this session observed from now on: from its beginning, or numbers will not add up.
    pub(crate) fn observed(mut self, observer: Observer) -> Self {
        self.observer = observer;
        self
    }

    pub(crate) fn span(&self) -> &Span {
        &self.observer.span
    }

    /// What carries the session, or carried it to its end.
    pub(crate) fn line(&self) -> Line {
        let transport = if self.state.is_on_socket() {
            "websocket"
        } else {
            "polling"
        };
        [self.wire.label(), transport]
    }

    /// Other namespaces are no peers of their own.
    pub(super) fn note_accepted(&self, presence: &Presence) {
        if presence.namespace.is_none() {
            self.observer.metrics.peer(self.line(), true);
        }
    }

    pub(super) fn note_left(&self, presence: &Presence, left: bool) {
        if left && presence.namespace.is_none() {
            self.observer.metrics.peer(self.line(), false);
        }
    }

    pub(super) fn note_queued(&mut self) {
        self.usage.delivered();
        self.observer.metrics.delivered();
        self.observer.metrics.waiting(self.outbox.cost());
    }

    /// So much was handed out to be written.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        self.usage.sent(bytes);
        self.observer.metrics.sent(bytes);
    }

    /// So much of the client was read.
    pub(crate) fn note_said(&mut self, events: usize, bytes: usize) {
        self.usage.said(events, bytes);
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// Before the websocket takes over.
    pub(super) fn note_upgraded(&self) {
        let Observer { metrics, span } = &self.observer;
        metrics.upgrade(Upgrade::Completed);
        let [wire, _] = self.line();
        let line = [wire, "websocket"];
        span.upgraded(line);
        if self.presences.main().is_some() {
            metrics.peer(self.line(), false);
            metrics.peer(line, true);
        }
    }

    /// Before the websocket that was to take over is forgotten, if there is one.
    pub(super) fn note_no_upgrade(&self, outcome: Upgrade) {
        if self.state.upgrade_by().is_some() {
            self.observer.metrics.upgrade(outcome);
        }
    }

    /// Before its peers are forgotten.
    pub(super) fn note_ended(&self, reason: CloseReason) {
        let Observer { metrics, span } = &self.observer;
        metrics.ended(reason);
        span.ended(reason);
        if self.presences.main().is_some() {
            metrics.peer(self.line(), false);
        }
    }
}
