//! The end of a server: who is told what, who is waited for, and that nobody comes in any more.

#![cfg(feature = "tower")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    Exchange, Frame, Host, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, decode,
    eventually, everybody, on_each_host, within,
};
use peer_data_server::{CloseReason, Hello, Identity, LifecycleEvent, Refused, Wire as Spoken};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

on_each_host!(
    everybody_is_told_and_so_are_their_rooms,
    a_waiting_poll_ends_with_a_close_packet,
    a_websocket_that_is_to_take_over_is_closed_too,
    nobody_comes_in_from_the_beginning_on,
    an_idle_server_ends_at_once,
);

/// More than any of these tests takes: it is what they wait for that ends them.
const GRACE: Duration = Duration::from_secs(60);

/// Every way in.
const DOORS: [&str; 5] = [
    "/socket.io/?EIO=3&transport=polling",
    "/socket.io/?EIO=4&transport=polling",
    "/socket.io/?EIO=3&transport=websocket",
    "/socket.io/?EIO=4&transport=websocket",
    "/peer-data",
];

/// Begins to shut the server down, and returns once that has begun.
async fn shut_down(site: &Site, grace: Duration) -> JoinHandle<usize> {
    let server = site.server.clone();
    let ending = tokio::spawn(async move { server.shutdown(grace).await });
    eventually("the beginning of the end", || !site.server.is_ready()).await;
    ending
}

/// How many were left open.
async fn left(ending: JoinHandle<usize>) -> usize {
    within("the end", ending).await.expect("no panic")
}

/// Asserts that whoever comes is asked to come again later.
async fn is_closed_to_all(site: &Site) {
    for door in DOORS {
        let request = if door.ends_with("polling") {
            Request::get(door)
        } else {
            Request::upgrade(door)
        };
        let answer = request.send(site.address).await;
        assert_eq!(answer.status, 503, "{door}: {answer:?}");
        let seconds = answer.header("retry-after").map(str::parse::<u8>);
        assert!(matches!(seconds, Some(Ok(1..))), "{door}: {answer:?}");
        assert!(answer.text().contains("shutting down"), "{answer:?}");
    }
}

/// What a peer hears until its connection ends, each a departure; the end must be as its wire has
/// it.
async fn departures_until_the_end(peer: &mut Peer) -> Vec<String> {
    let mut texts = Vec::new();
    if let Wire::Polling(_) = peer.wire {
        let polling = peer.polling();
        loop {
            let answer = polling.get().await;
            if answer.status == 400 {
                // It had no poll waiting at that moment.
                answer.is_unknown_session();
                break;
            }
            polling.take(&answer);
            let packets = polling.drain().into_iter();
            texts.extend(packets.map(crate::support::Packet::text));
            if texts.last().is_some_and(|text| text == "1") {
                texts.pop();
                polling.get().await.is_unknown_session();
                break;
            }
        }
    } else {
        loop {
            match peer.socket().frame().await {
                Frame::Text(text) => texts.push(text),
                Frame::Closed(code) => break assert_eq!(code, Some(1001), "going away"),
                other => panic!("{other:?}"),
            }
        }
        // Answers the close frame, and nothing comes after it.
        assert_eq!(peer.socket().frame().await, Frame::Lost);
    }
    let callers = texts.iter().map(|text| {
        let event = text
            .trim_start_matches("42[\"message\",")
            .trim_end_matches(']');
        let event: Value = serde_json::from_str(event).expect("an event");
        assert_eq!(event["type"], "DISCONNECT", "{text}");
        event["caller"]["id"].as_str().expect("a caller").to_owned()
    });
    callers.collect()
}

async fn everybody_is_told_and_so_are_their_rooms(host: Host) {
    let site = host.start().await;
    let peers = everybody(&site, ROOM).await;
    let mut lifecycle = site.server.lifecycle();
    let ending = shut_down(&site, GRACE).await;
    let mut stories = Vec::new();
    for mut peer in peers {
        let heard = departures_until_the_end(&mut peer).await;
        stories.push((peer.id.clone(), peer.wire, heard));
        // Hangs up as it goes: the server waits for that.
    }
    assert_eq!(left(ending).await, 0);
    assert_eq!((site.server.peer_count(), site.server.room_count()), (0, 0));

    // Everybody left the room and was gone, one after the other …
    let mut gone: Vec<String> = Vec::new();
    while gone.len() < stories.len() {
        let event = within("an event", lifecycle.next()).await;
        match event.expect("a server that is there") {
            LifecycleEvent::Left { room, .. } => assert_eq!(room.as_str(), ROOM),
            LifecycleEvent::Disconnected { peer, reason, .. } => {
                assert_eq!(reason, CloseReason::ShuttingDown);
                gone.push(peer.id().to_string());
            }
            other => panic!("{other:?}"),
        }
    }
    // … and on websockets each has heard of exactly those who went before.
    for (id, wire, heard) in &stories {
        let own = gone.iter().position(|other| other == id).expect("gone");
        if let Wire::Polling(_) = wire {
            assert!(gone[..own].starts_with(heard), "{wire:?}");
        } else {
            assert_eq!(heard, &gone[..own], "{wire:?}");
        }
    }
}

async fn a_waiting_poll_ends_with_a_close_packet(host: Host) {
    for revision in Revision::BOTH {
        let site = host.start().await;
        let (polling, _) = Polling::connect(&site, revision).await;
        let mut waiting = polling.start_get().await;
        site.catch_up().await;
        let ending = shut_down(&site, GRACE).await;
        let answer = waiting.response().await;
        assert_eq!(decode(revision, &answer), ["1".into()], "{revision:?}");
        assert_eq!(left(ending).await, 0);
        polling.get().await.is_unknown_session();
    }
}

async fn a_websocket_that_is_to_take_over_is_closed_too(host: Host) {
    let site = host.start().await;
    let (polling, _) = Polling::connect(&site, Revision::V4).await;
    let mut socket = Socket::open(site.address, &polling.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    let ending = shut_down(&site, GRACE).await;
    // It carries no session, so there is nothing to say but goodbye.
    assert!(matches!(socket.frame().await, Frame::Closed(_)));
    assert_eq!(socket.frame().await, Frame::Lost);
    drop(socket);
    assert_eq!(left(ending).await, 0);
}

async fn nobody_comes_in_from_the_beginning_on(host: Host) {
    // A client whose fate is undecided keeps the server open.
    let asked = Arc::new(Semaphore::new(0));
    let decided = Arc::new(Semaphore::new(0));
    let (question, decision) = (Arc::clone(&asked), Arc::clone(&decided));
    let authorize = move |_: &Hello<'_>| {
        question.add_permits(1);
        let decision = Arc::clone(&decision);
        async move {
            let _ = decision.acquire().await;
            Ok::<_, Refused>(Identity::anonymous())
        }
    };
    let site = host
        .start_with(|builder| builder.authorize(authorize))
        .await;
    let mut lifecycle = site.server.lifecycle();
    let mut undecided = Request::get(DOORS[0]).start(site.address).await;
    within("the question", asked.acquire())
        .await
        .expect("open")
        .forget();
    // Nobody asks about this one yet.
    let mut bare = Polling::open(&site, Revision::V4, "").await;

    let ending = shut_down(&site, GRACE).await;
    is_closed_to_all(&site).await;
    for _ in DOORS {
        let event = within("a refusal", lifecycle.next()).await;
        let LifecycleEvent::Refused { wire, why, .. } = event.expect("a server") else {
            panic!("no refusal");
        };
        assert!(matches!(
            wire,
            Some(Spoken::SocketIo2 | Spoken::SocketIo4 | Spoken::Json)
        ));
        assert_eq!(why.message(), "The server is shutting down");
    }
    bare.ended().await;
    assert!(!ending.is_finished(), "somebody is still on his way in");

    decided.add_permits(1);
    assert_eq!(undecided.response().await.status, 200);
    assert_eq!(left(ending).await, 0);
    assert_eq!(site.server.peer_count(), 0);
    is_closed_to_all(&site).await;
}

async fn an_idle_server_ends_at_once(host: Host) {
    let site = host.start().await;
    assert!(site.server.is_ready());
    let ending = shut_down(&site, Duration::MAX).await;
    assert_eq!(left(ending).await, 0);
    let answer = Request::get("/socket.io/").send(site.address).await;
    assert_eq!(answer.status, 400, "it is still there");
}

/// A plain JSON client that reads what it is sent, and does not answer.
async fn silent(site: &Site) -> Exchange {
    let mut silent = Request::upgrade("/peer-data").start(site.address).await;
    silent.read_until(b"\r\n\r\n").await;
    silent.read_until(b"READY").await;
    silent
}

/// actix has the socket to itself once the last words are written, and its own shutdown waits.
#[tokio::test]
async fn a_websocket_is_waited_for_until_its_client_hangs_up() {
    for host in [Host::Axum, Host::Hyper, Host::AxumNested] {
        let site = host.start().await;
        let mut silent = silent(&site).await;
        let ending = shut_down(&site, GRACE).await;
        let end = silent.read_to_end().await;
        // The code, and words for whoever reads logs.
        let farewell = [
            &[0x88, 2 + 27, 0x03, 0xe9][..],
            b"the server is shutting down",
        ]
        .concat();
        assert!(end.ends_with(&farewell), "{end:?}");
        site.catch_up().await;
        assert!(!ending.is_finished(), "{host:?}");
        drop(silent);
        assert_eq!(left(ending).await, 0, "{host:?}");
    }
}

#[tokio::test]
async fn nobody_is_waited_for_beyond_the_grace() {
    for host in [Host::Axum, Host::Hyper, Host::AxumNested] {
        let site = host.start().await;
        let silent = [silent(&site).await, silent(&site).await];
        let ending = shut_down(&site, Duration::from_millis(20)).await;
        assert_eq!(left(ending).await, silent.len(), "{host:?}");
        assert_eq!(site.server.peer_count(), 0, "its end is told all the same");
    }
}

/// Its close frame was its last word, so there is nothing to hear until it hangs up.
#[tokio::test]
async fn who_has_sent_a_close_frame_is_not_waited_for() {
    for host in [Host::Axum, Host::Hyper, Host::AxumNested] {
        let site = host.start().await;
        let path = "/socket.io/?EIO=4&transport=websocket";
        let mut leaving = Request::upgrade(path).start(site.address).await;
        leaving.read_until(b"\r\n\r\n").await;
        leaving.read_until(b"pingInterval").await;
        close(&mut leaving).await;
        // Shorter than others are given to hang up.
        let ending = shut_down(&site, Duration::from_secs(2)).await;
        assert_eq!(left(ending).await, 0, "{host:?}");
        drop(leaving);
    }
}

/// A client that speaks plain JSON is sent pings of the websocket. What it says to one that crossed
/// its close frame must not meet a socket that is gone, which would answer with a reset.
#[tokio::test]
async fn a_pong_after_the_close_frame_is_heard() {
    for host in [Host::Axum, Host::Hyper, Host::AxumNested] {
        let site = host.start().await;
        let mut leaving = silent(&site).await;
        close(&mut leaving).await;
        // The second would meet the reset that the first had brought about.
        for _ in 0..2 {
            leaving.write(&[0x8a, 0x80, 0, 0, 0, 0]).await;
            site.catch_up().await;
        }
    }
}

/// Sends a close frame, masked by zeros, and reads all that is said until the answer's end.
async fn close(leaving: &mut Exchange) {
    leaving.write(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
    let end = leaving.read_to_end().await;
    assert!(end.ends_with(&[0x88, 2, 0x03, 0xe8]), "{end:?}");
}
