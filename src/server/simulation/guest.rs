//! One simulated client: what it says and hears, over whatever carries it.

mod absence;
mod hearing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::dice::Dice;
use super::record::Heard;
use super::wire::{Body, Request, Socket, ask, ask_with, frame};
use crate::id::{PeerId, RoomId};
use crate::server::{PeerData, Task};
use crate::wire::engine::{self, Revision};
use absence::{Absence, Recall};

pub(super) const ROOMS: [&str; 3] = ["attic", "cellar", "kitchen"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Polling(Revision),
    Upgrading(Revision),
    Socket(Revision),
    Json,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Polling(Revision::V3),
        Self::Polling(Revision::V4),
        Self::Upgrading(Revision::V3),
        Self::Upgrading(Revision::V4),
        Self::Socket(Revision::V3),
        Self::Socket(Revision::V4),
        Self::Json,
    ];

    fn revision(self) -> Option<Revision> {
        match self {
            Self::Polling(revision) | Self::Upgrading(revision) | Self::Socket(revision) => {
                Some(revision)
            }
            Self::Json => None,
        }
    }
}

enum Say {
    Text(String),
    Binary(Vec<u8>),
}

pub(super) struct Guest {
    pub(super) server: PeerData,
    kind: Kind,
    sid: Option<String>,
    pub(super) id: Option<PeerId>,
    /// What is to be said, in order.
    says: VecDeque<Say>,
    pub(super) get: Option<Request>,
    pub(super) post: Option<(Request, Body)>,
    pub(super) socket: Option<Socket>,
    /// A websocket that is to take over.
    pub(super) probe: Option<Socket>,
    /// It may: nothing is asked for any more but what waits already.
    pub(super) moving: bool,
    pub(super) over: bool,
    /// Answers no heartbeat any more.
    pub(super) silent: bool,
    rooms: BTreeSet<usize>,
    /// Rooms that it has left, if it is not to come back to those.
    left: Option<BTreeSet<usize>>,
    said: u64,
    /// To whom it has said what: whether to one peer only, and in which room.
    pub(super) addressed: BTreeMap<u64, (bool, usize)>,
    pub(super) heard: Vec<Heard>,
    /// An event whose attachments are still to come, and its offset.
    partial: Option<(Value, usize, Option<String>)>,
    /// What it may come back with.
    recall: Option<Recall>,
    absence: Absence,
    /// Sockets of which the server may not know yet that they are dead.
    pub(super) lost: Vec<Socket>,
    /// Who it was before it came back as another, and what it had heard.
    pub(super) former: Vec<(PeerId, Vec<Heard>)>,
    /// How often it was again who it had been.
    pub(super) returns: usize,
}

impl Guest {
    pub(super) fn open(server: &PeerData, kind: Kind) -> Self {
        let mut guest = Self {
            server: server.clone(),
            kind,
            sid: None,
            id: None,
            says: VecDeque::new(),
            get: None,
            post: None,
            socket: None,
            probe: None,
            moving: false,
            over: false,
            silent: false,
            rooms: BTreeSet::new(),
            left: None,
            said: 0,
            addressed: BTreeMap::new(),
            heard: Vec::new(),
            partial: None,
            recall: None,
            absence: Absence::Not,
            lost: Vec::new(),
            former: Vec::new(),
            returns: 0,
        };
        guest.enter();
        guest
    }

    /// Opens a session.
    fn enter(&mut self) {
        let server = &self.server;
        match self.kind {
            Kind::Json => {
                let task = match self.protocols() {
                    Some(protocols) => ask_with(server, "/peer-data", &protocols),
                    None => ask(server, "GET", "/peer-data", "", true),
                };
                self.socket = Socket::new(task);
            }
            Kind::Socket(_) => {
                let query = self.query("websocket");
                self.socket = Socket::new(ask(server, "GET", "/socket.io/", &query, true));
            }
            Kind::Polling(_) | Kind::Upgrading(_) => {
                let query = self.query("polling");
                match ask(server, "GET", "/socket.io/", &query, false) {
                    Task::Answer(reply) => self.hear_reply(&reply),
                    other => panic!("{other:?}"),
                }
            }
        }
        self.connect();
    }

    /// From now on it does not come back to a room that it has left.
    pub(super) fn never_returns(&mut self) {
        self.left = Some(BTreeSet::new());
    }

    fn has_left(&self, room: usize) -> bool {
        self.left.as_ref().is_some_and(|left| left.contains(&room))
    }

    fn query(&self, transport: &str) -> String {
        let revision = match self.kind.revision() {
            Some(Revision::V3) => 3,
            _ => 4,
        };
        let sid = self.sid.as_deref().map(|sid| format!("&sid={sid}"));
        let sid = sid.unwrap_or_default();
        format!("EIO={revision}&transport={transport}{sid}")
    }

    fn revision(&self) -> Revision {
        self.kind.revision().unwrap_or(Revision::V4)
    }

    /// Its session is over: all that it has open goes.
    pub(super) fn end(&mut self) {
        self.over = true;
        self.get = None;
        self.post = None;
        for socket in [&mut self.socket, &mut self.probe].into_iter().flatten() {
            socket.hang_up();
        }
    }

    /// Thinks of something to say.
    pub(super) fn think(&mut self, dice: &mut Dice) {
        let Some(own) = self.id else { return };
        if self.over || self.absence != Absence::Not {
            return;
        }
        let room = dice.below(ROOMS.len());
        let name = ROOMS[room];
        match dice.below(10) {
            0 | 1 if !self.rooms.contains(&room) && !self.has_left(room) => {
                self.rooms.insert(room);
                self.say_event("CONNECT", name, None, "null");
            }
            2 if dice.once_in(2) && self.rooms.remove(&room) => {
                if let Some(left) = &mut self.left {
                    left.insert(room);
                }
                self.say_event("DISCONNECT", name, None, "null");
            }
            3 if dice.once_in(4) => self.say_event("CHAT", "nowhere", None, "{\"n\":0}"),
            4 if dice.once_in(4) => self.say_wrong(),
            5 | 6 if self.rooms.contains(&room) => {
                self.said += 1;
                let number = self.said;
                self.addressed.insert(number, (false, room));
                if self.kind == Kind::Json || dice.once_in(2) {
                    let long = "x".repeat(dice.below(2_000));
                    self.say_event(
                        "CHAT",
                        name,
                        None,
                        &format!("{{\"n\":{number},\"x\":\"{long}\"}}"),
                    );
                } else {
                    self.say_binary(name, number);
                }
            }
            _ if self.rooms.contains(&room) => {
                let members = self.server.members(&RoomId::new(name).unwrap());
                let callee = dice.pick(&members).filter(|callee| **callee != own);
                let kind = *dice.pick(&["OFFER", "ANSWER", "CANDIDATE"]).unwrap();
                if let Some(callee) = callee {
                    self.said += 1;
                    self.addressed.insert(self.said, (true, room));
                    let payload = format!("{{\"n\":{}}}", self.said);
                    self.say_event(kind, name, Some(callee), &payload);
                }
            }
            _ => {}
        }
    }

    fn say_event(&mut self, kind: &str, room: &str, callee: Option<&PeerId>, payload: &str) {
        let callee = callee.map_or("null".to_owned(), |id| format!("{{\"id\":\"{id}\"}}"));
        let event = format!(
            r#"{{"type":"{kind}","caller":null,"callee":{callee},"room":{{"id":"{room}"}},"payload":{payload}}}"#
        );
        self.says.push_back(Say::Text(match self.kind {
            Kind::Json => event,
            _ => format!("42[\"message\",{event}]"),
        }));
    }

    fn say_binary(&mut self, room: &str, number: u64) {
        let event = format!(
            r#"451-["message",{{"type":"CHAT","room":{{"id":"{room}"}},"payload":{{"n":{number},"b":{{"_placeholder":true,"num":0}}}}}}]"#
        );
        self.says.push_back(Say::Text(event));
        self.says
            .push_back(Say::Binary(number.to_le_bytes().to_vec()));
    }

    fn say_wrong(&mut self) {
        self.says.push_back(Say::Text(match self.kind {
            Kind::Json => "null".to_owned(),
            _ => "42[\"message\",{\"type\":7}]".to_owned(),
        }));
    }

    /// Leaves as the protocol has it.
    pub(super) fn say_goodbye(&mut self) {
        match self.kind {
            Kind::Json => self.send_frame(0x88, &1000_u16.to_be_bytes()),
            _ => self.says.push_back(Say::Text("41".to_owned())),
        }
    }

    /// Sends what is not the protocol.
    pub(super) fn blunder(&mut self) {
        match self.kind {
            Kind::Json => self.send_frame(0x82, b"x"),
            _ => self.says.push_back(Say::Text("9".to_owned())),
        }
    }

    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        if let Some(socket) = &mut self.socket {
            socket.send(vec![frame(first, payload, [0; 4])]);
        }
    }

    /// Gives some of what is to be said to whatever carries it.
    pub(super) fn speak(&mut self, dice: &mut Dice) {
        if self.over || self.says.is_empty() {
            return;
        }
        let revision = self.revision();
        if let Some(socket) = &mut self.socket {
            let mut bytes = Vec::new();
            for say in self.says.drain(..) {
                match say {
                    Say::Text(text) => {
                        let pieces = if dice.once_in(3) {
                            dice.split(text.as_bytes())
                        } else {
                            vec![text.into_bytes()]
                        };
                        let last = pieces.len() - 1;
                        for (at, piece) in pieces.iter().enumerate() {
                            let opcode = u8::from(at == 0) | if at == last { 0x80 } else { 0 };
                            let mask = [dice.below(256), at, 7, 9];
                            let mask = mask.map(|byte| u8::try_from(byte % 256).unwrap());
                            bytes.extend(frame(opcode, piece, mask));
                        }
                    }
                    Say::Binary(data) if revision == Revision::V3 => {
                        bytes.extend(frame(0x82, &[&[4], &data[..]].concat(), [1, 2, 3, 4]));
                    }
                    Say::Binary(data) => bytes.extend(frame(0x82, &data, [1, 2, 3, 4])),
                }
            }
            socket.send(dice.split(&bytes));
            return;
        }
        if self.post.is_some() || self.moving || self.sid.is_none() {
            return;
        }
        let count = 1 + dice.below(self.says.len());
        let packets: Vec<_> = self
            .says
            .drain(..count)
            .map(|say| match say {
                Say::Text(text) => text,
                Say::Binary(data) => engine::base64(revision, &data),
            })
            .collect();
        let text = match revision {
            Revision::V3 => {
                let counted = packets.iter();
                let counted = counted.map(|packet| format!("{}:{packet}", packet.len()));
                counted.collect::<Vec<_>>().concat()
            }
            Revision::V4 => packets.join("\x1e"),
        };
        let body = Body::new(dice.split(text.as_bytes()));
        match ask(
            &self.server,
            "POST",
            "/socket.io/",
            &self.query("polling"),
            false,
        ) {
            Task::Post(post) => {
                let coming = body.clone();
                let post = post.run(move |cx| coming.poll(cx));
                self.post = Some((Request::new(post), body));
            }
            Task::Answer(reply) => {
                assert_eq!(reply.status, 400);
                self.end();
            }
            other => panic!("{other:?}"),
        }
    }

    /// Asks for what there is to hear, where that has to be asked for.
    pub(super) fn listen(&mut self) {
        let polls = self.socket.is_none() && self.sid.is_some() && !self.moving && !self.over;
        if !polls || self.get.is_some() {
            return;
        }
        match ask(
            &self.server,
            "GET",
            "/socket.io/",
            &self.query("polling"),
            false,
        ) {
            Task::Poll(poll) => self.get = Some(Request::new(poll)),
            Task::Answer(reply) => {
                assert_eq!(reply.status, 400);
                self.end();
            }
            other => panic!("{other:?}"),
        }
    }

    /// Tries to move to a websocket.
    pub(super) fn try_to_move(&mut self) {
        let may = matches!(self.kind, Kind::Upgrading(_)) && self.socket.is_none();
        if !may || self.probe.is_some() || self.sid.is_none() || self.over {
            return;
        }
        let task = ask(
            &self.server,
            "GET",
            "/socket.io/",
            &self.query("websocket"),
            true,
        );
        self.probe = Socket::new(task);
        if let Some(probe) = &mut self.probe {
            probe.send(vec![frame(0x81, b"2probe", [5; 4])]);
        }
    }

    /// Thinks better of it, as long as it can.
    pub(super) fn stay(&mut self) {
        if let Some(mut probe) = self.probe.take() {
            probe.hang_up();
            probe.turn(usize::MAX);
            self.moving = false;
        }
    }

    /// What has become of all that is on its way. Whether anything has.
    pub(super) fn go_on(&mut self, reads: usize) -> bool {
        let mut active = false;
        if let Some(reply) = self.get.as_mut().and_then(Request::answer) {
            self.get = None;
            active = true;
            self.hear_reply(&reply);
        }
        if let Some(reply) = self.post.as_mut().and_then(|(post, _)| post.answer()) {
            self.post = None;
            active = true;
            if reply.status != 200 {
                self.end();
            }
        }
        let sockets = [&mut self.socket, &mut self.probe].into_iter().flatten();
        for socket in sockets.chain(&mut self.lost) {
            active |= socket.turn(reads);
        }
        self.lost.retain(|socket| !socket.is_gone());
        while let Some((first, payload)) = self.socket.as_mut().and_then(Socket::frame) {
            active = true;
            self.hear_frame(first, &payload);
        }
        while let Some((first, payload)) = self.probe.as_mut().and_then(Socket::frame) {
            active = true;
            match (first, &payload[..]) {
                (0x81, b"3probe") => self.moving = true,
                // It may not, or not any more.
                (0x88, _) => {
                    self.probe = None;
                    self.moving = false;
                }
                other => panic!("{other:?} on a probe"),
            }
        }
        if self.moving && self.get.is_none() && self.post.is_none() && !self.over {
            self.moving = false;
            active = true;
            self.socket = self.probe.take();
            self.send_frame(0x81, b"5");
        }
        if self.socket.as_ref().is_some_and(Socket::is_gone) && !self.over {
            self.end();
        }
        active
    }
}
