//! What every adapter has to do, tried on each with the real server behind it.
//!
//! The in-process bus is always tried. The others need their servers, so plain `cargo test` only names
//! them; `tests/run` installs those and runs the tests with `--ignored`.

#[cfg(any(feature = "nats", feature = "redis"))]
mod outages;
#[cfg(any(feature = "nats", feature = "redis"))]
mod server;
#[cfg(feature = "redis")]
mod shards;

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;

use super::{ClusterAdapter, Inbox, Item, MemoryBus, Target};
use crate::id::{NodeId, RoomId};

/// One node with its adapter.
struct Node {
    adapter: Box<dyn ClusterAdapter>,
    id: NodeId,
    inbox: Inbox,
}

impl Node {
    /// Started, but perhaps without a bus.
    async fn start(adapter: Box<dyn ClusterAdapter>) -> Self {
        let (inbox, inbound) = Inbox::new();
        let id = NodeId::random().unwrap();
        adapter.start(id, inbound).await.unwrap();
        Self { adapter, id, inbox }
    }

    /// Started and connected.
    async fn join(adapter: Box<dyn ClusterAdapter>) -> Self {
        let node = Self::start(adapter).await;
        assert_eq!(node.next().await, Item::Connected);
        node
    }

    async fn next(&self) -> Item {
        let filled = poll_fn(|cx| self.inbox.poll_filled(cx));
        let filled = tokio::time::timeout(Duration::from_secs(60), filled);
        filled.await.expect("something should come");
        self.inbox.pop().unwrap()
    }

    async fn heard(&self) -> String {
        match self.next().await {
            Item::Parcel(parcel) => String::from_utf8(parcel.to_vec()).unwrap(),
            other => panic!("{other:?} came where a parcel was awaited"),
        }
    }

    /// What comes before these words, or nothing but them.
    async fn heard_before(&self, last: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            match self.heard().await {
                said if said == last => return heard,
                said => heard.push(said),
            }
        }
    }

    fn say(&self, to: Target<'_>, text: impl Into<String>) {
        let text: String = text.into();
        self.adapter.publish(to, Bytes::from(text)).unwrap();
    }

    async fn enter(&self, room: &RoomId) {
        self.adapter.interest(room, true);
        assert_eq!(self.next().await, Item::Ready(room.clone()));
    }

    /// What this node has subscribed to is in effect for the other from now on, and the other way
    /// round: the bus has taken a parcel of each since. An adapter may say that it is ready before
    /// the bus has heard of it.
    async fn meet(&self, other: &Self) {
        for (from, to) in [(self, other), (other, self)] {
            let heard = async {
                assert_eq!(to.heard().await, "here");
            };
            tokio::pin!(heard);
            let mut again = tokio::time::interval(Duration::from_millis(20));
            loop {
                tokio::select! {
                    () = &mut heard => break,
                    _ = again.tick() => from.say(Target::Node(to.id), "here"),
                }
            }
            from.say(Target::Node(to.id), "enough");
            to.heard_before("enough").await;
        }
    }
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

async fn parcels_to_one_target_keep_their_order(place: impl Fn() -> Box<dyn ClusterAdapter>) {
    const COUNT: usize = 2_000;
    let (a, b) = (Node::join(place()).await, Node::join(place()).await);
    let kitchen = room("kitchen");
    b.enter(&kitchen).await;
    b.meet(&a).await;
    for number in 0..COUNT {
        a.say(Target::Node(b.id), format!("node {number}"));
        a.say(Target::Room(&kitchen), format!("room {number}"));
        a.say(Target::All, format!("all {number}"));
    }
    let mut heard = std::collections::BTreeMap::<String, Vec<usize>>::new();
    for _ in 0..3 * COUNT {
        let said = b.heard().await;
        let (target, number) = said.split_once(' ').unwrap();
        let numbers = heard.entry(target.to_owned()).or_default();
        numbers.push(number.parse().unwrap());
    }
    assert_eq!(heard.len(), 3);
    for (target, numbers) in heard {
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "{target}");
    }
}

async fn no_parcel_reaches_a_node_without_interest(place: impl Fn() -> Box<dyn ClusterAdapter>) {
    let (a, b, c) = (
        Node::join(place()).await,
        Node::join(place()).await,
        Node::join(place()).await,
    );
    let (kitchen, cellar) = (room("kitchen"), room("cellar"));
    b.enter(&kitchen).await;
    c.enter(&cellar).await;
    b.meet(&a).await;
    c.meet(&a).await;
    for number in 0..100 {
        a.say(Target::Room(&kitchen), format!("{number}"));
        a.say(Target::Node(b.id), "b");
    }
    a.say(Target::All, "end");
    for _ in 0..201 {
        b.heard().await;
    }
    assert_eq!(c.heard_before("end").await, [""; 0]);

    // Without interest any more, it hears of the room no more.
    b.adapter.interest(&kitchen, false);
    let mut rounds = 0;
    loop {
        a.say(Target::Room(&kitchen), "late");
        a.say(Target::Node(b.id), "round");
        // What is to the node may overtake what is to the room, so one round more is waited for.
        let late = b.heard_before("round").await.len();
        rounds = if late == 0 { rounds + 1 } else { 0 };
        if rounds == 3 {
            break;
        }
    }
    for _ in 0..100 {
        a.say(Target::Room(&kitchen), "late");
    }
    a.say(Target::Node(b.id), "end");
    assert_eq!(b.heard_before("end").await, [""; 0]);
}

async fn a_room_may_be_called_anything(place: impl Fn() -> Box<dyn ClusterAdapter>) {
    let longest = " ".repeat(256);
    let names = [
        ">", "*", ".", "..", "a.b", "a.*", "a.>", "a b", "\r\n", "\0", "é", "🦀", "?", "[a]",
        "{x}", "PUBLISH", "all", &longest,
    ];
    let (a, b, c) = (
        Node::join(place()).await,
        Node::join(place()).await,
        Node::join(place()).await,
    );
    // Each other name at each of them: what one hears must not be the other's.
    for (at, name) in names.iter().enumerate() {
        let node = if at % 2 == 0 { &b } else { &c };
        node.enter(&room(name)).await;
    }
    b.meet(&a).await;
    c.meet(&a).await;
    for name in names {
        a.say(Target::Room(&room(name)), name);
    }
    for (node, first) in [(&b, 0), (&c, 1)] {
        let mut heard = Vec::new();
        let expected: Vec<_> = names.iter().skip(first).step_by(2).collect();
        for _ in &expected {
            heard.push(node.heard().await);
        }
        for name in expected {
            assert!(heard.iter().any(|said| said == name), "{name:?}");
        }
        a.say(Target::Node(node.id), "end");
        assert_eq!(node.heard_before("end").await, [""; 0]);
    }
}

async fn interest_may_come_and_go_in_a_moment(place: impl Fn() -> Box<dyn ClusterAdapter>) {
    let (a, b) = (Node::join(place()).await, Node::join(place()).await);
    let kitchen = room("kitchen");
    for _ in 0..20 {
        for _ in 0..5 {
            b.adapter.interest(&kitchen, true);
            b.adapter.interest(&kitchen, false);
        }
        b.adapter.interest(&kitchen, true);
        tokio::task::yield_now().await;
    }
    // Of rooms that are asked for together, either may be told of first; of this one before the next.
    for name in ["beside", "last"] {
        b.adapter.interest(&room(name), true);
        while b.next().await != Item::Ready(room(name)) {}
    }
    b.meet(&a).await;
    a.say(Target::Room(&kitchen), "once");
    a.say(Target::Room(&room("last")), "last");
    let mut heard = Vec::new();
    while heard.len() < 2 {
        if let Item::Parcel(parcel) = b.next().await {
            heard.push(parcel);
        }
    }
    heard.sort();
    assert_eq!(heard, ["last", "once"]);
    a.say(Target::Node(b.id), "end");
    assert_eq!(b.heard_before("end").await, [""; 0]);
}

async fn after_stop_nothing_is_heard_or_said(place: impl Fn() -> Box<dyn ClusterAdapter>) {
    let (a, b) = (Node::join(place()).await, Node::join(place()).await);
    b.meet(&a).await;
    for number in 0..500 {
        a.say(Target::Node(b.id), format!("{number}"));
    }
    a.adapter.stop().await;
    for number in 0..500 {
        assert_eq!(b.heard().await, format!("{number}"));
    }
    assert!(a.adapter.publish(Target::All, Bytes::new()).is_err());
    b.adapter.stop().await;
}

#[tokio::test]
async fn the_memory_bus() {
    let bus = MemoryBus::new;
    let place = |bus: MemoryBus| move || -> Box<dyn ClusterAdapter> { Box::new(bus.node()) };
    parcels_to_one_target_keep_their_order(place(bus())).await;
    no_parcel_reaches_a_node_without_interest(place(bus())).await;
    a_room_may_be_called_anything(place(bus())).await;
    interest_may_come_and_go_in_a_moment(place(bus())).await;
    after_stop_nothing_is_heard_or_said(place(bus())).await;
}

/// The same and more for a bus with a server of its own.
#[cfg(any(feature = "nats", feature = "redis"))]
macro_rules! with_server {
    ($bus:ident $server:expr, $feature:literal $(, $more:ident)*) => {
        #[cfg(feature = $feature)]
        mod $bus {
            use super::server::Server;

            with_server! { @tests $server;
                parcels_to_one_target_keep_their_order no_parcel_reaches_a_node_without_interest
                a_room_may_be_called_anything interest_may_come_and_go_in_a_moment
                after_stop_nothing_is_heard_or_said
            }
            with_server! { @outages $server;
                a_node_starts_before_its_bus a_bus_that_is_killed_comes_back
                a_bus_that_does_not_answer_is_lost too_much_is_refused_and_nothing_else_is_lost
                applications_with_different_prefixes_do_not_hear_each_other
                leaving_takes_no_longer_than_it_may $($more)*
            }
        }
    };
    (@tests $server:expr; $($test:ident)*) => {$(
        #[tokio::test]
        #[ignore = "needs a real server: run tests/run"]
        async fn $test() {
            let server = $server;
            server.start().await;
            super::$test(|| server.place()).await;
        }
    )*};
    (@outages $server:expr; $($test:ident)*) => {$(
        #[tokio::test]
        #[ignore = "needs a real server: run tests/run"]
        async fn $test() {
            super::outages::$test($server).await;
        }
    )*};
}

#[cfg(any(feature = "nats", feature = "redis"))]
with_server!(nats Server::nats(), "nats", tls_and_a_password_let_in_who_has_them);
#[cfg(any(feature = "nats", feature = "redis"))]
with_server!(redis Server::redis(), "redis", tls_and_a_password_let_in_who_has_them);
#[cfg(any(feature = "nats", feature = "redis"))]
with_server!(redis_cluster Server::redis_cluster(), "redis");
