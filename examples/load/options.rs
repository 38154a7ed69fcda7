//! What one run is to be.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::Failure;

pub(crate) const HELP: &str = "\
load WORKLOAD --wire WIRE (--start PROGRAM | --url URLS [--server-pid PIDS]) [--OPTION VALUE]...
load table FILE...

workloads:
  relay    pairs that answer each CANDIDATE with one   --pairs 50 --window 1 --secs 5 --warmup 1
  fanout   one of a room sends to all the others       --peers 100 --window 2 --secs 5 --warmup 1
  call     rooms in which everybody calls everybody    --rooms 500 --peers 4
  idle     connections that do nothing                 --conns 1000 --hold 3 --talk no --rounds 1
wires:
  eio3, eio4          Socket.IO over websocket, revisions 3 and 4 of Engine.IO
  polling3, polling4  the same, on sessions that stay on long-polling
  json                plain JSON
  all                 all of these, one client after the other, in the same rooms
Of several nodes, one client after the other goes to the next.
options:
  --start PROGRAM     a server to start on a free port; it says its URL on its first line
  --nodes N           how many of it to start; PEER_DATA_CLUSTER says on which bus they meet [1]
  --url URL,URL,...   a server that runs, http or https; or several nodes of one
  --server-pid PID,.. their processes, to count CPU and memory of; else there are no figures of these
  --bus-pid PID       the process of the bus between nodes, to count its CPU
  --path PATH         where signaling is mounted [/socket.io/ or /peer-data]
  --ca FILE           a PEM file: the certificates to trust, instead of the system's; a server that is
                      started is given one of its own, which is trusted
  --label NAME        what to call the server in the results [the program, or the URL]
  --at-once N         connections being set up at a time [64]
  --hold SECONDS      how long idle connections are held before they are looked at
  --talk yes          two by two, idle connections negotiate first
  --rounds N          come and go that often, to see what memory stays
  --pause yes         before they leave, say `held` and wait for the end of standard input
  --output FORM       summary, for people, or json, one line [summary]
  --max-p99 MS        a latency that 99 % of the deliveries must keep to, for the exit status
exit status: 0 if all went well; 1 if a signal was lost, misdelivered, out of order or under a wrong
name, or too many were late; 2 if the run could not be made";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Relay,
    Fanout,
    Call,
    Idle,
}

impl Workload {
    /// Whether an option means anything to it: a run that is not what was asked for must not pass for it.
    fn has(self, option: &str) -> bool {
        match option {
            "--pairs" => self == Self::Relay,
            "--window" | "--secs" | "--warmup" => matches!(self, Self::Relay | Self::Fanout),
            "--peers" => matches!(self, Self::Fanout | Self::Call),
            "--rooms" => self == Self::Call,
            "--max-p99" => self != Self::Idle,
            "--conns" | "--hold" | "--talk" | "--rounds" | "--pause" => self == Self::Idle,
            _ => true,
        }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "relay" => Ok(Self::Relay),
            "fanout" => Ok(Self::Fanout),
            "call" => Ok(Self::Call),
            "idle" => Ok(Self::Idle),
            _ => Err(format!("no workload {name}; see --help")),
        }
    }
}

/// How clients are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Socket(Revision),
    Polling(Revision),
    Json,
}

/// The two generations of Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    V3,
    V4,
}

impl FromStr for Wire {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "eio3" => Ok(Self::Socket(Revision::V3)),
            "eio4" => Ok(Self::Socket(Revision::V4)),
            "polling3" => Ok(Self::Polling(Revision::V3)),
            "polling4" => Ok(Self::Polling(Revision::V4)),
            "json" => Ok(Self::Json),
            _ => Err(format!("no wire {name}; see --help")),
        }
    }
}

/// Every wire, so that those who meet first are of different kinds.
const ALL: [Wire; 5] = [
    Wire::Json,
    Wire::Socket(Revision::V4),
    Wire::Socket(Revision::V3),
    Wire::Polling(Revision::V4),
    Wire::Polling(Revision::V3),
];

/// What is printed in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Summary,
    Json,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) workload: Workload,
    /// One client after the other takes the next of them.
    wires: Vec<Wire>,
    /// The names of both, for the report.
    pub(crate) names: (String, String),
    pub(crate) start: Option<PathBuf>,
    pub(crate) nodes: usize,
    pub(crate) urls: Vec<String>,
    pub(crate) server_pids: Vec<u32>,
    pub(crate) bus_pid: Option<u32>,
    pub(crate) path: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) label: Option<String>,
    pub(crate) at_once: usize,
    pub(crate) pairs: usize,
    pub(crate) peers: usize,
    pub(crate) rooms: usize,
    pub(crate) conns: usize,
    pub(crate) window: usize,
    pub(crate) length: Duration,
    pub(crate) warmup: Duration,
    pub(crate) hold: Duration,
    pub(crate) talk: bool,
    pub(crate) rounds: usize,
    pub(crate) pause: bool,
    pub(crate) output: Output,
    pub(crate) max_p99: Option<Duration>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let (workload, mut rest) = arguments.split_first().ok_or(HELP)?;
        let kind: Workload = workload.parse()?;
        let seconds = Duration::from_secs;
        let mut options = Self {
            workload: kind,
            wires: vec![Wire::Json],
            names: (workload.clone(), "json".to_owned()),
            start: None,
            nodes: 1,
            urls: Vec::new(),
            server_pids: Vec::new(),
            bus_pid: None,
            path: None,
            ca: None,
            label: None,
            at_once: 64,
            pairs: 50,
            peers: if kind == Workload::Call { 4 } else { 100 },
            rooms: 500,
            conns: 1_000,
            window: if kind == Workload::Fanout { 2 } else { 1 },
            length: seconds(5),
            warmup: seconds(1),
            hold: seconds(3),
            talk: false,
            rounds: 1,
            pause: false,
            output: Output::Summary,
            max_p99: None,
        };
        while let [name, value, after @ ..] = rest {
            if !kind.has(name) {
                return Err(format!("{workload} has no {name}; see --help").into());
            }
            options.set(name, value)?;
            rest = after;
        }
        match rest {
            [] if options.pause && options.rounds > 1 => Err(
                "--pause waits for the end of standard input, which comes once: --rounds 1".into(),
            ),
            [] if options.start.is_some() == options.urls.is_empty() => Ok(options),
            [] => Err("either --start or --url; see --help".into()),
            [name, ..] => Err(format!("{name}: no value; see --help").into()),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let wrong = |error: &dyn std::fmt::Display| format!("{name} {value}: {error}");
        let count = || match value.parse() {
            Ok(0) => Err(wrong(&"at least 1")),
            Ok(count) => Ok(count),
            Err(error) => Err(wrong(&error)),
        };
        let duration = || {
            let seconds = value.parse().map_err(|error| wrong(&error))?;
            Duration::try_from_secs_f64(seconds).map_err(|error| wrong(&error))
        };
        let yes = || match value {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(wrong(&"yes or no")),
        };
        match name {
            "--wire" => {
                self.wires = match value {
                    "all" => ALL.to_vec(),
                    _ => vec![value.parse()?],
                };
                value.clone_into(&mut self.names.1);
            }
            "--start" => self.start = Some(value.into()),
            "--nodes" => self.nodes = count()?,
            "--url" => self.urls = value.split(',').map(str::to_owned).collect(),
            "--server-pid" => {
                let pids = value.split(',').map(str::parse).collect::<Result<_, _>>();
                self.server_pids = pids.map_err(|error| wrong(&error))?;
            }
            "--bus-pid" => self.bus_pid = Some(value.parse().map_err(|error| wrong(&error))?),
            "--path" => self.path = Some(value.to_owned()),
            "--ca" => self.ca = Some(value.into()),
            "--label" => self.label = Some(value.to_owned()),
            "--at-once" => self.at_once = count()?,
            "--pairs" => self.pairs = count()?,
            "--peers" => self.peers = count()?,
            "--rooms" => self.rooms = count()?,
            "--conns" => self.conns = count()?,
            "--window" => self.window = count()?,
            "--secs" => self.length = duration()?,
            "--warmup" => self.warmup = duration()?,
            "--hold" => self.hold = duration()?,
            "--talk" => self.talk = yes()?,
            "--rounds" => self.rounds = count()?,
            "--pause" => self.pause = yes()?,
            "--max-p99" => {
                let bound: f64 = value.parse().map_err(|error| wrong(&error))?;
                let bound = Duration::try_from_secs_f64(bound / 1e3);
                self.max_p99 = Some(bound.map_err(|error| wrong(&error))?);
            }
            "--output" => {
                self.output = match value {
                    "summary" => Output::Summary,
                    "json" => Output::Json,
                    _ => return Err(wrong(&"summary or json").into()),
                };
            }
            _ => return Err(format!("no option {name}; see --help").into()),
        }
        Ok(())
    }

    pub(crate) fn wire(&self, client: usize) -> Wire {
        self.wires[client % self.wires.len()]
    }

    /// What the server is called in the results.
    pub(crate) fn label(&self) -> String {
        let program = self.start.as_ref().and_then(|path| path.file_name());
        let program = program.map(|name| name.to_string_lossy().into_owned());
        let given = self.label.clone();
        given.or(program).unwrap_or_else(|| self.urls.join(","))
    }
}
