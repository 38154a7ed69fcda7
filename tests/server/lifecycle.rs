//! What becomes of clients, as the application is told: whole stories, each ending, each refusal.

#![cfg(feature = "tower")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{
    Frame, Host, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, event, eventually,
    message, on_each_host, within,
};
use peer_data_server::{
    CloseReason, Code, Identity, JoinError, Lifecycle, LifecycleEvent, Namespace, PeerId, Refused,
    RoomId, Wire as Spoken,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as FrameOfBytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

on_each_host!(
    the_whole_story_of_a_peer_is_told,
    each_ending_has_its_reason,
    slow_and_silent_clients_end_with_a_reason,
    limits_end_with_a_reason,
    who_never_became_a_peer_is_not_told_of,
    each_namespace_has_a_story,
    refusals_are_told,
    full_rooms_and_servers_are_told_of,
    what_policies_refuse_is_told,
);

fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("a room's id")
}

fn id(peer: &Peer) -> PeerId {
    peer.id.parse().expect("a peer's id")
}

/// Where all clients of these tests are.
const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

async fn next(lifecycle: &mut Lifecycle) -> LifecycleEvent {
    let event = within("an event", lifecycle.next()).await;
    event.expect("a server that is there")
}

/// Of whom an event is, and what it says.
fn short(event: &LifecycleEvent) -> (String, String) {
    let (peer, what) = match event {
        LifecycleEvent::Connected { peer, .. } => (peer, "connected".to_owned()),
        LifecycleEvent::Joined { peer, room, .. } => (peer, format!("joined {room}")),
        LifecycleEvent::Left { peer, room, .. } => (peer, format!("left {room}")),
        LifecycleEvent::Disconnected { peer, reason, .. } => (peer, format!("gone: {reason}")),
        other => panic!("{other:?} instead of a peer's"),
    };
    (peer.id().to_string(), what)
}

/// All that is told of one peer, up to its end; it is the only one.
async fn story(lifecycle: &mut Lifecycle) -> Vec<String> {
    let mut story = Vec::new();
    let mut whose = None;
    loop {
        let (id, what) = short(&next(lifecycle).await);
        assert_eq!(*whose.get_or_insert_with(|| id.clone()), id, "{what}");
        story.push(what);
        if story
            .last()
            .is_some_and(|what: &String| what.starts_with("gone"))
        {
            return story;
        }
    }
}

fn gone(reason: CloseReason) -> String {
    format!("gone: {reason}")
}

/// Lets a peer in `ROOM` come to an end, and asserts that this is told with the reason.
async fn ends<F: Future<Output = ()>>(
    site: &Site,
    wire: Wire,
    reason: CloseReason,
    end: impl FnOnce(Peer) -> F,
) {
    let mut lifecycle = site.server.lifecycle();
    let peer = Peer::join(site, wire, ROOM).await;
    let joined = format!("joined {ROOM}");
    let left = format!("left {ROOM}");
    end(peer).await;
    assert_eq!(
        story(&mut lifecycle).await,
        ["connected".to_owned(), joined, left, gone(reason)],
        "{wire:?}"
    );
}

async fn the_whole_story_of_a_peer_is_told(host: Host) {
    let site = host.start().await;
    let server = &site.server;
    for wire in Wire::ALL {
        let mut lifecycle = server.lifecycle();
        let mut other = server.lifecycle();
        let mut peer = Peer::join(&site, wire, "own").await;
        // It is there already: nothing new.
        peer.enter(&site, "own").await;
        server.join(&id(&peer), &room("given")).expect("a peer");
        server.join(&id(&peer), &room("given")).expect("a peer");
        server
            .move_peer(&id(&peer), &room("given"), &room("moved"))
            .expect("a peer");
        peer.send(&event("DISCONNECT", "own", 1)).await;
        eventually("no room", || site.members("own").is_empty()).await;
        server.remove(&id(&peer), &room("moved"));
        server.join(&id(&peer), &room("closed")).expect("a peer");
        server.close_room(&room("closed"));
        server.join(&id(&peer), &room("last")).expect("a peer");
        peer.vanish().await;
        let expected = [
            "connected",
            "joined own",
            "joined given",
            "left given",
            "joined moved",
            "left own",
            "left moved",
            "joined closed",
            "left closed",
            "joined last",
            "left last",
            &gone(CloseReason::TransportLost),
        ];
        assert_eq!(story(&mut lifecycle).await, expected, "{wire:?}");
        assert_eq!(story(&mut other).await, expected, "{wire:?}");
    }
}

async fn each_ending_has_its_reason(host: Host) {
    let site = host.start_with(|builder| builder.max_message(1000)).await;
    let server = &site.server;
    for wire in Wire::ALL {
        ends(&site, wire, CloseReason::Kicked, async |peer| {
            assert!(server.disconnect(&id(&peer)));
            eventually("gone", || server.peer(&id(&peer)).is_none()).await;
        })
        .await;
        let reason = match wire {
            Wire::Json => CloseReason::BinaryNotAccepted,
            _ => CloseReason::ProtocolError,
        };
        ends(&site, wire, reason, async |mut peer| peer.blunder().await).await;
        ends(&site, wire, CloseReason::TransportLost, Peer::vanish).await;
    }
    for wire in [
        Wire::Socket(Revision::V3),
        Wire::Socket(Revision::V4),
        Wire::Json,
    ] {
        ends(&site, wire, CloseReason::ClientClosed, async |mut peer| {
            peer.socket().send_close(1000).await;
        })
        .await;
        ends(
            &site,
            wire,
            CloseReason::MessageTooLarge,
            async |mut peer| {
                peer.socket().send(&"x".repeat(1001)).await;
            },
        )
        .await;
    }
    for revision in Revision::BOTH {
        let polling = Wire::Polling(revision);
        ends(
            &site,
            polling,
            CloseReason::ClientClosed,
            async |mut peer| peer.polling().post(&["1"]).await,
        )
        .await;
        ends(
            &site,
            polling,
            CloseReason::OverlappingPolls,
            async |mut peer| {
                let _first = peer.polling().start_get().await;
                site.catch_up().await;
                let second = peer.polling().get().await;
                assert_eq!(second.status, 400);
            },
        )
        .await;
    }
}

async fn slow_and_silent_clients_end_with_a_reason(host: Host) {
    let site = host
        .start_with(|builder| builder.max_message(1000).max_outbox(4000))
        .await;
    for revision in Revision::BOTH {
        let wire = Wire::Polling(revision);
        ends(&site, wire, CloseReason::SlowConsumer, async |peer| {
            let long = json!("x".repeat(900));
            while site.tell(&peer.id, "LONG", &long) == 1 {}
        })
        .await;
    }
    let site = host
        .start_with(|builder| {
            let short = Duration::from_secs(1);
            builder.ping_interval(short).ping_timeout(short)
        })
        .await;
    let mut lifecycle = site.server.lifecycle();
    let mut silent = Vec::new();
    for (number, wire) in Wire::ALL.into_iter().enumerate() {
        // Where nobody else comes: a polling client that does not fetch what waits for it ends for that.
        let room = format!("room {number}");
        silent.push(Peer::join(&site, wire, &room).await);
    }
    // Whoever does not read does not answer.
    while !silent.is_empty() {
        let event = next(&mut lifecycle).await;
        if let LifecycleEvent::Disconnected { peer, reason, .. } = event {
            assert_eq!(reason, CloseReason::HeartbeatTimeout, "{}", peer.wire());
            silent.retain(|other| id(other) != peer.id());
        }
    }
}

async fn limits_end_with_a_reason(host: Host) {
    let site = host
        .start_with(|builder| {
            // More than sockets buffer, so that it is no full outbox that ends a session.
            let builder = builder.max_outbox(200 << 20);
            let builder = builder.write_timeout(Duration::from_millis(100));
            let builder = builder.body_timeout(Duration::from_millis(20));
            let builder = builder.events_per_second(1).event_burst(100);
            builder.rate_patience(Duration::from_millis(1))
        })
        .await;
    for wire in [Wire::Socket(Revision::V4), Wire::Json] {
        ends(&site, wire, CloseReason::Stalled, async |peer| {
            let large = json!("x".repeat(1_000_000));
            for _ in 0..30 {
                site.tell(&peer.id, "LARGE", &large);
            }
            eventually("the end", || site.members(ROOM).is_empty()).await;
            drop(peer);
        })
        .await;
        ends(&site, wire, CloseReason::RateLimited, async |mut peer| {
            // Each is answered with an error, and after the hundredth there is one more each time.
            let stray = event("CHAT", "elsewhere", 1);
            for _ in 0..101 {
                peer.send(&stray).await;
            }
            let mut heard = 0;
            while let Frame::Text(_) = peer.socket().frame().await {
                heard += 1;
                if heard > 100 {
                    peer.send(&stray).await;
                }
            }
            eventually("the end", || site.members(ROOM).is_empty()).await;
        })
        .await;
    }
    for wire in [Wire::Socket(Revision::V3), Wire::Json] {
        ends(&site, wire, CloseReason::BodyTimeout, async |mut peer| {
            // The first piece of a message, and no other.
            let piece = FrameOfBytes::message("4", OpCode::Data(Data::Text), false);
            peer.socket().send_message(Message::Frame(piece)).await;
            assert_eq!(peer.socket().frame().await, Frame::Closed(Some(1008)));
        })
        .await;
    }
    for revision in Revision::BOTH {
        let wire = Wire::Polling(revision);
        ends(&site, wire, CloseReason::BodyTimeout, async |mut peer| {
            let mut post = peer.polling().start_post(10).await;
            assert_eq!(post.response().await.status, 408);
        })
        .await;
    }
}

async fn who_never_became_a_peer_is_not_told_of(host: Host) {
    let site = host
        .start_with(|builder| builder.connect_timeout(Duration::from_millis(20)))
        .await;
    let mut lifecycle = site.server.lifecycle();
    let mut silent = Polling::open(&site, Revision::V4, "").await;
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    silent.ended().await;
    socket.ended().await;
    let peer = Peer::connect(&site, Wire::Json).await;
    let first = next(&mut lifecycle).await;
    assert_eq!(short(&first), (peer.id.clone(), "connected".to_owned()));
}

async fn each_namespace_has_a_story(host: Host) {
    let site = host
        .start_with(|builder| builder.namespace(Namespace::new("/news")))
        .await;
    let mut lifecycle = site.server.lifecycle();
    for revision in Revision::BOTH {
        let mut peer = Peer::join(&site, Wire::Socket(revision), ROOM).await;
        for what in ["connected".to_owned(), format!("joined {ROOM}")] {
            let event = next(&mut lifecycle).await;
            assert_eq!(short(&event), (peer.id.clone(), what));
        }
        for last in [false, true] {
            peer.socket().send("40/news,").await;
            let LifecycleEvent::Connected { peer: reader, .. } = next(&mut lifecycle).await else {
                panic!("not connected");
            };
            assert_eq!(reader.namespace(), "/news");
            assert_ne!(reader.id(), id(&peer));
            assert_eq!(reader.wire(), peer.wire.spoken());
            assert!(site.server.peer(&reader.id()).is_none(), "it is not in /");
            if !last {
                peer.socket().send("41/news,").await;
                let event = next(&mut lifecycle).await;
                let end = gone(CloseReason::ClientClosed);
                assert_eq!(short(&event), (reader.id().to_string(), end));
                continue;
            }
            site.server.disconnect(&id(&peer));
            let end = gone(CloseReason::Kicked);
            for (who, what) in [
                (peer.id.clone(), format!("left {ROOM}")),
                (peer.id.clone(), end.clone()),
                (reader.id().to_string(), end),
            ] {
                assert_eq!(short(&next(&mut lifecycle).await), (who, what));
            }
        }
        // Who leaves `/` has its end there, and may come back as another.
        let mut peer = Peer::join(&site, Wire::Socket(revision), ROOM).await;
        peer.socket().send("41").await;
        let first = story(&mut lifecycle).await;
        let joined = format!("joined {ROOM}");
        let left = format!("left {ROOM}");
        let end = gone(CloseReason::ClientClosed);
        assert_eq!(first, ["connected".to_owned(), joined, left, end]);
        peer.socket().send("40").await;
        let (again, what) = short(&next(&mut lifecycle).await);
        assert_eq!(what, "connected");
        assert_ne!(again, peer.id);
        peer.socket().send_close(1000).await;
        let end = gone(CloseReason::ClientClosed);
        assert_eq!(short(&next(&mut lifecycle).await), (again, end));
    }
}

async fn refusals_are_told(host: Host) {
    let site = host
        .start_with(|builder| {
            builder
                .allowed_origins(["https://o.test"])
                .max_rooms_per_peer(1)
        })
        .await;
    let mut lifecycle = site.server.lifecycle();
    for (target, expected) in [
        ("/socket.io/?EIO=4&transport=polling", None),
        ("/peer-data", Some(Spoken::Json)),
    ] {
        let request = Request::get(target).header("Origin", "https://evil.test");
        assert_eq!(request.send(site.address).await.status, 403);
        let told = next(&mut lifecycle).await;
        let LifecycleEvent::Refused {
            address,
            wire,
            peer: None,
            room: None,
            why,
            ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((address, wire), (HERE, expected));
        assert_eq!(why.code(), Code::Refused);
    }

    for revision in Revision::BOTH {
        let (mut socket, _) = Socket::connect(&site, revision).await;
        assert_eq!(short(&next(&mut lifecycle).await).1, "connected");
        socket.send("40/nope,").await;
        let told = next(&mut lifecycle).await;
        let LifecycleEvent::Refused {
            wire: Some(wire),
            peer: None,
            room: None,
            why,
            ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!(wire, Wire::Socket(revision).spoken());
        assert_eq!(why.to_string(), "there is no such namespace");
        for name in ["first", "second"] {
            let join = event("CONNECT", name, Value::Null);
            socket.send(&message(&join)).await;
        }
        assert_eq!(short(&next(&mut lifecycle).await).1, "joined first");
        let told = next(&mut lifecycle).await;
        let LifecycleEvent::Refused {
            peer: Some(_),
            room: Some(refused),
            why,
            ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((refused, why.code()), (room("second"), Code::Busy));
        socket.send_close(1000).await;
        assert_eq!(short(&next(&mut lifecycle).await).1, "left first");
        assert_eq!(
            short(&next(&mut lifecycle).await).1,
            gone(CloseReason::ClientClosed)
        );
    }
}

async fn full_rooms_and_servers_are_told_of(host: Host) {
    let site = host
        .start_with(|builder| builder.max_sessions(2).max_peers_per_room(1))
        .await;
    let mut lifecycle = site.server.lifecycle();
    let first = Peer::join(&site, Wire::Json, ROOM).await;
    let mut second = Peer::join(&site, Wire::Socket(Revision::V3), "other").await;
    let joined = site.server.join(&id(&second), &room(ROOM));
    assert_eq!(joined, Err(JoinError::RoomFull));
    let moved = site
        .server
        .move_peer(&id(&second), &room("other"), &room(ROOM));
    assert_eq!(moved, Err(JoinError::RoomFull));
    assert_eq!(site.members("other"), [second.id.clone()]);
    let refused = second.ask(&event("CONNECT", ROOM, 1)).await;
    assert_eq!(refused["code"], "room_full");
    let open = Request::get("/socket.io/?EIO=4&transport=polling");
    assert_eq!(open.send(site.address).await.status, 503);
    for what in ["connected", "joined r"] {
        assert_eq!(
            short(&next(&mut lifecycle).await),
            (first.id.clone(), what.to_owned())
        );
    }
    for what in ["connected", "joined other"] {
        assert_eq!(
            short(&next(&mut lifecycle).await),
            (second.id.clone(), what.to_owned())
        );
    }
    let full = next(&mut lifecycle).await;
    let LifecycleEvent::Refused {
        peer: Some(peer),
        room: Some(refused),
        wire: Some(Spoken::SocketIo2),
        why,
        ..
    } = full
    else {
        panic!("{full:?}");
    };
    assert_eq!(
        (peer.id(), refused, why.code()),
        (id(&second), room(ROOM), Code::RoomFull)
    );
    let full = next(&mut lifecycle).await;
    let LifecycleEvent::Refused {
        peer: None,
        room: None,
        wire: Some(Spoken::SocketIo4),
        why,
        ..
    } = full
    else {
        panic!("{full:?}");
    };
    assert_eq!(why.code(), Code::Busy);
}

async fn what_policies_refuse_is_told(host: Host) {
    let closed = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&closed);
    let site = host
        .start_with(move |builder| {
            builder
                .authorize(move |_| {
                    let closed = seen.load(Ordering::Relaxed);
                    let refused = Refused::unauthorized("no ticket");
                    async move {
                        if closed {
                            Err(refused)
                        } else {
                            Ok(Identity::anonymous())
                        }
                    }
                })
                .admit(|_, _| async { Err(Refused::forbidden("no room for you")) })
        })
        .await;
    let mut lifecycle = site.server.lifecycle();
    for wire in Wire::ALL {
        closed.store(true, Ordering::Relaxed);
        match wire {
            Wire::Polling(revision) => {
                let client = Polling::open(&site, revision, "").await;
                if revision == Revision::V4 {
                    client.post(&["40"]).await;
                }
            }
            Wire::Socket(revision) => {
                let (mut socket, _) = Socket::engine(&site, revision).await;
                if revision == Revision::V4 {
                    socket.send("40").await;
                }
                assert!(socket.text().await.starts_with("44"));
            }
            Wire::Json => {
                let refused = Socket::try_open(site.address, "/peer-data").await;
                assert_eq!(refused.err(), Some(401));
            }
        }
        let told = next(&mut lifecycle).await;
        let LifecycleEvent::Refused {
            address,
            wire: Some(over),
            peer: None,
            room: None,
            why,
            ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((address, over), (HERE, wire.spoken()));
        assert_eq!(why, Refused::unauthorized("no ticket"));

        closed.store(false, Ordering::Relaxed);
        let mut peer = Peer::connect(&site, wire).await;
        peer.send(&event("CONNECT", ROOM, 1)).await;
        let (connected, what) = short(&next(&mut lifecycle).await);
        assert_eq!(what, "connected");
        let told = next(&mut lifecycle).await;
        let LifecycleEvent::Refused {
            peer: Some(refused),
            room: Some(place),
            why,
            ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((refused.id().to_string(), place), (connected, room(ROOM)));
        assert_eq!(why, Refused::forbidden("no room for you"));
        assert!(refused.disconnect());
        let (_, what) = short(&next(&mut lifecycle).await);
        assert_eq!(what, gone(CloseReason::Kicked));
        // The application itself is not asked.
        let own = Peer::connect(&site, Wire::Json).await;
        assert_eq!(site.server.join(&id(&own), &room(ROOM)), Ok(()));
        assert!(site.server.disconnect(&id(&own)));
        for _ in 0..4 {
            assert_eq!(short(&next(&mut lifecycle).await).0, own.id);
        }
    }
}
