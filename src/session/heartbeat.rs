//! Who pings whom, and when silence is death.

use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::observe::Stopwatch;

/// One client's heartbeat: when to act next, and what the act is.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    keeper: Keeper,
    due: Instant,
    /// The server has pinged and waits for the answer.
    pinged: bool,
    stopwatch: Stopwatch,
}

/// The side that keeps the beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// Engine.IO 3: the client pings, and any packet shows that it lives.
    Client,
    /// Engine.IO 4 and plain JSON: the server pings after each interval.
    Server,
}

/// What a due heartbeat asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Not due yet.
    Wait,
    /// Send a ping.
    Ping,
    /// The client is gone.
    Dead,
}

impl Heartbeat {
    pub(crate) fn new(keeper: Keeper, limits: &Limits, now: Instant) -> Self {
        let mut heartbeat = Self {
            keeper,
            due: now,
            pinged: false,
            stopwatch: Stopwatch::default(),
        };
        heartbeat.rest(limits, now);
        heartbeat
    }

    /// A packet of any kind came.
    pub(crate) fn heard(&mut self, limits: &Limits, now: Instant) {
        if self.keeper == Keeper::Client {
            self.rest(limits, now);
        }
    }

    /// The answer to the server's ping came; how long it took, if anybody measures.
    pub(crate) fn answered(&mut self, limits: &Limits, now: Instant) -> Option<Duration> {
        if !self.pinged {
            return None;
        }
        self.rest(limits, now);
        self.stopwatch.stop(now)
    }

    /// Nothing of the client is read for so long: what it owes, it may owe so much longer. Not the
    /// server's own ping, which is sent all the same.
    pub(crate) fn postpone(&mut self, pause: Duration) {
        if self.keeper == Keeper::Client || self.pinged {
            self.due += pause;
        }
    }

    /// The client could not be heard: what it owes, it has all the time for from now on.
    pub(crate) fn excuse(&mut self, limits: &Limits, now: Instant) {
        if self.keeper == Keeper::Client || self.pinged {
            self.due = self.due.max(now + limits.ping_timeout);
        }
    }

    fn rest(&mut self, limits: &Limits, now: Instant) {
        self.pinged = false;
        self.due = now
            + match self.keeper {
                Keeper::Client => limits.ping_interval + limits.ping_timeout,
                Keeper::Server => limits.ping_interval,
            };
    }

    pub(crate) fn beat(&mut self, limits: &Limits, now: Instant) -> Beat {
        if now < self.due {
            return Beat::Wait;
        }
        if self.keeper == Keeper::Client || self.pinged {
            return Beat::Dead;
        }
        self.pinged = true;
        self.stopwatch.start(now);
        // Counted from when the ping was due, lest a coarse timer makes clients live longer; but if
        // this server stood still they have all the time for an answer.
        let late = now.saturating_duration_since(self.due) > limits.ping_timeout / 4;
        let pinged = if late { now } else { self.due };
        self.due = pinged + limits.ping_timeout;
        Beat::Ping
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_client_that_keeps_the_beat_lives_while_it_speaks() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut heartbeat = Heartbeat::new(Keeper::Client, &limits, start);
        assert_eq!(heartbeat.due(), start + seconds(45));
        heartbeat.heard(&limits, start + seconds(30));
        assert_eq!(heartbeat.beat(&limits, start + seconds(74)), Beat::Wait);
        assert_eq!(heartbeat.beat(&limits, start + seconds(75)), Beat::Dead);
    }

    #[test]
    fn a_server_pings_and_waits_for_the_answer() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut heartbeat = Heartbeat::new(Keeper::Server, &limits, start);
        assert_eq!(heartbeat.beat(&limits, start + seconds(24)), Beat::Wait);
        assert_eq!(heartbeat.beat(&limits, start + seconds(25)), Beat::Ping);
        heartbeat.heard(&limits, start + seconds(26));
        assert_eq!(
            heartbeat.due(),
            start + seconds(45),
            "only the answer counts"
        );
        heartbeat.answered(&limits, start + seconds(30));
        assert_eq!(heartbeat.beat(&limits, start + seconds(55)), Beat::Ping);
        assert_eq!(heartbeat.beat(&limits, start + seconds(75)), Beat::Dead);
    }

    #[test]
    fn a_client_that_is_not_heard_has_so_much_longer() {
        let (limits, start) = (Limits::default(), Instant::now());
        let mut theirs = Heartbeat::new(Keeper::Client, &limits, start);
        theirs.postpone(seconds(10));
        assert_eq!(theirs.due(), start + seconds(55));
        let mut ours = Heartbeat::new(Keeper::Server, &limits, start);
        ours.postpone(seconds(10));
        assert_eq!(ours.beat(&limits, start + seconds(25)), Beat::Ping);
        ours.postpone(seconds(10));
        assert_eq!(ours.beat(&limits, start + seconds(54)), Beat::Wait);
        assert_eq!(ours.beat(&limits, start + seconds(55)), Beat::Dead);
    }
}
