//! Long-polling bodies: several packets in one request or answer.
//!
//! Revision 3 puts a length before each packet, in text (`2:40`) or, when something in the body
//! is binary, in bytes. Revision 4 joins packets with a separator.

use bytes::Bytes;

use super::engine::{
    self, Malformed, Outgoing, Packet, Revision, V3_BINARY_MESSAGE, decode_binary, decode_text,
};

/// Between two packets of revision 4.
const SEPARATOR: char = '\x1e';
/// Ends a length in a binary payload.
const LENGTH_END: u8 = 255;
/// A text packet in a binary payload.
const TEXT: u8 = 0;
/// A binary packet in a binary payload.
const BINARY: u8 = 1;
/// The longest length in digits: more than any body that a server takes needs.
const MAX_LENGTH_DIGITS: usize = 10;

/// Reads the packets of a POST body, each when asked for.
///
/// `binary` says that the body came as `application/octet-stream`. After an error comes nothing
/// more. A body without packets is an error. The work is linear in the body, whatever it claims.
pub(crate) fn decode(revision: Revision, body: &[u8], binary: bool) -> Decoder<'_> {
    let rest = match (revision, binary) {
        (Revision::V3, true) => Rest::Binary(body),
        (Revision::V3, false) => str::from_utf8(body).map_or(Rest::Broken, Rest::Text),
        (Revision::V4, false) => str::from_utf8(body).map_or(Rest::Broken, Rest::Separated),
        // Revision 4 has no binary payloads.
        (Revision::V4, true) => Rest::Broken,
    };
    Decoder { rest }
}

/// What is left of a body. Made by [`decode`].
#[derive(Clone, Debug)]
pub(crate) struct Decoder<'a> {
    rest: Rest<'a>,
}

#[derive(Clone, Debug)]
enum Rest<'a> {
    /// Revision 3, lengths in UTF-16 code units.
    Text(&'a str),
    /// Revision 3, lengths in bytes.
    Binary(&'a [u8]),
    /// Revision 4.
    Separated(&'a str),
    /// An error that was not told yet.
    Broken,
    End,
}

impl Rest<'_> {
    /// Lengths leave nothing open: where the bytes end, the body ends.
    fn or_end(self) -> Self {
        match self {
            Self::Text("") | Self::Binary([]) => Self::End,
            rest => rest,
        }
    }
}

impl<'a> Iterator for Decoder<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let split = match self.rest {
            Rest::End => return None,
            Rest::Broken => None,
            Rest::Text(body) => split_text(body),
            Rest::Binary(body) => split_binary(body),
            Rest::Separated(body) => split_separated(body),
        };
        let (packet, rest) = split.map_or((Err(Malformed), Rest::End), |(packet, rest)| {
            (Ok(packet), rest)
        });
        self.rest = rest;
        Some(packet)
    }
}

/// The first packet of a body and what follows, or nothing if the body is malformed.
type Split<'a> = Option<(Packet<'a>, Rest<'a>)>;

fn split_text(body: &str) -> Split<'_> {
    let (digits, rest) = split_length(body.as_bytes(), b':')?;
    let length = parse_length(digits.iter().map(|digit| digit.wrapping_sub(b'0')))?;
    let rest = body.get(body.len() - rest.len()..)?;
    let (packet, rest) = split_at_utf16(rest, length)?;
    let packet = decode_text(Revision::V3, packet).ok()?;
    Some((packet, Rest::Text(rest).or_end()))
}

fn split_binary(body: &[u8]) -> Split<'_> {
    let (&kind, body) = body.split_first()?;
    let (digits, rest) = split_length(body, LENGTH_END)?;
    let length = parse_length(digits.iter().copied())?;
    let (packet, rest) = rest.split_at_checked(length)?;
    let packet = match kind {
        TEXT => decode_text(Revision::V3, str::from_utf8(packet).ok()?),
        BINARY => decode_binary(Revision::V3, packet),
        _ => Err(Malformed),
    };
    Some((packet.ok()?, Rest::Binary(rest).or_end()))
}

fn split_separated(body: &str) -> Split<'_> {
    let (packet, rest) = match body.split_once(SEPARATOR) {
        Some((packet, rest)) => (packet, Rest::Separated(rest)),
        None => (body, Rest::End),
    };
    Some((decode_text(Revision::V4, packet).ok()?, rest))
}

/// The digits of a length, and what comes after its end mark.
fn split_length(body: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let head = body.get(..=MAX_LENGTH_DIGITS).unwrap_or(body);
    let end = head.iter().position(|&byte| byte == end)?;
    Some((body.get(..end)?, body.get(end + 1..)?))
}

/// The number that these digit values make. No digits, or more than digits, make none.
fn parse_length(mut digits: impl ExactSizeIterator<Item = u8>) -> Option<usize> {
    if digits.len() == 0 {
        return None;
    }
    digits.try_fold(0_usize, |length, digit| {
        let digit = (digit <= 9).then(|| usize::from(digit))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// Splits after `units` UTF-16 code units, or not at all where that is past the end or within a
/// surrogate pair. Looks at no more than the first part.
fn split_at_utf16(text: &str, units: usize) -> Option<(&str, &str)> {
    // No character has more code units than bytes, so this is the least it can take.
    if text.as_bytes().get(..units)?.is_ascii() {
        return text.split_at_checked(units);
    }
    let mut left = units;
    let mut chars = text.chars();
    while left > 0 {
        left = left.checked_sub(chars.next()?.len_utf16())?;
    }
    let rest = chars.as_str();
    text.split_at_checked(text.len() - rest.len())
}

/// The body that answers a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) body: Bytes,
    /// It is to be labelled `application/octet-stream`; otherwise it is UTF-8 text.
    pub(crate) binary: bool,
}

/// Puts at least one packet into a body.
///
/// `base64` keeps a body of revision 3 text even with binary in it; one of revision 4 always is.
pub(crate) fn encode(revision: Revision, packets: &[Outgoing], base64: bool) -> Encoded {
    let has_binary = packets
        .iter()
        .any(|packet| matches!(packet, Outgoing::Binary(_)));
    let binary = revision == Revision::V3 && !base64 && has_binary;
    let body = match (revision, packets) {
        (Revision::V4, [Outgoing::Text(only)]) => only.clone(),
        (Revision::V4, _) => encode_separated(packets),
        (Revision::V3, _) if binary => encode_binary(packets),
        (Revision::V3, _) => encode_text(packets),
    };
    Encoded { body, binary }
}

fn encode_text(packets: &[Outgoing]) -> Bytes {
    let mut body = Vec::with_capacity(capacity(packets));
    for packet in packets {
        let encoded;
        let text: &[u8] = match packet {
            Outgoing::Text(text) => text,
            Outgoing::Binary(data) => {
                encoded = engine::base64(Revision::V3, data);
                encoded.as_bytes()
            }
        };
        body.extend(decimal(utf16_units(text)).map(|digit| b'0' + digit));
        body.push(b':');
        body.extend_from_slice(text);
    }
    body.into()
}

fn encode_binary(packets: &[Outgoing]) -> Bytes {
    let mut body = Vec::with_capacity(capacity(packets));
    for packet in packets {
        let (kind, mark, data): (u8, &[u8], _) = match packet {
            Outgoing::Text(text) => (TEXT, &[], text),
            Outgoing::Binary(data) => (BINARY, &[V3_BINARY_MESSAGE], data),
        };
        body.push(kind);
        body.extend(decimal(mark.len().saturating_add(data.len())));
        body.push(LENGTH_END);
        body.extend_from_slice(mark);
        body.extend_from_slice(data);
    }
    body.into()
}

fn encode_separated(packets: &[Outgoing]) -> Bytes {
    let mut body = Vec::with_capacity(capacity(packets));
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            body.push(SEPARATOR as u8);
        }
        match packet {
            Outgoing::Text(text) => body.extend_from_slice(text),
            Outgoing::Binary(data) => {
                body.extend_from_slice(engine::base64(Revision::V4, data).as_bytes());
            }
        }
    }
    body.into()
}

/// Room for a body of these packets in any form.
fn capacity(packets: &[Outgoing]) -> usize {
    /// A length, what marks its ends, and what marks binary data.
    const HEADER: usize = MAX_LENGTH_DIGITS + 4;
    let size = |packet: &Outgoing| match packet {
        Outgoing::Text(text) => text.len(),
        Outgoing::Binary(data) => base64::encoded_len(data.len(), true).unwrap_or(0),
    };
    packets.iter().map(size).fold(0, |sum: usize, size| {
        sum.saturating_add(size).saturating_add(HEADER)
    })
}

/// How JavaScript counts this UTF-8: each character once, and twice beyond the basic plane, which
/// is where its UTF-8 has four bytes.
fn utf16_units(text: &[u8]) -> usize {
    text.iter()
        .map(|&byte| usize::from(byte & 0xc0 != 0x80) + usize::from(byte >= 0xf0))
        .sum()
}

/// The decimal digits of a number, as values.
fn decimal(number: usize) -> impl Iterator<Item = u8> {
    let top = number.checked_ilog10().unwrap_or(0);
    (0..=top)
        .rev()
        .filter_map(move |power| u8::try_from(number / 10_usize.pow(power) % 10).ok())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::Revision::{V3, V4};
    use super::*;

    const BYTES: Packet<'static> = Packet::Binary(Cow::Borrowed(&[1, 2, 3]));

    fn text(packet: &str) -> Outgoing {
        Outgoing::Text(Bytes::copy_from_slice(packet.as_bytes()))
    }

    fn binary(data: &[u8]) -> Outgoing {
        Outgoing::Binary(Bytes::copy_from_slice(data))
    }

    fn all(revision: Revision, body: &[u8], binary: bool) -> Vec<Result<Packet<'_>, Malformed>> {
        decode(revision, body, binary).collect()
    }

    /// A text body of `packets`, as written and as read back.
    fn check(revision: Revision, packets: &[Outgoing], body: &str, read: &[Packet<'_>]) {
        let encoded = encode(revision, packets, true);
        assert_eq!(
            encoded,
            Encoded {
                body: Bytes::copy_from_slice(body.as_bytes()),
                binary: false
            }
        );
        let back: Result<Vec<_>, _> = decode(revision, body.as_bytes(), false).collect();
        assert_eq!(back.as_deref(), Ok(read));
    }

    #[test]
    fn v3_text() {
        check(V3, &[text("40")], "2:40", &[Packet::Message("0")]);
        check(V3, &[text("1")], "1:1", &[Packet::Close]);
        check(
            V3,
            &[text("6"), text("451-[]"), binary(&[1, 2, 3])],
            "1:66:451-[]6:b4AQID",
            &[Packet::Noop, Packet::Message("51-[]"), BYTES],
        );
    }

    #[test]
    fn v3_text_counts_utf16_units() {
        check(
            V3,
            &[text("4😀"), text("4é\u{ffff}"), text("4:2:")],
            "3:4😀3:4é\u{ffff}4:4:2:",
            &[
                Packet::Message("😀"),
                Packet::Message("é\u{ffff}"),
                Packet::Message(":2:"),
            ],
        );
        let event = |payload: &str| {
            format!(
                r#"42["message",{{"type":"OFFER","caller":{{"id":"hX6Xg2rzRTMFyODzAAAB"}},"callee":{{"id":"zVM8wOtnweVu5FYeAAAA"}},"room":{{"id":"r"}},"payload":"{payload}"}}]"#
            )
        };
        let (astral, latin) = (event("😀"), event("é"));
        check(
            V3,
            &[text(&astral), text(&latin)],
            &format!("141:{astral}140:{latin}"),
            &[Packet::Message(&astral[1..]), Packet::Message(&latin[1..])],
        );
    }

    #[test]
    fn v3_handshake_carries_the_connect() {
        let open = engine::open(V3, "zVM8wOtnweVu5FYeAAAA", true, 25_000, 20_000, 1_000_000);
        let body = encode(V3, &[Outgoing::Text(open), text("40")], false).body;
        assert_eq!(
            body,
            r#"97:0{"sid":"zVM8wOtnweVu5FYeAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}2:40"#
        );
        assert_eq!(body.len(), 104);
    }

    #[test]
    fn v3_is_binary_only_if_something_in_it_is() {
        assert!(!encode(V3, &[text("40")], false).binary);
        assert!(!encode(V3, &[text("40"), binary(&[1])], true).binary);
        assert!(encode(V3, &[text("40"), binary(&[1])], false).binary);
    }

    #[test]
    fn v3_binary() {
        let event = format!("451-{}", "x".repeat(183));
        let mut body = vec![0, 1, 8, 7, 255];
        body.extend_from_slice(event.as_bytes());
        body.extend_from_slice(&[1, 4, 255, 4, 1, 2, 3]);
        let encoded = encode(V3, &[text(&event), binary(&[1, 2, 3])], false);
        assert_eq!(
            encoded,
            Encoded {
                body: Bytes::from(body),
                binary: true
            }
        );
        assert_eq!(
            all(V3, &encoded.body, true),
            [Ok(Packet::Message(&event[1..])), Ok(BYTES)]
        );
    }

    #[test]
    fn v3_binary_counts_bytes() {
        let body = [&[0, 5, 255][..], "4😀".as_bytes(), &[1, 1, 255, 4]].concat();
        assert_eq!(encode(V3, &[text("4😀"), binary(&[])], false).body, body);
        assert_eq!(
            all(V3, &body, true),
            [
                Ok(Packet::Message("😀")),
                Ok(Packet::Binary(Cow::Borrowed(&[])))
            ]
        );
    }

    #[test]
    fn v4() {
        check(
            V4,
            &[text("4hello"), text("4world"), binary(&[1, 2, 3])],
            "4hello\x1e4world\x1ebAQID",
            &[Packet::Message("hello"), Packet::Message("world"), BYTES],
        );
        check(V4, &[text("6")], "6", &[Packet::Noop]);
        check(V4, &[binary(&[1, 2, 3])], "bAQID", &[BYTES]);
        assert!(!encode(V4, &[binary(&[1, 2, 3])], false).binary);
    }

    #[test]
    fn a_lone_packet_of_v4_is_not_copied() {
        let packet = Bytes::from(vec![b'4'; 100]);
        let body = encode(V4, &[Outgoing::Text(packet.clone())], false).body;
        assert_eq!(body.as_ptr(), packet.as_ptr());
    }

    #[test]
    fn malformed_text_bodies() {
        let bodies = [
            "",
            ":",
            "abc",
            "1",
            "1:",
            "0:",
            ":4",
            "2:4",
            "3:4😀x",
            "2:4😀",
            "+1:6",
            "-1:6",
            " 1:6",
            "1 :6",
            "1:7",
            "1:x",
            "1:😀",
            "00000000001:6",
            "1.0:6",
            "4b4A!",
            "1e0:6",
            "\u{661}:6",
        ];
        for body in bodies {
            let read = all(V3, body.as_bytes(), false);
            // Of two packets the first may be fine.
            assert_eq!(read.last(), Some(&Err(Malformed)), "{body:?}");
            assert!(read.len() <= 2, "{body:?}");
        }
        for body in [
            "",
            "\x1e",
            "4a\x1e",
            "\x1e4a",
            "4a\x1e\x1e4b",
            "x",
            "7",
            "bA!",
        ] {
            let read = all(V4, body.as_bytes(), false);
            assert_eq!(read.last(), Some(&Err(Malformed)), "{body:?}");
            assert!(read.len() <= 2, "{body:?}");
        }
    }

    #[test]
    fn malformed_binary_bodies() {
        let bodies: [&[u8]; 14] = [
            &[],
            &[0],
            &[0, 255],
            &[0, 1],
            &[0, 1, 255],
            &[0, 0, 255],
            &[0, 2, 255, b'6'],
            &[2, 1, 255, b'6'],
            &[0, 10, 255, b'6'],
            &[0, b'1', 255, b'6'],
            &[1, 1, 255, b'4'],
            &[1, 0, 255],
            &[0, 2, 255, b'4', 0xff],
            b"2:40",
        ];
        for body in bodies {
            assert_eq!(all(V3, body, true), [Err(Malformed)], "{body:?}");
        }
        assert_eq!(all(V4, b"4a", true), [Err(Malformed)]);
    }

    #[test]
    fn invalid_utf8_is_malformed() {
        assert_eq!(all(V3, b"2:4\xff", false), [Err(Malformed)]);
        assert_eq!(all(V4, b"4a\x1e4\xff", false), [Err(Malformed)]);
    }

    #[test]
    fn nothing_follows_an_error() {
        assert_eq!(
            all(V3, b"1:61:x1:6", false),
            [Ok(Packet::Noop), Err(Malformed)]
        );
        assert_eq!(
            all(V4, b"6\x1ex\x1e6", false),
            [Ok(Packet::Noop), Err(Malformed)]
        );
        let mut decoder = decode(V3, b"x", false);
        assert_eq!(decoder.next(), Some(Err(Malformed)));
        assert_eq!(decoder.next(), None);
        assert_eq!(decoder.next(), None);
    }

    #[test]
    fn big_lies_end_at_once() {
        let megabyte = |byte: u8| vec![byte; 1_000_000];
        for byte in [b':', b'0', b'9', b'x', 0, 9, 255] {
            assert_eq!(all(V3, &megabyte(byte), false), [Err(Malformed)]);
            assert_eq!(all(V3, &megabyte(byte), true), [Err(Malformed)]);
        }
        assert_eq!(all(V4, &megabyte(0x1e), false), [Err(Malformed)]);
        let mut body = b"1000000000:4".to_vec();
        body.extend(megabyte(b'x'));
        assert_eq!(all(V3, &body, false), [Err(Malformed)]);
        assert_eq!(
            all(
                V3,
                b"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\x04",
                true
            ),
            [Err(Malformed)]
        );
        assert_eq!(all(V3, b"99999999999999999999:4", false), [Err(Malformed)]);
    }

    /// Every packet of a body of many is looked at once: its units, not those of all that follow.
    #[test]
    fn many_packets_are_read_one_by_one() {
        let body = "3:4😀".repeat(100_000);
        assert_eq!(all(V3, body.as_bytes(), false).len(), 100_000);
        let mut rest = "4😀é6";
        let mut parts = Vec::new();
        for units in [3, 1, 1] {
            let (part, tail) = split_at_utf16(rest, units).unwrap();
            parts.push(part);
            rest = tail;
        }
        assert_eq!(parts, ["4😀", "é", "6"]);
        assert_eq!(split_at_utf16("4😀", 2), None);
        assert_eq!(split_at_utf16("4😀", 4), None);
    }

    #[test]
    fn a_body_is_allocated_once() {
        let packets = [
            text(&"4😀".repeat(50)),
            binary(&[7; 100]),
            binary(&[]),
            text("6"),
        ];
        let room = capacity(&packets);
        for body in [
            encode_text(&packets),
            encode_binary(&packets),
            encode_separated(&packets),
        ] {
            assert!(body.len() <= room);
        }
    }

    fn message() -> impl Strategy<Value = String> {
        // Plenty of everything that counts differently in bytes, characters and code units, but
        // not the separator, which JSON never holds.
        prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    '4',
                    ':',
                    '1',
                    '"',
                    'é',
                    '\u{2028}',
                    '\u{ffff}',
                    '😀',
                    '\u{10ffff}'
                ]),
                any::<char>().prop_filter("separator", |c| *c != SEPARATOR),
            ],
            0..20,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    #[derive(Clone, Debug)]
    enum Sent {
        Text(String),
        Binary(Vec<u8>),
    }

    fn sent() -> impl Strategy<Value = Vec<Sent>> {
        let one = prop_oneof![
            message().prop_map(Sent::Text),
            prop::collection::vec(any::<u8>(), 0..50).prop_map(Sent::Binary),
        ];
        prop::collection::vec(one, 1..8)
    }

    proptest! {
        #[test]
        fn what_is_encoded_can_be_decoded(sent in sent(), base64: bool, v4: bool) {
            let revision = if v4 { V4 } else { V3 };
            let outgoing: Vec<_> = sent
                .iter()
                .map(|packet| match packet {
                    Sent::Text(message) => text(&format!("4{message}")),
                    Sent::Binary(data) => binary(data),
                })
                .collect();
            let expected: Vec<_> = sent
                .iter()
                .map(|packet| Ok(match packet {
                    Sent::Text(message) => Packet::Message(message),
                    Sent::Binary(data) => Packet::Binary(Cow::Borrowed(data)),
                }))
                .collect();
            let encoded = encode(revision, &outgoing, base64);
            prop_assert_eq!(all(revision, &encoded.body, encoded.binary), expected);
            prop_assert!(encoded.body.len() <= capacity(&outgoing));
        }

        #[test]
        fn units_are_counted_as_javascript_does(text in message()) {
            prop_assert_eq!(utf16_units(text.as_bytes()), text.encode_utf16().count());
        }

        #[test]
        fn decimals_are_those_of_the_number(number: usize) {
            let digits: String = decimal(number).map(|digit| char::from(b'0' + digit)).collect();
            prop_assert_eq!(digits, number.to_string());
        }

        #[test]
        fn any_bytes_end_in_at_most_one_error(
            body in prop::collection::vec(
                prop_oneof![prop::sample::select(b"0123456:b\x1e\x00\x01\x02\xff".to_vec()), any::<u8>()],
                0..60,
            ),
            binary: bool,
            v4: bool,
        ) {
            let read = all(if v4 { V4 } else { V3 }, &body, binary);
            let errors = read.iter().filter(|packet| packet.is_err()).count();
            prop_assert!(!read.is_empty() && read.len() <= body.len() + 1);
            prop_assert!(errors == 0 || (errors == 1 && read.last() == Some(&Err(Malformed))));
        }
    }
}
