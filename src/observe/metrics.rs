//! The numbers, each registered once and from then on an atomic.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::{Handshake, Line, Mishap, Recovery, Said, Stage, Upgrade, tally};
use crate::ending::CloseReason;
use crate::error::Code;

/// Every wire with every transport that it has.
const LINES: [Line; 5] = [
    ["socket_io_2", "polling"],
    ["socket_io_2", "websocket"],
    ["socket_io_4", "polling"],
    ["socket_io_4", "websocket"],
    ["json", "websocket"],
];

/// The numbers of one server; of none, until it is told which. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Metrics(Option<Arc<Handles>>);

struct Handles {
    peers: [(Line, Gauge); LINES.len()],
    rooms: Gauge,
    room_size: Histogram,
    handshakes: Counters,
    ended: Counters,
    events: Counters,
    refusals: Counters,
    upgrades: Counters,
    mishaps: Counters,
    recoveries: Counters,
    deliveries: Counter,
    received: Counter,
    sent: Counter,
    high_water: (AtomicUsize, Gauge),
    heartbeat: Histogram,
    stages: Vec<Histogram>,
}

impl Handles {
    /// Tells the numbers of one server from those of another.
    fn place(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// See [`Metrics::tally`].
pub(crate) struct Tally<'a>(Option<&'a Handles>);

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        let Some(handles) = self.0 else { return };
        let sums = tally::end();
        let events = sums.events.into_iter().enumerate();
        for (said, count) in events.filter(|(_, count)| *count > 0) {
            handles.events.add(said, count);
        }
        if sums.deliveries > 0 {
            handles.deliveries.increment(sums.deliveries);
        }
    }
}

/// One counter for each value of a label.
pub(super) struct Counters(Vec<Counter>);

impl Counters {
    /// A counter that has not counted yet is told so: not every exporter shows it else.
    pub(super) fn register(
        name: &'static str,
        label: &'static str,
        values: &[&'static str],
    ) -> Self {
        let values = values.iter().copied();
        let counters = values.map(|value| zero(counter!(name, label => value)));
        Self(counters.collect())
    }

    fn count(&self, value: usize) {
        self.add(value, 1);
    }

    pub(super) fn add(&self, value: usize, count: u64) {
        if let Some(counter) = self.0.get(value) {
            counter.increment(count);
        }
    }
}

fn zero(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

pub(super) fn empty(gauge: Gauge) -> Gauge {
    // What another server of this process has put into it stays.
    gauge.increment(0.0);
    gauge
}

impl Metrics {
    /// Registers everything with the recorder that is installed at this moment.
    pub(crate) fn register() -> Self {
        describe();
        let reasons = CloseReason::ALL.map(CloseReason::label);
        let codes = Code::ALL.map(Code::as_str);
        let stages = Stage::TEXTS.iter();
        let stages = stages.map(|stage| histogram!("peer_data_setup_seconds", "stage" => *stage));
        let peers = LINES.map(|line| {
            let [wire, transport] = line;
            let gauge = gauge!("peer_data_peers", "wire" => wire, "transport" => transport);
            (line, empty(gauge))
        });
        Self(Some(Arc::new(Handles {
            peers,
            rooms: empty(gauge!("peer_data_rooms")),
            room_size: histogram!("peer_data_room_size"),
            handshakes: Counters::register(
                "peer_data_handshakes_total",
                "outcome",
                Handshake::TEXTS,
            ),
            ended: Counters::register("peer_data_sessions_ended_total", "reason", &reasons),
            events: Counters::register("peer_data_events_total", "type", Said::TEXTS),
            refusals: Counters::register("peer_data_refusals_total", "code", &codes),
            upgrades: Counters::register("peer_data_upgrades_total", "outcome", Upgrade::TEXTS),
            mishaps: Counters::register("peer_data_setup_mishaps_total", "kind", Mishap::TEXTS),
            recoveries: Counters::register(
                "peer_data_recoveries_total",
                "outcome",
                Recovery::TEXTS,
            ),
            deliveries: zero(counter!("peer_data_deliveries_total")),
            received: zero(counter!("peer_data_received_bytes_total")),
            sent: zero(counter!("peer_data_sent_bytes_total")),
            high_water: (
                AtomicUsize::new(0),
                empty(gauge!("peer_data_outbox_high_water_bytes")),
            ),
            heartbeat: histogram!("peer_data_heartbeat_seconds"),
            stages: stages.collect(),
        })))
    }

    fn with(&self, note: impl FnOnce(&Handles)) {
        if let Some(handles) = &self.0 {
            note(handles);
        }
    }

    /// Adds up what this thread counts of events and deliveries, until the tally is dropped.
    /// Must not be held across an await.
    pub(crate) fn tally(&self) -> Tally<'_> {
        let handles = self.0.as_deref();
        Tally(handles.filter(|handles| tally::begin(handles.place())))
    }

    /// There is a peer more, or one less, on that line.
    pub(crate) fn peer(&self, line: Line, came: bool) {
        self.with(|handles| {
            let mut peers = handles.peers.iter();
            if let Some((_, gauge)) = peers.find(|(other, _)| *other == line) {
                gauge.increment(if came { 1.0 } else { -1.0 });
            }
        });
    }

    /// A room has come to be.
    pub(crate) fn room_opened(&self) {
        self.with(|handles| handles.rooms.increment(1.0));
    }

    /// A room has lost its last member.
    pub(crate) fn room_closed(&self) {
        self.with(|handles| handles.rooms.decrement(1.0));
    }

    /// Somebody has joined a room, which now has so many members.
    pub(crate) fn room_joined(&self, members: usize) {
        // Rooms are far smaller than what a double can hold.
        #[allow(clippy::cast_precision_loss)]
        self.with(|handles| handles.room_size.record(members as f64));
    }

    pub(crate) fn handshake(&self, outcome: Handshake) {
        self.with(|handles| handles.handshakes.count(outcome as usize));
    }

    pub(crate) fn ended(&self, reason: CloseReason) {
        self.with(|handles| handles.ended.count(reason as usize));
    }

    pub(crate) fn event(&self, said: Said) {
        self.with(|handles| {
            if !tally::event(handles.place(), said) {
                handles.events.count(said as usize);
            }
        });
    }

    pub(crate) fn refused(&self, code: Code) {
        self.with(|handles| handles.refusals.count(code as usize));
    }

    pub(crate) fn upgrade(&self, outcome: Upgrade) {
        self.with(|handles| handles.upgrades.count(outcome as usize));
    }

    pub(crate) fn recovery(&self, outcome: Recovery) {
        self.with(|handles| handles.recoveries.count(outcome as usize));
    }

    pub(crate) fn mishap(&self, what: Mishap) {
        self.with(|handles| handles.mishaps.count(what as usize));
    }

    pub(crate) fn stage(&self, stage: Stage, took: Duration) {
        self.with(|handles| {
            if let Some(histogram) = handles.stages.get(stage as usize) {
                histogram.record(took);
            }
        });
    }

    /// A signal was left in an outbox.
    pub(crate) fn delivered(&self) {
        self.with(|handles| {
            if !tally::delivery(handles.place()) {
                handles.deliveries.increment(1);
            }
        });
    }

    /// So much waits for one client.
    pub(crate) fn waiting(&self, bytes: usize) {
        self.with(|handles| {
            let (highest, gauge) = &handles.high_water;
            // Read far more often than written.
            if bytes > highest.load(Ordering::Relaxed) {
                let highest = highest.fetch_max(bytes, Ordering::Relaxed).max(bytes);
                // Outboxes are far smaller than what a double can hold.
                #[allow(clippy::cast_precision_loss)]
                gauge.set(highest as f64);
            }
        });
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.with(|handles| handles.received.increment(bytes as u64));
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.with(|handles| handles.sent.increment(bytes as u64));
    }

    /// A ping was answered, after that time if that is known.
    pub(crate) fn heartbeat(&self, took: Option<Duration>) {
        if let Some(took) = took {
            self.with(|handles| handles.heartbeat.record(took));
        }
    }
}

fn describe() {
    describe_gauge!("peer_data_peers", "Peers that are connected.");
    describe_gauge!("peer_data_rooms", "Rooms that have a member.");
    describe_histogram!(
        "peer_data_room_size",
        "Members of a room once somebody has joined it."
    );
    describe_counter!(
        "peer_data_handshakes_total",
        "What became of clients on their way in."
    );
    describe_counter!(
        "peer_data_sessions_ended_total",
        "Sessions that are over, by the reason."
    );
    describe_counter!("peer_data_events_total", "Events that clients have said.");
    describe_counter!(
        "peer_data_refusals_total",
        "Events that were answered with an error, by its code."
    );
    describe_counter!(
        "peer_data_upgrades_total",
        "What became of websockets that were to take over from long-polling."
    );
    describe_counter!(
        "peer_data_recoveries_total",
        "What became of peers that lost their connection and might have come back."
    );
    describe_counter!(
        "peer_data_deliveries_total",
        "Signals that were left in an outbox."
    );
    describe_counter!(
        "peer_data_received_bytes_total",
        Unit::Bytes,
        "Bytes of websockets and of the bodies of requests."
    );
    describe_counter!(
        "peer_data_sent_bytes_total",
        Unit::Bytes,
        "Bytes of websockets and of the answers to polls."
    );
    describe_gauge!(
        "peer_data_outbox_high_water_bytes",
        Unit::Bytes,
        "The most that has ever waited for one client."
    );
    describe_histogram!(
        "peer_data_heartbeat_seconds",
        Unit::Seconds,
        "Time from a ping of the server to its answer."
    );
    describe_histogram!(
        "peer_data_setup_seconds",
        Unit::Seconds,
        "Time between the steps that set up a call."
    );
    describe_counter!(
        "peer_data_setup_mishaps_total",
        "Offers that went unanswered, and offers that met another."
    );
}

/// Times one thing at a time.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(Option<Instant>);

impl Stopwatch {
    pub(crate) fn start(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// The time since the start, once.
    pub(crate) fn stop(&mut self, now: Instant) -> Option<Duration> {
        let start = self.0.take()?;
        Some(now.saturating_duration_since(start))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}
