//! Many clients on all wires, on one thread and on invented time, with bytes in pieces, stalls,
//! losses and upgrades, all of it decided by a seed; and what must be true of it all the same.
//!
//! Each peer hears what the server has decided that it hears, in that order, once: all of it if it
//! is connected to the end, and else a beginning of it. Whoever waits is looked at only after
//! somebody has woken it, so a forgotten wake-up shows as a loss. In the end nothing is left.

mod dice;
#[cfg(feature = "metrics")]
mod figures;
mod guest;
mod nodes;
mod record;
mod relayed;
mod wire;

pub(crate) use wire::connect;
pub(super) use wire::{Socket, ask, frame};

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder as Runtime, EnterGuard};

use super::PeerData;
use super::client::Client;
use super::custom::Verdict;
use crate::clock;
use crate::id::SessionId;
use dice::Dice;
use guest::{Guest, Kind};
use record::{Heard, Record};

const SEEDS: u64 = 10_000;

/// Things that happen in one world.
const STEPS: usize = 120;

/// Guests at a time.
const GUESTS: usize = 5;

struct World<'a> {
    server: PeerData,
    record: Record,
    dice: Dice,
    now: Instant,
    guests: Vec<Guest>,
    past: Vec<Guest>,
    clients: BTreeMap<String, Weak<Client>>,
    #[cfg(feature = "metrics")]
    figures: metrics_exporter_prometheus::PrometheusHandle,
    /// Sessions are opened where there is a runtime; its timer is not used.
    _runtime: EnterGuard<'a>,
}

impl<'a> World<'a> {
    fn new(seed: u64, runtime: EnterGuard<'a>, start: Instant) -> Self {
        clock::set(start);
        let record = Record::default();
        let book = record.clone();
        let seconds = Duration::from_secs;
        let builder = PeerData::builder()
            .ping_interval(seconds(10))
            .ping_timeout(seconds(5))
            .upgrade_timeout(seconds(5))
            .connect_timeout(seconds(5))
            .write_timeout(seconds(8))
            .max_message(5_000)
            .max_outbox(12_000)
            // In every second world: else whoever is lost comes back as another.
            .recovery(seconds(12 * (seed % 2)))
            .max_recovery(5_000)
            .max_recovery_total(12_000)
            .relay(move |_, event| {
                book.relay(event);
                Verdict::Relay
            });
        let build = || builder.build().unwrap();
        #[cfg(feature = "metrics")]
        let (server, figures) = figures::recorded(build);
        #[cfg(not(feature = "metrics"))]
        let server = build();
        record.listen(server.lifecycle());
        Self {
            server,
            record,
            dice: Dice::new(seed),
            now: start,
            guests: Vec::new(),
            past: Vec::new(),
            clients: BTreeMap::new(),
            #[cfg(feature = "metrics")]
            figures,
            _runtime: runtime,
        }
    }

    /// How often a guest came back as the peer that it was.
    fn run(mut self) -> usize {
        for _ in 0..STEPS {
            self.step();
        }
        self.come_to_rest();
        self.judge();
        let guests = self.guests.iter().chain(&self.past);
        let returns = guests.map(|guest| guest.returns).sum();
        self.end();
        returns
    }

    fn step(&mut self) {
        if self.guests.len() < GUESTS && self.dice.once_in(3) {
            let kind = *self.dice.pick(&Kind::ALL).unwrap();
            self.guests.push(Guest::open(&self.server, kind));
        }
        for guest in &mut self.guests {
            act(guest, &mut self.dice);
        }
        if self.dice.once_in(4) {
            let millis = self.dice.below(3_000);
            self.pass(Duration::from_millis(millis.try_into().unwrap()));
        }
        self.take_stock();
    }

    /// Time passes, and the sweeper looks at whom it is due for.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        clock::set(self.now);
        self.server.turn_wheel(self.now);
    }

    /// Keeps in mind whom there is, and lets those go who are done.
    fn take_stock(&mut self) {
        let sessions = &self.server.inner.sessions;
        let seen = sessions
            .collect(|sid: &SessionId, client| (sid.as_str().to_owned(), Arc::downgrade(client)));
        self.clients.extend(seen);
        let (past, guests) = self.guests.drain(..).partition(|guest| {
            let closing = guest.socket.iter().chain(&guest.probe).chain(&guest.lost);
            guest.over && closing.into_iter().all(wire::Socket::is_gone)
        });
        self.guests = guests;
        let past: Vec<_> = past;
        self.past.extend(past);
    }

    /// No time passes and nothing goes wrong, until there is nothing more to say or to hear.
    fn come_to_rest(&mut self) {
        for guest in &mut self.guests {
            guest.come_back();
        }
        // Asking can be what changes something, for one who was asked before: hence twice.
        let mut quiet = 0;
        for _ in 0..10_000 {
            let mut active = false;
            for guest in &mut self.guests {
                let sockets = guest.socket.iter_mut().chain(&mut guest.lost);
                for socket in sockets.filter(|socket| socket.stalled) {
                    socket.resume();
                }
                guest.speak(&mut self.dice);
                guest.listen();
                if let Some((_, body)) = &guest.post {
                    body.arrive(1_000);
                }
                active |= guest.go_on(usize::MAX);
            }
            self.take_stock();
            quiet = if active { 0 } else { quiet + 1 };
            if quiet == 2 {
                return;
            }
        }
        panic!("there is no rest");
    }

    fn judge(&self) {
        for guest in &self.guests {
            let is_connected = guest.id.is_some_and(|id| self.server.peer(&id).is_some());
            self.compare(guest, is_connected && !guest.over);
        }
        for guest in &self.past {
            self.compare(guest, false);
        }
    }

    fn compare(&self, guest: &Guest, whole: bool) {
        let Some(id) = guest.id else {
            assert!(guest.heard.is_empty());
            return;
        };
        let expected: Vec<Heard> = self.record.expected(&id);
        if whole {
            assert_eq!(guest.heard, expected, "what {id} has heard");
        }
        let now = (id, guest.heard.clone());
        for (id, heard) in guest.former.iter().chain([&now]) {
            let expected = self.record.expected(id);
            assert!(
                expected.starts_with(heard),
                "{id} has heard {heard:?} and not {expected:?}"
            );
        }
    }

    /// Everybody goes, by a word or without one.
    fn end(mut self) {
        for guest in &mut self.guests {
            match self.dice.below(3) {
                0 => guest.say_goodbye(),
                1 => guest.end(),
                _ => guest.silent = true,
            }
            guest.speak(&mut self.dice);
            if let Some((_, body)) = &guest.post {
                body.arrive(1_000);
            }
            guest.go_on(usize::MAX);
        }
        for _ in 0..60 {
            self.pass(Duration::from_secs(1));
            for guest in &mut self.guests {
                guest.go_on(usize::MAX);
            }
        }
        for guest in self.guests.iter().chain(&self.past) {
            self.compare(guest, false);
        }
        drop(std::mem::take(&mut self.guests));
        drop(std::mem::take(&mut self.past));
        for _ in 0..60 {
            self.pass(Duration::from_secs(1));
        }

        let inner = &self.server.inner;
        assert_eq!((self.server.peer_count(), self.server.room_count()), (0, 0));
        assert_eq!(inner.sessions.len(), 0, "no session is left");
        assert!(!self.server.turn_wheel(self.now), "nobody is waited for");
        assert!(self.record.is_over(), "every departure is told");
        #[cfg(feature = "metrics")]
        {
            figures::are_at_rest(&self.figures);
            assert!(inner.calls.is_idle(), "no call is under way");
        }
        for client in self.clients.values() {
            assert_eq!(client.strong_count(), 0, "no client is kept");
        }
    }
}

/// One guest does something, or something happens to it.
fn act(guest: &mut Guest, dice: &mut Dice) {
    match dice.below(40) {
        0..=9 => guest.think(dice),
        10..=17 => guest.speak(dice),
        18..=24 => guest.listen(),
        25..=27 => {
            if let Some((_, body)) = &guest.post {
                body.arrive(1 + dice.below(4));
            }
        }
        28..=29 => guest.try_to_move(),
        30 if dice.once_in(3) => guest.stay(),
        31 => {
            if let Some(socket) = &mut guest.socket {
                socket.stalled = true;
            }
        }
        32..=33 => {
            if let Some(socket) = guest.socket.as_mut().filter(|socket| socket.stalled) {
                socket.resume();
            }
        }
        34 if dice.once_in(10) => guest.silent = true,
        35 if dice.once_in(10) => guest.end(),
        36 if dice.once_in(10) => guest.say_goodbye(),
        37 if dice.once_in(10) => guest.blunder(),
        38 if dice.once_in(10) => {
            if let Some(id) = guest.id {
                guest.server.disconnect(&id);
            }
        }
        39 if dice.once_in(6) => guest.lose(),
        _ => {}
    }
    if dice.once_in(8) {
        guest.come_back();
    }
    // What is on its way arrives now, or in part, or later.
    if !dice.once_in(4) {
        guest.go_on(1 + dice.below(4));
    }
}

/// Says which seed it was if it was the last.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {0}: SIMULATION_SEED={0} cargo test --lib simulation",
                self.0
            );
        }
    }
}

fn simulate(seed: u64) -> usize {
    let runtime = Runtime::new_current_thread().enable_all().build().unwrap();
    let seed = Seed(seed);
    World::new(seed.0, runtime.enter(), Instant::now()).run()
}

/// A quarter of all seeds, unless one is asked for.
fn simulate_all(part: u64) {
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        simulate(seed.parse().unwrap());
        return;
    }
    let returns: usize = (part..SEEDS).step_by(4).map(simulate).sum();
    let may_return = part % 2 == 1;
    assert_eq!(returns > 1_000, may_return, "{returns} came back");
}

#[test]
fn nothing_is_lost_doubled_or_left_behind() {
    simulate_all(0);
}

#[test]
fn nothing_is_lost_doubled_or_left_behind_by_others() {
    simulate_all(1);
}

#[test]
fn nothing_is_lost_doubled_or_left_behind_by_more() {
    simulate_all(2);
}

#[test]
fn nothing_is_lost_doubled_or_left_behind_by_the_rest() {
    simulate_all(3);
}
