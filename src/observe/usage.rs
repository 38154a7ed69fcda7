//! What has passed through a session, for whoever inspects it.

use std::ops::{AddAssign, Sub};

use serde::Serialize;

/// Counts since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Messages of the client's.
    pub(crate) events: u64,
    /// Bytes that it has sent.
    pub(crate) received: u64,
    /// Signals that were left for it.
    pub(crate) deliveries: u64,
    /// Bytes that it was given.
    pub(crate) sent: u64,
}

impl Usage {
    pub(crate) const IS_KEPT: bool = true;

    pub(crate) fn said(&mut self, events: usize, bytes: usize) {
        self.events += events as u64;
        self.received += bytes as u64;
    }

    pub(crate) fn delivered(&mut self) {
        self.deliveries += 1;
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.received += other.received;
        self.deliveries += other.deliveries;
        self.sent += other.sent;
    }
}

impl Sub for Usage {
    type Output = Self;

    /// What was added since then. Sums that were taken while sessions ended may seem to have shrunk.
    fn sub(self, before: Self) -> Self {
        Self {
            events: self.events.saturating_sub(before.events),
            received: self.received.saturating_sub(before.received),
            deliveries: self.deliveries.saturating_sub(before.deliveries),
            sent: self.sent.saturating_sub(before.sent),
        }
    }
}
