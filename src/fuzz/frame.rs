//! Websocket frames: the assembler against the websocket of tungstenite.

use std::io::{self, Cursor, Read, Write};

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Error};

use crate::wire::frame::{Assembler, CloseCode, FrameError, FrameLimits, Message};

/// The first byte says in which pieces the rest comes.
pub fn run(data: &[u8]) {
    if let Some((size, bytes)) = data.split_first() {
        let size = usize::from(*size);
        compare(bytes, &[size.max(1), size / 2 + 1]);
    }
}

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
        let Some(mut input) = rest.split_off_mut(..here) else {
            break;
        };
        loop {
            said.push(match assembler.next(&mut input, LIMITS) {
                Ok(None) => break,
                Ok(Some(Message::Text(text))) => Said::Text(text.to_owned()),
                Ok(Some(Message::Binary(data))) => Said::Binary(data.to_vec()),
                Ok(Some(Message::Ping(data))) => Said::Ping(data.to_vec()),
                Ok(Some(Message::Pong)) => Said::Pong,
                Ok(Some(Message::Close(code))) => {
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

/// Both say the same of these bytes, which come in pieces of these sizes, over and over.
pub(crate) fn compare(bytes: &[u8], sizes: &[usize]) {
    let (said, end) = ours(bytes, sizes);
    if end == End::Failed && has_long_length(bytes) {
        return;
    }
    let (mut expected, mut expected_end) = theirs(bytes, false);
    if end == End::Failed && expected_end == End::Fine {
        let unfilled = expected.len();
        (expected, expected_end) = theirs(bytes, true);
        expected.truncate(unfilled);
    }
    assert_eq!(said, expected);
    assert_eq!(end, expected_end);
}
