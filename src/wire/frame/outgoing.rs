//! Frames that the server sends: unmasked and unfragmented.

use std::io::Write;

use bytes::Bytes;

use super::{CloseCode, Control, FrameHeader, MAX_CONTROL, OpCode};

/// The longest unmasked header, and one byte of payload.
const CAPACITY: usize = 11;

/// What goes before the payload of an outgoing frame, on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Header {
    /// The header of a frame of `payload_len` bytes, followed by `prefix`, if any.
    ///
    /// The prefix is one more byte of payload, not counted in `payload_len`: Engine.IO 3 puts the
    /// packet type before binary data.
    pub(crate) fn new(opcode: OpCode, payload_len: usize, prefix: Option<u8>) -> Self {
        let prefix = prefix.as_slice();
        let header = FrameHeader {
            opcode,
            ..FrameHeader::default()
        };
        let length = (payload_len as u64).saturating_add(prefix.len() as u64);
        let mut bytes = [0; CAPACITY];
        let mut rest = &mut bytes[..];
        let fits = header.format(length, &mut rest).is_ok() && rest.write_all(prefix).is_ok();
        debug_assert!(fits, "a header is at most {CAPACITY} bytes");
        let len = CAPACITY - rest.len();
        Self { bytes, len }
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A whole ping frame without payload.
pub(crate) fn ping() -> Bytes {
    control(Control::Ping, &[])
}

/// A whole pong frame; `data` is what the ping brought.
pub(crate) fn pong(data: &[u8]) -> Bytes {
    control(Control::Pong, data)
}

/// A whole close frame.
///
/// The answer to a close without code has none either; `reason` is then left out, and it is cut
/// where a control frame ends.
pub(crate) fn close(code: Option<CloseCode>, reason: &str) -> Bytes {
    let mut payload = Vec::new();
    if let Some(code) = code {
        let mut end = reason.len().min(MAX_CONTROL - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        payload.extend(u16::from(code).to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
    }
    control(Control::Close, &payload)
}

fn control(kind: Control, payload: &[u8]) -> Bytes {
    let payload = payload.get(..MAX_CONTROL).unwrap_or(payload);
    let header = Header::new(OpCode::Control(kind), payload.len(), None);
    [header.as_ref(), payload].concat().into()
}

#[cfg(test)]
mod tests {
    use super::super::Data;
    use super::*;

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const BINARY: OpCode = OpCode::Data(Data::Binary);

    #[test]
    fn header_takes_the_shortest_length() {
        assert_eq!(Header::new(TEXT, 0, None).as_ref(), [0x81, 0]);
        assert_eq!(Header::new(TEXT, 125, None).as_ref(), [0x81, 125]);
        assert_eq!(Header::new(BINARY, 126, None).as_ref(), [0x82, 126, 0, 126]);
        assert_eq!(
            Header::new(TEXT, 65_535, None).as_ref(),
            [0x81, 126, 255, 255]
        );
        assert_eq!(
            Header::new(TEXT, 65_536, None).as_ref(),
            [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn prefix_counts_as_payload() {
        assert_eq!(Header::new(BINARY, 0, Some(4)).as_ref(), [0x82, 1, 4]);
        assert_eq!(
            Header::new(BINARY, 125, Some(4)).as_ref(),
            [0x82, 126, 0, 126, 4]
        );
        assert_eq!(
            Header::new(BINARY, 65_535, Some(4)).as_ref(),
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0, 4]
        );
    }

    #[test]
    fn control_frames() {
        assert_eq!(ping(), [0x89, 0][..]);
        assert_eq!(pong(b"ab"), b"\x8a\x02ab"[..]);
        assert_eq!(close(None, "unsaid"), [0x88, 0][..]);
        assert_eq!(
            close(Some(CloseCode::Unsupported), "text only"),
            b"\x88\x0b\x03\xebtext only"[..]
        );
    }

    #[test]
    fn control_frames_end_at_125_bytes() {
        assert_eq!(pong(&[7; 126]).len(), 2 + 125);
        assert_eq!(close(Some(CloseCode::Normal), &"x".repeat(200)).len(), 127);
        // 123 bytes are left for the reason, and the 123rd is the middle of the last character.
        let frame = close(Some(CloseCode::Normal), &"é".repeat(100));
        assert_eq!(frame[1], 124);
        assert_eq!(str::from_utf8(&frame[4..]), Ok(&*"é".repeat(61)));
    }
}
