//! How a session ends.

use super::presence::Presence;
use super::state::State;
use super::{Link, Session, Wire};
use crate::ending::CloseReason;
use crate::identity::Identity;
use crate::observe::{self, Upgrade};
use crate::wire::engine::Outgoing;
use crate::wire::socket;

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    /// As whom the client was connected, the peer in `/` first.
    pub(crate) peers: Vec<(Presence, Identity)>,
}

impl Session {
    /// Ends the session, once; what is said to the client follows from the reason.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.assembly = None;
        self.note_no_upgrade(Upgrade::Abandoned);
        if self.hold(reason) {
            return;
        }
        if self.is_away() && reason == CloseReason::SlowConsumer {
            self.observer
                .metrics
                .recovery(observe::Recovery::Overflowed);
        }
        match reason {
            CloseReason::ClientClosed
            | CloseReason::TransportLost
            | CloseReason::HeartbeatTimeout
            | CloseReason::SlowConsumer
            | CloseReason::Stalled => self.outbox.clear(),
            CloseReason::Kicked | CloseReason::Banned if self.wire != Wire::Json => {
                // Tells a Socket.IO client that the server means it, so that it stays away.
                for presence in self.presences.iter() {
                    let farewell = match &presence.namespace {
                        None => socket::DISCONNECTED,
                        Some(name) => socket::in_namespace(&socket::DISCONNECTED, name),
                    };
                    let farewell = Outgoing::Text(farewell);
                    let _ = self.outbox.push(farewell, self.limits.max_outbox);
                }
            }
            _ => {}
        }
        // Whoever knows the peer may keep the session for long.
        self.recovery = None;
        if self.is_between_polls() {
            self.outbox.clear();
        }
        self.state = State::Closed {
            reason,
            last: self.state.carrier(),
            reported: false,
        };
        self.stirred = true;
    }

    /// The websocket with that link is over, and with it the only way by which its session's last words
    /// could leave.
    pub(crate) fn forget_unsaid(&mut self, link: Link) {
        if let State::Closed { last, .. } = self.state
            && last == Some(link)
        {
            self.outbox.clear();
        }
    }

    /// Ends the session once its client can be told: at its next GET, if none is waiting. False: that
    /// is yet to come.
    pub(crate) fn close_once_heard(&mut self, reason: CloseReason) -> bool {
        let is_told = !self.is_between_polls();
        if let State::Polling(polling) = &mut self.state
            && !is_told
        {
            polling.leaving = Some(reason);
        } else {
            self.close(reason);
        }
        is_told
    }

    /// Whether it is about to end so.
    #[cfg(test)]
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(&self.state, State::Polling(polling) if polling.leaving.is_some())
    }

    /// Whether the session is over and nobody has been told.
    pub(crate) fn has_ending(&self) -> bool {
        matches!(
            self.state,
            State::Closed {
                reported: false,
                ..
            }
        )
    }

    /// The end of the session, reported once: why, and as which peers it was connected.
    pub(crate) fn take_ending(&mut self) -> Option<Ending> {
        match &mut self.state {
            State::Closed {
                reason, reported, ..
            } if !*reported => {
                *reported = true;
                let reason = *reason;
                self.note_ended(reason);
                Some(Ending {
                    reason,
                    peers: self.presences.take(),
                })
            }
            _ => None,
        }
    }
}
