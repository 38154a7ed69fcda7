//! The plain JSON wire: one signaling event in each text frame, as it stands.

#![cfg(feature = "tower")]

use std::time::Duration;

use crate::support::{
    Frame, Host, Peer, Request, Revision, Socket, Wire, event, eventually, on_each_host,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

on_each_host!(
    the_server_says_who_the_client_is,
    anything_but_a_websocket_is_told_so,
    events_travel_as_they_stand,
    an_event_goes_out_as_a_message_to_socket_io,
    attachments_come_once_for_each_placeholder,
    what_is_no_event_is_answered,
    binary_closes_with_1003,
    too_large_a_message_closes_with_1009,
    pings_keep_the_beat,
    silence_ends_the_connection,
    every_end_is_told_once,
    a_client_may_ping,
);

const ROOM: &str = "r";

async fn the_server_says_who_the_client_is(host: Host) {
    let site = host.start().await;
    for target in [
        "/peer-data",
        "/peer-data/",
        "/peer-data?token=x",
        "/peer-data/deeper",
    ] {
        let mut socket = Socket::open(site.address, target).await;
        let ready = socket.text().await;
        let parsed: Value = serde_json::from_str(&ready).expect("JSON");
        let id = parsed["payload"]["id"].as_str().expect("an id");
        assert_eq!(
            ready,
            format!(
                r#"{{"type":"READY","caller":null,"callee":null,"room":null,"payload":{{"id":"{id}"}}}}"#
            )
        );
        assert_eq!(site.tell(id, "HELLO", &json!(1)), 1);
        let hello: Value = serde_json::from_str(&socket.text().await).expect("JSON");
        assert_eq!(
            (&hello["type"], &hello["caller"]),
            (&json!("HELLO"), &json!(null))
        );
    }
}

async fn anything_but_a_websocket_is_told_so(host: Host) {
    let site = host.start().await;
    for request in [
        Request::get("/peer-data"),
        Request::get("/peer-data/?EIO=4&transport=polling"),
        Request::post("/peer-data", "{}"),
        Request::get("/peer-data")
            .header("Connection", "Upgrade")
            .header("Upgrade", "h2c"),
    ] {
        let answer = request.clone().send(site.address).await;
        assert_eq!(answer.status, 426, "{request:?}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.names_of_the_hop("upgrade"), 1, "{answer:?}");
        assert!(
            answer.text().contains("WebSocket") && answer.text().ends_with('.'),
            "{answer:?}"
        );
    }
}

async fn events_travel_as_they_stand(host: Host) {
    let site = host.start().await;
    let mut sender = Peer::join(&site, Wire::Json, ROOM).await;
    let mut receiver = Peer::join(&site, Wire::Json, ROOM).await;
    assert_eq!(sender.signal().await["type"], "CONNECT");
    let id = sender.id.clone();
    let odd = format!(
        "{{ \"extra\" : [1.50, 1e400,\t\"\\u00e9\\ud83d\"] ,\r\n\"payload\":{{\"b\":1,\"a\":2,\"b\":3}},\"caller\":{{\"id\":\"{id}\"}}, \"room\":{{\"x\":null,\"id\":\"\\u0072\"}},\"type\":\"Ch\\u0061t\" }}"
    );
    sender.send_raw(&odd, &[]).await;
    assert_eq!(receiver.hear().await.raw, odd);
    sender.send_raw(&format!("\n {odd}\t"), &[]).await;
    assert_eq!(
        receiver.hear().await.raw,
        odd,
        "without what stands around it"
    );
}

async fn an_event_goes_out_as_a_message_to_socket_io(host: Host) {
    let site = host.start().await;
    for revision in Revision::BOTH {
        let mut sender = Peer::join(&site, Wire::Json, ROOM).await;
        let mut receiver = Peer::join(&site, Wire::Socket(revision), ROOM).await;
        sender
            .send_raw(r#"{"type":"CHAT","room":{"id":"r"}}"#, &[])
            .await;
        assert_eq!(
            receiver.socket().text().await,
            format!(
                r#"42["message",{{"type":"CHAT","room":{{"id":"r"}},"caller":{{"id":"{}"}}}}]"#,
                sender.id
            )
        );
    }
}

async fn attachments_come_once_for_each_placeholder(host: Host) {
    let site = host.start().await;
    for wire in Wire::SOCKET_IO {
        let mut receiver = Peer::join(&site, Wire::Json, ROOM).await;
        let mut sender = Peer::join(&site, wire, ROOM).await;
        assert_eq!(receiver.signal().await["type"], "CONNECT");
        let raw = format!(
            r#"{{"type":"FILE","caller":{{"id":"{}"}},"room":{{"id":"r"}},"payload":[{{"_placeholder":true,"num":1}},{{"num":0,"_placeholder":true}},{{"_placeholder":true,"num":1}}]}}"#,
            sender.id
        );
        sender.send_raw(&raw, &[b"zero", b"one"]).await;
        let socket = receiver.socket();
        assert_eq!(socket.text().await, raw);
        for part in ["one", "zero", "one"] {
            assert_eq!(socket.binary().await, part.as_bytes());
        }
        receiver.hears_nothing(&site).await;
    }
}

async fn what_is_no_event_is_answered(host: Host) {
    let site = host.start().await;
    let mut peer = Peer::join(&site, Wire::Json, ROOM).await;
    for (text, room) in [
        ("", json!(null)),
        ("{", json!(null)),
        ("null", json!(null)),
        ("[]", json!(null)),
        ("42[\"message\",{}]", json!(null)),
        ("{}", json!(null)),
        ("{\"type\":\"CHAT\"}", json!(null)),
        (
            "{\"room\":{\"id\":\"elsewhere\"}}",
            json!({"id": "elsewhere"}),
        ),
    ] {
        peer.send_raw(text, &[]).await;
        let error = peer.signal().await;
        assert_eq!(error["payload"]["code"], "malformed", "{text}");
        assert!(error["payload"]["message"].is_string());
        let rest = (
            &error["type"],
            &error["caller"],
            &error["callee"],
            &error["room"],
        );
        assert_eq!(rest, (&json!("ERROR"), &json!(null), &json!(null), &room));
    }
    peer.hears_nothing(&site).await;
}

async fn binary_closes_with_1003(host: Host) {
    let site = host.start().await;
    let mut other = Peer::join(&site, Wire::Json, ROOM).await;
    let mut peer = Peer::join(&site, Wire::Json, ROOM).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
    peer.socket().send_binary(b"{}").await;
    assert_eq!(peer.socket().closed().await, Some(1003));
    other.hears_departure(&peer.id, ROOM).await;
}

async fn too_large_a_message_closes_with_1009(host: Host) {
    let site = host.start_with(|builder| builder.max_message(1000)).await;
    let mut peer = Peer::join(&site, Wire::Json, ROOM).await;
    peer.send_raw(&" ".repeat(1000), &[]).await;
    assert_eq!(peer.signal().await["type"], "ERROR");
    peer.socket().send(&" ".repeat(1001)).await;
    assert_eq!(peer.socket().closed().await, Some(1009));
    eventually("gone", || site.server.peer_count() == 0).await;
}

async fn pings_keep_the_beat(host: Host) {
    let site = host
        .start_with(|builder| builder.ping_interval(Duration::from_millis(10)))
        .await;
    let mut socket = Socket::open(site.address, "/peer-data").await;
    socket.text().await;
    // The client answers each by itself; without an answer there is no second one.
    for _ in 0..3 {
        assert_eq!(socket.frame().await, Frame::Ping);
    }
}

async fn silence_ends_the_connection(host: Host) {
    let beat = Duration::from_millis(20);
    let site = host
        .start_with(|builder| builder.ping_interval(beat).ping_timeout(beat))
        .await;
    let mut socket = Socket::open(site.address, "/peer-data").await;
    socket.text().await;
    // Who does not read answers no pings.
    eventually("nobody there", || site.server.peer_count() == 0).await;
    socket.ended().await;
}

async fn every_end_is_told_once(host: Host) {
    let site = host.start().await;
    for end in ["frame", "cut", "kick"] {
        println!("{end}");
        let mut other = Peer::join(&site, Wire::Socket(Revision::V3), ROOM).await;
        let mut peer = Peer::join(&site, Wire::Json, ROOM).await;
        assert_eq!(other.signal().await["type"], "CONNECT");
        let id = peer.id.clone();
        match end {
            "frame" => {
                peer.socket().send_close(4321).await;
                assert_eq!(
                    peer.socket().closed().await,
                    Some(4321),
                    "the code is echoed"
                );
            }
            "cut" => drop(peer),
            _ => {
                assert!(site.server.disconnect(&id.parse().expect("an id")));
                assert_eq!(peer.socket().closed().await, Some(1000));
            }
        }
        other.hears_departure(&id, ROOM).await;
        other.hears_nothing(&site).await;
        drop(other);
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn a_client_may_ping(host: Host) {
    let site = host.start().await;
    let mut peer = Peer::join(&site, Wire::Json, ROOM).await;
    peer.socket().send_message(Message::Ping("x".into())).await;
    assert_eq!(peer.socket().frame().await, Frame::Pong(b"x".to_vec()));
    let chat = event("CHAT", ROOM, 1);
    peer.send(&chat).await;
    peer.hears_nothing(&site).await;
}
