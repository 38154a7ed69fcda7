//! Rooms that span nodes: what peers and the application see of them, and what it costs.

use crate::support::{
    Host, Node, Peer, ROOM, Revision, Wire, acquaint, cluster, event, event_to, eventually,
    everywhere, id, quiet_everywhere, room,
};
use peer_data_server::{MemoryBus, PeerData, PeerId, Remote, Signal};
use serde_json::{Value, json};

#[tokio::test]
async fn a_room_spans_nodes_and_wires() {
    let (_bus, nodes) = cluster::<3>().await;
    let mut peers = everywhere(&nodes).await;
    let ids: Vec<_> = peers.iter().map(|(_, peer)| peer.id.clone()).collect();

    // From each to each.
    for from in 0..peers.len() {
        for to in (0..peers.len()).filter(|to| *to != from) {
            let payload = format!("{from} to {to}");
            let offer = event_to(&ids[to], "OFFER", ROOM, payload.clone());
            peers[from].1.send(&offer).await;
            let heard = peers[to].1.signal().await;
            assert_eq!(heard["payload"], payload);
            assert_eq!(heard["caller"]["id"], ids[from]);
        }
    }
    // From each to all, with something binary where the wire has that.
    for from in 0..peers.len() {
        let sender = &mut peers[from].1;
        let parts = usize::from(sender.wire != Wire::Json);
        let data = r#"{"_placeholder":true,"num":0}"#.repeat(parts);
        let data = format!("[{data}]");
        let text =
            format!(r#"{{"type":"CHAT","room":{{"id":"{ROOM}"}},"payload":[{from},{data}]}}"#);
        sender.send_raw(&text, &[&b"data"[..]; 1][..parts]).await;
        for to in (0..peers.len()).filter(|to| *to != from) {
            let heard = peers[to].1.hear().await;
            assert_eq!(heard.json()["payload"][0], from);
            assert_eq!(heard.attachments, vec![b"data"; parts]);
        }
    }
    quiet_everywhere(&nodes, &mut peers).await;

    // One leaves, another vanishes.
    let (_, mut leaver) = peers.remove(0);
    leaver.send(&event("DISCONNECT", ROOM, "bye")).await;
    for (_, peer) in &mut peers {
        let heard = peer.signal().await;
        assert_eq!(heard["type"], "DISCONNECT");
        assert_eq!(heard["payload"], "bye");
        assert_eq!(heard["caller"]["id"], leaver.id);
    }
    let (_, vanishing) = peers.remove(1);
    let gone = vanishing.id.clone();
    vanishing.vanish().await;
    for (_, peer) in &mut peers {
        peer.hears_departure(&gone, ROOM).await;
    }
    quiet_everywhere(&nodes, &mut peers).await;
    leaver.hears_nothing(&nodes[0].site).await;
}

/// Who joins while others do hears of each of them in one way: by the ack, or by a CONNECT.
#[tokio::test]
async fn of_those_who_come_at_once_each_hears_of_each_once() {
    let (_bus, nodes) = cluster::<3>().await;
    for round in 0..5 {
        let room = format!("room {round}");
        let mut peers = Vec::new();
        for number in 0..6 {
            let wire = Wire::SOCKET_IO[number % 4];
            peers.push(Peer::connect(&nodes[number % 3].site, wire).await);
        }
        let connect = event("CONNECT", &room, Value::Null);
        let joining = peers.iter_mut().map(|peer| peer.ask(&connect));
        let acks = futures_util::future::join_all(joining).await;
        let mut told: Vec<Vec<String>> = Vec::new();
        for (peer, ack) in peers.iter_mut().zip(&acks) {
            ack["id"].as_str().unwrap().clone_into(&mut peer.id);
            let named = ack["peers"].as_array().unwrap().iter();
            let mut told_of: Vec<_> = named.map(|id| id.as_str().unwrap().to_owned()).collect();
            while told_of.len() < 5 {
                let heard = peer.signal().await;
                assert_eq!(heard["type"], "CONNECT", "{heard}");
                told_of.push(heard["caller"]["id"].as_str().unwrap().to_owned());
            }
            told_of.sort();
            told.push(told_of);
        }
        for (own, told_of) in told.iter().enumerate() {
            let others = peers
                .iter()
                .enumerate()
                .filter(|(number, _)| *number != own);
            let mut others: Vec<_> = others.map(|(_, peer)| peer.id.clone()).collect();
            others.sort();
            assert_eq!(*told_of, others, "round {round}: {acks:?}");
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.hears_nothing(&nodes[number % 3].site).await;
        }
    }
}

#[tokio::test]
async fn the_ack_of_a_join_names_peers_at_other_nodes() {
    let (_bus, nodes) = cluster::<3>().await;
    let ann = nodes[0].join(Wire::Socket(Revision::V4)).await;
    let ben = nodes[1].join(Wire::Socket(Revision::V3)).await;
    let mut eve = Peer::connect(&nodes[2].site, Wire::Socket(Revision::V4)).await;
    let ack = eve.ask(&event("CONNECT", ROOM, Value::Null)).await;
    let mut peers: Vec<_> = ack["peers"].as_array().unwrap().iter().collect();
    peers.sort_by_key(|peer| peer.as_str());
    let mut expected = [json!(ann.id), json!(ben.id)];
    expected.sort_by_key(|peer| peer.as_str().map(str::to_owned));
    assert_eq!(peers, expected.iter().collect::<Vec<_>>(), "{ack}");
    // She has been told of them, and hears no more of it.
    eve.hears_nothing(&nodes[2].site).await;
    for node in &nodes {
        node.sees(3).await;
        assert_eq!(node.server.room_peers(&room()).len(), 3);
    }
    let seen = nodes[0].server.room_peers(&room());
    let seen = seen.iter().find(|peer| peer.id() == id(&ben)).unwrap();
    assert!(!seen.is_here());
    assert_eq!(seen.wire(), peer_data_server::Wire::SocketIo2);
}

/// What a peer says with its CONNECT is carried, whether it is the first of its node or not.
#[tokio::test]
async fn a_newcomer_is_heard_in_its_own_words() {
    let (_bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Json).await;
    let mut newcomers = Vec::new();
    for name in ["Ben", "Eve"] {
        let mut newcomer = Peer::connect(&nodes[1].site, Wire::Json).await;
        newcomer.send(&event("CONNECT", ROOM, name)).await;
        let heard = ann.signal().await;
        assert_eq!(heard["type"], "CONNECT");
        assert_eq!(heard["payload"], name);
        assert_eq!(heard["caller"]["id"], newcomer.id);
        ann.hears_nothing(&nodes[0].site).await;
        newcomers.push(newcomer);
    }
}

#[tokio::test]
async fn no_message_reaches_a_node_that_has_no_use_for_it() {
    let (bus, nodes) = cluster::<3>().await;
    let mut ann = nodes[0].join(Wire::Socket(Revision::V4)).await;
    let mut others: Vec<Peer> = Vec::new();
    for _ in 0..4 {
        let other = nodes[1].join(Wire::Json).await;
        assert_eq!(ann.signal().await["type"], "CONNECT");
        for earlier in &mut others {
            assert_eq!(earlier.signal().await["type"], "CONNECT");
        }
        others.push(other);
    }
    nodes[0].sees(5).await;
    assert_eq!(bus.rooms_of(nodes[0].id), [room()]);
    assert!(bus.rooms_of(nodes[2].id).is_empty());

    // Nodes say every five seconds that they live, and hardly ever anything else by themselves.
    // What the uninvolved one hears is that, so it tells how much of it there was.
    let idle = || bus.received_by(nodes[2].id);
    let (published, beats) = (bus.published(), idle());
    let ack = ann.ask(&event_to(&others[0].id, "OFFER", ROOM, "x")).await;
    assert_eq!(ack["delivered"], 1);
    assert_eq!(others[0].signal().await["type"], "OFFER");
    let direct = bus.published() - published;
    assert!((1..=1 + 2 * (idle() - beats)).contains(&direct), "{direct}");

    let (published, beats) = (bus.published(), idle());
    let ack = ann.ask(&event("CHAT", ROOM, "x")).await;
    assert_eq!(ack["delivered"], 4);
    for other in &mut others {
        assert_eq!(other.signal().await["type"], "CHAT");
    }
    let said = bus.published() - published;
    assert!((1..=1 + 2 * (idle() - beats)).contains(&said), "{said}");

    // What is said in a room of one node alone is no other's business.
    let mut lonely = Peer::join(&nodes[2].site, Wire::Socket(Revision::V4), "alone").await;
    let _second = Peer::join(&nodes[2].site, Wire::Json, "alone").await;
    let published = bus.published();
    for _ in 0..100 {
        assert_eq!(
            lonely.ask(&event("CHAT", "alone", "x")).await["delivered"],
            1
        );
    }
    assert!(bus.published() - published < 50, "beats at most");
}

#[tokio::test]
async fn a_stale_or_forged_peer_is_refused_as_it_is_locally() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Socket(Revision::V4)).await;
    let mut ben = nodes[1].join(Wire::Socket(Revision::V4)).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    let own = format!("{}{}", nodes[0].id, "x".repeat(16));
    let local = ann.ask(&event_to(&own, "OFFER", ROOM, "x")).await;
    assert_eq!(local["code"], "no_such_peer");
    let local_error = ann.signal().await;

    // At a node that there is, at one that there is not, and one who exists in another room.
    let mut eve = Peer::join(&nodes[1].site, Wire::Socket(Revision::V4), "other").await;
    let forged = format!("{}{}", nodes[1].id, "x".repeat(16));
    let unused = ["0000", "1111", "2222"];
    let unused = unused
        .iter()
        .find(|id| nodes.iter().all(|node| node.id.as_str() != **id));
    let nowhere = format!("{}{}", unused.unwrap(), "x".repeat(16));
    for callee in [&forged, &nowhere, &eve.id] {
        let published = bus.published();
        let answer = ann.ask(&event_to(callee, "OFFER", ROOM, "x")).await;
        assert_eq!(answer, local);
        assert_eq!(ann.signal().await, local_error);
        // The question, its answer, and perhaps that both nodes live.
        assert!(bus.published() - published <= 4);
    }
    eve.hears_nothing(&nodes[1].site).await;

    // One who has left while the signal was on its way to him: the sender is told afterwards.
    bus.pause();
    ben.ask(&event("DISCONNECT", ROOM, Value::Null)).await;
    let answer = ann.ask(&event_to(&ben.id, "OFFER", ROOM, "x")).await;
    assert_eq!(answer["ok"], true);
    bus.resume();
    let mut heard = [ann.signal().await, ann.signal().await];
    heard.sort_by_key(|signal| signal["type"].as_str().map(str::to_owned));
    assert_eq!(heard[0]["type"], "DISCONNECT");
    assert_eq!(heard[1], local_error);
    ben.hears_nothing(&nodes[1].site).await;
}

#[tokio::test]
async fn the_handle_reaches_peers_and_rooms_at_all_nodes() {
    let (_bus, nodes) = cluster::<3>().await;
    let mut ann = nodes[0].join(Wire::Json).await;
    let mut ben = nodes[1].join(Wire::Socket(Revision::V4)).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    let far = &nodes[2].server;
    let signal = Signal::new("NEWS", Some(&room()), "x").unwrap();

    let delivery = far.to_peer(&id(&ann), &signal);
    assert_eq!((delivery.delivered, delivery.remote), (1, Remote::Sent));
    assert_eq!(ann.signal().await["type"], "NEWS");
    let delivery = far.to_room(&room(), Some(&id(&ann)), &signal);
    assert_eq!(delivery.remote, Remote::Sent);
    assert_eq!(ben.signal().await["type"], "NEWS");
    ann.hears_nothing(&nodes[0].site).await;

    assert!(far.members(&room()).is_empty(), "it has no member there");
    let mut found = far.find_members(&room()).await;
    found.sort();
    let mut expected = vec![id(&ann), id(&ben)];
    expected.sort();
    assert_eq!(found, expected);

    far.close_room(&room());
    ann.hears_departure(&ben.id, ROOM).await;
    ben.hears_departure(&ann.id, ROOM).await;
    ann.hears_nothing(&nodes[0].site).await;
    ben.hears_nothing(&nodes[1].site).await;
    assert!(far.find_members(&room()).await.is_empty());

    assert!(far.disconnect(&id(&ben)));
    eventually("Ben is gone", || nodes[1].server.peer_count() == 0).await;
    let nobody = far.to_peer(&"0".repeat(20).parse().unwrap(), &signal);
    assert_eq!((nobody.delivered, nobody.remote), (0, Remote::Unneeded));
}

#[tokio::test]
async fn capacities_count_the_peers_of_all_nodes() {
    let bus = MemoryBus::new();
    let start = || async {
        let builder = PeerData::builder().cluster(bus.node());
        Node::of(builder.max_peers_per_room(2).build().unwrap()).await
    };
    let nodes = [start().await, start().await];
    acquaint(&nodes).await;
    let _ann = nodes[0].join(Wire::Json).await;
    let _ben = nodes[1].join(Wire::Socket(Revision::V4)).await;
    for node in &nodes {
        node.sees(2).await;
        let mut late = Peer::connect(&node.site, Wire::Socket(Revision::V4)).await;
        let answer = late.ask(&event("CONNECT", ROOM, Value::Null)).await;
        assert_eq!(answer["code"], "room_full");
    }
}

#[tokio::test]
async fn whatever_a_room_is_called_it_is_just_a_room() {
    let (_bus, nodes) = cluster::<2>().await;
    let spaces = " ".repeat(256);
    for name in [">", "*", "a.b.>", &spaces, "\u{1f600}"] {
        let mut ann = Peer::join(&nodes[0].site, Wire::Json, name).await;
        let ben = Peer::join(&nodes[1].site, Wire::Json, name).await;
        assert_eq!(ann.signal().await["caller"]["id"], ben.id, "{name}");
        let _other = Peer::join(&nodes[1].site, Wire::Json, "elsewhere").await;
        ann.hears_nothing(&nodes[0].site).await;
        let gone = ben.id.clone();
        drop(ben);
        ann.hears_departure(&gone, name).await;
    }
}

#[tokio::test]
async fn the_application_moves_peers_in_front_of_other_nodes() {
    let (_bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Json).await;
    let mut ben = nodes[1].join(Wire::Json).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    nodes[1].sees(2).await;
    let other = "other".parse().unwrap();
    nodes[1]
        .server
        .move_peer(&id(&ben), &room(), &other)
        .unwrap();
    ann.hears_departure(&ben.id, ROOM).await;
    ben.hears_departure(&ann.id, ROOM).await;
    nodes[1].server.join(&id(&ben), &room()).unwrap();
    let heard = ann.signal().await;
    assert_eq!(heard["type"], "CONNECT");
    assert_eq!(heard["caller"]["id"], ben.id);
    ben.hears_nothing(&nodes[1].site).await;
    assert!(nodes[1].server.remove(&id(&ben), &room()));
    ann.hears_departure(&ben.id, ROOM).await;
}

#[tokio::test]
async fn a_server_without_a_cluster_knows_nothing_of_one() {
    let server = PeerData::new();
    assert_eq!(server.cluster_status(), None);
    server.leave_cluster().await;
    assert!(server.find_members(&room()).await.is_empty());
    assert!(!server.disconnect(&PeerId::random().unwrap()));
    let site = Host::Axum.start_built(server).await;
    let mut ann = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    let answer = ann.ask(&event("CHAT", ROOM, "x")).await;
    assert_eq!(answer["delivered"], 0);
}

#[test]
fn a_server_of_a_cluster_needs_a_runtime() {
    let built = PeerData::builder().cluster(MemoryBus::new().node()).build();
    assert_eq!(built.unwrap_err().subject(), "cluster");
}
