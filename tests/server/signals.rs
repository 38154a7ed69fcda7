//! How events travel: to whom, in which order, and with which bytes.

#![cfg(feature = "tower")]

use crate::support::{
    Host, Peer, ROOM, Revision, Wire, all_quiet, event, event_to, everybody, on_each_host,
};
use serde_json::json;

on_each_host!(
    offers_go_to_their_callee_alone,
    one_senders_signals_arrive_in_order,
    the_caller_is_whoever_sent_it,
    all_but_the_caller_stays_byte_for_byte,
    binary_goes_from_every_wire_to_every_wire,
    a_revision_3_client_answers_to_its_session_id,
    other_types_go_to_the_others_in_the_room,
);

async fn offers_go_to_their_callee_alone(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    for (from, sender) in ids.iter().enumerate() {
        for (to, receiver) in ids.iter().enumerate().filter(|(to, _)| *to != from) {
            for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
                let mut sent = event_to(receiver, kind, ROOM, json!({"sdp": "v=0\r\n"}));
                if peers[from].wire == Wire::Json {
                    peers[from].send(&sent).await;
                } else {
                    let ack = peers[from].ask(&sent).await;
                    assert_eq!(ack, json!({"ok": true, "id": sender, "delivered": 1}));
                }
                sent["caller"] = json!({ "id": sender });
                assert_eq!(peers[to].signal().await, sent);
            }
        }
    }
    all_quiet(&site, &mut peers).await;
}

async fn other_types_go_to_the_others_in_the_room(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let long = "x".repeat(256);
    for kind in [
        "CHAT",
        "chat",
        "offer",
        "ERROR",
        "READY",
        "😀",
        "Send",
        "prototype",
        &long,
    ] {
        for from in 0..peers.len() {
            let mut sent = event(kind, ROOM, from);
            peers[from].send(&sent).await;
            sent["caller"] = json!({ "id": peers[from].id });
            for (_, peer) in peers.iter_mut().enumerate().filter(|(at, _)| *at != from) {
                assert_eq!(peer.signal().await, sent);
            }
        }
    }
    all_quiet(&site, &mut peers).await;
}

async fn one_senders_signals_arrive_in_order(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    for from in 0..peers.len() {
        // Directed and undirected ones alternate, and all receivers are served at once.
        for number in 0..20 {
            peers[from].send(&event("CHAT", ROOM, number * 2)).await;
            for id in ids.iter().filter(|id| **id != ids[from]) {
                peers[from]
                    .send(&event_to(id, "CANDIDATE", ROOM, number * 2 + 1))
                    .await;
            }
        }
        for (_, peer) in peers.iter_mut().enumerate().filter(|(at, _)| *at != from) {
            for number in 0..40 {
                assert_eq!(peer.signal().await["payload"], number);
            }
        }
    }
    all_quiet(&site, &mut peers).await;
}

async fn the_caller_is_whoever_sent_it(host: Host) {
    let site = host.start().await;
    let mut receiver = Peer::join(&site, Wire::Json, ROOM).await;
    for wire in Wire::ALL {
        let mut sender = Peer::join(&site, wire, ROOM).await;
        assert_eq!(receiver.signal().await["type"], "CONNECT");
        let own = format!(r#"{{"id":"{}"}}"#, sender.id);
        for (sent, heard) in [
            (
                r#"{"type":"A","room":{"id":"r"}}"#,
                r#"{"type":"A","room":{"id":"r"},"caller":ME}"#,
            ),
            (
                r#"{"caller":null,"type":"A","room":{"id":"r"}}"#,
                r#"{"caller":ME,"type":"A","room":{"id":"r"}}"#,
            ),
            (
                r#"{"type":"A","caller":{"id":"uuid","x":[1,{"caller":2}]},"room":{"id":"r"}}"#,
                r#"{"type":"A","caller":ME,"room":{"id":"r"}}"#,
            ),
            (
                r#"{"caller":"x","type":"A","caller" : 12.5e3 ,"room":{"id":"r"},"caller":[]}"#,
                r#"{"caller":ME,"type":"A","caller" : ME ,"room":{"id":"r"},"caller":ME}"#,
            ),
            (
                r#"{"type":"A","room":{"id":"r"},"c\u0061ller":{"id":"y"}}"#,
                r#"{"type":"A","room":{"id":"r"},"c\u0061ller":ME}"#,
            ),
            (
                r#"{"type":"A","room":{"id":"r","caller":1},"payload":{"caller":{"id":"z"}}}"#,
                r#"{"type":"A","room":{"id":"r","caller":1},"payload":{"caller":{"id":"z"}},"caller":ME}"#,
            ),
            (
                r#"{"type":"A","room":{"id":"r"},"Caller":1,"callers":2,"":3}"#,
                r#"{"type":"A","room":{"id":"r"},"Caller":1,"callers":2,"":3,"caller":ME}"#,
            ),
        ] {
            sender.send_raw(sent, &[]).await;
            assert_eq!(
                receiver.hear().await.raw,
                heard.replace("ME", &own),
                "{wire:?}: {sent}"
            );
        }
        receiver.hears_nothing(&site).await;
        let id = sender.id.clone();
        sender.vanish().await;
        receiver.hears_departure(&id, ROOM).await;
    }
}

async fn all_but_the_caller_stays_byte_for_byte(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let payloads = [
        r#"{"b":1,"a":2,"b":3,"":null}"#,
        r"[1.0,-0,1E+400,123456789012345678901234567890]",
        r#""\ud83d \udc00\ud83d \u0000\/\u00e9 é 😀 \"""#,
        "[ ]",
        r#"{"type":"OFFER","type":"send","room":{"id":1},"callee":[],"__proto__":{"x":1}}"#,
        r#"{"_placeholder":true,"num":99}"#,
        "false",
    ];
    for payload in payloads {
        for from in 0..peers.len() {
            let raw = format!(
                "{{\"x\":[{{}}],  \"payload\":{payload},\t\"caller\":{{\"id\":\"{}\"}},\"type\":\"RAW\" ,\"room\":{{\"id\":\"\\u0072\",\"y\":{{}}}},\"callee\":\"whoever\"}}",
                peers[from].id
            );
            peers[from].send_raw(&raw, &[]).await;
            for (at, peer) in peers.iter_mut().enumerate() {
                // A JSON client cannot tell this text from one with attachments; it is not one.
                let looks_binary = peer.wire == Wire::Json && payload.contains("_placeholder");
                if at != from && !looks_binary {
                    assert_eq!(peer.hear().await.raw, raw, "to {:?}", peer.wire);
                } else if at != from {
                    assert_eq!(peer.socket().text().await, raw);
                }
            }
        }
    }
    all_quiet(&site, &mut peers).await;
}

async fn binary_goes_from_every_wire_to_every_wire(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let raw = r#"{"type":"FILE","room":{"id":"r"},"payload":[{"_placeholder":true,"num":0},"é😀",{"_placeholder":true,"num":1}]}"#;
    let everything: Vec<u8> = (0..=255).collect();
    for from in 0..peers.len() {
        if peers[from].wire == Wire::Json {
            continue; // It sends text only.
        }
        peers[from].send_raw(raw, &[&everything, &[4]]).await;
        let caller = json!({ "id": peers[from].id });
        for (_, peer) in peers.iter_mut().enumerate().filter(|(at, _)| *at != from) {
            let heard = peer.hear().await;
            assert_eq!(
                heard.attachments,
                [everything.clone(), vec![4]],
                "to {:?}",
                peer.wire
            );
            let event = heard.json();
            assert_eq!(
                (&event["caller"], &event["payload"][1]),
                (&caller, &json!("é😀"))
            );
        }
    }
    // An offer with attachments reaches its callee, and nobody else.
    let (sender, receiver) = (0, 3);
    let offer = format!(
        r#"{{"type":"OFFER","room":{{"id":"r"}},"callee":{{"id":"{}"}},"payload":{{"_placeholder":true,"num":0}}}}"#,
        peers[receiver].id
    );
    peers[sender].send_raw(&offer, &[&everything]).await;
    assert_eq!(peers[receiver].hear().await.attachments, [everything]);
    all_quiet(&site, &mut peers).await;
}

async fn a_revision_3_client_answers_to_its_session_id(host: Host) {
    let site = host.start().await;
    let mut sender = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    let mut older = Peer::join(&site, Wire::Polling(Revision::V3), ROOM).await;
    let mut newer = Peer::join(&site, Wire::Polling(Revision::V4), ROOM).await;
    for _ in 0..2 {
        assert_eq!(sender.signal().await["type"], "CONNECT");
    }
    assert_eq!(older.signal().await["type"], "CONNECT");
    let sid = older.polling().sid.clone();
    let ack = sender.ask(&event_to(&sid, "OFFER", ROOM, 1)).await;
    assert_eq!(ack["delivered"], 1);
    let heard = older.signal().await;
    assert_eq!(
        (&heard["callee"]["id"], &heard["payload"]),
        (&json!(sid), &json!(1))
    );
    // To itself by either name, and to strangers by none.
    let (id, ack) = (
        older.id.clone(),
        older.ask(&event_to(&sid, "OFFER", ROOM, 1)).await,
    );
    assert_eq!(ack["code"], "refused", "{id}");
    let sid = newer.polling().sid.clone();
    assert_eq!(
        sender.ask(&event_to(&sid, "OFFER", ROOM, 1)).await["code"],
        "no_such_peer"
    );
    let mut stranger = Peer::join(&site, Wire::Polling(Revision::V3), "elsewhere").await;
    let sid = stranger.polling().sid.clone();
    assert_eq!(
        sender.ask(&event_to(&sid, "OFFER", ROOM, 1)).await["code"],
        "no_such_peer"
    );
    all_quiet(&site, &mut [newer, stranger]).await;
}
