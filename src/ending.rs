//! How a connection can end.

use std::fmt;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client said so: a close packet, a close frame, or that it leaves its namespace.
    ClientClosed,
    /// The connection broke, or the client cut its waiting poll.
    TransportLost,
    /// The client was silent for longer than the heartbeat allows.
    HeartbeatTimeout,
    /// The client did not become a peer in time: it never sent the CONNECT that its protocol asks
    /// for, or was not authorized.
    ConnectTimeout,
    /// The client had two polls of one session at once.
    OverlappingPolls,
    /// The client sent bytes that are not the protocol.
    ProtocolError,
    /// The client sent a message over the maximum.
    MessageTooLarge,
    /// The client sent a binary frame on the plain JSON wire.
    BinaryNotAccepted,
    /// The client stayed over its rate for longer than it may.
    RateLimited,
    /// The client began a POST, or a message, and did not end it in time.
    BodyTimeout,
    /// The client does not take its messages: its outbox is full.
    SlowConsumer,
    /// The client takes no bytes: what was written to its websocket has stood there for too long, or it
    /// has sent no poll for what waits for it.
    Stalled,
    /// The application disconnected it.
    Kicked,
    /// The application banned the address that it comes from.
    Banned,
    /// The server was shut down: see [`PeerData::shutdown`](crate::PeerData::shutdown).
    ShuttingDown,
}

#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
impl CloseReason {
    /// Each at its own place.
    pub(crate) const ALL: [Self; Self::ShuttingDown as usize + 1] = [
        Self::ClientClosed,
        Self::TransportLost,
        Self::HeartbeatTimeout,
        Self::ConnectTimeout,
        Self::OverlappingPolls,
        Self::ProtocolError,
        Self::MessageTooLarge,
        Self::BinaryNotAccepted,
        Self::RateLimited,
        Self::BodyTimeout,
        Self::SlowConsumer,
        Self::Stalled,
        Self::Kicked,
        Self::Banned,
        Self::ShuttingDown,
    ];

    /// The name that programs know it by.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::TransportLost => "transport_lost",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::OverlappingPolls => "overlapping_polls",
            Self::ProtocolError => "protocol_error",
            Self::MessageTooLarge => "message_too_large",
            Self::BinaryNotAccepted => "binary_not_accepted",
            Self::RateLimited => "rate_limited",
            Self::BodyTimeout => "body_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::Stalled => "stalled",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::ShuttingDown => "shutting_down",
        }
    }
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
            Self::RateLimited => "too much in too little time",
            Self::BodyTimeout => "the message did not come in time",
            Self::SlowConsumer => "too slow to take its messages",
            Self::Stalled => "takes no bytes",
            Self::Kicked => "disconnected by the server",
            Self::Banned => "banned by the server",
            Self::ShuttingDown => "the server is shutting down",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_at_its_own_place() {
        let places = CloseReason::ALL.map(|reason| reason as usize);
        assert!(places.into_iter().eq(0..places.len()));
    }
}
