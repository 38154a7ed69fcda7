//! The handle of a running server: who is there, putting peers elsewhere, and keeping them out.

#![cfg(feature = "tower")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Frame, Host, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, all_quiet, decode,
    event, event_to, eventually, everybody, on_each_host, within,
};
use peer_data_server::{
    CloseReason, Identity, JoinError, Lifecycle, LifecycleEvent, PeerId, RoomId, Transport,
    Wire as Spoken,
};
use serde_json::json;

on_each_host!(
    peers_are_listed_with_what_is_known_of_them,
    an_upgrade_shows,
    a_peer_can_be_put_into_a_room_and_taken_out,
    a_peer_can_be_moved,
    a_room_can_be_closed,
    who_is_not_there_cannot_be_moved,
    nobody_is_put_into_too_many_rooms,
    all_together_have_so_many_places,
    a_trusted_proxy_tells_the_address,
    an_address_can_be_banned,
    who_a_peer_is_stays_known_to_the_end,
);

fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("a room's id")
}

fn id(peer: &Peer) -> PeerId {
    peer.id.parse().expect("a peer's id")
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
        assert_eq!(listed.wire(), peer.wire.spoken());
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

async fn all_together_have_so_many_places(host: Host) {
    let site = host.start_with(|builder| builder.max_memberships(3)).await;
    let server = &site.server;
    let mut ann = Peer::join(&site, Wire::Json, "one").await;
    let mut ben = Peer::join(&site, Wire::Socket(Revision::V4), "one").await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    let [two, three] = ["two", "three"].map(room);
    assert_eq!(server.join(&id(&ann), &two), Ok(()));
    let refused = server.join(&id(&ann), &three);
    assert_eq!(refused, Err(JoinError::TooManyMemberships));
    let answer = ben.ask(&event("CONNECT", "three", 1)).await;
    assert_eq!(answer["code"], "busy", "{answer}");
    assert_eq!(ben.signal().await["payload"]["code"], "busy");
    // Who is there needs no other place, who moves takes its own along, and who goes leaves one.
    assert_eq!(server.join(&id(&ann), &two), Ok(()));
    assert_eq!(server.move_peer(&id(&ann), &two, &three), Ok(()));
    assert!(server.disconnect(&id(&ann)));
    eventually("her places are free", || server.rooms().len() == 1).await;
    assert_eq!(server.join(&id(&ben), &two), Ok(()));
    assert_eq!(server.join(&id(&ben), &three), Ok(()));
}

async fn next(lifecycle: &mut Lifecycle) -> LifecycleEvent {
    let event = within("an event", lifecycle.next()).await;
    event.expect("a server that is there")
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
    let told = next(&mut lifecycle).await;
    assert!(matches!(told, LifecycleEvent::Connected { .. }), "{told:?}");
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
