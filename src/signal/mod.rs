//! One message, encoded once and shared by all its receivers.

mod arguments;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::id::{PeerId, RoomId};

pub use arguments::{Arguments, Placeholder};

/// A Socket.IO event called `message`, up to its one argument.
const PREFIX: &str = r#"42["message","#;

/// The most that an application may put into one signal: positions are kept in 32 bits.
const MAX_OWN_BYTES: usize = 1 << 30;

/// An event in its final form. Cloning bumps reference counts.
///
/// It is a signaling event, `{type, caller, callee, room, payload}`, or any other event of Socket.IO
/// that the application makes by [`event`](Self::event).
///
/// The text is the Socket.IO packet (`42["message",{…}]`, or `452-["message",{…}]` when two
/// attachments follow); the plain JSON form `{…}` of a signaling event is a slice of the same buffer.
#[derive(Clone, Debug)]
pub struct Signal {
    packet: Bytes,
    json: Json,
    attachments: Option<Arc<Attachments>>,
}

/// Where the plain JSON form is.
#[derive(Clone, Debug)]
enum Json {
    /// In the packet.
    Within(Range<u32>),
    /// In a buffer of its own: the event is none of signaling's.
    Apart(Bytes),
}

/// Names by which Socket.IO itself reports what happens to a connection: clients take a packet with
/// one of them for a broken one, and hang up.
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// Binary parts of one signal.
#[derive(Debug, PartialEq, Eq)]
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

    /// Any event of Socket.IO: what `socket.on(name, (...arguments) => …)` hears.
    ///
    /// On the plain JSON wire it is said as a signaling event whose `type` is the name and whose
    /// payload is the array of the arguments, followed by a binary frame for each placeholder.
    ///
    /// # Errors
    ///
    /// When the name is one that Socket.IO keeps for itself, such as `connect` or `disconnect`, or
    /// all of it would exceed 1 GiB.
    ///
    /// ```
    /// use peer_data_server::{Arguments, PeerData, RoomId, Signal};
    ///
    /// let server = PeerData::new();
    /// let score = Signal::event("score", &Arguments::new(&("red", 3))?)?;
    /// server.to_room(&RoomId::new("arena")?, None, &score);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn event(name: &str, arguments: &Arguments) -> Result<Self, Error> {
        if RESERVED.contains(&name) {
            let problem = format!("{name:?} is a name that Socket.IO keeps for itself");
            return Err(Error::new("name", problem));
        }
        if name.len() + arguments.json().len() > MAX_OWN_BYTES {
            return Err(Error::new("arguments", "a signal is at most 1 GiB"));
        }
        let quoted = quote(name);
        let list = arguments.json().strip_prefix('[').unwrap_or_default();
        let comma = if arguments.is_empty() { "" } else { "," };
        let packet = match arguments.attachments().len() {
            0 => format!("42[{quoted}{comma}{list}"),
            n => format!("45{n}-[{quoted}{comma}{list}"),
        };
        let json = format!(
            r#"{{"type":{quoted},"caller":null,"callee":null,"room":null,"payload":{}}}"#,
            arguments.json()
        );
        Ok(Self {
            packet: packet.into(),
            json: Json::Apart(json.into()),
            attachments: arguments.shared(),
        })
    }

    /// The answer to an event that asked for one; only Socket.IO has it.
    pub(crate) fn ack(ack: &str, arguments: &Arguments) -> Self {
        let list = arguments.json();
        let packet = match arguments.attachments().len() {
            0 => format!("43{ack}{list}"),
            n => format!("46{n}-{ack}{list}"),
        };
        Self {
            packet: packet.into(),
            json: Json::Apart(Bytes::new()),
            attachments: arguments.shared(),
        }
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
            packet: text,
            json: Json::Within(event),
            attachments,
        }
    }

    /// One whose two forms are known; see [`json_within`](Self::json_within).
    pub(crate) fn from_forms(
        packet: Bytes,
        json: Bytes,
        attachments: Option<Arc<Attachments>>,
    ) -> Self {
        Self {
            packet,
            json: Json::Apart(json),
            attachments,
        }
    }

    /// The bytes that it holds, attachments included.
    pub(crate) fn size(&self) -> usize {
        let apart = match &self.json {
            Json::Within(_) => 0,
            Json::Apart(json) => json.len(),
        };
        let attachments = self.attachments().map_or(&[][..], |all| &all.parts);
        self.packet.len() + apart + attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Where in the packet the plain JSON form is, if it is there.
    pub(crate) fn json_within(&self) -> Option<Range<u32>> {
        match &self.json {
            Json::Within(span) => Some(span.clone()),
            Json::Apart(_) => None,
        }
    }

    /// The same as it is said to a client in another namespace than `/`.
    pub(crate) fn with_packet(&self, packet: Bytes) -> Self {
        Self {
            packet,
            json: Json::Apart(self.json()),
            attachments: self.attachments.clone(),
        }
    }

    /// The same attachments behind another text.
    pub(crate) fn recast(&self, text: Bytes, event: Range<u32>) -> Self {
        Self::from_parts(text, event, self.attachments.clone())
    }

    /// The same with one argument more, a string that needs no escapes: how Socket.IO tells a client
    /// how far it has come. `None` if it is no event of `/`: an ack, or what is said in another namespace.
    pub(crate) fn with_offset(&self, offset: &str) -> Option<Self> {
        let rest = match &self.packet[..] {
            [b'4', b'2', rest @ ..] => rest,
            [b'4', b'5', rest @ ..] => {
                rest.get(rest.iter().position(|&byte| byte == b'-')? + 1..)?
            }
            _ => return None,
        };
        let text = self
            .packet
            .strip_suffix(b"]")
            .filter(|_| rest.starts_with(b"["))?;
        let packet = [text, b",\"", offset.as_bytes(), b"\"]"].concat();
        Some(Self {
            packet: packet.into(),
            json: match &self.json {
                Json::Within(span) => Json::Within(span.clone()),
                // Said on another wire.
                Json::Apart(_) => Json::Apart(Bytes::new()),
            },
            attachments: self.attachments.clone(),
        })
    }

    /// The Socket.IO packet within its Engine.IO message.
    pub(crate) fn packet(&self) -> &Bytes {
        &self.packet
    }

    pub(crate) fn into_packet(self) -> Bytes {
        self.packet
    }

    pub(crate) fn attachments(&self) -> Option<&Attachments> {
        self.attachments.as_deref()
    }

    /// The event as plain JSON, sharing the buffer.
    #[must_use]
    pub fn json(&self) -> Bytes {
        match &self.json {
            Json::Within(span) => self.packet.slice(span.start as usize..span.end as usize),
            Json::Apart(json) => json.clone(),
        }
    }

    /// The event's `payload`. Binary in it is an object `{"_placeholder":true,"num":n}`, the place
    /// of the attachment of that number.
    ///
    /// # Errors
    ///
    /// When the payload is not a `T`; if it is absent, that is the same as `null`.
    ///
    /// ```
    /// use peer_data_server::Signal;
    ///
    /// let signal = Signal::new("MOVE", None, &(3, 4))?;
    /// let (x, y): (i32, i32) = signal.payload()?;
    /// assert_eq!(x + y, 7);
    /// assert!(signal.payload::<String>().is_err());
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Error> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            payload: Option<&'a RawValue>,
        }
        let json = self.json();
        let event: Event<'_> = serde_json::from_slice(&json)
            .map_err(|error| Error::new("payload", error.to_string()))?;
        read("payload", event.payload.map_or("null", RawValue::get))
    }
}

/// What the application makes of JSON; `what` it is, in case that it is something else.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| Error::new(what, error.to_string()))
}

/// `text` as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    // A string is always JSON.
    serde_json::to_string(text).unwrap_or_default()
}
