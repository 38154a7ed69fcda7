//! What is due of a session, and when.

use std::time::Instant;

use super::heartbeat::Beat;
use super::state::State;
use super::{Link, Session, Wire};
use crate::ending::CloseReason;
use crate::observe::Upgrade;
use crate::wire::engine;

impl Session {
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed { .. } => return None,
            State::Away { until, .. } => return until,
            State::Polling(_) | State::Socket(_) => {}
        }
        [
            self.connect_by,
            self.state.upgrade_by(),
            self.stalled_by,
            self.rest_by.as_deref().copied(),
            self.credentials_due.as_deref().copied(),
        ]
        .into_iter()
        .flatten()
        .chain([self.heartbeat.due()])
        .min()
    }

    /// The client was given credentials that it needs anew at that time.
    pub(crate) fn gave_credentials(&mut self, refresh: Option<Instant>) {
        self.credentials_due = refresh.map(Box::new);
    }

    /// Whether the client needs new credentials.
    pub(crate) fn needs_credentials(&self, now: Instant) -> bool {
        !self.is_closed()
            && !self.is_away()
            && self
                .credentials_due
                .as_ref()
                .is_some_and(|due| **due <= now)
    }

    /// Whether the client has yet to become a peer, and ends if it does not in time.
    pub(crate) fn must_connect(&self) -> bool {
        self.connect_by.is_some()
    }

    /// Nothing of the client is read until [`read_again`](Self::read_again): the application decides
    /// about what it has asked for, however long that takes.
    pub(crate) fn leave_unread(&mut self) {
        self.unread = true;
    }

    pub(crate) fn read_again(&mut self, now: Instant) {
        self.unread = false;
        if let Some(by) = &mut self.rest_by {
            **by = now + self.limits.body_timeout;
        }
        self.heartbeat.excuse(&self.limits, now);
    }

    /// A client on long-polling that lives, but does not ask for what waits for it, has as long for that
    /// as for a heartbeat.
    fn expect_poll(&mut self, now: Instant) {
        if !self.is_between_polls() {
            return;
        }
        if self.outbox.is_empty() {
            self.stalled_by = None;
        } else if self.stalled_by.is_none() {
            self.stalled_by = Some(now + self.limits.ping_interval + self.limits.ping_timeout);
        }
    }

    /// All is read that has come by the websocket that carries the session: whether the last message
    /// `is_cut`, and whether messages ended since the last time. The rest has the time of a POST's body.
    /// Returns until when. A websocket that does not carry it yet has the time of an upgrade.
    pub(crate) fn expect_rest(
        &mut self,
        link: Link,
        is_cut: bool,
        has_ended: bool,
        now: Instant,
    ) -> Option<Instant> {
        if !self.state.carries(link) {
            return None;
        }
        if !is_cut && self.assembly.is_none() {
            self.rest_by = None;
        } else if has_ended || self.rest_by.is_none() {
            self.rest_by = Some(Box::new(now + self.limits.body_timeout));
        }
        self.rest_by.as_deref().copied()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        if self.is_away() {
            return self.check_absence(now);
        }
        self.outbox.rest();
        if self.state.upgrade_by().is_some_and(|by| by <= now) {
            self.note_no_upgrade(Upgrade::TimedOut);
            self.state.drop_probe();
            self.stirred = true;
        }
        if self.connect_by.is_some_and(|by| by <= now) {
            return self.close(CloseReason::ConnectTimeout);
        }
        if self.stalled_by.is_some_and(|by| by <= now) {
            return self.close(CloseReason::Stalled);
        }
        if self.rest_by.as_ref().is_some_and(|by| **by <= now) && !self.unread {
            return self.close(CloseReason::BodyTimeout);
        }
        self.expect_poll(now);
        if self.unread {
            self.heartbeat.excuse(&self.limits, now);
        }
        let beat = self.heartbeat.beat(&self.limits, now);
        if let (Beat::Ping, Some(meter)) = (beat, &self.meter) {
            // Its answer waits like all that the client says.
            self.heartbeat.postpone(meter.pause_left(now));
        }
        match beat {
            Beat::Wait => {}
            Beat::Dead => self.close(CloseReason::HeartbeatTimeout),
            Beat::Ping if self.wire == Wire::Json => {
                self.ping_due = true;
                self.stirred = true;
            }
            Beat::Ping => {
                if let Some(recovery) = &mut self.recovery {
                    recovery.pings();
                }
                self.push(engine::PING);
            }
        }
    }
}
