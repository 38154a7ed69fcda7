//! Rooms: who is in them, who hears of it, and that everybody leaves exactly once.

#![cfg(feature = "tower")]

use crate::support::{
    Host, Peer, ROOM, Revision, Wire, all_quiet, event, event_to, eventually, everybody,
    on_each_host,
};
use serde_json::{Value, json};

on_each_host!(
    connect_joins_and_tells_the_others,
    connect_again_is_told_again,
    disconnect_leaves_and_tells_the_others,
    signals_stay_in_their_room,
    a_dropped_peer_leaves_each_room_once,
    a_room_named_like_a_peer_taps_nothing,
    any_text_can_name_a_room,
    closing_a_room_empties_it,
);

async fn connect_joins_and_tells_the_others(host: Host) {
    let site = host.start().await;
    let mut peers: Vec<Peer> = Vec::new();
    for wire in Wire::ALL {
        let mut newcomer = Peer::connect(&site, wire).await;
        let connect = event("CONNECT", ROOM, json!({"nick": "x"}));
        if wire == Wire::Json {
            newcomer.send(&connect).await;
        } else {
            let ack = newcomer.ask(&connect).await;
            ack["id"]
                .as_str()
                .expect("an id")
                .clone_into(&mut newcomer.id);
            let before: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
            assert_eq!(
                ack,
                json!({"ok": true, "id": newcomer.id, "delivered": before.len(), "peers": before})
            );
        }
        for peer in &mut peers {
            let mut expected = connect.clone();
            expected["caller"] = json!({ "id": newcomer.id });
            assert_eq!(peer.signal().await, expected, "{:?} of {wire:?}", peer.wire);
        }
        newcomer.hears_nothing(&site).await;
        peers.push(newcomer);
    }
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    assert_eq!(site.members(ROOM), ids, "oldest first");
}

async fn connect_again_is_told_again(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    for at in 0..peers.len() {
        if peers[at].wire == Wire::Json {
            peers[at].send(&event("CONNECT", ROOM, 1)).await;
        } else {
            let ack = peers[at].ask(&event("CONNECT", ROOM, 1)).await;
            let others: Vec<_> = ids.iter().filter(|id| **id != ids[at]).collect();
            assert_eq!(ack["peers"], json!(others));
        }
        for (other, peer) in peers
            .iter_mut()
            .enumerate()
            .filter(|(other, _)| *other != at)
        {
            let heard = peer.signal().await;
            assert_eq!(
                (&heard["type"], &heard["caller"]["id"]),
                (&json!("CONNECT"), &json!(ids[at]))
            );
            assert_ne!(other, at);
        }
    }
    all_quiet(&site, &mut peers).await;
    assert_eq!(site.members(ROOM), ids);
}

async fn disconnect_leaves_and_tells_the_others(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    while peers.len() > 1 {
        let mut leaver = peers.remove(0);
        let goodbye = event("DISCONNECT", ROOM, "bye");
        let ack = leaver.ask(&goodbye).await;
        assert_eq!(
            ack,
            json!({"ok": true, "id": leaver.id, "delivered": peers.len()})
        );
        for peer in &mut peers {
            let mut expected = goodbye.clone();
            expected["caller"] = json!({ "id": leaver.id });
            assert_eq!(peer.signal().await, expected);
        }
        leaver.hears_nothing(&site).await;
        assert!(!site.members(ROOM).contains(&leaver.id));
        assert_eq!(leaver.ask(&goodbye).await["code"], "not_in_room");
        // It is still a peer, and does not leave a second time when it goes.
        assert_eq!(site.server.peer_count(), peers.len() + 1);
        leaver.vanish().await;
        eventually("one less", || site.server.peer_count() == peers.len()).await;
        all_quiet(&site, &mut peers).await;
    }
}

async fn signals_stay_in_their_room(host: Host) {
    let site = host.start().await;
    let mut upstairs = everybody(&site, "upstairs").await;
    let mut downstairs = everybody(&site, "downstairs").await;
    let both = &mut upstairs[0];
    both.enter(&site, "downstairs").await;
    both.send(&event("CHAT", "downstairs", "hello")).await;
    for peer in &mut downstairs {
        assert_eq!(peer.signal().await["type"], "CONNECT");
        assert_eq!(peer.signal().await["payload"], "hello");
    }
    all_quiet(&site, &mut upstairs).await;
    assert_eq!(site.server.room_count(), 2);
}

async fn a_dropped_peer_leaves_each_room_once(host: Host) {
    let site = host.start().await;
    for wire in Wire::ALL {
        for end in ["cut", "blunder", "kick", "leave"] {
            println!("{wire:?}: {end}");
            let mut one = Peer::join(&site, Wire::Json, "a").await;
            let mut all = Peer::join(&site, Wire::Socket(Revision::V4), "a").await;
            assert_eq!(one.signal().await["type"], "CONNECT");
            for room in ["b", "c"] {
                all.enter(&site, room).await;
            }
            let mut goer = Peer::connect(&site, wire).await;
            for room in ["a", "b", "c"] {
                goer.enter(&site, room).await;
                assert_eq!(all.signal().await["room"]["id"], room);
            }
            assert_eq!(one.signal().await["type"], "CONNECT");
            let id = goer.id.clone();
            goer.send(&event("DISCONNECT", "c", Value::Null)).await;
            assert_eq!(all.signal().await["room"]["id"], "c");
            match (end, wire) {
                ("cut", _) => goer.vanish().await,
                ("blunder", _) => goer.blunder().await,
                ("leave", Wire::Polling(_)) => goer.polling().post(&["41"]).await,
                ("leave", Wire::Socket(_)) => goer.socket().send("41").await,
                ("leave", Wire::Json) => goer.socket().send_close(1000).await,
                _ => assert!(site.server.disconnect(&id.parse().expect("an id"))),
            }
            one.hears_departure(&id, "a").await;
            let departures = [all.hear().await.raw, all.hear().await.raw];
            for room in ["a", "b"] {
                let departure = format!(
                    r#"{{"type":"DISCONNECT","caller":{{"id":"{id}"}},"callee":null,"room":{{"id":"{room}"}},"payload":null}}"#
                );
                assert!(departures.contains(&departure), "{departures:?}");
            }
            one.hears_nothing(&site).await;
            all.hears_nothing(&site).await;
            assert_eq!(site.members("a"), [one.id.clone(), all.id.clone()]);
            one.vanish().await;
            all.vanish().await;
            eventually("empty rooms", || site.server.room_count() == 0).await;
        }
    }
}

async fn a_room_named_like_a_peer_taps_nothing(host: Host) {
    let site = host.start().await;
    let mut sender = Peer::join(&site, Wire::Json, ROOM).await;
    let mut victim = Peer::join(&site, Wire::Socket(Revision::V3), ROOM).await;
    assert_eq!(sender.signal().await["type"], "CONNECT");
    let tap = Peer::join(&site, Wire::Json, &victim.id).await;
    sender
        .send(&event_to(&victim.id, "OFFER", ROOM, "secret"))
        .await;
    assert_eq!(victim.signal().await["payload"], "secret");
    all_quiet(&site, &mut [victim, tap]).await;
}

async fn any_text_can_name_a_room(host: Host) {
    let site = host.start().await;
    let long = "é".repeat(128);
    for room in [
        "__proto__",
        "constructor",
        " ",
        "0",
        "null",
        "\u{0}",
        "😀\"\\/\n",
        &long,
    ] {
        let mut peers = everybody(&site, room).await;
        peers[0].send(&event("CHAT", room, 1)).await;
        for peer in &mut peers[1..] {
            assert_eq!(peer.signal().await["room"]["id"], room);
        }
        for peer in peers {
            peer.vanish().await;
        }
        eventually("an empty room", || site.members(room).is_empty()).await;
    }
}

async fn closing_a_room_empties_it(host: Host) {
    let site = host.start().await;
    let mut peers = everybody(&site, ROOM).await;
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    let room = peer_data_server::RoomId::new(ROOM).expect("a room's id");
    assert_eq!(site.server.close_room(&room), peers.len());
    for peer in &mut peers {
        let own = peer.id.clone();
        for id in ids.iter().filter(|id| **id != own) {
            peer.hears_departure(id, ROOM).await;
        }
    }
    assert_eq!(
        (site.server.room_count(), site.server.peer_count()),
        (0, peers.len())
    );
    assert_eq!(
        peers[0].ask(&event("CHAT", ROOM, 1)).await["code"],
        "not_in_room"
    );
    assert_eq!(peers[0].signal().await["type"], "ERROR");
    all_quiet(&site, &mut peers).await;
    peers[1].enter(&site, ROOM).await;
    assert_eq!(site.members(ROOM), [peers[1].id.clone()]);
}
