//! Websocket frames on their way out: small headers of their own, bodies shared with others.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::{self, Data, Header, OpCode};

/// A body of this size is handed over as it is; copying a smaller one costs less than a piece of
/// its own.
const SHARED_BODY: usize = 4 << 10;

/// Small frames are gathered into pieces of about this size.
const GATHERED: usize = 8 << 10;

/// Pieces of one vectored write: a header and a body for each of 32 frames.
pub(crate) const SLICES: usize = 64;

/// Frames to be written in one go. Behaves as a [`Buf`], so that a partial write is remembered.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    frames: VecDeque<Frame>,
    /// Bytes not yet written.
    bytes: usize,
    /// How much of the first frame is written.
    written: usize,
}

#[derive(Debug)]
struct Frame {
    /// Absent where the body is a whole frame.
    header: Option<Header>,
    body: Bytes,
}

impl Frame {
    fn header(&self) -> &[u8] {
        self.header.as_ref().map(AsRef::as_ref).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.header().len() + self.body.len()
    }

    /// What is left of header and body after `written` bytes.
    fn rest(&self, written: usize) -> [&[u8]; 2] {
        let header = self.header();
        [
            header.get(written..).unwrap_or_default(),
            self.body
                .get(written.saturating_sub(header.len())..)
                .unwrap_or_default(),
        ]
    }
}

impl Segments {
    /// Bytes not yet written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push_text(&mut self, text: Bytes) {
        let header = Header::new(OpCode::Data(Data::Text), text.len(), None);
        self.push(Some(header), text);
    }

    /// A binary message; `prefix` goes before the data.
    pub(crate) fn push_binary(&mut self, data: Bytes, prefix: Option<u8>) {
        let header = Header::new(OpCode::Data(Data::Binary), data.len(), prefix);
        self.push(Some(header), data);
    }

    pub(crate) fn push_ping(&mut self) {
        self.push_frame(frame::ping());
    }

    /// Appends all that is not written.
    pub(crate) fn copy_to(&self, target: &mut Vec<u8>) {
        target.reserve(self.bytes);
        let mut written = self.written;
        for frame in &self.frames {
            for part in frame.rest(std::mem::take(&mut written)) {
                target.extend_from_slice(part);
            }
        }
    }

    /// Gives back the memory of frames that are written.
    pub(crate) fn release(&mut self) {
        if self.frames.is_empty() {
            *self = Self::default();
        }
    }

    /// A whole frame, made elsewhere.
    pub(crate) fn push_frame(&mut self, frame: Bytes) {
        self.push(None, frame);
    }

    /// Takes the next piece of what is to be written, for a stack that takes buffers one by one:
    /// small frames together in one copy, a large body by itself and shared. Empty: nothing is left.
    pub(crate) fn take_piece(&mut self) -> Bytes {
        let mut gathered = BytesMut::new();
        while gathered.len() < GATHERED {
            let Some(frame) = self.frames.front() else {
                break;
            };
            let [header, body] = frame.rest(self.written);
            if header.is_empty() && body.len() >= SHARED_BODY {
                if gathered.is_empty() {
                    let body = frame.body.slice_ref(body);
                    self.advance(body.len());
                    return body;
                }
                break;
            }
            if gathered.is_empty() {
                gathered.reserve(self.bytes.min(GATHERED));
            }
            let part = if header.is_empty() { body } else { header };
            let count = part.len();
            gathered.put_slice(part);
            self.advance(count);
        }
        gathered.freeze()
    }

    fn push(&mut self, header: Option<Header>, body: Bytes) {
        let frame = Frame { header, body };
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        let Some(frame) = self.frames.front() else {
            return &[];
        };
        let [header, body] = frame.rest(self.written);
        if header.is_empty() { body } else { header }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut written = self.written;
        let mut filled = 0;
        for frame in &self.frames {
            for part in frame.rest(std::mem::take(&mut written)) {
                if part.is_empty() {
                    continue;
                }
                let Some(slice) = slices.get_mut(filled) else {
                    return filled;
                };
                *slice = IoSlice::new(part);
                filled += 1;
            }
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        // Sockets mostly take all of it.
        if count >= self.bytes {
            self.frames.clear();
            (self.bytes, self.written) = (0, 0);
            return;
        }
        self.bytes = self.bytes.saturating_sub(count);
        self.written += count;
        while let Some(frame) = self.frames.front() {
            if self.written < frame.len() {
                return;
            }
            self.written -= frame.len();
            self.frames.pop_front();
        }
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of each kind, and what they are in one piece.
    fn filled() -> (Segments, Vec<u8>) {
        let long = vec![7; 200];
        let mut segments = Segments::default();
        segments.push_text(Bytes::from_static(b"2"));
        segments.push_text(Bytes::new());
        segments.push_binary(Bytes::from_static(&[1, 2]), Some(4));
        segments.push_ping();
        segments.push_binary(long.clone().into(), None);
        segments.push_frame(frame::close(None, ""));
        let whole = [
            &[0x81, 1, b'2'][..],
            &[0x81, 0],
            &[0x82, 3, 4, 1, 2],
            &[0x89, 0],
            &[0x82, 126, 0, 200],
            &long,
            &[0x88, 0],
        ];
        (segments, whole.concat())
    }

    fn vectored(segments: &Segments, slices: usize) -> Vec<Vec<u8>> {
        let mut room = vec![IoSlice::new(&[]); slices];
        let filled = segments.chunks_vectored(&mut room);
        let filled = room[..filled].iter();
        filled.map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_write_may_stop_anywhere() {
        let whole = filled().1;
        for first in 0..=whole.len() {
            let mut segments = filled().0;
            segments.advance(first);
            let rest = &whole[first..];
            assert_eq!(segments.bytes(), rest.len());
            assert_eq!(segments.remaining(), rest.len());
            assert_eq!(vectored(&segments, 20).concat(), rest, "{first}");
            assert!(rest.starts_with(segments.chunk()));
            assert_eq!(segments.chunk().is_empty(), rest.is_empty());
            assert_eq!(segments.copy_to_bytes(rest.len()), rest, "{first}");
            assert!(!segments.has_remaining());
        }
    }

    #[test]
    fn writes_add_up_whatever_their_size() {
        let whole = filled().1;
        for size in 1..whole.len() {
            let mut segments = filled().0;
            let mut written = Vec::new();
            while segments.has_remaining() {
                let bytes = vectored(&segments, 3).concat();
                let count = bytes.len().min(size);
                written.extend_from_slice(&bytes[..count]);
                segments.advance(count);
            }
            assert_eq!(written, whole, "{size}");
        }
    }

    #[test]
    fn slices_are_filled_as_far_as_they_go() {
        let (mut segments, whole) = filled();
        assert!(vectored(&segments, 0).is_empty());
        assert_eq!(vectored(&segments, 1), [[0x81, 1]]);
        // Header and body of the first, the empty text, header and body of the third.
        let five = vectored(&segments, 5);
        assert_eq!(five.concat(), whole[..10]);
        assert_eq!(five.len(), 5);
        assert!(five.iter().all(|slice| !slice.is_empty()));
        segments.advance(1);
        assert_eq!(vectored(&segments, 2), [[1], [b'2']]);
    }

    #[test]
    fn more_may_be_pushed_while_some_is_written() {
        let (mut segments, mut whole) = filled();
        segments.advance(1);
        segments.push_text(Bytes::from_static(b"3"));
        whole.extend([0x81, 1, b'3']);
        assert_eq!(segments.bytes(), whole.len() - 1);
        assert_eq!(vectored(&segments, 20).concat(), whole[1..]);
    }

    #[test]
    fn bodies_are_shared() {
        let body = Bytes::from(vec![1; 1_000]);
        let mut segments = Segments::default();
        segments.push_text(body.clone());
        segments.advance(4);
        assert_eq!(segments.chunk().as_ptr(), body.as_ptr());
    }

    fn pieces(segments: &mut Segments) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        while segments.has_remaining() {
            let before = segments.bytes();
            let piece = segments.take_piece();
            assert_eq!(segments.bytes(), before - piece.len());
            assert!(!piece.is_empty());
            pieces.push(piece);
        }
        assert!(segments.take_piece().is_empty());
        pieces
    }

    #[test]
    fn small_frames_are_one_piece() {
        let whole = filled().1;
        for first in 0..whole.len() {
            let mut segments = filled().0;
            segments.advance(first);
            assert_eq!(pieces(&mut segments), [&whole[first..]], "{first}");
        }
    }

    #[test]
    fn pieces_are_bounded_however_many_frames_there_are() {
        let mut segments = Segments::default();
        let mut whole = Vec::new();
        for _ in 0..100 {
            segments.push_text(vec![b'x'; 1_000].into());
            whole.extend([0x81, 126, 0x03, 0xe8]);
            whole.extend([b'x'; 1_000]);
        }
        let pieces = pieces(&mut segments);
        assert_eq!(pieces.concat(), whole);
        assert!(pieces.len() > 10);
        assert!(pieces.iter().all(|piece| piece.len() < 2 * GATHERED));
    }

    #[test]
    fn large_bodies_are_pieces_of_their_own_and_shared() {
        let body = Bytes::from(vec![1; 100_000]);
        let mut segments = Segments::default();
        segments.push_text(Bytes::from_static(b"2"));
        segments.push_binary(body.clone(), None);
        segments.push_binary(body.clone(), None);
        segments.push_ping();
        segments.advance(1);
        let pieces = pieces(&mut segments);
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [2 + 10, 100_000, 10, 100_000, 2]);
        assert_eq!(pieces[1].as_ptr(), body.as_ptr());
        assert_eq!(pieces[3].as_ptr(), body.as_ptr());

        // The rest of one that is written in part.
        let mut segments = Segments::default();
        segments.push_binary(body.clone(), None);
        segments.advance(10 + 50_000);
        assert_eq!(segments.take_piece().as_ptr(), body[50_000..].as_ptr());
    }

    #[test]
    fn nothing_left_is_nothing_kept() {
        let (mut segments, whole) = filled();
        segments.advance(whole.len() - 1);
        assert_ne!(segments.frames.capacity(), 0);
        segments.release();
        assert_eq!(segments.bytes(), 1, "of what is not written nothing goes");
        segments.advance(1);
        segments.release();
        assert_eq!(segments.frames.capacity(), 0);
        assert_eq!((segments.bytes, segments.written), (0, 0));
        assert!(segments.chunk().is_empty());
    }
}
