//! Long-polling through a proxy that knows of no sessions: each request may come to another node.

use std::time::Duration;

use crate::support::{
    Exchange, Node, Peer, ROOM, Request, Revision, Socket, Wire, cluster, event, event_to,
    eventually, id, room, within,
};
use peer_data_server::{CloseReason, LifecycleEvent};
use serde_json::Value;

#[tokio::test]
async fn long_polling_needs_no_sticky_sessions() {
    let (_bus, nodes) = cluster::<3>().await;
    let sites = [&nodes[0].site, &nodes[1].site, &nodes[2].site];
    for revision in Revision::BOTH {
        let mut ann = Peer::connect(&nodes[0].site, Wire::Polling(revision)).await;
        let mut ben = Peer::connect(&nodes[1].site, Wire::Polling(revision)).await;
        for (peer, node) in [(&mut ann, &nodes[0]), (&mut ben, &nodes[1])] {
            peer.polling().go_round(&sites);
            let ack = peer.ask(&event("CONNECT", ROOM, Value::Null)).await;
            ack["id"].as_str().unwrap().clone_into(&mut peer.id);
            assert!(peer.id.starts_with(node.id.as_str()), "{ack}");
        }
        assert_eq!(ann.signal().await["caller"]["id"], ben.id);
        let long = "x".repeat(600_000);
        for round in 0..6 {
            ann.send(&event_to(&ben.id, "OFFER", ROOM, round)).await;
            assert_eq!(ben.signal().await["payload"], round);
            ben.send(&event_to(&ann.id, "ANSWER", ROOM, long.clone()))
                .await;
            assert_eq!(ann.signal().await["payload"], long);
        }
        let binary = r#"{"type":"CHAT","room":{"id":"r"},"payload":{"_placeholder":true,"num":0}}"#;
        ann.send_raw(binary, &[b"\x00\xff"]).await;
        assert_eq!(ben.hear().await.attachments, [b"\x00\xff"]);
        assert!(nodes[2].server.disconnect(&id(&ann)));
        assert!(nodes[2].server.disconnect(&id(&ben)));
        eventually("both are gone", || {
            nodes[..2].iter().all(|node| node.server.peer_count() == 0)
        })
        .await;
    }
    assert!(nodes[0].server.members(&room()).is_empty());
}

#[tokio::test]
async fn a_poll_that_its_client_cuts_ends_the_session_at_its_node() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Polling(Revision::V4)).await;
    let mut lifecycle = nodes[0].server.lifecycle();
    ann.polling().go_round(&[&nodes[1].site]);
    let received = bus.received_by(nodes[0].id);
    let poll = ann.polling().start_get().await;
    eventually("the poll has come to her node", || {
        bus.received_by(nodes[0].id) > received
    })
    .await;
    // Her node has read it once it has answered something that came later.
    nodes[1].server.find_members(&room()).await;
    drop(poll);
    loop {
        match within("the end of the session", lifecycle.next()).await {
            Some(LifecycleEvent::Disconnected { peer, reason, .. }) => {
                assert_eq!(peer.id(), id(&ann));
                assert_eq!(reason, CloseReason::TransportLost);
                break;
            }
            Some(LifecycleEvent::Left { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    // And whoever has no session at any node is told so by all.
    for node in &nodes {
        let answer = Request::get(&ann.polling().target());
        answer.send(node.site.address).await.is_unknown_session();
    }
}

#[tokio::test]
async fn a_session_moves_to_a_websocket_at_its_own_node_only() {
    let (_bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Polling(Revision::V4)).await;
    let upgrade = ann.polling().upgrade_target();
    assert_eq!(
        Socket::try_open(nodes[1].site.address, &upgrade)
            .await
            .err(),
        Some(400)
    );
    // Polling goes on.
    ann.polling().go_round(&[&nodes[1].site]);
    let answer = ann.ask(&event("CHAT", ROOM, "x")).await;
    assert_eq!(answer["ok"], true);
    assert!(
        Socket::try_open(nodes[0].site.address, &upgrade)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn polls_for_a_node_that_dies_end() {
    let (_bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Polling(Revision::V4)).await;
    ann.polling().go_round(&[&nodes[1].site]);
    let mut poll = ann.polling().start_get().await;
    nodes[1].site.catch_up().await;
    nodes[0].server.leave_cluster().await;
    let answer = within("an answer", poll.response()).await;
    answer.is_unknown_session();
    let answer = Request::get(&ann.polling().target());
    answer
        .send(nodes[1].site.address)
        .await
        .is_unknown_session();
}

/// Ann polls by way of another node than hers, and Ben is in her room.
async fn far_poll(nodes: &[Node; 2]) -> (Peer, Exchange, Peer) {
    let mut ann = nodes[0].join(Wire::Polling(Revision::V4)).await;
    let ben = nodes[0].join(Wire::Json).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    ann.polling().go_round(&[&nodes[1].site]);
    let poll = ann.polling().start_get().await;
    nodes[1].site.catch_up().await;
    // Her node has read it once it has answered something that came later.
    nodes[1].server.find_members(&room()).await;
    (ann, poll, ben)
}

#[tokio::test]
async fn a_session_whose_answer_is_lost_ends_and_its_room_hears_of_it() {
    let (bus, nodes) = cluster::<2>().await;
    let (ann, _poll, mut ben) = far_poll(&nodes).await;
    bus.fill(nodes[0].id, true);
    ben.send(&event("CHAT", ROOM, "lost")).await;
    ben.hears_departure(&ann.id, ROOM).await;
    assert_eq!(nodes[0].server.peer_count(), 1);
}

#[tokio::test]
async fn a_node_that_is_shut_down_lets_polls_for_others_go() {
    let (_bus, nodes) = cluster::<2>().await;
    let (mut ann, mut poll, mut ben) = far_poll(&nodes).await;
    let open = nodes[1].server.shutdown(Duration::from_secs(30)).await;
    assert_eq!(open, 0);
    let answer = within("an answer", poll.response()).await;
    assert_eq!((answer.status, answer.text()), (200, "6"));
    // She lives on at her own node.
    ann.polling().go_round(&[&nodes[0].site]);
    ben.send(&event_to(&ann.id, "OFFER", ROOM, "still here?"))
        .await;
    assert_eq!(ann.signal().await["payload"], "still here?");
    ben.hears_nothing(&nodes[0].site).await;
}

#[tokio::test]
async fn polls_end_with_the_bus_that_they_come_by() {
    let (bus, nodes) = cluster::<2>().await;
    let (ann, mut poll, mut ben) = far_poll(&nodes).await;
    bus.go_down();
    within("an answer", poll.response())
        .await
        .is_unknown_session();
    ben.hears_departure(&ann.id, ROOM).await;
}

#[tokio::test]
async fn polls_end_if_one_of_their_two_nodes_was_away() {
    let (bus, nodes) = cluster::<2>().await;
    for away in &nodes {
        let (ann, mut poll, mut ben) = far_poll(&nodes).await;
        bus.disconnect(away.id);
        eventually("it has noticed", || {
            !away.server.cluster_status().unwrap().connected
        })
        .await;
        bus.connect(away.id);
        within("an answer", poll.response())
            .await
            .is_unknown_session();
        ben.hears_departure(&ann.id, ROOM).await;
        drop(ben);
        eventually("all are gone", || nodes[0].server.peer_count() == 0).await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_where_it_comes() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Polling(Revision::V4)).await;
    ann.polling().go_round(&[&nodes[1].site]);
    let published = bus.published();
    let answer = ann.polling().post_body("x".repeat(1_000_001)).await;
    assert_eq!(answer.status, 413);
    assert!(bus.published() - published <= 2, "beats at most");
}

#[tokio::test]
async fn whoever_asks_for_nobodys_sessions_leaves_the_bus_to_others() {
    let (bus, nodes) = cluster::<2>().await;
    let mut ann = nodes[0].join(Wire::Polling(Revision::V4)).await;
    let guess = guess(&nodes[0], &ann.polling().target());
    let padding = "x".repeat(60_000);
    let guess = format!("{guess}&x={padding}");
    let ask = async || Request::get(&guess).start(nodes[1].site.address).await;
    // Nobody answers: each question goes on waiting.
    bus.split(&[nodes[0].id]);
    let mut waiting = Vec::new();
    for _ in 0..(8 << 20) / padding.len() {
        waiting.push(ask().await);
    }
    nodes[1].site.catch_up().await;
    assert_eq!(ask().await.response().await.status, 503);

    bus.heal();
    drop(waiting);
    let answer = within("those who have hung up to give way", async {
        loop {
            let answer = ask().await.response().await;
            if answer.status != 503 {
                return answer;
            }
        }
    });
    answer.await.is_unknown_session();
}

/// The target of a client that knows of a session's node and nothing else.
fn guess(node: &Node, target: &str) -> String {
    let (head, sid) = target.split_once("sid=").expect("a session");
    let (node, secret) = sid.split_at(node.id.as_str().len());
    let secret: String = secret.chars().rev().collect();
    format!("{head}sid={node}{secret}")
}

#[tokio::test]
async fn a_long_body_comes_only_for_a_session_that_its_node_knows() {
    let (bus, nodes) = cluster::<2>().await;
    for revision in Revision::BOTH {
        let mut ann = nodes[0].join(Wire::Polling(revision)).await;
        ann.polling().go_round(&[&nodes[1].site]);
        let target = ann.polling().target();
        let begin = async |target: &str| {
            let request = Request::post(target, vec![b'4'; 20_000]).announce(600_000);
            request.start(nodes[1].site.address).await
        };
        // Her own waits for the rest.
        let received = bus.received_by(nodes[0].id);
        let mut hers = begin(&target).await;
        eventually("her node is asked", || {
            bus.received_by(nodes[0].id) > received
        })
        .await;
        // It has answered once it has answered something that came later.
        nodes[1].server.find_members(&room()).await;

        // Somebody's who knows of her node and nothing else does not.
        begin(&guess(&nodes[0], &target))
            .await
            .response()
            .await
            .is_unknown_session();
        // Nor a second one of hers, while the first is coming.
        assert_eq!(begin(&target).await.response().await.status, 503);

        hers.write(&vec![b'4'; 580_000]).await;
        hers.response().await.is_ok();
    }
}
