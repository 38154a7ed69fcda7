//! The limits among the settings of a server: how each is set, and what it can be.

use std::time::Duration;

use super::Builder;
use crate::error::Error;
use crate::id::MAX_ROOM_ID_BYTES;
use crate::limits::Limits;

/// Deadlines beyond a day are mistakes, and adding them to a clock could overflow it.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Positions within a signal are kept in 32 bits; this leaves room for all that is added. Rates
/// over it are mistakes.
const MAX_BYTES: usize = 1 << 30;

/// Attachments beyond this are mistakes; each costs a little memory, however small it is.
const MAX_ATTACHMENTS: usize = 1_000;

/// A callee's id has as many bytes.
const MIN_ID: usize = 20;

impl Builder {
    /// Takes a whole set of limits in place of all that were set before; they can still be changed
    /// one by one. Its `max_outbox` is raised to two maximum messages if it is less.
    ///
    /// ```
    /// use peer_data_server::{Limits, PeerData};
    ///
    /// let server = PeerData::builder()
    ///     .limits(Limits::strict())
    ///     .max_peers_per_room(12)
    ///     .build()?;
    /// assert_eq!(server.limits().max_peers_per_room, 12);
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.outbox = None;
        self
    }

    /// Time between two heartbeats. Default 25 s. See [`Limits::ping_interval`].
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.limits.ping_interval = interval;
        self
    }

    /// How long an answer to a heartbeat may take. Default 20 s. See [`Limits::ping_timeout`].
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.limits.ping_timeout = timeout;
        self
    }

    /// How long a websocket may take to replace long-polling. Default 10 s.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.limits.upgrade_timeout = timeout;
        self
    }

    /// How long a client may take to ask to connect. Default 10 s. See
    /// [`Limits::connect_timeout`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect_timeout = timeout;
        self
    }

    /// How long the body of a POST, or a message over a websocket, may take to come. Default 30 s; then
    /// 408, or close code 1008, and the session ends.
    /// See [`Limits::body_timeout`].
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.limits.body_timeout = timeout;
        self
    }

    /// How long a websocket may take no bytes while there are some for it. Default 20 s. See
    /// [`Limits::write_timeout`].
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.limits.write_timeout = timeout;
        self
    }

    /// How long the application may think about whether a peer may join. Default 10 s. See
    /// [`Limits::admit_timeout`].
    pub fn admit_timeout(mut self, timeout: Duration) -> Self {
        self.limits.admit_timeout = timeout;
        self
    }

    /// The longest message, in bytes. Default 1,000,000. See [`Limits::max_message`].
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.limits.max_message = bytes;
        self
    }

    /// Bytes that may wait for one peer: at least twice the maximum message. Default 4 MiB, or
    /// twice the maximum message if that is more. See [`Limits::max_outbox`].
    pub fn max_outbox(mut self, bytes: usize) -> Self {
        self.outbox = Some(bytes);
        self
    }

    /// Binary attachments of one event, 0 to 1,000. Default 10.
    pub fn max_attachments(mut self, count: usize) -> Self {
        self.limits.max_attachments = count;
        self
    }

    /// Fragments of one websocket message. Default 4,096.
    pub fn max_fragments(mut self, count: usize) -> Self {
        self.limits.max_fragments = count;
        self
    }

    /// Packets of one POST. Default 10,000; over it 413, and none of them counts. See
    /// [`Limits::max_packets`].
    pub fn max_packets(mut self, count: usize) -> Self {
        self.limits.max_packets = count;
        self
    }

    /// Bytes of the id of a room or a callee, and of a type, 20 to 256. Default 256. See
    /// [`Limits::max_id`].
    pub fn max_id(mut self, bytes: usize) -> Self {
        self.limits.max_id = bytes;
        self
    }

    /// Bytes of the query and the headers that are kept for hooks. Default 16 KiB; over it 431. See
    /// [`Limits::max_handshake`].
    pub fn max_handshake(mut self, bytes: usize) -> Self {
        self.limits.max_handshake = bytes;
        self
    }

    /// Bytes that may wait for all peers together, beyond 16 KiB for each. Default 1 GiB; over it, whoever
    /// is to have more is too slow. See [`Limits::max_outbox_total`].
    pub fn max_outbox_total(mut self, bytes: usize) -> Self {
        self.limits.max_outbox_total = bytes;
        self
    }

    /// Places in rooms that all peers may have together. Default 1,000,000; over it `busy`. See
    /// [`Limits::max_memberships`].
    pub fn max_memberships(mut self, count: usize) -> Self {
        self.limits.max_memberships = count;
        self
    }

    /// Rooms that one peer may be in at a time. Default 10,000. See
    /// [`Limits::max_rooms_per_peer`].
    pub fn max_rooms_per_peer(mut self, count: usize) -> Self {
        self.limits.max_rooms_per_peer = count;
        self
    }

    /// Peers that may be in one room at a time. Default 10,000; over it `room_full`. See
    /// [`Limits::max_peers_per_room`].
    pub fn max_peers_per_room(mut self, count: usize) -> Self {
        self.limits.max_peers_per_room = count;
        self
    }

    /// Sessions that may be open at a time. Default 100,000; over it 503. See
    /// [`Limits::max_sessions`].
    pub fn max_sessions(mut self, count: usize) -> Self {
        self.limits.max_sessions = count;
        self
    }

    /// Sessions whose clients are not peers yet. Default 20,000; over it 503. See
    /// [`Limits::max_handshakes`].
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.limits.max_handshakes = count;
        self
    }

    /// Sessions that may be open at a time from one address, 0 for any number. Default 0; over it
    /// 429. See [`Limits::max_sessions_per_address`].
    pub fn max_sessions_per_address(mut self, count: usize) -> Self {
        self.limits.max_sessions_per_address = count;
        self
    }

    /// Sessions of one address whose clients are not peers yet, 0 for any number. Default 0; over it
    /// 429. See [`Limits::max_handshakes_per_address`].
    pub fn max_handshakes_per_address(mut self, count: usize) -> Self {
        self.limits.max_handshakes_per_address = count;
        self
    }

    /// Messages that a client may send per second, 0 for any number. Default 0. See
    /// [`Limits::events_per_second`].
    pub fn events_per_second(mut self, count: usize) -> Self {
        self.limits.events_per_second = count;
        self
    }

    /// Messages that a client may send at once, 0 for those of one second. Default 0. See
    /// [`Limits::event_burst`].
    pub fn event_burst(mut self, count: usize) -> Self {
        self.limits.event_burst = count;
        self
    }

    /// Bytes that a client may send per second, 0 for any number. Default 0. See
    /// [`Limits::bytes_per_second`].
    pub fn bytes_per_second(mut self, bytes: usize) -> Self {
        self.limits.bytes_per_second = bytes;
        self
    }

    /// Bytes that a client may send at once, 0 for those of one second. Default 0. See
    /// [`Limits::byte_burst`].
    pub fn byte_burst(mut self, bytes: usize) -> Self {
        self.limits.byte_burst = bytes;
        self
    }

    /// How long a client may stay over its rate. Default 30 s; then 429 or close code 4429. See
    /// [`Limits::rate_patience`].
    pub fn rate_patience(mut self, patience: Duration) -> Self {
        self.limits.rate_patience = patience;
        self
    }
}

impl Builder {
    /// Lets clients that have lost their connection come back as the same peer within that time.
    /// Default 0: they may not. 30 s is a good start. See [`Limits::recovery`].
    ///
    /// A Socket.IO 4 client does so by itself (`socket.recovered` is true then). One that speaks plain
    /// JSON counts its messages, and names the `resume` of its READY and that count in a subprotocol
    /// of its next websocket, `resume.<resume>.<count>`; the next READY says whether it is `resumed`.
    /// The peer stays in its rooms meanwhile, and what is said to it is kept within
    /// [`max_recovery`](Self::max_recovery); the others hear nothing of it unless it does not come
    /// back. Who leaves on purpose (a disconnect packet, a websocket whose page is closed, a close frame
    /// over plain JSON), who is disconnected by the server, and who does not keep up has left at once. A
    /// page that was on long-polling cannot be told from a loss.
    ///
    /// Who comes back is asked by [`authorize`](Self::authorize) again, and is who that says from then
    /// on; [`on_connect`](Self::on_connect) is not called and
    /// [`lifecycle`](crate::PeerData::lifecycle) says nothing, for the peer was never gone. What a client
    /// shows for it is as good as being that peer: keep it out of logs. While recovery is on, Socket.IO
    /// clients are given one argument more with each event, a string of the server's.
    ///
    /// ```
    /// use std::time::Duration;
    /// use peer_data_server::PeerData;
    ///
    /// let server = PeerData::builder().recovery(Duration::from_secs(30)).build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn recovery(mut self, time: Duration) -> Self {
        self.limits.recovery = time;
        self
    }

    /// Bytes of signals that are kept for one peer that may come back. Default 256 KiB. See
    /// [`Limits::max_recovery`].
    pub fn max_recovery(mut self, bytes: usize) -> Self {
        self.limits.max_recovery = bytes;
        self
    }

    /// Bytes of signals that are kept for all peers that may come back. Default 64 MiB. See
    /// [`Limits::max_recovery_total`].
    pub fn max_recovery_total(mut self, bytes: usize) -> Self {
        self.limits.max_recovery_total = bytes;
        self
    }
}

/// The limits if each of them can be. `outbox` is the application's own word on how much may wait.
pub(super) fn check(mut limits: Limits, outbox: Option<usize>) -> Result<Limits, Error> {
    for (name, duration) in [
        ("ping_interval", limits.ping_interval),
        ("ping_timeout", limits.ping_timeout),
        ("upgrade_timeout", limits.upgrade_timeout),
        ("connect_timeout", limits.connect_timeout),
        ("body_timeout", limits.body_timeout),
        ("write_timeout", limits.write_timeout),
        ("admit_timeout", limits.admit_timeout),
        ("rate_patience", limits.rate_patience),
    ] {
        if duration < Duration::from_millis(1) || duration > MAX_DURATION {
            let problem = format!("{duration:?} is not between 1 ms and one day");
            return Err(Error::new(name, problem));
        }
    }
    for (name, count, min, max) in [
        ("max_message", limits.max_message, 1, MAX_BYTES),
        (
            "max_attachments",
            limits.max_attachments,
            0,
            MAX_ATTACHMENTS,
        ),
        ("max_fragments", limits.max_fragments, 1, usize::MAX),
        ("max_packets", limits.max_packets, 1, usize::MAX),
        ("max_id", limits.max_id, MIN_ID, MAX_ROOM_ID_BYTES),
        ("max_handshake", limits.max_handshake, 0, usize::MAX),
        (
            "max_rooms_per_peer",
            limits.max_rooms_per_peer,
            1,
            usize::MAX,
        ),
        ("max_memberships", limits.max_memberships, 1, usize::MAX),
        (
            "max_peers_per_room",
            limits.max_peers_per_room,
            1,
            usize::MAX,
        ),
        ("max_sessions", limits.max_sessions, 1, usize::MAX),
        ("max_handshakes", limits.max_handshakes, 1, usize::MAX),
        ("events_per_second", limits.events_per_second, 0, MAX_BYTES),
        ("event_burst", limits.event_burst, 0, MAX_BYTES),
        ("bytes_per_second", limits.bytes_per_second, 0, MAX_BYTES),
        ("byte_burst", limits.byte_burst, 0, MAX_BYTES),
    ] {
        if count < min || count > max {
            let problem = format!("{count} is not between {min} and {max}");
            return Err(Error::new(name, problem));
        }
    }
    if limits.recovery > MAX_DURATION {
        let problem = format!("{:?} is more than one day", limits.recovery);
        return Err(Error::new("recovery", problem));
    }
    let twice = limits.max_message * 2;
    limits.max_outbox = outbox.unwrap_or(limits.max_outbox.max(twice));
    if limits.max_outbox < twice {
        let problem = format!("{} is less than two messages, {twice}", limits.max_outbox);
        return Err(Error::new("max_outbox", problem));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerData;

    fn subject(builder: Builder) -> String {
        builder.build().unwrap_err().subject().to_owned()
    }

    #[test]
    fn a_bad_value_is_named() {
        let day = MAX_DURATION + Duration::from_millis(1);
        let builder = PeerData::builder;
        for (name, builder) in [
            ("ping_interval", builder().ping_interval(Duration::ZERO)),
            ("connect_timeout", builder().connect_timeout(Duration::MAX)),
            ("rate_patience", builder().rate_patience(day)),
            ("body_timeout", builder().body_timeout(Duration::ZERO)),
            ("write_timeout", builder().write_timeout(day)),
            ("admit_timeout", builder().admit_timeout(Duration::ZERO)),
            ("max_message", builder().max_message(usize::MAX)),
            ("max_fragments", builder().max_fragments(0)),
            ("max_attachments", builder().max_attachments(1_001)),
            ("max_outbox", builder().max_outbox(1_999_999)),
            ("recovery", builder().recovery(day)),
            ("max_id", builder().max_id(19)),
            ("max_id", builder().max_id(257)),
            ("max_packets", builder().max_packets(0)),
            ("max_sessions", builder().max_sessions(0)),
            ("max_handshakes", builder().max_handshakes(0)),
            ("max_peers_per_room", builder().max_peers_per_room(0)),
            ("event_burst", builder().event_burst(usize::MAX)),
            ("bytes_per_second", builder().bytes_per_second(usize::MAX)),
        ] {
            assert_eq!(subject(builder), name);
        }
    }

    #[test]
    fn the_outbox_follows_the_maximum_message() {
        let built = |builder: Builder| builder.build().unwrap().limits().max_outbox;
        assert_eq!(built(PeerData::builder().max_message(8 << 20)), 16 << 20);
        let strict = PeerData::builder()
            .max_outbox(9 << 20)
            .limits(Limits::strict());
        assert_eq!(built(strict), 1 << 20);
    }

    #[test]
    fn the_strict_set_can_be_and_is_nowhere_wider_than_the_defaults() {
        let server = PeerData::builder()
            .limits(Limits::strict())
            .build()
            .unwrap();
        let (strict, default) = (server.limits(), Limits::default());
        assert_eq!(*strict, Limits::strict());
        let pairs = |limits: &Limits| {
            [
                limits.max_message,
                limits.max_attachments,
                limits.max_fragments,
                limits.max_packets,
                limits.max_id,
                limits.max_handshake,
                limits.max_outbox,
                limits.max_outbox_total,
                limits.max_rooms_per_peer,
                limits.max_memberships,
                limits.max_peers_per_room,
                limits.max_sessions,
                limits.max_handshakes,
            ]
        };
        assert!(
            pairs(strict)
                .iter()
                .zip(pairs(&default))
                .all(|(strict, default)| *strict <= default)
        );
        assert!(strict.has_rates() && !default.has_rates());
    }
}
