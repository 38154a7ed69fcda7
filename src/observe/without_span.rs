//! What takes the place of spans where nobody traces.

use super::{Handshake, Line};
use crate::ending::CloseReason;
use crate::error::Code;
use crate::id::{PeerId, RoomId};
use crate::identity::Identity;

#[derive(Clone, Debug, Default)]
pub(crate) struct Span;

/// Has a drop in name only.
pub(crate) struct Entered;

#[allow(clippy::unused_self)] // as with the feature
impl Span {
    #[inline(always)]
    pub(crate) fn open(_line: Line) -> Self {
        Self
    }
    #[inline(always)]
    pub(crate) fn enter(&self) -> Entered {
        Entered
    }
    #[inline(always)]
    pub(crate) fn around<F: Future>(&self, future: F) -> F {
        future
    }
    #[inline(always)]
    pub(crate) fn connected(&self, _peer: &PeerId, _identity: Option<&str>) {}
    #[inline(always)]
    pub(crate) fn upgraded(&self, _line: Line) {}
    #[inline(always)]
    pub(crate) fn joined(&self, _room: &RoomId) {}
    #[inline(always)]
    pub(crate) fn left(&self, _room: &RoomId) {}
    #[inline(always)]
    pub(crate) fn refused(&self, _code: Code) {}
    #[inline(always)]
    pub(crate) fn ended(&self, _reason: CloseReason) {}
}

#[inline(always)]
pub(crate) fn turned_away(_outcome: Handshake) {}
#[inline(always)]
pub(crate) fn shutdown_begun(_sessions: usize) {}
#[inline(always)]
pub(crate) fn shutdown_done(_open: usize) {}

#[derive(Debug, Default)]
pub(crate) struct Tracer;

#[allow(clippy::unused_self)] // as with the feature
impl Tracer {
    #[inline(always)]
    pub(crate) fn field(&self, _identity: &Identity) -> Option<String> {
        None
    }
}
