//! How long to wait before the next attempt.

use std::time::Duration;

/// Delays between attempts to connect: each twice the one before, up to a bound, and each made
/// shorter at random by up to a half, so that nodes which have lost the bus together do not all come
/// back in the same moment.
///
/// ```
/// use std::time::Duration;
/// use peer_data_server::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// let first = backoff.next_delay();
/// assert!(first >= Duration::from_millis(50) && first <= Duration::from_millis(100));
/// for _ in 0..20 {
///     assert!(backoff.next_delay() <= Duration::from_secs(10));
/// }
/// backoff.reset();
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// How long to wait now.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next.min(self.most);
        self.next = delay.saturating_mul(2);
        delay.saturating_sub(jitter(delay / 2))
    }

    /// An attempt has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// From 100 ms to 10 s: a bus that restarts is found within seconds, and one that is away for long
/// is asked six times a minute by each node.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

/// Any time up to `most`.
pub(crate) fn jitter(most: Duration) -> Duration {
    most.mul_f64(crate::id::chance())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_differ() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 8 * second);
        for most in [1, 2, 4, 8, 8, 8] {
            let delay = backoff.next_delay();
            assert!(
                delay >= most * second / 2 && delay <= most * second,
                "{delay:?}"
            );
        }
        backoff.reset();
        let delays: std::collections::HashSet<_> =
            (0..10).map(|_| backoff.clone().next_delay()).collect();
        assert!(delays.len() > 1, "there is chance in it");
    }
}
