//! Long-polling: waiting GETs, POSTs in order, the heartbeat, and how a session ends.

#![cfg(feature = "tower")]

use std::time::Duration;

use crate::support::{
    Exchange, Host, Peer, Polling, ROOM, Request, Revision, Wire, decode, encode, event,
    eventually, in_each_revision, message, on_each_host, pair,
};
use serde_json::json;

in_each_revision!(
    a_waiting_get_is_answered_by_the_next_signal,
    two_gets_at_once_end_the_session,
    a_get_that_is_cut_ends_the_session,
    the_client_closes,
    the_server_closes,
    posts_are_taken_one_after_the_other,
    a_post_that_is_cut_ends_the_session,
    a_body_over_the_maximum_is_refused,
    one_connection_serves_many_requests,
    silence_ends_the_session,
    packets_without_meaning_are_passed_over,
);
on_each_host!(
    the_client_keeps_the_beat_in_revision_3,
    the_server_keeps_the_beat_in_revision_4,
    a_revision_4_client_must_connect_in_time,
);

async fn a_waiting_get_is_answered_by_the_next_signal(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    for text in ["one", "two"] {
        let mut get = poller.polling().start_get().await;
        site.catch_up().await;
        other.send(&event("CHAT", ROOM, text)).await;
        let answer = get.response().await;
        assert_eq!(decode(revision, &answer).len(), 1, "{answer:?}");
        poller.polling().take(&answer);
        assert_eq!(poller.signal().await["payload"], text);
    }
}

async fn two_gets_at_once_end_the_session(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut first = poller.polling().start_get().await;
    site.catch_up().await;
    poller.polling().get().await.is_refusal(3, "Bad request");
    let ended = decode(revision, &first.response().await);
    assert_eq!(ended, ["1".into()]);
    poller.polling().get().await.is_unknown_session();
    other.hears_departure(&poller.id, ROOM).await;
    other.hears_nothing(&site).await;
}

async fn a_get_that_is_cut_ends_the_session(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let get = poller.polling().start_get().await;
    // Cut as it arrives, it would be dropped by the web server and never seen.
    site.catch_up().await;
    drop(get);
    other.hears_departure(&poller.id, ROOM).await;
    poller.polling().get().await.is_unknown_session();
    other.hears_nothing(&site).await;
}

async fn the_client_closes(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut get = poller.polling().start_get().await;
    site.catch_up().await;
    poller.polling().post(&["1"]).await;
    assert_eq!(decode(revision, &get.response().await), ["6".into()]);
    poller.polling().get().await.is_unknown_session();
    poller.polling().post_body("").await.is_unknown_session();
    other.hears_departure(&poller.id, ROOM).await;
    other.hears_nothing(&site).await;
}

async fn the_server_closes(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut get = poller.polling().start_get().await;
    site.catch_up().await;
    assert!(site.server.disconnect(&poller.id.parse().expect("an id")));
    let last = decode(revision, &get.response().await);
    assert_eq!(last, ["41".into(), "1".into()]);
    poller.polling().get().await.is_unknown_session();
    other.hears_departure(&poller.id, ROOM).await;
    other.hears_nothing(&site).await;
}

async fn posts_are_taken_one_after_the_other(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let [one, two, three] = ["one", "two", "three"].map(|text| {
        let packet = message(&event("CHAT", ROOM, text));
        encode(revision, &[packet.into()]).into_bytes()
    });
    let poller = poller.polling();
    let mut first = poller.start_post(one.len()).await;
    let mut second = Request::post(&poller.target(), two)
        .start(site.address)
        .await;
    site.catch_up().await;
    let mut third = Request::post(&poller.target(), three)
        .start(site.address)
        .await;
    site.catch_up().await;
    let (head, tail) = one.split_at(10);
    first.write(head).await;
    site.catch_up().await;
    first.write(tail).await;
    for post in [&mut first, &mut second, &mut third] {
        post.response().await.is_ok();
    }
    for text in ["one", "two", "three"] {
        assert_eq!(other.signal().await["payload"], text);
    }
}

async fn a_post_that_is_cut_ends_the_session(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let mut post = poller.polling().start_post(100).await;
    post.write(b"42").await;
    drop(post);
    other.hears_departure(&poller.id, ROOM).await;
    poller.polling().get().await.is_unknown_session();
    other.hears_nothing(&site).await;
}

async fn a_body_over_the_maximum_is_refused(host: Host, revision: Revision) {
    let site = host.start_with(|builder| builder.max_message(1000)).await;
    let (poller, _) = Polling::connect(&site, revision).await;
    for announced in [1001, 10_000_000_000] {
        let post = Request::post(&poller.target(), "").announce(announced);
        assert_eq!(post.send(site.address).await.status, 413);
    }
    let chunked = Request::post(&poller.target(), "").header("Transfer-Encoding", "chunked");
    let mut exchange = chunked.start(site.address).await;
    exchange.write(b"258\r\n").await;
    exchange.write(&[b'x'; 600]).await;
    exchange.write(b"\r\n258\r\n").await;
    exchange.write(&[b'x'; 600]).await;
    assert_eq!(exchange.response().await.status, 413);
    // What was refused was not taken, so the session goes on; and the maximum itself is fine.
    let body = match revision {
        Revision::V3 => format!("996:6{}", "x".repeat(995)),
        Revision::V4 => format!("6{}", "x".repeat(999)),
    };
    assert_eq!(body.len(), 1000);
    poller.post_body(body).await.is_ok();
    poller.post(&["6"]).await;
}

async fn one_connection_serves_many_requests(host: Host, revision: Revision) {
    let site = host.start().await;
    let mut poller = Peer::join(&site, Wire::Polling(revision), ROOM).await;
    let (id, poller) = (poller.id.clone(), poller.polling());
    let mut connection = Exchange::connect(site.address).await;
    for _ in 0..3 {
        let body = encode(revision, &["6".into()]);
        connection
            .request(&Request::post(&poller.target(), body))
            .await;
        connection.response().await.is_ok();
        connection.request(&Request::get(&poller.target())).await;
        site.tell(&id, "HELLO", &json!(null));
        let answer = connection.response().await;
        assert_eq!(decode(revision, &answer).len(), 1);
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
    Polling::open(&site, revision, "").await.ended().await;
    eventually("nobody there", || site.server.peer_count() == 0).await;
}

async fn packets_without_meaning_are_passed_over(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    poller
        .polling()
        .post(&[
            "6",
            "3",
            "3probe",
            "5",
            "430[1]",
            "42[\"other\",1]",
            "427[\"other\"]",
        ])
        .await;
    poller.send(&event("CHAT", ROOM, "still here")).await;
    assert_eq!(other.signal().await["payload"], "still here");
    poller.hears_nothing(&site).await;
}

async fn the_client_keeps_the_beat_in_revision_3(host: Host) {
    let site = host.start().await;
    let (client, _) = Polling::connect(&site, Revision::V3).await;
    for ping in ["2", "2abc", "2probe"] {
        client.post(&[ping]).await;
        assert_eq!(client.get().await.text(), "1:3", "{ping}");
    }
}

async fn the_server_keeps_the_beat_in_revision_4(host: Host) {
    let site = host
        .start_with(|builder| builder.ping_interval(Duration::from_millis(10)))
        .await;
    let client = Polling::open(&site, Revision::V4, "").await;
    for _ in 0..3 {
        assert_eq!(client.get().await.text(), "2");
        client.post(&["3"]).await;
    }
}

async fn a_revision_4_client_must_connect_in_time(host: Host) {
    let site = host
        .start_with(|builder| builder.connect_timeout(Duration::from_millis(20)))
        .await;
    let older = Polling::open(&site, Revision::V3, "").await;
    assert_eq!(site.server.peer_count(), 1);
    Polling::open(&site, Revision::V4, "").await.ended().await;
    // Revision 3 is connected unasked.
    older.post(&["2"]).await;
    assert_eq!(site.server.peer_count(), 1);
}
