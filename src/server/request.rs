//! What a framework has to do for a request.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use super::polling::{Dress, PollFuture, Post};
use super::{Connection, PeerData};
use crate::id::SessionId;
use crate::session::{PollRefused, Session, Wire};
use crate::wire::engine::Revision;
use crate::wire::intent::{Format, Head, Intent, Known, Mount, SocketHandshake, SocketTarget};
use crate::wire::reply::{Refusal, Reply};

/// A request, read: what is left is moving bytes.
#[derive(Debug)]
pub(crate) enum Task {
    /// Hand it to the application.
    Elsewhere,
    /// Answer this.
    Answer(Reply),
    /// Wait for this, and answer it.
    Poll(PollFuture),
    /// Give it the body, and answer what it comes to.
    Post(Post),
    /// Answer 101, and pump the upgraded connection.
    Socket(SocketTask),
}

/// A websocket to be, once the connection is upgraded.
#[derive(Debug)]
pub(crate) struct SocketTask {
    server: PeerData,
    target: SocketTarget,
    pub(crate) handshake: SocketHandshake,
}

impl PeerData {
    /// Reads a request. Nothing is kept of it but what its answer needs.
    pub(crate) fn task(&self, mount: Mount, head: &Head<'_>) -> Task {
        let known = |sid: &SessionId| self.known(sid);
        let intent = self.inner.settings.paths.read(mount, head, known);
        let origin = || head.header("origin").map(str::to_owned);
        match intent {
            Intent::Elsewhere => Task::Elsewhere,
            Intent::Answer(reply) => Task::Answer(reply.allow_origin(origin().as_deref())),
            Intent::Open { revision, format } => {
                Task::Answer(self.open_polling(revision, format, origin()))
            }
            Intent::Poll { sid, format } => match self.session(&sid) {
                Some(peer) => match PollFuture::open(self, peer, format, origin()) {
                    Ok(poll) => Task::Poll(poll),
                    Err(reply) => Task::Answer(reply),
                },
                None => Self::unknown(origin()),
            },
            Intent::Post {
                sid,
                content,
                length,
            } => match self.session(&sid) {
                Some(peer) => Task::Post(Post::new(self, peer, content, length, origin())),
                None => Self::unknown(origin()),
            },
            Intent::Socket { target, handshake } => Task::Socket(SocketTask {
                server: self.clone(),
                target,
                handshake,
            }),
        }
    }

    fn unknown(origin: Option<String>) -> Task {
        let dress = Dress {
            origin,
            jsonp: None,
        };
        Task::Answer(dress.refuse(Refusal::SessionUnknown))
    }

    fn known(&self, sid: &SessionId) -> Option<Known> {
        let peer = self.session(sid)?;
        let Wire::Engine(revision) = peer.wire else {
            return None;
        };
        let usable = peer.with(|session| {
            // The timer is coarse, but nobody is to use a session beyond its time.
            session.handle_timeout(Instant::now());
            session.check_post()
        });
        self.settle(&peer);
        let polling = match usable {
            Ok(()) => true,
            Err(PollRefused::BadRequest) => false,
            Err(PollRefused::Gone) => return None,
        };
        Some(Known { revision, polling })
    }

    fn open_polling(&self, revision: Revision, format: Format, origin: Option<String>) -> Reply {
        let dress = Dress {
            origin,
            jsonp: format.jsonp,
        };
        let limits = &self.inner.settings.limits;
        // Without a runtime there is no timer that could end the session.
        let (Ok(sid), Ok(_)) = (SessionId::random(), Handle::try_current()) else {
            return dress.refuse(Refusal::Unavailable);
        };
        let session = Session::polling(revision, &sid, format.base64, limits, Instant::now());
        let peer = self.register(sid, session);
        if revision == Revision::V3 {
            self.connect_unasked(&peer);
        }
        let base64 = dress.jsonp.is_some();
        dress.answer(peer.with(|session| session.first_answer(base64)))
    }
}

impl SocketTask {
    /// The connection is upgraded. `None`: its session is gone.
    pub(crate) fn start(self) -> Option<Connection> {
        let Self { server, target, .. } = self;
        let limits = Arc::clone(&server.inner.settings.limits);
        let now = Instant::now();
        let (session, link, sid, connects) = match target {
            SocketTarget::Upgrade { sid, base64 } => {
                let peer = server.session(&sid)?;
                let (link, due) = peer.with(|session| {
                    let link = session.open_probe(base64, now);
                    (link, session.poll_timeout())
                });
                server.schedule(&peer, due);
                return Some(Connection::new(server, peer, link));
            }
            SocketTarget::Open { revision, base64 } => {
                let sid = SessionId::random().ok()?;
                let (session, link) = Session::socket(revision, &sid, base64, &limits, now);
                (session, link, sid, revision == Revision::V3)
            }
            SocketTarget::Json => {
                let (session, link) = Session::json(&limits, now);
                (session, link, SessionId::random().ok()?, true)
            }
        };
        let peer = server.register(sid, session);
        if connects {
            server.connect_unasked(&peer);
        }
        Some(Connection::new(server, peer, link))
    }
}
