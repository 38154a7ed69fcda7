//! What a framework has to do for a request.

use tokio::runtime::Handle;

use super::opening::{Later, Opened, Opening, SocketTask};
use super::polling::{Dress, PollFuture, Post};
use super::{Connection, PeerData, Wire};
use crate::clock;
use crate::error::Refused;
use crate::id::SessionId;
use crate::session::{self, PollRefused};
use crate::wire::engine::Revision;
use crate::wire::intent::{
    Door, Format, Head, Intent, Known, Mount, SocketHandshake, SocketTarget,
};
use crate::wire::reply::{Refusal, Reply, TurnedAway};
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

impl From<Opened> for Task {
    fn from(opened: Opened) -> Self {
        match opened {
            Opened::Answer(reply) => Self::Answer(reply),
            Opened::Socket(socket) => Self::Socket(socket),
        }
    }
}

impl PeerData {
    /// Reads a request. Nothing is kept of it but what its answer needs, and what a hook wants.
    pub(crate) fn task(&self, mount: Mount, head: &Head<'_>) -> Task {
        let settings = &self.inner.settings;
        let Some(door) = settings.paths.door(mount, head.path) else {
            return Task::Elsewhere;
        };
        if !settings.edge.admits(door, head) {
            let why = Refused::forbidden("pages of that origin are not served");
            self.announce_refused_request(door, head, &why);
            let why = Refused::forbidden("pages of that origin are not served");
            self.announce_refused_request(door, head, &why);
            // What is refused to one page may be another's: a cache must tell them apart.
            return Task::Answer(Reply::from(door.forbidden()).with("vary", "Origin"));
        }
        if self.is_banned(head) {
            self.announce_refused_request(door, head, &TurnedAway::Banned.into());
            let reply = Reply::from(door.turn_away(TurnedAway::Banned));
            return Task::Answer(reply.allow_origin(head.header("origin")));
        }
        let task = match door.read(head, |sid| self.known(sid)) {
            Intent::Answer(reply) => {
                return Task::Answer(reply.allow_origin(head.header("origin")));
            }
            Intent::Script => return Task::Answer(self.script(head)),
            Intent::Open { revision, format } => self.open(door, head, revision, format),
            Intent::Poll { sid, format } => {
                let dress = self.dress(head, Some(&sid), format.jsonp);
                self.session(&sid)
                    .ok_or(Refusal::SessionUnknown)
                    .map(|client| match PollFuture::open(self, client, dress) {
                        Ok(poll) => Task::Poll(poll),
                        Err(reply) => Task::Answer(reply),
                    })
            }
            Intent::Post {
                sid,
                content,
                length,
            } => {
                let dress = self.dress(head, Some(&sid), None);
                let client = self.session(&sid).ok_or(Refusal::SessionUnknown);
                client.map(|client| Task::Post(Post::new(self, client, content, length, dress)))
            }
            Intent::Socket { target, handshake } => self.socket(door, head, target, handshake),
        };
        task.unwrap_or_else(|refusal| {
            let reply = self.dress(head, None, None).refuse(refusal);
            Task::Answer(reply)
        })
    }

    fn dress(&self, head: &Head<'_>, sid: Option<&SessionId>, jsonp: Option<String>) -> Dress {
        let edge = &self.inner.settings.edge;
        Dress {
            origin: head.header("origin").map(str::to_owned),
            jsonp,
            cookie: sid.and_then(|sid| edge.cookie(sid)),
        }
    }

    /// A long-polling session to be.
    fn open(
        &self,
        door: Door,
        head: &Head<'_>,
        revision: Revision,
        format: Format,
    ) -> Result<Task, Refusal> {
        let arrival = self.arrive(door, head, format.jsonp.is_some())?;
        // Without a runtime there is no timer that could end the session.
        let (Ok(sid), Ok(_)) = (SessionId::random(), Handle::try_current()) else {
            return Err(Refusal::Unavailable);
        };
        let dress = self.dress(head, Some(&sid), format.jsonp);
        let server = self.clone();
        Ok(
            self.decide(revision == Revision::V3, arrival, move |arrival| {
                let reply = server.open_polling(revision, &sid, format.base64, arrival, &dress);
                Opened::Answer(reply)
            }),
        )
    }

    /// A websocket to be: a session's own, or one that opens a session.
    fn socket(
        &self,
        door: Door,
        head: &Head<'_>,
        target: SocketTarget,
        handshake: SocketHandshake,
    ) -> Result<Task, Refusal> {
        let server = self.clone();
        let socket = move |opening| Opened::Socket(SocketTask::new(server, opening, handshake));
        match target {
            SocketTarget::Upgrade { sid, base64 } => {
                let connection = self.probe(&sid, base64).ok_or(Refusal::SessionUnknown)?;
                Ok(socket(Opening::Probe(connection)).into())
            }
            SocketTarget::Open { revision, base64 } => {
                let arrival = self.arrive(door, head, false)?;
                Ok(
                    self.decide(revision == Revision::V3, arrival, move |arrival| {
                        socket(Opening::Engine(revision, base64, arrival))
                    }),
                )
            }
            SocketTarget::Json => {
                let arrival = self.arrive(door, head, false)?;
                let dress = self.dress(head, None, None);
                let server = self.clone();
                Ok(self.decide(true, arrival, move |arrival| {
                    let Err(why) = &arrival.verdict else {
                        return socket(Opening::Json(arrival));
                    };
                    server.announce_stranger(arrival.address, Some(Wire::Json), why);
                    // Only browsers say where a page is from, and their pages learn nothing of
                    // a handshake but that it failed.
                    if dress.origin.is_some() {
                        socket(Opening::Refused(why.clone()))
                    } else {
                        Opened::Answer(dress.forbid(why))
                    }
                }))
            }
        }
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

    fn is_banned(&self, head: &Head<'_>) -> bool {
        let (intake, edge) = (&self.inner.intake, &self.inner.settings.edge);
        intake.has_bans() && intake.is_banned(edge.proxies().client_address(head), clock::now())
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
        let session::Wire::Engine(revision) = peer.wire else {
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
}
