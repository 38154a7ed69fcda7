//! Engine.IO packets, one at a time, in revisions 3 and 4.
//!
//! A packet is a digit that says what it is, then data. Binary data travels as it is where the
//! transport can carry it, and as base64 behind a `b` where it cannot.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use bytes::Bytes;

/// Bytes that are not the protocol. The connection they came from cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The version of Engine.IO that a client asked for with `EIO=3` or `EIO=4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Engine.IO 3, which carries Socket.IO 2.
    V3,
    /// Engine.IO 4, which carries Socket.IO 3 and 4.
    V4,
}

/// One packet from a client. What a type carries without meaning is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Open,
    Close,
    /// `probe` on a websocket that is about to replace long-polling.
    Ping(&'a str),
    Pong(&'a str),
    Message(&'a str),
    Binary(Cow<'a, [u8]>),
    Upgrade,
    Noop,
}

/// One packet to a client. Cloning shares the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// The whole packet, type digit included. It is valid UTF-8.
    Text(Bytes),
    /// The data of a binary message; how it is marked depends on revision and transport.
    Binary(Bytes),
}

/// What stands before the data of a binary message of revision 3: the type as a number.
pub(crate) const V3_BINARY_MESSAGE: u8 = 4;

pub(crate) const CLOSE: Bytes = Bytes::from_static(b"1");
pub(crate) const PING: Bytes = Bytes::from_static(b"2");
pub(crate) const PONG: Bytes = Bytes::from_static(b"3");
/// The answer to the `2probe` of a websocket that wants to take over.
pub(crate) const PROBE_PONG: Bytes = Bytes::from_static(b"3probe");
pub(crate) const NOOP: Bytes = Bytes::from_static(b"6");

/// Reads a text frame, or one packet of a text payload.
///
/// Base64 is accepted on every transport, whether or not the client announced it.
pub(crate) fn decode_text(revision: Revision, text: &str) -> Result<Packet<'_>, Malformed> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or(Malformed)?;
    let data = chars.as_str();
    match (kind, revision) {
        ('0', _) => Ok(Packet::Open),
        ('1', _) => Ok(Packet::Close),
        ('2', _) => Ok(Packet::Ping(data)),
        ('3', _) => Ok(Packet::Pong(data)),
        ('4', _) => Ok(Packet::Message(data)),
        ('5', _) => Ok(Packet::Upgrade),
        ('6', _) => Ok(Packet::Noop),
        ('b', Revision::V3) => decode_base64(data.strip_prefix('4').ok_or(Malformed)?),
        ('b', Revision::V4) => decode_base64(data),
        _ => Err(Malformed),
    }
}

/// Reads a binary frame, or one binary packet of a binary payload.
pub(crate) fn decode_binary(revision: Revision, bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    match (revision, bytes) {
        (Revision::V3, [V3_BINARY_MESSAGE, data @ ..]) | (Revision::V4, data) => {
            Ok(Packet::Binary(Cow::Borrowed(data)))
        }
        (Revision::V3, _) => Err(Malformed),
    }
}

/// A message as a packet.
pub(crate) fn message(text: &str) -> Bytes {
    ["4", text].concat().into()
}

/// A binary message as a text packet, for transports that carry text only.
pub(crate) fn base64(revision: Revision, data: &[u8]) -> String {
    let mark = match revision {
        Revision::V3 => "b4",
        Revision::V4 => "b",
    };
    let length = base64::encoded_len(data.len(), true).unwrap_or(0);
    let mut packet = String::with_capacity(mark.len().saturating_add(length));
    packet.push_str(mark);
    STANDARD.encode_string(data, &mut packet);
    packet
}

/// The first packet of a session. `sid` is an id, so it needs no escaping; times are in
/// milliseconds. Revision 3 has no word for `max_payload`.
pub(crate) fn open(
    revision: Revision,
    sid: &str,
    upgrades: bool,
    ping_interval_ms: u64,
    ping_timeout_ms: u64,
    max_payload: usize,
) -> Bytes {
    let upgrades = if upgrades { r#""websocket""# } else { "" };
    let max_payload = match revision {
        Revision::V3 => String::new(),
        Revision::V4 => format!(r#","maxPayload":{max_payload}"#),
    };
    Bytes::from(format!(
        r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{ping_interval_ms},"pingTimeout":{ping_timeout_ms}{max_payload}}}"#
    ))
}

/// Padding may be left out: some clients do.
fn decode_base64(data: &str) -> Result<Packet<'static>, Malformed> {
    match STANDARD_PAD_INDIFFERENT.decode(data) {
        Ok(data) => Ok(Packet::Binary(Cow::Owned(data))),
        Err(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Revision::{V3, V4};
    use super::*;

    fn binary(data: &[u8]) -> Packet<'_> {
        Packet::Binary(Cow::Borrowed(data))
    }

    #[test]
    fn text_packets_are_the_same_in_both_revisions() {
        for revision in [V3, V4] {
            let decode = |text| decode_text(revision, text);
            assert_eq!(decode("0"), Ok(Packet::Open));
            assert_eq!(decode("1"), Ok(Packet::Close));
            assert_eq!(decode("2"), Ok(Packet::Ping("")));
            assert_eq!(decode("2probe"), Ok(Packet::Ping("probe")));
            assert_eq!(decode("3"), Ok(Packet::Pong("")));
            assert_eq!(decode("4"), Ok(Packet::Message("")));
            assert_eq!(decode("4é😀"), Ok(Packet::Message("é😀")));
            assert_eq!(decode("5"), Ok(Packet::Upgrade));
            assert_eq!(decode("6"), Ok(Packet::Noop));
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for revision in [V3, V4] {
            for text in [
                "", "7", "9x", "abc", "é", "\u{4}x", " 4", "-1", "B4AQID", "b!", "b4AQI*",
            ] {
                assert_eq!(decode_text(revision, text), Err(Malformed), "{text:?}");
            }
        }
    }

    #[test]
    fn base64_says_its_type_in_revision_3_only() {
        assert_eq!(decode_text(V3, "b4AQID"), Ok(binary(&[1, 2, 3])));
        assert_eq!(decode_text(V4, "bAQID"), Ok(binary(&[1, 2, 3])));
        assert_eq!(decode_text(V3, "bAQID"), Err(Malformed));
        assert_eq!(decode_text(V3, "b"), Err(Malformed));
        assert_eq!(decode_text(V3, "b2AQID"), Err(Malformed));
        assert_eq!(base64(V3, &[1, 2, 3]), "b4AQID");
        assert_eq!(base64(V4, &[1, 2, 3]), "bAQID");
        assert_eq!(decode_text(V3, "b4"), Ok(binary(&[])));
        assert_eq!(decode_text(V4, "b"), Ok(binary(&[])));
    }

    #[test]
    fn base64_may_lack_its_padding() {
        assert_eq!(decode_text(V4, "bAQ=="), Ok(binary(&[1])));
        assert_eq!(decode_text(V4, "bAQ"), Ok(binary(&[1])));
    }

    #[test]
    fn binary_frames_say_their_type_in_revision_3_only() {
        assert_eq!(decode_binary(V3, &[4, 1, 2, 3]), Ok(binary(&[1, 2, 3])));
        assert_eq!(decode_binary(V3, &[4]), Ok(binary(&[])));
        assert_eq!(decode_binary(V4, &[4, 1]), Ok(binary(&[4, 1])));
        assert_eq!(decode_binary(V4, &[]), Ok(binary(&[])));
        for bytes in [&[][..], &[2], b"4abc"] {
            assert_eq!(decode_binary(V3, bytes), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn binary_frames_are_borrowed() {
        let frame = [4, 1, 2];
        assert!(matches!(
            decode_binary(V3, &frame),
            Ok(Packet::Binary(Cow::Borrowed(_)))
        ));
    }

    #[test]
    fn open_says_what_the_client_must_know() {
        assert_eq!(
            open(V3, "zVM8wOtnweVu5FYeAAAA", true, 25_000, 20_000, 1_000_000),
            r#"0{"sid":"zVM8wOtnweVu5FYeAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#
        );
        assert_eq!(
            open(V3, "hX6Xg2rzRTMFyODzAAAB", false, 25_000, 20_000, 1_000_000),
            r#"0{"sid":"hX6Xg2rzRTMFyODzAAAB","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#
        );
        assert_eq!(
            open(V4, "HjuA7FgHpBJ6BFMPAAAo", true, 25_000, 20_000, 1_000_000),
            r#"0{"sid":"HjuA7FgHpBJ6BFMPAAAo","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
    }

    proptest! {
        #[test]
        fn base64_round_trips(data in prop::collection::vec(any::<u8>(), 0..100)) {
            for revision in [V3, V4] {
                let packet = base64(revision, &data);
                prop_assert_eq!(decode_text(revision, &packet), Ok(binary(&data)));
            }
        }
    }
}
