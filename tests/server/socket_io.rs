//! Socket.IO within a session: connecting, namespaces, acks and attachments.

#![cfg(feature = "tower")]

use crate::support::{
    Host, Peer, ROOM, Revision, Socket, Wire, event, in_each_revision, message, on_each_host, pair,
};
use serde_json::{Value, json};

in_each_revision!(
    other_namespaces_are_refused,
    a_client_can_leave_and_come_back,
    acks_answer_by_number,
    attachments_follow_their_event,
    attachments_must_fit_their_placeholders,
    a_binary_event_over_the_maximum_is_refused,
);
on_each_host!(
    base64_is_for_those_who_ask,
    a_second_connect_is_ignored_in_revision_3,
    a_second_connect_is_an_error_in_revision_4,
    auth_must_be_an_object,
    revision_4_connects_before_it_speaks,
);

async fn other_namespaces_are_refused(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut socket, _) = Socket::connect(&site, revision).await;
    let expected = |name: &str, query: &str| match revision {
        Revision::V3 => format!("44{name},\"Invalid namespace\""),
        Revision::V4 => format!("44{name}{query},{{\"message\":\"Invalid namespace\"}}"),
    };
    socket.send("40/nope,").await;
    assert_eq!(socket.text().await, expected("/nope", ""));
    socket.send("40/nope").await;
    assert_eq!(socket.text().await, expected("/nope", ""));
    socket.send("40/nope?x=1,{\"token\":1}").await;
    assert_eq!(socket.text().await, expected("/nope", "?x=1"));
    // The connection goes on, and a stay in a place that is none can be ended.
    socket.send("41/nope,").await;
    if revision == Revision::V3 {
        socket.send("42/nope,1[\"message\",{}]").await;
        socket.send("451-/nope,[\"message\",{}]").await;
        socket.send_binary(&[4, 1]).await;
    }
    socket.send("42/,0[\"message\",{}]").await;
    assert!(socket.text().await.contains("\"type\":\"ERROR\""));
    assert!(socket.text().await.starts_with("430["), "the ack");
}

async fn a_client_can_leave_and_come_back(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    let first = peer.id.clone();
    peer.socket().send("41").await;
    other.hears_departure(&first, ROOM).await;
    other.hears_nothing(&site).await;
    assert_eq!(site.server.peer_count(), 1);
    peer.socket().send("41").await;
    peer.socket().send("40").await;
    assert!(
        peer.socket().text().await.starts_with("40"),
        "the transport stayed open"
    );
    peer.enter(&site, ROOM).await;
    assert_ne!(peer.id, first);
    let back = other.signal().await;
    assert_eq!(
        (&back["type"], &back["caller"]["id"]),
        (&json!("CONNECT"), &json!(peer.id))
    );
}

async fn a_second_connect_is_ignored_in_revision_3(host: Host) {
    let site = host.start().await;
    let (mut socket, _) = Socket::connect(&site, Revision::V3).await;
    socket.send("40").await;
    socket.send("2").await;
    assert_eq!(socket.text().await, "3");
    assert_eq!(site.server.peer_count(), 1);
}

async fn a_second_connect_is_an_error_in_revision_4(host: Host) {
    let site = host.start().await;
    let (mut socket, _) = Socket::connect(&site, Revision::V4).await;
    socket.send("40").await;
    assert_eq!(socket.closed().await, None);
}

async fn auth_must_be_an_object(host: Host) {
    let site = host.start().await;
    for auth in ["{}", "{\"token\":\"x\"}", "/?x=1,{}"] {
        let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
        socket.send(&format!("40{auth}")).await;
        assert!(socket.text().await.starts_with("40{\"sid\":"), "{auth}");
    }
    for auth in ["1", "[]", "\"x\"", "{", "{}x", "null"] {
        let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
        socket.send(&format!("40{auth}")).await;
        assert_eq!(socket.closed().await, None, "{auth}");
    }
}

async fn revision_4_connects_before_it_speaks(host: Host) {
    let site = host.start().await;
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    assert_eq!(site.server.peer_count(), 0);
    socket.send(&message(&event("CHAT", ROOM, "early"))).await;
    assert_eq!(socket.closed().await, None);
}

async fn acks_answer_by_number(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    let (id, socket) = (peer.id.clone(), peer.socket());
    let chat = event("CHAT", ROOM, "x");
    for number in ["0", "12", "007", "9223372036854775807"] {
        socket
            .send(&format!("42{number}[\"message\",{chat}]"))
            .await;
        let expected = format!(r#"43{number}[{{"ok":true,"id":"{id}","delivered":1}}]"#);
        assert_eq!(socket.text().await, expected);
        assert_eq!(other.signal().await["payload"], "x");
    }
    socket.send("423[\"message\",{}]").await;
    let error = socket.text().await;
    assert!(error.contains("\"type\":\"ERROR\""), "{error}");
    let ack: Value = serde_json::from_str(&socket.text().await[3..]).expect("JSON");
    assert_eq!(
        (&ack[0]["ok"], &ack[0]["code"]),
        (&json!(false), &json!("malformed"))
    );
    // Longer than any counter gets, and no number at all.
    socket
        .send(&format!("42{}[\"message\",{chat}]", "9".repeat(30)))
        .await;
    assert_eq!(socket.closed().await, None);
}

async fn attachments_follow_their_event(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    let mut third = Peer::join(&site, Wire::Socket(revision), ROOM).await;
    for peer in [&mut peer, &mut other] {
        assert_eq!(peer.signal().await["type"], "CONNECT");
    }
    let raw = format!(
        r#"{{"type":"FILE","caller":{{"id":"{}"}},"room":{{"id":"r"}},"payload":{{"a":{{"_placeholder":true,"num":1}},"b":[{{"num":0,"_placeholder":true}}]}}}}"#,
        peer.id
    );
    let (one, two): (&[u8], &[u8]) = (&[0, 1, 2], &[]);
    peer.send_raw(&raw, &[one, two]).await;
    let socket = third.socket();
    assert_eq!(socket.text().await, format!("452-[\"message\",{raw}]"));
    match revision {
        Revision::V3 => {
            assert_eq!(socket.binary().await, [4, 0, 1, 2], "the type comes first");
            assert_eq!(socket.binary().await, [4]);
        }
        Revision::V4 => {
            assert_eq!(socket.binary().await, one);
            assert_eq!(socket.binary().await, two);
        }
    }
    // An ack for an event with attachments, and an event that could have had some.
    peer.socket()
        .send(r#"451-8["message",{"type":"FILE","room":{"id":"r"},"payload":{"_placeholder":true,"num":0}}]"#)
        .await;
    peer.socket().send_binary(&[4]).await;
    assert!(peer.socket().text().await.starts_with(r#"438[{"ok":true"#));
    peer.socket()
        .send(r#"450-["message",{"type":"FILE","room":{"id":"r"},"payload":0}]"#)
        .await;
    assert_eq!(socket.text().await.split('[').next(), Some("451-"));
    socket.binary().await;
    assert!(socket.text().await.starts_with(r#"42["message","#));
}

async fn base64_is_for_those_who_ask(host: Host) {
    let site = host.start().await;
    for (extra, base64) in [("&b64=1", true), ("", false)] {
        let mut sender = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
        let target = format!("/socket.io/?EIO=3&transport=websocket{extra}");
        let mut socket = Socket::open(site.address, &target).await;
        socket.text().await;
        assert_eq!(socket.text().await, "40");
        let connect = event("CONNECT", ROOM, Value::Null);
        socket.send(&message(&connect)).await;
        assert_eq!(sender.signal().await["type"], "CONNECT");
        let raw = r#"{"type":"FILE","room":{"id":"r"},"payload":{"_placeholder":true,"num":0}}"#;
        sender.send_raw(raw, &[&[1, 2, 3]]).await;
        assert!(socket.text().await.starts_with("451-"));
        if base64 {
            assert_eq!(socket.text().await, "b4AQID");
            socket.send(&format!("451-[\"message\",{raw}]")).await;
            socket.send("b4AQID").await;
        } else {
            assert_eq!(socket.binary().await, [4, 1, 2, 3]);
            socket.send(&format!("451-[\"message\",{raw}]")).await;
            socket.send_binary(&[4, 1, 2, 3]).await;
        }
        assert_eq!(sender.hear().await.attachments, [[1, 2, 3]]);
    }
}

async fn attachments_must_fit_their_placeholders(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    for (payload, count) in [
        (r#"{"_placeholder":true,"num":1}"#, 1),
        (r#"{"_placeholder":true,"num":-1}"#, 1),
        (r#"{"_placeholder":true,"num":0.5}"#, 1),
        (r#"{"_placeholder":true,"num":"0"}"#, 1),
        (r#"{"_placeholder":true}"#, 1),
        (r#"{"_placeholder":true,"num":0}"#, 2),
        ("null", 1),
    ] {
        let raw = format!(r#"{{"type":"FILE","room":{{"id":"r"}},"payload":{payload}}}"#);
        let attachments: Vec<&[u8]> = vec![&[7]; count];
        peer.send_raw(&raw, &attachments).await;
        let error = peer.signal().await;
        assert_eq!(
            (&error["type"], &error["payload"]["code"]),
            (&json!("ERROR"), &json!("malformed"))
        );
        assert_eq!(error["room"]["id"], ROOM, "{payload}");
    }
    other.hears_nothing(&site).await;
    peer.hears_nothing(&site).await;
}

async fn a_binary_event_over_the_maximum_is_refused(host: Host, revision: Revision) {
    let site = host.start_with(|builder| builder.max_message(1000)).await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    let raw = r#"{"type":"FILE","room":{"id":"r"},"payload":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}"#;
    let part = [1; 500];
    peer.send_raw(raw, &[&part, &part]).await;
    let error = peer.signal().await;
    assert_eq!(
        (&error["type"], &error["payload"]["code"]),
        (&json!("ERROR"), &json!("too_large"))
    );
    let text = format!("452-9[\"message\",{raw}]");
    peer.send_packets(&text, &[&part, &part]).await;
    assert_eq!(peer.signal().await["payload"]["code"], "too_large");
    let ack = peer.socket().text().await;
    assert!(
        ack.starts_with(r#"439[{"ok":false,"code":"too_large""#),
        "{ack}"
    );
    other.hears_nothing(&site).await;
    // Each is fine by itself.
    peer.send_raw(raw, &[&part[..100], &part]).await;
    assert_eq!(other.hear().await.attachments.len(), 2);
}
