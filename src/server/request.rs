//! What a framework has to do for a request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::polling::{Dress, PollFuture, Post};
use super::{Connection, Handshake, Hello, Keep, PeerData};
use crate::clock;
use crate::error::{Code, Refused};
use crate::id::SessionId;
use crate::identity::Identity;
use crate::session::{PollRefused, Session, Wire};
use crate::wire::engine::Revision;
use crate::wire::intent::{Head, Intent, Known, Mount, SocketHandshake, SocketTarget};
use crate::wire::reply::{Refusal, Reply};
use crate::wire::script::Script;

/// A request, read: what is left is moving bytes.
#[derive(Debug)]
pub(crate) enum Task {
    /// Hand it to the application.
    Elsewhere,
    /// Answer this.
    Answer(Reply),
    /// Wait for the application's word, and do what it comes to.
    Later(Later),
    /// Wait for this, and answer it.
    Poll(PollFuture),
    /// Give it the body, and answer what it comes to.
    Post(Post),
    /// Answer 101, and pump the upgraded connection.
    Socket(SocketTask),
}

/// What a request comes to once the application has decided about its client.
pub(crate) struct Later(Pin<Box<dyn Future<Output = Opened> + Send>>);

/// As in [`Task`].
#[derive(Debug)]
pub(crate) enum Opened {
    Answer(Reply),
    Socket(SocketTask),
}

impl Later {
    fn new(future: impl Future<Output = Opened> + Send + 'static) -> Self {
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

/// What a websocket is for.
#[derive(Debug)]
enum Opening {
    Probe(Connection),
    Engine(Revision, bool, Visitor),
    Json(Visitor),
    /// To tell a page why it may not have one: of a failed handshake it could read nothing.
    Refused(Refused),
}

/// Whoever opens a session.
#[derive(Debug)]
struct Visitor {
    /// The request that does, if a hook wants to know of it.
    handshake: Option<Arc<Handshake>>,
    /// What the application says, where it has been asked already.
    verdict: Result<Identity, Refused>,
}

impl PeerData {
    /// Reads a request. Nothing is kept of it but what its answer needs, and what a hook wants.
    pub(crate) fn task(&self, mount: Mount, head: &Head<'_>) -> Task {
        let settings = &self.inner.settings;
        let Some(door) = settings.paths.door(mount, head.path) else {
            return Task::Elsewhere;
        };
        if !settings.edge.admits(door, head) {
            // What is refused to one page may be another's: a cache must tell them apart.
            return Task::Answer(Reply::from(door.forbidden()).with("vary", "Origin"));
        }
        let dress = |sid: Option<&SessionId>, jsonp| Dress {
            origin: head.header("origin").map(str::to_owned),
            jsonp,
            cookie: sid.and_then(|sid| settings.edge.cookie(sid)),
        };
        match door.read(head, |sid| self.known(sid)) {
            Intent::Answer(reply) => Task::Answer(reply.allow_origin(head.header("origin"))),
            Intent::Script => Task::Answer(self.script(head)),
            Intent::Open { revision, format } => {
                // Without a runtime there is no timer that could end the session.
                let (Ok(sid), Ok(_)) = (SessionId::random(), Handle::try_current()) else {
                    return Task::Answer(dress(None, None).refuse(Refusal::Unavailable));
                };
                let visitor = self.visitor(head, format.jsonp.is_some());
                let dress = dress(Some(&sid), format.jsonp);
                let server = self.clone();
                let asks = revision == Revision::V3;
                self.decide(asks, visitor, move |visitor| {
                    let base64 = format.base64;
                    let reply = server.open_polling(revision, &sid, base64, visitor, &dress);
                    Opened::Answer(reply)
                })
            }
            Intent::Poll { sid, format } => match self.session(&sid) {
                Some(peer) => match PollFuture::open(self, peer, dress(Some(&sid), format.jsonp)) {
                    Ok(poll) => Task::Poll(poll),
                    Err(reply) => Task::Answer(reply),
                },
                None => Task::Answer(dress(None, None).refuse(Refusal::SessionUnknown)),
            },
            Intent::Post {
                sid,
                content,
                length,
            } => {
                let dress = dress(Some(&sid), None);
                match self.session(&sid) {
                    Some(peer) => Task::Post(Post::new(self, peer, content, length, dress)),
                    None => Task::Answer(dress.refuse(Refusal::SessionUnknown)),
                }
            }
            Intent::Socket { target, handshake } => {
                let server = self.clone();
                let socket = move |opening| SocketTask {
                    server,
                    opening,
                    handshake,
                };
                match target {
                    SocketTarget::Upgrade { sid, base64 } => match self.probe(&sid, base64) {
                        Some(connection) => Task::Socket(socket(Opening::Probe(connection))),
                        None => Task::Answer(dress(None, None).refuse(Refusal::SessionUnknown)),
                    },
                    SocketTarget::Open { revision, base64 } => {
                        let asks = revision == Revision::V3;
                        self.decide(asks, self.visitor(head, false), move |visitor| {
                            Opened::Socket(socket(Opening::Engine(revision, base64, visitor)))
                        })
                    }
                    SocketTarget::Json => {
                        let dress = dress(None, None);
                        self.decide(true, self.visitor(head, false), move |visitor| {
                            match &visitor.verdict {
                                Ok(_) => Opened::Socket(socket(Opening::Json(visitor))),
                                // Only browsers say where a page is from, and their pages learn
                                // nothing of a handshake but that it failed.
                                Err(refused) if dress.origin.is_some() => {
                                    Opened::Socket(socket(Opening::Refused(refused.clone())))
                                }
                                Err(refused) => Opened::Answer(dress.forbid(refused)),
                            }
                        })
                    }
                }
            }
        }
    }

    /// Has the application decide about a client first, if it wants to and the wire asks for it
    /// now: later revisions of Socket.IO ask when the client has said its `auth`.
    fn decide(
        &self,
        asks: bool,
        visitor: Visitor,
        open: impl FnOnce(Visitor) -> Opened + Send + 'static,
    ) -> Task {
        if !asks || !self.inner.settings.policies.authorizes() {
            return match open(visitor) {
                Opened::Answer(reply) => Task::Answer(reply),
                Opened::Socket(socket) => Task::Socket(socket),
            };
        }
        if Handle::try_current().is_err() {
            return Task::Answer(Refusal::Unavailable.into());
        }
        let server = self.clone();
        Task::Later(Later::new(async move {
            let verdict = server.authorize_visitor(&visitor).await;
            open(Visitor { verdict, ..visitor })
        }))
    }

    async fn authorize_visitor(&self, visitor: &Visitor) -> Result<Identity, Refused> {
        let settings = &self.inner.settings;
        let unknown = Handshake::default();
        let handshake = visitor.handshake.as_deref().unwrap_or(&unknown);
        let hello = Hello::new(handshake, None, None);
        let decision = settings.policies.authorize(&hello);
        tokio::time::timeout(settings.limits.connect_timeout, decision)
            .await
            .unwrap_or_else(|_| {
                let message = "the application did not decide in time";
                Err(Refused::new(Code::Busy, message))
            })
    }

    /// A websocket that wants to take over a session. It is known to the session before the
    /// client hears that it may go on, so that what the client asks for next comes after it.
    fn probe(&self, sid: &SessionId, base64: bool) -> Option<Connection> {
        let peer = self.session(sid)?;
        let (link, due) = peer.with(|session| {
            let link = session.open_probe(base64, clock::now());
            (link, session.poll_timeout())
        });
        self.schedule(&peer, due);
        Some(Connection::new(self.clone(), peer, link))
    }

    fn visitor(&self, head: &Head<'_>, jsonp: bool) -> Visitor {
        let settings = &self.inner.settings;
        let keep = settings.keep_handshakes != Keep::Never;
        Visitor {
            handshake: keep.then(|| Arc::new(Handshake::read(head, &settings.edge, jsonp))),
            verdict: Ok(Identity::anonymous()),
        }
    }

    /// Unlike all other answers this one is kept by caches, which must know that it depends on the
    /// origin even where there is none.
    fn script(&self, head: &Head<'_>) -> Reply {
        let script = self.inner.settings.edge.script.as_ref();
        let reply = Script::answer(script, head);
        match head.header("origin") {
            None => reply.allow_origin(None).with("vary", "Origin"),
            origin => reply.allow_origin(origin),
        }
    }

    fn known(&self, sid: &SessionId) -> Option<Known> {
        let peer = self.session(sid)?;
        let Wire::Engine(revision) = peer.wire else {
            return None;
        };
        let usable = peer.with(|session| {
            // The timer is coarse, but nobody is to use a session beyond its time.
            session.handle_timeout(clock::now());
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

    fn open_polling(
        &self,
        revision: Revision,
        sid: &SessionId,
        base64: bool,
        visitor: Visitor,
        dress: &Dress,
    ) -> Reply {
        let limits = &self.inner.settings.limits;
        let session = Session::polling(revision, sid, base64, limits, clock::now());
        let peer = self.register(*sid, session, visitor.handshake);
        if revision == Revision::V3 {
            self.connect_unasked(&peer, visitor.verdict);
        }
        let base64 = dress.jsonp.is_some();
        dress.answer(peer.with(|session| session.first_answer(base64)))
    }
}

impl SocketTask {
    /// The connection is upgraded. `None`: its session is gone.
    pub(crate) fn start(self) -> Option<Connection> {
        let Self {
            server, opening, ..
        } = self;
        let limits = Arc::clone(&server.inner.settings.limits);
        let now = clock::now();
        let (session, link, sid, connects, visitor) = match opening {
            Opening::Probe(connection) => return Some(connection),
            Opening::Refused(refused) => return Connection::refused(&server, &refused),
            Opening::Engine(revision, base64, visitor) => {
                let sid = SessionId::random().ok()?;
                let (session, link) = Session::socket(revision, &sid, base64, &limits, now);
                (session, link, sid, revision == Revision::V3, visitor)
            }
            Opening::Json(visitor) => {
                let (session, link) = Session::json(&limits, now);
                (session, link, SessionId::random().ok()?, true, visitor)
            }
        };
        let peer = server.register(sid, session, visitor.handshake);
        if connects {
            server.connect_unasked(&peer, visitor.verdict);
        }
        Some(Connection::new(server, peer, link))
    }
}
