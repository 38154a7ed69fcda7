//! What can go wrong, and how a connection can end.

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
}

impl Code {
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
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CloseReason {
    /// The client said so: a close packet or a close frame.
    ClientClosed,
    /// The connection broke, or the client cut its waiting poll.
    TransportLost,
    /// The client was silent for longer than the heartbeat allows.
    HeartbeatTimeout,
    /// The client never sent the CONNECT that its protocol asks for.
    ConnectTimeout,
    /// Two polls of one session at once.
    OverlappingPolls,
    /// Bytes that are not the protocol.
    ProtocolError,
    /// A message over the maximum.
    MessageTooLarge,
    /// A binary frame on the plain JSON wire.
    BinaryNotAccepted,
    /// The client does not take its mail: its outbox is full.
    SlowConsumer,
    /// The application disconnected it.
    Kicked,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientClosed => "closed by the client",
            Self::TransportLost => "connection lost",
            Self::HeartbeatTimeout => "heartbeat timeout",
            Self::ConnectTimeout => "connect timeout",
            Self::OverlappingPolls => "overlapping polls",
            Self::ProtocolError => "protocol error",
            Self::MessageTooLarge => "message too large",
            Self::BinaryNotAccepted => "this wire takes text only",
            Self::SlowConsumer => "too slow to take its messages",
            Self::Kicked => "disconnected by the server",
        })
    }
}

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
