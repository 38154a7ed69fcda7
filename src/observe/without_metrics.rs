//! What takes the place of the numbers where nobody counts.

use std::time::{Duration, Instant};

use super::{Handshake, Line, Recovery, Said, Upgrade};
use crate::ending::CloseReason;
use crate::error::Code;

#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {}

#[allow(clippy::unused_self)] // as with the feature
impl Metrics {
    pub(crate) fn register() -> Self {
        Self {}
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {}
    }

    pub(crate) fn peer(&self, _line: Line, _came: bool) {}
    pub(crate) fn room_opened(&self) {}
    pub(crate) fn room_closed(&self) {}
    pub(crate) fn room_joined(&self, _members: usize) {}
    pub(crate) fn handshake(&self, _outcome: Handshake) {}
    pub(crate) fn ended(&self, _reason: CloseReason) {}
    pub(crate) fn event(&self, _said: Said) {}
    pub(crate) fn refused(&self, _code: Code) {}
    pub(crate) fn upgrade(&self, _outcome: Upgrade) {}
    pub(crate) fn recovery(&self, _outcome: Recovery) {}
    pub(crate) fn delivered(&self) {}
    pub(crate) fn waiting(&self, _bytes: usize) {}
    pub(crate) fn received(&self, _bytes: usize) {}
    pub(crate) fn sent(&self, _bytes: usize) {}
    pub(crate) fn heartbeat(&self, _took: Option<Duration>) {}
}

pub(crate) struct Tally {}

#[derive(Debug, Default)]
pub(crate) struct Stopwatch {}

#[allow(clippy::unused_self)] // as with the feature
impl Stopwatch {
    pub(crate) fn start(&mut self, _now: Instant) {}

    pub(crate) fn stop(&mut self, _now: Instant) -> Option<Duration> {
        None
    }
}
