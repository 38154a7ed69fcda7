//! What differs where Redis is several servers.

use std::time::{Duration, Instant};

use super::server::Server;
use super::{Item, Node, room};

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
