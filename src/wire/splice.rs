//! From a client's event to the signal that others receive.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::envelope::{Envelope, Flaw};
use crate::error::Code;
use crate::id::PeerId;
use crate::signal::{Attachments, Signal};

/// How much longer than a message from a client the relayed one may be: room for the packet header
/// and the caller's id, not for a text made of nothing but callers.
const MAX_GROWTH: usize = 1024;

/// Where an event has its callers: in practice in one place.
#[derive(Debug, Default)]
pub(super) struct Spans {
    first: Option<Range<usize>>,
    more: Vec<Range<usize>>,
}

impl Spans {
    /// Adds a place behind all others.
    pub(super) fn push(&mut self, span: Range<usize>) {
        if self.first.is_none() {
            self.first = Some(span);
        } else {
            self.more.push(span);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        self.first.iter().chain(&self.more)
    }
}

impl<'a> Envelope<'a> {
    /// Makes the signal: this event with every `caller` replaced by `{"id":caller}`, or with that
    /// added at the end, and all else byte for byte.
    ///
    /// `attachments` are as many as the event was read with. `too_large` if the text and what is
    /// sent for its placeholders exceed `max_bytes` by more than 1,024 bytes.
    pub(crate) fn splice(
        &self,
        caller: &PeerId,
        attachments: Vec<Bytes>,
        max_bytes: usize,
    ) -> Result<Signal, Flaw<'a>> {
        debug_assert_eq!(attachments.is_empty(), self.placeholders.is_empty());
        let header = match attachments.len() {
            0 => Cow::Borrowed("42[\"message\","),
            n => Cow::Owned(format!("45{n}-[\"message\",")),
        };
        let caller = caller.as_bytes();
        let event = self.relayed_len(caller);
        let start = header.len();
        let end = start + event;
        let sent = self.placeholders.iter().fold(end + 1, |sent, &num| {
            let part = usize::try_from(num)
                .ok()
                .and_then(|num| attachments.get(num));
            sent.saturating_add(part.map_or(0, Bytes::len))
        });
        let fits = sent <= max_bytes.saturating_add(MAX_GROWTH);
        let (true, Ok(from), Ok(to)) = (fits, u32::try_from(start), u32::try_from(end)) else {
            return Err(self.flaw(
                Code::TooLarge,
                "the event with its attachments is too large",
            ));
        };

        let mut text = Vec::with_capacity(end + 1);
        text.extend_from_slice(header.as_bytes());
        self.pieces(caller, |piece| text.extend_from_slice(piece));
        text.push(b']');
        let attachments = (!attachments.is_empty()).then(|| {
            Arc::new(Attachments {
                parts: attachments,
                placeholders: self.placeholders.clone(),
            })
        });
        Ok(Signal::from_parts(text.into(), from..to, attachments))
    }

    /// The bytes of the relayed event.
    fn relayed_len(&self, caller: &[u8]) -> usize {
        let named = OPEN.len() + caller.len() + CLOSE.len();
        let mut spans = self.callers.iter().peekable();
        let added = if spans.peek().is_none() {
            MEMBER.len() + named
        } else {
            0
        };
        spans.fold(self.raw().len() + added, |length, span| {
            length - span.len() + named
        })
    }

    /// Gives out the relayed event, piece by piece.
    fn pieces(&self, caller: &[u8], mut put: impl FnMut(&[u8])) {
        let raw = self.raw().as_bytes();
        let caller = [OPEN, caller, CLOSE];
        let mut done = 0;
        for span in self.callers.iter() {
            put(raw.get(done..span.start).unwrap_or_default());
            caller.into_iter().for_each(&mut put);
            done = span.end;
        }
        if done == 0 {
            // An event has other members, so a comma is right, and ends with its brace.
            done = raw.len().saturating_sub(1);
            put(raw.get(..done).unwrap_or_default());
            put(MEMBER);
            caller.into_iter().for_each(&mut put);
        }
        put(raw.get(done..).unwrap_or_default());
    }
}

/// A caller as others see it.
const OPEN: &[u8] = b"{\"id\":\"";
const CLOSE: &[u8] = b"\"}";

/// What stands before it where the event has none.
const MEMBER: &[u8] = b",\"caller\":";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::super::envelope::{Called, read_event, read_packet};
    use super::*;

    const ID: &str = "zVM8wOtnweVu5FYeAAAA";

    fn spliced(event: &str) -> String {
        let signal = read_event(event)
            .unwrap()
            .splice(&ID.parse().unwrap(), vec![], 1 << 20)
            .unwrap();
        let json = String::from_utf8(signal.json().to_vec()).unwrap();
        assert_eq!(
            signal.packet(),
            format!("42[\"message\",{json}]").as_bytes()
        );
        assert!(signal.attachments().is_none());
        json
    }

    fn binary(payload: &str, attachments: Vec<Bytes>, max_bytes: usize) -> Result<Signal, Code> {
        let data =
            format!(r#"["message",{{"type":"CHAT","room":{{"id":"r"}},"payload":{payload}}}]"#);
        let Ok(Called::Message(Ok(event))) = read_packet(&data, Some(attachments.len())) else {
            panic!("{data}");
        };
        event
            .splice(&ID.parse().unwrap(), attachments, max_bytes)
            .map_err(|flaw| flaw.code)
    }

    #[test]
    fn the_caller_is_appended_where_it_is_absent() {
        assert_eq!(
            spliced(r#" { "type":"CHAT", "room":{"id":"r"}, "payload":{"caller":1} } "#),
            r#"{ "type":"CHAT", "room":{"id":"r"}, "payload":{"caller":1} ,"caller":{"id":"zVM8wOtnweVu5FYeAAAA"}}"#
        );
    }

    #[test]
    fn lone_surrogates_in_the_payload_pass_as_they_are() {
        let event = r#"{"type":"CHAT","caller":null,"room":{"id":"r"},"payload":"\ud83d"}"#;
        assert!(spliced(event).ends_with(r#""payload":"\ud83d"}"#));
    }

    #[test]
    fn attachments_are_announced_and_counted() {
        let twice = r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#;
        let signal = binary(twice, vec![Bytes::from_static(b"abc")], 1000).unwrap();
        assert!(
            signal
                .packet()
                .starts_with(br#"451-["message",{"type":"CHAT""#)
        );
        assert!(
            signal
                .json()
                .ends_with(br#""caller":{"id":"zVM8wOtnweVu5FYeAAAA"}}"#)
        );
        let attachments = signal.attachments().unwrap();
        assert_eq!(attachments.parts, [b"abc".as_slice()]);
        assert_eq!(attachments.placeholders, [0, 0]);

        let long = Bytes::from(vec![0; 2000]);
        let sent = signal.packet().len() + 2 * long.len();
        assert!(binary(twice, vec![long.clone()], sent - 1024).is_ok());
        let flaw = binary(twice, vec![long], sent - 1025).err();
        assert_eq!(flaw, Some(Code::TooLarge));
    }

    #[test]
    fn no_attachments_make_a_plain_packet() {
        let signal = binary("1", vec![], 1000).unwrap();
        assert!(signal.packet().starts_with(b"42["));
        assert!(signal.attachments().is_none());
    }

    #[test]
    fn many_callers_do_not_grow_a_message_without_bound() {
        let event = format!(
            r#"{{"type":"A","room":{{"id":"r"}}{}}}"#,
            r#","caller":1"#.repeat(100)
        );
        let read = read_event(&event).unwrap();
        let id = ID.parse().unwrap();
        let flaw = read.splice(&id, vec![], event.len()).unwrap_err();
        assert_eq!(
            (flaw.code, flaw.room.as_deref()),
            (Code::TooLarge, Some("r"))
        );
        assert!(read.splice(&id, vec![], 4 * event.len()).is_ok());
    }

    /// Members with whitespace around, as `(before, after)` relaying.
    fn member() -> impl Strategy<Value = (String, String)> {
        let value = prop::sample::select(vec![
            "null",
            "1.50e+3",
            "\"\\u0061\\n\"",
            "{ }",
            "[1, {\"caller\":2}]",
            "{\"caller\":{\"id\":\"x\"}}",
            "\"caller\"",
            "\"},\"",
            "{\"id\":\"x\"}",
        ]);
        let caller =
            prop::sample::select(vec!["\"caller\"", "\"c\\u0061ller\"", "\"\\u0063aller\""]);
        let other = "\"(Caller|calle|_|callers|ré|\\\\u0000|payload[0-9])\"";
        let space = "[ \n\t\r]{0,2}";
        prop_oneof![
            (space, caller, space, value.clone(), space).prop_map(|(a, name, b, value, c)| {
                let id = format!("{{\"id\":\"{ID}\"}}");
                (
                    format!("{a}{name}:{b}{value}{c}"),
                    format!("{a}{name}:{b}{id}{c}"),
                )
            }),
            (space, other, space, value, space).prop_map(|(a, name, b, value, c)| {
                let member = format!("{a}{name}{b}:{value}{c}");
                (member.clone(), member)
            }),
        ]
    }

    proptest! {
        #[test]
        fn only_callers_change(members in prop::collection::vec(member(), 0..6), at in any::<prop::sample::Index>()) {
            let mut members = members;
            let room = "\"room\" :{ \"id\":\"r\" }".to_owned();
            members.insert(at.index(members.len() + 1), (room.clone(), room));
            let kind = "\"type\":\"CHAT\"".to_owned();
            members.insert(at.index(members.len() + 1), (kind.clone(), kind));
            let (before, mut after): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            if before == after {
                after.push(format!("\"caller\":{{\"id\":\"{ID}\"}}"));
            }

            let relayed = spliced(&format!("{{{}}}", before.join(",")));
            prop_assert_eq!(&relayed, &format!("{{{}}}", after.join(",")));
            let parsed: Value = serde_json::from_str(&relayed).unwrap();
            prop_assert_eq!(&parsed["caller"]["id"], ID);
        }

        #[test]
        fn what_is_relayed_is_well_formed(
            members in prop::collection::vec(member(), 0..4),
            at in any::<prop::sample::Index>(),
            cut in 0..3_usize,
            put in "[ \"\\\\,:{}\\[\\]0a\u{1}]{0,2}",
        ) {
            let mut event = String::from("{\"type\":\"CHAT\",\"room\":{\"id\":\"r\"}");
            for (member, _) in &members {
                event.extend([",", member]);
            }
            event.push('}');
            let mut event: Vec<char> = event.chars().collect();
            let at = at.index(event.len() - 1);
            event.splice(at..event.len().min(at + cut), put.chars());
            let event: String = event.into_iter().collect();

            if serde_json::from_str::<IgnoredAny>(&event).is_err() {
                prop_assert!(read_event(&event).is_err());
            } else if read_event(&event).is_ok() {
                let relayed = spliced(&event);
                prop_assert!(serde_json::from_str::<IgnoredAny>(&relayed).is_ok(), "{}", relayed);
            }
        }
    }
}
