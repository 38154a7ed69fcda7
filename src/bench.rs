//! What benchmarks measure of the inside, as functions of public types: thin, so that what they
//! cost is what the inside costs.
//!
//! Behind the feature `bench`. None of it is the crate's interface; it changes with what it calls.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::id::PeerId;
use crate::session::outbox::{self, View};
use crate::signal::Signal;
use crate::wire::engine::{self, Outgoing};
use crate::wire::envelope::{self, Called};
use crate::wire::frame::{Assembler, FrameLimits, Message};
use crate::wire::segments::Segments;
use crate::wire::{payload, socket};

/// Bounds that nothing here reaches.
const AMPLE: usize = 1 << 20;

/// Pieces of one vectored write.
const SLICES: usize = 64;

/// The version of Engine.IO.
#[derive(Clone, Copy, Debug)]
pub enum Revision {
    V3,
    V4,
}

impl From<Revision> for engine::Revision {
    fn from(revision: Revision) -> Self {
        match revision {
            Revision::V3 => Self::V3,
            Revision::V4 => Self::V4,
        }
    }
}

/// The bytes of data in a packet that an Engine.IO message carries; `None` if it carries no event.
#[must_use]
pub fn decode_packet(revision: Revision, packet: &str) -> Option<usize> {
    let Ok(engine::Packet::Message(message)) = engine::decode_text(revision.into(), packet) else {
        return None;
    };
    match socket::decode(message, 0) {
        Ok(socket::Packet::Event { data, .. }) => Some(data.len()),
        _ => None,
    }
}

/// The bytes of binary data in a packet of base64; `None` if it is none.
#[must_use]
pub fn decode_base64(revision: Revision, packet: &str) -> Option<usize> {
    match engine::decode_text(revision.into(), packet) {
        Ok(engine::Packet::Binary(data)) => Some(data.len()),
        _ => None,
    }
}

/// Binary data as a packet of base64.
#[must_use]
pub fn encode_base64(revision: Revision, data: &[u8]) -> String {
    engine::base64(revision.into(), data)
}

/// The packet by which a client learns that it is connected.
#[must_use]
pub fn encode_connected(revision: Revision, id: &PeerId) -> Bytes {
    socket::connected(revision.into(), id.as_str(), None)
}

/// How many packets a polling body has.
#[must_use]
pub fn decode_payload(revision: Revision, body: &[u8]) -> usize {
    let packets = payload::decode(revision.into(), body, false);
    packets.take_while(Result::is_ok).count()
}

/// Signals that wait, to be written in one polling body.
#[derive(Debug)]
pub struct Payload(Vec<Outgoing>);

impl Payload {
    #[must_use]
    pub fn new(signals: &[Signal]) -> Self {
        let packets = signals.iter().map(|signal| signal.packet().clone());
        Self(packets.map(Outgoing::Text).collect())
    }

    #[must_use]
    pub fn encode(&self, revision: Revision) -> Bytes {
        payload::encode(revision.into(), &self.0, false).body
    }
}

/// How many bytes of text there are in the frames of one read, which is unmasked in place.
#[must_use]
pub fn read_frames(mut read: &mut [u8]) -> usize {
    let limits = FrameLimits {
        max_message: AMPLE,
        max_fragments: AMPLE,
    };
    let mut assembler = Assembler::default();
    let mut bytes = 0;
    while let Ok(Some(Message::Text(text))) = assembler.next(&mut read, limits) {
        bytes += text.len();
    }
    bytes
}

/// Frames these signals and prepares vectored writes of them, until all bytes are taken; how many.
#[must_use]
pub fn write_frames(signals: &[Signal]) -> usize {
    let mut segments = Segments::default();
    for signal in signals {
        segments.push_text(signal.packet().clone());
    }
    let mut written = 0;
    while segments.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = segments.chunks_vectored(&mut slices);
        let bytes = slices[..filled].iter().map(|slice| slice.len()).sum();
        segments.advance(bytes);
        written += bytes;
    }
    written
}

/// Whether that is a signaling event, in the data of a Socket.IO packet.
#[must_use]
pub fn scan_packet(data: &str) -> bool {
    matches!(
        envelope::read_packet(data, None),
        Ok(Called::Message(Ok(_)))
    )
}

/// Whether that is a signaling event, as plain JSON.
#[must_use]
pub fn scan_event(text: &str) -> bool {
    envelope::read_event(text).is_ok()
}

/// What receivers get of an event in the data of a Socket.IO packet.
#[must_use]
pub fn relay_packet(data: &str, caller: &PeerId) -> Option<Signal> {
    match envelope::read_packet(data, None) {
        Ok(Called::Message(Ok(event))) => event.splice(caller, Vec::new(), AMPLE).ok(),
        _ => None,
    }
}

/// What receivers get of an event in plain JSON.
#[must_use]
pub fn relay_event(text: &str, caller: &PeerId) -> Option<Signal> {
    let event = envelope::read_event(text).ok()?;
    event.splice(caller, Vec::new(), AMPLE).ok()
}

/// What waits for one client.
#[derive(Debug, Default)]
pub struct Outbox(outbox::Outbox);

impl Outbox {
    /// False if it is full.
    pub fn queue(&mut self, signal: &Signal) -> bool {
        let text = signal.packet().clone();
        self.0
            .push_signal(text, signal.attachments(), View::Packets, AMPLE)
            .is_ok()
    }

    /// Takes out up to so many bytes; how many packets.
    pub fn drain(&mut self, budget: usize) -> usize {
        self.0.take(budget).len()
    }
}
