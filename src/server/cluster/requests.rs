//! What other nodes were asked, until they answer.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::cluster::Outcome;
use crate::id::NodeId;
use crate::limits::CLUSTER_REQUESTS;

/// What came of a request. Dropped without one, nothing came in time, or the node is gone.
#[derive(Debug)]
pub(super) enum Answer {
    Outcome(Outcome),
    Reply(Bytes),
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: HashMap<u64, Pending>,
}

#[derive(Debug)]
struct Pending {
    node: NodeId,
    until: Instant,
    answer: oneshot::Sender<Answer>,
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
            answer,
        };
        self.pending.insert(number, pending);
        Some(answered)
    }

    /// Only the one who was asked may answer.
    pub(super) fn answer(&mut self, number: u64, from: NodeId, answer: Answer) {
        let asked = self.pending.get(&number);
        if asked.is_some_and(|pending| pending.node == from)
            && let Some(pending) = self.pending.remove(&number)
        {
            // Who has asked may be gone.
            let _ = pending.answer.send(answer);
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.pending.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.pending.retain(|_, pending| now < pending.until);
    }

    /// There will be no more answers.
    pub(super) fn give_up(&mut self) {
        self.pending.clear();
    }

    pub(super) fn node_gone(&mut self, node: NodeId) {
        self.pending.retain(|_, pending| pending.node != node);
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
        requests.answer(1, node("bbbb"), delivered());
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
        requests.expire(now + second);
        requests.node_gone(node("bbbb"));
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
