//! The assembler against the websocket of tungstenite, on generated frames.

use proptest::prelude::*;

use super::{FrameHeader, OpCode};
use crate::fuzz::frame::compare;

/// A frame as sent; what is unusual about it is in `first` and `masked`.
fn encode(first: u8, masked: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        is_final: first & 0x80 != 0,
        rsv1: first & 0x40 != 0,
        rsv2: first & 0x20 != 0,
        rsv3: first & 0x10 != 0,
        opcode: OpCode::from(first & 0x0f),
        mask: masked,
    };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).unwrap();
    let key = masked.unwrap_or_default();
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        12 => 0..12_usize,
        6 => 120..132_usize,
        2 => 65_530..65_542_usize,
        1 => 65_990..66_010_usize,
    ]
}

/// Text that may end within a character.
fn utf8(len: usize) -> Vec<u8> {
    "a\u{e9}\u{20ac}\u{1f600}"
        .bytes()
        .cycle()
        .take(len)
        .collect()
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => length().prop_map(utf8),
        1 => (length(), any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn single(opcodes: impl Strategy<Value = u8>) -> impl Strategy<Value = Vec<u8>> {
    (opcodes, any::<[u8; 4]>(), payload())
        .prop_map(|(first, mask, payload)| encode(first, Some(mask), &payload))
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    let data = prop::collection::vec(any::<u8>(), 0..126);
    (0x89..=0x8a_u8, any::<[u8; 4]>(), data)
        .prop_map(|(first, mask, data)| encode(first, Some(mask), &data))
}

fn close() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![900..1100_u16, 2900..3100_u16, 4900..5100_u16, any::<u16>()];
    (code, 0..40_usize, any::<[u8; 4]>()).prop_map(|(code, len, mask)| {
        let payload = [&code.to_be_bytes()[..], &utf8(len)].concat();
        let whole = if len == 39 { &payload[..1] } else { &payload };
        encode(0x88, Some(mask), whole)
    })
}

/// One message cut into fragments, at times with control frames between them.
fn fragmented() -> impl Strategy<Value = Vec<u8>> {
    let between = prop::option::weighted(0.3, control());
    let part = (0..40_usize, any::<[u8; 4]>(), between);
    let whole = prop_oneof![
        6 => (1..12_usize).prop_map(|count| utf8(count * 10)),
        2 => payload(),
    ];
    (1..=2_u8, whole, prop::collection::vec(part, 0..6)).prop_map(|(opcode, whole, parts)| {
        let mut rest = &whole[..];
        let mut first = opcode;
        let mut bytes = Vec::new();
        for (size, mask, between) in parts {
            let (here, after) = rest.split_at(size.min(rest.len()));
            bytes.extend(encode(first, Some(mask), here));
            bytes.extend(between.unwrap_or_default());
            first = 0;
            rest = after;
        }
        bytes.extend(encode(0x80 | first, Some([1, 2, 3, 4]), rest));
        bytes
    })
}

/// A frame that is most likely forbidden where it stands.
fn odd() -> impl Strategy<Value = Vec<u8>> {
    let mask = prop::option::weighted(0.8, any::<[u8; 4]>());
    (any::<u8>(), mask, payload()).prop_map(|(first, mask, payload)| encode(first, mask, &payload))
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => single(0x81..=0x82_u8),
        8 => fragmented(),
        4 => control(),
        1 => single(0..=2_u8),
        1 => close(),
        1 => odd(),
    ];
    prop::collection::vec(part, 1..8).prop_map(|parts| parts.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1..16_usize, 1..8),
        prop::collection::vec(1..5_000_usize, 1..8),
        Just(vec![usize::MAX]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn same_as_tungstenite(bytes in stream(), sizes in sizes()) {
        compare(&bytes, &sizes);
    }

    #[test]
    fn same_when_damaged(
        mut bytes in stream(),
        sizes in sizes(),
        at in any::<prop::sample::Index>(),
        near in 0..16_usize,
        flip in 1..=255_u8,
    ) {
        // Half of the time near the start, where the headers are.
        let at = if flip % 2 == 0 { at.index(bytes.len()) } else { near.min(bytes.len() - 1) };
        bytes[at] ^= flip;
        compare(&bytes, &sizes);
    }

    #[test]
    fn same_when_cut(bytes in stream(), sizes in sizes(), at in any::<prop::sample::Index>()) {
        compare(&bytes[..at.index(bytes.len())], &sizes);
    }
}
