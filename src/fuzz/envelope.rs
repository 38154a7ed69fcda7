//! The scan of an event against `serde_json`: the same is well-formed, with the same members, and
//! what goes out is the same event under the caller's own name.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Code;
use crate::id::PeerId;
use crate::wire::envelope::{self, Called, Envelope, Flaw};
use crate::wire::json::{Fault, MAX_DEPTH, Reader};

/// Text, as far as it is some.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut reader = Reader::new(text);
    let found = reader.skip(u32::MAX).and_then(|_| reader.finish());
    let well_formed = serde_json::from_str::<&RawValue>(text).is_ok();
    match found {
        Ok(()) => assert!(well_formed, "{text:?}"),
        Err(Fault::Syntax) => assert!(!well_formed, "{text:?}"),
        Err(Fault::TooDeep) => assert!(depth(text) > MAX_DEPTH as usize, "{text:?}"),
    }

    let read = envelope::read_event(text);
    check(text, &read, found.is_ok());
    // As the one argument of a packet it is read in the same way.
    if found.is_ok() && depth(text) < MAX_DEPTH as usize {
        let packet = format!("[\"message\",{text}]");
        match (envelope::read_packet(&packet, None), &read) {
            (Ok(Called::Message(Ok(there))), Ok(here)) => {
                assert_eq!(there.kind(), here.kind());
                assert_eq!(there.room(), here.room());
                assert_eq!(there.callee(), here.callee());
            }
            (Ok(Called::Message(Err(there))), Err(here)) => assert_eq!(there.code, here.code),
            (there, here) => panic!("{there:?} in a packet and {here:?} alone"),
        }
    }
    // Whatever it is as a packet of its own, it is one without a panic.
    for attachments in [None, Some(0), Some(2)] {
        let _ = envelope::read_packet(text, attachments);
    }
    let _ = envelope::read_named(text);
}

fn check(text: &str, read: &Result<Envelope<'_>, Flaw<'_>>, well_formed: bool) {
    // Half of a surrogate pair, or a number beyond a float, is well-formed and no value.
    let value: Option<Value> = serde_json::from_str(text).ok();
    match read {
        Ok(event) => {
            assert!(well_formed);
            let own: PeerId = match "zVM8wOtnweVu5FYeAAAA".parse() {
                Ok(own) => own,
                Err(error) => panic!("{error}"),
            };
            let Some(mut value) = value else { return };
            assert_eq!(value["type"], event.kind().name());
            assert_eq!(value["room"]["id"], event.room());
            if let Some(callee) = event.callee() {
                assert_eq!(value["callee"]["id"], callee);
            }
            let payload = event.payload().map(serde_json::from_str::<Value>);
            let payload = payload.transpose().expect("a part of what is well-formed");
            assert_eq!(payload.as_ref(), value.get("payload"));
            let Ok(signal) = event.splice(&own, Vec::new(), usize::MAX / 2) else {
                panic!("too large");
            };
            value["caller"] = serde_json::json!({ "id": own.as_str() });
            let json = signal.json();
            let sent: Value = serde_json::from_slice(&json).expect("well-formed");
            assert_eq!(sent, value);
            assert!(signal.packet().ends_with(&[&json[..], b"]"].concat()));
        }
        Err(flaw) if flaw.message.contains("twice") || flaw.message.contains("deeper") => {}
        Err(flaw) => {
            let fine = value.as_ref().is_some_and(is_fine);
            assert!(
                !fine || flaw.code == Code::ForbiddenType,
                "{text:?}: {flaw:?}"
            );
        }
    }
}

/// Whether an event is of the right shape, as far as a value can tell.
fn is_fine(value: &Value) -> bool {
    let name = |value: &Value| {
        value
            .as_str()
            .is_some_and(|name| (1..=256).contains(&name.len()))
    };
    let directed = matches!(
        value["type"].as_str(),
        Some("OFFER" | "ANSWER" | "CANDIDATE")
    );
    let callee = match value["callee"].get("id") {
        None => !directed,
        Some(id) => name(id),
    };
    value.is_object() && name(&value["type"]) && name(&value["room"]["id"]) && callee
}

/// How deep the brackets outside of strings go.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
