//! Websocket frames of a server: bytes in, messages out (RFC 6455).
//!
//! The usual websocket stream keeps a read buffer, and its largest message, for every connection.
//! [`Assembler`] reads from a buffer that connections share, lends a message out of it where it
//! can, and holds memory only while a message is incomplete.

mod outgoing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod versus_tungstenite;

use std::mem;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
pub(crate) use tokio_tungstenite::tungstenite::protocol::frame::coding::{
    CloseCode, Control, Data, OpCode,
};

pub(crate) use outgoing::{Header, close, ping, pong};

/// The longest frame header that a client can send: 2 bytes, a 64-bit length and a mask.
const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455 5.5).
const MAX_CONTROL: usize = 125;

/// How much a client may say at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameLimits {
    /// Bytes of one text or binary message, all its fragments together.
    pub(crate) max_message: usize,
    /// Frames of one text or binary message, empty ones included.
    pub(crate) max_fragments: usize,
}

/// What arrived and is not read yet. It is unmasked in place.
pub(crate) type Input<'a> = &'a mut [u8];

/// What a client said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// To be answered with a [`pong`] of the same payload.
    Ping(&'a [u8]),
    Pong,
    /// The client's last message, with its code if it gave one. What follows is to be ignored.
    Close(Option<CloseCode>),
}

impl<'a> Message<'a> {
    fn new(opcode: OpCode, payload: &'a [u8]) -> Result<Self, FrameError> {
        Ok(match opcode {
            OpCode::Data(Data::Text) => Self::Text(text(payload)?),
            OpCode::Data(Data::Binary) => Self::Binary(payload),
            OpCode::Control(Control::Ping) => Self::Ping(payload),
            OpCode::Control(Control::Pong) => Self::Pong,
            OpCode::Control(Control::Close) => Self::Close(close_code(payload)?),
            OpCode::Data(_) | OpCode::Control(_) => return Err(FrameError::Protocol),
        })
    }
}

/// Why a connection has to be failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// Bytes that RFC 6455 forbids a client to send.
    Protocol,
    /// A text or the reason of a close that is not UTF-8.
    InvalidUtf8,
    /// A message over [`FrameLimits::max_message`].
    TooLarge,
    /// A message over [`FrameLimits::max_fragments`].
    TooManyFragments,
}

impl FrameError {
    /// The code to close with (RFC 6455 7.4.1).
    pub(crate) const fn close_code(self) -> CloseCode {
        match self {
            Self::Protocol => CloseCode::Protocol,
            Self::InvalidUtf8 => CloseCode::Invalid,
            Self::TooLarge => CloseCode::Size,
            Self::TooManyFragments => CloseCode::Policy,
        }
    }
}

/// Turns what a client sends, cut anywhere, into messages.
///
/// A pointer in size; it owns memory only while a frame or a fragmented message is incomplete, and
/// then at most twice what arrived of it.
#[derive(Debug, Default)]
pub(crate) struct Assembler(Option<Box<Partial>>);

impl Assembler {
    /// Takes the next message out of `input` and moves `input` past the bytes used.
    ///
    /// `None` means that all of `input` is used and more is needed. A message that lies in `input`
    /// as one frame is unmasked and lent in place. Memory of a message that came in pieces is given
    /// back at the following call, so call until `None`.
    ///
    /// # Errors
    ///
    /// The connection has to be failed; do not call again. What a frame header shows to be wrong is
    /// reported without waiting for the payload.
    pub(crate) fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut Input<'i>,
        limits: FrameLimits,
    ) -> Result<Option<Message<'s>>, FrameError> {
        self.forget_delivered();
        let opcode = loop {
            match self.step(input, limits)? {
                Step::Starved => return Ok(None),
                Step::Fragment => {}
                Step::InPlace(message) => return Ok(Some(message)),
                Step::Collected(opcode) => break opcode,
            }
        };
        let collected = self.0.as_deref().map_or(&[][..], |p| &p.delivered);
        Message::new(opcode, collected).map(Some)
    }

    /// Whether a message, or a frame, has begun and is not all there; asked when more is needed.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.0.is_some()
    }

    fn forget_delivered(&mut self) {
        if let Some(partial) = &mut self.0 {
            partial.delivered = Vec::new();
            if partial.is_empty() {
                self.0 = None;
            }
        }
    }

    /// Goes on to the end of a frame or of `input`.
    fn step<'i>(
        &mut self,
        input: &mut Input<'i>,
        limits: FrameLimits,
    ) -> Result<Step<'i>, FrameError> {
        if let Some(frame) = self.0.as_mut().and_then(|p| p.frame.take()) {
            return self.collect(frame, input, limits);
        }
        let Some((header, length)) = self.take_header(input)? else {
            return Ok(Step::Starved);
        };
        let frame = self.admit(&header, length, limits)?;
        if frame.is_message
            && let Some(payload) = input.split_off_mut(..frame.left)
        {
            unmask(payload, frame.mask);
            return Message::new(frame.opcode, payload).map(Step::InPlace);
        }
        self.collect(frame, input, limits)
    }

    /// Takes a frame header out of `input`, or all of `input` if it ends within the header.
    fn take_header(
        &mut self,
        input: &mut Input<'_>,
    ) -> Result<Option<(FrameHeader, u64)>, FrameError> {
        if input.is_empty() {
            return Ok(None);
        }
        let mut held = match &mut self.0 {
            Some(partial) => mem::take(&mut partial.header),
            None => Vec::new(),
        };
        let before = held.len();
        let parsed = if before == 0 {
            parse_header(input)?
        } else {
            held.extend(input.iter().take(MAX_HEADER.saturating_sub(before)));
            parse_header(&held)?
        };
        if let Some((header, length)) = parsed {
            let here = header.len(length).saturating_sub(before);
            *input = mem::take(input).get_mut(here..).unwrap_or_default();
            return Ok(Some((header, length)));
        }
        if before == 0 {
            held.extend_from_slice(input);
        }
        *input = &mut [];
        self.0.get_or_insert_default().header = held;
        Ok(None)
    }

    /// Checks whether a frame of this header may come now.
    fn admit(
        &mut self,
        header: &FrameHeader,
        length: u64,
        limits: FrameLimits,
    ) -> Result<Frame, FrameError> {
        let open = self.0.as_mut().and_then(|p| p.open.as_mut());
        let mut opcode = header.opcode;
        let mut is_message = header.is_final;
        let mut room = limits.max_message;
        match (header.opcode, open) {
            // 5.5: neither fragmented nor longer than 125 bytes.
            (OpCode::Control(_), _) => {
                if !header.is_final || length > MAX_CONTROL as u64 {
                    return Err(FrameError::Protocol);
                }
                room = MAX_CONTROL;
            }
            (OpCode::Data(Data::Text | Data::Binary), None) => {}
            (OpCode::Data(Data::Continue), Some(open)) => {
                if open.fragments >= limits.max_fragments {
                    return Err(FrameError::TooManyFragments);
                }
                open.fragments += 1;
                opcode = open.opcode;
                is_message = false;
                room = room.saturating_sub(open.bytes.len());
            }
            // 5.4: messages are not interleaved, and a continuation continues one.
            (OpCode::Data(_), _) => return Err(FrameError::Protocol),
        }
        Ok(Frame {
            opcode,
            is_final: header.is_final,
            is_message,
            // 5.1: a client masks every frame.
            mask: header.mask.ok_or(FrameError::Protocol)?,
            left: usize::try_from(length)
                .ok()
                .filter(|&length| length <= room)
                .ok_or(FrameError::TooLarge)?,
        })
    }

    /// Copies what arrived of a frame's payload to what is held already.
    fn collect(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'_>,
        limits: FrameLimits,
    ) -> Result<Step<'static>, FrameError> {
        let partial = self.0.get_or_insert_default();
        let control = matches!(frame.opcode, OpCode::Control(_));
        let target = if control {
            &mut partial.control
        } else {
            &mut partial.open.get_or_insert(Open::new(frame.opcode)).bytes
        };
        let most = if frame.is_final {
            target.len().saturating_add(frame.left)
        } else {
            limits.max_message
        };
        append(target, frame.take_payload(input), most);

        if frame.left > 0 {
            partial.frame = Some(frame);
            return Ok(Step::Starved);
        }
        if control {
            partial.delivered = mem::take(&mut partial.control);
        } else if frame.is_final {
            partial.delivered = partial.open.take().map_or_else(Vec::new, |open| open.bytes);
        } else {
            if let Some(open) = &mut partial.open {
                open.check_text()?;
            }
            return Ok(Step::Fragment);
        }
        Ok(Step::Collected(frame.opcode))
    }
}

/// How far [`Assembler::step`] came.
enum Step<'a> {
    /// The input is used up.
    Starved,
    /// A fragment ended that is not the last one.
    Fragment,
    /// A message lay in the input.
    InPlace(Message<'a>),
    /// A message is in [`Partial::delivered`].
    Collected(OpCode),
}

/// Everything that has to outlive one input.
#[derive(Debug, Default)]
struct Partial {
    /// The start of a header.
    header: Vec<u8>,
    /// The frame whose payload is incomplete.
    frame: Option<Frame>,
    /// Payload of a control frame; kept apart because it may come between fragments (5.4).
    control: Vec<u8>,
    /// The text or binary message that is incomplete.
    open: Option<Open>,
    /// The message that the caller is looking at.
    delivered: Vec<u8>,
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.header.is_empty() && self.frame.is_none() && self.open.is_none()
    }
}

/// A frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    /// What the message is; never a continuation.
    opcode: OpCode,
    is_final: bool,
    /// This frame alone is a message.
    is_message: bool,
    /// Turned so that its first byte belongs to the next byte of the payload.
    mask: [u8; 4],
    /// Payload bytes still to come.
    left: usize,
}

impl Frame {
    /// Takes what is there of the payload, unmasked.
    fn take_payload<'i>(&mut self, input: &mut Input<'i>) -> &'i [u8] {
        let here = self.left.min(input.len());
        let Some(piece) = input.split_off_mut(..here) else {
            return &[];
        };
        unmask(piece, self.mask);
        self.mask.rotate_left(here % 4);
        self.left -= here;
        piece
    }
}

/// A text or binary message that is incomplete.
#[derive(Debug)]
struct Open {
    opcode: OpCode,
    bytes: Vec<u8>,
    fragments: usize,
    /// Bytes at the start that are known to be UTF-8.
    checked: usize,
}

impl Open {
    const fn new(opcode: OpCode) -> Self {
        Self {
            opcode,
            bytes: Vec::new(),
            fragments: 1,
            checked: 0,
        }
    }

    /// Fails a text that no continuation can make valid; a character may still lack its end.
    fn check_text(&mut self) -> Result<(), FrameError> {
        if self.opcode != OpCode::Data(Data::Text) {
            return Ok(());
        }
        let unchecked = self.bytes.get(self.checked..).unwrap_or_default();
        self.checked += match str::from_utf8(unchecked) {
            Ok(valid) => valid.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(FrameError::InvalidUtf8),
        };
        Ok(())
    }
}

/// Reads the header at the start of `bytes`; `None` if it does not end there.
///
/// By hand: through a cursor it takes as long as to unmask and check what a small frame carries.
fn parse_header(bytes: &[u8]) -> Result<Option<(FrameHeader, u64)>, FrameError> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let (length, least, rest) = match second & 0x7f {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*length)), 126, rest)
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*length), 1 << 16, rest)
        }
        length => (u64::from(length), 0, rest),
    };
    let mask = match rest.first_chunk() {
        _ if second & 0x80 == 0 => None,
        None => return Ok(None),
        mask => mask.copied(),
    };
    let opcode = OpCode::from(first & 0x0f);
    let is_known = !matches!(
        opcode,
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_))
    );
    // 5.2: reserved bits belong to extensions, of which none was agreed on; a length takes the
    // shortest of its forms.
    if !is_known || first & 0x70 != 0 || length < least {
        return Err(FrameError::Protocol);
    }
    let header = FrameHeader {
        is_final: first & 0x80 != 0,
        opcode,
        mask,
        ..FrameHeader::default()
    };
    Ok(Some((header, length)))
}

/// Undoes the client's masking (RFC 6455 5.3).
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let apply = |words: &mut [[u8; 8]]| {
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
    };
    // Of a known size, so that the compiler takes as many at once as the processor can.
    let (blocks, rest) = bytes.as_chunks_mut::<64>();
    for block in blocks {
        apply(block.as_chunks_mut().0);
    }
    let (words, rest) = rest.as_chunks_mut();
    apply(words);
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends `piece`; room at most doubles, and beyond what is needed stays within `most`.
fn append(buffer: &mut Vec<u8>, piece: &[u8], most: usize) {
    let needed = buffer.len().saturating_add(piece.len());
    if needed > buffer.capacity() {
        let wanted = buffer.len().saturating_mul(2).min(most).max(needed);
        buffer.reserve_exact(wanted - buffer.len());
    }
    buffer.extend_from_slice(piece);
}

fn text(bytes: &[u8]) -> Result<&str, FrameError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| FrameError::InvalidUtf8)
}

/// Reads the payload of a close frame (RFC 6455 5.5.1): nothing, or a code and a reason.
fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::Protocol)
        };
    };
    text(reason)?;
    // 7.4: some codes only describe an end, and others are not assigned.
    let code = CloseCode::from(u16::from_be_bytes(*code));
    if code.is_allowed() {
        Ok(Some(code))
    } else {
        Err(FrameError::Protocol)
    }
}
