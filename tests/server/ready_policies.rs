//! The policies that the crate brings along.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use crate::support::{
    Host, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, event, eventually,
    on_each_host,
};
use peer_data_server::policy::{BearerToken, MeshCap, RoomCapacity, RoomList};
use peer_data_server::{Identity, Refused, RoomId};
use serde_json::Value;

on_each_host!(
    a_token_is_found_wherever_the_wire_has_a_place_for_it,
    rooms_are_those_of_the_list,
    a_full_room_takes_nobody_else,
    the_last_place_is_given_once,
    a_mesh_has_so_many_connections_for_each,
);

/// Has `peer` ask for a room; the code if it is refused.
async fn enter(site: &Site, peer: &mut Peer, room: &str) -> Result<(), String> {
    if peer.wire == Wire::Json {
        peer.send(&event("CONNECT", room, Value::Null)).await;
        site.catch_up().await;
        if site.members(room).contains(&peer.id) {
            return Ok(());
        }
    } else {
        let ack = peer.ask(&event("CONNECT", room, Value::Null)).await;
        if let Some(id) = ack["id"].as_str() {
            id.clone_into(&mut peer.id);
            return Ok(());
        }
    }
    let error = peer.signal().await;
    assert_eq!(
        (&error["type"], &error["room"]["id"]),
        (&"ERROR".into(), &room.into())
    );
    Err(error["payload"]["code"].as_str().unwrap().to_owned())
}

async fn a_token_is_found_wherever_the_wire_has_a_place_for_it(host: Host) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tokens = Arc::clone(&seen);
    let verify = move |token: String| {
        let good = token.starts_with("good");
        tokens.lock().unwrap().push(token);
        async move {
            tokio::task::yield_now().await;
            if good {
                Ok(Identity::anonymous())
            } else {
                Err(Refused::unauthorized("that token is not valid"))
            }
        }
    };
    let site = host
        .start_with(|builder| builder.policy(BearerToken::new(verify)))
        .await;

    let engine = |revision: u8, query: &str| {
        format!("/socket.io/?EIO={revision}&transport=websocket{query}")
    };
    let old = engine(3, "&token=good-query");
    let mut old = Socket::open(site.address, &old).await;
    assert!(old.text().await.starts_with("0{"));
    assert_eq!(old.text().await, "40");
    for (auth, query) in [
        (r#"{"token":"good-auth"}"#, ""),
        ("", "&token=good-new-query"),
    ] {
        let mut new = Socket::open(site.address, &engine(4, query)).await;
        assert!(new.text().await.starts_with("0{"));
        new.send(&format!("40{auth}")).await;
        assert!(new.text().await.starts_with("40{"));
    }
    let mut json = Socket::open(site.address, "/peer-data?token=good-json").await;
    assert!(json.text().await.contains("READY"));
    for (name, value, status) in [
        ("authorization", "Bearer good-header", 101),
        ("Authorization", "bearer  good-lower", 101),
        ("authorization", "Basic Z29vZDpnb29k", 401),
        (
            "sec-websocket-protocol",
            "peer-data, bearer.good-protocol",
            101,
        ),
        ("sec-websocket-protocol", "peer-data, bearer.bad", 401),
        ("sec-websocket-protocol", "peer-data", 401),
    ] {
        let request = Request::upgrade("/peer-data").header(name, value);
        let answer = request.send(site.address).await;
        assert_eq!(answer.status, status, "{name}: {value}");
        if value.contains("good-protocol") {
            assert_eq!(answer.header("sec-websocket-protocol"), Some("peer-data"));
        }
    }
    let mut polling = Polling::open(&site, Revision::V4, "").await;
    polling.post(&["40"]).await;
    assert_eq!(
        polling.text().await,
        r#"44{"message":"a token is needed","data":{"code":"unauthorized"}}"#
    );
    let seen = seen.lock().unwrap().clone();
    assert_eq!(
        seen,
        [
            "good-query",
            "good-auth",
            "good-new-query",
            "good-json",
            "good-header",
            "good-lower",
            "good-protocol",
            "bad"
        ]
    );
}

async fn rooms_are_those_of_the_list(host: Host) {
    let rooms = ["lobby", "kitchen"].map(|name| RoomId::new(name).unwrap());
    let site = host
        .start_with(|builder| builder.policy(RoomList::new(rooms)))
        .await;
    for wire in Wire::ALL {
        let mut peer = Peer::connect(&site, wire).await;
        assert_eq!(enter(&site, &mut peer, "lobby").await, Ok(()));
        assert_eq!(
            enter(&site, &mut peer, "cellar").await,
            Err("refused".to_owned())
        );
        peer.vanish().await;
        eventually("it has left", || site.server.room_count() == 0).await;
    }
}

async fn a_full_room_takes_nobody_else(host: Host) {
    let capacity = RoomCapacity::of(|room| if room.as_str() == ROOM { 2 } else { 3 });
    let site = host.start_with(|builder| builder.policy(capacity)).await;
    let mut first = Peer::join(&site, Wire::Json, ROOM).await;
    let second = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    assert_eq!(first.signal().await["type"], "CONNECT");
    for wire in Wire::ALL {
        let mut third = Peer::connect(&site, wire).await;
        let full = Err("room_full".to_owned());
        assert_eq!(enter(&site, &mut third, ROOM).await, full);
        assert_eq!(enter(&site, &mut third, "other").await, Ok(()));
        third.vanish().await;
        eventually("it has left", || site.members("other").is_empty()).await;
    }
    // Whoever has a seat may say so again.
    assert_eq!(enter(&site, &mut first, ROOM).await, Ok(()));
    second.vanish().await;
    eventually("a seat is free", || site.members(ROOM).len() == 1).await;
    let mut third = Peer::connect(&site, Wire::Socket(Revision::V3)).await;
    assert_eq!(enter(&site, &mut third, ROOM).await, Ok(()));
}

async fn the_last_place_is_given_once(host: Host) {
    let site = host
        .start_with(|builder| {
            builder
                .policy(RoomCapacity::new(1))
                // So that all are admitted before any of them joins.
                .admit(|_, _| async {
                    tokio::task::yield_now().await;
                    Ok(())
                })
        })
        .await;
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(Socket::connect(&site, Revision::V4).await.0);
    }
    let connect = format!("421[\"message\",{}]", event("CONNECT", ROOM, Value::Null));
    for socket in &mut sockets {
        socket.send(&connect).await;
    }
    let mut seated = 0;
    for socket in &mut sockets {
        // The ack of a join comes alone, that of a refusal after an ERROR.
        let text = socket.text().await;
        if text.starts_with("431") {
            assert!(text.contains(r#""ok":true"#), "{text}");
            seated += 1;
        } else {
            assert!(text.contains("room_full"), "{text}");
        }
    }
    assert_eq!((seated, site.members(ROOM).len()), (1, 1));
}

async fn a_mesh_has_so_many_connections_for_each(host: Host) {
    let site = host
        .start_with(|builder| builder.policy(MeshCap::new(2)))
        .await;
    let mut peers = Vec::new();
    for wire in [
        Wire::Json,
        Wire::Socket(Revision::V4),
        Wire::Polling(Revision::V3),
    ] {
        peers.push(Peer::join(&site, wire, ROOM).await);
    }
    let full = Err("room_full".to_owned());
    let mut fourth = Peer::connect(&site, Wire::Json).await;
    assert_eq!(enter(&site, &mut fourth, ROOM).await, full);
    // Members of a full room would have a third connection in another one.
    assert_eq!(enter(&site, &mut fourth, "other").await, Ok(()));
    let member = &mut peers[0];
    for _ in 0..2 {
        assert_eq!(member.signal().await["type"], "CONNECT");
    }
    assert_eq!(enter(&site, member, "other").await, full);
    assert_eq!(enter(&site, member, "a third").await, Ok(()));
    assert_eq!(enter(&site, &mut fourth, "a third").await, full);
    // Meeting the same peers elsewhere adds none.
    let other = &mut peers[1];
    assert_eq!(other.signal().await["type"], "CONNECT");
    assert_eq!(enter(&site, other, "a third").await, Ok(()));
}
