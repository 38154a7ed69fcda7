//! The session against an invented client, on invented time.

mod binary;
mod chaos;
mod closing;
mod connecting;
mod delivery;
mod heartbeat;
mod limits;
mod polling;
mod upgrade;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake};
use std::time::Duration;

use bytes::Buf;

use super::*;
use crate::signal::Signal;
use crate::wire::engine::Packet;
use crate::wire::segments::Segments;
use Revision::{V3, V4};

const SID: &str = "zVM8wOtnweVu5FYeAAAA";

/// A client, with the session that serves it and the time of day.
struct Client {
    session: Session,
    start: Instant,
    now: Instant,
    /// What the waiting GET or the websocket's task leaves behind.
    tally: Arc<Tally>,
}

/// Counts how often it is woken.
#[derive(Default)]
struct Tally(AtomicUsize);

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Tally {
    /// How often since it was last asked.
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// To be let into `/`.
const CONNECT: Event<'static> = Event::Connect {
    namespace: Namespace::MAIN,
    auth: None,
};

fn sid() -> SessionId {
    SessionId::parse(SID).unwrap()
}

fn id() -> PeerId {
    "v9uLaHT8O3Ftv6nyAAAK".parse().unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn just_before(n: u64) -> Duration {
    Duration::new(n - 1, 999_999_999)
}

impl Client {
    fn new(open: impl FnOnce(&Arc<Limits>, Instant) -> Session, limits: Limits) -> Self {
        let start = Instant::now();
        Self {
            session: open(&Arc::new(limits), start),
            start,
            now: start,
            tally: Arc::default(),
        }
    }

    fn polling_with(revision: Revision, base64: bool, limits: Limits) -> Self {
        let open = |limits: &_, now| Session::polling(revision, &sid(), base64, limits, now);
        Self::new(open, limits)
    }

    fn socket_with(revision: Revision, base64: bool, limits: Limits) -> (Self, Link) {
        let open = |limits: &_, now| Session::socket(revision, &sid(), base64, limits, now).0;
        (Self::new(open, limits), Link::FIRST)
    }

    /// A long-polling client that is a peer and has heard so.
    fn polling(revision: Revision) -> Self {
        let mut client = Self::polling_with(revision, false, Limits::default());
        client
            .session
            .accept(Presence::main(id()), Identity::anonymous(), None);
        client.session.first_answer(false);
        client.settled()
    }

    /// A websocket client that is a peer and has heard so.
    fn socket(revision: Revision) -> (Self, Link) {
        let (mut client, link) = Self::socket_with(revision, false, Limits::default());
        client
            .session
            .accept(Presence::main(id()), Identity::anonymous(), None);
        client.hears(link);
        (client.settled(), link)
    }

    /// A plain JSON client that is a peer and has heard so.
    fn json() -> (Self, Link) {
        let open = |limits: &_, now| Session::json(limits, now).0;
        let mut client = Self::new(open, Limits::default());
        client
            .session
            .accept(Presence::main(id()), Identity::anonymous(), None);
        client.hears(Link::FIRST);
        (client.settled(), Link::FIRST)
    }

    /// All who had to be woken are.
    fn settled(mut self) -> Self {
        self.woken();
        self
    }

    /// Lets time pass until then, and has the session look at the clock.
    fn at(&mut self, since_start: Duration) {
        self.now = self.start + since_start;
        self.session.handle_timeout(self.now);
    }

    fn due(&self) -> Option<Duration> {
        let due = self.session.poll_timeout()?;
        Some(due.duration_since(self.start))
    }

    /// Sends one packet by POST.
    fn posts<'a>(&mut self, packet: &'a str) -> Option<Event<'a>> {
        let Wire::Engine(revision) = self.session.wire() else {
            panic!("plain JSON has no POST");
        };
        let packet = engine::decode_text(revision, packet);
        self.session.handle_packet(packet, self.now)
    }

    /// Sends text over a websocket.
    fn says<'a>(&mut self, link: Link, text: &'a str) -> Option<Event<'a>> {
        self.session.handle_text(link, text, self.now)
    }

    /// Opens a GET.
    fn gets(&mut self) -> Ticket {
        self.session.open_poll().unwrap()
    }

    /// What a GET is answered, if it is.
    fn answer(&mut self, ticket: Ticket) -> Option<String> {
        let waker = Waker::from(Arc::clone(&self.tally));
        match self.session.poll_answer(ticket, false, &waker) {
            Poll::Ready(Ok(answer)) => Some(text(answer)),
            Poll::Ready(Err(refused)) => Some(format!("{refused:?}")),
            Poll::Pending => None,
        }
    }

    /// The answer to a GET that finds something.
    fn polls(&mut self) -> String {
        let ticket = self.gets();
        self.answer(ticket).unwrap()
    }

    fn probes(&mut self) -> Link {
        self.session.open_probe(false, self.now)
    }

    /// What is written to a websocket, as [`frames`] shows it, and how it closes.
    fn hears(&mut self, link: Link) -> Vec<String> {
        let mut out = Segments::default();
        let transmit = self.session.poll_transmit(link, usize::MAX, &mut out);
        let mut heard = frames(&mut out);
        match transmit {
            Transmit::Open => {}
            Transmit::Close(None) => heard.push("close".into()),
            Transmit::Close(Some(reason)) => heard.push(format!("close: {reason}")),
        }
        heard
    }

    /// Asks to be woken for a websocket. Whether there is nothing to do until then.
    fn registers(&mut self, link: Link) -> bool {
        self.is_idle(link, false)
    }

    /// The same, for one whose socket may take nothing.
    fn is_idle(&mut self, link: Link, blocked: bool) -> bool {
        let waker = Waker::from(Arc::clone(&self.tally));
        let look = self.session.look(link, &waker, blocked);
        matches!(look, Look::Open { waiting: false, .. })
    }

    fn mail(&mut self, packet: &'static str) {
        self.session.push(Bytes::from_static(packet.as_bytes()));
    }

    /// How often the carrier was woken after the last step.
    fn woken(&mut self) -> usize {
        self.session.take_wakes().wake();
        self.tally.take()
    }

    /// Asks over a websocket to be that peer no longer, and is not.
    fn leaves(&mut self, link: Link, text: &str, peer: &Presence) {
        assert_eq!(self.says(link, text), Some(Event::Leave(peer.clone())));
        assert!(self.session.leave(peer).is_some());
        assert!(self.session.leave(peer).is_none());
    }

    /// Why the session ended, if it did and nobody has asked yet.
    fn ending(&mut self) -> Option<CloseReason> {
        self.ended_as().map(|(reason, _)| reason)
    }

    /// The same, with the peers that it was.
    fn ended_as(&mut self) -> Option<(CloseReason, Vec<PeerId>)> {
        let Ending { reason, peers } = self.session.take_ending()?;
        let ids = peers.into_iter().map(|(presence, _)| presence.id);
        Some((reason, ids.collect()))
    }
}

fn text(PollAnswer(payload): PollAnswer) -> String {
    assert!(!payload.binary);
    String::from_utf8(payload.body.to_vec()).unwrap()
}

/// Text as it is, binary data like `[4, 1]`, and `ping`.
fn frames(out: &mut Segments) -> Vec<String> {
    let mut bytes = out.copy_to_bytes(out.remaining());
    let mut frames = Vec::new();
    while bytes.has_remaining() {
        let opcode = bytes.get_u8();
        let length = match bytes.get_u8() {
            126 => usize::from(bytes.get_u16()),
            length @ 0..126 => usize::from(length),
            _ => panic!("no test writes that much"),
        };
        let payload = bytes.split_to(length);
        frames.push(match opcode {
            0x81 => String::from_utf8(payload.to_vec()).unwrap(),
            0x82 => format!("{:?}", &payload[..]),
            0x89 => "ping".into(),
            _ => panic!("unexpected opcode {opcode:#x}"),
        });
    }
    frames
}
