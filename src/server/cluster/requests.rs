//! What other nodes were asked, until they answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::waits::Asker;
use crate::cluster::Outcome;
use crate::id::{NodeId, PeerId};
use crate::limits::{CLUSTER_OWED_OUTCOMES, CLUSTER_REQUESTS};

/// What came of a request. Dropped without one, nothing came in time, or the node is gone.
#[derive(Debug)]
pub(super) enum Answer {
    Outcome(Outcome),
    Reply(Bytes),
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: HashMap<u64, Pending>,
    /// How many signals of each peer are among them whose sender is told later.
    owed: HashMap<PeerId, usize>,
}

#[derive(Debug)]
struct Pending {
    node: NodeId,
    until: Instant,
    asker: Waiting,
}

#[derive(Debug)]
enum Waiting {
    InLine(oneshot::Sender<Answer>),
    Later(Asker),
}

impl Requests {
    /// Waits for an answer of that number. `None`: there are as many as there may be.
    pub(super) fn expect(
        &mut self,
        number: u64,
        node: NodeId,
        until: Instant,
    ) -> Option<oneshot::Receiver<Answer>> {
        if self.pending.len() >= CLUSTER_REQUESTS {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            node,
            until,
            asker: Waiting::InLine(answer),
        };
        self.pending.insert(number, pending);
        Some(answered)
    }

    /// Tells somebody of an answer of that number. Given back if there is as much of it as there may
    /// be, or if a half of all room is taken: the rest is for those who wait in line.
    pub(super) fn owe(
        &mut self,
        number: u64,
        node: NodeId,
        until: Instant,
        asker: Asker,
    ) -> Result<(), Asker> {
        let own = asker.own;
        let count = self.owed.get(&own).copied().unwrap_or_default();
        if count >= CLUSTER_OWED_OUTCOMES || self.pending.len() >= CLUSTER_REQUESTS / 2 {
            return Err(asker);
        }
        self.owed.insert(own, count + 1);
        let asker = Waiting::Later(asker);
        self.pending.insert(number, Pending { node, until, asker });
        Ok(())
    }

    /// Only the one who was asked may answer. Whoever is still to be told of it.
    pub(super) fn answer(
        &mut self,
        number: u64,
        from: NodeId,
        answer: Answer,
    ) -> Option<(Asker, Answer)> {
        self.pending
            .get(&number)
            .filter(|pending| pending.node == from)?;
        match self.pending.remove(&number)?.asker {
            Waiting::InLine(line) => {
                // Who has asked may be gone.
                let _ = line.send(answer);
                None
            }
            Waiting::Later(asker) => Some((self.told(asker), answer)),
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.take_back(number);
    }

    /// Nobody was asked.
    pub(super) fn take_back(&mut self, number: u64) -> Option<Asker> {
        match self.pending.remove(&number)?.asker {
            Waiting::InLine(_) => None,
            Waiting::Later(asker) => Some(self.told(asker)),
        }
    }

    fn told(&mut self, asker: Asker) -> Asker {
        if let Entry::Occupied(mut count) = self.owed.entry(asker.own) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        asker
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    #[must_use = "these are to be told"]
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Asker> {
        self.end(|pending| now >= pending.until)
    }

    /// There will be no more answers.
    #[must_use = "these are to be told"]
    pub(super) fn give_up(&mut self) -> Vec<Asker> {
        self.end(|_| true)
    }

    #[must_use = "these are to be told"]
    pub(super) fn node_gone(&mut self, node: NodeId) -> Vec<Asker> {
        self.end(|pending| pending.node == node)
    }

    /// Whoever waits in line learns it by the drop; the others are to be told.
    fn end(&mut self, is_over: impl Fn(&Pending) -> bool) -> Vec<Asker> {
        let over = self.pending.extract_if(|_, pending| is_over(pending));
        let askers = over.filter_map(|(_, pending)| match pending.asker {
            Waiting::InLine(_) => None,
            Waiting::Later(asker) => Some(asker),
        });
        let askers: Vec<_> = askers.collect();
        askers.into_iter().map(|asker| self.told(asker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn node(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_one_who_was_asked_answers_and_once() {
        let now = Instant::now();
        let mut requests = Requests::default();
        let mut answered = requests.expect(1, node("aaaa"), now).unwrap();
        let delivered = || Answer::Outcome(Outcome::Delivered);
        assert!(requests.answer(1, node("bbbb"), delivered()).is_none());
        assert!(answered.try_recv().is_err());
        requests.answer(1, node("aaaa"), delivered());
        requests.answer(1, node("aaaa"), delivered());
        assert!(matches!(
            answered.try_recv(),
            Ok(Answer::Outcome(Outcome::Delivered))
        ));
        assert!(requests.pending.is_empty());
    }

    #[test]
    fn whoever_waits_in_vain_learns_it() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut requests = Requests::default();
        let mut expect = |number, id, until| requests.expect(number, node(id), until).unwrap();
        let mut late = expect(1, "aaaa", now + second);
        let mut gone = expect(2, "bbbb", now + 9 * second);
        let mut waiting = expect(3, "aaaa", now + 9 * second);
        assert!(requests.expire(now + second).is_empty());
        assert!(requests.node_gone(node("bbbb")).is_empty());
        let outcomes = [&mut late, &mut gone, &mut waiting].map(|it| it.try_recv().unwrap_err());
        assert_eq!(
            outcomes,
            [
                TryRecvError::Closed,
                TryRecvError::Closed,
                TryRecvError::Empty
            ]
        );
    }

    #[test]
    fn there_are_not_more_than_there_may_be() {
        let now = Instant::now();
        let mut requests = Requests::default();
        let waiting: Vec<_> = (0..=CLUSTER_REQUESTS as u64)
            .map(|number| requests.expect(number, node("aaaa"), now).is_some())
            .collect();
        assert_eq!(
            waiting.iter().filter(|taken| **taken).count(),
            CLUSTER_REQUESTS
        );
        assert_eq!(waiting.last(), Some(&false));
    }
}
