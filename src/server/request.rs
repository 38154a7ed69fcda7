//! What a framework has to do for a request.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::client::Arrival;
use super::intake::Full;
use super::polling::{Dress, PollFuture, Post};
use super::{Connection, Handshake, PeerData};
use crate::clock;
use crate::error::Refused;
use crate::id::SessionId;
use crate::session::{PollRefused, Session, Wire};
use crate::wire::engine::Revision;
use crate::wire::intent::{Door, Head, Intent, Known, Mount, SocketHandshake, SocketTarget};
use crate::wire::reply::{Refusal, Reply, TurnedAway};
use crate::wire::script::Script;

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
    opening: Opening,
    pub(crate) handshake: SocketHandshake,
}

/// What a websocket is for. One that opens a session carries what its client came with, and with
/// it its place on the server: dropped instead of started, it gives that back.
#[derive(Debug)]
enum Opening {
    Probe(Connection),
    Engine(Revision, bool, Arrival),
    Json(Arrival),
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
            self.announce_refused_request(head, spoken_at(door), why);
            // What is refused to one page may be another's: a cache must tell them apart.
            return Task::Answer(Reply::from(door.forbidden()).with("vary", "Origin"));
        }
        if self.is_banned(head) {
            self.announce_refused_request(head, spoken_at(door), TurnedAway::Banned);
            let reply = Reply::from(door.turn_away(TurnedAway::Banned));
            return Task::Answer(reply.allow_origin(head.header("origin")));
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
                let arrival =
                    match self.arrive(door, Wire::Engine(revision), head, format.jsonp.is_some()) {
                        Ok(arrival) => arrival,
                        Err(refusal) => return Task::Answer(dress(None, None).refuse(refusal)),
                    };
                // Without a runtime there is no timer that could end the session.
                let (Ok(sid), Ok(_)) = (SessionId::random(), Handle::try_current()) else {
                    return Task::Answer(dress(None, None).refuse(Refusal::Unavailable));
                };
                let dress = dress(Some(&sid), format.jsonp);
                Task::Answer(self.open_polling(revision, &sid, format.base64, arrival, &dress))
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
                let arrive = |wire| self.arrive(door, wire, head, false);
                let opening = match target {
                    SocketTarget::Upgrade { sid, base64 } => {
                        let connection = self.probe(&sid, base64);
                        let connection = connection.ok_or(Refusal::SessionUnknown);
                        connection.map(Opening::Probe)
                    }
                    SocketTarget::Open { revision, base64 } => arrive(Wire::Engine(revision))
                        .map(|arrival| Opening::Engine(revision, base64, arrival)),
                    SocketTarget::Json => arrive(Wire::Json).map(Opening::Json),
                };
                let opening = match opening {
                    Ok(opening) => opening,
                    Err(refusal) => return Task::Answer(dress(None, None).refuse(refusal)),
                };
                Task::Socket(SocketTask {
                    server: self.clone(),
                    opening,
                    handshake,
                })
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

    /// What a client comes with that wants a session, if there is a place for it.
    fn arrive(
        &self,
        door: Door,
        wire: Wire,
        head: &Head<'_>,
        jsonp: bool,
    ) -> Result<Arrival, Refusal> {
        let settings = &self.inner.settings;
        let turn_away = |away| {
            self.announce_refused_request(head, Some(wire.into()), away);
            door.turn_away(away)
        };
        let address = settings.edge.proxies().client_address(head);
        let seat = self.inner.intake.enter(address).map_err(|full| {
            turn_away(match full {
                Full::Server => TurnedAway::ServerFull,
                Full::Address => TurnedAway::AddressFull,
            })
        })?;
        let handshake = if settings.keep_handshakes {
            let max = settings.limits.max_handshake;
            let handshake = Handshake::read(head, &settings.edge, jsonp, max)
                .ok_or_else(|| turn_away(TurnedAway::HandshakeTooLarge))?;
            Some(Box::new(handshake))
        } else {
            None
        };
        Ok(Arrival {
            handshake,
            address,
            seat: Some(seat),
        })
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
        arrival: Arrival,
        dress: &Dress,
    ) -> Reply {
        let limits = &self.inner.settings.limits;
        let session = Session::polling(revision, sid, base64, limits, clock::now());
        let peer = self.register(*sid, session, arrival);
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
        let Self {
            server, opening, ..
        } = self;
        let limits = Arc::clone(&server.inner.settings.limits);
        let now = clock::now();
        let (session, link, sid, connects, arrival) = match opening {
            Opening::Probe(connection) => return Some(connection),
            Opening::Engine(revision, base64, arrival) => {
                let sid = SessionId::random().ok()?;
                let (session, link) = Session::socket(revision, &sid, base64, &limits, now);
                (session, link, sid, revision == Revision::V3, arrival)
            }
            Opening::Json(arrival) => {
                let (session, link) = Session::json(&limits, now);
                (session, link, SessionId::random().ok()?, true, arrival)
            }
        };
        let peer = server.register(sid, session, arrival);
        if connects {
            server.connect_unasked(&peer);
        }
        Some(Connection::new(server, peer, link))
    }
}

/// What is spoken at a door, as far as that says it.
fn spoken_at(door: Door) -> Option<super::Wire> {
    (door == Door::Json).then_some(super::Wire::Json)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
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
            header: &|name, show| {
                let found = headers.iter().filter(|(found, _)| *found == name);
                found.for_each(|(_, value)| show(value));
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
