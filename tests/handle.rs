//! The handle of a running server: who is there, putting peers elsewhere, and what becomes of them.

#![cfg(feature = "tower")]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use peer_data_server::{
    CloseReason, Code, Identity, JoinError, Lifecycle, LifecycleEvent, Namespace, PeerId, Refused,
    RoomId, Transport, Wire as Spoken,
};
use serde_json::{Value, json};
use support::{
    Frame, Host, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, all_quiet, decode,
    event, event_to, eventually, everybody, message, on_each_host, within,
};

on_each_host!(
    peers_are_listed_with_what_is_known_of_them,
    an_upgrade_shows,
    a_peer_can_be_put_into_a_room_and_taken_out,
    a_peer_can_be_moved,
    a_room_can_be_closed,
    who_is_not_there_cannot_be_moved,
    nobody_is_put_into_too_many_rooms,
    the_whole_story_of_a_peer_is_told,
    each_ending_has_its_reason,
    slow_and_silent_clients_end_with_a_reason,
    who_never_became_a_peer_is_not_told_of,
    each_namespace_has_a_story,
    refusals_are_told,
    a_trusted_proxy_tells_the_address,
    an_address_can_be_banned,
    limits_end_with_a_reason,
    full_rooms_and_servers_are_told_of,
    who_a_peer_is_stays_known_to_the_end,
    what_policies_refuse_is_told,
);

fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("a room's id")
}

fn id(peer: &Peer) -> PeerId {
    peer.id.parse().expect("a peer's id")
}

fn spoken(wire: Wire) -> Spoken {
    match wire {
        Wire::Polling(Revision::V3) | Wire::Socket(Revision::V3) => Spoken::SocketIo2,
        Wire::Polling(Revision::V4) | Wire::Socket(Revision::V4) => Spoken::SocketIo4,
        Wire::Json => Spoken::Json,
    }
}

fn transport(wire: Wire) -> Transport {
    match wire {
        Wire::Polling(_) => Transport::Polling,
        Wire::Socket(_) | Wire::Json => Transport::Websocket,
    }
}

/// Where all clients of these tests are.
const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn ids(peers: &[peer_data_server::Peer]) -> Vec<PeerId> {
    peers.iter().map(peer_data_server::Peer::id).collect()
}

async fn peers_are_listed_with_what_is_known_of_them(host: Host) {
    let start = Instant::now();
    let site = host.start().await;
    let server = &site.server;
    let stranger = Polling::open(&site, Revision::V4, "").await;
    assert!(server.peers().is_empty(), "{} is no peer", stranger.sid);
    let peers = everybody(&site, ROOM).await;
    let lobby = Peer::join(&site, Wire::Json, "lobby").await;
    assert_eq!(
        ids(&server.room_peers(&room(ROOM))),
        server.members(&room(ROOM))
    );
    assert!(server.room_peers(&room("nowhere")).is_empty());
    let mut listed = ids(&server.peers());
    listed.sort();
    let mut expected: Vec<_> = peers.iter().chain([&lobby]).map(id).collect();
    expected.sort();
    assert_eq!(listed, expected);

    for peer in &peers {
        let listed = server.peer(&id(peer)).expect("a peer");
        assert_eq!(listed.id(), id(peer));
        assert_eq!(listed.namespace(), "/");
        assert_eq!(listed.wire(), spoken(peer.wire));
        assert_eq!(listed.transport(), Some(transport(peer.wire)));
        assert_eq!(listed.address(), HERE);
        assert_eq!(listed.rooms(), [room(ROOM)]);
        assert!(listed.identity::<String>().is_none());
        let age = listed.age();
        assert!(age > Duration::ZERO && age < start.elapsed());
    }
    let gone = server.peer(&id(&lobby)).expect("a peer");
    lobby.vanish().await;
    eventually("gone", || server.peer(&gone.id()).is_none()).await;
    assert_eq!((gone.transport(), gone.wire()), (None, Spoken::Json));
    assert_eq!(server.peers().len(), peers.len());
}

async fn an_upgrade_shows(host: Host) {
    let site = host.start().await;
    for revision in Revision::BOTH {
        let mut peer = Peer::join(&site, Wire::Polling(revision), ROOM).await;
        let listed = site.server.peer(&id(&peer)).expect("a peer");
        let mut socket = Socket::open(site.address, &peer.polling().upgrade_target()).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        assert_eq!(listed.transport(), Some(Transport::Polling));
        let noop = peer.polling().get().await;
        assert_eq!(decode(revision, &noop), ["6".into()]);
        socket.send("5").await;
        eventually("an upgrade", || {
            listed.transport() == Some(Transport::Websocket)
        })
        .await;
        drop(socket);
        eventually("the end", || listed.transport().is_none()).await;
    }
}

async fn a_peer_can_be_put_into_a_room_and_taken_out(host: Host) {
    let site = host.start().await;
    let server = &site.server;
    let mut others = everybody(&site, ROOM).await;
    for wire in Wire::ALL {
        let mut peer = Peer::join(&site, wire, "lobby").await;
        assert_eq!(server.join(&id(&peer), &room(ROOM)), Ok(()));
        let expected = format!(
            r#"{{"type":"CONNECT","caller":{{"id":"{}"}},"callee":null,"room":{{"id":"{ROOM}"}},"payload":null}}"#,
            peer.id
        );
        for other in &mut others {
            assert_eq!(other.hear().await.raw, expected, "{:?}", other.wire);
        }
        // Once is enough.
        assert_eq!(server.join(&id(&peer), &room(ROOM)), Ok(()));
        all_quiet(&site, &mut others).await;
        peer.hears_nothing(&site).await;
        for other in &mut others {
            other.send(&event_to(&peer.id, "OFFER", ROOM, 1)).await;
            let offer = peer.signal().await;
            assert_eq!(offer["caller"]["id"], other.id);
        }

        assert!(server.remove(&id(&peer), &room(ROOM)));
        for other in &mut others {
            other.hears_departure(&peer.id, ROOM).await;
            peer.hears_departure(&other.id, ROOM).await;
        }
        assert!(!server.remove(&id(&peer), &room(ROOM)));
        all_quiet(&site, &mut others).await;
        peer.hears_nothing(&site).await;
        assert_eq!(site.members("lobby"), [peer.id.clone()]);
        assert_eq!(site.members(ROOM).len(), others.len());
        peer.vanish().await;
        eventually("an empty lobby", || site.members("lobby").is_empty()).await;
    }
}

async fn a_peer_can_be_moved(host: Host) {
    let site = host.start().await;
    let mut here = everybody(&site, "here").await;
    let mut there = everybody(&site, "there").await;
    for wire in Wire::ALL {
        let mut peer = Peer::join(&site, wire, "here").await;
        for other in &mut here {
            assert_eq!(other.signal().await["type"], "CONNECT");
        }
        let moved = site
            .server
            .move_peer(&id(&peer), &room("here"), &room("there"));
        assert_eq!(moved, Ok(()));
        for other in &mut here {
            other.hears_departure(&peer.id, "here").await;
            peer.hears_departure(&other.id, "here").await;
        }
        for other in &mut there {
            let arrival = other.signal().await;
            assert_eq!(
                (&arrival["type"], &arrival["caller"]["id"]),
                (&json!("CONNECT"), &json!(peer.id))
            );
        }
        let stays = site
            .server
            .move_peer(&id(&peer), &room("there"), &room("there"));
        assert_eq!(stays, Ok(()));
        all_quiet(&site, &mut here).await;
        all_quiet(&site, &mut there).await;
        peer.hears_nothing(&site).await;
        let listed = site.server.peer(&id(&peer)).expect("a peer");
        assert_eq!(listed.rooms(), [room("there")]);
        assert!(listed.disconnect());
        for other in &mut there {
            other.hears_departure(&peer.id, "there").await;
        }
    }
}

async fn a_room_can_be_closed(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let mut outside = Peer::join(&site, Wire::Json, "outside").await;
    assert_eq!(site.server.close_room(&room(ROOM)), peers.len());
    assert_eq!(site.server.close_room(&room(ROOM)), 0);
    let all: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    for peer in &mut peers {
        let mut gone = Vec::new();
        for _ in 1..all.len() {
            let heard = peer.signal().await;
            assert_eq!(
                (&heard["type"], &heard["room"]["id"]),
                (&json!("DISCONNECT"), &json!(ROOM))
            );
            gone.push(heard["caller"]["id"].as_str().expect("an id").to_owned());
        }
        let expected: Vec<_> = all.iter().filter(|id| **id != peer.id).cloned().collect();
        assert_eq!(gone, expected, "{:?}", peer.wire);
    }
    all_quiet(&site, &mut peers).await;
    outside.hears_nothing(&site).await;
    assert_eq!(site.server.rooms(), [room("outside")]);
}

async fn who_is_not_there_cannot_be_moved(host: Host) {
    let site = host.start().await;
    let server = &site.server;
    let nobody = PeerId::random().expect("an id");
    let [here, there] = ["here", "there"].map(room);
    assert_eq!(server.join(&nobody, &here), Err(JoinError::NoSuchPeer));
    let moved = server.move_peer(&nobody, &here, &there);
    assert_eq!(moved, Err(JoinError::NoSuchPeer));
    assert!(!server.remove(&nobody, &here));
    let mut peer = Peer::join(&site, Wire::Json, "here").await;
    let moved = server.move_peer(&id(&peer), &there, &here);
    assert_eq!(moved, Err(JoinError::NotInRoom));
    assert!(!server.remove(&id(&peer), &there));
    peer.hears_nothing(&site).await;
    assert_eq!(server.rooms(), [here]);
}

async fn nobody_is_put_into_too_many_rooms(host: Host) {
    let site = host
        .start_with(|builder| builder.max_rooms_per_peer(2))
        .await;
    let server = &site.server;
    let peer = Peer::join(&site, Wire::Json, "one").await;
    let [one, two, three] = ["one", "two", "three"].map(room);
    assert_eq!(server.join(&id(&peer), &two), Ok(()));
    let refused = server.join(&id(&peer), &three);
    assert_eq!(refused, Err(JoinError::TooManyRooms));
    assert_eq!(server.join(&id(&peer), &two), Ok(()), "it is there");
    assert_eq!(server.move_peer(&id(&peer), &one, &three), Ok(()));
    assert_eq!(server.move_peer(&id(&peer), &three, &two), Ok(()));
    assert_eq!(server.rooms(), [two]);
}

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
    for wire in Wire::ALL {
        silent.push(Peer::join(&site, wire, ROOM).await);
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
            assert_eq!(reader.wire(), spoken(peer.wire));
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
        assert_eq!(wire, spoken(Wire::Socket(revision)));
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

/// Opens a session of revision 3, which is a peer at once, from an address that a trusted proxy
/// tells; returns how to poll it.
async fn open_from(site: &Site, address: &str) -> Request {
    let target = "/socket.io/?EIO=3&transport=polling";
    let open = Request::get(target).header("X-Forwarded-For", address);
    let opened = open.send(site.address).await;
    assert_eq!(opened.status, 200);
    let sid = opened.text().split('"').nth(3).expect("a sid").to_owned();
    Request::get(&format!("{target}&sid={sid}")).header("X-Forwarded-For", address)
}

async fn a_trusted_proxy_tells_the_address(host: Host) {
    let site = host
        .start_with(|builder| {
            let builder = builder.trusted_proxies(["127.0.0.1"]);
            builder.allowed_origins(["https://o.test"])
        })
        .await;
    let mut lifecycle = site.server.lifecycle();
    open_from(&site, "203.0.113.9, 192.0.2.7").await;
    let expected: Option<IpAddr> = "192.0.2.7".parse().ok();
    assert_eq!(site.server.peers()[0].address(), expected);
    assert_eq!(short(&next(&mut lifecycle).await).1, "connected");
    let refused = Request::get("/peer-data")
        .header("X-Forwarded-For", "192.0.2.7")
        .header("Origin", "https://evil.test");
    assert_eq!(refused.send(site.address).await.status, 403);
    let told = next(&mut lifecycle).await;
    let LifecycleEvent::Refused { address, .. } = told else {
        panic!("{told:?}");
    };
    assert_eq!(address, expected);
}

async fn an_address_can_be_banned(host: Host) {
    const MINUTE: Duration = Duration::from_secs(60);
    let site = host
        .start_with(|builder| builder.trusted_proxies(["127.0.0.1"]))
        .await;
    let server = &site.server;
    let mut peers = everybody(&site, ROOM).await;
    let stranger = Polling::open(&site, Revision::V4, "").await;
    let elsewhere = open_from(&site, "2001:db8::1").await;
    let known: Vec<_> = peers.iter().map(id).collect();
    let listed = server.peers().into_iter();
    let mut listed = listed.filter(|peer| !known.contains(&peer.id()));
    let bystander = listed.next().expect("the one elsewhere");
    server.join(&bystander.id(), &room(ROOM)).expect("a peer");
    for peer in &mut peers {
        assert_eq!(peer.signal().await["type"], "CONNECT");
    }

    let mut lifecycle = server.lifecycle();
    let here = HERE.expect("an address");
    assert_eq!(server.ban(here, MINUTE), peers.len() + 1);
    assert_eq!(server.ban(here, MINUTE), 0);
    eventually("an empty room", || site.members(ROOM).len() == 1).await;
    assert_eq!(site.members(ROOM), [bystander.id().to_string()]);
    let mut waiting = peers.len();
    while waiting > 0 {
        if let LifecycleEvent::Disconnected { peer, reason, .. } = next(&mut lifecycle).await {
            assert_eq!(reason, CloseReason::Banned);
            assert!(known.contains(&peer.id()));
            waiting -= 1;
        }
    }
    for peer in &mut peers {
        match peer.wire {
            Wire::Polling(_) => {
                let answer = peer.polling().get().await;
                assert_eq!(answer.status, 403, "{answer:?}");
            }
            Wire::Socket(_) | Wire::Json => {
                let mut last = None;
                let code = loop {
                    match peer.socket().frame().await {
                        Frame::Closed(code) => break code,
                        Frame::Text(text) => last = Some(text),
                        other => panic!("{other:?}"),
                    }
                };
                assert_eq!(code, Some(4403));
                assert_eq!(last.as_deref() == Some("41"), peer.wire != Wire::Json);
            }
        }
    }
    assert_eq!(stranger.get().await.status, 403);
    // Of the bystander, nothing has changed.
    let heard = elsewhere.clone().send(site.address).await;
    assert_eq!(heard.status, 200);
    assert_eq!(heard.text().matches("DISCONNECT").count(), peers.len());
    assert!(server.peer(&bystander.id()).is_some());

    let mut lifecycle = server.lifecycle();
    for (target, expected) in [
        ("/socket.io/?EIO=4&transport=polling", None),
        ("/peer-data", Some(Spoken::Json)),
    ] {
        assert_eq!(Request::get(target).send(site.address).await.status, 403);
        let told = next(&mut lifecycle).await;
        let LifecycleEvent::Refused { address, wire, .. } = told else {
            panic!("{told:?}");
        };
        assert_eq!((address, wire), (HERE, expected));
    }
    let [(address, left)] = server.bans()[..] else {
        panic!("{:?}", server.bans());
    };
    assert!(address == here && left <= MINUTE);
    assert!(server.unban(here) && !server.unban(here));
    let back = Peer::join(&site, Wire::Json, "again").await;
    assert!(server.peer(&id(&back)).is_some());

    // Of IPv6, the whole network.
    let neighbour: IpAddr = "2001:db8::2".parse().expect("an address");
    assert_eq!(server.ban(neighbour, MINUTE), 1);
    let network: IpAddr = "2001:db8::".parse().expect("an address");
    assert_eq!(server.bans()[0].0, network);
    assert_eq!(elsewhere.send(site.address).await.status, 403);
    assert!(server.peer(&bystander.id()).is_none());
    assert!(server.peer(&id(&back)).is_some());
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
    for revision in Revision::BOTH {
        let wire = Wire::Polling(revision);
        ends(&site, wire, CloseReason::BodyTimeout, async |mut peer| {
            let mut post = peer.polling().start_post(10).await;
            assert_eq!(post.response().await.status, 408);
        })
        .await;
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

/// Whom the application takes a client for: by its number among those that have asked.
struct Ticket(usize);

async fn who_a_peer_is_stays_known_to_the_end(host: Host) {
    let count = AtomicUsize::new(0);
    let site = host
        .start_with(move |builder| {
            builder.authorize(move |_| {
                let ticket = Ticket(count.fetch_add(1, Ordering::Relaxed));
                async { Ok(Identity::new(ticket)) }
            })
        })
        .await;
    let number = |peer: &peer_data_server::Peer| {
        let ticket = peer.identity::<Ticket>();
        ticket.expect("an identity").0
    };
    let mut lifecycle = site.server.lifecycle();
    for (expected, wire) in Wire::ALL.into_iter().enumerate() {
        let peer = Peer::join(&site, wire, ROOM).await;
        let listed = site.server.peer(&id(&peer)).expect("a peer");
        assert_eq!(number(&listed), expected);
        assert!(listed.identity::<usize>().is_none());
        assert_eq!(number(&site.server.room_peers(&room(ROOM))[0]), expected);
        assert!(site.server.disconnect(&id(&peer)));
        for _ in ["connected", "joined", "left"] {
            let told = next(&mut lifecycle).await;
            let (LifecycleEvent::Connected { peer, .. }
            | LifecycleEvent::Joined { peer, .. }
            | LifecycleEvent::Left { peer, .. }) = told
            else {
                panic!("{told:?}");
            };
            assert_eq!(number(&peer), expected);
        }
        let told = next(&mut lifecycle).await;
        let LifecycleEvent::Disconnected { peer, .. } = told else {
            panic!("{told:?}");
        };
        assert_eq!(number(&peer), expected);
        assert_eq!(number(&listed), expected);
    }
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
        assert_eq!((address, over), (HERE, spoken(wire)));
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
