//! Socket.IO beside signaling: events of any name, their acks, and further namespaces.

#![cfg(feature = "tower")]

use crate::support::{
    Host, Packet, Peer, Polling, ROOM, Revision, Socket, Wire, event, eventually, in_each_revision,
    on_each_host, pair,
};
use peer_data_server::{AppEvent, Arguments, Builder, Namespace, Peer as Caller, RoomId, Signal};
use serde_json::{Value, json};

in_each_revision!(
    an_event_reaches_the_hook_and_its_answer_the_client,
    binary_goes_both_ways,
    long_polling_has_events_too,
    a_namespace_is_a_place_of_its_own,
    what_is_no_event_is_refused,
    too_much_binary_is_refused,
    without_signaling_a_message_is_an_event,
);
on_each_host!(
    without_a_hook_events_are_counted,
    the_server_emits_to_peers_and_rooms,
    an_answer_may_come_later,
    a_hook_hears_who_connects,
    namespaces_are_left_with_the_connection,
);

/// Answers `back` with the same arguments, and every ack with them.
fn echo(peer: &Caller, event: AppEvent<'_>) {
    let back = format!("{}-back", event.name);
    let back = Signal::event(&back, &event.arguments).expect("an event");
    assert_eq!(peer.send(&back).delivered, 1);
    if let Some(ack) = event.ack {
        ack.send(&event.arguments);
    }
}

async fn an_event_reaches_the_hook_and_its_answer_the_client(host: Host, revision: Revision) {
    let site = host.start_with(|builder| builder.on_event(echo)).await;
    let (mut socket, _) = Socket::connect(&site, revision).await;
    for arguments in [
        r#"1,"2",{"3":[true],"b":null}"#,
        r#""\ud83d", "😀" , 1.50e+3"#,
        "[[]]",
        r#"{"_placeholder":true,"num":0}"#,
    ] {
        socket.send(&format!("4270[\"x\",{arguments}]")).await;
        assert_eq!(
            socket.text().await,
            format!("42[\"x-back\",{arguments}]"),
            "byte for byte"
        );
        assert_eq!(socket.text().await, format!("4370[{arguments}]"));
    }
    for bare in ["42[\"x\"]", "42[ \"x\" ]"] {
        socket.send(bare).await;
        assert_eq!(socket.text().await, "42[\"x-back\"]");
    }
    assert_eq!(site.server.ignored_events(), 0);
}

async fn binary_goes_both_ways(host: Host, revision: Revision) {
    let site = host.start_with(|builder| builder.on_event(echo)).await;
    let (mut socket, _) = Socket::connect(&site, revision).await;
    // Revision 3 marks binary messages with a byte of its own.
    let mark: &[u8] = if revision == Revision::V3 { &[4] } else { &[] };
    let places = r#"{"_placeholder":true,"num":1},[{"num":0,"_placeholder":true}]"#;
    socket.send(&format!("452-7[\"x\",{places}]")).await;
    let parts = [[mark, &[1, 2]].concat(), [mark, &[3]].concat()];
    for part in &parts {
        socket.send_binary(part).await;
    }
    for expected in [
        format!("452-[\"x-back\",{places}]"),
        format!("462-7[{places}]"),
    ] {
        assert_eq!(socket.text().await, expected);
        for part in &parts {
            assert_eq!(&socket.binary().await, part);
        }
    }
}

async fn long_polling_has_events_too(host: Host, revision: Revision) {
    let site = host.start_with(|builder| builder.on_event(echo)).await;
    let (mut client, _) = Polling::connect(&site, revision).await;
    client.post(&["427[\"x\",1]", "42[\"y\"]"]).await;
    for expected in ["42[\"x-back\",1]", "437[1]", "42[\"y-back\"]"] {
        assert_eq!(client.packet().await, Packet::from(expected));
    }
}

async fn a_namespace_is_a_place_of_its_own(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| {
            let custom = Namespace::new("/custom").on_event(echo);
            let silent = Namespace::new("/silent");
            builder.namespace(custom).namespace(silent)
        })
        .await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    let socket = peer.socket();
    for name in ["/custom", "/silent"] {
        socket.send(&format!("40{name},")).await;
        let welcome = socket.text().await;
        match revision {
            Revision::V3 => assert_eq!(welcome, format!("40{name},")),
            Revision::V4 => {
                let id: Value = serde_json::from_str(&welcome[name.len() + 3..]).expect("JSON");
                assert_eq!(id["sid"].as_str().map(str::len), Some(20));
                assert!(!site.members(ROOM).contains(&id["sid"].to_string()));
            }
        }
    }
    // There a `message` is an event like any other, and rooms are elsewhere.
    let signal = event("CHAT", ROOM, 1);
    socket
        .send(&format!("42/custom,5[\"message\",{signal}]"))
        .await;
    assert_eq!(
        socket.text().await,
        format!("42/custom,[\"message-back\",{signal}]")
    );
    assert_eq!(socket.text().await, format!("43/custom,5[{signal}]"));
    socket
        .send(&format!("42/silent,[\"message\",{signal}]"))
        .await;
    socket.send("40/nope,").await;
    assert!(socket.text().await.starts_with("44/nope,"));
    assert_eq!(site.server.ignored_events(), 1);
    assert_eq!(site.server.peer_count(), 2);
    other.hears_nothing(&site).await;
    // Left, it is left; `/` goes on.
    socket.send("41/custom,").await;
    if revision == Revision::V3 {
        socket.send("42/custom,[\"x\"]").await;
    }
    peer.hears_nothing(&site).await;
    peer.send(&signal).await;
    assert_eq!(other.signal().await["caller"]["id"], peer.id);
}

async fn what_is_no_event_is_refused(host: Host, revision: Revision) {
    let site = host.start_with(|builder| builder.on_event(echo)).await;
    let (mut socket, _) = Socket::connect(&site, revision).await;
    let deep = format!("[\"x\",{}{}]", "[".repeat(200), "]".repeat(200));
    let unfit = r#"["x",{"_placeholder":true,"num":0}]"#.to_owned();
    let mark: &[u8] = if revision == Revision::V3 { &[4] } else { &[] };
    for (packet, attachments) in [(format!("427{deep}"), 0), (format!("452-7{unfit}"), 2)] {
        socket.send(&packet).await;
        for _ in 0..attachments {
            socket.send_binary(mark).await;
        }
        let error = socket.text().await;
        assert!(error.contains("\"code\":\"malformed\""), "{error}");
        let ack = socket.text().await;
        assert!(ack.starts_with("437[{\"ok\":false,\"code\":\"malformed\""));
    }
    socket.send("42[\"x\"]").await;
    assert_eq!(socket.text().await, "42[\"x-back\"]");
    // Not an array with a name: that is not the protocol.
    socket.send("42[\"x\",]").await;
    assert_eq!(socket.closed().await, None);
}

async fn too_much_binary_is_refused(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| builder.on_event(echo).max_message(1_000))
        .await;
    let (mut socket, _) = Socket::connect(&site, revision).await;
    socket
        .send(r#"452-7["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    let part = [4; 600];
    for _ in 0..2 {
        socket.send_binary(&part).await;
    }
    let error = socket.text().await;
    assert!(error.contains("\"code\":\"too_large\""), "{error}");
    assert!(socket.text().await.contains("too_large"), "the ack");
    socket.send("42[\"x\"]").await;
    assert_eq!(socket.text().await, "42[\"x-back\"]");
}

async fn without_signaling_a_message_is_an_event(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| builder.on_event(echo).signaling(false))
        .await;
    let (mut socket, _) = Socket::connect(&site, revision).await;
    let join = event("CONNECT", ROOM, Value::Null);
    socket.send(&format!("42[\"message\",{join}]")).await;
    assert_eq!(socket.text().await, format!("42[\"message-back\",{join}]"));
    assert_eq!(site.server.room_count(), 0);
    let mut plain = Peer::connect(&site, Wire::Json).await;
    plain.send(&join).await;
    assert_eq!(plain.signal().await["payload"]["code"], "refused");
}

async fn without_a_hook_events_are_counted(host: Host) {
    let site = host.start().await;
    let mut ignored = 0;
    for wire in Wire::SOCKET_IO {
        let (mut peer, mut other) = pair(&site, wire).await;
        peer.send_packets("42[\"x\",1]", &[]).await;
        peer.send_packets("427[\"x\"]", &[]).await;
        peer.send_packets("451-[\"x\",{\"_placeholder\":true,\"num\":0}]", &[b"a"])
            .await;
        ignored += 3;
        eventually("counted", || site.server.ignored_events() == ignored).await;
        peer.hears_nothing(&site).await;
        other.hears_nothing(&site).await;
        peer.vanish().await;
        other.vanish().await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn the_server_emits_to_peers_and_rooms(host: Host) {
    let site = host.start().await;
    let room = RoomId::new(ROOM).expect("a room's id");
    let photo = Arguments::new(&("a.jpg", peer_data_server::Placeholder(0)))
        .and_then(|arguments| arguments.with_attachments(vec![vec![1, 2].into()]))
        .expect("arguments");
    let score = Arguments::new(&("red", 3)).expect("arguments");
    let none = Arguments::none();

    let (mut socket, _) = Socket::connect(&site, Revision::V4).await;
    socket
        .send(&crate::support::message(&event(
            "CONNECT",
            ROOM,
            Value::Null,
        )))
        .await;
    eventually("in the room", || site.members(ROOM).len() == 1).await;
    let mut plain = Peer::join(&site, Wire::Json, ROOM).await;
    assert!(socket.text().await.contains("CONNECT"));

    for (name, arguments) in [("score", &score), ("quote\"d", &none), ("photo", &photo)] {
        let signal = Signal::event(name, arguments).expect("an event");
        assert_eq!(site.server.to_room(&room, None, &signal).delivered, 2);
    }
    assert_eq!(socket.text().await, r#"42["score","red",3]"#);
    assert_eq!(socket.text().await, r#"42["quote\"d"]"#);
    assert_eq!(
        socket.text().await,
        r#"451-["photo","a.jpg",{"_placeholder":true,"num":0}]"#
    );
    assert_eq!(socket.binary().await, [1, 2]);
    assert_eq!(
        plain.signal().await,
        json!({"type": "score", "caller": null, "callee": null, "room": null, "payload": ["red", 3]})
    );
    assert_eq!(plain.signal().await["type"], "quote\"d");
    let heard = plain.hear().await;
    assert_eq!(heard.json()["payload"][0], "a.jpg");
    assert_eq!(heard.attachments, [[1, 2]]);

    let alone = Signal::event("alone", &none).expect("an event");
    let id = plain.id.parse().expect("a peer's id");
    assert_eq!(site.server.to_peer(&id, &alone).delivered, 1);
    assert_eq!(plain.signal().await["type"], "alone");
    // Clients hang up on these.
    for name in ["connect", "disconnect", "connect_error", "newListener"] {
        assert!(Signal::event(name, &none).is_err(), "{name}");
    }
}

async fn an_answer_may_come_later(host: Host) {
    let (sender, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let site = host
        .start_with(|builder| {
            builder.on_event(move |peer, event| {
                let question = (peer.clone(), event.ack.expect("an ack"));
                sender.send(question).expect("a test that waits");
            })
        })
        .await;
    let (mut socket, _) = Socket::connect(&site, Revision::V4).await;
    let (mut gone, _) = Socket::connect(&site, Revision::V4).await;
    gone.send("421[\"x\"]").await;
    let (who, late) = asked.recv().await.expect("a question");
    drop(gone);
    eventually("gone", || site.server.peer_count() == 1).await;
    // Nobody is there any more; that is no matter.
    late.send(&Arguments::none());
    assert_eq!(
        who.send(&Signal::event("x", &Arguments::none()).expect("an event"))
            .delivered,
        0
    );
    assert!(who.rooms().is_empty() && !who.disconnect());

    for number in [5, 6] {
        socket.send(&format!("42{number}[\"x\"]")).await;
    }
    let (_, first) = asked.recv().await.expect("a question");
    let (_, second) = asked.recv().await.expect("a question");
    second.send(&Arguments::new(&["second"]).expect("arguments"));
    assert_eq!(socket.text().await, "436[\"second\"]");
    first.send(&Arguments::none());
    assert_eq!(socket.text().await, "435[]");
}

async fn a_hook_hears_who_connects(host: Host) {
    let greet = |builder: Builder| {
        builder
            .on_connect(|peer, hello| {
                let auth: Value = hello.auth().expect("an object");
                let seen = Arguments::new(&(peer.id(), peer.namespace(), auth));
                let hello = seen.and_then(|seen| Signal::event("hello", &seen));
                peer.send(&hello.expect("an event"));
            })
            .namespace(Namespace::new("/news").on_connect(|peer, hello| {
                let auth: Value = hello.auth().expect("an object");
                let seen = Arguments::new(&(peer.namespace(), auth, peer.rooms().len()));
                let hello = seen.and_then(|seen| Signal::event("hello", &seen));
                assert_eq!(peer.send(&hello.expect("an event")).delivered, 1);
            }))
    };
    let site = host.start_with(greet).await;
    let mut plain = Socket::open(site.address, "/peer-data").await;
    let ready: Value = serde_json::from_str(&plain.text().await).expect("JSON");
    let hello: Value = serde_json::from_str(&plain.text().await).expect("JSON");
    assert_eq!(hello["payload"], json!([ready["payload"]["id"], "/", {}]));

    let (mut old, _) = Socket::connect(&site, Revision::V3).await;
    assert!(old.text().await.ends_with(",\"/\",{}]"));
    let polling = Polling::open(&site, Revision::V3, "").await;
    let mut polling = polling;
    assert_eq!(polling.text().await, "40");
    assert!(polling.text().await.starts_with("42[\"hello\""));

    let (mut new, _) = Socket::engine(&site, Revision::V4).await;
    new.send(r#"40{"token":"t"}"#).await;
    let welcome = new.text().await;
    let id = welcome.split('"').nth(3).expect("an id");
    assert_eq!(
        new.text().await,
        format!(r#"42["hello","{id}","/",{{"token":"t"}}]"#)
    );
    new.send(r#"40/news,{"n":1}"#).await;
    assert!(new.text().await.starts_with("40/news,{"));
    assert_eq!(new.text().await, r#"42/news,["hello","/news",{"n":1},0]"#);
}

async fn namespaces_are_left_with_the_connection(host: Host) {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let site = host
        .start_with(|builder| {
            builder.namespace(Namespace::new("/news").on_connect(move |peer, _| {
                sender.send(peer.clone()).expect("a test that waits");
            }))
        })
        .await;
    // A client need not be in `/` at all.
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    socket.send("40/news,").await;
    assert!(socket.text().await.starts_with("40/news,"));
    assert_eq!(site.server.peer_count(), 0);
    let peer = seen.recv().await.expect("a peer");
    assert!(peer.disconnect());
    assert_eq!(socket.text().await, "41/news,");
    assert_eq!(socket.closed().await, Some(1000));
    assert!(!peer.disconnect());
}
