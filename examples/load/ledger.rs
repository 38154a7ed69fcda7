//! What was sent and what arrived: every signal is accounted for.

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Failure;
use crate::event::{Kind, Mark};

/// The most nanoseconds that a delivery is counted with.
const LONGEST: u64 = 60_000_000_000;

/// A stream of signals that keeps its order: from one client to another, or to the whole room as
/// one of its members hears it.
type Stream = (usize, usize, bool);

#[derive(Debug)]
pub(crate) struct Ledger {
    began: Instant,
    /// By client, the id that the server gave it, once that is known.
    ids: Vec<Option<String>>,
    taken: HashSet<String>,
    /// By sender and receiver, how many were sent.
    sent: HashMap<(usize, Option<usize>), u64>,
    /// The number that is due next.
    due: HashMap<Stream, u64>,
    latency: Histogram<u64>,
    pub(crate) is_measuring: bool,
    /// How many deliveries there have to be, if none is lost.
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) faults: Faults,
    last_delivery: Instant,
}

/// What a server must not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    /// Came to a client that it was not for, or once too often.
    pub(crate) misdelivered: u64,
    pub(crate) reordered: u64,
    /// Under another name than its sender's.
    pub(crate) wrong_callers: u64,
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.misdelivered += other.misdelivered;
        self.reordered += other.reordered;
        self.wrong_callers += other.wrong_callers;
    }
}

impl Ledger {
    pub(crate) fn new(clients: usize) -> Result<Self, Failure> {
        let now = Instant::now();
        Ok(Self {
            began: now,
            ids: vec![None; clients],
            taken: HashSet::new(),
            sent: HashMap::new(),
            due: HashMap::new(),
            latency: Histogram::new_with_bounds(1, LONGEST, 2)?,
            is_measuring: false,
            expected: 0,
            delivered: 0,
            faults: Faults::default(),
            last_delivery: now,
        })
    }

    pub(crate) fn id(&self, client: usize) -> Option<&str> {
        self.ids.get(client)?.as_deref()
    }

    /// Notes what a client is called. One that is called in two ways, or as another, is wrong.
    pub(crate) fn know(&mut self, client: usize, id: &str) {
        let is_right = match self.ids.get_mut(client) {
            Some(Some(known)) => known == id,
            Some(unknown) => {
                *unknown = Some(id.to_owned());
                self.taken.insert(id.to_owned())
            }
            None => false,
        };
        self.faults.wrong_callers += u64::from(!is_right);
    }

    /// The number and time of a signal that is about to be sent to one, or to `others`.
    pub(crate) fn send(&mut self, from: usize, to: Option<usize>, others: u64) -> (u64, u64) {
        let sent = self.sent.entry((from, to)).or_default();
        let number = *sent;
        *sent += 1;
        self.expected += others;
        (number, self.now())
    }

    /// Notes a signal that `client`, which is in the same room as `from` or not, has heard.
    pub(crate) fn hear(&mut self, client: usize, mark: Mark, is_roommate: bool, caller: &str) {
        self.delivered += 1;
        self.last_delivery = Instant::now();
        let is_for_client = match mark.to {
            Some(to) => to == client,
            None => is_roommate && mark.from != client,
        };
        self.faults.misdelivered += u64::from(!is_for_client);
        self.know(mark.from, caller);
        if mark.kind != Kind::Connect {
            self.check_order(client, mark);
        }
        if self.is_measuring {
            let waited = self.now().saturating_sub(mark.sent_at);
            self.latency.saturating_record(waited);
        }
    }

    fn check_order(&mut self, client: usize, mark: Mark) {
        let stream = (mark.from, client, mark.to.is_none());
        // The first that a room hears of somebody is CONNECT, and not by those who come later.
        let first = u64::from(mark.to.is_none());
        let due = self.due.entry(stream).or_insert(first);
        self.faults.reordered += u64::from(mark.number != *due);
        *due = mark.number + 1;
    }

    /// Whether all have arrived.
    pub(crate) fn is_even(&self) -> bool {
        self.delivered >= self.expected
    }

    /// How long nothing has arrived.
    pub(crate) fn quiet_for(&self) -> Duration {
        self.last_delivery.elapsed()
    }

    pub(crate) fn last_delivery(&self) -> Instant {
        self.last_delivery
    }

    /// To be called when nothing is on its way any more.
    pub(crate) fn settle(&mut self) -> Faults {
        self.faults.lost += self.expected.saturating_sub(self.delivered);
        self.faults.misdelivered += self.delivered.saturating_sub(self.expected);
        self.faults
    }

    /// Microseconds within which this share of the signals arrived.
    pub(crate) fn latency_us(&self, share: f64) -> u64 {
        self.latency.value_at_quantile(share) / 1_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(from: usize, to: Option<usize>, number: u64) -> Mark {
        Mark {
            kind: Kind::Candidate,
            from,
            to,
            number,
            sent_at: 0,
        }
    }

    /// Three clients, of which the first has sent that many signals to the second.
    fn ledger(sent: u64) -> Ledger {
        let mut ledger = Ledger::new(3).unwrap();
        for number in 0..sent {
            assert_eq!(ledger.send(0, Some(1), 1).0, number);
        }
        ledger
    }

    #[test]
    fn what_arrives_as_it_was_sent_is_right() {
        let mut ledger = ledger(2);
        assert!(!ledger.is_even());
        ledger.hear(1, mark(0, Some(1), 0), true, "ann");
        ledger.hear(1, mark(0, Some(1), 1), true, "ann");
        // To the room, by one whose CONNECT the third has not heard.
        assert_eq!(ledger.send(0, None, 0).0, 0);
        assert_eq!(ledger.send(0, None, 1).0, 1);
        ledger.hear(2, mark(0, None, 1), true, "ann");
        assert!(ledger.is_even());
        assert_eq!(ledger.id(0), Some("ann"));
        assert_eq!(ledger.settle(), Faults::default());
    }

    #[test]
    fn every_fault_is_found() {
        let faults = |sent, hear: &dyn Fn(&mut Ledger)| {
            let mut ledger = ledger(sent);
            hear(&mut ledger);
            ledger.settle()
        };
        let none = Faults::default();
        let lost = faults(2, &|ledger| {
            ledger.hear(1, mark(0, Some(1), 0), true, "ann");
        });
        assert_eq!(lost, Faults { lost: 1, ..none });
        let strayed = faults(1, &|ledger| {
            ledger.hear(2, mark(0, Some(1), 0), true, "ann");
        });
        assert_eq!(strayed.misdelivered, 1);
        let elsewhere = faults(1, &|ledger| {
            ledger.hear(2, mark(0, None, 1), false, "ann");
        });
        assert_eq!(elsewhere.misdelivered, 1);
        let echoed = faults(1, &|ledger| {
            ledger.hear(0, mark(0, None, 1), true, "ann");
        });
        assert_eq!(echoed.misdelivered, 1);
        let twice = faults(1, &|ledger| {
            ledger.hear(1, mark(0, Some(1), 0), true, "ann");
            ledger.hear(1, mark(0, Some(1), 0), true, "ann");
        });
        assert_eq!((twice.misdelivered, twice.reordered), (1, 1));
        let swapped = faults(2, &|ledger| {
            ledger.hear(1, mark(0, Some(1), 1), true, "ann");
            ledger.hear(1, mark(0, Some(1), 0), true, "ann");
        });
        assert_eq!(
            swapped,
            Faults {
                reordered: 2,
                ..none
            }
        );
        let renamed = faults(2, &|ledger| {
            ledger.hear(1, mark(0, Some(1), 0), true, "ann");
            ledger.hear(1, mark(0, Some(1), 1), true, "eve");
        });
        assert_eq!(
            renamed,
            Faults {
                wrong_callers: 1,
                ..none
            }
        );
        let impersonated = faults(1, &|ledger| {
            ledger.know(2, "eve");
            ledger.hear(1, mark(0, Some(1), 0), true, "eve");
        });
        assert_eq!(
            impersonated,
            Faults {
                wrong_callers: 1,
                ..none
            }
        );
    }
}
