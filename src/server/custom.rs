//! The application's say on events of types that the protocol does not know.

use std::fmt;

use super::Peer;
use crate::error::Code;
use crate::signal::Signal;

/// An event whose type is none of the protocol's five.
#[derive(Debug)]
#[non_exhaustive]
pub struct CustomEvent<'a> {
    /// Its `type`, 1 to 256 bytes.
    pub kind: &'a str,
    /// The id of the room that it names, 1 to 256 bytes. The sender need not be in it:
    /// see [`is_member`](Self::is_member).
    pub room: &'a str,
    /// Whether the sender is in that room.
    pub is_member: bool,
    /// The event as it would be relayed, the sender's id as its caller.
    pub signal: &'a Signal,
}

/// What becomes of a custom event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It goes to the others in its room, as without a hook: the sender must be in it.
    Relay,
    /// It goes nowhere; the sender is acked as if to nobody.
    Drop,
    /// It goes nowhere; the sender is told that code, such as [`Code::Refused`] or
    /// [`Code::RateLimited`].
    Refuse(Code),
}

pub(super) struct CustomHook(Box<Judge>);

type Judge = dyn Fn(&Peer, &CustomEvent<'_>) -> Verdict + Send + Sync;

impl CustomHook {
    pub(super) fn new(
        hook: impl Fn(&Peer, &CustomEvent<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(hook))
    }

    pub(super) fn judge(&self, peer: &Peer, event: &CustomEvent<'_>) -> Verdict {
        (self.0)(peer, event)
    }
}

impl fmt::Debug for CustomHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomHook(..)")
    }
}
