//! Rooms of the broker: a signal to all members, by one thread and by several; joins and
//! departures.
//!
//! ```text
//! cargo bench --bench fanout
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peer_data_server::{Broker, Mailbox, PeerId, RoomId, Signal, Undelivered};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// How many senders there are in rooms of their own, or in one.
const THREADS: [usize; 3] = [1, 2, 4];

/// What a mailbox has to do at the least: it keeps a reference, as an outbox does, and counts.
#[derive(Default)]
struct Counter {
    last: std::sync::Mutex<Option<Signal>>,
    taken: AtomicU64,
}

impl Mailbox for Counter {
    fn deliver(self: &Arc<Self>, signal: &Signal) -> Result<(), Undelivered> {
        let mut last = self.last.lock().map_err(|_| Undelivered::Closed)?;
        *last = Some(signal.clone());
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Members of one room.
struct Party {
    room: RoomId,
    ids: Vec<PeerId>,
    mailboxes: Vec<Arc<Counter>>,
}

impl Party {
    fn gather(broker: &Broker<Counter>, name: &str, size: usize) -> Self {
        let room = RoomId::new(name).expect("a name");
        let mut party = Self {
            room,
            ids: Vec::new(),
            mailboxes: Vec::new(),
        };
        for _ in 0..size {
            let id = PeerId::random().expect("randomness");
            let mailbox = Arc::new(Counter::default());
            broker.attach(id, Arc::clone(&mailbox)).expect("a new id");
            broker.join(&id, &party.room).expect("attached");
            party.ids.push(id);
            party.mailboxes.push(mailbox);
        }
        party
    }

    /// What a member does when it says something to all others.
    fn speak(&self, broker: &Broker<Counter>, signal: &Signal) -> usize {
        let delivery = broker.to_room(&self.room, self.ids.first(), signal);
        delivery.delivered
    }

    fn taken(&self) -> u64 {
        let taken = self.mailboxes.iter();
        taken
            .map(|mailbox| mailbox.taken.load(Ordering::Relaxed))
            .sum()
    }
}

fn signal() -> Signal {
    Signal::new("CHAT", None, &"Hello everybody".repeat(8)).expect("JSON")
}

fn one_sender(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("to a room");
    for size in SIZES {
        let broker = Broker::new();
        let party = Party::gather(&broker, "lobby", size);
        let signal = signal();
        assert_eq!(party.speak(&broker, &signal), size - 1);
        assert_eq!(party.taken(), elements(size - 1));
        group.throughput(Throughput::Elements(elements(size - 1)));
        group.bench_function(format!("{size} members"), |bencher| {
            bencher.iter(|| party.speak(&broker, black_box(&signal)));
        });
    }
    group.finish();
}

/// A message to one of a room, with the checks that a relay makes.
fn one_to_one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("to one of a room");
    for size in SIZES {
        let broker = Broker::new();
        let party = Party::gather(&broker, "lobby", size);
        let signal = signal();
        group.bench_function(format!("{size} members"), |bencher| {
            let mut turns = party.ids.iter().cycle();
            let own = party.ids[0];
            bencher.iter(|| {
                let other = turns.next().expect("an endless iterator");
                let mailbox = broker.route(&own, other, party.room.as_str());
                mailbox.expect("a member").deliver(&signal)
            });
        });
    }
    group.finish();
}

/// Each thread has a room of its own, or all speak in one: what sharing costs.
fn several_senders(criterion: &mut Criterion) {
    const SIZE: usize = 100;
    for shared in [false, true] {
        let name = if shared {
            "100 members, all threads in one room"
        } else {
            "100 members, a room for each thread"
        };
        let mut group = criterion.benchmark_group(name);
        for threads in THREADS {
            let broker = Broker::new();
            let parties: Vec<_> = (0..if shared { 1 } else { threads })
                .map(|number| Party::gather(&broker, &format!("room {number}"), SIZE))
                .collect();
            group.throughput(Throughput::Elements(elements((SIZE - 1) * threads)));
            group.bench_function(format!("{threads} threads"), |bencher| {
                bencher.iter_custom(|rounds| all_speak(&broker, &parties, threads, rounds));
            });
        }
        group.finish();
    }
}

/// How long it takes until each thread has spoken so many times.
fn all_speak(broker: &Broker<Counter>, parties: &[Party], threads: usize, rounds: u64) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for party in parties.iter().cycle().take(threads) {
            scope.spawn(move || {
                let signal = signal();
                for _ in 0..rounds {
                    black_box(party.speak(broker, &signal));
                }
            });
        }
    });
    began.elapsed()
}

fn coming_and_going(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("leave and join");
    for size in SIZES {
        let broker = Broker::new();
        let party = Party::gather(&broker, "lobby", size);
        // Somebody in the middle: members are kept in the order in which they came.
        let id = party.ids[size / 2];
        group.bench_function(format!("{size} members"), |bencher| {
            bencher.iter(|| {
                let departure = broker.leave(&id, party.room.as_str());
                assert!(departure.is_some_and(|departure| departure.others.len() == size - 1));
                let joined = broker.join(&id, &party.room).expect("attached");
                assert_eq!(joined.members.len(), size);
            });
        });
    }
    group.finish();
}

fn elements(count: usize) -> u64 {
    count as u64
}

criterion_group!(
    benches,
    one_sender,
    one_to_one,
    several_senders,
    coming_and_going
);
criterion_main!(benches);
