//! Reads one signaling event: what routing needs, and nothing else.

use std::borrow::Cow;

use super::json::{Fault, MAX_DEPTH, Reader};
use super::placeholders;
use super::scan::{Field, Scan};
use super::splice::Spans;
use super::text::Text;
use crate::error::Code;

/// Types that the JavaScript client would take for something of its own: it looks up its handlers
/// in a plain object, which inherits all but the first of these from `Object.prototype`; and by
/// `send` it would send on under its own name what it received.
const FORBIDDEN: [&str; 13] = [
    "send",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
];

/// The data of a packet is not a JSON array that begins with a string. The protocol closes the
/// connection for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What a Socket.IO event packet calls.
#[derive(Debug)]
pub(crate) enum Called<'a> {
    /// The event `message`, with a signaling event or something of wrong shape.
    Message(Result<Envelope<'a>, Flaw<'a>>),
    /// An event of any other name.
    Other(Named<'a>),
}

/// An event that is not signaling's.
#[derive(Debug)]
pub(crate) struct Named<'a> {
    /// U+FFFD in place of a name with half a surrogate pair.
    pub(crate) name: Cow<'a, str>,
    /// What follows the name: `1,2]`, or `]`. `None` if it is nested too deep to be looked at.
    pub(crate) tail: Option<&'a str>,
}

/// Why an event is refused.
#[derive(Debug)]
pub(crate) struct Flaw<'a> {
    pub(crate) code: Code,
    /// One line for the developer of the client; it holds nothing of what the client sent.
    pub(crate) message: Cow<'static, str>,
    /// The id of the event's room, if a valid one was given.
    pub(crate) room: Option<Cow<'a, str>>,
}

/// What an event asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// Join the room and tell it.
    Connect,
    /// Leave the room and tell it.
    Disconnect,
    /// For the callee.
    Offer,
    /// For the callee.
    Answer,
    /// For the callee.
    Candidate,
    /// A type of the application's own, 1 to 256 bytes.
    Custom(Cow<'a, str>),
}

/// A signaling event of right shape, read where it stands.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    raw: &'a str,
    kind: Kind<'a>,
    room: Cow<'a, str>,
    callee: Option<Cow<'a, str>>,
    payload: Option<&'a str>,
    /// Where the values of `caller` stand in `raw`.
    pub(super) callers: Spans,
    /// The number of each placeholder, in order of the text.
    pub(super) placeholders: Vec<u32>,
}

/// Reads the data of a Socket.IO event packet: `["name", arg, ...]`. `attachments` is how many a
/// binary event announces, `None` for any other event.
pub(crate) fn read_packet(data: &str, attachments: Option<usize>) -> Result<Called<'_>, Broken> {
    let mut json = Reader::new(data);
    // As clients write it.
    let mut has_argument = json.eat_all(b"[\"message\",");
    if !has_argument {
        let name = read_name(&mut json)?;
        if !name.is("message") {
            return named(json, name).map(Called::Other);
        }
        has_argument = json.eat(b',');
    }
    let mut scan = Scan::default();
    let argument = if has_argument {
        scan.event(&mut json)
    } else {
        Ok(())
    };
    let event = match argument.and_then(|()| further_arguments(&mut json)) {
        Ok(false) => judge(&mut scan, attachments),
        Ok(true) => Err(Flaw::malformed(NOT_ONE_OBJECT, scan.room)),
        Err(Fault::TooDeep) => Err(Flaw::malformed(TOO_DEEP, scan.room)),
        Err(Fault::Syntax) => return Err(Broken),
    };
    Ok(Called::Message(event))
}

/// Reads the data of an event packet where no name has a meaning of its own.
pub(crate) fn read_named(data: &str) -> Result<Named<'_>, Broken> {
    let mut json = Reader::new(data);
    let name = read_name(&mut json)?;
    named(json, name)
}

fn read_name<'a>(json: &mut Reader<'a>) -> Result<Text<'a>, Broken> {
    let name = json.expect(b'[').and_then(|()| json.string());
    name.map_err(|_| Broken)
}

fn named<'a>(mut json: Reader<'a>, name: Text<'a>) -> Result<Named<'a>, Broken> {
    let start = json.position();
    let tail = match further_arguments(&mut json) {
        Err(Fault::Syntax) => return Err(Broken),
        Ok(_) => json.since(start),
        // The rest is not even known to be JSON.
        Err(Fault::TooDeep) => None,
    };
    let tail = tail.map(|tail| tail.trim_start().trim_start_matches(','));
    let name = name.decode().unwrap_or(Cow::Borrowed("\u{fffd}"));
    Ok(Named { name, tail })
}

/// Reads one event as plain JSON.
pub(crate) fn read_event(text: &str) -> Result<Envelope<'_>, Flaw<'_>> {
    let mut json = Reader::new(text);
    let mut scan = Scan::default();
    match scan.event(&mut json).and_then(|()| json.finish()) {
        Ok(()) => judge(&mut scan, None),
        Err(Fault::TooDeep) => Err(Flaw::malformed(TOO_DEEP, scan.room)),
        Err(Fault::Syntax) => Err(Flaw::malformed(NOT_JSON, Field::Missing)),
    }
}

const NOT_JSON: &str = "an event must be well-formed JSON";
const NOT_ONE_OBJECT: &str = "an event must be one JSON object";
const TOO_DEEP: &str = "an event must not be nested deeper than 128 levels";
const TWICE: &str = "type, room, callee and their id must not occur twice";
const NO_TYPE: &str = "type must be a string of 1 to 256 bytes";
const NO_ROOM: &str = "room must be an object whose id is a string of 1 to 256 bytes";
const NO_CALLEE: &str = "callee must be an object whose id is a string of 1 to 256 bytes";
const LONG_NAME: &str =
    "type and the ids of room and callee must not be longer than this server takes";
const FORBIDDEN_TYPE: &str = "this type is reserved";

/// The rest of a packet's array: whether it has another argument.
fn further_arguments(json: &mut Reader<'_>) -> Result<bool, Fault> {
    let mut more = false;
    while json.eat(b',') {
        json.skip(MAX_DEPTH)?;
        more = true;
    }
    json.expect(b']')?;
    json.finish()?;
    Ok(more)
}

/// Whether it is the event that it should be; `attachments` as in [`read_packet`].
fn judge<'a>(scan: &mut Scan<'a>, attachments: Option<usize>) -> Result<Envelope<'a>, Flaw<'a>> {
    let Some(raw) = scan.raw else {
        return Err(Flaw::malformed(NOT_ONE_OBJECT, scan.room));
    };
    if scan.is_ambiguous() {
        return Err(Flaw::malformed(TWICE, scan.room));
    }
    let Some(kind) = scan.kind.valid() else {
        return Err(Flaw::malformed(NO_TYPE, scan.room));
    };
    let Some(room) = scan.room.valid() else {
        return Err(Flaw::malformed(NO_ROOM, Field::Missing));
    };
    let callee = scan.callee.valid();
    let wrong_callee = callee.is_none() && scan.callee.is_there();
    let mut event = Envelope {
        raw,
        kind: Kind::named(kind),
        room,
        callee,
        payload: scan.payload,
        callers: std::mem::take(&mut scan.callers),
        placeholders: Vec::new(),
    };
    if wrong_callee || event.kind.is_directed() && event.callee.is_none() {
        return Err(event.flaw(Code::Malformed, NO_CALLEE));
    }
    if let Some(attachments) = attachments {
        let Some(found) = placeholders::of_event(raw, attachments, event.callee.is_some()) else {
            return Err(event.flaw(Code::Malformed, placeholders::UNFIT));
        };
        event.placeholders = found;
    }
    if let Kind::Custom(name) = &event.kind
        && FORBIDDEN.contains(&&**name)
    {
        return Err(event.flaw(Code::ForbiddenType, FORBIDDEN_TYPE));
    }
    Ok(event)
}

impl<'a> Flaw<'a> {
    /// The refusal of an event that is of wrong shape and has this room.
    fn malformed(message: &'static str, room: Field<'a>) -> Self {
        Self {
            code: Code::Malformed,
            message: message.into(),
            room: room.valid(),
        }
    }
}

impl<'a> Envelope<'a> {
    pub(crate) fn kind(&self) -> &Kind<'a> {
        &self.kind
    }

    /// The id of the room, 1 to 256 bytes.
    pub(crate) fn room(&self) -> &str {
        &self.room
    }

    /// The id of the callee, 1 to 256 bytes; always there for `OFFER`, `ANSWER` and `CANDIDATE`.
    pub(crate) fn callee(&self) -> Option<&str> {
        self.callee.as_deref()
    }

    /// The payload as the client wrote it: one JSON value.
    pub(crate) fn payload(&self) -> Option<&'a str> {
        self.payload
    }

    /// The event as the client wrote it, from brace to brace.
    pub(crate) fn raw(&self) -> &'a str {
        self.raw
    }

    /// Refuses an event whose type or whose room's or callee's id has more than `max` bytes; over
    /// 256 they are refused by reading it.
    pub(crate) fn check_names(&self, max: usize) -> Result<(), Flaw<'a>> {
        if self.room.len() > max {
            return Err(Flaw::malformed(LONG_NAME, Field::Missing));
        }
        let callee = self.callee().map_or(0, str::len);
        let kind = match &self.kind {
            Kind::Custom(name) => name.len(),
            _ => 0,
        };
        if callee.max(kind) > max {
            return Err(self.flaw(Code::Malformed, LONG_NAME));
        }
        Ok(())
    }

    /// The refusal of this event.
    pub(crate) fn flaw(&self, code: Code, message: impl Into<Cow<'static, str>>) -> Flaw<'a> {
        Flaw {
            code,
            message: message.into(),
            room: Some(self.room.clone()),
        }
    }
}

impl<'a> Kind<'a> {
    fn named(name: Cow<'a, str>) -> Self {
        match &*name {
            "CONNECT" => Self::Connect,
            "DISCONNECT" => Self::Disconnect,
            "OFFER" => Self::Offer,
            "ANSWER" => Self::Answer,
            "CANDIDATE" => Self::Candidate,
            _ => Self::Custom(name),
        }
    }

    /// Its `type`.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Connect => "CONNECT",
            Self::Disconnect => "DISCONNECT",
            Self::Offer => "OFFER",
            Self::Answer => "ANSWER",
            Self::Candidate => "CANDIDATE",
            Self::Custom(name) => name,
        }
    }

    /// Whether such an event goes to its callee.
    fn is_directed(&self) -> bool {
        matches!(self, Self::Offer | Self::Answer | Self::Candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The refusal of an event as plain JSON, as `(code, room)`.
    fn refused(event: &str) -> (Code, Option<String>) {
        let flaw = read_event(event).unwrap_err();
        (flaw.code, flaw.room.map(Cow::into_owned))
    }

    fn malformed(event: &str) -> bool {
        refused(event).0 == Code::Malformed
    }

    fn message(data: &str, attachments: Option<usize>) -> Result<Envelope<'_>, Flaw<'_>> {
        match read_packet(data, attachments) {
            Ok(Called::Message(read)) => read,
            other => panic!("{data}: {other:?}"),
        }
    }

    #[test]
    fn the_routing_fields_are_found() {
        let text = r#" {"payload":{"type":"x","room":[{"id":1}]},"room" : {"x":{"id":1},"id":"r\u00e9"},
            "callee":{"id":"bob"}, "caller":{"id":"mallory"}, "\u0074ype":"OFFER", "type2":0} "#;
        let event = read_event(text).unwrap();
        assert_eq!(event.kind(), &Kind::Offer);
        assert_eq!(event.room(), "r\u{e9}");
        assert_eq!(event.callee(), Some("bob"));
        assert_eq!(event.raw(), text.trim());
        assert_eq!(event.payload(), Some(r#"{"type":"x","room":[{"id":1}]}"#));
        let data = format!("[ \"mess\\u0061ge\" ,{text}]");
        assert_eq!(message(&data, None).unwrap().raw(), text.trim());
    }

    #[test]
    fn of_several_payloads_the_last_counts() {
        let read = |members: &str| {
            let text = format!(r#"{{"type":"CHAT","room":{{"id":"r"}}{members}}}"#);
            let event = read_event(&text).unwrap();
            event.payload().map(str::to_owned)
        };
        assert_eq!(read(""), None);
        assert_eq!(read(r#","payload": [1, 2] "#).as_deref(), Some("[1, 2]"));
        let twice = r#","payload":1,"p\u0061yload":{"payload":3},"x":4"#;
        assert_eq!(read(twice).as_deref(), Some(r#"{"payload":3}"#));
    }

    #[test]
    fn names_have_the_length_that_is_allowed() {
        for (event, room) in [
            (r#"{"type":"12345","room":{"id":"r"}}"#, Some("r")),
            (
                r#"{"type":"A","room":{"id":"r"},"callee":{"id":"12345"}}"#,
                Some("r"),
            ),
            (r#"{"type":"A","room":{"id":"12345"}}"#, None),
        ] {
            let event = read_event(event).unwrap();
            assert!(event.check_names(5).is_ok());
            let flaw = event.check_names(4).unwrap_err();
            assert_eq!((flaw.code, flaw.room.as_deref()), (Code::Malformed, room));
        }
        let known = read_event(r#"{"type":"CANDIDATE","room":{"id":"r"},"callee":{"id":"b"}}"#);
        assert!(
            known.unwrap().check_names(4).is_ok(),
            "that is no name of the client's"
        );
    }

    #[test]
    fn kinds_are_told_apart_by_their_exact_names() {
        let expect = |name: &str, expected: Result<Kind<'_>, Code>| {
            let text = format!(r#"{{"type":"{name}","room":{{"id":"r"}},"callee":{{"id":"b"}}}}"#);
            let read = read_event(&text);
            assert_eq!(
                read.map(|event| event.kind).map_err(|flaw| flaw.code),
                expected
            );
        };
        expect("CONNECT", Ok(Kind::Connect));
        expect("DISCONNECT", Ok(Kind::Disconnect));
        expect("OFFER", Ok(Kind::Offer));
        expect("ANSWER", Ok(Kind::Answer));
        expect("C\\u0041NDIDATE", Ok(Kind::Candidate));
        for name in ["offer", "ERROR", "READY", "Send", " send", "prototype"] {
            expect(name, Ok(Kind::Custom(name.into())));
        }
        let readme = include_str!("../../README.md");
        for name in FORBIDDEN {
            assert!(readme.contains(&format!("`{name}`")), "{name}");
            expect(name, Err(Code::ForbiddenType));
            let (first, rest) = name.split_at(1);
            let escaped = format!("\\u{:04x}{rest}", u32::from(first.as_bytes()[0]));
            expect(&escaped, Err(Code::ForbiddenType));
        }
    }

    #[test]
    fn what_is_missing_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            "{",
            r#"{"room":{"id":"r"}}"#,
            r#"{"type":"A"}"#,
            r#"{"type":"A","room":"r"}"#,
            r#"{"type":"A","room":null}"#,
            r#"{"type":"A","room":{}}"#,
            r#"{"type":"A","room":[{"id":"r"}]}"#,
            r#"{"type":"OFFER","room":{"id":"r"}}"#,
            r#"{"type":"CANDIDATE","room":{"id":"r"},"callee":"b"}"#,
            r#"{"type":"A","room":{"id":"r"}} x"#,
            r#"{"type":"A","room":{"id":"r"}"#,
        ] {
            assert!(malformed(text), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_room_if_it_is_a_valid_one() {
        let room = Some("r".to_owned());
        assert_eq!(
            refused(r#"{"room":{"id":"r"}}"#),
            (Code::Malformed, room.clone())
        );
        assert_eq!(
            refused(r#"{"room":{"id":"r"},"type":"send"}"#),
            (Code::ForbiddenType, room.clone())
        );
        assert_eq!(
            refused(r#"{"type":"OFFER","room":{"id":"r"}}"#),
            (Code::Malformed, room)
        );
        assert_eq!(
            refused(r#"{"room":{"id":"r"},"room":{"id":"r"}}"#),
            (Code::Malformed, None)
        );
        assert_eq!(
            refused(r#"{"room":{"id":"r"},"type":"A"} x"#),
            (Code::Malformed, None)
        );
        let two = message(r#"["message",{"type":"A","room":{"id":"r"}},1]"#, None).unwrap_err();
        assert_eq!(
            (two.code, two.room.as_deref()),
            (Code::Malformed, Some("r"))
        );
    }

    #[test]
    fn packets_that_are_no_events_are_broken() {
        for data in [
            "",
            "{}",
            "null",
            "\"message\"",
            "[]",
            "[1]",
            "[null,{}]",
            "[\"message\"",
            "[\"message\",]",
            "[\"message\" {}]",
            "[\"message\",{]",
            "[\"message\",{}]]",
            "[\"message\",{\"a\":01}]",
            "[\"x\",,]",
            "[\"x\",{}",
            "[\"\\x\"]",
            "[\"message\",{},[}]",
        ] {
            assert_eq!(read_packet(data, None).err(), Some(Broken), "{data}");
        }
    }

    #[test]
    fn a_message_has_one_object() {
        for data in [
            "[\"message\"]",
            "[\"message\",null]",
            "[\"message\",[]]",
            "[\"message\",\"x\"]",
            "[\"message\",{}]",
            r#"["message",{"type":"A","room":{"id":"r"}},{}]"#,
        ] {
            assert_eq!(
                message(data, None).unwrap_err().code,
                Code::Malformed,
                "{data}"
            );
        }
    }

    #[test]
    fn other_names_are_told() {
        for (data, expected) in [
            ("[\"log\"]", "log"),
            ("[ \"l\\u006fg\" , 1 ] ", "log"),
            ("[\"\"]", ""),
            ("[\"\\ud83d\"]", "\u{fffd}"),
            ("[\"Message\",{}]", "Message"),
        ] {
            let Ok(Called::Other(named)) = read_packet(data, Some(1)) else {
                panic!("{data}")
            };
            assert_eq!(named.name, expected);
            assert_eq!(read_named(data).unwrap().name, expected);
        }
    }

    #[test]
    fn the_arguments_of_other_events_are_what_follows() {
        for (data, expected) in [
            ("[\"log\"]", Some("]")),
            ("[ \"log\" , 1,\",\" ] ", Some("1,\",\" ]")),
            (r#"["message",{"type":1}]"#, Some(r#"{"type":1}]"#)),
        ] {
            let tail = read_named(data).unwrap().tail;
            assert_eq!(tail.map(str::trim), expected, "{data}");
        }
        let deep = format!("[\"log\",{}", "[".repeat(200));
        assert_eq!(read_named(&deep).unwrap().tail, None);
        for data in ["", "[1]", "[\"log\",]", "[\"log\" 1]", "[\"log\",,]"] {
            assert_eq!(read_named(data).err(), Some(Broken), "{data}");
        }
    }

    #[test]
    fn placeholders_count_in_binary_events_only() {
        let data =
            r#"["message",{"type":"A","room":{"id":"r"},"payload":{"_placeholder":true,"num":0}}]"#;
        assert_eq!(message(data, Some(1)).unwrap().placeholders, [0]);
        assert!(message(data, None).unwrap().placeholders.is_empty());
        for wrong in [0, 2] {
            let flaw = message(data, Some(wrong)).unwrap_err();
            assert_eq!(
                (flaw.code, flaw.room.as_deref()),
                (Code::Malformed, Some("r"))
            );
        }
        let plain = r#"["message",{"type":"A","room":{"id":"r"}}]"#;
        assert!(message(plain, Some(0)).unwrap().placeholders.is_empty());
    }
}
