//! Hostile events: what a peer says to hurt others is answered, and nobody else hears of it.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use crate::support::{
    Bystanders, Host, Peer, QUIET, ROOM, Revision, Site, Socket, Wire, all_quiet, event, event_to,
    message, on_each_host, pair,
};
use peer_data_server::Builder;
use serde_json::{Value, json};

on_each_host!(
    what_is_no_event_is_answered_and_changes_nothing,
    what_can_be_read_in_two_ways_is_answered_and_changes_nothing,
    a_hundred_thousand_levels_are_answered,
    nobody_speaks_in_anothers_name,
    nobody_reaches_into_a_room_from_outside,
    a_room_cannot_be_called,
    names_of_objects_in_javascript_are_names,
    a_storm_of_joins_is_bounded,
    a_storm_of_debugging_answers_is_its_senders_own,
    half_a_character_travels_as_it_stands,
);

/// Somebody who means harm, and the witness in the same room who would suffer first.
struct Attack {
    site: Site,
    bystanders: Bystanders,
    witness: Peer,
    attacker: Peer,
}

impl Attack {
    async fn begin(host: Host, wire: Wire) -> Self {
        Self::begin_with(host, wire, |builder| builder).await
    }

    async fn begin_with(host: Host, wire: Wire, settings: impl FnOnce(Builder) -> Builder) -> Self {
        let site = host.start_with(settings).await;
        let mut bystanders = Bystanders::meet(&site).await;
        bystanders.talk().await;
        let mut witness = Peer::join(&site, Wire::Socket(Revision::V3), ROOM).await;
        let attacker = Peer::join(&site, wire, ROOM).await;
        assert_eq!(witness.signal().await["type"], "CONNECT");
        Self {
            site,
            bystanders,
            witness,
            attacker,
        }
    }

    /// The attacker says it, is told that code, and goes on living.
    async fn refused(&mut self, raw: &str, code: &str) {
        self.attacker.send_raw(raw, &[]).await;
        let answer = self.attacker.signal().await;
        let told = (
            &answer["type"],
            &answer["payload"]["code"],
            &answer["caller"],
        );
        let shown: String = raw.chars().take(200).collect();
        assert_eq!(
            told,
            (&json!("ERROR"), &json!(code), &Value::Null),
            "{shown}"
        );
    }

    /// The attacker still is who it was; nobody has heard anything but that.
    async fn end(mut self) {
        self.attacker.send(&event("CHAT", ROOM, "still here")).await;
        let heard = self.witness.signal().await;
        assert_eq!(heard["payload"], "still here");
        assert_eq!(heard["caller"]["id"], self.attacker.id);
        self.witness.hears_nothing(&self.site).await;
        self.bystanders.part(&self.site).await;
    }
}

async fn what_is_no_event_is_answered_and_changes_nothing(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        for raw in [
            "null",
            "true",
            "7",
            "\"CONNECT\"",
            "[]",
            "[{\"type\":\"CHAT\",\"room\":{\"id\":\"r\"}}]",
            "{}",
            r#"{"type":"CHAT"}"#,
            r#"{"type":"CHAT","room":null}"#,
            r#"{"type":"CHAT","room":"r"}"#,
            r#"{"type":"CHAT","room":{}}"#,
            r#"{"type":"CHAT","room":{"id":null}}"#,
            r#"{"type":"CHAT","room":{"id":["r"]}}"#,
            r#"{"type":null,"room":{"id":"r"}}"#,
            r#"{"type":{},"room":{"id":"r"}}"#,
            r#"{"room":{"id":"r"}}"#,
            r#"{"type":"","room":{"id":"r"}}"#,
            r#"{"type":"CHAT","room":{"id":""}}"#,
            r#"{"type":"OFFER","room":{"id":"r"}}"#,
            r#"{"type":"OFFER","room":{"id":"r"},"callee":null}"#,
            r#"{"type":"OFFER","room":{"id":"r"},"callee":{"id":7}}"#,
            r#"{"type":"OFFER","room":{"id":"r"},"callee":{"id":""}}"#,
            r#"{"type":"\ud83d","room":{"id":"r"}}"#,
        ] {
            attack.refused(raw, "malformed").await;
        }
        for id in ["x".repeat(257), "é".repeat(200), "x".repeat(900_000)] {
            let room = json!({"type": "CHAT", "room": {"id": id}});
            let kind = json!({"type": id, "room": {"id": ROOM}});
            let callee = json!({"type": "OFFER", "room": {"id": ROOM}, "callee": {"id": id}});
            for event in [room, kind, callee] {
                attack.refused(&event.to_string(), "malformed").await;
            }
        }
        attack.bystanders.talk().await;
        attack.end().await;
    }
}

async fn what_can_be_read_in_two_ways_is_answered_and_changes_nothing(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        for raw in [
            r#"{"type":"CHAT","type":"send","room":{"id":"r"}}"#,
            r#"{"type":"CHAT","\u0074ype":"send","room":{"id":"r"}}"#,
            r#"{"type":"CHAT","room":{"id":"r"},"room":{"id":"quiet"}}"#,
            r#"{"type":"CHAT","room":{"id":"r","id":"quiet"}}"#,
            r#"{"type":"CHAT","room":{"id":"r"},"\u0072oom":{"\u0069d":"quiet"}}"#,
            r#"{"type":"OFFER","room":{"id":"r"},"callee":{"id":"a"},"callee":{"id":"b"}}"#,
        ] {
            attack.refused(raw, "malformed").await;
        }
        // Escaped, but once: it says what it says, and is held to it.
        let escaped = r#"{"\u0074ype":"\u0073end","\u0072oom":{"\u0069\u0064":"\u0072"}}"#;
        attack.refused(escaped, "forbidden_type").await;
        let escaped = r#"{"\u0074ype":"CHAT","\u0072oom":{"\u0069\u0064":"quie\u0074"}}"#;
        attack.refused(escaped, "not_in_room").await;
        attack.end().await;
    }
}

async fn a_hundred_thousand_levels_are_answered(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        attack.refused(&format!("{open}{close}"), "malformed").await;
        let (open, close) = ("{\"payload\":".repeat(50_000), "}".repeat(50_000));
        attack
            .refused(&format!("{open}1{close}"), "malformed")
            .await;
        let deep = format!(r#"{{"type":"CHAT","room":{{"id":"r"}},"payload":{open}1{close}}}"#);
        attack.refused(&deep, "malformed").await;
        attack.end().await;
    }
}

async fn nobody_speaks_in_anothers_name(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        let [ann, _] = attack.bystanders.ids().map(str::to_owned);
        let own = attack.attacker.id.clone();
        let witness = attack.witness.id.clone();
        for caller in [
            format!(r#"{{"id":"{ann}"}}"#),
            format!(r#""{ann}""#),
            "null".to_owned(),
            format!(r#"{{"id":"{own}","\u0069d":"{ann}"}}"#),
        ] {
            for (before, after) in [(&caller, None), (&caller, Some(&caller))] {
                let again =
                    after.map_or_else(String::new, |caller| format!(r#","call\u0065r":{caller}"#));
                let raw = format!(
                    r#"{{"caller":{before},"type":"OFFER","room":{{"id":"r"}},"callee":{{"id":"{witness}"}}{again}}}"#
                );
                attack.attacker.send_raw(&raw, &[]).await;
                let heard = attack.witness.hear().await;
                assert_eq!(heard.json()["caller"], json!({ "id": own }), "{raw}");
                assert!(!heard.raw.contains(&ann), "{raw}");
            }
        }
        attack.end().await;
    }
}

async fn nobody_reaches_into_a_room_from_outside(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        let ids = attack.bystanders.ids().map(str::to_owned);
        for id in &ids {
            for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
                let there = event_to(id, kind, QUIET, 1);
                attack.refused(&there.to_string(), "not_in_room").await;
                let here = event_to(id, kind, ROOM, 1);
                attack.refused(&here.to_string(), "no_such_peer").await;
            }
        }
        for kind in ["DISCONNECT", "CHAT", "ERROR", "READY"] {
            let there = event(kind, QUIET, 1);
            attack.refused(&there.to_string(), "not_in_room").await;
        }
        attack.end().await;
    }
}

async fn a_room_cannot_be_called(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        let [ann, _] = attack.bystanders.ids().map(str::to_owned);
        for callee in [QUIET, ROOM, "nobody", "__proto__"] {
            let event = event_to(callee, "OFFER", ROOM, 1);
            attack.refused(&event.to_string(), "no_such_peer").await;
        }
        // A room that is called like a peer taps nothing of its mail.
        attack.attacker.enter(&attack.site, &ann).await;
        attack.bystanders.talk().await;
        let event = event_to(&ann, "OFFER", &ann, 1);
        attack.refused(&event.to_string(), "no_such_peer").await;
        attack.end().await;
    }
}

async fn names_of_objects_in_javascript_are_names(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        for kind in ["__proto__", "constructor", "toString", "send"] {
            let event = event(kind, ROOM, 1);
            attack.refused(&event.to_string(), "forbidden_type").await;
        }
        let room = "__proto__";
        let there = event("CHAT", room, 1);
        attack.refused(&there.to_string(), "not_in_room").await;
        attack.attacker.enter(&attack.site, room).await;
        assert_eq!(attack.site.members(room), [attack.attacker.id.as_str()]);
        attack.end().await;
    }
}

async fn a_storm_of_joins_is_bounded(host: Host) {
    for wire in [Wire::Socket(Revision::V4), Wire::Json] {
        let settings = |builder: Builder| builder.max_rooms_per_peer(2_000);
        let mut attack = Attack::begin_with(host, wire, settings).await;
        for number in 1..2_000 {
            let join = event("CONNECT", &format!("room {number}"), 0);
            attack.attacker.send(&join).await;
            if number % 500 == 0 {
                attack.bystanders.talk().await;
            }
        }
        let one_more = event("CONNECT", "one more", 0).to_string();
        attack.refused(&one_more, "busy").await;
        // The quiet room, ours, and his.
        assert_eq!(attack.site.server.room_count(), 2_001);
        attack.end().await;
    }
}

async fn a_storm_of_debugging_answers_is_its_senders_own(host: Host) {
    let reference = |builder: Builder| builder.reference_compat(true);
    let mut attack = Attack::begin_with(host, Wire::Socket(Revision::V3), |builder| builder).await;
    for _ in 0..1_000 {
        for event in ["42[\"ipaddr\"]", "42[\"log\",1]", "42[\"ipaddr\",{}]"] {
            attack.attacker.send_packets(event, &[]).await;
        }
    }
    attack.bystanders.talk().await;
    // Nothing of that is answered, so that the next answer is that to something else.
    attack.refused("null", "malformed").await;
    attack.end().await;

    // As in the reference, each of them is answered; who does not read that waits by himself.
    let site = host.start_with(reference).await;
    let (mut ann, mut ben) = pair(&site, Wire::Json).await;
    let (mut attacker, _) = Socket::connect(&site, Revision::V3).await;
    for number in 0..1_000 {
        attacker.send("42[\"ipaddr\"]").await;
        attacker.send(&message(&event("CHAT", ROOM, number))).await;
        let mut answers = Vec::new();
        while answers
            .last()
            .is_none_or(|last: &String| !last.contains("ERROR"))
        {
            answers.push(attacker.text().await);
        }
        assert!(answers.iter().any(|answer| answer.contains("SERVER_LOG")));
        ann.send(&event("CHAT", ROOM, number)).await;
        assert_eq!(ben.signal().await["payload"], number);
    }
    all_quiet(&site, &mut [ann, ben]).await;
}

async fn half_a_character_travels_as_it_stands(host: Host) {
    for wire in Wire::ALL {
        let mut attack = Attack::begin(host, wire).await;
        let raw = r#"{"type":"CHAT","room":{"id":"r"},"payload":"\ud83d","caller":null}"#;
        attack.attacker.send_raw(raw, &[]).await;
        let heard = attack.witness.hear().await.raw;
        assert!(heard.contains(r#""payload":"\ud83d""#), "{heard}");
        let raw = r#"{"type":"CHAT","room":{"id":"\udc00"}}"#;
        attack.refused(raw, "malformed").await;
        attack.end().await;
    }
}
