//! A peer on any of the wires, seen from the application: signals, attachments and acks.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Frame, Packet, Polling, Revision, Site, Socket, eventually};

/// How a peer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Polling(Revision),
    Socket(Revision),
    Json,
}

impl Wire {
    pub(crate) const ALL: [Self; 5] = [
        Self::Polling(Revision::V3),
        Self::Polling(Revision::V4),
        Self::Socket(Revision::V3),
        Self::Socket(Revision::V4),
        Self::Json,
    ];

    /// Those on which a client can ask for an ack.
    pub(crate) const SOCKET_IO: [Self; 4] = [
        Self::Polling(Revision::V3),
        Self::Polling(Revision::V4),
        Self::Socket(Revision::V3),
        Self::Socket(Revision::V4),
    ];

    /// What the server calls it.
    pub(crate) fn spoken(self) -> peer_data_server::Wire {
        match self.revision() {
            Some(Revision::V3) => peer_data_server::Wire::SocketIo2,
            Some(Revision::V4) => peer_data_server::Wire::SocketIo4,
            None => peer_data_server::Wire::Json,
        }
    }

    fn revision(self) -> Option<Revision> {
        match self {
            Self::Polling(revision) | Self::Socket(revision) => Some(revision),
            Self::Json => None,
        }
    }
}

/// The room that most tests meet in.
pub(crate) const ROOM: &str = "r";

/// A peer in [`ROOM`], and one on the plain JSON wire that was there before.
pub(crate) async fn pair(site: &Site, wire: Wire) -> (Peer, Peer) {
    let mut other = Peer::join(site, Wire::Json, ROOM).await;
    let peer = Peer::join(site, wire, ROOM).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
    (peer, other)
}

/// A peer on each wire, all in one room, with nothing left to hear.
pub(crate) async fn everybody(site: &Site, room: &str) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for wire in Wire::ALL {
        let newcomer = Peer::join(site, wire, room).await;
        for peer in &mut peers {
            let heard = peer.signal().await;
            assert_eq!(
                heard["caller"]["id"], newcomer.id,
                "{:?} hears {heard}",
                peer.wire
            );
        }
        peers.push(newcomer);
    }
    peers
}

/// Asserts that nothing is on its way to any of them.
pub(crate) async fn all_quiet(site: &Site, peers: &mut [Peer]) {
    for peer in peers {
        peer.hears_nothing(site).await;
    }
}

/// The packet of a `message` event.
pub(crate) fn message(event: &Value) -> String {
    format!("42[\"message\",{event}]")
}

/// An event for everybody in a room.
pub(crate) fn event(kind: &str, room: &str, payload: impl Into<Value>) -> Value {
    let payload: Value = payload.into();
    json!({"type": kind, "caller": null, "callee": null, "room": {"id": room}, "payload": payload})
}

/// An event for one peer in a room.
pub(crate) fn event_to(callee: &str, kind: &str, room: &str, payload: impl Into<Value>) -> Value {
    let mut event = event(kind, room, payload);
    event["callee"] = json!({ "id": callee });
    event
}

/// A signal as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The event's text, byte for byte.
    pub(crate) raw: String,
    pub(crate) attachments: Vec<Vec<u8>>,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.raw).expect("well-formed JSON")
    }
}

/// One client that is connected.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) wire: Wire,
    /// Empty until the server has told it: on revision 3 that is with the ack of a CONNECT.
    pub(crate) id: String,
    line: Line,
    acks: u32,
    mail: VecDeque<Heard>,
}

#[derive(Debug)]
enum Line {
    Polling(Polling),
    Socket(Box<Socket>),
}

impl Peer {
    pub(crate) async fn connect(site: &Site, wire: Wire) -> Self {
        let (line, greeting) = match wire {
            Wire::Polling(revision) => {
                let (polling, greeting) = Polling::connect(site, revision).await;
                (Line::Polling(polling), greeting)
            }
            Wire::Socket(revision) => {
                let (socket, greeting) = Socket::connect(site, revision).await;
                (Line::Socket(Box::new(socket)), greeting)
            }
            Wire::Json => {
                let mut socket = Socket::open(site.address, "/peer-data").await;
                let greeting = socket.text().await;
                (Line::Socket(Box::new(socket)), greeting)
            }
        };
        let greeting: Value =
            serde_json::from_str(greeting.trim_start_matches("40")).unwrap_or_default();
        let id = match wire {
            Wire::Json => &greeting["payload"]["id"],
            _ => &greeting["sid"],
        };
        let id = id.as_str().unwrap_or_default().to_owned();
        Self {
            wire,
            id,
            line,
            acks: 0,
            mail: VecDeque::new(),
        }
    }

    /// A peer that is in a room.
    pub(crate) async fn join(site: &Site, wire: Wire, room: &str) -> Self {
        let mut peer = Self::connect(site, wire).await;
        peer.enter(site, room).await;
        peer
    }

    /// Sends CONNECT, and returns once that is done.
    pub(crate) async fn enter(&mut self, site: &Site, room: &str) {
        let connect = event("CONNECT", room, Value::Null);
        if self.wire == Wire::Json {
            self.send(&connect).await;
            let id = self.id.clone();
            eventually("membership", || site.members(room).contains(&id)).await;
        } else {
            let ack = self.ask(&connect).await;
            assert_eq!(ack["ok"], true, "{ack}");
            ack["id"].as_str().expect("an id").clone_into(&mut self.id);
        }
    }

    pub(crate) async fn send(&mut self, event: &Value) {
        self.send_raw(&event.to_string(), &[]).await;
    }

    /// Sends the text of an event as it is, with attachments.
    pub(crate) async fn send_raw(&mut self, event: &str, attachments: &[&[u8]]) {
        let text = match (self.wire, attachments.len()) {
            (Wire::Json, _) => event.to_owned(),
            (_, 0) => format!("42[\"message\",{event}]"),
            (_, count) => format!("45{count}-[\"message\",{event}]"),
        };
        self.send_packets(&text, attachments).await;
    }

    /// Sends an event and returns its ack; what else comes meanwhile is kept.
    pub(crate) async fn ask(&mut self, event: &Value) -> Value {
        self.ask_raw(&event.to_string()).await
    }

    pub(crate) async fn ask_raw(&mut self, event: &str) -> Value {
        assert_ne!(self.wire, Wire::Json, "plain JSON has no acks");
        self.acks += 1;
        let ack = self.acks;
        self.send_packets(&format!("42{ack}[\"message\",{event}]"), &[])
            .await;
        loop {
            let text = self.next_packet().await.text();
            if let Some(answer) = text.strip_prefix(&format!("43{ack}")) {
                let answer: Vec<Value> = serde_json::from_str(answer).expect("an array");
                return <[Value; 1]>::try_from(answer).expect("one argument")[0].clone();
            }
            let heard = self.complete(text).await;
            self.mail.push_back(heard);
        }
    }

    /// Sends a text packet and the attachments that it announces.
    pub(crate) async fn send_packets(&mut self, text: &str, attachments: &[&[u8]]) {
        match &mut self.line {
            Line::Polling(polling) => {
                let mut packets = vec![Packet::from(text)];
                packets.extend(attachments.iter().map(|data| Packet::from(*data)));
                // An event over the maximum is its sender's concern: the answer is not looked at.
                polling.post_packets(&packets).await;
            }
            Line::Socket(socket) => {
                socket.send(text).await;
                for data in attachments {
                    match self.wire.revision() {
                        Some(Revision::V3) => socket.send_binary(&[&[4], *data].concat()).await,
                        _ => socket.send_binary(data).await,
                    }
                }
            }
        }
    }

    /// The next signal.
    pub(crate) async fn hear(&mut self) -> Heard {
        if let Some(heard) = self.mail.pop_front() {
            return heard;
        }
        let text = self.next_packet().await.text();
        self.complete(text).await
    }

    /// The next signal, as JSON.
    pub(crate) async fn signal(&mut self) -> Value {
        self.hear().await.json()
    }

    /// Asserts that nothing is on its way to this peer: what the application says next, and has
    /// to wait its turn for, is what comes next.
    pub(crate) async fn hears_nothing(&mut self, site: &Site) {
        assert_eq!(
            site.tell(&self.id, "MARK", &json!(null)),
            1,
            "{:?} is gone",
            self.wire
        );
        let heard = self.signal().await;
        assert_eq!(heard["type"], "MARK", "{:?} hears {heard}", self.wire);
    }

    /// Asserts that the next signal is the departure of `peer` from `room`.
    pub(crate) async fn hears_departure(&mut self, peer: &str, room: &str) {
        let expected = format!(
            r#"{{"type":"DISCONNECT","caller":{{"id":"{peer}"}},"callee":null,"room":{{"id":"{room}"}},"payload":null}}"#
        );
        assert_eq!(self.hear().await.raw, expected, "{:?}", self.wire);
    }

    /// Cuts its connection without a word; a polling client does that in the middle of a POST,
    /// since a GET could be answered before it is cut.
    pub(crate) async fn vanish(self) {
        if let Line::Polling(polling) = &self.line {
            drop(polling.start_post(1).await);
        }
    }

    /// Sends what ends a connection because it is not the protocol.
    pub(crate) async fn blunder(&mut self) {
        match &mut self.line {
            Line::Polling(polling) => polling.post(&["abc"]).await,
            Line::Socket(socket) if self.wire == Wire::Json => socket.send_binary(b"x").await,
            Line::Socket(socket) => socket.send("abc").await,
        }
    }

    async fn complete(&mut self, text: String) -> Heard {
        let (raw, count) = match self.wire {
            Wire::Json => {
                let placeholders = text.matches(r#""_placeholder":true"#).count();
                (text, placeholders)
            }
            _ => unwrap_message(&text),
        };
        let mut attachments = Vec::new();
        for _ in 0..count {
            match self.next_packet().await {
                Packet::Binary(data) => attachments.push(data),
                Packet::Text(text) => panic!("{text} instead of an attachment"),
            }
        }
        Heard { raw, attachments }
    }

    /// What comes next besides heartbeats, which are answered: a test may take longer than they wait.
    async fn next_packet(&mut self) -> Packet {
        loop {
            let packet = self.any_packet().await;
            match packet {
                Some(Packet::Text(ping)) if ping == "2" => self.send_packets("3", &[]).await,
                Some(packet) => return packet,
                None => {}
            }
        }
    }

    /// None: a ping that the websocket itself answers.
    async fn any_packet(&mut self) -> Option<Packet> {
        let packet = match &mut self.line {
            Line::Polling(polling) => polling.packet().await,
            Line::Socket(socket) => match (socket.frame().await, self.wire.revision()) {
                (Frame::Ping, None) => return None,
                (Frame::Text(text), _) => text.into(),
                (Frame::Binary(data), Some(Revision::V3)) => {
                    data.strip_prefix(&[4]).expect("a message").into()
                }
                (Frame::Binary(data), _) => Packet::Binary(data),
                (other, _) => panic!("{other:?} instead of a packet"),
            },
        };
        Some(packet)
    }

    pub(crate) fn polling(&mut self) -> &mut Polling {
        match &mut self.line {
            Line::Polling(polling) => polling,
            Line::Socket(_) => panic!("{:?} does not poll", self.wire),
        }
    }

    pub(crate) fn socket(&mut self) -> &mut Socket {
        match &mut self.line {
            Line::Socket(socket) => socket,
            Line::Polling(_) => panic!("{:?} has no socket", self.wire),
        }
    }
}

/// The event of a `message` packet, and how many attachments follow.
fn unwrap_message(packet: &str) -> (String, usize) {
    let (head, event) = packet
        .split_once("[\"message\",")
        .unwrap_or_else(|| panic!("{packet} instead of a message"));
    let count = if head == "42" {
        Some(0)
    } else {
        let count = head
            .strip_prefix("45")
            .and_then(|head| head.strip_suffix('-'));
        count.and_then(|count| count.parse().ok())
    };
    let count = count.unwrap_or_else(|| panic!("{packet} instead of a message"));
    (event.strip_suffix(']').expect("an array").to_owned(), count)
}
