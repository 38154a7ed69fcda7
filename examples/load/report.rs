//! The figures of one run.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::crowd::Crowd;
use crate::ledger::Faults;
use crate::options::{Options, Workload};
use crate::process::{Process, Processes, Usage};
use crate::server::Server;

/// The beginning of what is measured.
pub(crate) struct Watch<'a> {
    processes: Option<&'a Processes>,
    began: Instant,
    server: Vec<Usage>,
    bus: Option<(&'a Processes, Vec<Usage>)>,
    own: Usage,
    delivered: u64,
}

impl<'a> Watch<'a> {
    pub(crate) fn start(server: &'a Server, crowd: Option<&Crowd>) -> Result<Self, Failure> {
        let processes = server.processes.as_ref();
        let usage = processes.map(Processes::usage).transpose()?;
        let bus = server.bus.as_ref();
        let bus = bus.map(|bus| bus.usage().map(|usage| (bus, usage)));
        Ok(Self {
            processes,
            bus: bus.transpose()?,
            delivered: crowd.map_or(0, |crowd| crowd.ledger.borrow().delivered),
            own: Process::own().usage()?,
            server: usage.unwrap_or_default(),
            began: Instant::now(),
        })
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The server's CPU time since then.
    pub(crate) fn server_cpu(&self) -> Result<Option<Duration>, Failure> {
        let used = self.processes.map(|all| all.used_since(&self.server));
        used.transpose()
    }

    /// Ends it: `end` is when the last of it was done.
    pub(crate) fn stop(&self, crowd: &Crowd, end: Instant) -> Result<Report, Failure> {
        let cpu = self.server_cpu()?;
        let own = Process::own().usage()?.since(&self.own);
        let ledger = crowd.ledger.borrow();
        let delivered = ledger.delivered - self.delivered;
        let wall = end.saturating_duration_since(self.began).as_secs_f64();
        let mut report = Report::default();
        report.set("wall_s", round(wall));
        report.set("delivered", delivered);
        report.set("per_second", (count(delivered) / wall).round());
        if let Some(cpu) = cpu {
            report.set("server_cpu_s", round(cpu.as_secs_f64()));
            report.set("cpu_us_per_delivery", micros(cpu, delivered));
        }
        if let Some((bus, then)) = &self.bus {
            let cpu = bus.used_since(then)?;
            report.set("bus_cpu_us_per_delivery", micros(cpu, delivered));
        }
        report.set("own_cpu_s", round(own.as_secs_f64()));
        report.set("p50_us", ledger.latency_us(0.5));
        report.set("p99_us", ledger.latency_us(0.99));
        Ok(report)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Map<String, Value>,
    faults: Faults,
}

impl Report {
    pub(crate) fn set(&mut self, name: &str, figure: impl Into<Value>) {
        self.figures.insert(name.to_owned(), figure.into());
    }

    /// Waits for what is still on its way, and notes what went wrong.
    pub(crate) async fn settle(&mut self, crowd: &Crowd) -> Result<(), Failure> {
        crowd.settle().await?;
        self.faults = crowd.ledger.borrow_mut().settle();
        Ok(())
    }

    /// Notes what went wrong in another run that belongs to this one.
    pub(crate) fn blame(&mut self, other: &Self) {
        self.faults += other.faults;
    }

    pub(crate) fn is_correct(&self) -> bool {
        self.faults == Faults::default()
    }

    /// Whether deliveries took longer than they may.
    pub(crate) fn is_late(&self, options: &Options) -> bool {
        let p99 = self.figures.get("p99_us").and_then(Value::as_u64);
        let took = p99.map(Duration::from_micros);
        options
            .max_p99
            .zip(took)
            .is_some_and(|(max, took)| took > max)
    }

    /// All of it, a line for each figure.
    pub(crate) fn summary(&self, options: &Options) -> String {
        let (workload, wire) = &options.names;
        let faults = [
            ("lost", self.faults.lost),
            ("misdelivered", self.faults.misdelivered),
            ("reordered", self.faults.reordered),
            ("wrong_callers", self.faults.wrong_callers),
        ];
        let faults = faults.map(|(name, count)| (name.to_owned(), Value::from(count)));
        let figures = self.figures.clone().into_iter().chain(faults);
        let mut text = format!("{workload} on {wire}, {}\n", size(options));
        for (name, figure) in figures {
            let (name, unit) = unit(&name);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<28} {figure:>12} {unit}");
        }
        if let Some(max) = options.max_p99.filter(|_| self.is_late(options)) {
            let max = max.as_secs_f64() * 1e3;
            let _ = writeln!(text, "  p99 is over the bound of {max} ms");
        }
        text
    }

    /// All of it, as one line of JSON.
    pub(crate) fn line(&self, options: &Options) -> String {
        let (workload, wire) = &options.names;
        let mut line = json!({
            "server": options.label(),
            "workload": workload,
            "wire": wire,
            "size": size(options),
            "lost": self.faults.lost,
            "misdelivered": self.faults.misdelivered,
            "reordered": self.faults.reordered,
            "wrong_callers": self.faults.wrong_callers,
        });
        if let Value::Object(members) = &mut line {
            members.extend(self.figures.clone());
        }
        line.to_string()
    }
}

/// What a figure is called among people, and what it is counted in.
fn unit(name: &str) -> (String, &'static str) {
    let units = [("_us", "µs"), ("_ms", "ms"), ("_s", "s"), ("_kb", "KB")];
    for (short, unit) in units {
        if let Some(name) = name.strip_suffix(short) {
            return (name.replace('_', " "), unit);
        }
        if let Some((what, each)) = name.split_once(&format!("{short}_per_")) {
            return (
                format!("{} per {}", what.replace('_', " "), each.replace('_', " ")),
                unit,
            );
        }
    }
    (name.replace('_', " "), "")
}

fn size(options: &Options) -> String {
    match options.workload {
        Workload::Relay => format!("{} pairs, window {}", options.pairs, options.window),
        Workload::Fanout => format!("{} peers", options.peers),
        Workload::Call => format!("{} rooms of {}", options.rooms, options.peers),
        Workload::Idle if options.talk => format!("{}, after talking", options.conns),
        Workload::Idle => format!("{}, silent", options.conns),
    }
}

/// Microseconds for each of `number`, to two places.
pub(crate) fn micros(total: Duration, number: u64) -> f64 {
    round(total.as_secs_f64() * 1e6 / count(number.max(1)))
}

pub(crate) fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// No run counts as far as a float does not.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}
