//! What takes the place of the numbers of a node among others where nobody counts.

use super::Parcels;

#[derive(Clone, Debug)]
pub(crate) struct BusMetrics {}

#[allow(clippy::unused_self)] // as with the feature
impl BusMetrics {
    pub(crate) fn register() -> Self {
        Self {}
    }

    pub(crate) fn parcels(&self, _outcome: Parcels, _count: u64) {}
    pub(crate) fn connected(&self, _connected: bool) {}
    pub(crate) fn nodes(&self, _count: usize) {}
}
