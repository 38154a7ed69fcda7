//! What a framework has to do for a request.

use tokio::runtime::Handle;

use super::opening::{Later, Opened, Opening, SocketTask};
use super::polling::{self, Dress, PollFuture};
use super::{Connection, PeerData, Post, Wire};
use crate::clock;
use crate::error::Refused;
use crate::id::SessionId;
use crate::observe::Handshake;
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
            self.note_handshake(Handshake::ForeignOrigin);
            let why = Refused::forbidden("pages of that origin are not served");
            self.announce_refused_request(head, spoken_at(door), why);
            // What is refused to one page may be another's: a cache must tell them apart.
            return Task::Answer(Reply::from(door.forbidden()).with("vary", "Origin"));
        }
        if self.is_banned(head) {
            self.note_handshake(Handshake::Banned);
            self.announce_refused_request(head, spoken_at(door), TurnedAway::Banned);
            let reply = Reply::from(door.turn_away(TurnedAway::Banned));
            return Task::Answer(reply.allow_origin(head.header("origin")));
        }
        if door == Door::Engine
            && let Some(task) = self.forwarded(head)
        {
            return task;
        }
        self.task_at(door, head)
    }

    /// What there is to do for a request within a session of this node that has come by another.
    pub(super) fn task_within(&self, head: &Head<'_>) -> Task {
        self.task_at(Door::Engine, head)
    }

    /// Why a POST that came by another node is not for a session of this one, as far as its head says.
    pub(super) fn refuses_post(&self, head: &Head<'_>) -> Option<Reply> {
        let reply = match Door::Engine.read(head, |sid| self.known(sid)) {
            Intent::Post { .. } => return None,
            Intent::Answer(reply) => reply,
            _ => Refusal::BadRequest.into(),
        };
        Some(reply.allow_origin(head.header("origin")))
    }

    fn task_at(&self, door: Door, head: &Head<'_>) -> Task {
        let task = match door.read(head, |sid| self.known(sid)) {
            Intent::Answer(reply) => {
                if reply.status >= 400 {
                    self.note_handshake(Handshake::Invalid);
                }
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
                client.map(|client| {
                    let post = polling::Post::new(self, client, content, length, dress);
                    Task::Post(Post::Here(post))
                })
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
        let wire = session::Wire::Engine(revision);
        let arrival = self.arrive(door, head, wire, format.jsonp.is_some())?;
        // Without a runtime there is no timer that could end the session.
        let (Some(sid), Ok(_)) = (self.new_session_id(), Handle::try_current()) else {
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
                let wire = session::Wire::Engine(revision);
                let arrival = self.arrive(door, head, wire, false)?;
                Ok(
                    self.decide(revision == Revision::V3, arrival, move |arrival| {
                        socket(Opening::Engine(revision, base64, arrival))
                    }),
                )
            }
            SocketTarget::Json => {
                let arrival = self.arrive(door, head, session::Wire::Json, false)?;
                let dress = self.dress(head, None, None);
                let server = self.clone();
                Ok(self.decide(true, arrival, move |arrival| {
                    let Err(why) = &arrival.verdict else {
                        return socket(Opening::Json(arrival));
                    };
                    server.note_handshake(Handshake::Refused);
                    server.announce_stranger(arrival.address, Some(Wire::Json), why.clone());
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

/// What is spoken at a door, as far as that says it.
fn spoken_at(door: Door) -> Option<Wire> {
    (door == Door::Json).then_some(Wire::Json)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::limits::Limits;
    use crate::server::Settings;
    use crate::wire::intent::Upgrade;

    const POLLING: (&str, &str) = ("/socket.io/", "EIO=3&transport=polling");
    const SOCKET: (&str, &str) = ("/socket.io/", "EIO=4&transport=websocket");
    const JSON: (&str, &str) = ("/peer-data", "");

    /// What comes of a request, with the headers of a websocket if it is for one.
    fn ask(server: &PeerData, (path, query): (&str, &str), address: &str) -> Task {
        let websocket = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let polls = query.contains("polling");
        let headers = if polls { &[][..] } else { &websocket };
        let head = Head {
            method: "GET",
            path,
            query,
            authority: None,
            address: address.parse().ok(),
            upgrade: Upgrade::Header,
            lines: &|name, show| {
                let found = headers.iter().filter(|(found, _)| *found == name);
                found.for_each(|(_, value)| show(value.as_bytes()));
            },
            each_header: &|_| {},
        };
        server.task(Mount::Paths, &head)
    }

    fn status(task: &Task) -> u16 {
        match task {
            Task::Answer(reply) => reply.status,
            Task::Socket(_) => 101,
            Task::Poll(_) => 200,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_banned_address_is_refused_at_every_door() {
        let server = PeerData::new();
        let opened = ask(&server, POLLING, "192.0.2.1");
        let Task::Answer(opened) = opened else {
            panic!("{opened:?}");
        };
        let sid = String::from_utf8(opened.body.to_vec()).unwrap();
        let sid = sid.split('"').nth(3).unwrap();
        let session = format!("{}&sid={sid}", POLLING.1);
        let script = ("/socket.io/socket.io.js", "");
        let doors = [POLLING, (POLLING.0, &session), SOCKET, JSON, script];
        let refused = |address: &str| doors.map(|door| status(&ask(&server, door, address)) == 403);
        let now = clock::now();
        let banned: IpAddr = "192.0.2.1".parse().unwrap();
        server
            .inner
            .intake
            .ban(banned, Duration::from_secs(60), now);
        assert_eq!(refused("192.0.2.1"), [true; 5]);
        assert_eq!(refused("::ffff:192.0.2.1"), [true; 5]);
        for other in ["192.0.2.2", "nobody knows"] {
            assert_eq!(refused(other), [false; 5], "{other}");
        }
        assert!(server.inner.intake.unban(banned, now));
        assert_eq!(refused("192.0.2.1"), [false; 5]);
    }

    #[tokio::test]
    async fn a_websocket_that_never_comes_gives_its_place_back() {
        let server = PeerData::with(Settings {
            limits: Arc::new(Limits {
                max_sessions: 2,
                ..Limits::default()
            }),
            ..Settings::default()
        });
        for _ in 0..10 {
            let offered = [SOCKET, JSON].map(|door| ask(&server, door, "192.0.2.1"));
            assert_eq!(offered.each_ref().map(status), [101, 101]);
            for door in [POLLING, SOCKET, JSON] {
                assert_eq!(status(&ask(&server, door, "192.0.2.1")), 503);
            }
        }
        let Task::Socket(socket) = ask(&server, JSON, "192.0.2.1") else {
            panic!("no websocket");
        };
        let connection = socket.start().unwrap();
        assert_eq!(status(&ask(&server, POLLING, "192.0.2.1")), 200);
        assert_eq!(status(&ask(&server, POLLING, "192.0.2.1")), 503);
        drop(connection);
        assert_eq!(status(&ask(&server, POLLING, "192.0.2.1")), 200);
        assert_eq!(server.peer_count(), 2);
    }
}
