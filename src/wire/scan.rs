//! One pass over a signaling event: what routing reads, and where the callers are.

use std::borrow::Cow;

use super::json::{Fault, MAX_DEPTH, Reader};
use super::splice::Spans;
use super::text::Text;
use crate::id::MAX_ROOM_ID_BYTES;

/// The longest `type` or id of a callee, in bytes: the same as for the id of a room.
const MAX_NAME_BYTES: usize = MAX_ROOM_ID_BYTES;

/// The event itself is the first level.
const MEMBER_LEVELS: u32 = MAX_DEPTH - 1;

/// Which member of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Type,
    Caller,
    Callee,
    Room,
    Payload,
    Other,
}

impl Member {
    /// Takes the name of a member and its colon if they are written as clients write them: without
    /// whitespace or escapes. Most events have nothing else.
    #[inline]
    fn eat(json: &mut Reader<'_>) -> Option<Self> {
        let member = match json.ahead()? {
            b"\"type\":\"" if json.eat_all(b"\"type\":") => Self::Type,
            b"\"room\":{" if json.eat_all(b"\"room\":") => Self::Room,
            b"\"caller\"" if json.eat_all(b"\"caller\":") => Self::Caller,
            b"\"callee\"" if json.eat_all(b"\"callee\":") => Self::Callee,
            b"\"payload" if json.eat_all(b"\"payload\":") => Self::Payload,
            _ => return None,
        };
        Some(member)
    }

    pub(super) fn of(name: Text<'_>) -> Self {
        if !name.escaped {
            return Self::named(name.raw);
        }
        name.decode().map_or(Self::Other, |name| Self::named(&name))
    }

    fn named(name: &str) -> Self {
        match name.as_bytes() {
            b"type" => Self::Type,
            b"caller" => Self::Caller,
            b"callee" => Self::Callee,
            b"room" => Self::Room,
            b"payload" => Self::Payload,
            _ => Self::Other,
        }
    }
}

/// A name or id where one belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Field<'a> {
    #[default]
    Missing,
    /// What stands there has no id at all: `null` names nobody, and says so.
    Nobody,
    /// Something else stands there.
    Invalid,
    /// Readers disagree on which of two counts.
    Twice,
    Text(Text<'a>),
}

impl<'a> Field<'a> {
    /// Takes any value for what it says.
    fn text(json: &mut Reader<'a>, levels: u32) -> Result<Self, Fault> {
        if json.peek() != Some(b'"') {
            json.skip(levels)?;
            return Ok(Self::Invalid);
        }
        json.string().map(Self::Text)
    }

    /// Takes any value for the `id` in it.
    fn id(json: &mut Reader<'a>, levels: u32) -> Result<Self, Fault> {
        // Most have nothing else in them.
        if let Some(id) = json.eat_around(b"{\"id\":\"", b"\"}") {
            return Ok(Self::Text(id));
        }
        if json.peek() != Some(b'{') {
            json.skip(levels)?;
            return Ok(Self::Nobody);
        }
        let levels = levels.saturating_sub(1);
        let mut id = Self::Missing;
        json.members(|json| {
            if json.name()?.is("id") {
                id.put(Self::text(json, levels)?);
            } else {
                json.skip(levels)?;
            }
            Ok(())
        })?;
        Ok(if matches!(id, Self::Missing) {
            Self::Nobody
        } else {
            id
        })
    }

    /// Remembers this value, or that it is not the first.
    fn put(&mut self, value: Self) {
        *self = if matches!(self, Self::Missing) {
            value
        } else {
            Self::Twice
        };
    }

    /// The text if there is one that counts: of 1 to 256 bytes.
    pub(super) fn valid(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => text.decode_within(MAX_NAME_BYTES),
            Self::Missing | Self::Nobody | Self::Invalid | Self::Twice => None,
        }
    }

    /// Whether something stands there, be it a valid text or not.
    pub(super) fn is_there(self) -> bool {
        matches!(self, Self::Invalid | Self::Text(_))
    }
}

/// What one pass over an event finds, not judged yet: first all of it must be well-formed.
#[derive(Default)]
pub(super) struct Scan<'a> {
    /// The event if it is an object.
    pub(super) raw: Option<&'a str>,
    pub(super) kind: Field<'a>,
    pub(super) room: Field<'a>,
    pub(super) callee: Field<'a>,
    /// Where the values of `caller` stand, counted from the beginning of `raw`.
    pub(super) callers: Spans,
    /// The value of the last `payload`: of several, readers go by that.
    pub(super) payload: Option<&'a str>,
}

impl<'a> Scan<'a> {
    /// Takes any value, which should be an event.
    pub(super) fn event(&mut self, json: &mut Reader<'a>) -> Result<(), Fault> {
        if json.peek() != Some(b'{') {
            return json.skip(MAX_DEPTH).map(drop);
        }
        let start = json.position();
        json.members(|json| {
            let member = match Member::eat(json) {
                Some(member) => member,
                None => Member::of(json.name()?),
            };
            match member {
                Member::Type => self.kind.put(Field::text(json, MEMBER_LEVELS)?),
                Member::Room => self.room.put(Field::id(json, MEMBER_LEVELS)?),
                Member::Callee => self.callee.put(Field::id(json, MEMBER_LEVELS)?),
                Member::Caller => {
                    json.peek();
                    let from = json.position();
                    // Whatever it says does not count, but it looks like the others.
                    Field::id(json, MEMBER_LEVELS)?;
                    self.callers.push(from - start..json.position() - start);
                }
                Member::Payload => {
                    let span = json.skip(MEMBER_LEVELS)?;
                    self.payload = json.since(span.start);
                }
                Member::Other => {
                    json.skip(MEMBER_LEVELS)?;
                }
            }
            Ok(())
        })?;
        self.raw = json.since(start);
        Ok(())
    }

    /// Whether a member that routing reads, or the id in it, is there twice.
    pub(super) fn is_ambiguous(&self) -> bool {
        [&self.kind, &self.room, &self.callee]
            .into_iter()
            .any(|field| matches!(field, Field::Twice))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::envelope::{Called, read_event, read_packet};
    use crate::error::Code;

    fn malformed(event: &str) -> bool {
        read_event(event).is_err_and(|flaw| flaw.code == Code::Malformed)
    }

    #[test]
    fn names_and_ids_are_strings_of_1_to_256_bytes() {
        let long = format!("\"{}\"", "\\u00e9".repeat(128));
        let too_long = format!("\"{}\"", "\\u00e9".repeat(128) + "x");
        for (id, fine) in [
            ("\"x\"", true),
            (long.as_str(), true),
            ("\"__proto__\"", true),
            (too_long.as_str(), false),
            ("\"\"", false),
            ("1", false),
            ("null", false),
            ("[\"x\"]", false),
            ("\"\\ud83d\"", false),
            ("{\"id\":\"x\"}", false),
        ] {
            for text in [
                format!(r#"{{"type":{id},"room":{{"id":"r"}}}}"#),
                format!(r#"{{"type":"CONNECT","room":{{"id":{id}}}}}"#),
                format!(r#"{{"type":"CHAT","room":{{"id":{id}}}}}"#),
                format!(r#"{{"type":"ANSWER","room":{{"id":"r"}},"callee":{{"id":{id}}}}}"#),
            ] {
                if !(fine || text.contains("type") && text.contains("__proto__")) {
                    assert!(malformed(&text), "{text}");
                } else if !text.starts_with(r#"{"type":"__proto__""#) {
                    assert!(read_event(&text).is_ok(), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_callee_is_needed_only_where_the_event_goes_to_it() {
        for (callee, id) in [
            ("null", None),
            ("7", None),
            ("{}", None),
            ("{\"id\":\"b\"}", Some("b")),
        ] {
            let text = format!(r#"{{"type":"CHAT","callee":{callee},"room":{{"id":"r"}}}}"#);
            assert_eq!(read_event(&text).unwrap().callee(), id);
        }
    }

    #[test]
    fn an_id_of_a_callee_is_never_anything_else_than_a_name() {
        let long = format!("\"{}\"", "c".repeat(257));
        for id in ["7", "null", "\"\"", "{}", r#""\ud83d""#, &long] {
            let text = format!(r#"{{"type":"CHAT","callee":{{"id":{id}}},"room":{{"id":"r"}}}}"#);
            let flaw = read_event(&text).unwrap_err();
            assert_eq!(flaw.code, Code::Malformed, "{id}");
            assert_eq!(flaw.room.as_deref(), Some("r"), "{id}");
        }
    }

    #[test]
    fn what_counts_occurs_once() {
        let members = [r#""type":"A""#, r#""room":{"id":"r"}"#, r#""callee":null"#];
        for again in [
            members[0],
            members[1],
            members[2],
            r#""\u0074ype":1"#,
            r#""ro\u006fm":null"#,
            r#""call\u0065e":{}"#,
        ] {
            let text = format!("{{{},{again}}}", members.join(","));
            assert!(malformed(&text), "{text}");
        }
        assert!(malformed(r#"{"type":"A","room":{"id":"r","\u0069d":1}}"#));
        assert!(malformed(r#"{"type":"A","room":{"id":1,"id":"r"}}"#));
        assert!(malformed(
            r#"{"type":"A","room":{"id":"r"},"callee":{"id":1,"id":"b"}}"#
        ));
        assert!(
            read_event(r#"{"type":"A","room":{"id":"r","x":1,"x":2},"payload":1,"payload":2}"#)
                .is_ok()
        );
    }

    #[test]
    fn depth_counts_from_the_event_and_leaves_the_connection_alive() {
        let event = |n: usize, close: &str| {
            format!(
                r#"{{"room":{{"id":"r"}},"type":"A","payload":{}{}}}"#,
                "[".repeat(n),
                close.repeat(n)
            )
        };
        assert!(read_event(&event(127, "]")).is_ok());
        let packet = |name: &str, event: &str| format!("[\"{name}\",{event}]");
        let fits = packet("message", &event(127, "]"));
        assert!(matches!(
            read_packet(&fits, None),
            Ok(Called::Message(Ok(_)))
        ));
        for deep in [event(128, "]"), event(200_000, "")] {
            let flaw = read_event(&deep).unwrap_err();
            assert_eq!(
                (flaw.code, flaw.room.as_deref()),
                (Code::Malformed, Some("r"))
            );
            let data = packet("message", &deep);
            let Ok(Called::Message(Err(flaw))) = read_packet(&data, None) else {
                panic!("neither closed nor relayed");
            };
            assert_eq!(flaw.code, Code::Malformed);
            let data = packet("log", &deep);
            assert!(matches!(read_packet(&data, None), Ok(Called::Other { .. })));
        }
        let room = |n: usize| {
            format!(
                r#"{{"type":"A","room":{{"x":{}{},"id":"r"}}}}"#,
                "[".repeat(n),
                "]".repeat(n)
            )
        };
        assert!(read_event(&room(126)).is_ok());
        assert!(malformed(&room(127)));
    }

    /// A member as its tokens, many of them just not what clients write.
    fn member() -> impl Strategy<Value = Vec<String>> {
        let name = prop::sample::select(vec![
            r#""type""#,
            r#""room""#,
            r#""caller""#,
            r#""callee""#,
            r#""payload""#,
            r#""payloads""#,
            r#""typ""#,
            r#""call\u0065r""#,
            r#""x""#,
        ]);
        let text = prop_oneof![
            Just(r#""OFFER""#.to_owned()),
            r#""([a-z]|\\n|\\u00e9){0,3}""#,
            // Around the ends of blocks, and longer than an id may be.
            "\"[a-z]{50,80}\"",
            "\"[a-z]{250,260}\"",
            Just("7".to_owned()),
            Just("null".to_owned()),
        ];
        let id = (text.clone(), 0..5_usize).prop_map(|(id, shape)| {
            let id = id.as_str();
            let tokens: &[&str] = match shape {
                0 | 1 => &["{", "\"id\"", ":", id, "}"],
                2 => &["{", "\"id\"", ":", id, ",", "\"x\"", ":", "[", "]", "}"],
                3 => &["{", "\"x\"", ":", "1", ",", "\"id\"", ":", id, "}"],
                _ => &["{", "\"id\"", ":", id, ",", "\"id\"", ":", id, "}"],
            };
            tokens.iter().map(|&token| token.to_owned()).collect()
        });
        let value = prop_oneof![text.prop_map(|text| vec![text]), id];
        (name, value).prop_map(|(name, value)| {
            let name = [name.to_owned(), ":".to_owned()];
            name.into_iter().chain(value).collect()
        })
    }

    proptest! {
        /// Most events have no whitespace, and are read by shorter ways.
        #[test]
        fn whitespace_changes_nothing(
            mut members in prop::collection::vec(member(), 1..4), whole in any::<bool>(),
        ) {
            if whole {
                let whole: [&[&str]; 2] = [
                    &["\"type\"", ":", "\"CHAT\""],
                    &["\"room\"", ":", "{", "\"id\"", ":", "\"r\"", "}"],
                ];
                members.extend(whole.map(|member| member.iter().map(|&token| token.to_owned()).collect()));
            }
            let tokens = members.join(&",".to_owned());
            let read = |space: &str| {
                let event = format!("{{{space}{}{space}}}", tokens.join(space));
                let packet = format!("[{space}\"message\"{space},{space}{event}{space}]");
                let Ok(Called::Message(in_packet)) = read_packet(&packet, None) else {
                    panic!("{packet}");
                };
                let [plain, in_packet] = [read_event(&event), in_packet].map(|read| {
                    let event =
                        read.map_err(|flaw| (flaw.code, flaw.room.map(String::from)))?;
                    let payload = event.payload().map(|json| json.replace(space, ""));
                    let callee = event.callee().map(str::to_owned);
                    let callers = event.callers.iter().map(|span| event.raw()[span.clone()].replace(space, ""));
                    let callers: Vec<_> = callers.collect();
                    Ok::<_, (Code, Option<String>)>((event.kind().name().to_owned(), event.room().to_owned(), callee, payload, callers))
                });
                assert_eq!(plain, in_packet);
                plain
            };
            prop_assert_eq!(read(""), read(" "));
        }
    }
}
