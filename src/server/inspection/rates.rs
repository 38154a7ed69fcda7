//! How much clients have to say and to hear at the moment: what each session has counted between the
//! last two samples.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::id::SessionId;
use crate::limits::LOOK_SAMPLES;
use crate::observe::Usage;
use crate::sync::lock;

/// What is counted in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Rate {
    #[serde(rename = "events_per_s")]
    pub(crate) events: f64,
    #[serde(rename = "received_per_s")]
    pub(crate) received: f64,
    #[serde(rename = "deliveries_per_s")]
    pub(crate) deliveries: f64,
    #[serde(rename = "sent_per_s")]
    pub(crate) sent: f64,
}

impl Rate {
    #[allow(clippy::cast_precision_loss)]
    fn new(usage: Usage, seconds: f64) -> Self {
        let rate = |count: u64| count as f64 / seconds;
        Self {
            events: rate(usage.events),
            received: rate(usage.received),
            deliveries: rate(usage.deliveries),
            sent: rate(usage.sent),
        }
    }
}

impl AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.received += other.received;
        self.deliveries += other.deliveries;
        self.sent += other.sent;
    }
}

/// What was measured at one moment. Ids of sessions are drawn: nobody chooses the keys.
#[derive(Default)]
pub(super) struct Measured {
    at: Option<Instant>,
    sessions: HashMap<SessionId, (Usage, Option<Rate>), RandomState>,
}

impl Measured {
    /// None of a session that was not there at the last two samples: what it had counted before it
    /// was seen first is of no certain time.
    pub(super) fn of(&self, sid: &SessionId) -> Option<Rate> {
        self.sessions.get(sid)?.1
    }
}

#[derive(Default)]
pub(super) struct Rates {
    measured: Mutex<Arc<Measured>>,
    /// For how many samples more somebody looks on.
    looked: AtomicUsize,
}

impl Rates {
    /// The last that were measured. Where nobody has looked of late, they come with later samples.
    pub(super) fn look(&self) -> Arc<Measured> {
        self.looked.store(LOOK_SAMPLES, Ordering::Relaxed);
        Arc::clone(&lock(&self.measured))
    }

    /// `counted`: what each session that there is has counted.
    pub(super) fn sample(&self, counted: &[(SessionId, Usage)], now: Instant) {
        let less = |looks: usize| looks.checked_sub(1);
        let looked = self
            .looked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let measured = match looked {
            Ok(_) => lock(&self.measured).next(counted, now),
            Err(_) => Measured::default(),
        };
        *lock(&self.measured) = Arc::new(measured);
    }
}

impl Measured {
    fn next(&self, counted: &[(SessionId, Usage)], now: Instant) -> Self {
        let past = self.at.map(|at| now.saturating_duration_since(at));
        let seconds = past.map(|past| past.as_secs_f64());
        let measure = |&(sid, usage): &(SessionId, Usage)| {
            let before = self.sessions.get(&sid).map(|(before, _)| *before);
            let rate = before
                .zip(seconds.filter(|seconds| *seconds > 0.0))
                .map(|(before, seconds)| Rate::new(usage - before, seconds));
            (sid, (usage, rate))
        };
        Self {
            at: Some(now),
            sessions: counted.iter().map(measure).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn counted(sid: SessionId, events: u64) -> (SessionId, Usage) {
        let usage = Usage {
            events,
            ..Usage::default()
        };
        (sid, usage)
    }

    fn events_per_s(rates: &Rates, sid: &SessionId) -> Option<f64> {
        rates.look().of(sid).map(|rate| rate.events)
    }

    #[test]
    fn a_rate_is_of_what_was_counted_between_two_samples() {
        let [ann, ben] = [(); 2].map(|()| SessionId::random().unwrap());
        let rates = Rates::default();
        let start = Instant::now();
        rates.look();
        rates.sample(&[counted(ann, 1_000)], start);
        assert_eq!(
            events_per_s(&rates, &ann),
            None,
            "it has a past, of no certain time"
        );
        let now = start + Duration::from_secs(2);
        rates.sample(&[counted(ann, 1_010), counted(ben, 5_000)], now);
        assert_eq!(events_per_s(&rates, &ann), Some(5.0));
        assert_eq!(events_per_s(&rates, &ben), None, "it has just come");
        let now = now + Duration::from_secs(4);
        rates.sample(&[counted(ann, 1_010), counted(ben, 5_004)], now);
        assert_eq!(events_per_s(&rates, &ann), Some(0.0));
        assert_eq!(events_per_s(&rates, &ben), Some(1.0));
        rates.sample(&[counted(ann, 1_010)], now + Duration::from_secs(2));
        assert_eq!(events_per_s(&rates, &ben), None, "it has gone");
    }

    #[test]
    fn nothing_is_kept_when_nobody_looks() {
        let ann = SessionId::random().unwrap();
        let rates = Rates::default();
        let mut now = Instant::now();
        let mut sample = || {
            now += Duration::from_secs(2);
            rates.sample(&[counted(ann, 1)], now);
            lock(&rates.measured).sessions.len()
        };
        assert_eq!(sample(), 0, "nobody has looked");
        rates.look();
        for _ in 0..LOOK_SAMPLES {
            assert_eq!(sample(), 1);
        }
        assert_eq!(sample(), 0, "and nobody does any longer");
    }
}
