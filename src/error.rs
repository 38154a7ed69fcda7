//! What can go wrong, and in which words a client is told.

use std::borrow::Cow;
use std::fmt;

/// Why the server refused an event: the `code` of an `ERROR` signal and of a failed ack.
///
/// The list is closed: a client can rely on seeing no other word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// `malformed`: the event is not of the shape `{type, caller, callee, room, payload}`.
    Malformed,
    /// `forbidden_type`: that `type` would make JavaScript clients misbehave.
    ForbiddenType,
    /// `not_in_room`: the sender is not in the room that the event names.
    NotInRoom,
    /// `no_such_peer`: the callee does not exist, or is not in that room.
    NoSuchPeer,
    /// `too_large`: the event with its attachments exceeds the maximum message.
    TooLarge,
    /// `rate_limited`: the sender says too much in too little time.
    RateLimited,
    /// `room_full`: the room takes no more peers.
    RoomFull,
    /// `refused`: the application or a rule of the server says no.
    Refused,
    /// `busy`: the server or the receiver cannot take it now.
    Busy,
    /// `unauthorized`: the client did not show who it is, or not convincingly.
    Unauthorized,
}

impl Code {
    /// Each at its own place.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) const ALL: [Self; Self::Unauthorized as usize + 1] = [
        Self::Malformed,
        Self::ForbiddenType,
        Self::NotInRoom,
        Self::NoSuchPeer,
        Self::TooLarge,
        Self::RateLimited,
        Self::RoomFull,
        Self::Refused,
        Self::Busy,
        Self::Unauthorized,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ForbiddenType => "forbidden_type",
            Self::NotInRoom => "not_in_room",
            Self::NoSuchPeer => "no_such_peer",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::RoomFull => "room_full",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Unauthorized => "unauthorized",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The application's no, to a client or to what it asks for.
///
/// The message is for the developer of the client, and is sent to whoever was refused: it should
/// hold nothing secret. Where a websocket is closed with it, only its first 123 bytes fit
/// (RFC 6455, 5.5).
///
/// ```
/// use peer_data_server::{Code, Refused};
///
/// let refused = Refused::unauthorized("the token has expired");
/// assert_eq!(refused.code(), Code::Unauthorized);
/// assert_eq!(refused.to_string(), "the token has expired");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    code: Code,
    message: Cow<'static, str>,
}

impl Refused {
    /// A refusal with a code and one line of text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// The client did not show who it is: HTTP 401, close code 4401, `unauthorized`.
    #[must_use]
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unauthorized, message)
    }

    /// The client may not do that, whoever it is: HTTP 403, close code 4403, `refused`.
    #[must_use]
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Refused, message)
    }

    /// The code that the client is told.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text that the client is told.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status of an HTTP answer that says the same.
    pub(crate) const fn status(&self) -> u16 {
        match self.code {
            Code::Unauthorized => 401,
            Code::RateLimited => 429,
            Code::Busy | Code::RoomFull => 503,
            _ => 403,
        }
    }

    /// The code of a close frame that says the same: those of 4000 and above are the application's
    /// own (RFC 6455, 7.4.2), 1013 asks to come again later.
    pub(crate) const fn close_code(&self) -> u16 {
        match self.status() {
            503 => 1013,
            status => 4000 + status,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

/// A setting that cannot be, or a signal that cannot be made. The text names which and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    subject: Cow<'static, str>,
    problem: String,
}

impl Error {
    pub(crate) fn new(subject: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            problem: problem.into(),
        }
    }

    /// The same problem under the name by which the user knows its subject.
    pub(crate) fn about(self, subject: &'static str) -> Self {
        Self {
            subject: subject.into(),
            ..self
        }
    }

    /// What the error is about: the name of a setting or of an environment variable.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_at_its_own_place() {
        let places = Code::ALL.map(|code| code as usize);
        assert!(places.into_iter().eq(0..places.len()));
    }
}
