//! STUN and TURN servers: who is told of them, when, and with which credentials.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{
    Host, Peer, ROOM, Revision, Socket, Wire, all_quiet, event, everybody, on_each_host,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use peer_data_server::{Builder, IceServers, Identity, PeerData, Refused, TurnSecret};
use serde_json::{Value, json};
use sha1::Sha1;

on_each_host!(
    a_plain_client_is_told_at_once,
    the_ack_of_a_join_tells,
    whoever_asks_in_its_room_is_told,
    a_stranger_to_the_room_is_not,
    whoever_is_not_let_in_is_told_nothing,
    a_new_secret_signs_from_then_on,
    nobody_asks_a_server_that_has_none,
);

fn told(builder: Builder) -> Builder {
    let secret = TurnSecret::new("north");
    builder.ice_servers(
        IceServers::new()
            .stun(["stun:stun.test"])
            .turn(["turn:turn.test"], &secret),
    )
}

/// That these are they, for that peer, signed so.
fn check(servers: &Value, peer: &str, secret: &str) {
    let username = servers[1]["username"].as_str().unwrap();
    let (end, user) = username.split_once(':').unwrap();
    assert_eq!(user, peer);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let left = end.parse::<u64>().unwrap() - now.as_secs();
    assert!((200..=300).contains(&left), "{left} s");
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(username.as_bytes());
    assert_eq!(
        *servers,
        json!([
            {"urls": ["stun:stun.test"]},
            {
                "urls": ["turn:turn.test"],
                "username": username,
                "credential": STANDARD.encode(mac.finalize().into_bytes()),
            },
        ])
    );
}

async fn a_plain_client_is_told_at_once(host: Host) {
    let site = host.start_with(told).await;
    let mut socket = Socket::open(site.address, "/peer-data").await;
    let ready: Value = serde_json::from_str(&socket.text().await).unwrap();
    let payload = &ready["payload"];
    check(
        &payload["iceServers"],
        payload["id"].as_str().unwrap(),
        "north",
    );
}

async fn the_ack_of_a_join_tells(host: Host) {
    let site = host.start_with(told).await;
    for wire in Wire::SOCKET_IO {
        let mut peer = Peer::connect(&site, wire).await;
        let ack = peer.ask(&event("CONNECT", ROOM, Value::Null)).await;
        check(&ack["iceServers"], ack["id"].as_str().unwrap(), "north");
        let ack = peer.ask(&event("CHAT", ROOM, 1)).await;
        assert!(ack.get("iceServers").is_none(), "{ack}");
    }
}

async fn whoever_asks_in_its_room_is_told(host: Host) {
    let site = host.start_with(told).await;
    let mut peers = everybody(&site, ROOM).await;
    let request = event("ICE_SERVERS", ROOM, Value::Null);
    for peer in &mut peers {
        peer.send(&request).await;
        let answer = peer.signal().await;
        assert_eq!(answer["type"], "ICE_SERVERS");
        assert_eq!(
            (&answer["caller"], &answer["room"]["id"]),
            (&Value::Null, &json!(ROOM))
        );
        check(&answer["payload"]["iceServers"], &peer.id, "north");
        if peer.wire != Wire::Json {
            let ack = peer.ask(&request).await;
            assert_eq!(ack["ok"], true);
            check(&ack["iceServers"], &peer.id, "north");
            assert_eq!(peer.signal().await["type"], "ICE_SERVERS");
        }
    }
    all_quiet(&site, &mut peers).await;
}

async fn a_stranger_to_the_room_is_not(host: Host) {
    let site = host.start_with(told).await;
    for wire in Wire::ALL {
        let mut peer = Peer::connect(&site, wire).await;
        peer.send(&event("ICE_SERVERS", ROOM, Value::Null)).await;
        let answer = peer.signal().await;
        assert_eq!(answer["payload"]["code"], "not_in_room", "{answer}");
    }
}

async fn whoever_is_not_let_in_is_told_nothing(host: Host) {
    let site = host
        .start_with(|builder| {
            let nobody = async || Err::<Identity, _>(Refused::unauthorized("not you"));
            told(builder).authorize(move |_| nobody())
        })
        .await;
    let answer = Socket::try_open(site.address, "/peer-data").await;
    assert_eq!(answer.err(), Some(401));
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    socket.send("40").await;
    let answer = socket.text().await;
    assert!(
        answer.starts_with("44") && !answer.contains("turn.test"),
        "{answer}"
    );
}

async fn a_new_secret_signs_from_then_on(host: Host) {
    let secret = TurnSecret::new("north");
    let servers = IceServers::new()
        .stun(["stun:stun.test"])
        .turn(["turn:turn.test"], &secret);
    let site = host
        .start_with(|builder| builder.ice_servers(servers))
        .await;
    let mut peer = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    for name in ["north", "south"] {
        secret.rotate(name);
        let ack = peer.ask(&event("ICE_SERVERS", ROOM, Value::Null)).await;
        check(&ack["iceServers"], &peer.id, name);
    }
}

async fn nobody_asks_a_server_that_has_none(host: Host) {
    let site = host.start().await;
    let mut ann = Peer::join(&site, Wire::Json, ROOM).await;
    let mut ben = Peer::join(&site, Wire::Socket(Revision::V3), ROOM).await;
    ann.signal().await;
    let ack = ben.ask(&event("ICE_SERVERS", ROOM, 7)).await;
    assert_eq!(ack["delivered"], 1, "an event like any other: {ack}");
    assert_eq!(ann.signal().await["payload"], 7);
}

#[test]
fn what_cannot_be_is_said_when_the_server_is_built() {
    let servers = IceServers::new().stun(["https://stun.test"]);
    let error = PeerData::builder()
        .ice_servers(servers)
        .build()
        .unwrap_err();
    assert_eq!(error.subject(), "ice_servers");
}
