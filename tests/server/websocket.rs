//! Sessions on a websocket: frames, broken packets, the heartbeat, and how they end.

#![cfg(feature = "tower")]

use std::time::Duration;

use crate::support::{
    Frame, Host, Peer, ROOM, Request, Revision, Socket, Wire, event, eventually, in_each_revision,
    message, on_each_host, pair,
};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as Raw;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

in_each_revision!(
    a_message_may_come_in_fragments,
    websocket_pings_are_answered,
    a_broken_packet_closes_without_a_code,
    a_message_is_bounded_in_bytes_and_fragments,
    text_that_is_no_utf8_closes_with_1007,
    every_end_of_a_connection_is_told_once,
    silence_ends_the_session,
    a_client_that_does_not_read_is_put_out,
);
on_each_host!(
    the_client_keeps_the_beat_in_revision_3,
    the_server_keeps_the_beat_in_revision_4,
    a_revision_4_client_must_connect_in_time,
    a_frame_may_come_with_the_request,
    a_frame_that_is_not_masked_closes_with_1002,
);

fn chat(text: &str) -> String {
    message(&event("CHAT", ROOM, text))
}

async fn a_message_may_come_in_fragments(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    let text = chat("é😀").into_bytes();
    let last = text.len() - 1;
    // Cut everywhere, within characters too, and with a ping in between.
    for (at, byte) in text.iter().enumerate() {
        let code = if at == 0 { Data::Text } else { Data::Continue };
        let frame = Raw::message(vec![*byte], OpCode::Data(code), at == last);
        peer.socket().send_message(Message::Frame(frame)).await;
        if at == last / 2 {
            peer.socket()
                .send_message(Message::Ping("between".into()))
                .await;
        }
    }
    assert_eq!(other.signal().await["payload"], "é😀");
    assert_eq!(
        peer.socket().frame().await,
        Frame::Pong(b"between".to_vec())
    );
}

async fn websocket_pings_are_answered(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut socket, _) = Socket::connect(&site, revision).await;
    for data in ["", "data"] {
        socket.send_message(Message::Ping(data.into())).await;
        assert_eq!(socket.frame().await, Frame::Pong(data.into()));
    }
    socket.send_message(Message::Pong("unasked".into())).await;
    socket.send("6").await;
    socket.send_message(Message::Ping("end".into())).await;
    assert_eq!(socket.frame().await, Frame::Pong("end".into()));
}

async fn a_broken_packet_closes_without_a_code(host: Host, revision: Revision) {
    let site = host.start().await;
    let mut other = Peer::join(&site, Wire::Json, ROOM).await;
    let mut broken = vec![
        "",
        "abc",
        "0",
        "7",
        "b!",
        "4",
        "47",
        "4abc",
        "42",
        "42{}",
        "42[]",
        "42[1,2]",
        "42\"x\"",
        "42[\"message\",]",
        "42[\"message\",{}",
        "42[\"message\",{}]x",
        "45[\"x\"]",
        "4511-[\"x\"]",
        "45-1-[\"x\"]",
        "43[1]",
        "430{}",
        "44\"no\"",
        "bAQID",
        "b4AQID",
    ];
    if revision == Revision::V4 {
        broken.extend(["2", "2probe", "40[]", "42/nope,[\"x\"]"]);
    }
    for packet in broken {
        println!("{packet}");
        let mut peer = Peer::join(&site, Wire::Socket(revision), ROOM).await;
        assert_eq!(other.signal().await["type"], "CONNECT");
        peer.socket().send(packet).await;
        assert_eq!(peer.socket().closed().await, None);
        other.hears_departure(&peer.id, ROOM).await;
    }
    // While an attachment is due, and when none is.
    for due in [true, false] {
        let mut peer = Peer::join(&site, Wire::Socket(revision), ROOM).await;
        if due {
            peer.socket().send("451-[\"message\",{}]").await;
            peer.socket().send(&chat("too early")).await;
        } else {
            peer.socket().send_binary(&[4, 1, 2, 3]).await;
        }
        assert_eq!(peer.socket().closed().await, None);
    }
    eventually("all gone", || site.members(ROOM) == [other.id.clone()]).await;
}

async fn a_message_is_bounded_in_bytes_and_fragments(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| builder.max_message(1000).max_fragments(4))
        .await;
    let mut peer = Peer::join(&site, Wire::Socket(revision), ROOM).await;
    peer.socket().send(&format!("6{}", "x".repeat(999))).await;
    peer.hears_nothing(&site).await;
    peer.socket().send(&format!("6{}", "x".repeat(1000))).await;
    assert_eq!(peer.socket().closed().await, Some(1009));

    let mut peer = Peer::join(&site, Wire::Socket(revision), ROOM).await;
    for part in 0..5 {
        let code = if part == 0 {
            Data::Text
        } else {
            Data::Continue
        };
        let frame = Raw::message("6", OpCode::Data(code), false);
        peer.socket().send_message(Message::Frame(frame)).await;
    }
    assert_eq!(peer.socket().closed().await, Some(1008));
    eventually("all gone", || site.members(ROOM).is_empty()).await;
}

async fn text_that_is_no_utf8_closes_with_1007(host: Host, revision: Revision) {
    let site = host.start().await;
    let mut peer = Peer::join(&site, Wire::Socket(revision), ROOM).await;
    let frame = Raw::message(vec![b'6', 0xff], OpCode::Data(Data::Text), true);
    peer.socket().send_message(Message::Frame(frame)).await;
    assert_eq!(peer.socket().closed().await, Some(1007));
    eventually("gone", || site.members(ROOM).is_empty()).await;
}

async fn every_end_of_a_connection_is_told_once(host: Host, revision: Revision) {
    let site = host.start().await;
    for end in ["packet", "frame", "cut", "kick"] {
        println!("{end}");
        let (mut peer, mut other) = pair(&site, Wire::Socket(revision)).await;
        let id = peer.id.clone();
        match end {
            "packet" => {
                peer.socket().send("1").await;
                assert_eq!(peer.socket().closed().await, Some(1000));
            }
            "frame" => {
                peer.socket().send_close(1001).await;
                assert_eq!(
                    peer.socket().closed().await,
                    Some(1001),
                    "the code is echoed"
                );
            }
            "cut" => drop(peer),
            _ => {
                assert!(site.server.disconnect(&id.parse().expect("an id")));
                assert_eq!(peer.socket().text().await, "41");
                assert_eq!(peer.socket().closed().await, Some(1000));
            }
        }
        other.hears_departure(&id, ROOM).await;
        other.hears_nothing(&site).await;
        assert_eq!(site.members(ROOM), [other.id.clone()]);
        drop(other);
        eventually("an empty server", || site.server.peer_count() == 0).await;
    }
}

async fn silence_ends_the_session(host: Host, revision: Revision) {
    let beat = Duration::from_millis(20);
    let site = host
        .start_with(|builder| {
            // Not the wait for a CONNECT, which revision 4 does not send here.
            let builder = builder.connect_timeout(Duration::from_secs(3600));
            builder.ping_interval(beat).ping_timeout(beat)
        })
        .await;
    let (mut socket, _) = Socket::engine(&site, revision).await;
    socket.ended().await;
    eventually("nobody there", || site.server.peer_count() == 0).await;
}

async fn the_client_keeps_the_beat_in_revision_3(host: Host) {
    let site = host.start().await;
    let (mut socket, _) = Socket::connect(&site, Revision::V3).await;
    for ping in ["2", "2abc", "2probe"] {
        socket.send(ping).await;
        assert_eq!(socket.text().await, "3", "{ping}");
    }
}

async fn the_server_keeps_the_beat_in_revision_4(host: Host) {
    let site = host
        .start_with(|builder| builder.ping_interval(Duration::from_millis(10)))
        .await;
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    for _ in 0..3 {
        assert_eq!(socket.text().await, "2");
        socket.send("3").await;
    }
}

async fn a_revision_4_client_must_connect_in_time(host: Host) {
    let site = host
        .start_with(|builder| builder.connect_timeout(Duration::from_millis(20)))
        .await;
    let (mut older, _) = Socket::connect(&site, Revision::V3).await;
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    socket.ended().await;
    older.send("2").await;
    assert_eq!(older.text().await, "3");
}

async fn a_client_that_does_not_read_is_put_out(host: Host, revision: Revision) {
    let site = host.start().await;
    let (peer, mut other) = pair(&site, Wire::Socket(revision)).await;
    let id = peer.id.parse().expect("an id");
    let filler = json!("x".repeat(500_000));
    let signal = peer_data_server::Signal::new("FILL", None, &filler).expect("a signal");
    // What the sockets do not hold waits in the outbox, and that has a bound.
    let mut rounds = 0;
    while !site.server.to_peer(&id, &signal).full.contains(&id) {
        rounds += 1;
        assert!(rounds < 1000, "there is no bound");
        tokio::task::yield_now().await;
    }
    other.hears_departure(&peer.id, ROOM).await;
    other.hears_nothing(&site).await;
    assert_eq!(site.server.to_peer(&id, &signal).delivered, 0);
}

const REVISION_3: &str = "/socket.io/?EIO=3&transport=websocket";

async fn a_frame_may_come_with_the_request(host: Host) {
    let site = host.start().await;
    // A ping of Engine.IO: final and text, masked and one byte long, a mask of zeros.
    let frame = [0x81, 0x81, 0, 0, 0, 0, b'2'];
    let request = Request::upgrade(REVISION_3).followed_by(&frame);
    let mut exchange = request.start(site.address).await;
    assert_eq!(exchange.response().await.status, 101);
    exchange.read_until(&[0x81, 1, b'3']).await;
}

async fn a_frame_that_is_not_masked_closes_with_1002(host: Host) {
    let site = host.start().await;
    let mut exchange = Request::upgrade(REVISION_3).start(site.address).await;
    assert_eq!(exchange.response().await.status, 101);
    exchange.write(&[0x81, 1, b'2']).await;
    let [high, low] = 1002_u16.to_be_bytes();
    exchange.read_until(&[0x88, 2, high, low]).await;
    eventually("gone", || site.server.peer_count() == 0).await;
}
