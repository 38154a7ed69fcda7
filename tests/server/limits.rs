//! Each limit with its answer, and that the defaults are wide enough for honest clients.

#![cfg(feature = "tower")]

use std::time::{Duration, Instant};

use crate::support::{
    Frame, Host, Packet, Peer, Polling, Request, Response, Revision, Site, Socket, Wire, encode,
    event, event_to, eventually, message, on_each_host, pair,
};
use peer_data_server::{Builder, Limits};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

on_each_host!(
    a_full_server_says_503_at_every_door,
    handshakes_are_counted_until_they_are_done,
    a_full_address_says_429_at_every_door,
    a_long_handshake_says_431_at_every_door,
    a_post_of_too_many_packets_says_413_and_is_not_acted_on,
    a_body_that_does_not_come_says_408_and_ends_the_session,
    a_full_room_says_so,
    an_id_has_the_length_that_is_allowed,
    who_is_over_the_rate_is_heard_later,
    a_post_over_the_rate_says_429_in_the_end,
    a_websocket_over_the_rate_is_closed_with_4429_in_the_end,
    pings_count_like_messages,
    a_websocket_that_takes_nothing_is_told_of_and_cut,
    what_waits_for_all_is_bounded,
    whoever_is_no_peer_yet_says_little,
    ten_thousand_joins_are_fine,
    a_thousand_sessions_of_one_address_are_fine,
    a_thousand_packets_in_one_post_are_fine,
    a_burst_of_fifteen_megabytes_is_fine,
    a_call_is_set_up_within_the_strict_limits,
);

const ROOM: &str = "r";

/// Asks for a session at each door, with that header, and returns the answers: long-polling, and
/// websockets of Socket.IO and of plain JSON.
async fn knock(site: &Site, name: &str, value: &str) -> [Response; 3] {
    let polling = Request::get("/socket.io/?EIO=4&transport=polling");
    let engine = Request::upgrade("/socket.io/?EIO=4&transport=websocket");
    let json = Request::upgrade("/peer-data");
    let mut answers = Vec::new();
    for request in [polling, engine, json] {
        let mut exchange = request.header(name, value).start(site.address).await;
        answers.push(exchange.response().await);
    }
    answers.try_into().expect("three answers")
}

/// Asserts that nobody comes in, in the words of each protocol.
#[track_caller]
fn all_refused([polling, engine, json]: &[Response; 3], status: u16, retry: bool) {
    for answer in [polling, engine, json] {
        assert_eq!(answer.status, status, "{answer:?}");
        let after = answer.header("retry-after");
        let seconds = after.map(|after| after.parse::<u32>().is_ok());
        assert_eq!(seconds, retry.then_some(true), "{answer:?}");
    }
    for answer in [polling, engine] {
        let body: Value = serde_json::from_str(answer.text()).expect("JSON");
        assert_eq!(body["code"], status, "{body}");
        assert!(body["message"].is_string(), "{body}");
    }
    assert!(
        json.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
}

async fn a_full_server_says_503_at_every_door(host: Host) {
    let site = host.start_with(|builder| builder.max_sessions(2)).await;
    let (mut leaver, mut stayer) = pair(&site, Wire::Socket(Revision::V4)).await;
    all_refused(&knock(&site, "x", "").await, 503, true);
    leaver.socket().send_close(1000).await;
    leaver.socket().ended().await;
    stayer.hears_departure(&leaver.id, ROOM).await;
    let mut newcomer = Peer::join(&site, Wire::Polling(Revision::V3), ROOM).await;
    assert_eq!(stayer.signal().await["type"], "CONNECT");
    all_refused(&knock(&site, "x", "").await, 503, true);
    newcomer.hears_nothing(&site).await;
}

async fn handshakes_are_counted_until_they_are_done(host: Host) {
    let site = host.start_with(|builder| builder.max_handshakes(1)).await;
    let hesitant = Polling::open(&site, Revision::V4, "").await;
    all_refused(&knock(&site, "x", "").await, 503, true);
    hesitant.post(&["40"]).await;
    let (mut one, mut other) = pair(&site, Wire::Socket(Revision::V4)).await;
    one.hears_nothing(&site).await;
    other.hears_nothing(&site).await;
}

async fn a_full_address_says_429_at_every_door(host: Host) {
    let settings = |builder: Builder| {
        let builder = builder.trusted_proxies(["127.0.0.1"]);
        builder
            .max_sessions_per_address(2)
            .max_handshakes_per_address(1)
    };
    let site = host.start_with(settings).await;
    let from = |address: &str| {
        let open = Request::get("/socket.io/?EIO=3&transport=polling");
        open.header("X-Forwarded-For", address).send(site.address)
    };
    for address in ["2001:db8::1", "2001:db8::ffff", "192.0.2.1"] {
        assert_eq!(from(address).await.status, 200, "{address}");
    }
    let refused = knock(&site, "X-Forwarded-For", "2001:db8::2").await;
    all_refused(&refused, 429, true);
    assert_eq!(
        from("2001:db8:0:1::1").await.status,
        200,
        "the network next to it"
    );

    // A handshake that is not done counts against the other limit.
    let open = Request::get("/socket.io/?EIO=4&transport=polling");
    let open = open.header("X-Forwarded-For", "192.0.2.7");
    assert_eq!(open.clone().send(site.address).await.status, 200);
    let refused = knock(&site, "X-Forwarded-For", "::ffff:192.0.2.7").await;
    all_refused(&refused, 429, true);
}

async fn a_long_handshake_says_431_at_every_door(host: Host) {
    let settings = |builder: Builder| builder.max_handshake(1_000).on_connect(|_, _| {});
    let site = host.start_with(settings).await;
    let statuses = |answers: [Response; 3]| answers.map(|answer| answer.status);
    let short = knock(&site, "x", &"y".repeat(500)).await;
    assert_eq!(statuses(short), [200, 101, 101]);
    all_refused(&knock(&site, "x", &"y".repeat(1_000)).await, 431, false);
    // Nothing is kept where nobody wants to see it.
    let site = host.start_with(|builder| builder.max_handshake(0)).await;
    let long = knock(&site, "x", &"y".repeat(1_000)).await;
    assert_eq!(statuses(long), [200, 101, 101]);
}

async fn a_post_of_too_many_packets_says_413_and_is_not_acted_on(host: Host) {
    let site = host.start_with(|builder| builder.max_packets(3)).await;
    for revision in Revision::BOTH {
        let (mut peer, mut other) = pair(&site, Wire::Polling(revision)).await;
        let packets = |count: usize| {
            let chat = message(&event("CHAT", ROOM, count));
            encode(revision, &vec![Packet::from(&*chat); count])
        };
        let refused = peer.polling().post_body(packets(4)).await;
        assert_eq!(refused.status, 413, "{refused:?}");
        other.hears_nothing(&site).await;
        peer.polling().post_body(packets(3)).await.is_ok();
        for _ in 0..3 {
            assert_eq!(other.signal().await["payload"], 3);
        }
        other.socket().send_close(1000).await;
        other.socket().ended().await;
    }
}

async fn a_body_that_does_not_come_says_408_and_ends_the_session(host: Host) {
    let settings = |builder: Builder| builder.body_timeout(Duration::from_millis(20));
    let site = host.start_with(settings).await;
    for revision in Revision::BOTH {
        let (mut peer, mut other) = pair(&site, Wire::Polling(revision)).await;
        let mut post = peer.polling().start_post(10).await;
        post.write(b"4").await;
        let answer = post.response().await;
        assert_eq!(answer.status, 408, "{answer:?}");
        other.hears_departure(&peer.id, ROOM).await;
        peer.polling().get().await.is_unknown_session();
    }
}

async fn a_full_room_says_so(host: Host) {
    let site = host
        .start_with(|builder| builder.max_peers_per_room(2))
        .await;
    let (mut member, mut other) = pair(&site, Wire::Socket(Revision::V4)).await;
    for wire in Wire::ALL {
        let mut late = Peer::connect(&site, wire).await;
        let connect = event("CONNECT", ROOM, 1);
        if wire == Wire::Json {
            late.send(&connect).await;
        } else {
            assert_eq!(late.ask(&connect).await["code"], "room_full", "{wire:?}");
        }
        let error = late.signal().await;
        assert_eq!(error["payload"]["code"], "room_full", "{wire:?}");
        assert_eq!(error["room"]["id"], ROOM, "{wire:?}");
        late.enter(&site, "elsewhere").await;
        late.send(&event("DISCONNECT", "elsewhere", 1)).await;
    }
    // Who is there needs no second place, and who goes leaves one.
    member.enter(&site, ROOM).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
    member.send(&event("DISCONNECT", ROOM, 1)).await;
    assert_eq!(other.signal().await["type"], "DISCONNECT");
    Peer::join(&site, Wire::Json, ROOM).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
}

async fn an_id_has_the_length_that_is_allowed(host: Host) {
    an_id_is_measured(host, |builder| builder.max_id(20)).await;
    // Before the application is asked, not by whoever asks it.
    an_id_is_measured(host, |builder| {
        builder.max_id(20).admit(|_, _| async { Ok(()) })
    })
    .await;
}

async fn an_id_is_measured(host: Host, settings: fn(Builder) -> Builder) {
    let site = host.start_with(settings).await;
    let (mut peer, mut other) = pair(&site, Wire::Socket(Revision::V4)).await;
    let [fits, long] = [20, 21].map(|length| "x".repeat(length));
    for refused in [
        event("CONNECT", &long, 1),
        event(&long, ROOM, 1),
        event_to(&long, "OFFER", ROOM, 1),
    ] {
        assert_eq!(peer.ask(&refused).await["code"], "malformed", "{refused}");
        assert_eq!(peer.signal().await["payload"]["code"], "malformed");
    }
    peer.enter(&site, &fits).await;
    peer.send(&event(&fits, ROOM, 1)).await;
    assert_eq!(other.signal().await["type"], fits);
    peer.send(&event_to(&other.id, "OFFER", ROOM, 1)).await;
    assert_eq!(other.signal().await["type"], "OFFER");
}

async fn who_is_over_the_rate_is_heard_later(host: Host) {
    // 60 events, 5 of them for free, and 8 kB, 1 kB of it for free, take a tenth of a second each: a
    // slow machine can only take longer.
    type Setting = fn(Builder) -> Builder;
    let events: Setting = |builder| builder.events_per_second(500).event_burst(5);
    let bytes: Setting = |builder| builder.bytes_per_second(70_000).byte_burst(1_000);
    for setting in [events, bytes] {
        let site = host.start_with(setting).await;
        let mut listener = Peer::join(&site, Wire::Json, ROOM).await;
        for wire in Wire::ALL {
            let mut peer = Peer::join(&site, wire, ROOM).await;
            assert_eq!(listener.signal().await["type"], "CONNECT");
            let begun = Instant::now();
            for number in 0..60 {
                let payload = json!([number, "x".repeat(100)]);
                // One by one: what comes in one read is acted on, and then the pause begins.
                peer.send(&event("CHAT", ROOM, payload)).await;
                let heard = listener.signal().await;
                assert_eq!(heard["payload"][0], number, "{wire:?}");
            }
            assert!(begun.elapsed() > Duration::from_millis(100), "{wire:?}");
            peer.send(&event("DISCONNECT", ROOM, 1)).await;
            assert_eq!(listener.signal().await["type"], "DISCONNECT");
        }
    }
}

/// A thousand events for free, and then hardly one more: even a slow machine is far too fast.
fn tight(builder: Builder) -> Builder {
    builder
        .events_per_second(1)
        .event_burst(1_000)
        .rate_patience(Duration::from_millis(1))
}

async fn a_post_over_the_rate_says_429_in_the_end(host: Host) {
    let site = host.start_with(tight).await;
    for revision in Revision::BOTH {
        let (mut peer, mut other) = pair(&site, Wire::Polling(revision)).await;
        let chat = message(&event("CHAT", ROOM, "x"));
        let packets = |count| encode(revision, &vec![Packet::from(&*chat); count]);
        // It is made to wait first, and what it says is carried.
        peer.polling().post_body(packets(1_100)).await.is_ok();
        let answer = peer.polling().post_body(packets(100)).await;
        assert_eq!(answer.status, 429, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        for _ in 0..1_200 {
            assert_eq!(other.signal().await["type"], "CHAT");
        }
        other.hears_departure(&peer.id, ROOM).await;
        peer.polling().get().await.is_unknown_session();
    }
}

/// Reads on until the close frame; its code.
async fn close_code(socket: &mut Socket) -> Option<u16> {
    loop {
        match socket.frame().await {
            Frame::Closed(code) => return code,
            Frame::Lost => panic!("lost instead of closed"),
            _ => {}
        }
    }
}

async fn a_websocket_over_the_rate_is_closed_with_4429_in_the_end(host: Host) {
    let site = host.start_with(tight).await;
    for wire in [
        Wire::Socket(Revision::V3),
        Wire::Socket(Revision::V4),
        Wire::Json,
    ] {
        let (mut peer, mut other) = pair(&site, wire).await;
        for _ in 0..900 {
            peer.send(&event("CHAT", ROOM, 1)).await;
        }
        for _ in 0..900 {
            assert_eq!(other.signal().await["type"], "CHAT", "{wire:?}");
        }
        let pongs = pongs_until_closed_with_4429(peer.socket()).await;
        // A hundred, and what the machine's slowness makes free; a thousand without the events.
        assert!(pongs < 500, "{wire:?}: {pongs}");
        other.hears_departure(&peer.id, ROOM).await;
    }
}

async fn pings_count_like_messages(host: Host) {
    let site = host.start_with(tight).await;
    let (mut peer, mut other) = pair(&site, Wire::Json).await;
    let pongs = pongs_until_closed_with_4429(peer.socket()).await;
    assert!(pongs > 900, "{pongs}");
    other.hears_departure(&peer.id, ROOM).await;
}

/// Pings until the connection is closed for that, and returns how many were answered. There is
/// always more to read: each ping comes after an answer.
async fn pongs_until_closed_with_4429(socket: &mut Socket) -> usize {
    let mut pongs = 0;
    loop {
        let ping = Message::Ping(Vec::new().into());
        socket.send_message(ping).await;
        match socket.frame().await {
            Frame::Pong(_) => pongs += 1,
            Frame::Text(heartbeat) => assert_eq!(heartbeat, "2"),
            Frame::Closed(code) => {
                assert_eq!(code, Some(4429));
                return pongs;
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn a_websocket_that_takes_nothing_is_told_of_and_cut(host: Host) {
    let settings = |builder: Builder| {
        // Far more than sockets buffer, so that it is no full outbox that ends the session.
        let builder = builder.max_outbox(200 << 20);
        builder.write_timeout(Duration::from_millis(100))
    };
    let site = host.start_with(settings).await;
    for wire in [Wire::Socket(Revision::V4), Wire::Json] {
        let (mut peer, mut other) = pair(&site, wire).await;
        let large = json!("x".repeat(1_000_000));
        for _ in 0..50 {
            site.tell(&peer.id, "LARGE", &large);
        }
        other.hears_departure(&peer.id, ROOM).await;
        assert_eq!(site.members(ROOM), [other.id.clone()]);
        // The rest was thrown away, and nobody said goodbye.
        let socket = peer.socket();
        let mut heard = 0;
        let end = loop {
            match socket.frame().await {
                Frame::Text(_) => heard += 1,
                Frame::Ping => {}
                end => break end,
            }
        };
        assert!(heard < 50, "{heard}");
        assert_eq!(end, Frame::Lost);
    }
}

async fn what_waits_for_all_is_bounded(host: Host) {
    let wire = Wire::Polling(Revision::V3);
    let site = host
        .start_with(|builder| builder.max_outbox_total(256 << 10))
        .await;
    let mut peers = Vec::new();
    for number in 0..6 {
        peers.push(Peer::join(&site, wire, &format!("room {number}")).await);
    }
    // Four steps of 16 KiB each, and 16 KiB that count for nobody.
    let large = json!("x".repeat(79_000));
    for peer in &peers {
        site.tell(&peer.id, "LARGE", &large);
    }
    assert_eq!(site.server.peer_count(), 4);
    let late = peers.split_off(4);
    for mut peer in late {
        peer.polling().get().await.is_unknown_session();
    }
    for peer in &mut peers {
        assert_eq!(peer.signal().await["type"], "LARGE");
    }
    // What was taken makes room.
    for peer in &mut peers {
        site.tell(&peer.id, "LARGE", &large);
        site.tell(&peer.id, "SMALL", &json!(1));
    }
    for peer in &mut peers {
        assert_eq!(peer.signal().await["type"], "LARGE");
        assert_eq!(peer.signal().await["type"], "SMALL");
    }
}

async fn whoever_is_no_peer_yet_says_little(host: Host) {
    let site = host.start().await;
    let connect = |length: usize| format!(r#"40{{"token":"{}"}}"#, "x".repeat(length));
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = Socket::open(site.address, target).await;
    assert!(socket.text().await.starts_with('0'));
    socket.send(&connect(16_000)).await;
    assert!(socket.text().await.starts_with("40{"));
    // A peer is known, and says what it likes.
    let other = connect(17_000).replace("40{", "40/x,{");
    socket.send(&other).await;
    assert!(socket.text().await.starts_with("44/x,"));
    let mut socket = Socket::open(site.address, target).await;
    socket.send(&connect(17_000)).await;
    assert_eq!(close_code(&mut socket).await, Some(1009));

    let mut polling = Polling::open(&site, Revision::V4, "").await;
    polling.post_body(connect(16_000)).await.is_ok();
    assert!(polling.text().await.starts_with("40{"));
    let chat = message(&event("CHAT", ROOM, "x".repeat(17_000)));
    polling.post_body(chat).await.is_ok();
    let polling = Polling::open(&site, Revision::V4, "").await;
    let refused = polling.post_body(connect(17_000)).await;
    assert_eq!(refused.status, 413, "{refused:?}");
}

async fn ten_thousand_joins_are_fine(host: Host) {
    let site = host.start().await;
    let mut peer = Peer::connect(&site, Wire::Socket(Revision::V4)).await;
    for number in 0..9_999 {
        peer.send(&event("CONNECT", &number.to_string(), 1)).await;
    }
    let last = peer.ask(&event("CONNECT", "the last", 1)).await;
    assert_eq!(last["ok"], true, "{last}");
    assert_eq!(site.server.room_count(), 10_000);
}

async fn a_thousand_sessions_of_one_address_are_fine(host: Host) {
    let site = host.start().await;
    for _ in 0..1_000 {
        Polling::open(&site, Revision::V3, "").await;
    }
    assert_eq!(site.server.peer_count(), 1_000);
}

async fn a_thousand_packets_in_one_post_are_fine(host: Host) {
    let site = host.start().await;
    for revision in Revision::BOTH {
        let (mut peer, mut other) = pair(&site, Wire::Polling(revision)).await;
        let packets = (0..1_000).map(|number| message(&event("CHAT", ROOM, number)).into());
        let body = encode(revision, &packets.collect::<Vec<_>>());
        peer.polling().post_body(body).await.is_ok();
        for number in 0..1_000 {
            assert_eq!(other.signal().await["payload"], number);
        }
        other.socket().send_close(1000).await;
        other.socket().ended().await;
    }
}

async fn a_burst_of_fifteen_megabytes_is_fine(host: Host) {
    let site = host.start().await;
    for wire in [
        Wire::Socket(Revision::V4),
        Wire::Json,
        Wire::Polling(Revision::V4),
    ] {
        let mut receivers = Vec::new();
        for _ in 0..5 {
            receivers.push(Peer::connect(&site, Wire::Json).await);
            receivers
                .last_mut()
                .expect("the newest")
                .enter(&site, ROOM)
                .await;
        }
        let mut peer = Peer::join(&site, wire, ROOM).await;
        // Three megabytes for each, which is what may wait for one that does not read yet.
        for number in 0..150 {
            let callee = &receivers[number % 5].id;
            let payload = format!("{number} {}", "x".repeat(99_000));
            peer.send(&event_to(callee, "OFFER", ROOM, payload)).await;
        }
        for (index, receiver) in receivers.iter_mut().enumerate() {
            let mut next = index;
            while next < 150 {
                let heard = receiver.signal().await;
                if heard["type"] == "OFFER" {
                    let payload = heard["payload"].as_str().expect("text");
                    assert!(payload.starts_with(&format!("{next} ")), "{wire:?}");
                    next += 5;
                }
            }
        }
    }
}

async fn a_call_is_set_up_within_the_strict_limits(host: Host) {
    let site = host
        .start_with(|builder| builder.limits(Limits::strict()))
        .await;
    let mut peers = crate::support::everybody(&site, ROOM).await;
    let description = json!({"type": "offer", "sdp": "v=0\r\n".repeat(2_000)});
    let candidate = json!({"candidate": "candidate:1 1 udp ".repeat(8), "sdpMid": "0"});
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    for from in 0..peers.len() {
        for to in (0..peers.len()).filter(|to| *to != from) {
            let callee = &ids[to];
            let mut events = vec![event_to(callee, "OFFER", ROOM, description.clone())];
            events.extend(vec![
                event_to(callee, "CANDIDATE", ROOM, candidate.clone());
                20
            ]);
            for event in &events {
                peers[from].send(event).await;
            }
            for event in &events {
                let heard = peers[to].signal().await;
                assert_eq!(
                    (&heard["type"], &heard["caller"]["id"]),
                    (&event["type"], &json!(ids[from]))
                );
            }
        }
    }
    eventually("nothing left", || site.server.peer_count() == peers.len()).await;
}
