//! Every bound and deadline of the server, each with its default, unit and reason.

use std::time::Duration;

/// Joins of one peer that are timed until the first offer, with the feature `metrics`. 16: a peer
/// that comes into more rooms at once sets up no calls in all of them. More are not timed.
#[cfg(feature = "metrics")]
pub(crate) const MAX_TIMED_JOINS: usize = 16;

/// Offers of one peer that are timed until the answer and the first candidate, with the feature
/// `metrics`. 64: more than any mesh of calls can bear; 4 kB at most for a peer. More are not timed.
#[cfg(feature = "metrics")]
pub(crate) const MAX_TIMED_OFFERS: usize = 64;

/// Offers of one peer that are shown by the inspector. 256: a mesh of so many is beyond any browser.
/// 20 kB at most for a peer; one more, and the oldest is not shown.
#[cfg(feature = "inspector")]
pub(crate) const MAX_PAIRS: usize = 256;

/// Refusals that the inspector remembers, and as many endings. 100: what a page can show. Each is
/// less than a kilobyte.
#[cfg(feature = "inspector")]
pub(crate) const MAX_RECENT: usize = 100;

/// How many times the inspector remembers how much there was to do, 2 s apart. 150: five minutes.
#[cfg(feature = "inspector")]
pub(crate) const MAX_SAMPLES: usize = 150;

/// For how many samples whoever has looked at lists of the inspector is taken to look on. 15: half a
/// minute. Of each session some 100 bytes are kept for that long, and nothing when nobody looks.
#[cfg(feature = "inspector")]
pub(crate) const LOOK_SAMPLES: usize = 15;

/// After so long an offer counts as unanswered, with the feature `metrics`. 60 s: the user has given
/// up long before.
#[cfg(feature = "metrics")]
pub(crate) const SETUP_PATIENCE: Duration = Duration::from_secs(60);

/// What a client may use, and how long things may take.
///
/// Set one by one through [`Builder`](crate::Builder), or as a whole by
/// [`Builder::limits`](crate::Builder::limits). The defaults suit a busy, honest application:
/// nothing is counted per address, and nobody is slowed down. [`strict`](Self::strict) is the set
/// for a server on the open internet. What a client is told at each bound stands there as well.
///
/// ```
/// use peer_data_server::{Limits, PeerData};
///
/// let mut limits = Limits::strict();
/// limits.max_sessions_per_address = 1_000; // a school behind one address
/// let server = PeerData::builder().limits(limits).build()?;
/// assert_eq!(server.limits().max_sessions_per_address, 1_000);
/// # Ok::<(), peer_data_server::Error>(())
/// ```
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
    /// How long the body of a POST may take to come, or a message over a websocket, or the next
    /// attachment of an event. 30 s: a maximum message at 33 kB a second.
    /// Then 408, or close code 1008, and the session ends: some of what its client said is lost.
    pub body_timeout: Duration,
    /// How long a websocket may take no bytes while there are some for it. 20 s, as long as an
    /// answer to a heartbeat may take. Then the session ends, and the connection is cut.
    pub write_timeout: Duration,
    /// How long the application may think about whether a peer may join. 10 s: an answer that
    /// takes longer comes to nobody's use. Then the peer is told `busy`.
    pub admit_timeout: Duration,
    /// The longest message in bytes: a websocket message, a polling body, or an event together
    /// with its attachments. 1,000,000: the reference's own; a session description has a few
    /// thousand. Over it: 413, close code 1009, or `too_large`.
    pub max_message: usize,
    /// Binary attachments of one event. 10, as Socket.IO servers have it.
    pub max_attachments: usize,
    /// Fragments of one websocket message. 4,096: no client sends more, and each one costs time.
    pub max_fragments: usize,
    /// Packets of one polling body. 10,000: as many as an honest client was seen to gather, ten
    /// times over. Over it: 413, and nothing in the body is acted on.
    pub max_packets: usize,
    /// Bytes of the id of a room or of a callee, and of a `type`, 20 to 256. 256: room for a URL
    /// or a long hash. Over it: `malformed`.
    pub max_id: usize,
    /// Bytes of the query and the headers that are kept of the request that opens a session, if a
    /// hook wants to see them. 16 KiB, what HTTP servers commonly take. Over it: 431. As much may the
    /// message have, or the body of a POST, in which a Socket.IO 3 or 4 client says who it is, and 1 KiB
    /// at least; over that 413, or close code 1009.
    pub max_handshake: usize,
    /// Bytes that may wait for one peer, each waiting message counted with the memory that it
    /// needs besides its text; one message always may. 4 MiB: at least two messages of the
    /// maximum size.
    pub max_outbox: usize,
    /// Bytes that may wait for all peers together beyond 16 KiB for each; what waits for several is
    /// counted for each of them. 1 GiB: 256 peers with a full outbox, while the signals of a call seldom
    /// fill those 16 KiB. Over it, whoever is to have more is taken for one that is too slow.
    pub max_outbox_total: usize,
    /// Rooms that one peer may be in at a time. 10,000: more than any application was seen to
    /// need, and few enough that a departure is told within milliseconds. Over it: `busy`.
    pub max_rooms_per_peer: usize,
    /// Places in rooms that all peers may have together. 1,000,000: ten rooms for each of the sessions
    /// that there may be; rooms of one take half a gigabyte then. Over it: `busy`.
    pub max_memberships: usize,
    /// Peers that may be in one room at a time. 10,000: a full room that talks is already more
    /// than most machines can do. Over it: `room_full`.
    pub max_peers_per_room: usize,
    /// Sessions that may be open at a time, connected or connecting. 100,000: less than three gigabytes,
    /// even if all of them leave as much waiting as they may.
    /// Over it: 503 with `Retry-After`.
    pub max_sessions: usize,
    /// Of these, sessions whose clients are not peers yet. 20,000: what comes back within seconds
    /// when a busy server was restarted. Over it: 503 with `Retry-After`.
    pub max_handshakes: usize,
    /// Sessions that may be open at a time from one address; for IPv6, from one /64. 0: as many as
    /// the server takes, since thousands may share an address. Over it: 429 with `Retry-After`.
    /// A client whose address nobody knows is not counted.
    pub max_sessions_per_address: usize,
    /// Of these, sessions whose clients are not peers yet. 0: as many as the server takes.
    pub max_handshakes_per_address: usize,
    /// Messages that a client may send per second in the long run: websocket messages, control
    /// frames, and packets of a polling body. 0: as many as it likes, as a busy application knows
    /// best what its own clients do.
    ///
    /// Over its rate a client is read more slowly, and a POST of it answered later; nothing is
    /// lost. Only if it stays over for [`rate_patience`](Self::rate_patience) it is told 429 with
    /// `Retry-After`, or its websocket is closed with 4429.
    pub events_per_second: usize,
    /// Messages that a client may send at once before
    /// [`events_per_second`](Self::events_per_second) counts. 0: those of one second.
    pub event_burst: usize,
    /// Bytes that a client may send per second in the long run, over a websocket or in the bodies
    /// of its POSTs. 0: as many as it likes. Over it, as for
    /// [`events_per_second`](Self::events_per_second).
    pub bytes_per_second: usize,
    /// Bytes that a client may send at once before [`bytes_per_second`](Self::bytes_per_second)
    /// counts. 0: those of one second.
    pub byte_burst: usize,
    /// How long a client may stay over its rate: from when it is first made to wait until half of
    /// its burst is free again. One that still sends too much after that is disconnected. 30 s:
    /// a page that loses itself in a loop for a moment survives. No single wait is longer.
    pub rate_patience: Duration,
    /// How long a client that has lost its connection, and is not one of Socket.IO 2, may take to come
    /// back as the same peer. 0: it may not, and whoever loses its connection has left. 30 s is what
    /// suits a call: a phone that changes networks, and short enough that the others need not wait for
    /// who is gone.
    pub recovery: Duration,
    /// Bytes of signals that are kept for one peer that may come back, bookkeeping counted. 256 KiB:
    /// the set-up of a call with dozens. Never more than half of [`max_outbox`](Self::max_outbox). Over
    /// it, a peer that is away has left.
    pub max_recovery: usize,
    /// Bytes of signals that are kept for all peers that may come back. 64 MiB: what 256 peers may
    /// fill at a time; most have little. Over it, as for [`max_recovery`](Self::max_recovery).
    pub max_recovery_total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(20),
            admit_timeout: Duration::from_secs(10),
            max_message: 1_000_000,
            max_attachments: 10,
            max_fragments: 4_096,
            max_packets: 10_000,
            max_id: 256,
            max_handshake: 16 << 10,
            max_outbox: 4 << 20,
            max_outbox_total: 1 << 30,
            max_rooms_per_peer: 10_000,
            max_memberships: 1_000_000,
            max_peers_per_room: 10_000,
            max_sessions: 100_000,
            max_handshakes: 20_000,
            max_sessions_per_address: 0,
            max_handshakes_per_address: 0,
            events_per_second: 0,
            event_burst: 0,
            bytes_per_second: 0,
            byte_burst: 0,
            rate_patience: Duration::from_secs(30),
            recovery: Duration::ZERO,
            max_recovery: 256 << 10,
            max_recovery_total: 64 << 20,
        }
    }
}

impl Limits {
    /// The set for a server on the open internet: wide enough for calls of some dozens, and narrow
    /// enough that one client, or one address, cannot take much from all others.
    ///
    /// | limit | value | reason |
    /// |---|---|---|
    /// | `ping_interval`, `ping_timeout` | 25 s, 20 s | as by default: clients are used to them |
    /// | `upgrade_timeout` | 10 s | as by default |
    /// | `connect_timeout` | 5 s | some round trips; who does not ask holds a place for nothing |
    /// | `body_timeout` | 10 s | a maximum message at 13 kB a second |
    /// | `write_timeout` | 10 s | a phone between two networks; then it has to come back anyway |
    /// | `admit_timeout` | 5 s | as long as a client may take to connect |
    /// | `max_message` | 128 KiB | a session description with dozens of streams |
    /// | `max_attachments` | 10 | as by default |
    /// | `max_fragments` | 256 | pieces of 512 bytes |
    /// | `max_packets` | 1,000 | as many as may come at once |
    /// | `max_id` | 128 | a SHA-512 in hexadecimal |
    /// | `max_handshake` | 8 KiB | a large token |
    /// | `max_outbox` | 1 MiB | a whole call's set-up for one who is away for seconds |
    /// | `max_outbox_total` | 256 MiB | as by default, 256 full ones |
    /// | `max_rooms_per_peer` | 100 | a peer tells all of them when it leaves |
    /// | `max_memberships` | 500,000 | ten rooms for each session |
    /// | `max_peers_per_room` | 1,000 | each event to a room is as many sends |
    /// | `max_sessions` | 50,000 | about a gigabyte, if all of them leave as much waiting as they may |
    /// | `max_handshakes` | 5,000 | all clients within some seconds after a restart |
    /// | `max_sessions_per_address` | 256 | an office or a school class behind one address |
    /// | `max_handshakes_per_address` | 64 | a fourth of them at the same moment |
    /// | `events_per_second`, `event_burst` | 100, 1,000 | 40 peers' set-up at once, candidates included |
    /// | `bytes_per_second`, `byte_burst` | 64 KiB, 1 MiB | the same set-up, at 1 kB an event |
    /// | `rate_patience` | 10 s | long enough to be an accident |
    /// | `recovery`, `max_recovery`, `max_recovery_total` | off, 256 KiB, 64 MiB | as by default |
    ///
    /// ```
    /// use peer_data_server::{Limits, PeerData};
    ///
    /// let server = PeerData::builder().limits(Limits::strict()).build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    #[must_use]
    pub fn strict() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            admit_timeout: Duration::from_secs(5),
            max_message: 128 << 10,
            max_attachments: 10,
            max_fragments: 256,
            max_packets: 1_000,
            max_id: 128,
            max_handshake: 8 << 10,
            max_outbox: 1 << 20,
            max_outbox_total: 256 << 20,
            max_rooms_per_peer: 100,
            max_memberships: 500_000,
            max_peers_per_room: 1_000,
            max_sessions: 50_000,
            max_handshakes: 5_000,
            max_sessions_per_address: 256,
            max_handshakes_per_address: 64,
            events_per_second: 100,
            event_burst: 1_000,
            bytes_per_second: 64 << 10,
            byte_burst: 1 << 20,
            rate_patience: Duration::from_secs(10),
            recovery: Duration::ZERO,
            max_recovery: 256 << 10,
            max_recovery_total: 64 << 20,
        }
    }

    /// The longest message of a client, which may have yet to ask to connect.
    pub(crate) fn max_message_of(&self, must_connect: bool) -> usize {
        if must_connect {
            self.max_message.min(self.max_handshake.max(MIN_AUTH))
        } else {
            self.max_message
        }
    }

    /// Whether what a client sends is to be counted at all.
    pub(crate) const fn has_rates(&self) -> bool {
        self.events_per_second > 0 || self.bytes_per_second > 0
    }
}

/// Bytes of the message with which a client asks to connect that are always taken, little as
/// [`Limits::max_handshake`] may be. 1 KiB: a token.
const MIN_AUTH: usize = 1 << 10;

/// Bytes that may wait for each peer before [`Limits::max_outbox_total`] counts, and the steps in which it
/// does then. 16 KiB: the set-up of a call and more, and little enough for each session that there may be.
pub(crate) const OUTBOX_OWN_BYTES: usize = 16 << 10;

/// How long a client that has closed its session is waited for, if no GET of its waits: it may have sent
/// one just before, and both are on their way. 100 ms: so long the reference lets a GET wait that meets
/// an upgrade. It is one thread itself, and requests do not overtake each other there.
pub(crate) const CROSSING_TIME: Duration = Duration::from_millis(100);

/// How long a client on long-polling that is between two polls is waited for at a shutdown, so that it
/// can be told. 2 s: a line that takes longer for a request has other troubles.
pub(crate) const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Bytes of parcels from other nodes that may wait for this one to get round to them. 16 MiB: many
/// seconds of a busy bus. Over it parcels are dropped, and the rosters asked for again.
pub(crate) const CLUSTER_INBOX_BYTES: usize = 16 << 20;

/// What a waiting parcel costs besides its bytes: its place in a queue and its buffer's
/// bookkeeping.
pub(crate) const CLUSTER_ITEM_OVERHEAD: usize = 64;

/// How often a node says that it lives. 5 s: three of them may be lost before it is taken for dead.
pub(crate) const CLUSTER_BEAT: Duration = Duration::from_secs(5);

/// For how long a node may be silent before its peers are reported gone.
pub(crate) const CLUSTER_DEATH: Duration = Duration::from_secs(15);

/// Other nodes that one node knows. 1,024: each hears every other one's beat.
pub(crate) const CLUSTER_NODES: usize = 1_024;

/// The longest piece of a parcel. 256 KiB: what is long does not keep others waiting, and all buses
/// take it.
pub(crate) const CLUSTER_PIECE_BYTES: usize = 256 << 10;

/// Bytes of parcels of which pieces are still missing. 64 MiB: sixty-four messages of the maximum
/// size at a time. Over it the one that has waited longest is dropped.
pub(crate) const CLUSTER_PIECES_BYTES: usize = 64 << 20;

/// Bytes of what members of one room at one other node have said that may wait for news of who they
/// are. 1 MiB and a message: what is said within a round trip. Over it, dropped.
pub(crate) const CLUSTER_HELD_BYTES: usize = 1 << 20;

/// How long that may wait.
pub(crate) const CLUSTER_HELD_TIME: Duration = Duration::from_secs(5);

/// Bytes of what members of a room have said while nobody else can hear it yet, because the bus has
/// not confirmed the subscription. 256 KiB. Over it, of who came only that they came is kept, and
/// nothing of what they said.
pub(crate) const CLUSTER_UNSAID_BYTES: usize = 256 << 10;

/// Bytes of that in all rooms. 64 MiB: four times what may wait to be sent on a bus. Over it as above.
pub(crate) const CLUSTER_ALL_UNSAID_BYTES: usize = 64 << 20;

/// How long the first member of a room on a node waits for its ack, and with it for the others'
/// rosters, once these are asked; twice that in all. 250 ms: many round trips within a data centre, and
/// not yet a pause to a user.
pub(crate) const CLUSTER_ROSTER_PATIENCE: Duration = Duration::from_millis(250);

/// Rooms without a member at this node that others are still to be told of: what is left to say when
/// the bus was away. 50,000, of some 300 bytes each. Of one too many, others ask by themselves after a
/// minute and a half.
pub(crate) const CLUSTER_EMPTIED_ROOMS: usize = 50_000;

/// Requests to other nodes that may wait for an answer, and requests of other nodes that may be
/// dealt with, at a time. 20,000: as many clients as wait at a poll behind a proxy that sends them
/// anywhere. Over it: 503, or `busy`.
pub(crate) const CLUSTER_REQUESTS: usize = 20_000;

/// Bytes of the bodies of requests of other nodes that are dealt with at a time, and of those for
/// sessions that other nodes know, while they come. 64 MiB: sixty-four of the maximum size. Over it: 503.
pub(crate) const CLUSTER_REQUEST_BYTES: usize = 64 << 20;

/// Bytes of the body of a POST that come before the node is asked whose session it names. 16 KiB: more
/// than most, so that most need not wait for that.
pub(crate) const CLUSTER_UNKNOWN_BODY_BYTES: usize = 16 << 10;

/// Bytes of all such bodies. 16 MiB: a thousand of them. Over it their nodes are asked at once.
pub(crate) const CLUSTER_UNKNOWN_BYTES: usize = 16 << 20;

/// Bytes of requests to other nodes that wait for an answer, but for bodies whose sessions are known. 8 MiB:
/// half of what waits for the bus ([`CLUSTER_OUTBOX_BYTES`]), so that whoever asks for sessions that nobody has
/// never keeps a signal from it; and 400 for each of [`CLUSTER_REQUESTS`], twice what a poll takes. Over it:
/// 503.
pub(crate) const CLUSTER_UNKNOWN_REQUEST_BYTES: usize = 8 << 20;

/// How long a peer waits to be told what became of a signal for one whom its node does not know. 2 s:
/// many round trips. Then it is told `busy`.
pub(crate) const CLUSTER_OUTCOME_TIME: Duration = Duration::from_secs(2);

/// Signals of one peer of which another node has yet to say what became of them, while the peer is read
/// on. 100: a few calls' candidates, for those who have just left. One more waits in line.
pub(crate) const CLUSTER_OWED_OUTCOMES: usize = 100;

/// How long a node counts as overloaded after the bus has taken no more of it, or it of the bus. 10 s:
/// long enough for a balancer to see it, and to send others elsewhere.
pub(crate) const CLUSTER_OVERLOAD_TIME: Duration = Duration::from_secs(10);

/// How long a node that leaves waits at least for answers to what its clients have asked of others. 1 s:
/// many round trips. What is left of a shutdown's grace may be longer.
pub(crate) const CLUSTER_LEAVE_TIME: Duration = Duration::from_secs(1);

/// Members of one room at other nodes that a node keeps in mind, where `max_peers_per_room` allows
/// less it is that.
pub(crate) const CLUSTER_ROSTER_MEMBERS: usize = 100_000;

/// Bytes of parcels that may wait to be sent on a bus, where the adapter is told nothing else. 16 MiB:
/// as much as may wait at the other end. Over it, [`ClusterError::Full`](crate::ClusterError::Full).
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) const CLUSTER_OUTBOX_BYTES: usize = 16 << 20;

/// Bytes of parcels that are handed to the client of a bus at a time. 128 KiB: enough for its writes
/// to be large, and little enough for a subscription that comes in between.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) const CLUSTER_BATCH_BYTES: usize = 128 << 10;

/// Rooms that a node which has its bus back subscribes to at a time.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) const CLUSTER_RETURN_ROOMS: usize = 200;

/// The pause in between. 20 ms: ten thousand rooms within a second, and a bus that has lost a hundred
/// nodes is not asked for all of their rooms in one moment. Rooms that are new do not wait for it.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) const CLUSTER_RETURN_PAUSE: Duration = Duration::from_millis(20);

/// How long a node that leaves waits for its last parcels to be sent. 2 s: then they are late anyway.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) const CLUSTER_STOP_TIME: Duration = Duration::from_secs(2);

/// How long a connection to a bus, or an answer of it, may take. 5 s: a bus that is slower is down.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) const CLUSTER_BUS_TIME: Duration = Duration::from_secs(5);
