//! Every bound and deadline of the server, each with its default, unit and reason.

use std::time::Duration;

/// What a client may use, and how long things may take.
///
/// Set through [`Builder`](crate::Builder); the defaults suit a busy, honest application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Time between two heartbeats. 25 s: what Engine.IO clients are used to, and short enough to
    /// keep the mappings of home routers and the idle timers of proxies (often 60 s) alive.
    pub ping_interval: Duration,
    /// How long an answer to a heartbeat may take. 20 s: what Engine.IO clients are used to.
    pub ping_timeout: Duration,
    /// How long a websocket may take to replace long-polling. 10 s, as the reference has it.
    pub upgrade_timeout: Duration,
    /// How long a Socket.IO 3 or 4 client may take to ask for its namespace. 10 s: several round
    /// trips on a bad mobile network.
    pub connect_timeout: Duration,
    /// The longest message in bytes: a websocket message, a polling body, or an event together
    /// with its attachments. 1,000,000: the reference's own; a session description has a few
    /// thousand.
    pub max_message: usize,
    /// Binary attachments of one event. 10, as Socket.IO servers have it.
    pub max_attachments: usize,
    /// Fragments of one websocket message. 4,096: no client sends more, and each one costs time.
    pub max_fragments: usize,
    /// Bytes that may wait for one peer, each waiting message counted with the memory that it
    /// needs besides its text; one message always may. 4 MiB: at least two messages of the
    /// maximum size.
    pub max_outbox: usize,
    /// How long the application may take to decide whether a peer may join a room. 10 s: the peer
    /// waits meanwhile, and must not die of it.
    pub admit_timeout: Duration,
    /// Rooms that one peer may be in at a time. 10,000: more than any application was seen to
    /// need, and few enough that a departure is told within milliseconds.
    pub max_rooms_per_peer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            max_message: 1_000_000,
            max_attachments: 10,
            max_fragments: 4_096,
            max_outbox: 4 << 20,
            admit_timeout: Duration::from_secs(10),
            max_rooms_per_peer: 10_000,
        }
    }
}
