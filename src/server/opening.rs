//! How a session is opened: a place for it, the application's word, and the session itself.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::client::Arrival;
use super::intake::Full;
use super::polling::Dress;
use super::{Connection, Handshake, Hello, Keep, OpenSocket, PeerData, Task, observed};
use crate::clock;
use crate::error::Refused;
use crate::id::SessionId;
use crate::session::{self, Session};
use crate::wire::engine::Revision;
use crate::wire::intent::{Door, Head, SocketHandshake};
use crate::wire::reply::{Refusal, Reply, TurnedAway};

/// What a request comes to once the application has decided about its client. Dropped before, it
/// forgets the client.
pub(crate) struct Later(Pin<Box<dyn Future<Output = Opened> + Send>>);

/// As in [`Task`].
#[derive(Debug)]
pub(crate) enum Opened {
    Answer(Reply),
    Socket(SocketTask),
}

impl Later {
    pub(super) fn new(future: impl Future<Output = Opened> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Later {
    type Output = Opened;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Opened> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").finish_non_exhaustive()
    }
}

/// A websocket to be, once the connection is upgraded.
#[derive(Debug)]
pub(crate) struct SocketTask {
    server: PeerData,
    opening: Opening,
    pub(crate) handshake: SocketHandshake,
}

/// What a websocket is for. One that opens a session carries what its client came with, and with
/// it its place on the server: dropped instead of started, it gives that back.
#[derive(Debug)]
pub(super) enum Opening {
    Probe(Connection),
    Engine(Revision, bool, Arrival),
    Json(Arrival),
    /// To tell a page why it may not have one: of a failed handshake it could read nothing.
    Refused(Refused),
}

impl PeerData {
    /// What a client comes with that wants a session, if there is a place for it.
    pub(super) fn arrive(
        &self,
        door: Door,
        head: &Head<'_>,
        wire: session::Wire,
        jsonp: bool,
    ) -> Result<Arrival, Refusal> {
        let settings = &self.inner.settings;
        let address = settings.edge.proxies().client_address(head);
        let turn_away = |why: TurnedAway| {
            self.note_handshake(observed::outcome(why));
            self.announce_refused_request(head, Some(wire.into()), why);
            door.turn_away(why)
        };
        let seat = self.inner.intake.enter(address).map_err(|full| {
            turn_away(match full {
                Full::Server => TurnedAway::ServerFull,
                Full::Address => TurnedAway::AddressFull,
                Full::Ending => TurnedAway::ShuttingDown,
            })
        })?;
        let handshake = if settings.keep_handshakes == Keep::Never {
            None
        } else {
            let max = settings.limits.max_handshake;
            let handshake = Handshake::read(head, &settings.edge, jsonp, max)
                .ok_or_else(|| turn_away(TurnedAway::HandshakeTooLarge))?;
            Some(Arc::new(handshake))
        };
        Ok(Arrival {
            handshake,
            address,
            seat: Some(seat),
            ..Arrival::default()
        })
    }

    /// Has the application decide about a client first, if it wants to and the wire asks for it
    /// now: later revisions of Socket.IO ask when the client has said its `auth`.
    pub(super) fn decide(
        &self,
        asks: bool,
        arrival: Arrival,
        open: impl FnOnce(Arrival) -> Opened + Send + 'static,
    ) -> Task {
        if !asks || !self.inner.settings.policies.authorizes() {
            return open(arrival).into();
        }
        // Nobody could end a decision that takes too long.
        if Handle::try_current().is_err() {
            return Task::Answer(Refusal::Unavailable.into());
        }
        let server = self.clone();
        Task::Later(Later::new(async move {
            let unknown = Handshake::default();
            let handshake = arrival.handshake.as_deref().unwrap_or(&unknown);
            let verdict = server.authorize(&Hello::new(handshake, None, None)).await;
            open(Arrival { verdict, ..arrival })
        }))
    }

    pub(super) fn open_polling(
        &self,
        revision: Revision,
        sid: &SessionId,
        base64: bool,
        mut arrival: Arrival,
        dress: &Dress,
    ) -> Reply {
        let limits = &self.inner.settings.limits;
        let session = Session::polling(revision, sid, base64, limits, clock::now());
        let verdict = arrival.take_verdict();
        let client = self.register(*sid, session, arrival);
        if revision == Revision::V3 {
            self.connect_unasked(&client, verdict);
        }
        let base64 = dress.jsonp.is_some();
        dress.answer(client.with(|session| session.first_answer(base64)))
    }
}

impl SocketTask {
    pub(super) fn new(server: PeerData, opening: Opening, handshake: SocketHandshake) -> Self {
        Self {
            server,
            opening,
            handshake,
        }
    }

    /// What to keep until the socket has ended, for a shutdown to wait for it.
    pub(crate) fn hold_open(&self) -> OpenSocket {
        OpenSocket::of(&self.server)
    }

    /// The connection is upgraded. `None`: its session is gone.
    pub(crate) fn start(self) -> Option<Connection> {
        let Self {
            server, opening, ..
        } = self;
        let limits = Arc::clone(&server.inner.settings.limits);
        let now = clock::now();
        let (session, link, sid, connects, mut arrival) = match opening {
            Opening::Probe(connection) => return Some(connection),
            Opening::Refused(refused) => return Connection::refused(&server, &refused),
            Opening::Engine(revision, base64, arrival) => {
                let sid = server.new_session_id()?;
                let (session, link) = Session::socket(revision, &sid, base64, &limits, now);
                (session, link, sid, revision == Revision::V3, arrival)
            }
            Opening::Json(arrival) => {
                let (session, link) = Session::json(&limits, now);
                (session, link, server.new_session_id()?, true, arrival)
            }
        };
        let verdict = arrival.take_verdict();
        let client = server.register(sid, session, arrival);
        if connects {
            server.connect_unasked(&client, verdict);
        }
        Some(Connection::new(server, client, link))
    }
}
