//! What a node counts of its traffic with others.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::ClusterError;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Counters {
    pub(super) fn published(&self, outcome: &Result<(), ClusterError>) {
        let counter = match outcome {
            Ok(()) => &self.published,
            Err(_) => &self.refused,
        };
        add(counter, 1);
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
