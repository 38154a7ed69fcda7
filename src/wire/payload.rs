//! Long-polling bodies: several packets in one request or answer.
//!
//! Revision 3 puts a length before each packet, in text (`2:40`) or, when something in the body
//! is binary, in bytes. Revision 4 joins packets with a separator.

#[cfg(test)]
mod tests;

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

/// Whether a body has more than `max` packets; what is malformed ends it. Costs nothing for a body
/// that is too short for them.
pub(crate) fn has_more_than(max: usize, revision: Revision, body: &[u8], binary: bool) -> bool {
    if body.len() <= max {
        return false;
    }
    match revision {
        Revision::V3 => decode(revision, body, binary).nth(max).is_some(),
        Revision::V4 => memchr::memchr_iter(SEPARATOR as u8, body).count() >= max,
    }
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
    // So few that a byte holds their sum, and the processor adds sixteen or more at once.
    let pieces = text.chunks(127).map(|piece| {
        let units = piece
            .iter()
            .map(|&byte| u8::from(byte & 0xc0 != 0x80) + u8::from(byte >= 0xf0));
        usize::from(units.sum::<u8>())
    });
    pieces.sum()
}

/// The decimal digits of a number, as values.
fn decimal(number: usize) -> impl Iterator<Item = u8> {
    let top = number.checked_ilog10().unwrap_or(0);
    (0..=top)
        .rev()
        .filter_map(move |power| u8::try_from(number / 10_usize.pow(power) % 10).ok())
}
