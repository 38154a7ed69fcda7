//! The numbers of a node among others. Registered only where there are others: of a server that is
//! all by itself a gauge at 0 would say that something is wrong.

use std::fmt;

use metrics::{Gauge, describe_counter, describe_gauge, gauge};

use super::Parcels;
use super::metrics::{Counters, empty};

#[derive(Clone)]
pub(crate) struct BusMetrics(std::sync::Arc<Handles>);

struct Handles {
    parcels: Counters,
    connected: Gauge,
    nodes: Gauge,
}

impl BusMetrics {
    pub(crate) fn register() -> Self {
        describe_counter!(
            "peer_data_cluster_parcels_total",
            "Messages between nodes, by what became of them."
        );
        describe_gauge!(
            "peer_data_cluster_connected",
            "Whether the bus between the nodes is there."
        );
        describe_gauge!(
            "peer_data_cluster_nodes",
            "Other nodes that were heard within the last 15 seconds."
        );
        Self(std::sync::Arc::new(Handles {
            parcels: Counters::register(
                "peer_data_cluster_parcels_total",
                "outcome",
                Parcels::TEXTS,
            ),
            connected: empty(gauge!("peer_data_cluster_connected")),
            nodes: empty(gauge!("peer_data_cluster_nodes")),
        }))
    }

    pub(crate) fn parcels(&self, outcome: Parcels, count: u64) {
        self.0.parcels.add(outcome as usize, count);
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.0.connected.set(if connected { 1.0 } else { 0.0 });
    }

    pub(crate) fn nodes(&self, count: usize) {
        #[allow(clippy::cast_precision_loss)] // they are few
        self.0.nodes.set(count as f64);
    }
}

impl fmt::Debug for BusMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusMetrics").finish_non_exhaustive()
    }
}
