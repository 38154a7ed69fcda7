//! What differs where Redis is several servers.

use std::time::{Duration, Instant};

use super::server::Server;
use super::{Item, Node, Target, room};

#[tokio::test]
#[ignore = "needs a real server: run tests/run"]
async fn each_channel_is_at_one_of_the_servers() {
    let server = Server::redis_cluster();
    server.start().await;
    let node = Node::join(server.place()).await;
    let rooms: Vec<_> = (0..60).map(|number| room(&number.to_string())).collect();
    for room in &rooms {
        node.adapter.interest(room, true);
    }
    for _ in &rooms {
        assert!(matches!(node.next().await, Item::Ready(_)));
    }
    // Those of the rooms, of the node, and of all.
    let [one, two, three] = server.channels("shardchannels");
    assert_eq!(one + two + three, 62);
    for channels in [one, two, three] {
        // By chance it would be as few once in 10,000,000 runs.
        assert!(channels > 3, "{channels}");
    }
    assert_eq!(server.channels("channels"), [0, 0, 0]);
    for room in &rooms {
        node.adapter.interest(room, false);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.channels("shardchannels").iter().sum::<usize>() > 2 {
        assert!(Instant::now() < deadline, "nobody wants them");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.adapter.stop().await;
}

#[tokio::test]
#[ignore = "needs a real server: run tests/run"]
async fn a_channel_that_moves_is_subscribed_to_where_it_is_then() {
    let server = Server::redis_cluster();
    server.start().await;
    let (a, b) = (
        Node::join(server.place()).await,
        Node::join(server.place()).await,
    );
    let kitchen = room("kitchen");
    b.enter(&kitchen).await;
    b.meet(&a).await;
    // Its subscription there ends and nothing else does: the server says so, and it has to hear that.
    server.move_channel(b.id.as_str());
    assert_eq!(b.next().await, Item::Lost);
    assert_eq!(b.next().await, Item::Connected);
    assert_eq!(b.next().await, Item::Ready(kitchen.clone()));
    // The other is told when it publishes there, and connects anew.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let published = a.adapter.publish(Target::Node(b.id), "again".into());
        let heard = tokio::time::timeout(Duration::from_millis(100), b.heard()).await;
        if published.is_ok() && heard.is_ok_and(|said| said == "again") {
            break;
        }
        assert!(Instant::now() < deadline, "it should be heard");
    }
    a.adapter.stop().await;
    b.adapter.stop().await;
}
