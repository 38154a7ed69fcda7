//! What is kept of the server for whoever looks at it: how its calls stand, what it has refused and
//! ended last, and how much it had to do in the last minutes. Nothing, until somebody asks for that.

mod history;
mod pairs;
mod rates;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::runtime::Handle;

use super::client::Client;
use super::{Inner, LifecycleEvent, PeerData};
use crate::broker::Members;
use crate::clock;
use crate::error::Code;
use crate::id::{PeerId, RoomId};
use crate::observe::{Said, Usage};
use crate::sync::lock;
pub(crate) use history::Log;
use history::{History, Recent, SAMPLE_EVERY};
pub(crate) use pairs::PairView;
use pairs::Pairs;
pub(crate) use rates::Rate;
use rates::{Measured, Rates};
pub(crate) use view::{Naming, PeerView, RoomView};

#[derive(Default)]
pub(super) struct Inspection(OnceLock<Kept>);

struct Kept {
    pairs: Pairs,
    history: Mutex<History>,
    rates: Rates,
    /// A task takes samples.
    is_sampled: AtomicBool,
}

impl Kept {
    fn new() -> Self {
        Self {
            pairs: Pairs::new(),
            history: Mutex::new(History::new(clock::now())),
            rates: Rates::default(),
            is_sampled: AtomicBool::new(false),
        }
    }
}

impl Inspection {
    pub(super) fn is_on(&self) -> bool {
        self.0.get().is_some()
    }

    /// Something became of a client.
    pub(super) fn note(&self, event: &LifecycleEvent) {
        if let (Some(kept), Some(recent)) = (self.0.get(), Recent::of(event)) {
            lock(&kept.history).note(recent);
        }
    }

    pub(super) fn refused(&self, client: &Client, code: Code) {
        if let Some(kept) = self.0.get() {
            let peer = client.with(|session| session.peer());
            let recent = Recent::rejected(peer, client.address, code);
            lock(&kept.history).note(recent);
        }
    }

    /// A peer has said something to another of this node. Of what those elsewhere say this one
    /// hears only half.
    pub(super) fn said(&self, said: Said, from: &PeerId, to: &PeerId, room: &str) {
        if let Some(kept) = self.0.get() {
            kept.pairs.said(said, from, to, room, clock::now());
        }
    }

    /// A peer is out of a room, in which there are others.
    pub(super) fn left(&self, peer: &PeerId, room: &RoomId, others: &Members<Client>) {
        if let Some(kept) = self.0.get() {
            kept.pairs.left(peer, room.as_str(), others.ids());
        }
    }

    /// A session has ended, and with it what it counted.
    pub(super) fn ended(&self, usage: Usage) {
        if let Some(kept) = self.0.get() {
            lock(&kept.history).ended(usage);
        }
    }
}

impl PeerData {
    /// Keeps what there is to see from now on, and takes down how much there is to do, if there is a
    /// runtime to do that on. Asked for again, it makes up for what was not possible before.
    pub(crate) fn keep_inspecting(&self) {
        let kept = self.inner.inspection.0.get_or_init(Kept::new);
        if let Ok(runtime) = Handle::try_current()
            && !kept.is_sampled.swap(true, Ordering::Relaxed)
        {
            let sampling = Sampling(Arc::downgrade(&self.inner));
            runtime.spawn(sampling.run());
        }
    }

    fn sample(&self) {
        if let Some(kept) = self.inner.inspection.0.get() {
            let sessions = &self.inner.sessions;
            let counted =
                sessions.collect(|sid, client| (*sid, client.with(|session| session.usage())));
            let mut sum = Usage::default();
            for (_, usage) in &counted {
                sum += *usage;
            }
            let now = clock::now();
            kept.rates.sample(&counted, now);
            let (peers, rooms) = (self.peer_count(), self.room_count());
            lock(&kept.history).sample(peers, rooms, sum, now);
        }
    }

    /// What sessions have to say and to hear at the moment.
    fn measured(&self) -> Arc<Measured> {
        let kept = self.inner.inspection.0.get();
        kept.map(|kept| kept.rates.look()).unwrap_or_default()
    }

    /// The last minutes. `None` if nobody has asked to keep them.
    pub(crate) fn log(&self) -> Option<Log> {
        let kept = self.inner.inspection.0.get()?;
        Some(lock(&kept.history).log(clock::now()))
    }
}

/// The task that takes samples. It does not keep the server alive.
struct Sampling(Weak<Inner>);

impl Sampling {
    fn server(&self) -> Option<PeerData> {
        let inner = self.0.upgrade()?;
        Some(PeerData { inner })
    }

    async fn run(self) {
        while let Some(server) = self.server() {
            server.sample();
            drop(server);
            tokio::time::sleep(SAMPLE_EVERY).await;
        }
    }
}

impl Drop for Sampling {
    /// Its runtime may end before the server does.
    fn drop(&mut self) {
        if let Some(server) = self.server()
            && let Some(kept) = server.inner.inspection.0.get()
        {
            kept.is_sampled.store(false, Ordering::Relaxed);
        }
    }
}
