//! Which other nodes there are, as far as one of them can know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::limits::{CLUSTER_BEAT, CLUSTER_DEATH, CLUSTER_NODES};

/// How long a node that has said goodbye is not listened to: what it has said before may come
/// after.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a parcel from a node means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// It is one of those who are there.
    Known,
    /// It was not heard before, or taken for dead.
    New,
    /// It is this node itself, has said goodbye, or is one too many: what it says does not count.
    Stranger,
}

#[derive(Debug)]
pub(crate) struct Nodes {
    own: NodeId,
    /// When each of the others was heard last.
    known: BTreeMap<NodeId, Instant>,
    /// When each of those who said goodbye did so.
    left: BTreeMap<NodeId, Instant>,
    /// While this node itself has no connection, silence says nothing of the others.
    connected: bool,
    next_beat: Option<Instant>,
}

impl Nodes {
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            own,
            known: BTreeMap::new(),
            left: BTreeMap::new(),
            connected: false,
            next_beat: None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// How many others there are.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.known.keys().copied()
    }

    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.known.contains_key(&node)
    }

    /// The bus is there: all others have their time anew to be heard.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected = true;
        self.next_beat = Some(now + CLUSTER_BEAT);
        for heard in self.known.values_mut() {
            *heard = now;
        }
    }

    pub(crate) fn lost(&mut self) {
        self.connected = false;
        self.next_beat = None;
    }

    /// A parcel has come from a node.
    pub(crate) fn hear(&mut self, from: NodeId, now: Instant) -> Acquaintance {
        if from == self.own || self.left.contains_key(&from) {
            return Acquaintance::Stranger;
        }
        if let Some(heard) = self.known.get_mut(&from) {
            *heard = now;
            return Acquaintance::Known;
        }
        if self.known.len() >= CLUSTER_NODES {
            return Acquaintance::Stranger;
        }
        self.known.insert(from, now);
        Acquaintance::New
    }

    /// A node has said goodbye. Whether it was there.
    pub(crate) fn leave(&mut self, node: NodeId, now: Instant) -> bool {
        if self.left.len() < CLUSTER_NODES {
            self.left.insert(node, now);
        }
        self.known.remove(&node).is_some()
    }

    /// Whether it is time to say that this node lives.
    pub(crate) fn is_beat_due(&mut self, now: Instant) -> bool {
        let due = self.next_beat.is_some_and(|due| due <= now);
        if due {
            self.next_beat = Some(now + CLUSTER_BEAT);
        }
        due
    }

    /// Forgets those who were silent for too long, and names them.
    pub(crate) fn take_dead(&mut self, now: Instant) -> Vec<NodeId> {
        self.left.retain(|_, left| now < *left + REMEMBERED);
        if !self.connected {
            return Vec::new();
        }
        let silent = |heard: Instant| now >= heard + CLUSTER_DEATH;
        let known = self.known.iter();
        let dead = known.filter_map(|(id, heard)| silent(*heard).then_some(*id));
        let dead: Vec<_> = dead.collect();
        for id in &dead {
            self.known.remove(id);
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn nodes(now: Instant) -> Nodes {
        let mut nodes = Nodes::new(id("own_"));
        nodes.connected(now);
        nodes
    }

    #[test]
    fn silence_of_fifteen_seconds_is_death() {
        let start = Instant::now();
        let mut nodes = nodes(start);
        assert_eq!(nodes.hear(id("aaaa"), start), Acquaintance::New);
        assert_eq!(nodes.hear(id("bbbb"), start), Acquaintance::New);
        let later = start + 14 * SECOND;
        assert_eq!(nodes.hear(id("bbbb"), later), Acquaintance::Known);
        assert!(nodes.take_dead(later).is_empty());
        assert_eq!(nodes.take_dead(start + 15 * SECOND), [id("aaaa")]);
        assert!(nodes.take_dead(start + 16 * SECOND).is_empty(), "once");
        assert_eq!(nodes.count(), 1);
        assert_eq!(
            nodes.hear(id("aaaa"), start + 17 * SECOND),
            Acquaintance::New
        );
    }

    #[test]
    fn whoever_is_cut_off_takes_nobody_for_dead() {
        let start = Instant::now();
        let mut nodes = nodes(start);
        nodes.hear(id("aaaa"), start);
        nodes.lost();
        let later = start + 100 * SECOND;
        assert!(nodes.take_dead(later).is_empty());
        assert!(!nodes.is_beat_due(later));
        nodes.connected(later);
        assert!(nodes.take_dead(later + 14 * SECOND).is_empty());
        assert_eq!(nodes.take_dead(later + 15 * SECOND), [id("aaaa")]);
    }

    #[test]
    fn a_goodbye_is_final_though_parcels_may_follow_it() {
        let start = Instant::now();
        let mut nodes = nodes(start);
        nodes.hear(id("aaaa"), start);
        assert!(nodes.leave(id("aaaa"), start));
        assert!(!nodes.leave(id("aaaa"), start));
        assert_eq!(nodes.hear(id("aaaa"), start), Acquaintance::Stranger);
        assert!(nodes.take_dead(start + 100 * SECOND).is_empty());
        assert_eq!(nodes.left.len(), 0, "it need not be remembered for ever");
    }

    #[test]
    fn a_beat_is_due_every_five_seconds() {
        let start = Instant::now();
        let mut nodes = nodes(start);
        let due: Vec<_> = (0..16)
            .filter(|s| nodes.is_beat_due(start + *s * SECOND))
            .collect();
        assert_eq!(due, [5, 10, 15]);
    }

    #[test]
    fn one_does_not_listen_to_oneself_nor_to_any_number() {
        let start = Instant::now();
        let mut nodes = nodes(start);
        assert_eq!(nodes.hear(id("own_"), start), Acquaintance::Stranger);
        for number in 0..CLUSTER_NODES {
            assert_eq!(
                nodes.hear(id(&format!("{number:04}")), start),
                Acquaintance::New
            );
        }
        assert_eq!(nodes.hear(id("more"), start), Acquaintance::Stranger);
    }
}
