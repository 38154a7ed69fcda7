//! What the application can see, say and decide, and the switches of the builder.

#![cfg(feature = "tower")]

use std::sync::{Arc, Mutex};

use crate::support::{
    Host, Packet, Peer, Polling, Revision, Wire, event, eventually, on_each_host,
};
use peer_data_server::{Code, PeerId, RoomId, Signal, Verdict};
use serde_json::{Value, json};

on_each_host!(
    the_handle_counts_peers_and_rooms,
    the_application_speaks_to_a_peer,
    the_application_speaks_to_a_room,
    a_peer_can_be_shown_the_door,
    the_hook_decides_on_custom_types,
    the_hook_is_not_asked_about_the_protocols_own,
    the_hook_may_use_the_server,
    session_ids_can_be_exposed,
    the_references_echo_can_be_had,
    nothing_of_the_reference_is_on_by_default,
    a_peer_that_never_polls_is_put_out,
);

const ROOM: &str = "r";

fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("a room's id")
}

fn id(peer: &Peer) -> PeerId {
    peer.id.parse().expect("a peer's id")
}

async fn the_handle_counts_peers_and_rooms(host: Host) {
    let site = host.start().await;
    let server = &site.server;
    assert_eq!((server.peer_count(), server.room_count()), (0, 0));
    let unconnected = Polling::open(&site, Revision::V4, "").await;
    assert_eq!(
        server.peer_count(),
        0,
        "{} has not asked to connect",
        unconnected.sid
    );
    let mut peers = Vec::new();
    for (at, wire) in Wire::ALL.into_iter().enumerate() {
        peers.push(Peer::join(&site, wire, &format!("room {}", at % 2)).await);
        assert_eq!(server.peer_count(), at + 1);
    }
    assert_eq!(server.room_count(), 2);
    let mut rooms = server.rooms();
    rooms.sort();
    assert_eq!(rooms, [room("room 0"), room("room 1")]);
    assert_eq!(
        server.members(&rooms[0]),
        [id(&peers[0]), id(&peers[2]), id(&peers[4])]
    );
    assert_eq!(server.members(&room("nowhere")), []);
    for peer in peers {
        peer.vanish().await;
    }
    eventually("nobody", || {
        server.peer_count() == 0 && server.room_count() == 0
    })
    .await;
}

async fn the_application_speaks_to_a_peer(host: Host) {
    let site = host.start().await;
    for wire in Wire::ALL {
        let mut peer = Peer::join(&site, wire, ROOM).await;
        let signal = Signal::new("MOTD", Some(&room("anywhere")), &json!({"é": [1]}));
        let delivery = site.server.to_peer(&id(&peer), &signal.expect("a signal"));
        assert_eq!((delivery.delivered, delivery.full), (1, vec![]));
        assert_eq!(
            peer.hear().await.raw,
            r#"{"type":"MOTD","caller":null,"callee":null,"room":{"id":"anywhere"},"payload":{"é":[1]}}"#
        );
        peer.vanish().await;
        eventually("gone", || site.server.peer_count() == 0).await;
    }
    let nobody = PeerId::random().expect("an id");
    let signal = Signal::new("MOTD", None, &1).expect("a signal");
    assert_eq!(site.server.to_peer(&nobody, &signal).delivered, 0);
}

async fn the_application_speaks_to_a_room(host: Host) {
    let site = host.start().await;
    let mut outside = Peer::join(&site, Wire::Json, "outside").await;
    let mut peers = Vec::new();
    for wire in Wire::ALL {
        let peer = Peer::connect(&site, wire).await;
        peers.push(peer);
        peers
            .last_mut()
            .expect("the newest")
            .enter(&site, ROOM)
            .await;
    }
    for (at, peer) in peers.iter_mut().enumerate() {
        for _ in at + 1..Wire::ALL.len() {
            assert_eq!(peer.signal().await["type"], "CONNECT");
        }
    }
    let signal = Signal::new("NEWS", Some(&room(ROOM)), "all").expect("a signal");
    assert_eq!(site.server.to_room(&room(ROOM), None, &signal).delivered, 5);
    let except = id(&peers[0]);
    assert_eq!(
        site.server
            .to_room(&room(ROOM), Some(&except), &signal)
            .delivered,
        4
    );
    assert_eq!(
        site.server
            .to_room(&room("nowhere"), None, &signal)
            .delivered,
        0
    );
    for (at, peer) in peers.iter_mut().enumerate() {
        for _ in 0..if at == 0 { 1 } else { 2 } {
            assert_eq!(peer.signal().await["payload"], "all");
        }
        peer.hears_nothing(&site).await;
    }
    outside.hears_nothing(&site).await;
}

async fn a_peer_can_be_shown_the_door(host: Host) {
    let site = host.start().await;
    for wire in Wire::ALL {
        let mut other = Peer::join(&site, Wire::Json, ROOM).await;
        let peer = Peer::join(&site, wire, ROOM).await;
        assert_eq!(other.signal().await["type"], "CONNECT");
        assert!(site.server.disconnect(&id(&peer)));
        // Elsewhere its last message may still be dealt with; then it goes right after.
        eventually("gone", || !site.server.disconnect(&id(&peer))).await;
        assert_eq!(site.members(ROOM), [other.id.clone()]);
        other.hears_departure(&peer.id, ROOM).await;
        other.hears_nothing(&site).await;
        other.vanish().await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
    assert!(!site.server.disconnect(&PeerId::random().expect("an id")));
}

async fn the_hook_decides_on_custom_types(host: Host) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let site = host
        .start_with(|builder| {
            builder.on_custom(move |peer, event| {
                let text = String::from_utf8(event.signal.json().to_vec()).expect("text");
                seen.lock().expect("a lock").push((
                    peer.id().to_string(),
                    event.kind.to_owned(),
                    event.room.to_owned(),
                    event.is_member,
                    text,
                ));
                match event.kind {
                    "RELAY" => Verdict::Relay,
                    "DROP" => Verdict::Drop,
                    _ => Verdict::Refuse(Code::Refused),
                }
            })
        })
        .await;
    for wire in Wire::SOCKET_IO {
        let mut other = Peer::join(&site, Wire::Json, ROOM).await;
        let mut peer = Peer::join(&site, wire, ROOM).await;
        assert_eq!(other.signal().await["type"], "CONNECT");

        let ack = peer.ask(&event("RELAY", ROOM, 1)).await;
        assert_eq!(ack["delivered"], 1);
        let relayed = other.hear().await.raw;
        let ack = peer.ask(&event("DROP", ROOM, 1)).await;
        assert_eq!(ack, json!({"ok": true, "id": peer.id, "delivered": 0}));
        let ack = peer.ask(&event("else", ROOM, 1)).await;
        assert_eq!(
            (&ack["ok"], &ack["code"]),
            (&json!(false), &json!("refused"))
        );
        let error = peer.signal().await;
        assert_eq!(
            (&error["type"], &error["room"]["id"]),
            (&json!("ERROR"), &json!(ROOM))
        );
        // Whoever is not in the room may speak to the application, but not to the room.
        let ack = peer.ask(&event("DROP", "elsewhere", 1)).await;
        assert_eq!(ack["ok"], true);
        let ack = peer.ask(&event("RELAY", "elsewhere", 1)).await;
        assert_eq!(ack["code"], "not_in_room");
        assert_eq!(peer.signal().await["type"], "ERROR");
        other.hears_nothing(&site).await;

        let asked: Vec<_> = asked.lock().expect("a lock").drain(..).collect();
        let short: Vec<_> = asked
            .iter()
            .map(|(who, kind, room, member, _)| (&**who, &**kind, &**room, *member))
            .collect();
        assert_eq!(
            short,
            [
                (&*peer.id, "RELAY", ROOM, true),
                (&*peer.id, "DROP", ROOM, true),
                (&*peer.id, "else", ROOM, true),
                (&*peer.id, "DROP", "elsewhere", false),
                (&*peer.id, "RELAY", "elsewhere", false),
            ]
        );
        assert_eq!(
            asked[0].4, relayed,
            "what the hook sees is what the others hear"
        );
        other.vanish().await;
        peer.vanish().await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn the_hook_is_not_asked_about_the_protocols_own(host: Host) {
    let site = host
        .start_with(|builder| builder.on_custom(|_, event| panic!("asked about {}", event.kind)))
        .await;
    let mut other = Peer::join(&site, Wire::Json, ROOM).await;
    let mut peer = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
    for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
        let ack = peer
            .ask(&crate::support::event_to(&other.id, kind, ROOM, 1))
            .await;
        assert_eq!(ack["ok"], true);
    }
    for kind in ["send", "__proto__", "toString"] {
        assert_eq!(
            peer.ask(&event(kind, ROOM, 1)).await["code"],
            "forbidden_type"
        );
    }
    assert_eq!(peer.ask(&event("", ROOM, 1)).await["code"], "malformed");
    assert_eq!(peer.ask(&event("DISCONNECT", ROOM, 1)).await["ok"], true);
}

async fn the_hook_may_use_the_server(host: Host) {
    let site = host
        .start_with(|builder| {
            builder.on_custom(|peer, event| {
                let answer = Signal::new("ANSWERED", None, event.kind).expect("a signal");
                assert_eq!(peer.send(&answer).delivered, 1);
                let room = RoomId::new(event.room).expect("a room's id");
                if event.kind == "CLOSE" {
                    peer.server().close_room(&room);
                } else if event.kind == "KICK" {
                    assert!(peer.disconnect() && !peer.disconnect());
                }
                Verdict::Drop
            })
        })
        .await;
    for wire in Wire::ALL {
        let mut other = Peer::join(&site, Wire::Json, ROOM).await;
        let mut peer = Peer::join(&site, wire, ROOM).await;
        assert_eq!(other.signal().await["type"], "CONNECT");
        peer.send(&event("CLOSE", ROOM, 1)).await;
        other.hears_departure(&peer.id, ROOM).await;
        assert_eq!(peer.signal().await["payload"], "CLOSE");
        peer.hears_departure(&other.id, ROOM).await;
        for peer in [&mut other, &mut peer] {
            peer.enter(&site, ROOM).await;
        }
        assert_eq!(other.signal().await["type"], "CONNECT");
        peer.send(&event("KICK", ROOM, 1)).await;
        other.hears_departure(&peer.id, ROOM).await;
        other.hears_nothing(&site).await;
        other.vanish().await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn session_ids_can_be_exposed(host: Host) {
    let site = host
        .start_with(|builder| builder.expose_session_ids(true))
        .await;
    for revision in Revision::BOTH {
        let mut peer = Peer::join(&site, Wire::Polling(revision), ROOM).await;
        let sid = peer.polling().sid.clone();
        assert_eq!(peer.id == sid, revision == Revision::V3, "{revision:?}");
        peer.hears_nothing(&site).await;
        peer.vanish().await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn the_references_echo_can_be_had(host: Host) {
    let site = host
        .start_with(|builder| builder.reference_compat(true))
        .await;
    for revision in Revision::BOTH {
        let (mut client, _) = Polling::connect(&site, revision).await;
        let raw = r#"{"type":"CONNECT","caller":null,"room":{"id":"r"}}"#;
        client.post(&[&format!("420[\"message\",{raw}]")]).await;
        let echo = client.text().await;
        let ack: Value = serde_json::from_str(&client.text().await[3..]).expect("JSON");
        let own = format!(r#"{{"id":"{}"}}"#, ack[0]["id"].as_str().expect("an id"));
        let expected = raw.replace("null", &own);
        assert_eq!(echo, format!("42[\"log\",\"SERVER_LOG\",{expected}]"));

        let raw = r#"{"type":"F","caller":null,"room":{"id":"r"},"payload":{"_placeholder":true,"num":0}}"#;
        let file = format!("451-[\"message\",{raw}]");
        client
            .post_packets(&[file.into(), Packet::Binary(vec![7])])
            .await;
        let expected = raw.replace("null", &own);
        let echo = client.text().await;
        assert_eq!(echo, format!("451-[\"log\",\"SERVER_LOG\",{expected}]"));
        assert_eq!(client.packet().await, Packet::Binary(vec![7]));
        client.post(&["1"]).await;
        eventually("gone", || site.server.peer_count() == 0).await;
    }
    // The machine's addresses, one each; there may be none, so the ack marks the end.
    let mut peer = Peer::connect(&site, Wire::Socket(Revision::V3)).await;
    peer.socket().send("42[\"ipaddr\"]").await;
    peer.socket().send("420[\"message\",null]").await;
    loop {
        let text = peer.socket().text().await;
        let Some(address) = text.strip_prefix("42[\"ipaddr\",\"") else {
            assert!(text.contains("\"ERROR\""), "{text}");
            break;
        };
        let address = address.strip_suffix("\"]").expect("one argument");
        let address: std::net::Ipv4Addr = address.parse().expect("an address");
        assert!(!address.is_loopback());
    }
}

async fn nothing_of_the_reference_is_on_by_default(host: Host) {
    let site = host.start().await;
    for wire in Wire::SOCKET_IO {
        let mut peer = Peer::join(&site, wire, ROOM).await;
        peer.send(&event("CHAT", ROOM, 1)).await;
        peer.send_packets("42[\"ipaddr\"]", &[]).await;
        peer.send_packets("425[\"log\",1]", &[]).await;
        peer.hears_nothing(&site).await;
        peer.vanish().await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn a_peer_that_never_polls_is_put_out(host: Host) {
    let site = host
        .start_with(|builder| builder.max_message(1000).max_outbox(4000))
        .await;
    for revision in Revision::BOTH {
        let mut other = Peer::join(&site, Wire::Json, ROOM).await;
        let mut peer = Peer::join(&site, Wire::Polling(revision), ROOM).await;
        assert_eq!(other.signal().await["type"], "CONNECT");
        // Ten of these are more than may wait for anybody.
        for _ in 0..10 {
            other.send(&event("CHAT", ROOM, "x".repeat(500))).await;
        }
        other.hears_departure(&peer.id, ROOM).await;
        peer.polling().get().await.is_unknown_session();
        // What is sent after that finds nobody.
        for _ in 0..10 {
            other.send(&event("CHAT", ROOM, 1)).await;
        }
        other.hears_nothing(&site).await;
        other.vanish().await;
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}
