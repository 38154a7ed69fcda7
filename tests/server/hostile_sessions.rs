//! Hostile requests and sessions: what is sent to hurt a server over HTTP is answered, and nobody
//! else notices it.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::support::{
    Bystanders, Exchange, Frame, Host, Packet, Peer, Polling, ROOM, Request, Revision, Site,
    Socket, Wire, decode, event, eventually, in_each_revision, message, on_each_host,
};
use tokio_tungstenite::tungstenite::Message;

in_each_revision!(
    a_public_id_is_no_key,
    a_stolen_key_of_the_wrong_kind_opens_nothing,
    polls_and_posts_in_each_others_way_end_their_own_session,
    what_is_posted_after_the_end_is_refused,
    ten_gigabytes_are_refused_before_they_come,
    bodies_that_are_no_text_end_their_own_session,
    a_slow_body_ends_its_own_session,
    probes_by_the_dozen_leave_the_session_alone,
    attachments_that_never_come_hold_up_their_sender_only,
    numbers_without_end_are_refused,
    whoever_never_polls_is_put_out,
);
on_each_host!(
    slow_heads_hold_up_nobody,
    lengths_that_lie_end_their_session
);

async fn begin(host: Host) -> (Site, Bystanders) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    bystanders.talk().await;
    (site, bystanders)
}

/// A session id that nobody has.
const NOBODY: &str = "AAAAAAAAAAAAAAAAAAAA";

/// Where a session of that id would be.
fn target(revision: Revision, transport: &str, sid: &str) -> String {
    let number = revision.number();
    format!("/socket.io/?EIO={number}&transport={transport}&sid={sid}")
}

async fn a_public_id_is_no_key(host: Host, revision: Revision) {
    let (site, mut bystanders) = begin(host).await;
    let victim = Peer::join(&site, Wire::Polling(revision), ROOM).await;
    let [ann, ben] = bystanders.ids().map(str::to_owned);
    for id in [
        &victim.id,
        &ann,
        &ben,
        NOBODY,
        "__proto__",
        "",
        "%00",
        &"x".repeat(5_000),
    ] {
        let polling = target(revision, "polling", id);
        let get = Request::get(&polling).send(site.address).await;
        get.is_unknown_session();
        let body = "41".to_owned();
        let post = Request::post(&polling, body).send(site.address).await;
        post.is_unknown_session();
        let socket = target(revision, "websocket", id);
        let socket = Request::upgrade(&socket).send(site.address).await;
        socket.is_unknown_session();
    }
    bystanders.talk().await;
    // Whoever asks for it most gets no more of it.
    let mut witness = Peer::join(&site, Wire::Json, ROOM).await;
    witness.send(&event("CHAT", ROOM, "for the victim")).await;
    let mut victim = victim;
    assert_eq!(victim.signal().await["type"], "CONNECT");
    assert_eq!(victim.signal().await["payload"], "for the victim");
    bystanders.part(&site).await;
}

async fn a_stolen_key_of_the_wrong_kind_opens_nothing(host: Host, revision: Revision) {
    let (site, bystanders) = begin(host).await;
    let (mut socket, open) = Socket::engine(&site, revision).await;
    let sid = open.split('"').nth(3).unwrap().to_owned();
    if revision == Revision::V4 {
        socket.send("40").await;
    }
    assert!(socket.text().await.starts_with("40"));
    // Its own revision, by the transport that it is not on.
    let polling = target(revision, "polling", &sid);
    for request in [Request::get(&polling), Request::post(&polling, "41")] {
        request
            .send(site.address)
            .await
            .is_refusal(3, "Bad request");
    }
    // Another revision.
    for transport in ["polling", "websocket"] {
        let other = target(revision.other(), transport, &sid);
        let answer = Request::upgrade(&other).send(site.address).await;
        answer.is_refusal(3, "Bad request");
    }
    // A second websocket is told to go, and the first goes on.
    let mut second = Socket::open(site.address, &target(revision, "websocket", &sid)).await;
    second.send("2probe").await;
    second.ended().await;
    socket.send("421[\"message\",null]").await;
    assert!(socket.text().await.contains("malformed"));
    assert!(socket.text().await.starts_with("431"));
    bystanders.part(&site).await;
}

async fn polls_and_posts_in_each_others_way_end_their_own_session(host: Host, revision: Revision) {
    let (site, mut bystanders) = begin(host).await;
    for _ in 0..5 {
        let (session, _) = Polling::connect(&site, revision).await;
        let mut gets = Vec::new();
        let mut posts = Vec::new();
        for _ in 0..5 {
            gets.push(session.start_get().await);
            let post = Request::post(&session.target(), encoded(revision, &["42[\"x\"]"]));
            posts.push(post.start(site.address).await);
        }
        for mut exchange in gets.into_iter().chain(posts) {
            let answer = exchange.response().await;
            assert!(matches!(answer.status, 200 | 400), "{answer:?}");
        }
        bystanders.talk().await;
    }
    eventually("all are gone", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

fn encoded(revision: Revision, packets: &[&str]) -> String {
    let packets: Vec<_> = packets
        .iter()
        .map(|text| Packet::Text((*text).to_owned()))
        .collect();
    crate::support::encode(revision, &packets)
}

async fn what_is_posted_after_the_end_is_refused(host: Host, revision: Revision) {
    let (site, bystanders) = begin(host).await;
    let mut witness = Peer::join(&site, Wire::Json, ROOM).await;
    let (session, _) = Polling::connect(&site, revision).await;
    let join = message(&event("CONNECT", ROOM, 0));
    session.post(&[&join]).await;
    let id = witness.signal().await["caller"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // In the same body as the end, and after it.
    let chat = message(&event("CHAT", ROOM, "too late"));
    session.post(&["1", &chat]).await;
    witness.hears_departure(&id, ROOM).await;
    let late = Request::post(&session.target(), encoded(revision, &[&chat]));
    late.send(site.address).await.is_unknown_session();
    witness.hears_nothing(&site).await;
    bystanders.part(&site).await;
}

async fn ten_gigabytes_are_refused_before_they_come(host: Host, revision: Revision) {
    let (site, mut bystanders) = begin(host).await;
    let (session, _) = Polling::connect(&site, revision).await;
    for _ in 0..3 {
        let post = Request::post(&session.target(), "4").announce(10_000_000_000);
        let answer = post.send(site.address).await;
        assert_eq!(answer.status, 413);
        bystanders.talk().await;
    }
    // The session lives.
    session.post(&["42[\"message\",null]"]).await;
    let answer = session.get().await;
    assert!(answer.text().contains("malformed"), "{answer:?}");
    bystanders.part(&site).await;
}

async fn bodies_that_are_no_text_end_their_own_session(host: Host, revision: Revision) {
    let (site, mut bystanders) = begin(host).await;
    for body in [
        &b"\xff\xfe"[..],
        b"4\xc3",
        b"\x00",
        b"\x1e\x1e\x1e",
        b"b!!!!",
        b"4\xed\xa0\xbd",
        b"99999999999999999999:4",
        b"-1:4",
        b"1000000000:4x",
    ] {
        let (mut session, _) = Polling::connect(&site, revision).await;
        let answer = session.post_body(body).await;
        answer.is_ok();
        session.ended().await;
        bystanders.talk().await;
    }
    eventually("all are gone", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

async fn lengths_that_lie_end_their_session(host: Host) {
    let (site, mut bystanders) = begin(host).await;
    let binary: [&[u8]; 6] = [
        &[0, 9, 9, 9, 255, b'4'],
        &[0, 255, b'4'],
        &[0, 1],
        &[2, 1, 255, b'4'],
        &[1, 0, 255],
        &[
            0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 255, b'4',
        ],
    ];
    for body in binary {
        let (mut session, _) = Polling::connect(&site, Revision::V3).await;
        session.post_octets(body.to_vec()).await.is_ok();
        session.ended().await;
    }
    for body in ["5:40", "1:42[\"x\"]", "0:", ":4", "1x:4", "2:4\u{1f600}"] {
        let (mut session, _) = Polling::connect(&site, Revision::V3).await;
        session.post_body(body).await.is_ok();
        session.ended().await;
    }
    bystanders.talk().await;
    eventually("all are gone", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

/// Sends the head of a request byte by byte, and never all of it.
async fn slow_heads_hold_up_nobody(host: Host) {
    let (site, mut bystanders) = begin(host).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(Exchange::connect(site.address).await);
    }
    for byte in b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-" {
        for exchange in &mut slow {
            exchange.write(&[*byte]).await;
        }
    }
    bystanders.talk().await;
    drop(slow);
    bystanders.part(&site).await;
}

async fn a_slow_body_ends_its_own_session(host: Host, revision: Revision) {
    let patience = Duration::from_millis(50);
    let site = host
        .start_with(|builder| builder.body_timeout(patience))
        .await;
    let mut bystanders = Bystanders::meet(&site).await;
    let (session, _) = Polling::connect(&site, revision).await;
    let mut post = session.start_post(1_000).await;
    bystanders.talk().await;
    let answer = loop {
        post.write(b"4").await;
        bystanders.talk().await;
        if site.server.peer_count() == 2 {
            break post.response().await;
        }
    };
    assert_eq!(answer.status, 408);
    let late = session.get().await;
    late.is_unknown_session();
    bystanders.part(&site).await;
}

async fn probes_by_the_dozen_leave_the_session_alone(host: Host, revision: Revision) {
    let (site, mut bystanders) = begin(host).await;
    let (session, _) = Polling::connect(&site, revision).await;
    let mut half_open = Vec::new();
    for number in 0..24 {
        let mut probe = Socket::open(site.address, &session.upgrade_target()).await;
        match number % 4 {
            0 => probe.send("2probe").await,
            1 => probe.send("2nonsense").await,
            2 => probe.send_message(Message::binary(vec![2])).await,
            _ => {}
        }
        half_open.push(probe);
        bystanders.talk().await;
    }
    // One of them may still try; the others are gone, and polling goes on.
    session.post(&["42[\"message\",null]"]).await;
    let mut heard = String::new();
    while !heard.contains("malformed") {
        let answer = session.get().await;
        assert_eq!(answer.status, 200);
        for packet in decode(revision, &answer) {
            heard.push_str(&packet.text());
        }
    }
    drop(half_open);
    bystanders.part(&site).await;
}

async fn attachments_that_never_come_hold_up_their_sender_only(host: Host, revision: Revision) {
    let (site, mut bystanders) = begin(host).await;
    let mut witness = Peer::join(&site, Wire::Json, ROOM).await;
    for _ in 0..10 {
        let mut attacker = Peer::join(&site, Wire::Socket(revision), ROOM).await;
        assert_eq!(witness.signal().await["type"], "CONNECT");
        let announced = r#"4510-["message",{"type":"CHAT","room":{"id":"r"},"payload":[]}]"#;
        attacker.send_packets(announced, &[]).await;
        let mark: &[u8] = if revision == Revision::V3 { &[4] } else { &[] };
        let part = [mark, &[0; 1_000]].concat();
        for _ in 0..9 {
            attacker.socket().send_binary(&part).await;
        }
        bystanders.talk().await;
        let id = attacker.id.clone();
        attacker.vanish().await;
        witness.hears_departure(&id, ROOM).await;
    }
    // Text in the middle of them is not the protocol.
    let (mut attacker, _) = Socket::connect(&site, revision).await;
    attacker.send("451-[\"message\",{}]").await;
    attacker.send("42[\"message\",null]").await;
    attacker.ended().await;
    witness.hears_nothing(&site).await;
    bystanders.part(&site).await;
}

async fn numbers_without_end_are_refused(host: Host, revision: Revision) {
    let (site, mut bystanders) = begin(host).await;
    let nines = "9".repeat(100_000);
    for packet in [
        "451000000000-[\"message\",{}]".to_owned(),
        "4511-[\"message\",{}]".to_owned(),
        format!("45{nines}-[\"message\",{{}}]"),
        format!("42{nines}[\"message\",null]"),
        format!("42/{nines},[\"message\",null]"),
        format!("40/{nines},"),
        "461000000000-1[]".to_owned(),
    ] {
        let (mut attacker, _) = Socket::connect(&site, revision).await;
        attacker.send(&packet).await;
        attacker.ended().await;
        bystanders.talk().await;
    }
    // A number that is long, but not too long, is the client's own affair.
    let (mut attacker, _) = Socket::connect(&site, revision).await;
    attacker.send("421000000000[\"message\",null]").await;
    assert!(attacker.text().await.contains("malformed"));
    let ack = attacker.frame().await;
    assert!(matches!(&ack, Frame::Text(text) if text.starts_with("431000000000[")));
    bystanders.part(&site).await;
}

async fn whoever_never_polls_is_put_out(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| builder.max_message(10_000).max_outbox(20_000))
        .await;
    let mut bystanders = Bystanders::meet(&site).await;
    let mut witness = Peer::join(&site, Wire::Json, ROOM).await;
    let (session, _) = Polling::connect(&site, revision).await;
    let join = message(&event("CONNECT", ROOM, 0));
    session.post(&[&join]).await;
    let id = witness.signal().await["caller"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let long = "x".repeat(5_000);
    for _ in 0..10 {
        witness.send(&event("CHAT", ROOM, long.as_str())).await;
    }
    witness.hears_departure(&id, ROOM).await;
    session.get().await.is_unknown_session();
    bystanders.talk().await;
    witness.hears_nothing(&site).await;
    bystanders.part(&site).await;
}
