//! How much a client may say, and what happens to one that says more.
//!
//! An allowance fills at a steady rate up to its burst. What is read is always taken from it, even
//! if that makes it owe something; a client that owes is not read until the debt is paid. It is
//! *throttled* from its first debt until half of each burst is free again, and one that makes a new
//! debt after it was throttled for its patience is spent.

use std::time::{Duration, Instant};

use crate::limits::Limits;

const NANOS: u128 = 1_000_000_000;

/// What a client's words come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charged {
    /// Go on reading.
    Free,
    /// Read on after that time; never more than the patience.
    Pause(Duration),
    /// It was told to wait for long enough: end it.
    Spent,
}

/// One client's allowances.
#[derive(Debug)]
pub(super) struct Meter {
    events: Option<Allowance>,
    bytes: Option<Allowance>,
    patience: Duration,
    throttled_since: Option<Instant>,
    paused_until: Instant,
}

impl Meter {
    /// None where nothing is limited.
    pub(super) fn new(limits: &Limits, now: Instant) -> Option<Box<Self>> {
        limits.has_rates().then(|| {
            Box::new(Self {
                events: Allowance::new(limits.events_per_second, limits.event_burst, now),
                bytes: Allowance::new(limits.bytes_per_second, limits.byte_burst, now),
                patience: limits.rate_patience,
                throttled_since: None,
                paused_until: now,
            })
        })
    }

    /// Takes what was read from the allowances.
    pub(super) fn charge(&mut self, events: usize, bytes: usize, now: Instant) -> Charged {
        let allowances = [(&mut self.events, events), (&mut self.bytes, bytes)];
        let mut recovered = true;
        let mut debt = Duration::ZERO;
        for (allowance, amount) in allowances {
            if let Some(allowance) = allowance {
                recovered &= allowance.is_half_free(now);
                debt = debt.max(allowance.take(amount, self.patience, now));
            }
        }
        if recovered {
            self.throttled_since = None;
        }
        if debt.is_zero() {
            return Charged::Free;
        }
        let since = *self.throttled_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.patience {
            return Charged::Spent;
        }
        self.paused_until = now + debt;
        Charged::Pause(debt)
    }

    /// For how long the client is still not read.
    pub(super) fn pause_left(&self, now: Instant) -> Duration {
        self.paused_until.saturating_duration_since(now)
    }
}

#[derive(Debug)]
struct Allowance {
    per_second: u128,
    /// How long it takes to fill.
    burst: Duration,
    /// When it will be full again, if nothing more is taken.
    full_at: Instant,
}

impl Allowance {
    /// None without a rate. A burst of 0 is what comes in a second.
    fn new(per_second: usize, burst: usize, now: Instant) -> Option<Self> {
        let burst = if burst == 0 { per_second } else { burst };
        (per_second > 0).then(|| Self {
            per_second: per_second as u128,
            burst: time_for(burst, per_second as u128),
            full_at: now,
        })
    }

    fn is_half_free(&self, now: Instant) -> bool {
        self.full_at.saturating_duration_since(now) <= self.burst / 2
    }

    /// Takes that much, and says how long it takes to pay what is owed then. More than `worst` is
    /// never owed: it could not be told from a client that is gone.
    fn take(&mut self, amount: usize, worst: Duration, now: Instant) -> Duration {
        let taken = self.full_at.saturating_duration_since(now);
        let taken = taken
            .saturating_add(time_for(amount, self.per_second))
            .min(self.burst.saturating_add(worst));
        self.full_at = now + taken;
        taken.saturating_sub(self.burst)
    }
}

/// How long it takes until so much may be taken again.
fn time_for(amount: usize, per_second: u128) -> Duration {
    let nanos = amount as u128 * NANOS / per_second.max(1);
    Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Ten events a second and twenty at once, a thousand bytes a second and as many at once.
    fn meter(now: Instant) -> Meter {
        let limits = Limits {
            events_per_second: 10,
            event_burst: 20,
            bytes_per_second: 1_000,
            rate_patience: 5 * SECOND,
            ..Limits::default()
        };
        *Meter::new(&limits, now).unwrap()
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_limited() {
        assert!(Meter::new(&Limits::default(), Instant::now()).is_none());
    }

    #[test]
    fn a_burst_is_free_and_what_follows_waits_for_its_time() {
        let now = Instant::now();
        let mut meter = meter(now);
        assert_eq!(meter.charge(20, 0, now), Charged::Free);
        assert_eq!(meter.charge(1, 0, now), Charged::Pause(SECOND / 10));
        assert_eq!(meter.pause_left(now), SECOND / 10);
        let later = now + SECOND / 10;
        assert_eq!(meter.pause_left(later), Duration::ZERO);
        assert_eq!(meter.charge(0, 0, later), Charged::Free);
        assert_eq!(meter.charge(5, 0, later), Charged::Pause(SECOND / 2));
    }

    #[test]
    fn bytes_count_like_events_and_the_larger_debt_is_what_matters() {
        let now = Instant::now();
        let mut meter = meter(now);
        assert_eq!(meter.charge(1, 1_000, now), Charged::Free);
        assert_eq!(meter.charge(1, 500, now), Charged::Pause(SECOND / 2));
        assert_eq!(meter.charge(28, 0, now), Charged::Pause(SECOND));
    }

    #[test]
    fn the_burst_comes_back_with_time_and_no_more_than_it() {
        let now = Instant::now();
        let mut meter = meter(now);
        assert_eq!(meter.charge(20, 0, now), Charged::Free);
        assert_eq!(meter.charge(10, 0, now + SECOND), Charged::Free);
        let later = now + 1_000 * SECOND;
        assert_eq!(meter.charge(20, 0, later), Charged::Free);
        assert!(matches!(meter.charge(1, 0, later), Charged::Pause(_)));
    }

    #[test]
    fn one_who_keeps_to_the_rate_is_never_made_to_wait() {
        let start = Instant::now();
        let mut meter = meter(start);
        for n in 0..10_000 {
            let now = start + n * SECOND / 10;
            assert_eq!(meter.charge(1, 100, now), Charged::Free, "{n}");
        }
    }

    #[test]
    fn a_slow_patience_ends_what_stays_over_the_rate() {
        let start = Instant::now();
        let (mut meter, mut now, mut charges) = (meter(start), start, 0);
        // Reads as soon as it may, and finds twice as much as there should be.
        let end = loop {
            match meter.charge(30, 0, now) {
                Charged::Free => {}
                Charged::Pause(pause) => now += pause,
                Charged::Spent => break now - start,
            }
            charges += 1;
        };
        assert_eq!(
            (charges, end),
            (3, 7 * SECOND),
            "the first read after the patience"
        );
    }

    #[test]
    fn silence_for_half_a_burst_is_forgiven_and_less_is_not() {
        let half = SECOND;
        for (silence, expected) in [
            (6 * SECOND, true),
            (6 * SECOND + half, true),
            (5 * SECOND, false),
        ] {
            let now = Instant::now();
            let mut meter = meter(now);
            assert_eq!(meter.charge(70, 0, now), Charged::Pause(5 * SECOND));
            // Free of debt after five seconds, half free a second later.
            let later = now + silence;
            let forgiven = matches!(meter.charge(70, 0, later), Charged::Pause(_));
            assert_eq!(forgiven, expected, "{silence:?}");
        }
    }

    #[test]
    fn no_debt_is_larger_than_the_patience() {
        let now = Instant::now();
        let mut meter = meter(now);
        assert_eq!(
            meter.charge(usize::MAX, usize::MAX, now),
            Charged::Pause(5 * SECOND)
        );
        let later = now + 5 * SECOND;
        assert_eq!(meter.charge(0, 0, later), Charged::Free);
        // It was one large piece. The next proves that it goes on.
        assert_eq!(meter.charge(1, 0, later), Charged::Spent);
    }

    #[test]
    fn the_largest_settings_do_not_overflow() {
        let now = Instant::now();
        let limits = Limits {
            events_per_second: 1,
            event_burst: 1 << 30,
            bytes_per_second: 1 << 30,
            byte_burst: 1,
            rate_patience: 86_400 * SECOND,
            ..Limits::default()
        };
        let mut meter = Meter::new(&limits, now).unwrap();
        assert_eq!(meter.charge(1 << 30, 1, now), Charged::Free);
        assert_eq!(
            meter.charge(usize::MAX, usize::MAX, now),
            Charged::Pause(86_400 * SECOND)
        );
    }
}
