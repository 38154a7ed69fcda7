//! What is due of a session, and when.

use std::time::Instant;

use super::Session;
use super::Wire;
use super::heartbeat::Beat;
use crate::ending::CloseReason;
use crate::observe::Upgrade;
use crate::wire::engine;

impl Session {
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        [
            self.connect_by,
            self.state.upgrade_by(),
            self.stalled_by,
            self.credentials_due,
        ]
        .into_iter()
        .flatten()
        .chain([self.heartbeat.due()])
        .min()
    }

    /// The client was given credentials that it needs anew at that time.
    pub(crate) fn gave_credentials(&mut self, refresh: Option<Instant>) {
        self.credentials_due = refresh;
    }

    /// Whether the client needs new credentials.
    pub(crate) fn needs_credentials(&self, now: Instant) -> bool {
        !self.is_closed() && self.credentials_due.is_some_and(|due| due <= now)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed() {
            return;
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
            Beat::Ping => self.push(engine::PING),
        }
    }
}
