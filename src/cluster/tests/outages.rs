//! What an adapter does when its server is away, slow, or shared.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::server::Server;
use super::{Item, Node, Target, room};
use crate::cluster::ClusterError;

pub(super) async fn a_node_starts_before_its_bus(server: Server) {
    let node = Node::start(server.place()).await;
    node.adapter.interest(&room("early"), true);
    node.adapter.interest(&room("regretted"), true);
    node.adapter.interest(&room("regretted"), false);
    let refused = node.adapter.publish(Target::All, Bytes::new());
    assert_eq!(refused, Err(ClusterError::Down));

    server.start().await;
    assert_eq!(node.next().await, Item::Connected);
    assert_eq!(node.next().await, Item::Ready(room("early")));
    let other = Node::join(server.place()).await;
    node.meet(&other).await;
    other.say(Target::Room(&room("regretted")), "no");
    other.say(Target::Room(&room("early")), "yes");
    assert_eq!(node.heard().await, "yes");
}

pub(super) async fn a_bus_that_is_killed_comes_back(server: Server) {
    const ROOMS: usize = 1_000;
    server.start().await;
    let (a, b) = (
        Node::join(server.place()).await,
        Node::join(server.place()).await,
    );
    let rooms: BTreeSet<_> = (0..ROOMS).map(|at| room(&at.to_string())).collect();
    for room in &rooms {
        b.adapter.interest(room, true);
    }
    for _ in &rooms {
        assert!(matches!(b.next().await, Item::Ready(_)));
    }

    for round in 0..2 {
        server.kill();
        for node in [&a, &b] {
            assert_eq!(node.next().await, Item::Lost, "round {round}");
            let refused = node.adapter.publish(Target::All, Bytes::new());
            assert_eq!(refused, Err(ClusterError::Down));
        }
        server.start().await;
        assert_eq!(a.next().await, Item::Connected);
        assert_eq!(b.next().await, Item::Connected);
        let mut ready = BTreeSet::new();
        while ready.len() < ROOMS {
            match b.next().await {
                Item::Ready(room) => assert!(ready.insert(room), "each is ready once"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ready, rooms);
        b.meet(&a).await;
        for room in &rooms {
            a.say(Target::Room(room), room.as_str());
        }
        let mut heard = BTreeSet::new();
        for _ in &rooms {
            assert!(heard.insert(b.heard().await), "each is heard once");
        }
        b.say(Target::Node(a.id), "well");
        assert_eq!(a.heard().await, "well");
    }
}

/// A connection that is there but dead, as behind a router that has forgotten it.
pub(super) async fn a_bus_that_does_not_answer_is_lost(server: Server) {
    server.start().await;
    let node = Node::join(server.place()).await;
    server.signal("STOP");
    // A node says every few seconds that it lives.
    node.say(Target::All, "beat");
    assert_eq!(node.next().await, Item::Lost);
    server.signal("CONT");
    // Redis sends a node its own parcels too, once it is awake.
    while node.next().await != Item::Connected {}
}

pub(super) async fn too_much_is_refused_and_nothing_else_is_lost(server: Server) {
    server.start().await;
    let a = Node::join(server.place_with("peer-data", 100_000)).await;
    let b = Node::join(server.place()).await;
    b.meet(&a).await;
    // Nothing is sent meanwhile: there is one thread, and it is here.
    let parcel = Bytes::from(vec![b'x'; 1_000]);
    let mut taken = 0;
    let refused = loop {
        match a.adapter.publish(Target::Node(b.id), parcel.clone()) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, ClusterError::Full);
    assert!((80..=100).contains(&taken), "{taken}");
    for _ in 0..taken {
        assert_eq!(b.heard().await.len(), 1_000);
    }
    while a.adapter.publish(Target::Node(b.id), Bytes::from("again")) == Err(ClusterError::Full) {
        tokio::task::yield_now().await;
    }
    assert_eq!(b.heard().await, "again");
}

pub(super) async fn applications_with_different_prefixes_do_not_hear_each_other(server: Server) {
    server.start().await;
    let mut nodes = Vec::new();
    for prefix in ["shop", "shop.eu", "Shop", "peer-data"] {
        nodes.push(Node::join(server.place_with(prefix, 1 << 20)).await);
        let newest = nodes.last().unwrap();
        newest.enter(&room("kitchen")).await;
    }
    for (at, node) in nodes.iter().enumerate() {
        node.say(Target::All, format!("all {at}"));
        node.say(Target::Room(&room("kitchen")), format!("room {at}"));
        for other in &nodes {
            node.say(Target::Node(other.id), format!("node {at}"));
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        let peer =
            Node::join(server.place_with(["shop", "shop.eu", "Shop", "peer-data"][at], 1 << 20))
                .await;
        peer.say(Target::Node(node.id), "end");
        // Redis sends a node its own words too.
        let own = format!(" {at}");
        for said in node.heard_before("end").await {
            assert!(said.ends_with(&own), "{said:?} is another's");
        }
    }
}

pub(super) async fn leaving_takes_no_longer_than_it_may(server: Server) {
    let early = Node::start(server.place()).await;
    let left = tokio::time::timeout(Duration::from_secs(30), early.adapter.stop());
    left.await.expect("there is nothing to wait for");

    server.start().await;
    let node = Node::join(server.place()).await;
    server.signal("STOP");
    while node
        .adapter
        .publish(Target::All, Bytes::from(vec![0; 100_000]))
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    let left = tokio::time::timeout(Duration::from_secs(30), node.adapter.stop());
    left.await.expect("it gives up in time");
    server.signal("CONT");
}

pub(super) async fn tls_and_a_password_let_in_who_has_them(server: Server) {
    let server = server.guarded();
    server.start().await;
    let stranger = Node::start(server.place()).await;
    let liar = Node::start(server.trusted_place("guess")).await;
    let (a, b) = (
        Node::join(server.trusted_place("secret")).await,
        Node::join(server.trusted_place("secret")).await,
    );
    b.meet(&a).await;
    a.say(Target::Node(b.id), "hello");
    assert_eq!(b.heard().await, "hello");
    // By then they have tried as well.
    for outsider in [stranger, liar] {
        let refused = outsider.adapter.publish(Target::All, Bytes::new());
        assert_eq!(refused, Err(ClusterError::Down));
        assert_eq!(outsider.inbox.pop(), None);
    }
}
