//! From long-polling to a websocket: nothing lost, nothing doubled, and nothing broken if it fails.

#![cfg(feature = "tower")]

use std::time::Duration;

use crate::support::{
    Frame, Host, Packet, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, decode,
    encode, event, eventually, in_each_revision, message, on_each_host, pair,
};
use serde_json::{Value, json};

in_each_revision!(
    a_session_moves_to_a_websocket,
    a_waiting_get_is_let_go,
    nothing_is_lost_or_doubled_under_traffic,
    what_the_client_sends_stays_in_order,
    a_client_in_a_hurry_may_skip_the_probe,
    afterwards_polling_is_over,
    there_is_one_probe_at_a_time,
    a_failed_probe_leaves_polling_as_it_was,
    a_slow_probe_is_given_up,
    a_session_born_on_a_websocket_takes_no_other,
    a_session_that_ends_takes_its_probe_along,
    the_end_of_the_new_websocket_is_the_end,
);
on_each_host!(
    the_beat_goes_on_in_revision_3,
    the_beat_goes_on_in_revision_4,
    base64_can_be_asked_for_with_the_websocket,
);

fn chat(payload: impl Into<Value>) -> String {
    message(&event("CHAT", ROOM, payload))
}

/// The payload of a `message` packet.
fn payload(packet: &str) -> Value {
    let event: Value = serde_json::from_str(&packet[2..]).expect("an event");
    event[1]["payload"].clone()
}

/// A websocket whose probe has been answered.
async fn probe(site: &Site, client: &Polling) -> Socket {
    let mut socket = Socket::open(site.address, &client.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket
}

/// A peer that has moved to a websocket; its session's polling side, and the socket.
async fn upgraded(site: &Site, peer: &mut Peer) -> Socket {
    let mut socket = probe(site, peer.polling()).await;
    let answer = peer.polling().get().await;
    assert_eq!(decode(peer.polling().revision, &answer), ["6".into()]);
    socket.send("5").await;
    socket
}

/// Asserts that a session works by polling, and that its GETs wait.
async fn still_polls(site: &Site, poller: &mut Peer, other: &mut Peer) {
    poller.polling().post(&[&chat("by post")]).await;
    assert_eq!(other.signal().await["payload"], "by post");
    let mut get = poller.polling().start_get().await;
    site.catch_up().await;
    other.send(&event("CHAT", ROOM, "by get")).await;
    let answer = get.response().await;
    poller.polling().take(&answer);
    assert_eq!(poller.signal().await["payload"], "by get");
    assert_eq!(poller.polling().drain(), []);
}

async fn a_session_moves_to_a_websocket(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let id = poller.id.clone();
    let tell = |number: i32| assert_eq!(site.tell(&id, "COUNT", &json!(number)), 1);
    let client = poller.polling();
    tell(1);
    let mut socket = Socket::open(site.address, &client.upgrade_target()).await;
    tell(2);
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    tell(3);
    for number in 1..=3 {
        assert_eq!(payload(&client.text().await), number);
    }
    tell(4);
    assert_eq!(payload(&client.text().await), 4);
    assert_eq!(
        client.text().await,
        "6",
        "no GET waits while the probe does"
    );
    tell(5);
    socket.send("5").await;
    assert_eq!(payload(&socket.text().await), 5);
    tell(6);
    assert_eq!(payload(&socket.text().await), 6);
    socket.send(&chat("by websocket")).await;
    let heard = other.signal().await;
    assert_eq!(
        (&heard["payload"], &heard["caller"]["id"]),
        (&json!("by websocket"), &json!(id))
    );
}

async fn a_waiting_get_is_let_go(host: Host, revision: Revision) {
    let site = host.start().await;
    let (client, _) = Polling::connect(&site, revision).await;
    let mut get = client.start_get().await;
    site.catch_up().await;
    let _socket = probe(&site, &client).await;
    assert_eq!(decode(revision, &get.response().await), ["6".into()]);
}

async fn nothing_is_lost_or_doubled_under_traffic(host: Host, revision: Revision) {
    const COUNT: i64 = 400;
    let site = host.start().await;
    let mut poller = Peer::join(&site, Wire::Polling(revision), ROOM).await;
    let (server, id) = (site.server.clone(), poller.id.parse().expect("an id"));
    let traffic = tokio::spawn(async move {
        for number in 0..COUNT {
            let signal = peer_data_server::Signal::new("COUNT", None, &number).expect("a signal");
            assert_eq!(server.to_peer(&id, &signal).delivered, 1);
            tokio::task::yield_now().await;
        }
    });
    let client = poller.polling();
    let mut numbers = vec![payload(&client.text().await)];
    let mut socket = probe(&site, client).await;
    loop {
        match client.text().await {
            noop if noop == "6" => break,
            packet => numbers.push(payload(&packet)),
        }
    }
    socket.send("5").await;
    while numbers.len() < usize::try_from(COUNT).expect("a count") {
        numbers.push(payload(&socket.text().await));
    }
    assert_eq!(numbers, (0..COUNT).map(Value::from).collect::<Vec<_>>());
    traffic.await.expect("traffic");
}

async fn what_the_client_sends_stays_in_order(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let client = poller.polling();
    client.post(&[&chat(0), &chat(1)]).await;
    // A POST under way: its packets come before what follows by websocket.
    let body = encode(revision, &[chat(2).into(), chat(3).into()]);
    let mut post = client.start_post(body.len()).await;
    let mut socket = Socket::open(site.address, &client.upgrade_target()).await;
    socket.send("2probe").await;
    site.catch_up().await;
    post.write(body.as_bytes()).await;
    assert_eq!(socket.text().await, "3probe");
    for packet in ["5", &chat(4), &chat(5)] {
        socket.send(packet).await;
    }
    post.response().await.is_ok();
    for number in 0..6 {
        assert_eq!(other.signal().await["payload"], number);
    }
    other.hears_nothing(&site).await;
}

async fn a_client_in_a_hurry_may_skip_the_probe(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut get = poller.polling().start_get().await;
    site.catch_up().await;
    let mut socket = Socket::open(site.address, &poller.polling().upgrade_target()).await;
    socket.send("5").await;
    assert_eq!(decode(revision, &get.response().await), ["6".into()]);
    other.send(&event("CHAT", ROOM, "x")).await;
    assert_eq!(payload(&socket.text().await), "x");
}

async fn afterwards_polling_is_over(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut socket = upgraded(&site, &mut poller).await;
    site.catch_up().await;
    let client = poller.polling();
    client.get().await.is_refusal(3, "Bad request");
    client
        .post_body(encode(revision, &["1".into()]))
        .await
        .is_refusal(3, "Bad request");
    let mut second = Socket::open(site.address, &client.upgrade_target()).await;
    assert_eq!(second.closed().await, None, "without a word");
    // None of which the session minds.
    socket.send(&chat("still here")).await;
    assert_eq!(other.signal().await["payload"], "still here");
}

async fn there_is_one_probe_at_a_time(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut first = probe(&site, poller.polling()).await;
    let mut second = Socket::open(site.address, &poller.polling().upgrade_target()).await;
    assert_eq!(second.closed().await, None);
    first.send("5").await;
    first.send(&chat("first")).await;
    assert_eq!(other.signal().await["payload"], "first");
}

async fn a_failed_probe_leaves_polling_as_it_was(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    for answered in [false, true] {
        for failure in ["", "2", "2nope", "3probe", "1", "4", "6", "abc", "5x"] {
            println!("{failure}, answered: {answered}");
            let target = poller.polling().upgrade_target();
            let mut socket = Socket::open(site.address, &target).await;
            if answered {
                socket.send("2probe").await;
                assert_eq!(socket.text().await, "3probe");
            }
            socket.send(failure).await;
            assert_eq!(socket.closed().await, None);
            still_polls(&site, &mut poller, &mut other).await;
        }
    }
    let mut socket = probe(&site, poller.polling()).await;
    socket.send_binary(b"2probe").await;
    assert_eq!(socket.closed().await, None);
    let mut socket = probe(&site, poller.polling()).await;
    socket.send_close(1000).await;
    assert_eq!(socket.closed().await, Some(1000));
    still_polls(&site, &mut poller, &mut other).await;
    drop(probe(&site, poller.polling()).await);
    site.catch_up().await;
    still_polls(&site, &mut poller, &mut other).await;
    // And one that does not fail.
    let mut socket = upgraded(&site, &mut poller).await;
    socket.send(&chat("at last")).await;
    assert_eq!(other.signal().await["payload"], "at last");
    other.hears_nothing(&site).await;
}

async fn a_slow_probe_is_given_up(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| builder.upgrade_timeout(Duration::from_millis(20)))
        .await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    for says in [None, Some("2probe")] {
        let mut socket = Socket::open(site.address, &poller.polling().upgrade_target()).await;
        if let Some(text) = says {
            socket.send(text).await;
        }
        socket.ended().await;
        still_polls(&site, &mut poller, &mut other).await;
    }
}

async fn a_session_born_on_a_websocket_takes_no_other(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut socket, open) = Socket::engine(&site, revision).await;
    let open: Value = serde_json::from_str(&open[1..]).expect("JSON");
    let (number, sid) = (revision.number(), open["sid"].as_str().expect("a sid"));
    let target = format!("/socket.io/?EIO={number}&transport=websocket&sid={sid}");
    let mut second = Socket::open(site.address, &target).await;
    assert_eq!(second.closed().await, None);
    let polling = target.replace("websocket", "polling");
    let answer = Request::get(&polling).send(site.address).await;
    answer.is_refusal(3, "Bad request");
    socket.send("40/nope,").await;
    let expected = match revision {
        Revision::V3 => ["40", "44/nope,\"Invalid namespace\""].as_slice(),
        Revision::V4 => &["44/nope,{\"message\":\"Invalid namespace\"}"],
    };
    for text in expected {
        assert_eq!(socket.text().await, *text);
    }
}

async fn a_session_that_ends_takes_its_probe_along(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut socket = probe(&site, poller.polling()).await;
    poller.polling().post(&["1"]).await;
    assert_eq!(socket.closed().await, None);
    other.hears_departure(&poller.id, ROOM).await;
    other.hears_nothing(&site).await;
}

async fn the_end_of_the_new_websocket_is_the_end(host: Host, revision: Revision) {
    let site = host.start().await;
    for cut in [true, false] {
        let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
        let mut socket = upgraded(&site, &mut poller).await;
        socket.send(&chat("last words")).await;
        assert_eq!(other.signal().await["payload"], "last words");
        if cut {
            drop(socket);
        } else {
            socket.send("1").await;
            assert_eq!(socket.closed().await, Some(1000));
        }
        other.hears_departure(&poller.id, ROOM).await;
        other.hears_nothing(&site).await;
        poller.polling().get().await.is_unknown_session();
        drop(other);
        eventually("an empty room", || site.members(ROOM).is_empty()).await;
    }
}

async fn the_beat_goes_on_in_revision_3(host: Host) {
    let site = host.start().await;
    let mut poller = Peer::join(&site, Wire::Polling(Revision::V3), ROOM).await;
    let mut socket = upgraded(&site, &mut poller).await;
    for _ in 0..3 {
        socket.send("2").await;
        assert_eq!(socket.text().await, "3");
    }
}

async fn the_beat_goes_on_in_revision_4(host: Host) {
    let site = host
        .start_with(|builder| builder.ping_interval(Duration::from_millis(10)))
        .await;
    let mut client = Polling::open(&site, Revision::V4, "").await;
    assert_eq!(client.text().await, "2");
    client.post(&["3"]).await;
    let mut socket = probe(&site, &client).await;
    // A ping that is due now comes by either way, and the answer may take the other one.
    let before: Vec<_> = decode(Revision::V4, &client.get().await);
    let pinged = before.contains(&Packet::from("2"));
    socket.send("5").await;
    if pinged {
        socket.send("3").await;
    }
    for _ in 0..3 {
        assert_eq!(socket.frame().await, Frame::Text("2".to_owned()));
        socket.send("3").await;
    }
}

async fn base64_can_be_asked_for_with_the_websocket(host: Host) {
    let site = host.start().await;
    let (mut poller, _other) = pair(&site, Wire::Polling(Revision::V3)).await;
    let mut sender = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    assert_eq!(poller.signal().await["type"], "CONNECT");
    let target = poller.polling().upgrade_target() + "&b64=1";
    let mut socket = Socket::open(site.address, &target).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket.send("5").await;
    let raw = r#"{"type":"FILE","room":{"id":"r"},"payload":{"_placeholder":true,"num":0}}"#;
    sender.send_raw(raw, &[&[1, 2, 3]]).await;
    assert!(socket.text().await.starts_with("451-"));
    assert_eq!(socket.text().await, "b4AQID");
}
