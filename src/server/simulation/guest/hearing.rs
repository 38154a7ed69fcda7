//! What a simulated client hears, on whichever wire.

use serde_json::Value;

use super::{Guest, Kind, Say};
use crate::id::{RoomId, SessionId};
use crate::server::simulation::record::Heard;
use crate::wire::engine::{self, Packet};
use crate::wire::payload;
use crate::wire::reply::Reply;

impl Guest {
    pub(super) fn hear_reply(&mut self, reply: &Reply) {
        if reply.status != 200 {
            assert_eq!(reply.status, 400);
            return self.end();
        }
        let kind = reply
            .headers
            .iter()
            .find(|(name, _)| *name == "content-type");
        let binary = kind.is_some_and(|(_, kind)| kind.starts_with("application/octet-stream"));
        let body = reply.body.clone();
        self.find_session(&String::from_utf8_lossy(&body));
        for packet in payload::decode(self.revision(), &body, binary) {
            match packet.expect("what the server says is well-formed") {
                Packet::Binary(data) => self.hear_attachment(&data),
                packet => self.hear_packet(&packet),
            }
        }
    }

    pub(super) fn hear_frame(&mut self, first: u8, payload: &[u8]) {
        match (first, self.kind) {
            (0x81, Kind::Json) => {
                let text = str::from_utf8(payload).unwrap();
                let event: Value = serde_json::from_str(text).unwrap();
                if event["type"] == "READY" {
                    let who = &event["payload"];
                    return self.be(
                        who["id"].as_str().unwrap().parse().unwrap(),
                        who.get("resume"),
                    );
                }
                self.counts();
                self.hear_event(text, event, None);
            }
            (0x81, _) => {
                let text = str::from_utf8(payload).unwrap();
                self.find_session(text);
                let packet = engine::decode_text(self.revision(), text).expect("a packet");
                self.hear_packet(&packet);
            }
            (0x82, Kind::Json) => {
                self.counts();
                self.hear_attachment(payload);
            }
            (0x82, _) => match engine::decode_binary(self.revision(), payload).expect("a packet") {
                Packet::Binary(data) => self.hear_attachment(&data),
                other => panic!("{other:?}"),
            },
            (0x89, _) if self.silent => {}
            (0x89, _) => self.send_frame(0x8a, payload),
            (0x88, _) => self.end(),
            (0x8a, _) => {}
            other => panic!("{other:?}"),
        }
    }

    fn hear_packet(&mut self, packet: &Packet<'_>) {
        match *packet {
            Packet::Open => assert!(self.sid.is_some()),
            Packet::Close => self.end(),
            Packet::Ping(_) if self.silent => {}
            Packet::Ping(_) => self.says.push_front(Say::Text("3".to_owned())),
            Packet::Pong(_) | Packet::Noop => {}
            Packet::Message(text) => self.hear_message(text),
            Packet::Binary(_) | Packet::Upgrade => panic!("{packet:?}"),
        }
    }

    /// Takes its session id out of the open packet.
    fn find_session(&mut self, text: &str) {
        if let Some((_, rest)) = text
            .split_once("0{\"sid\":\"")
            .filter(|_| self.sid.is_none())
        {
            self.sid = Some(rest[..20].to_owned());
        }
    }

    fn hear_message(&mut self, text: &str) {
        let (kind, rest) = text.split_at(1);
        match kind {
            "0" if rest.is_empty() => {
                let sid = SessionId::parse(self.sid.as_deref().unwrap()).unwrap();
                let client = self.server.session(&sid);
                // It may be over by now, on the server.
                self.id = client.and_then(|client| client.with(|session| session.peer()));
            }
            "0" => {
                let connected: Value = serde_json::from_str(rest).unwrap();
                let id = connected["sid"].as_str().unwrap().parse().unwrap();
                self.be(id, connected.get("pid"));
            }
            "1" => self.end(),
            "2" => self.hear_arguments(rest),
            "5" => self.hear_arguments(rest.split_once('-').unwrap().1),
            other => panic!("{other:?} in {text}"),
        }
    }

    /// `["message", event]`, and its offset where it may be said again.
    fn hear_arguments(&mut self, text: &str) {
        let mut arguments: Vec<Value> =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let offset = (arguments.len() == 3).then(|| arguments.remove(2));
        let offset = offset.map(|offset| offset.as_str().unwrap().to_owned());
        self.hear_event(text, arguments.remove(1), offset);
    }

    fn hear_event(&mut self, text: &str, event: Value, offset: Option<String>) {
        assert!(self.partial.is_none(), "attachments come with their event");
        match text.matches("\"_placeholder\":true").count() {
            0 => self.hear_whole(&event, offset),
            missing => self.partial = Some((event, missing, offset)),
        }
    }

    fn hear_attachment(&mut self, data: &[u8]) {
        let partial = self.partial.take();
        let (event, missing, offset) = partial.expect("an event that has attachments");
        let number = event["payload"]["n"].as_u64().unwrap();
        assert_eq!(data, number.to_le_bytes(), "its own attachment");
        match missing - 1 {
            0 => self.hear_whole(&event, offset),
            missing => self.partial = Some((event, missing, offset)),
        }
    }

    fn hear_whole(&mut self, event: &Value, offset: Option<String>) {
        self.notes(offset);
        // What comes of nobody is the server's own: what was wrong.
        let Some(caller) = event["caller"]["id"].as_str() else {
            return;
        };
        let caller = caller.parse().unwrap();
        let room = || RoomId::new(event["room"]["id"].as_str().unwrap()).unwrap();
        self.heard.push(match event["type"].as_str().unwrap() {
            "CONNECT" => Heard::Came(caller, room()),
            "DISCONNECT" => Heard::Left(caller, room()),
            _ => Heard::Said(caller, event["payload"]["n"].as_u64().unwrap()),
        });
    }
}
