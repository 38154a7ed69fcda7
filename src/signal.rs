//! One message, encoded once and shared by all its receivers.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A signaling event in its final form. Cloning bumps reference counts.
///
/// The text is the Socket.IO packet (`42["message",{…}]`, or `452-["message",{…}]` when two
/// attachments follow); the plain JSON form `{…}` is a slice of the same buffer.
#[derive(Clone, Debug)]
pub struct Signal {
    text: Bytes,
    event: Range<u32>,
    attachments: Option<Arc<Attachments>>,
}

/// Binary parts of one signal.
#[derive(Debug)]
pub(crate) struct Attachments {
    /// In the order of their numbers, as Socket.IO sends them.
    pub(crate) parts: Vec<Bytes>,
    /// For each placeholder in the text, in order, the number of its attachment: what a plain
    /// JSON client is sent. At least one for each part.
    pub(crate) placeholders: Vec<u32>,
}

impl Signal {
    /// `text` is the whole packet, `event` where its JSON object stands.
    pub(crate) fn from_parts(
        text: Bytes,
        event: Range<u32>,
        attachments: Option<Arc<Attachments>>,
    ) -> Self {
        debug_assert_eq!(text.get(event.start as usize), Some(&b'{'));
        Self { text, event, attachments }
    }

    /// The Socket.IO packet within its Engine.IO message.
    pub(crate) fn packet(&self) -> &Bytes {
        &self.text
    }

    pub(crate) fn attachments(&self) -> Option<&Attachments> {
        self.attachments.as_deref()
    }

    /// The event as plain JSON, sharing the buffer.
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.text.slice(self.event.start as usize..self.event.end as usize)
    }
}
