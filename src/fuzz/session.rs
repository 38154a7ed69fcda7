//! One session, driven by anybody at any pace: it never panics, keeps to its bounds, wants to be
//! looked at as long as it lives, and ends once.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ending::CloseReason;
use crate::id::{PeerId, SessionId};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::session::{Event, Link, Presence, Session, Ticket, Transmit};
use crate::signal::Signal;
use crate::wire::engine::{self, Revision};
use crate::wire::payload;
use crate::wire::segments::Segments;

const MAX_OUTBOX: usize = 4_000;
const MAX_MESSAGE: usize = 300;

/// Each step is a byte that says what, one that says how much, and what that takes.
pub fn run(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else {
        return;
    };
    let mut world = World::new(*first);
    while let [what, much, tail @ ..] = rest {
        let (argument, tail) = tail.split_at(usize::from(*much % 32).min(tail.len()));
        rest = tail;
        world.step(*what, *much, argument);
        world.check();
    }
    world.session.close(CloseReason::Kicked);
    let ending = world.session.take_ending();
    assert_eq!(ending.is_some(), !world.reported, "an end is told once");
    assert!(world.session.take_ending().is_none());
    world.check();
}

struct World {
    session: Session,
    revision: Revision,
    now: Instant,
    links: Vec<Link>,
    get: Option<Ticket>,
    reported: bool,
}

impl World {
    fn new(kind: u8) -> Self {
        let limits = Arc::new(Limits {
            max_outbox: MAX_OUTBOX,
            max_message: MAX_MESSAGE,
            events_per_second: usize::from(kind & 8),
            ..Limits::default()
        });
        let now = Instant::now();
        let revision = if kind & 1 == 0 {
            Revision::V3
        } else {
            Revision::V4
        };
        let sid = match SessionId::parse("zVM8wOtnweVu5FYeAAAA") {
            Ok(sid) => sid,
            Err(error) => panic!("{error}"),
        };
        let base64 = kind & 4 != 0;
        let (session, links) = match kind & 0x32 {
            0x02 => (
                Session::polling(revision, &sid, base64, &limits, now),
                vec![],
            ),
            0x10 => {
                let (session, link) = Session::json(&limits, now);
                (session, vec![link])
            }
            _ => {
                let (session, link) = Session::socket(revision, &sid, base64, &limits, now);
                (session, vec![link])
            }
        };
        Self {
            session,
            revision,
            now,
            links,
            get: None,
            reported: false,
        }
    }

    fn step(&mut self, what: u8, much: u8, argument: &[u8]) {
        let now = self.now;
        let link = self
            .links
            .get(usize::from(much) % self.links.len().max(1))
            .copied();
        match what % 16 {
            0 | 1 => {
                if let (Some(link), Ok(text)) = (link, str::from_utf8(argument)) {
                    let event = self.session.handle_text(link, text, now).map(Wants::of);
                    self.act(event);
                }
            }
            2 => {
                if let Some(link) = link {
                    let event = self
                        .session
                        .handle_binary(link, argument, now)
                        .map(Wants::of);
                    self.act(event);
                }
            }
            3 | 4 if self.session.check_post().is_ok() => {
                let binary = what & 0x80 != 0;
                for packet in payload::decode(self.revision, argument, binary) {
                    let event = self.session.handle_packet(packet, now).map(Wants::of);
                    self.act(event);
                }
            }
            5 => self.get = self.session.open_poll().ok().or(self.get),
            6 => {
                if let Some(ticket) = self.get {
                    let answer = self
                        .session
                        .poll_answer(ticket, much & 1 == 0, Waker::noop());
                    if answer.is_ready() {
                        self.get = None;
                    }
                }
            }
            7 => {
                if let Some(ticket) = self.get.take() {
                    self.session.drop_poll(ticket);
                }
            }
            8 if self.links.len() < 8 => {
                self.links.push(self.session.open_probe(much & 1 == 0, now));
            }
            9 => {
                if let Some(link) = link {
                    let mut out = Segments::default();
                    let transmit = self
                        .session
                        .poll_transmit(link, usize::from(much), &mut out);
                    let over = self.session.is_over(link);
                    assert!(transmit == Transmit::Open || over);
                }
            }
            10 => {
                if let Some(link) = link {
                    self.session.close_link(link, CloseReason::TransportLost);
                }
            }
            11 => {
                if let Some(link) = link {
                    self.session.look(link, Waker::noop(), much & 1 == 0);
                    if much & 2 == 0 {
                        self.session.hear_out(link);
                    }
                }
            }
            12 => {
                if let Ok(signal) = Signal::new("CHAT", None, &"x".repeat(usize::from(much))) {
                    let _ = self.session.enqueue(&signal);
                }
            }
            13 => {
                self.now += Duration::from_millis(u64::from(much) * 200);
                self.session.handle_timeout(self.now);
            }
            14 => {
                self.session.charge(usize::from(much), argument.len(), now);
            }
            15 if much == 255 => {
                let ending = self.session.take_ending();
                assert!(ending.is_none() || !self.reported, "an end is told once");
                self.reported |= ending.is_some();
            }
            _ => {}
        }
        self.session.take_wakes().wake();
    }

    fn act(&mut self, event: Option<Wants>) {
        match event {
            Some(Wants::Connect) => {
                if let Ok(id) = PeerId::random() {
                    self.session
                        .accept(Presence::main(id), Identity::anonymous(), None);
                }
            }
            Some(Wants::Leave(presence)) => {
                self.session.leave(&presence);
            }
            Some(Wants::Echo(text)) => self.session.push(engine::message(&text)),
            None => {}
        }
    }

    fn check(&mut self) {
        let due = self.session.poll_timeout();
        assert_eq!(due.is_none(), self.session.is_closed());
        assert!(due.is_none_or(|due| due > self.now || due + Duration::from_secs(60) > self.now));
        // One message may always be there, however long.
        assert!(self.session.waiting() <= MAX_OUTBOX + 600);
        if self.session.is_closed() {
            assert!(self.session.open_poll().is_err());
        }
    }
}

/// What an event asks for, owned.
enum Wants {
    Connect,
    Leave(Presence),
    Echo(String),
}

impl Wants {
    fn of(event: Event<'_>) -> Self {
        match event {
            Event::Connect { .. } => Self::Connect,
            Event::Leave(presence) => Self::Leave(presence),
            Event::Packet(incoming) => {
                let attached = incoming.attachments.iter().flatten().map(Bytes::len);
                assert!(attached.sum::<usize>() <= MAX_MESSAGE);
                Self::Echo(incoming.data.chars().take(50).collect())
            }
            Event::Json { text, .. } => Self::Echo(text.chars().take(50).collect()),
            other => Self::Echo(format!("{other:?}").chars().take(50).collect()),
        }
    }
}
