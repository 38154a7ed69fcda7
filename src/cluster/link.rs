//! What is the same for every real bus: what waits to be sent, which rooms are wanted, and when to
//! connect again.
//!
//! One task has the connection. Whoever publishes or says interest only changes the [`State`] and
//! wakes it, so nothing ever waits for the bus.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Backoff, ClusterError, Inbound, Parcel, Subjects, Target, jitter};
use crate::id::{NodeId, RoomId};
use crate::limits::{
    CLUSTER_BATCH_BYTES, CLUSTER_BUS_TIME, CLUSTER_ITEM_OVERHEAD, CLUSTER_RETURN_PAUSE,
    CLUSTER_RETURN_ROOMS, CLUSTER_STOP_TIME,
};
use crate::observe;
use crate::sync::lock;

/// How a bus is reached.
pub(super) trait Bus: Send + Sync + 'static {
    type Line: Line;

    /// Waits for one connection, or fails to have it. What comes from it goes to the gate.
    fn connect(
        &self,
        gate: Gate,
    ) -> impl Future<Output = Result<Connection<Self::Line>, Broken>> + Send;

    /// Gives up whatever outlives a connection.
    fn close(&self) {}
}

/// One connection. Dropping it ends all that it has subscribed to.
pub(super) trait Line: Send {
    /// The longest parcel that the bus takes.
    fn max_parcel(&self) -> usize;

    /// Subscribes. Everything that is published afterwards comes after it.
    fn subscribe(
        &mut self,
        subjects: Vec<String>,
    ) -> impl Future<Output = Result<(), Broken>> + Send;

    fn unsubscribe(
        &mut self,
        subjects: Vec<String>,
    ) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Publishes, in this order.
    fn publish(
        &mut self,
        parcels: Vec<(String, Bytes)>,
    ) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Has everything sent.
    fn flush(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;
}

pub(super) struct Connection<L> {
    pub(super) line: L,
    /// Resolves, also by its sender's drop, when the connection is gone.
    pub(super) gone: oneshot::Receiver<()>,
}

/// The connection does not work, or no more, and why: without credentials, for the log.
#[derive(Debug)]
pub(super) struct Broken(String);

impl Broken {
    #[allow(clippy::needless_pass_by_value)] // for `map_err`
    pub(super) fn by(cause: impl ToString) -> Self {
        Self(cause.to_string())
    }
}

/// Tells why there is no connection: once, until it is for another reason.
#[derive(Default)]
pub(super) struct Complaints {
    told: Mutex<Option<String>>,
}

impl Complaints {
    pub(super) fn tell(&self, Broken(why): Broken) {
        let is_told = lock(&self.told).as_ref() == Some(&why);
        if !is_told {
            observe::bus_unreachable(&why);
            *lock(&self.told) = Some(why);
        }
    }

    /// There was one, so the next reason is another.
    pub(super) fn forget(&self) {
        lock(&self.told).take();
    }
}

/// Through which parcels of one connection come, until it is closed. Behind a lock, so that nothing
/// of an old connection comes after something of the next.
#[derive(Clone)]
pub(super) struct Gate {
    inbound: Arc<Mutex<Option<Inbound>>>,
}

impl Gate {
    fn new(inbound: Inbound) -> Self {
        Self {
            inbound: Arc::new(Mutex::new(Some(inbound))),
        }
    }

    pub(super) fn deliver(&self, parcel: Bytes) {
        if let Some(inbound) = &*lock(&self.inbound) {
            inbound.deliver(parcel);
        }
    }

    #[cfg(feature = "nats")]
    pub(super) fn missed(&self) {
        if let Some(inbound) = &*lock(&self.inbound) {
            inbound.missed();
        }
    }

    fn close(&self) {
        lock(&self.inbound).take();
    }
}

/// What an adapter is made of.
pub(super) struct Link<B> {
    bus: Arc<B>,
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    subjects: Subjects,
    max_bytes: usize,
    max_parcel: AtomicUsize,
    state: Mutex<State>,
    /// There is something to do.
    called: Notify,
}

#[derive(Default)]
struct State {
    connected: bool,
    stopping: bool,
    queue: VecDeque<(String, Bytes)>,
    /// Of the queue, and of what the line is busy with.
    bytes: usize,
    wanted: HashSet<RoomId>,
    /// Rooms of which it was said, since the task last looked, that they are wanted or not.
    changed: HashSet<RoomId>,
}

impl<B: Bus> Link<B> {
    pub(super) fn new(bus: B, subjects: Subjects, max_bytes: usize) -> Self {
        Self {
            bus: Arc::new(bus),
            shared: Arc::new(Shared {
                subjects,
                max_bytes,
                max_parcel: AtomicUsize::new(usize::MAX),
                state: Mutex::default(),
                called: Notify::new(),
            }),
            task: Mutex::default(),
        }
    }

    pub(super) fn start(&self, node: NodeId, inbound: Inbound) -> Result<(), ClusterError> {
        let mut task = lock(&self.task);
        if task.is_some() {
            let problem = "an adapter is for one node";
            return Err(ClusterError::Misconfigured(problem.to_owned()));
        }
        let (bus, shared) = (Arc::clone(&self.bus), Arc::clone(&self.shared));
        *task = Some(tokio::spawn(async move {
            run(&*bus, &shared, node, inbound).await;
        }));
        Ok(())
    }

    pub(super) fn publish(&self, to: Target<'_>, parcel: Bytes) -> Result<(), ClusterError> {
        if parcel.len() > self.shared.max_parcel.load(Ordering::Relaxed) {
            return Err(ClusterError::TooLarge);
        }
        let subject = self.shared.subjects.of(to);
        let cost = cost(&subject, &parcel);
        let mut state = lock(&self.shared.state);
        if !state.connected || state.stopping {
            return Err(ClusterError::Down);
        }
        if state.bytes + cost > self.shared.max_bytes {
            return Err(ClusterError::Full);
        }
        state.bytes += cost;
        state.queue.push_back((subject, parcel));
        let first = state.queue.len() == 1;
        drop(state);
        if first {
            self.shared.called.notify_one();
        }
        Ok(())
    }

    pub(super) fn interest(&self, room: &RoomId, wanted: bool) {
        let mut state = lock(&self.shared.state);
        if wanted {
            state.wanted.insert(room.clone());
        } else {
            state.wanted.remove(room);
        }
        if state.connected {
            state.changed.insert(room.clone());
            drop(state);
            self.shared.called.notify_one();
        }
    }

    pub(super) async fn stop(&self) {
        lock(&self.shared.state).stopping = true;
        self.shared.called.notify_one();
        let task = lock(&self.task).take();
        if let Some(mut task) = task
            && timeout(CLUSTER_STOP_TIME, &mut task).await.is_err()
        {
            task.abort();
        }
        self.bus.close();
    }
}

impl<B> Drop for Link<B> {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Every connection there will be, one after the other.
async fn run<B: Bus>(bus: &B, shared: &Shared, node: NodeId, inbound: Inbound) {
    let mut backoff = Backoff::default();
    let complaints = Complaints::default();
    while !shared.is_stopping() {
        let gate = Gate::new(inbound.clone());
        let connected = tokio::select! {
            connected = bus.connect(gate.clone()) => connected,
            () = shared.stopped() => break,
        };
        let connected = connected.map_err(|broken| complaints.tell(broken));
        if let Ok(Connection { mut line, gone }) = connected {
            let mut turn = Turn::new(shared, &inbound);
            let broken = tokio::select! {
                biased;
                _ = gone => None,
                outcome = turn.take(&mut line, node) => match outcome {
                    Ok(()) => break,
                    Err(broken) => Some(broken),
                },
            };
            // One that breaks again and again does not count as a success.
            if turn
                .began
                .is_some_and(|began| began.elapsed() > CLUSTER_BUS_TIME)
            {
                backoff.reset();
                complaints.forget();
            }
            if let Some(broken) = broken {
                complaints.tell(broken);
            }
            gate.close();
            shared.lose(&inbound);
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = shared.stopped() => break,
        }
    }
}

/// The time of one connection.
struct Turn<'a> {
    shared: &'a Shared,
    inbound: &'a Inbound,
    began: Option<Instant>,
    /// What the line is subscribed to.
    held: HashSet<RoomId>,
    /// Rooms of a former connection, to be subscribed to one by one.
    returning: Vec<RoomId>,
    next_return: Instant,
}

impl<'a> Turn<'a> {
    fn new(shared: &'a Shared, inbound: &'a Inbound) -> Self {
        Self {
            shared,
            inbound,
            began: None,
            held: HashSet::new(),
            returning: Vec::new(),
            next_return: Instant::now(),
        }
    }

    /// Serves the line until it breaks, or until the node leaves and everything is sent.
    async fn take(&mut self, line: &mut impl Line, node: NodeId) -> Result<(), Broken> {
        let subjects = &self.shared.subjects;
        line.subscribe(vec![subjects.all(), subjects.node(node)])
            .await?;
        self.begin(line.max_parcel());
        loop {
            let work = self.shared.work();
            let idle = work.changed.is_empty() && work.parcels.is_empty();
            self.change(line, work.changed).await?;
            if !work.parcels.is_empty() {
                line.publish(work.parcels).await?;
                lock(&self.shared.state).bytes -= work.bytes;
            }
            if !self.returning.is_empty() && self.next_return <= Instant::now() {
                self.bring_back(line).await?;
            } else if idle && work.stopping {
                return line.flush().await;
            } else if idle {
                self.wait().await;
            }
        }
    }

    fn begin(&mut self, max_parcel: usize) {
        self.shared.max_parcel.store(max_parcel, Ordering::Relaxed);
        let mut state = lock(&self.shared.state);
        state.connected = true;
        self.returning = state.wanted.iter().cloned().collect();
        // Said with the lock held: whoever publishes from now on does so after it.
        self.inbound.connected();
        self.began = Some(Instant::now());
    }

    async fn change(
        &mut self,
        line: &mut impl Line,
        changed: Vec<(RoomId, bool)>,
    ) -> Result<(), Broken> {
        if changed.is_empty() {
            return Ok(());
        }
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|(_, wanted)| *wanted);
        let mut gone: Vec<_> = unwanted.into_iter().map(|(room, _)| room).collect();
        gone.retain(|room| self.held.remove(room));
        if !gone.is_empty() {
            line.unsubscribe(self.names(&gone)).await?;
        }
        self.subscribe(line, wanted.into_iter().map(|(room, _)| room).collect())
            .await
    }

    async fn bring_back(&mut self, line: &mut impl Line) -> Result<(), Broken> {
        let rest = self.returning.len().saturating_sub(CLUSTER_RETURN_ROOMS);
        let mut rooms = self.returning.split_off(rest);
        {
            let state = lock(&self.shared.state);
            rooms.retain(|room| state.wanted.contains(room) && !self.held.contains(room));
        }
        self.subscribe(line, rooms).await?;
        self.next_return = Instant::now() + CLUSTER_RETURN_PAUSE / 2 + jitter(CLUSTER_RETURN_PAUSE);
        Ok(())
    }

    /// Rooms that are subscribed to already are only reported.
    async fn subscribe(&mut self, line: &mut impl Line, rooms: Vec<RoomId>) -> Result<(), Broken> {
        let new: Vec<_> = rooms
            .iter()
            .filter(|room| self.held.insert((*room).clone()))
            .cloned()
            .collect();
        if !new.is_empty() {
            line.subscribe(self.names(&new)).await?;
        }
        for room in &rooms {
            self.inbound.ready(room);
        }
        Ok(())
    }

    fn names(&self, rooms: &[RoomId]) -> Vec<String> {
        let rooms = rooms.iter();
        rooms.map(|room| self.shared.subjects.room(room)).collect()
    }

    async fn wait(&self) {
        if self.returning.is_empty() {
            return self.shared.called.notified().await;
        }
        tokio::select! {
            () = self.shared.called.notified() => {}
            () = sleep_until(self.next_return) => {}
        }
    }
}

struct Work {
    changed: Vec<(RoomId, bool)>,
    parcels: Vec<(String, Bytes)>,
    bytes: usize,
    stopping: bool,
}

impl Shared {
    /// What there is to do now.
    fn work(&self) -> Work {
        let mut state = lock(&self.state);
        let changed = std::mem::take(&mut state.changed);
        let is_wanted = |room: RoomId| {
            let wanted = state.wanted.contains(&room);
            (room, wanted)
        };
        let changed = changed.into_iter().map(is_wanted).collect();
        let (mut parcels, mut bytes) = (Vec::new(), 0);
        while bytes < CLUSTER_BATCH_BYTES
            && let Some((subject, parcel)) = state.queue.pop_front()
        {
            bytes += cost(&subject, &parcel);
            parcels.push((subject, parcel));
        }
        if state.queue.is_empty() {
            state.queue = VecDeque::new();
        }
        Work {
            changed,
            parcels,
            bytes,
            stopping: state.stopping,
        }
    }

    /// What waits is not kept for the next connection: what is in it is mended by other means.
    fn lose(&self, inbound: &Inbound) {
        let mut state = lock(&self.state);
        let queue = std::mem::take(&mut state.queue).into_iter();
        let lost = queue.filter(|(_, parcel)| Parcel::is_said_once(parcel));
        inbound.dropped(lost.count() as u64);
        state.bytes = 0;
        state.changed = HashSet::new();
        if std::mem::take(&mut state.connected) {
            inbound.lost();
        }
    }

    fn is_stopping(&self) -> bool {
        lock(&self.state).stopping
    }

    /// Resolves when the node leaves. Only for when there is no connection, which has its own look.
    async fn stopped(&self) {
        while !self.is_stopping() {
            self.called.notified().await;
        }
    }
}

fn cost(subject: &str, parcel: &Bytes) -> usize {
    subject.len() + parcel.len() + CLUSTER_ITEM_OVERHEAD
}

/// Has rustls know its cryptography, unless the process has made its choice already: the clients of
/// the buses would panic without.
pub(super) fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails if another thread was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests;
