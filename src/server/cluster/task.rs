//! The one task that a node has for all of its traffic with others.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use super::agenda::TICK;
use super::{Cluster, PeerData};
use crate::clock;
use crate::cluster::{Inbound, Parcel, Target};
use crate::error::Error;
use crate::observe;
use crate::server::Inner;
use crate::sync::lock;

impl PeerData {
    /// Goes on the bus, and stays there until the last handle and connection are gone.
    pub(in crate::server) fn enter_cluster(&self, inbound: Inbound) -> Result<(), Error> {
        let Some(cluster) = self.cluster() else {
            return Ok(());
        };
        let runtime = Handle::try_current().map_err(|_| {
            let problem = "a server of a cluster must be built within a tokio runtime";
            Error::new("cluster", problem)
        })?;
        let server = Arc::downgrade(&self.inner);
        runtime.spawn(run(server, Arc::clone(cluster), inbound));
        Ok(())
    }
}

async fn run(server: Weak<Inner>, cluster: Arc<Cluster>, inbound: Inbound) {
    if let Err(error) = cluster.adapter.start(cluster.node, inbound).await {
        observe::bus_broken(&error.to_string());
        *lock(&cluster.broken) = Some(error);
        return;
    }
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll_fn(|cx| {
            let (ticked, filled) = (ticks.poll_tick(cx), cluster.inbox.poll_filled(cx));
            if ticked.is_ready() || filled.is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        let Some(inner) = server.upgrade() else {
            break;
        };
        if cluster.is_stopped() {
            return;
        }
        let server = PeerData { inner };
        if server.cluster_turn(&cluster, clock::now()) {
            drop(server);
            tokio::task::yield_now().await;
        }
    }
    if cluster.say_goodbye() {
        cluster.adapter.stop().await;
    }
}

impl Cluster {
    /// Returns once nothing that was asked of other nodes waits for an answer, or the time is over.
    /// Clients whose polls come here again, since nobody keeps them from it, wait once more.
    pub(super) async fn let_polls_go(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while !lock(&self.requests).is_empty() && Instant::now() < until {
            // Said again, for what has come since, or if it was not heard.
            let _ = self.publish(Target::All, &Parcel::Leaving);
            sleep_until(until.min(Instant::now() + TICK)).await;
        }
    }

    /// Says goodbye, once. Whether this was it: then the bus is to be left.
    pub(super) fn say_goodbye(&self) -> bool {
        if self.is_stopped() {
            return false;
        }
        // If nobody hears it, they notice by the silence.
        let _ = self.publish(Target::All, &Parcel::Goodbye);
        if self.stopped.swap(true, Ordering::AcqRel) {
            return false;
        }
        lock(&self.nodes).lost();
        self.counters.metrics.connected(false);
        true
    }
}
