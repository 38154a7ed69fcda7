//! Websocket frames on their way out: small headers of their own, bodies shared with others.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::frame::{self, Data, Header, OpCode};

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

    /// A whole frame, made elsewhere.
    pub(crate) fn push_frame(&mut self, frame: Bytes) {
        self.push(None, frame);
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
        self.bytes = self.bytes.saturating_sub(count);
        self.written += count;
        while let Some(frame) = self.frames.front() {
            if self.written < frame.len() {
                return;
            }
            self.written -= frame.len();
            self.frames.pop_front();
        }
        // Nothing left: nothing kept.
        *self = Self::default();
    }
}
