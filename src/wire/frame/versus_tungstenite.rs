//! The assembler against the websocket of tungstenite, on generated frames.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Error};

use super::{Assembler, CloseCode, Cursor, FrameError, FrameHeader, FrameLimits, OpCode};

const MAX_MESSAGE: usize = 66_000;

/// Tungstenite has no bound of fragments.
const LIMITS: FrameLimits = FrameLimits {
    max_message: MAX_MESSAGE,
    max_fragments: usize::MAX,
};

#[derive(Clone, Debug, PartialEq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<CloseCode>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// More bytes could follow, or the client closed.
    Fine,
    InvalidUtf8,
    /// Any other error.
    Failed,
}

fn ours(bytes: &[u8], sizes: &[usize]) -> (Vec<Said>, End) {
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.as_mut_slice();
    let mut assembler = Assembler::default();
    let mut said = Vec::new();
    for size in sizes.iter().cycle() {
        let here = rest.len().min(*size);
        let mut input = rest.split_off_mut(..here).unwrap();
        loop {
            said.push(match assembler.next(&mut input, LIMITS) {
                Ok(None) => break,
                Ok(Some(super::Message::Text(text))) => Said::Text(text.to_owned()),
                Ok(Some(super::Message::Binary(data))) => Said::Binary(data.to_vec()),
                Ok(Some(super::Message::Ping(data))) => Said::Ping(data.to_vec()),
                Ok(Some(super::Message::Pong)) => Said::Pong,
                Ok(Some(super::Message::Close(code))) => {
                    said.push(Said::Close(code));
                    return (said, End::Fine);
                }
                Err(FrameError::InvalidUtf8) => return (said, End::InvalidUtf8),
                Err(_) => return (said, End::Failed),
            });
        }
        if rest.is_empty() {
            break;
        }
    }
    (said, End::Fine)
}

/// What arrived so far; what is written to it is lost.
struct Wire(io::Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of `bytes`.
///
/// It judges a frame only when all of it has come, where ours looks at the header. So if `filled`,
/// zeros follow that complete the last frame; nothing said after them counts.
fn theirs(bytes: &[u8], filled: bool) -> (Vec<Said>, End) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_frame_size(Some(MAX_MESSAGE))
        .max_message_size(Some(MAX_MESSAGE));
    let wire = Wire(io::Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config));
    let mut said = Vec::new();
    loop {
        said.push(match socket.read() {
            Ok(tungstenite::Message::Text(text)) => Said::Text(text.to_string()),
            Ok(tungstenite::Message::Binary(data)) => Said::Binary(data.to_vec()),
            Ok(tungstenite::Message::Ping(data)) => Said::Ping(data.to_vec()),
            Ok(tungstenite::Message::Pong(_)) => Said::Pong,
            Ok(tungstenite::Message::Close(Some(close)))
                if close.reason.as_str() == "Protocol violation" =>
            {
                // Its way to report a code that is not allowed.
                return (said, End::Failed);
            }
            Ok(tungstenite::Message::Close(close)) => {
                said.push(Said::Close(close.map(|close| close.code)));
                return (said, End::Fine);
            }
            Ok(tungstenite::Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                let wire = socket.get_mut().0.get_mut();
                if !filled || wire.len() > bytes.len() {
                    return (said, End::Fine);
                }
                wire.resize(bytes.len() + MAX_MESSAGE, 0);
                continue;
            }
            Err(Error::Utf8(_)) => return (said, End::InvalidUtf8),
            Err(_) => return (said, End::Failed),
        });
    }
}

/// Whether a length is longer than it has to be, which tungstenite accepts.
fn has_long_length(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    while let Ok(Some((header, length))) = {
        cursor.set_position(0);
        FrameHeader::parse(&mut cursor)
    } {
        if cursor.position() > header.len(length) as u64 {
            return true;
        }
        let end = cursor.position().saturating_add(length);
        let Some(rest) = usize::try_from(end)
            .ok()
            .and_then(|end| cursor.into_inner().get(end..))
        else {
            return false;
        };
        cursor = Cursor::new(rest);
    }
    false
}

fn compare(bytes: &[u8], sizes: &[usize]) -> Result<(), TestCaseError> {
    let (said, end) = ours(bytes, sizes);
    if end == End::Failed && has_long_length(bytes) {
        return Ok(());
    }
    let (mut expected, mut expected_end) = theirs(bytes, false);
    if end == End::Failed && expected_end == End::Fine {
        let unfilled = expected.len();
        (expected, expected_end) = theirs(bytes, true);
        expected.truncate(unfilled);
    }
    prop_assert_eq!(said, expected);
    prop_assert_eq!(end, expected_end);
    Ok(())
}

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
        compare(&bytes, &sizes)?;
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
        compare(&bytes, &sizes)?;
    }

    #[test]
    fn same_when_cut(bytes in stream(), sizes in sizes(), at in any::<prop::sample::Index>()) {
        compare(&bytes[..at.index(bytes.len())], &sizes)?;
    }
}
