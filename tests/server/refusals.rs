//! Events that are not carried: the code, the answer, and that the connection lives on.

#![cfg(feature = "tower")]

use crate::support::{Host, Peer, Revision, Site, Wire, event, event_to, eventually, on_each_host};
use serde_json::{Value, json};

on_each_host!(
    events_of_wrong_shape_are_malformed,
    ids_are_strings_of_1_to_256_bytes,
    what_readers_would_disagree_on_is_malformed,
    nesting_has_a_bound,
    types_that_would_hurt_a_client_are_forbidden,
    a_stranger_to_the_room_is_refused,
    an_unknown_callee_is_like_one_outside,
    an_event_to_oneself_is_refused,
    a_signal_over_the_maximum_is_too_large,
    attachments_over_the_maximum_change_no_other_rule,
    arguments_besides_the_event_are_malformed,
    one_room_too_many_is_refused,
);

const ROOM: &str = "r";

/// One peer on each wire, each in the room with a listener that must not hear a word.
async fn speakers(site: &Site) -> (Vec<Peer>, Peer) {
    let mut listener = Peer::join(site, Wire::Json, ROOM).await;
    let mut speakers = Vec::new();
    for wire in Wire::ALL {
        speakers.push(Peer::connect(site, wire).await);
        let speaker = speakers.last_mut().expect("the newest");
        speaker.enter(site, ROOM).await;
        assert_eq!(listener.signal().await["type"], "CONNECT");
        // The others would hear it too; only the listener is to stay there.
        let count = speakers.len();
        for other in &mut speakers[..count - 1] {
            assert_eq!(other.signal().await["type"], "CONNECT");
        }
    }
    (speakers, listener)
}

/// Asserts that all speakers are refused what they say, by signal and by ack.
async fn refused(speakers: &mut [Peer], raw: &str, code: &str, room: &Value) {
    for speaker in speakers {
        let message = if speaker.wire == Wire::Json {
            speaker.send_raw(raw, &[]).await;
            None
        } else {
            let ack = speaker.ask_raw(raw).await;
            assert_eq!(
                (&ack["ok"], &ack["code"]),
                (&json!(false), &json!(code)),
                "{raw}"
            );
            Some(ack["message"].clone())
        };
        let error = speaker.signal().await;
        let told = error["payload"]["message"].clone();
        assert!(
            told.as_str().is_some_and(|told| !told.is_empty()),
            "{error}"
        );
        assert_eq!(
            error,
            json!({"type": "ERROR", "caller": null, "callee": null, "room": room,
                "payload": {"code": code, "message": told}}),
            "{:?}: {raw}",
            speaker.wire
        );
        assert!(message.is_none_or(|message| message == told));
    }
}

async fn all_quiet(site: &Site, mut speakers: Vec<Peer>, mut listener: Peer) {
    for speaker in &mut speakers {
        speaker.hears_nothing(site).await;
    }
    listener.hears_nothing(site).await;
    assert_eq!(
        site.server.peer_count(),
        speakers.len() + 1,
        "everybody is still there"
    );
}

async fn events_of_wrong_shape_are_malformed(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    for raw in [
        "null",
        "true",
        "12",
        "\"CHAT\"",
        "[]",
        "{}",
        r#"{"room":{"id":"r"}}"#,
        r#"{"type":"","room":{"id":"r"}}"#,
        r#"{"type":null,"room":{"id":"r"}}"#,
        r#"{"type":["CHAT"],"room":{"id":"r"}}"#,
        r#"{"type":"OFFER","room":{"id":"r"}}"#,
        r#"{"type":"OFFER","room":{"id":"r"},"callee":null}"#,
        r#"{"type":"ANSWER","room":{"id":"r"},"callee":"x"}"#,
        r#"{"type":"CANDIDATE","room":{"id":"r"},"callee":{}}"#,
    ] {
        let room = if raw.contains("room") {
            json!({"id": "r"})
        } else {
            json!(null)
        };
        refused(&mut speakers, raw, "malformed", &room).await;
    }
    for room in [
        "null",
        "\"r\"",
        "[]",
        "{}",
        "{\"id\":null}",
        "{\"id\":1}",
        "{\"Id\":\"r\"}",
    ] {
        let raw = format!(r#"{{"type":"CHAT","room":{room},"payload":1}}"#);
        refused(&mut speakers, &raw, "malformed", &json!(null)).await;
    }
    all_quiet(&site, speakers, listener).await;
}

async fn ids_are_strings_of_1_to_256_bytes(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    let long = json!("x".repeat(257)).to_string();
    let wide = json!("é".repeat(129)).to_string();
    for id in [
        "\"\"",
        "1",
        "null",
        "{}",
        "true",
        r#""\ud83d""#,
        r#""\udc00x""#,
        &long,
        &wide,
    ] {
        for kind in ["CONNECT", "DISCONNECT", "CHAT"] {
            let raw = format!(r#"{{"type":"{kind}","room":{{"id":{id}}}}}"#);
            refused(&mut speakers, &raw, "malformed", &json!(null)).await;
        }
        let raw = format!(r#"{{"type":"OFFER","room":{{"id":"r"}},"callee":{{"id":{id}}}}}"#);
        refused(&mut speakers, &raw, "malformed", &json!({"id": "r"})).await;
        if id.starts_with('"') {
            let raw = format!(r#"{{"type":{id},"room":{{"id":"r"}}}}"#);
            refused(&mut speakers, &raw, "malformed", &json!({"id": "r"})).await;
        }
    }
    assert_eq!(site.server.room_count(), 1);
    all_quiet(&site, speakers, listener).await;
}

async fn what_readers_would_disagree_on_is_malformed(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    for (raw, room) in [
        (
            r#"{"type":"CHAT","type":"CHAT","room":{"id":"r"}}"#,
            json!({"id": "r"}),
        ),
        (
            r#"{"type":"CHAT","room":{"id":"r"},"t\u0079pe":"OFFER"}"#,
            json!({"id": "r"}),
        ),
        (
            r#"{"type":"CHAT","room":{"id":"r"},"room":{"id":"r"}}"#,
            json!(null),
        ),
        (
            r#"{"type":"CHAT","r\u006fom":null,"room":{"id":"r"}}"#,
            json!(null),
        ),
        (r#"{"type":"CHAT","room":{"id":"r","id":"s"}}"#, json!(null)),
        (
            r#"{"type":"CHAT","room":{"id":"r","\u0069d":1}}"#,
            json!(null),
        ),
        (
            r#"{"type":"CHAT","room":{"id":"r"},"callee":1,"callee":2}"#,
            json!({"id": "r"}),
        ),
        (
            r#"{"type":"OFFER","room":{"id":"r"},"callee":{"id":"a","id":"b"}}"#,
            json!({"id": "r"}),
        ),
    ] {
        refused(&mut speakers, raw, "malformed", &room).await;
    }
    all_quiet(&site, speakers, listener).await;
}

async fn nesting_has_a_bound(host: Host) {
    let site = host.start().await;
    let (mut speakers, mut listener) = speakers(&site).await;
    // The event itself is the first level.
    let nested = |levels: usize| {
        let payload = "[".repeat(levels - 1) + &"]".repeat(levels - 1);
        format!(r#"{{"type":"DEEP","room":{{"id":"r"}},"payload":{payload}}}"#)
    };
    refused(
        &mut speakers,
        &nested(129),
        "malformed",
        &json!({"id": "r"}),
    )
    .await;
    refused(
        &mut speakers,
        &nested(10_000),
        "malformed",
        &json!({"id": "r"}),
    )
    .await;
    let count = speakers.len();
    for at in 0..count {
        speakers[at].send_raw(&nested(128), &[]).await;
        // The test's own reader does not go that deep.
        assert!(listener.hear().await.raw.contains("DEEP"));
        for (_, peer) in speakers
            .iter_mut()
            .enumerate()
            .filter(|(other, _)| *other != at)
        {
            assert!(peer.hear().await.raw.contains("DEEP"));
        }
    }
    all_quiet(&site, speakers, listener).await;
}

async fn types_that_would_hurt_a_client_are_forbidden(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    for kind in [
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
        r"s\u0065nd",
        r"\u005f_proto__",
    ] {
        let raw = format!(r#"{{"type":"{kind}","room":{{"id":"r"}},"payload":1}}"#);
        refused(&mut speakers, &raw, "forbidden_type", &json!({"id": "r"})).await;
    }
    all_quiet(&site, speakers, listener).await;
}

async fn a_stranger_to_the_room_is_refused(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    let mut elsewhere = Peer::join(&site, Wire::Json, "elsewhere").await;
    for room in ["elsewhere", "nowhere"] {
        let place = json!({ "id": room });
        for kind in ["CHAT", "DISCONNECT"] {
            let raw = event(kind, room, 1).to_string();
            refused(&mut speakers, &raw, "not_in_room", &place).await;
        }
        for callee in [&elsewhere.id, &listener.id, "unknown"] {
            let raw = event_to(callee, "OFFER", room, 1).to_string();
            refused(&mut speakers, &raw, "not_in_room", &place).await;
        }
    }
    elsewhere.hears_nothing(&site).await;
    elsewhere.vanish().await;
    eventually("gone", || site.members("elsewhere").is_empty()).await;
    all_quiet(&site, speakers, listener).await;
}

async fn an_unknown_callee_is_like_one_outside(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    let mut outside = Peer::join(&site, Wire::Socket(Revision::V3), "outside").await;
    let mut answers = Vec::new();
    for callee in [
        "unknown",
        "AAAAAAAAAAAAAAAAAAAA",
        &outside.id,
        "__proto__",
        ROOM,
    ] {
        let raw = event_to(callee, "CANDIDATE", ROOM, 1).to_string();
        refused(&mut speakers, &raw, "no_such_peer", &json!({"id": ROOM})).await;
        answers.push(speakers[0].ask_raw(&raw).await);
        assert_eq!(speakers[0].signal().await["type"], "ERROR");
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    outside.hears_nothing(&site).await;
    outside.vanish().await;
    eventually("gone", || site.members("outside").is_empty()).await;
    all_quiet(&site, speakers, listener).await;
}

async fn an_event_to_oneself_is_refused(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    for speaker in &mut speakers {
        for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
            let raw = event_to(&speaker.id, kind, ROOM, 1).to_string();
            refused(
                std::slice::from_mut(speaker),
                &raw,
                "refused",
                &json!({"id": ROOM}),
            )
            .await;
        }
    }
    all_quiet(&site, speakers, listener).await;
}

async fn a_signal_over_the_maximum_is_too_large(host: Host) {
    let site = host.start_with(|builder| builder.max_message(1000)).await;
    let (mut speakers, mut listener) = speakers(&site).await;
    let room = json!({ "id": ROOM });
    // Fine as it comes; relayed it would be much longer than what anybody may send.
    let callers = r#""caller":0,"#.repeat(70);
    let raw = format!(r#"{{{callers}"type":"BIG","room":{{"id":"r"}}}}"#);
    refused(&mut speakers, &raw, "too_large", &room).await;
    let places = r#",{"_placeholder":true,"num":0}"#.repeat(5);
    let raw = format!(r#"{{"type":"BIG","room":{{"id":"r"}},"payload":[0{places}]}}"#);
    for speaker in speakers
        .iter_mut()
        .filter(|speaker| speaker.wire != Wire::Json)
    {
        speaker.send_raw(&raw, &[&[1; 500]]).await;
        assert_eq!(speaker.signal().await["payload"]["code"], "too_large");
    }
    // One caller more is no reason.
    let payload = "x".repeat(920);
    let raw = format!(r#"{{"type":"BIG","room":{{"id":"r"}},"payload":"{payload}"}}"#);
    speakers[0].send_raw(&raw, &[]).await;
    assert_eq!(listener.signal().await["type"], "BIG");
    for peer in &mut speakers[1..] {
        assert_eq!(peer.signal().await["type"], "BIG");
    }
    all_quiet(&site, speakers, listener).await;
}

async fn attachments_over_the_maximum_change_no_other_rule(host: Host) {
    let site = host.start_with(|builder| builder.max_message(1000)).await;
    let parts: [&[u8]; 2] = [&[1; 600], &[2; 600]];
    let places = r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    // By websocket: a polling body of this size is answered 413 as a whole.
    for wire in [Wire::Socket(Revision::V3), Wire::Socket(Revision::V4)] {
        let mut speaker = Peer::join(&site, wire, ROOM).await;
        let other = format!(r#"452-["other",{places}]"#);
        speaker.send_packets(&other, &parts).await;
        let big = format!(r#"{{"type":"BIG","room":{{"id":"r"}},"payload":{places}}}"#);
        speaker.send_raw(&big, &parts).await;
        // The other event was passed over in silence, so this is the answer to the second.
        let error = speaker.signal().await;
        assert_eq!(error["payload"]["code"], "too_large");
        assert_eq!(error["room"], json!({ "id": ROOM }));
        speaker.hears_nothing(&site).await;
        speaker.send_packets("452-{}", &parts).await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn arguments_besides_the_event_are_malformed(host: Host) {
    let site = host.start().await;
    let (mut speakers, listener) = speakers(&site).await;
    let good = event("CHAT", ROOM, 1);
    for speaker in speakers
        .iter_mut()
        .filter(|speaker| speaker.wire != Wire::Json)
    {
        for (arguments, room) in [
            (String::new(), json!(null)),
            (format!(",{good},1"), json!({"id": ROOM})),
            (format!(",{good},{good}"), json!({"id": ROOM})),
            (format!(",null,{good}"), json!(null)),
        ] {
            speaker
                .send_packets(&format!("42[\"message\"{arguments}]"), &[])
                .await;
            let error = speaker.signal().await;
            assert_eq!(error["payload"]["code"], "malformed", "{arguments}");
            assert_eq!(error["room"], room, "{arguments}");
        }
    }
    all_quiet(&site, speakers, listener).await;
}

async fn one_room_too_many_is_refused(host: Host) {
    let site = host
        .start_with(|builder| builder.max_rooms_per_peer(2))
        .await;
    let (mut speakers, listener) = speakers(&site).await;
    for speaker in &mut speakers {
        let own = speaker.id.clone();
        speaker.enter(&site, &own).await;
        let raw = event("CONNECT", "third", 1).to_string();
        let third = json!({"id": "third"});
        refused(std::slice::from_mut(speaker), &raw, "busy", &third).await;
        assert!(site.members("third").is_empty());
        // A room that it is in already does not count again, and one that it left counts no more.
        speaker.enter(&site, &own).await;
        speaker.send(&event("DISCONNECT", &own, 1)).await;
        speaker.enter(&site, "third").await;
        speaker.send(&event("DISCONNECT", "third", 1)).await;
        eventually("an empty room", || site.members("third").is_empty()).await;
    }
    all_quiet(&site, speakers, listener).await;
}
