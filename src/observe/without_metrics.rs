//! What takes the place of the numbers where nobody counts.

use std::time::{Duration, Instant};

use super::{Handshake, Line, Said, Upgrade};
use crate::ending::CloseReason;
use crate::error::Code;

#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics;

#[allow(clippy::unused_self)] // as with the feature
impl Metrics {
    pub(crate) fn register() -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn peer(&self, _line: Line, _came: bool) {}
    #[inline(always)]
    pub(crate) fn room_opened(&self) {}
    #[inline(always)]
    pub(crate) fn room_closed(&self) {}
    #[inline(always)]
    pub(crate) fn room_joined(&self, _members: usize) {}
    #[inline(always)]
    pub(crate) fn handshake(&self, _outcome: Handshake) {}
    #[inline(always)]
    pub(crate) fn ended(&self, _reason: CloseReason) {}
    #[inline(always)]
    pub(crate) fn event(&self, _said: Said) {}
    #[inline(always)]
    pub(crate) fn refused(&self, _code: Code) {}
    #[inline(always)]
    pub(crate) fn upgrade(&self, _outcome: Upgrade) {}
    #[inline(always)]
    pub(crate) fn delivered(&self) {}
    #[inline(always)]
    pub(crate) fn waiting(&self, _bytes: usize) {}
    #[inline(always)]
    pub(crate) fn received(&self, _bytes: usize) {}
    #[inline(always)]
    pub(crate) fn sent(&self, _bytes: usize) {}
    #[inline(always)]
    pub(crate) fn heartbeat(&self, _took: Option<Duration>) {}
}

#[derive(Debug, Default)]
pub(crate) struct Stopwatch;

#[allow(clippy::unused_self)] // as with the feature
impl Stopwatch {
    #[inline(always)]
    pub(crate) fn start(&mut self, _now: Instant) {}

    #[inline(always)]
    pub(crate) fn stop(&mut self, _now: Instant) -> Option<Duration> {
        None
    }
}
