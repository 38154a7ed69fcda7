//! A long-polling client of either revision, and its payloads.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Exchange, Request, Response, Revision, Site};

/// An Engine.IO packet. Text begins with its digit; binary is data alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Text(String),
    Binary(Vec<u8>),
}

impl From<&str> for Packet {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Packet {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Packet {
    fn from(data: &[u8]) -> Self {
        Self::Binary(data.to_vec())
    }
}

impl Packet {
    #[track_caller]
    pub(crate) fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Binary(data) => panic!("binary instead of text: {data:?}"),
        }
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Polling {
    /// Requests go to each of these in turns.
    addresses: Vec<SocketAddr>,
    turn: AtomicUsize,
    pub(crate) revision: Revision,
    pub(crate) sid: String,
    extra: String,
    inbox: VecDeque<Packet>,
}

impl Polling {
    /// A session just opened; `extra` is added to every query.
    pub(crate) async fn open(site: &Site, revision: Revision, extra: &str) -> Self {
        let mut client = Self {
            addresses: vec![site.address],
            turn: AtomicUsize::new(0),
            revision,
            sid: String::new(),
            extra: extra.to_owned(),
            inbox: VecDeque::new(),
        };
        let opened = client.get().await;
        assert_eq!(opened.status, 200, "{opened:?}");
        client.inbox.extend(decode(revision, &opened));
        let open = client.inbox.pop_front().expect("an open packet").text();
        let open: Value = serde_json::from_str(&open[1..]).expect("JSON");
        open["sid"]
            .as_str()
            .expect("a sid")
            .clone_into(&mut client.sid);
        client
    }

    /// A session that is connected to `/`, and its answer to that: `40` or `40{"sid":..}`.
    pub(crate) async fn connect(site: &Site, revision: Revision) -> (Self, String) {
        let mut client = Self::open(site, revision, "").await;
        if revision == Revision::V4 {
            client.post(&["40"]).await;
        }
        let connected = client.text().await;
        assert!(connected.starts_with("40"), "{connected}");
        (client, connected)
    }

    /// Sends each request to another of these, as a proxy might that knows of no sessions.
    pub(crate) fn go_round(&mut self, sites: &[&Site]) {
        self.addresses = sites.iter().map(|site| site.address).collect();
    }

    fn address(&self) -> SocketAddr {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.addresses[turn % self.addresses.len()]
    }

    /// Where this session is requested.
    pub(crate) fn target(&self) -> String {
        let number = self.revision.number();
        let sid = match &*self.sid {
            "" => String::new(),
            sid => format!("&sid={sid}"),
        };
        format!(
            "/socket.io/?EIO={number}&transport=polling{sid}{}",
            self.extra
        )
    }

    /// Where a websocket can take this session over.
    pub(crate) fn upgrade_target(&self) -> String {
        self.target()
            .replace("transport=polling", "transport=websocket")
    }

    pub(crate) async fn get(&self) -> Response {
        Request::get(&self.target()).send(self.address()).await
    }

    /// A GET on its way, to be answered later.
    pub(crate) async fn start_get(&self) -> Exchange {
        Request::get(&self.target()).start(self.address()).await
    }

    /// Sends text packets in one POST.
    pub(crate) async fn post(&self, packets: &[&str]) {
        let packets: Vec<_> = packets.iter().map(|text| Packet::from(*text)).collect();
        self.post_packets(&packets).await;
    }

    /// Sends packets in one POST of text; what is binary goes as base64.
    pub(crate) async fn post_packets(&self, packets: &[Packet]) {
        self.post_body(encode(self.revision, packets)).await.is_ok();
    }

    /// Sends a body as text.
    pub(crate) async fn post_body(&self, body: impl Into<Vec<u8>>) -> Response {
        Request::post(&self.target(), body)
            .send(self.address())
            .await
    }

    /// Sends a body as bytes.
    pub(crate) async fn post_octets(&self, body: Vec<u8>) -> Response {
        Request::post(&self.target(), body)
            .header("Content-Type", "application/octet-stream")
            .send(self.address())
            .await
    }

    /// A POST whose body, of that length, the server has begun to wait for.
    pub(crate) async fn start_post(&self, length: usize) -> Exchange {
        let post = Request::post(&self.target(), "").announce(length);
        let mut post = post
            .header("Expect", "100-continue")
            .start(self.address())
            .await;
        assert_eq!(post.response().await.status, 100);
        post
    }

    /// The next packet, polled for as often as it takes.
    pub(crate) async fn packet(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return packet;
            }
            let answer = self.get().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            self.inbox.extend(decode(self.revision, &answer));
        }
    }

    /// The next packet, which is text.
    pub(crate) async fn text(&mut self) -> String {
        self.packet().await.text()
    }

    /// Takes the packets of an answer that was read elsewhere.
    pub(crate) fn take(&mut self, answer: &Response) {
        assert_eq!(answer.status, 200, "{answer:?}");
        self.inbox.extend(decode(self.revision, answer));
    }

    /// What was received and not yet taken.
    pub(crate) fn drain(&mut self) -> Vec<Packet> {
        self.inbox.drain(..).collect()
    }

    /// Polls until the server has ended the session; it may say so, or know it no more.
    pub(crate) async fn ended(&mut self) {
        loop {
            let answer = self.get().await;
            if answer.status == 400 {
                return answer.is_unknown_session();
            }
            self.take(&answer);
            if self.drain().contains(&"1".into()) {
                return self.get().await.is_unknown_session();
            }
        }
    }
}

/// How many units JavaScript counts.
pub(crate) fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Packets as the text of one payload.
pub(crate) fn encode(revision: Revision, packets: &[Packet]) -> String {
    let mark = match revision {
        Revision::V3 => "b4",
        Revision::V4 => "b",
    };
    let texts = packets.iter().map(|packet| match packet {
        Packet::Text(text) => text.clone(),
        Packet::Binary(data) => mark.to_owned() + &STANDARD.encode(data),
    });
    match revision {
        Revision::V3 => {
            let framed = texts.map(|text| format!("{}:{text}", utf16(&text)));
            framed.collect::<Vec<_>>().concat()
        }
        Revision::V4 => texts.collect::<Vec<_>>().join("\x1e"),
    }
}

/// Packets as one binary payload of revision 3.
pub(crate) fn encode_binary(packets: &[Packet]) -> Vec<u8> {
    let mut body = Vec::new();
    for packet in packets {
        let (kind, data) = match packet {
            Packet::Text(text) => (0, text.clone().into_bytes()),
            Packet::Binary(data) => (1, [&[4], &data[..]].concat()),
        };
        body.push(kind);
        body.extend(data.len().to_string().bytes().map(|digit| digit - b'0'));
        body.push(255);
        body.extend(data);
    }
    body
}

/// The packets of an answer.
pub(crate) fn decode(revision: Revision, answer: &Response) -> Vec<Packet> {
    let binary = answer.header("content-type") == Some("application/octet-stream");
    match revision {
        Revision::V3 if binary => decode_binary(&answer.body),
        Revision::V3 => decode_lengths(answer.text()),
        Revision::V4 => answer
            .text()
            .split('\x1e')
            .map(|text| unpack(text, "b"))
            .collect(),
    }
}

fn decode_lengths(body: &str) -> Vec<Packet> {
    let units: Vec<u16> = body.encode_utf16().collect();
    let mut rest = &units[..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let colon = rest
            .iter()
            .position(|unit| *unit == u16::from(b':'))
            .expect("a colon");
        let length = String::from_utf16_lossy(&rest[..colon]);
        let length: usize = length.parse().expect("a length");
        let (packet, after) = rest[colon + 1..].split_at(length);
        packets.push(unpack(
            &String::from_utf16(packet).expect("whole characters"),
            "b4",
        ));
        rest = after;
    }
    packets
}

fn decode_binary(mut body: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let [kind, rest @ ..] = body {
        let end = rest
            .iter()
            .position(|byte| *byte == 255)
            .expect("the end of a length");
        let length = rest[..end]
            .iter()
            .fold(0, |length, digit| length * 10 + usize::from(*digit));
        let (data, after) = rest[end + 1..].split_at(length);
        packets.push(match kind {
            0 => str::from_utf8(data).expect("text").into(),
            1 => data.strip_prefix(&[4]).expect("a message").into(),
            other => panic!("a packet of kind {other}"),
        });
        body = after;
    }
    packets
}

fn unpack(text: &str, mark: &str) -> Packet {
    match text.strip_prefix(mark) {
        Some(data) => Packet::Binary(STANDARD.decode(data).expect("base64")),
        None => text.into(),
    }
}
