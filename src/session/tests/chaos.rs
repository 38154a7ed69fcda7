//! Any client at any pace: nothing panics, nothing grows, nothing is said twice or out of order,
//! and nobody who waits is forgotten.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::signal::Attachments;

const MAX_OUTBOX: usize = 4_000;

/// What a client may say, of any wire and revision.
const WORDS: [&str; 26] = [
    "2", "2probe", "3", "5", "5", "1", "6", "40", "40", "40{}", "41", "40/nope,", "42[1]",
    "427[1]", "451-[1]", "452-8[1]", "450-[1]", "431[1]", "461-1[1]", "47", "b4AQID", "bAQID", "",
    "abc", "{}", "4",
];

#[derive(Clone, Debug)]
enum Step {
    Text(usize, &'static str),
    Binary(usize, Vec<u8>),
    Frame(usize),
    Transmit(usize, usize),
    Lose(usize),
    Probe(bool),
    Post(&'static str),
    Get,
    Cut,
    /// Mail from others, with so many attachments.
    Mail(usize),
    /// The promises made so far are kept.
    Flush,
    Push,
    Pass(u64),
    Kick,
    Report,
}

fn step() -> impl Strategy<Value = Step> {
    let link = 0..4_usize;
    let word = || prop::sample::select(&WORDS[..]);
    prop_oneof![
        8 => (link.clone(), word()).prop_map(|(link, word)| Step::Text(link, word)),
        2 => (link.clone(), prop::collection::vec(3..6_u8, 0..3))
            .prop_map(|(link, data)| Step::Binary(link, data)),
        1 => link.clone().prop_map(Step::Frame),
        8 => (link.clone(), prop::sample::select(&[1, 100, usize::MAX][..]))
            .prop_map(|(link, budget)| Step::Transmit(link, budget)),
        1 => link.prop_map(Step::Lose),
        2 => any::<bool>().prop_map(Step::Probe),
        4 => word().prop_map(Step::Post),
        6 => Just(Step::Get),
        1 => Just(Step::Cut),
        8 => (0..3_usize).prop_map(Step::Mail),
        4 => Just(Step::Flush),
        2 => Just(Step::Push),
        4 => (0..30_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Kick),
        2 => Just(Step::Report),
    ]
}

/// Somebody who was told to wait.
struct Waiter {
    tally: Arc<Tally>,
    /// There was something to do already, but it could not be done.
    busy: bool,
}

/// The session, and what the server and the network around it remember.
struct World {
    client: Client,
    links: Vec<Link>,
    waiting: [Option<Waiter>; 4],
    get: Option<Ticket>,
    get_waits: Option<Arc<Tally>>,
    promised: bool,
    /// What others have sent that was taken, in the form in which it is to go out.
    mail: VecDeque<String>,
    sent: u32,
    connected: bool,
    reported: bool,
}

impl World {
    fn new(wire: Wire, websocket: bool) -> Self {
        let limits = Limits {
            max_outbox: MAX_OUTBOX,
            max_message: 300,
            ..Limits::default()
        };
        let (mut client, links) = match wire {
            Wire::Json => {
                let open = |limits: &_, now| Session::json(limits, now).0;
                (Client::new(open, limits), vec![Link::FIRST])
            }
            Wire::Engine(revision) if websocket => {
                let (client, link) = Client::socket_with(revision, false, limits);
                (client, vec![link])
            }
            Wire::Engine(revision) => (Client::polling_with(revision, true, limits), vec![]),
        };
        if wire != Wire::Engine(V4) {
            client
                .session
                .accept(Presence::main(id()), Identity::anonymous(), None);
        }
        Self {
            client,
            links,
            waiting: [const { None }; 4],
            get: None,
            get_waits: None,
            promised: false,
            mail: VecDeque::new(),
            sent: 0,
            connected: wire != Wire::Engine(V4),
            reported: false,
        }
    }

    fn link(&self, nth: usize) -> Option<Link> {
        self.links.get(nth).copied()
    }

    fn take(&mut self, step: &Step) {
        let now = self.client.now;
        match *step {
            Step::Text(nth, text) => {
                if let Some(link) = self.link(nth) {
                    let event = self.client.session.handle_text(link, text, now);
                    self.act(event.as_ref());
                    self.look_around(nth, link);
                }
            }
            Step::Binary(nth, ref data) => {
                if let Some(link) = self.link(nth) {
                    let event = self.client.session.handle_binary(link, data, now);
                    self.act(event.as_ref());
                    self.look_around(nth, link);
                }
            }
            Step::Post(text) if self.client.session.wire() != Wire::Json => {
                let event = self.client.posts(text);
                self.act(event.as_ref());
            }
            Step::Frame(nth) => {
                if let Some(link) = self.link(nth) {
                    self.client.session.handle_frame(link, now);
                }
            }
            Step::Lose(nth) => {
                if let Some(link) = self.link(nth) {
                    let reason = CloseReason::TransportLost;
                    self.client.session.close_link(link, reason);
                    assert!(self.client.session.is_over(link));
                    self.look_around(nth, link);
                }
            }
            Step::Probe(base64) => {
                if self.links.len() < 4 && self.client.session.wire() != Wire::Json {
                    self.links.push(self.client.session.open_probe(base64, now));
                }
            }
            Step::Transmit(nth, budget) => self.transmit(nth, budget),
            Step::Get => self.poll(),
            Step::Cut => {
                if let Some(ticket) = self.get.take() {
                    self.get_waits = None;
                    self.client.session.drop_poll(ticket);
                }
            }
            Step::Mail(attachments) => self.deliver(attachments),
            Step::Flush => self.flush(),
            Step::Push => self.client.mail("43[]"),
            Step::Pass(millis) => {
                let passed = now.duration_since(self.client.start);
                self.client.at(passed + Duration::from_millis(millis));
                let due = self.client.session.poll_timeout();
                assert!(due.is_none_or(|due| due > self.client.now));
            }
            Step::Kick => self.client.session.close(CloseReason::Kicked),
            Step::Report => self.report(),
            Step::Post(_) => {}
        }
        self.client.session.take_wakes().wake();
        assert!(self.client.session.outbox.cost() <= MAX_OUTBOX);
        self.nobody_is_forgotten();
    }

    /// What the server does with an event.
    fn act(&mut self, event: Option<&Event<'_>>) {
        match event {
            Some(Event::Connect { namespace, .. }) if !namespace.is_main() => {
                self.client.session.reject(*namespace);
            }
            Some(Event::Connect { .. }) => {
                assert!(!self.connected);
                self.client
                    .session
                    .accept(Presence::main(id()), Identity::anonymous(), None);
                self.connected = true;
            }
            Some(Event::Leave(left)) => {
                assert!(self.connected);
                assert_eq!(*left, Presence::main(id()));
                assert!(self.client.session.leave(left).is_some());
                self.connected = false;
            }
            Some(_) => assert!(self.connected),
            None => {}
        }
    }

    /// A websocket's task sees by itself what came of its own doing.
    fn look_around(&mut self, nth: usize, link: Link) {
        if self.client.session.is_over(link) {
            self.waiting[nth] = None;
        } else if self.waiting[nth].is_some() {
            self.wait(nth, link);
        }
    }

    fn report(&mut self) {
        if let Some(ending) = self.client.session.take_ending() {
            assert!(self.client.session.is_closed());
            assert!(!self.reported, "an end is reported once");
            assert_eq!(ending.peers.len(), usize::from(self.connected));
            self.reported = true;
        }
    }

    fn deliver(&mut self, count: usize) {
        if self.client.session.is_closed() {
            return;
        }
        let serial = self.sent;
        let dash = if count == 0 { "2" } else { "51-" };
        let text = format!(r#"4{dash}["message",{{"serial":{serial}}}]"#);
        let start = text.find('{').unwrap();
        let event = text[start..text.len() - 1].to_owned();
        #[allow(clippy::cast_possible_truncation)]
        let span = start as u32..(start + event.len()) as u32;
        let part = Bytes::from(serial.to_be_bytes().to_vec());
        let attachments = (count > 0).then(|| Attachments {
            parts: vec![part.clone()],
            placeholders: vec![0; count],
        });
        let signal = Signal::from_parts(text.clone().into(), span, attachments.map(Arc::new));
        let Ok(promise) = self.client.session.enqueue(&signal) else {
            return;
        };
        self.promised |= promise;
        self.sent += 1;
        let json = self.client.session.wire() == Wire::Json;
        self.mail.push_back(if json { event } else { text });
        let shown = format!("{:?}", &part[..]);
        let copies = if json { count } else { count.min(1) };
        self.mail.extend(std::iter::repeat_n(shown, copies));
    }

    fn flush(&mut self) {
        if let Some(carrier) = self.client.session.take_carrier() {
            carrier.wake();
        }
        self.promised = false;
    }

    /// Checks off what goes out, which must be what was sent, in order, each once.
    fn hear(&mut self, packets: &[String]) {
        for packet in packets {
            if packet.contains("serial") || packet.starts_with('[') {
                assert_eq!(self.mail.pop_front().as_ref(), Some(packet));
            }
        }
    }

    fn transmit(&mut self, nth: usize, budget: usize) {
        let Some(link) = self.link(nth) else { return };
        self.waiting[nth] = None;
        let mut out = Segments::default();
        self.client.session.poll_transmit(link, budget, &mut out);
        let mut heard = frames(&mut out);
        for packet in &mut heard {
            if let Some(data) = packet.strip_prefix("b4") {
                *packet = unmask(data);
            } else if let Some(data) = packet.strip_prefix("[4, ") {
                // The type byte of revision 3; the serial itself begins with a zero.
                *packet = format!("[{data}");
            }
        }
        self.hear(&heard);
        if self.client.session.is_over(link) {
            assert!(!self.client.registers(link));
            return;
        }
        self.wait(nth, link);
    }

    /// A websocket's task has done what it could, and looks once more before it waits.
    fn wait(&mut self, nth: usize, link: Link) {
        let tally = Arc::<Tally>::default();
        let waker = Waker::from(Arc::clone(&tally));
        let idle = is_idle(self.client.session.look(link, &waker, false));
        if !idle {
            // What is left, its socket does not take.
            self.client.session.look(link, &waker, true);
        }
        self.client.session.hear_out(link);
        self.waiting[nth] = Some(Waiter { tally, busy: !idle });
    }

    fn poll(&mut self) {
        let ticket = match self.get {
            Some(ticket) => ticket,
            None => match self.client.session.open_poll() {
                Ok(ticket) => *self.get.insert(ticket),
                Err(_) => return,
            },
        };
        let tally = Arc::<Tally>::default();
        let waker = Waker::from(Arc::clone(&tally));
        match self.client.session.poll_answer(ticket, true, &waker) {
            Poll::Pending => self.get_waits = Some(tally),
            Poll::Ready(Err(_)) => {
                self.get = None;
                self.get_waits = None;
            }
            Poll::Ready(Ok(answer)) => {
                self.get = None;
                self.get_waits = None;
                let packets = self.packets(&text(answer));
                assert!(!packets.is_empty());
                self.hear(&packets);
            }
        }
    }

    /// The packets of an answer, binary data as [`frames`] shows it.
    fn packets(&self, body: &str) -> Vec<String> {
        let Wire::Engine(revision) = self.client.session.wire() else {
            panic!("plain JSON has no GET");
        };
        crate::wire::payload::decode(revision, body.as_bytes(), false)
            .map(|packet| match packet.unwrap() {
                Packet::Message(text) => format!("4{text}"),
                Packet::Binary(data) => format!("{:?}", &data[..]),
                other => format!("{other:?}"),
            })
            .collect()
    }

    /// Whoever was told to wait and was not woken has indeed nothing to do.
    fn nobody_is_forgotten(&mut self) {
        if self.promised {
            return;
        }
        for (&link, waiter) in self.links.iter().zip(&self.waiting) {
            let Some(Waiter { tally, busy }) = waiter else {
                continue;
            };
            if tally.0.load(Ordering::Relaxed) == 0 {
                assert!(!self.client.session.is_over(link), "an end was missed");
                let waker = Waker::from(Arc::clone(tally));
                let idle = is_idle(self.client.session.look(link, &waker, *busy));
                assert!(idle || *busy, "a websocket was forgotten");
                // It would have done so, and let the GET go.
                self.client.session.hear_out(link);
            }
        }
        if let (Some(ticket), Some(tally)) = (self.get, &self.get_waits)
            && tally.0.load(Ordering::Relaxed) == 0
        {
            let waker = Waker::from(Arc::clone(tally));
            let answer = self.client.session.poll_answer(ticket, true, &waker);
            assert!(answer.is_pending(), "a GET was forgotten");
        }
    }
}

fn is_idle(look: Look) -> bool {
    matches!(look, Look::Open { waiting: false, .. })
}

/// Base64 as [`frames`] shows the bytes behind it.
fn unmask(base64: &str) -> String {
    match engine::decode_text(V4, &format!("b{base64}")) {
        Ok(Packet::Binary(data)) => format!("{:?}", &data[..]),
        other => panic!("{other:?}"),
    }
}

fn wire() -> impl Strategy<Value = Wire> {
    let wires = [Wire::Engine(V3), Wire::Engine(V4), Wire::Json];
    prop::sample::select(wires.to_vec())
}

proptest! {
    #[test]
    fn any_client_at_any_pace(
        wire in wire(),
        websocket in any::<bool>(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(wire, websocket);
        for step in &steps {
            world.take(step);
        }
        world.report();
        world.report();
        prop_assert_eq!(world.reported, world.client.session.is_closed());
    }
}
