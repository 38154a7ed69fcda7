//! One message, encoded once and shared by all its receivers.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::error::Error;
use crate::id::{PeerId, RoomId};

/// A Socket.IO event called `message`, up to its one argument.
const PREFIX: &str = r#"42["message","#;

/// The most that an application may put into one signal: positions are kept in 32 bits.
const MAX_OWN_BYTES: usize = 1 << 30;

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
    /// A signal of the application's own: `caller` and `callee` are null, which is what marks it.
    ///
    /// `kind` becomes its `type`, `payload` its payload as `serde_json` writes it. JavaScript
    /// clients read `room.id` of every type that they know, so give them a room; types that clients
    /// may not send (`forbidden_type`) trip them over from here just the same.
    ///
    /// # Errors
    ///
    /// When the payload cannot be written as JSON.
    ///
    /// ```
    /// use peer_data_server::{RoomId, Signal};
    ///
    /// let room = RoomId::new("kitchen")?;
    /// let signal = Signal::new("MOTD", Some(&room), &"Dinner is ready")?;
    /// assert_eq!(
    ///     signal.json(),
    ///     r#"{"type":"MOTD","caller":null,"callee":null,"room":{"id":"kitchen"},"payload":"Dinner is ready"}"#
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<P: Serialize + ?Sized>(
        kind: &str,
        room: Option<&RoomId>,
        payload: &P,
    ) -> Result<Self, Error> {
        let payload =
            serde_json::to_string(payload).map_err(|e| Error::new("payload", e.to_string()))?;
        if payload.len() + kind.len() > MAX_OWN_BYTES {
            return Err(Error::new("payload", "a signal is at most 1 GiB"));
        }
        Ok(Self::compose(
            kind,
            None,
            room.map(RoomId::as_str),
            &payload,
        ))
    }

    /// A signal made by the server; `payload` is JSON, and all of it well below 4 GiB.
    pub(crate) fn compose(
        kind: &str,
        caller: Option<&PeerId>,
        room: Option<&str>,
        payload: &str,
    ) -> Self {
        let id = |id: Option<&str>| {
            id.map_or_else(
                || "null".to_owned(),
                |id| format!(r#"{{"id":{}}}"#, quote(id)),
            )
        };
        let event = format!(
            r#"{{"type":{},"caller":{},"callee":null,"room":{},"payload":{payload}}}"#,
            quote(kind),
            id(caller.map(PeerId::as_str)),
            id(room),
        );
        let text = [PREFIX, &event, "]"].concat();
        #[allow(clippy::cast_possible_truncation)] // bounded by whoever calls
        let span = PREFIX.len() as u32..(PREFIX.len() + event.len()) as u32;
        Self::from_parts(text.into(), span, None)
    }

    /// `text` is the whole packet, `event` where its JSON object stands.
    pub(crate) fn from_parts(
        text: Bytes,
        event: Range<u32>,
        attachments: Option<Arc<Attachments>>,
    ) -> Self {
        debug_assert_eq!(text.get(event.start as usize), Some(&b'{'));
        Self {
            text,
            event,
            attachments,
        }
    }

    /// The same attachments behind another text.
    pub(crate) fn recast(&self, text: Bytes, event: Range<u32>) -> Self {
        Self::from_parts(text, event, self.attachments.clone())
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
        self.text
            .slice(self.event.start as usize..self.event.end as usize)
    }
}

/// `text` as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    // A string is always JSON.
    serde_json::to_string(text).unwrap_or_default()
}
