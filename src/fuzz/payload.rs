//! Polling payloads: reading never fails in another way than by saying so, and what was read, said
//! again, is read as the same.

use bytes::Bytes;

use crate::wire::engine::{Malformed, Outgoing, Packet, Revision};
use crate::wire::payload;

/// The first byte says how the rest is sent.
pub fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let revision = if kind & 1 == 0 {
        Revision::V3
    } else {
        Revision::V4
    };
    let binary = kind & 2 != 0;
    let read: Vec<_> = payload::decode(revision, body, binary).collect();
    // Each packet needs a byte at least, and after an error comes nothing.
    assert!(read.len() <= body.len() + 1);
    let errors = read.iter().position(Result::is_err);
    assert!(errors.is_none_or(|at| at + 1 == read.len()));
    for max in [0, 1, read.len()] {
        let more = payload::has_more_than(max, revision, body, binary);
        assert!(more || read.iter().filter(|packet| packet.is_ok()).count() <= max);
    }

    let packets: Vec<_> = read.iter().flatten().filter_map(said_again).collect();
    if packets.is_empty() {
        return;
    }
    for base64 in [false, true] {
        let encoded = payload::encode(revision, &packets, base64);
        let again = payload::decode(revision, &encoded.body, encoded.binary);
        let again: Result<Vec<_>, Malformed> = again.collect();
        let again: Vec<_> = again.iter().flatten().filter_map(said_again).collect();
        assert_eq!(again, packets);
    }
}

/// The packet as a server would say it; none for those whose text is not kept.
fn said_again(packet: &Packet<'_>) -> Option<Outgoing> {
    Some(match packet {
        // A separator in a message is two packets, whoever says it.
        Packet::Message(text) if text.contains('\x1e') => return None,
        Packet::Message(text) => Outgoing::Text(format!("4{text}").into()),
        Packet::Binary(data) => Outgoing::Binary(Bytes::copy_from_slice(data)),
        _ => return None,
    })
}
