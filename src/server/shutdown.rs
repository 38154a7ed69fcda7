//! The end of a server in service: nobody comes in, everybody is told, and what is told arrives.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::PeerData;
use super::client::Client;
use super::intake::Intake;
use crate::ending::CloseReason;
use crate::id::SessionId;
use crate::limits::{CLUSTER_LEAVE_TIME, FAREWELL_TIME};
use crate::observe;

/// The time that a shutdown takes for each session while its grace lasts: 200 sessions end in a
/// second, and as many clients at most come to the next server.
const PACE: Duration = Duration::from_millis(5);

/// Whether the server is being shut down, and what is still open.
#[derive(Debug, Default)]
pub(super) struct Drain {
    begun: AtomicBool,
    open: AtomicUsize,
    emptied: Notify,
}

impl Drain {
    /// Whether nobody comes in any more.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Somebody wants to come in, and is waited for if he may. False: nobody may any more.
    pub(super) fn enter(&self) -> bool {
        // Counted before it is asked, so that a shutdown sees him, or he sees the shutdown.
        self.opened();
        let may = !self.has_begun();
        if !may {
            self.closed();
        }
        may
    }

    /// Something is open that a shutdown waits for.
    fn opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn closed(&self) {
        if self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.emptied.notify_waiters();
        }
    }

    fn count(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    async fn emptied(&self) {
        loop {
            // First this: it hears of what comes after it was made.
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// The socket of a websocket, until the client has been told goodbye: a shutdown waits for it.
#[derive(Debug)]
pub(crate) struct OpenSocket(Arc<Intake>);

impl OpenSocket {
    pub(super) fn of(server: &PeerData) -> Self {
        let intake = Arc::clone(&server.inner.intake);
        intake.drain.opened();
        Self(intake)
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.drain.closed();
    }
}

/// The end.
impl PeerData {
    /// Ends all sessions in peace, within `grace`, and lets nobody in any more. Returns how many
    /// sessions and websockets were still open when the grace was over: 0, unless clients do not
    /// take what is sent to them, or do not hang up.
    ///
    /// From the first poll on, new handshakes are answered 503 with `Retry-After`, and
    /// [`is_ready`](Self::is_ready) is false. The sessions end one after the other, at moments that
    /// chance chooses within the first half of the grace, so that their clients do not come back
    /// all at once; 200 a second if there is time, and faster if there is not. Each client gets
    /// what waits for it and is then told in the way of its wire: a waiting poll ends with a close
    /// packet, a websocket with the close frame 1001; a client between two polls is waited for, up to
    /// two seconds. Socket.IO clients take both as a reason to connect again. The rooms are told of
    /// each departure, and [`lifecycle`](Self::lifecycle) of each end, with
    /// [`CloseReason::ShuttingDown`]. The second half of the grace is for clients to take their last
    /// messages and to hang up.
    ///
    /// Other nodes of a [`cluster`](crate::Builder::cluster) are told goodbye in the end; polls that
    /// wait here for their sessions are answered before, and these live on. A balancer that goes on
    /// sending polls here is waited for until the grace is over, and those that wait then end.
    ///
    /// A web server's own graceful shutdown knows nothing of websockets, but of the answers to
    /// polls. So first this, while the web server still answers, and then that:
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use axum::Router;
    /// use peer_data_server::{PeerData, PeerDataLayer};
    ///
    /// async fn serve(listener: tokio::net::TcpListener) -> std::io::Result<()> {
    ///     let server = PeerData::new();
    ///     let app = Router::new().layer(PeerDataLayer::from(server.clone()));
    ///     axum::serve(listener, app)
    ///         .with_graceful_shutdown(async move {
    ///             let _ = tokio::signal::ctrl_c().await;
    ///             server.shutdown(Duration::from_secs(10)).await;
    ///         })
    ///         .await
    /// }
    /// ```
    ///
    /// actix ends by itself when it is asked to, and must be kept from it: see the
    /// [`actix_app`](https://docs.rs/crate/peer-data-server/latest/source/examples/actix_app.rs)
    /// example.
    ///
    /// # Cancellation
    ///
    /// Dropped before it is done, it leaves the doors shut, and those sessions open that were not
    /// ended yet. Calling it again goes on.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime that has its timer enabled.
    #[allow(clippy::must_use_candidate)] // a change first, a report second
    pub async fn shutdown(&self, grace: Duration) -> usize {
        let start = Instant::now();
        let drain = &self.inner.intake.drain;
        // First this: who comes in meanwhile is found below, or finds it.
        drain.begun.store(true, Ordering::SeqCst);
        let stages = self.stages(grace);
        observe::shutdown_begun(stages.len());
        let mut untold = Vec::new();
        for (moment, client) in stages {
            sleep_until(start + moment).await;
            if !self.close_once_heard(&client, CloseReason::ShuttingDown) {
                untold.push(((moment + FAREWELL_TIME).min(grace), client));
            }
        }
        for (moment, client) in untold {
            // Until then, unless they all come before.
            let _ = timeout_at(start + moment, drain.emptied()).await;
            self.close(&client, CloseReason::ShuttingDown);
        }
        let left = grace.saturating_sub(start.elapsed());
        let _ = timeout(left, drain.emptied()).await;
        let left = grace.saturating_sub(start.elapsed());
        self.leave_cluster_within(left.max(CLUSTER_LEAVE_TIME))
            .await;
        let open = drain.count();
        observe::shutdown_done(open);
        open
    }

    /// Whether it is of use to send new clients here: not once the server is being shut down, nor
    /// while it cannot reach the other nodes of its [`cluster`](crate::Builder::cluster). What a load
    /// balancer wants to know, other than whether the process lives.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let cluster = self.cluster_status();
        !self.inner.intake.drain.has_begun() && cluster.is_none_or(|status| status.is_ready())
    }

    /// Each session with the moment at which it is to end, in that order.
    fn stages(&self, grace: Duration) -> Vec<(Duration, Arc<Client>)> {
        let sessions = &self.inner.sessions;
        let clients = sessions.collect(|_, client| Arc::clone(client));
        let chance = RandomState::new();
        let window = window(clients.len(), grace);
        let clients = clients.into_iter();
        let mut stages: Vec<_> = clients
            .map(|client| (moment(&chance, &client.sid, window), client))
            .collect();
        stages.sort_unstable_by_key(|(moment, _)| *moment);
        stages
    }
}

/// How long it takes to end so many sessions.
fn window(sessions: usize, grace: Duration) -> Duration {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    PACE.saturating_mul(sessions).min(grace / 2)
}

/// When to end a session, by chance.
fn moment(chance: &RandomState, sid: &SessionId, window: Duration) -> Duration {
    // Half of the hash is chance enough, and a fraction has room for it.
    #[allow(clippy::cast_possible_truncation)]
    let share = (chance.hash_one(sid) >> 32) as u32;
    window.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;
    use crate::clock;
    use crate::server::Task;
    use crate::server::client::Arrival;
    use crate::server::simulation::ask;
    use crate::session::Session;
    use crate::wire::segments::Segments;

    const SECOND: Duration = Duration::from_secs(1);

    fn register(server: &PeerData) -> Arc<Client> {
        let (session, _) = Session::json(&server.inner.settings.limits, clock::now());
        server.register(SessionId::random().unwrap(), session, Arrival::default())
    }

    #[test]
    fn few_sessions_end_at_once_and_many_within_half_of_the_grace() {
        assert_eq!(window(0, 10 * SECOND), Duration::ZERO);
        assert_eq!(window(100, 10 * SECOND), SECOND / 2);
        assert_eq!(window(10_000, 10 * SECOND), 5 * SECOND);
        assert_eq!(window(usize::MAX, Duration::MAX), PACE * u32::MAX);
        assert_eq!(window(10_000, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn sessions_end_in_stages_that_chance_chooses() {
        let server = PeerData::new();
        let mut sids: Vec<_> = (0..2_000).map(|_| register(&server).sid).collect();
        let stages = server.stages(4 * SECOND);
        assert!(stages.is_sorted_by_key(|(moment, _)| *moment));
        let mut tenths = [0; 10];
        for (moment, _) in &stages {
            assert!(*moment <= 2 * SECOND);
            let tenth = moment.as_millis() / 200;
            tenths[usize::try_from(tenth).unwrap().min(9)] += 1;
        }
        // 200 on average; that chance is so unfair is not to be seen.
        assert!(tenths.iter().all(|count| (100..300).contains(count)));
        let order = |stages: &[(Duration, Arc<Client>)]| -> Vec<SessionId> {
            stages.iter().map(|(_, client)| client.sid).collect()
        };
        let first = order(&stages);
        assert_ne!(order(&server.stages(4 * SECOND)), first, "another time");
        let mut ended = first;
        ended.sort_by_key(|sid| sid.as_str().to_owned());
        sids.sort_by_key(|sid| sid.as_str().to_owned());
        assert_eq!(ended, sids, "everybody, once");
    }

    #[tokio::test]
    async fn who_comes_after_the_beginning_goes_at_once() {
        let server = PeerData::new();
        let early = register(&server);
        assert!(server.is_ready());
        assert_eq!(server.shutdown(Duration::ZERO).await, 0);
        assert!(!server.is_ready());
        let late = register(&server);
        for client in [early, late] {
            assert!(client.with(|session| session.is_closed()));
            assert!(server.session(&client.sid).is_none());
        }
        assert_eq!(server.shutdown(SECOND).await, 0, "a second time");
    }

    /// A client on long-polling, and what its requests have in their queries besides.
    fn polling(server: &PeerData) -> (Arc<Client>, String) {
        let task = ask(
            server,
            "GET",
            "/socket.io/",
            "EIO=4&transport=polling",
            false,
        );
        let Task::Answer(opened) = task else {
            panic!("no session");
        };
        let opened = String::from_utf8(opened.body.to_vec()).unwrap();
        let sid = opened.split('"').nth(3).unwrap();
        let client = server.session(&SessionId::parse(sid).unwrap()).unwrap();
        (client, format!("EIO=4&transport=polling&sid={sid}"))
    }

    /// A shutdown that has come to that client.
    async fn shut_down(server: &PeerData, client: &Client) -> JoinHandle<usize> {
        let server = server.clone();
        let ending = tokio::spawn(async move { server.shutdown(600 * SECOND).await });
        let has_come = |session: &mut Session| session.is_leaving() || session.is_closed();
        while !client.with(has_come) {
            tokio::task::yield_now().await;
        }
        ending
    }

    #[tokio::test]
    async fn who_is_between_two_polls_gets_what_waits_and_is_told() {
        let server = PeerData::new();
        let (client, query) = polling(&server);
        client.with(|session| session.push("4mail".into()));
        let ending = shut_down(&server, &client).await;
        let Task::Poll(poll) = ask(&server, "GET", "/socket.io/", &query, false) else {
            panic!("gone");
        };
        let told = poll.await;
        assert_eq!(told.body, "4mail\x1e1");
        assert!(server.session(&client.sid).is_none());
        assert_eq!(ending.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_moves_to_a_websocket_meanwhile_is_told_there() {
        let server = PeerData::new();
        let (client, query) = polling(&server);
        let query = query.replace("polling", "websocket");
        let Task::Socket(socket) = ask(&server, "GET", "/socket.io/", &query, true) else {
            panic!("no websocket");
        };
        let mut connection = socket.start().unwrap();
        let ending = shut_down(&server, &client).await;
        for text in ["2probe", "5"] {
            let length = u8::try_from(text.len()).unwrap();
            let mut frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
            assert!(!client.with(|session| session.is_closed()));
            connection.receive(&mut frame, clock::now());
        }
        assert!(client.with(|session| session.is_closed()));
        let mut out = Segments::default();
        assert!(!connection.transmit(&mut out), "it says goodbye");
        drop(connection);
        assert_eq!(ending.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_polls_no_more_is_not_waited_for_beyond_the_grace() {
        let server = PeerData::new();
        let (client, _) = polling(&server);
        assert_eq!(server.shutdown(Duration::ZERO).await, 0);
        assert!(server.session(&client.sid).is_none());
    }

    #[tokio::test]
    async fn what_is_left_open_is_told() {
        let server = PeerData::new();
        let sockets = [OpenSocket::of(&server), OpenSocket::of(&server)];
        assert_eq!(server.shutdown(Duration::ZERO).await, 2);
        let ending = {
            let server = server.clone();
            tokio::spawn(async move { server.shutdown(600 * SECOND).await })
        };
        tokio::task::yield_now().await;
        drop(sockets);
        assert_eq!(ending.await.unwrap(), 0);
    }
}
