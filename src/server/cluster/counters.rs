//! What a node counts of its traffic with others.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::ClusterError;
use crate::observe::{BusMetrics, Parcels};

#[derive(Debug)]
pub(super) struct Counters {
    published: AtomicU64,
    refused: AtomicU64,
    received: AtomicU64,
    unreadable: AtomicU64,
    lost: AtomicU64,
    pub(super) metrics: BusMetrics,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            published: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            received: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            metrics: BusMetrics::register(),
        }
    }

    pub(super) fn published(&self, outcome: &Result<(), ClusterError>) {
        let what = match outcome {
            Ok(()) => Parcels::Published,
            Err(_) => Parcels::Refused,
        };
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Parcels, count: u64) {
        if count > 0 {
            self.of(what).fetch_add(count, Ordering::Relaxed);
            self.metrics.parcels(what, count);
        }
    }

    pub(super) fn read(&self, what: Parcels) -> u64 {
        self.of(what).load(Ordering::Relaxed)
    }

    fn of(&self, what: Parcels) -> &AtomicU64 {
        match what {
            Parcels::Published => &self.published,
            Parcels::Refused => &self.refused,
            Parcels::Received => &self.received,
            Parcels::Unreadable => &self.unreadable,
            Parcels::Lost => &self.lost,
        }
    }
}
