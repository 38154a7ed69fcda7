//! What clients are answered later, and that they are read meanwhile: on a bus that can stand still,
//! and at times that are set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PeerData;
use crate::clock;
use crate::cluster::MemoryBus;
use crate::id::PeerId;
use crate::limits::CLUSTER_OWED_OUTCOMES;
use crate::server::simulation::{Socket, ask, frame};

/// A Socket.IO client.
struct Guest {
    socket: Socket,
    /// The numbers of its answers, and what they say.
    answers: Vec<(u32, String)>,
}

impl Guest {
    fn of(server: &PeerData) -> Self {
        let query = "EIO=4&transport=websocket";
        let socket = Socket::new(ask(server, "GET", "/socket.io/", query, true)).unwrap();
        let answers = Vec::new();
        let mut guest = Self { socket, answers };
        guest.send(["40".to_owned()]);
        guest
    }

    /// Sends them in one read.
    fn send(&mut self, packets: impl IntoIterator<Item = String>) {
        let packets = packets.into_iter();
        let frames = packets.map(|packet| frame(0x81, packet.as_bytes(), [1, 2, 3, 4]));
        self.socket.send(vec![frames.collect::<Vec<_>>().concat()]);
        self.hear();
    }

    fn hear(&mut self) {
        self.socket.turn(usize::MAX);
        while let Some((_, text)) = self.socket.frame() {
            let text = String::from_utf8(text).unwrap();
            if let Some(answer) = text.strip_prefix("43") {
                let (number, body) = answer.split_once('[').unwrap();
                self.answers
                    .push((number.parse().unwrap(), body.to_owned()));
            }
        }
    }

    /// The numbers of the answers since the last look.
    fn answered(&mut self) -> Vec<u32> {
        self.hear();
        self.answers.drain(..).map(|(number, _)| number).collect()
    }
}

fn say(number: u32, kind: &str, room: &str) -> String {
    format!(r#"42{number}["message",{{"type":"{kind}","room":{{"id":"{room}"}}}}]"#)
}

fn say_to(number: usize, callee: &PeerId, room: &str) -> String {
    format!(
        r#"42{number}["message",{{"type":"CANDIDATE","room":{{"id":"{room}"}},"callee":{{"id":"{callee}"}}}}]"#
    )
}

/// Two nodes that know each other, at a time that stands still: nobody loses patience.
async fn two_nodes(bus: &MemoryBus) -> [PeerData; 2] {
    clock::set(Instant::now());
    let node = || PeerData::builder().cluster(bus.node()).build().unwrap();
    let nodes = [node(), node()];
    for node in &nodes {
        while node.cluster_status().unwrap().others == 0 {
            tokio::task::yield_now().await;
        }
    }
    nodes
}

/// As much time goes by as nodes have for their answers.
fn lose_patience(server: &PeerData) {
    let later = clock::now() + Duration::from_secs(3);
    clock::set(later);
    server.cluster_turn(server.cluster().unwrap(), later);
}

#[tokio::test]
async fn a_client_is_read_on_while_the_answers_to_its_joins_wait() {
    let bus = MemoryBus::new();
    // The other has nobody in these rooms, and so does not answer.
    let [server, _other] = two_nodes(&bus).await;
    let mut guest = Guest::of(&server);
    guest.send([
        say(1, "CONNECT", "a"),
        say(2, "CONNECT", "b"),
        say(3, "CHAT", "a"),
    ]);
    assert_eq!(guest.answered(), [3]);
    // Who leaves is owed the answer to its coming before that to its going.
    guest.send([say(4, "DISCONNECT", "b"), say(5, "CHAT", "a")]);
    assert_eq!(guest.answered(), [2, 4, 5]);
    // Whoever repeats itself waits.
    guest.send([say(6, "CONNECT", "a"), say(7, "CHAT", "a")]);
    assert!(guest.answered().is_empty());
    lose_patience(&server);
    assert_eq!(guest.answered(), [1, 6, 7]);
}

#[tokio::test]
async fn an_answer_names_those_at_other_nodes_once_they_are_known() {
    let bus = MemoryBus::new();
    let [server, other] = two_nodes(&bus).await;
    let published = bus.published();
    let mut ben = Guest::of(&other);
    ben.send([say(1, "CONNECT", "a")]);
    // He is there first, and need not be announced to her.
    while bus.published() == published {
        tokio::task::yield_now().await;
    }
    let ben = other.peers()[0].id();
    bus.pause();
    let mut ann = Guest::of(&server);
    ann.send([say(1, "CONNECT", "a"), say(2, "CHAT", "a")]);
    assert_eq!(ann.answered(), [2]);
    bus.resume();
    while ann.answers.is_empty() {
        tokio::task::yield_now().await;
        ann.hear();
    }
    let (number, said) = &ann.answers[0];
    assert_eq!(*number, 1);
    assert!(said.contains(ben.as_str()), "{said}");
}

#[tokio::test]
async fn who_is_gone_is_owed_nothing() {
    let bus = MemoryBus::new();
    let [server, _other] = two_nodes(&bus).await;
    let mut guest = Guest::of(&server);
    guest.send([say(1, "CONNECT", "a")]);
    let peer = server.peers()[0].id();
    let client = Arc::downgrade(&server.inner.broker.mailbox(&peer).unwrap());
    let mut neighbour = Guest::of(&server);
    neighbour.send([say(1, "CONNECT", "a")]);
    assert!(server.disconnect(&peer));
    drop(guest);
    assert_eq!(client.strong_count(), 0);
    lose_patience(&server);
    assert_eq!(neighbour.answered(), [1]);
}

#[tokio::test]
async fn a_node_that_leaves_the_others_gives_what_it_owes() {
    let bus = MemoryBus::new();
    let [server, _other] = two_nodes(&bus).await;
    let mut guest = Guest::of(&server);
    guest.send([say(1, "CONNECT", "a")]);
    assert!(guest.answered().is_empty());
    server.leave_cluster().await;
    assert_eq!(guest.answered(), [1]);
}

/// A node, another one that says nothing, and a client in a room of the first.
async fn beside_a_silent_node() -> (MemoryBus, [PeerData; 2], Guest) {
    let bus = MemoryBus::new();
    let nodes = two_nodes(&bus).await;
    let mut ann = Guest::of(&nodes[0]);
    ann.send([say(1, "CONNECT", "a")]);
    let published = bus.published();
    while bus.published() == published {
        tokio::task::yield_now().await;
    }
    lose_patience(&nodes[0]);
    assert_eq!(ann.answered(), [1]);
    bus.pause();
    (bus, nodes, ann)
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_no_obstacle_to_what_is_said_to_others() {
    let (bus, nodes, mut ann) = beside_a_silent_node().await;
    let gone = PeerId::random_at(nodes[1].node()).unwrap();
    let candidates: Vec<_> = (2..12).map(|number| say_to(number, &gone, "a")).collect();
    ann.send(candidates.iter().cloned());
    ann.send([say(12, "CHAT", "a")]);
    assert_eq!(ann.answered(), [12]);
    lose_patience(&nodes[0]);
    ann.hear();
    let mut answers = std::mem::take(&mut ann.answers);
    answers.sort();
    let numbers: Vec<_> = answers.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (2..12).collect::<Vec<_>>());
    assert!(answers.iter().all(|(_, said)| said.contains("busy")));

    // It comes to itself.
    ann.send(candidates);
    bus.resume();
    while ann.answers.len() < 10 {
        tokio::task::yield_now().await;
        ann.hear();
    }
    let answers = std::mem::take(&mut ann.answers);
    assert!(answers.is_sorted_by_key(|(number, _)| *number), "in order");
    assert!(
        answers
            .iter()
            .all(|(_, said)| said.contains("no_such_peer"))
    );
}

#[tokio::test]
async fn so_many_signals_wait_for_a_node_and_one_more_in_line() {
    let (_bus, nodes, mut ann) = beside_a_silent_node().await;
    let gone = PeerId::random_at(nodes[1].node()).unwrap();
    let candidates = (0..CLUSTER_OWED_OUTCOMES).map(|number| say_to(1_000 + number, &gone, "a"));
    ann.send(candidates);
    ann.send([say(2, "CHAT", "a")]);
    assert_eq!(ann.answered(), [2]);
    ann.send([say_to(3, &gone, "a"), say(4, "CHAT", "a")]);
    assert!(ann.answered().is_empty());
    lose_patience(&nodes[0]);
    let answered = ann.answered();
    assert_eq!(answered.len(), CLUSTER_OWED_OUTCOMES + 2);
    assert!(answered.ends_with(&[3, 4]), "{answered:?}");
}

#[tokio::test]
async fn a_bus_that_is_lost_answers_for_those_behind_it() {
    let (bus, nodes, mut ann) = beside_a_silent_node().await;
    let gone = PeerId::random_at(nodes[1].node()).unwrap();
    ann.send([say_to(2, &gone, "a")]);
    assert!(ann.answered().is_empty());
    bus.go_down();
    while ann.answers.is_empty() {
        tokio::task::yield_now().await;
        ann.hear();
    }
    assert!(ann.answers[0].1.contains("busy"), "{:?}", ann.answers);
}
