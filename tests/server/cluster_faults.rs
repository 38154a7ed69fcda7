//! Nodes that die, a bus that loses, splits and goes away, and what peers hear of it: each thing
//! once.

use std::time::{Duration, Instant};

use crate::support::{
    Node, Peer, ROOM, Revision, Wire, acquaint, cluster, event, event_to, eventually, everywhere,
    quiet_everywhere, room, within,
};
use peer_data_server::{LifecycleEvent, MemoryBus, PeerData, Remote, Signal};
use serde_json::json;

/// Asserts that the next signal is the arrival of that peer.
async fn hears_arrival(peer: &mut Peer, of: &Peer) {
    let heard = peer.signal().await;
    assert_eq!(heard["type"], "CONNECT", "{heard}");
    assert_eq!(heard["caller"]["id"], of.id, "{heard}");
}

/// Asserts that the next signals are the departures of those peers, in any order.
async fn hears_departures(peer: &mut Peer, gone: &[String]) {
    let mut heard = Vec::new();
    for _ in gone {
        let signal = peer.signal().await;
        assert_eq!(signal["type"], "DISCONNECT", "{signal}");
        heard.push(signal["caller"]["id"].as_str().expect("an id").to_owned());
    }
    heard.sort();
    let mut gone = gone.to_vec();
    gone.sort();
    assert_eq!(heard, gone);
}

/// Returns once each of the nodes takes all but so many for dead, which needs its time.
async fn death_of_others(nodes: &[Node], left: usize) {
    let dead = async {
        while nodes.iter().any(|node| node.others() != left) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(60);
    let dead = tokio::time::timeout(patience, dead).await;
    dead.expect("they are silent for longer than fifteen seconds");
}

/// Takes those of the first node out of all peers; returns their ids.
fn take_first(peers: &mut Vec<(usize, Peer)>) -> (Vec<String>, Vec<(usize, Peer)>) {
    let (first, others) = std::mem::take(peers)
        .into_iter()
        .partition(|(at, _)| *at == 0);
    *peers = others;
    let first: Vec<(usize, Peer)> = first;
    let ids = first.iter().map(|(_, peer)| peer.id.clone()).collect();
    (ids, first)
}

#[tokio::test]
async fn departures_are_told_once_when_a_node_says_goodbye() {
    let (_bus, nodes) = cluster::<3>().await;
    let mut peers = everywhere(&nodes).await;
    let mut lifecycle = nodes[1].server.lifecycle();
    let (gone, _first) = take_first(&mut peers);
    nodes[0].server.leave_cluster().await;
    for (_, peer) in &mut peers {
        hears_departures(peer, &gone).await;
    }
    quiet_everywhere(&nodes, &mut peers).await;
    for _ in &gone {
        match within("the lifecycle", lifecycle.next()).await {
            Some(LifecycleEvent::Left { peer, .. }) => assert!(!peer.is_here()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(nodes[1].others(), 1);
}

#[tokio::test]
async fn departures_are_told_once_when_a_node_dies() {
    let (bus, nodes) = cluster::<3>().await;
    let mut peers = everywhere(&nodes).await;
    let (gone, _first) = take_first(&mut peers);
    let died = Instant::now();
    bus.kill(nodes[0].id);
    death_of_others(&nodes[1..], 1).await;
    for (_, peer) in &mut peers {
        hears_departures(peer, &gone).await;
    }
    // Its last beat may be five seconds ago already.
    assert!(died.elapsed() >= Duration::from_secs(9));
    quiet_everywhere(&nodes, &mut peers).await;
    assert_eq!(nodes[1].others(), 1);
}

#[tokio::test]
async fn the_last_handle_that_goes_says_goodbye() {
    let bus = MemoryBus::new();
    let staying = Node::start(&bus).await;
    let going = PeerData::builder().cluster(bus.node()).build().unwrap();
    eventually("they know each other", || staying.others() == 1).await;
    drop(going);
    eventually("it has left", || staying.others() == 0).await;
}

#[tokio::test]
async fn what_a_node_has_missed_is_told_once_after_it_is_back() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Json).await;
    let mut ben = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ann, &ben).await;
    nodes[1].sees(2).await;
    let leaver = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ann, &leaver).await;
    hears_arrival(&mut ben, &leaver).await;

    bus.disconnect(nodes[1].id);
    let gone = leaver.id.clone();
    drop(leaver);
    ben.hears_departure(&gone, ROOM).await;
    let eve = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ben, &eve).await;
    let mut joe = nodes[0].join(Wire::Json).await;
    hears_arrival(&mut ann, &joe).await;
    ann.hears_nothing(&nodes[0].site).await;
    bus.connect(nodes[1].id);
    hears_departures(&mut ann, std::slice::from_ref(&gone)).await;
    hears_arrival(&mut ann, &eve).await;
    // He was told of the one who had left by then, or was not told of it at all.
    let heard = joe.signal().await;
    if heard["type"] == "DISCONNECT" {
        assert_eq!(heard["caller"]["id"], gone);
        hears_arrival(&mut joe, &eve).await;
    } else {
        assert_eq!(heard["caller"]["id"], eve.id);
    }
    hears_arrival(&mut ben, &joe).await;
    for node in &nodes {
        node.sees(4).await;
    }
    ann.hears_nothing(&nodes[0].site).await;
    joe.hears_nothing(&nodes[0].site).await;
    ben.hears_nothing(&nodes[1].site).await;
}

#[tokio::test]
async fn a_loss_that_nobody_has_noticed_shows_with_what_is_said_next() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Json).await;
    let mut ben = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ann, &ben).await;
    nodes[1].sees(2).await;
    bus.lose(1);
    let mut late = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ben, &late).await;
    late.send(&event("CHAT", ROOM, "hello")).await;
    assert_eq!(ben.signal().await["payload"], "hello");
    hears_arrival(&mut ann, &late).await;
    assert_eq!(ann.signal().await["payload"], "hello", "and not before");
    ann.hears_nothing(&nodes[0].site).await;
}

#[tokio::test]
async fn what_was_lost_in_an_overflow_is_asked_for() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Json).await;
    let mut ben = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ann, &ben).await;
    nodes[1].sees(2).await;
    bus.pause();
    let eve = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ben, &eve).await;
    ann.hears_nothing(&nodes[0].site).await;
    bus.overflow(nodes[0].id);
    bus.resume();
    hears_arrival(&mut ann, &eve).await;
    ann.hears_nothing(&nodes[0].site).await;
    assert!(nodes[0].server.cluster_status().unwrap().overloaded);
}

#[tokio::test]
async fn a_silent_partition_is_a_death_on_both_sides_and_heals() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Json).await;
    let mut ben = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ann, &ben).await;
    nodes[1].sees(2).await;
    bus.split(&[nodes[1].id]);
    death_of_others(&nodes, 0).await;
    hears_departures(&mut ann, std::slice::from_ref(&ben.id)).await;
    hears_departures(&mut ben, std::slice::from_ref(&ann.id)).await;
    let mut eve = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ben, &eve).await;
    bus.heal();
    for _ in 0..2 {
        let heard = ann.signal().await;
        assert_eq!(heard["type"], "CONNECT");
        assert!([&ben.id, &eve.id].contains(&&heard["caller"]["id"].as_str().unwrap().to_owned()));
    }
    hears_arrival(&mut ben, &ann).await;
    hears_arrival(&mut eve, &ann).await;
    for node in &nodes {
        node.sees(3).await;
    }
    ann.hears_nothing(&nodes[0].site).await;
    ben.hears_nothing(&nodes[1].site).await;
    eve.hears_nothing(&nodes[1].site).await;
}

#[tokio::test]
async fn a_node_begins_without_a_bus_and_joins_when_it_comes() {
    let bus = MemoryBus::new();
    bus.go_down();
    let nodes = [Node::start(&bus).await, Node::start(&bus).await];
    let status = nodes[0].server.cluster_status().unwrap();
    assert!(!status.connected && !status.is_ready());
    let mut ann = nodes[0].join(Wire::Socket(Revision::V4)).await;
    let mut amy = nodes[0].join(Wire::Socket(Revision::V3)).await;
    hears_arrival(&mut ann, &amy).await;
    ann.send(&event_to(&amy.id, "OFFER", ROOM, "local")).await;
    assert_eq!(amy.signal().await["payload"], "local");
    let mut ben = nodes[1].join(Wire::Json).await;
    bus.come_up();
    acquaint(&nodes).await;
    for node in &nodes {
        node.sees(3).await;
    }
    ben.send(&event_to(&ann.id, "OFFER", ROOM, "far")).await;
    let mut heard = ann.signal().await;
    if heard["type"] == "CONNECT" {
        assert_eq!(heard["caller"]["id"], ben.id);
        heard = ann.signal().await;
    }
    assert_eq!(heard["payload"], "far");
    assert!(nodes[0].server.cluster_status().unwrap().is_ready());
}

#[tokio::test]
async fn a_bus_that_takes_no_more_is_no_obstacle_here_and_is_told() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Socket(Revision::V4)).await;
    let mut amy = nodes[0].join(Wire::Socket(Revision::V4)).await;
    hears_arrival(&mut ann, &amy).await;
    let mut ben = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut ann, &ben).await;
    hears_arrival(&mut amy, &ben).await;
    nodes[1].sees(3).await;

    bus.fill(nodes[0].id, true);
    let answer = ann.ask(&event("CHAT", ROOM, "x")).await;
    assert_eq!(answer["code"], "busy");
    assert_eq!(ann.signal().await["type"], "ERROR");
    assert_eq!(amy.signal().await["type"], "CHAT");
    let answer = ann.ask(&event_to(&ben.id, "OFFER", ROOM, "x")).await;
    assert_eq!(answer["code"], "busy");
    assert_eq!(ann.signal().await["type"], "ERROR");
    let signal = Signal::new("NEWS", Some(&room()), "x").unwrap();
    let delivery = nodes[0].server.to_room(&room(), None, &signal);
    assert_eq!((delivery.delivered, delivery.remote), (2, Remote::Full));
    let status = nodes[0].server.cluster_status().unwrap();
    assert!(status.refused >= 3 && status.overloaded && !status.is_ready());
    assert!(nodes[1].server.cluster_status().unwrap().is_ready());

    // Who comes meanwhile is told of once there is room again.
    let eve = nodes[0].join(Wire::Json).await;
    bus.fill(nodes[0].id, false);
    hears_arrival(&mut ben, &eve).await;
    ben.hears_nothing(&nodes[1].site).await;
    let delivery = nodes[0].server.to_room(&room(), None, &signal);
    assert_eq!((delivery.delivered, delivery.remote), (4, Remote::Sent));
}

/// Nodes of this version, of the next, and of one that has broken with this.
#[tokio::test]
async fn the_next_version_runs_beside_this_one_and_what_nobody_reads_is_dropped() {
    let bus = MemoryBus::new();
    let edition = |written, readable| {
        let builder = PeerData::builder().cluster(bus.node());
        builder.cluster_edition(written, readable).build().unwrap()
    };
    let nodes = [Node::start(&bus).await, Node::of(edition(2, 1)).await];
    acquaint(&nodes).await;
    let mut old = nodes[0].join(Wire::Json).await;
    let mut new = nodes[1].join(Wire::Json).await;
    hears_arrival(&mut old, &new).await;
    nodes[1].sees(2).await;
    new.send(&event_to(&old.id, "OFFER", ROOM, "next")).await;
    assert_eq!(old.signal().await["payload"], "next");
    old.send(&event("CHAT", ROOM, "this")).await;
    assert_eq!(new.signal().await["payload"], "this");

    let broken = Node::of(edition(3, 3)).await;
    let _stranger = broken.join(Wire::Json).await;
    eventually("it is dropped and counted", || {
        nodes.iter().all(|node| {
            let status = node.server.cluster_status().unwrap();
            status.unreadable >= 2 && status.others == 1
        })
    })
    .await;
    old.hears_nothing(&nodes[0].site).await;
    new.hears_nothing(&nodes[1].site).await;
}

/// What is longer than one parcel may be is cut into pieces, and one that is lost loses no more than
/// its own signal.
#[tokio::test]
async fn long_signals_cross_in_pieces() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Socket(Revision::V4)).await;
    let mut ben = nodes[1].join(Wire::Socket(Revision::V4)).await;
    hears_arrival(&mut ann, &ben).await;
    let long = "x".repeat(900_000);
    ann.send(&event_to(&ben.id, "OFFER", ROOM, long.clone()))
        .await;
    assert_eq!(ben.signal().await["payload"], long);
    bus.lose(1);
    ann.send(&event_to(&ben.id, "OFFER", ROOM, long.clone()))
        .await;
    ann.send(&event_to(&ben.id, "CANDIDATE", ROOM, json!([1])))
        .await;
    assert_eq!(ben.signal().await["payload"], json!([1]));
    let status = nodes[1].server.cluster_status().unwrap();
    assert_eq!(status.lost, 1);
}
