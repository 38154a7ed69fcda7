//! Bodies as they were seen on the wire, and hostile ones.

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
    fn units_are_counted_as_javascript_does(text in message(), times in 1..40_usize) {
        let text = text.repeat(times);
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

#[test]
fn packets_are_counted_as_they_are_read() {
    let v4 = |count: usize| vec!["2"; count].join("\x1e").into_bytes();
    let v3 = |count: usize| b"1:2".repeat(count);
    let v3_binary = |count: usize| b"\x00\x01\xff2".repeat(count);
    for max in [1, 2, 10] {
        for (count, over) in [(max, false), (max + 1, true), (max * 3, true)] {
            assert_eq!(has_more_than(max, V4, &v4(count), false), over);
            assert_eq!(has_more_than(max, V3, &v3(count), false), over);
            assert_eq!(has_more_than(max, V3, &v3_binary(count), true), over);
        }
    }
    let long = "4".repeat(1_000);
    assert!(!has_more_than(1, V4, long.as_bytes(), false));
    // The rest of what is malformed is not read, and so does not count.
    assert!(!has_more_than(2, V3, b"1:2x1:21:21:2", false));
}
