//! The last minutes: how much there was to do, and what was refused and ended.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::LifecycleEvent;
use crate::error::Code;
use crate::id::{PeerId, RoomId};
use crate::limits::{MAX_RECENT, MAX_SAMPLES};
use crate::observe::Usage;

/// How often what there is to do is taken down. 2 s: what a page that shows it redraws.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// How much there was to do, in one [`SAMPLE_EVERY`] or so.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Sample {
    /// Over how many seconds the counts were made.
    seconds: f64,
    peers: usize,
    rooms: usize,
    #[serde(flatten)]
    usage: Usage,
    refused: u64,
    ended: u64,
}

/// Something that an operator may want to know of.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Recent {
    /// Seconds ago, once it is told.
    ago: f64,
    #[serde(skip)]
    at: Option<Instant>,
    what: What,
    peer: Option<PeerId>,
    address: Option<IpAddr>,
    room: Option<RoomId>,
    /// What programs know it by.
    code: &'static str,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// A client was not let in, or a peer not into a room.
    Refused,
    /// An event was answered with an error.
    Rejected,
    /// A peer is gone.
    Ended,
}

/// All of it, as it is told.
#[derive(Debug, Serialize)]
pub(crate) struct Log {
    /// Oldest first.
    samples: Vec<Sample>,
    /// Latest first.
    refusals: Vec<Recent>,
    endings: Vec<Recent>,
}

pub(super) struct History {
    samples: VecDeque<Sample>,
    refusals: VecDeque<Recent>,
    endings: VecDeque<Recent>,
    /// Of sessions that have ended.
    past: Usage,
    /// When the last sample was taken, and what all sessions had counted by then.
    since: Instant,
    before: Usage,
    refused: u64,
    ended: u64,
}

impl Recent {
    pub(super) fn of(event: &LifecycleEvent) -> Option<Self> {
        let recent = |what, code, message| Self {
            ago: 0.0,
            at: None,
            what,
            peer: None,
            address: None,
            room: None,
            code,
            message,
        };
        match event {
            LifecycleEvent::Disconnected { peer, reason } => Some(Self {
                peer: Some(peer.id()),
                address: peer.address(),
                ..recent(What::Ended, reason.label(), reason.to_string())
            }),
            LifecycleEvent::Refused {
                address,
                peer,
                room,
                why,
                ..
            } => Some(Self {
                peer: peer.as_ref().map(super::super::Peer::id),
                address: *address,
                room: room.clone(),
                ..recent(What::Refused, why.code().as_str(), why.message().to_owned())
            }),
            _ => None,
        }
    }

    pub(super) fn rejected(peer: Option<PeerId>, address: Option<IpAddr>, code: Code) -> Self {
        Self {
            ago: 0.0,
            at: None,
            what: What::Rejected,
            peer,
            address,
            room: None,
            code: code.as_str(),
            message: String::new(),
        }
    }
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            samples: VecDeque::new(),
            refusals: VecDeque::new(),
            endings: VecDeque::new(),
            past: Usage::default(),
            since: now,
            before: Usage::default(),
            refused: 0,
            ended: 0,
        }
    }

    pub(super) fn note(&mut self, mut recent: Recent) {
        let (list, count) = match recent.what {
            What::Ended => (&mut self.endings, &mut self.ended),
            What::Refused | What::Rejected => (&mut self.refusals, &mut self.refused),
        };
        *count += 1;
        recent.at = Some(crate::clock::now());
        push(list, recent, MAX_RECENT);
    }

    pub(super) fn ended(&mut self, usage: Usage) {
        self.past += usage;
    }

    /// `live`: what all sessions have counted that there are.
    pub(super) fn sample(&mut self, peers: usize, rooms: usize, live: Usage, now: Instant) {
        let mut sum = self.past;
        sum += live;
        let sample = Sample {
            seconds: now.saturating_duration_since(self.since).as_secs_f64(),
            peers,
            rooms,
            usage: sum - self.before,
            refused: std::mem::take(&mut self.refused),
            ended: std::mem::take(&mut self.ended),
        };
        self.before = sum;
        self.since = now;
        push(&mut self.samples, sample, MAX_SAMPLES);
    }

    pub(super) fn log(&self, now: Instant) -> Log {
        let told = |list: &VecDeque<Recent>| {
            let latest_first = list.iter().rev();
            let dated = latest_first.map(|recent| {
                let ago = recent.at.map(|at| now.saturating_duration_since(at));
                Recent {
                    ago: ago.unwrap_or_default().as_secs_f64(),
                    ..recent.clone()
                }
            });
            dated.collect()
        };
        Log {
            samples: self.samples.iter().copied().collect(),
            refusals: told(&self.refusals),
            endings: told(&self.endings),
        }
    }
}

/// The oldest goes where there are too many.
fn push<T>(list: &mut VecDeque<T>, item: T, max: usize) {
    if list.len() == max {
        list.pop_front();
    }
    list.push_back(item);
}
