//! What a request wants: its line and headers in, an [`Intent`] out.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::parse as parse_query;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::engine::Revision;
use super::reply::{Refusal, Reply, TurnedAway};
use crate::id::SessionId;

/// The parts of a request that matter here, free of any framework's types.
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// What the request line says of the host: all that HTTP/2 has.
    pub(crate) authority: Option<&'a str>,
    /// The other end of the connection, as far as the framework knows: a client or a proxy.
    pub(crate) address: Option<IpAddr>,
    pub(crate) upgrade: Upgrade,
    /// Shows each line of the header of that lower-case name.
    pub(crate) lines: &'a HeaderLookup<'a>,
    /// Shows the name, in lower case, and the value of each header line that is text.
    pub(crate) each_header: &'a HeaderTour<'a>,
}

/// How the connection of a request can become a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    Never,
    /// By headers, as HTTP/1.1 has it (RFC 6455, 4).
    Header,
    /// By a CONNECT whose `:protocol` is `websocket` (RFC 8441): this is one.
    Connect,
}

pub(crate) type HeaderLookup<'a> = dyn Fn(&str, &mut dyn FnMut(&'a [u8])) + 'a;
pub(crate) type HeaderTour<'a> = dyn Fn(&mut dyn FnMut(&'a str, &'a str)) + 'a;

impl<'a> Head<'a> {
    /// Shows each line of a header that is text.
    pub(super) fn texts(&self, name: &str, show: &mut dyn FnMut(&'a str)) {
        (self.lines)(name, &mut |line| {
            text(line).into_iter().for_each(&mut *show);
        });
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let mut first = None;
        self.texts(name, &mut |value| first = first.or(Some(value)));
        first
    }

    /// Whether a header, which may be a list on several lines, has `token` among its values.
    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut has = false;
        self.texts(name, &mut |value| {
            has |= value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(token));
        });
        has
    }
}

/// What a header says, if that is visible ASCII (RFC 9110, 5.5).
pub(super) fn text(line: &[u8]) -> Option<&str> {
    let is_text = line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    is_text.then(|| std::str::from_utf8(line).ok()).flatten()
}

/// What a request is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mount {
    /// Its path says whether it is signaling's, and which.
    Paths,
    /// It was routed here for Socket.IO, whatever its path.
    Engine,
    /// It was routed here for plain JSON, whatever its path.
    Json,
}

/// Where signaling is mounted. No trailing slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) engine: String,
    pub(crate) json: String,
}

/// What a request is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Engine,
    /// The client's script, a file below Engine.IO.
    Script,
    Json,
}

const SCRIPT: &str = "/socket.io.js";

#[derive(Debug)]
pub(crate) enum Intent {
    /// Answered on the spot.
    Answer(Reply),
    /// The client's script.
    Script,
    /// A new long-polling session.
    Open { revision: Revision, format: Format },
    /// A GET or a POST of a session that there is.
    Poll { sid: SessionId, format: Format },
    Post {
        sid: SessionId,
        content: Content,
        length: Option<u64>,
    },
    /// A websocket: for Engine.IO a session's own or a new one, or the plain JSON wire.
    Socket {
        target: SocketTarget,
        handshake: SocketHandshake,
    },
}

/// How a client wants the answers to its polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) base64: bool,
    /// The number of the JSONP callback.
    pub(crate) jsonp: Option<String>,
}

/// How the body of a POST is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text,
    Binary,
    /// A form with the payload in `d`, as JSONP clients send it.
    Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketTarget {
    Open { revision: Revision, base64: bool },
    Upgrade { sid: SessionId, base64: bool },
    Json,
}

/// What the answer to a websocket handshake says (RFC 6455, 4.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketHandshake {
    /// The proof that the request was understood; HTTP/2 needs none.
    pub(crate) accept: Option<String>,
    /// Browsers insist on one of the subprotocols that they offered: the first.
    pub(crate) protocol: Option<String>,
}

/// What the server knows of a session before it is asked to do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) revision: Revision,
    pub(crate) polling: bool,
}

impl SocketHandshake {
    pub(crate) fn reply(&self) -> Reply {
        let reply = match &self.accept {
            Some(accept) => Reply::bare(101)
                .with("connection", "upgrade")
                .with("upgrade", "websocket")
                .with("sec-websocket-accept", &**accept),
            None => Reply::bare(200),
        };
        match &self.protocol {
            Some(protocol) => reply.with("sec-websocket-protocol", &**protocol),
            None => reply,
        }
    }
}

impl Paths {
    /// Which door a request is at; none, if it is the application's.
    pub(crate) fn door(&self, mount: Mount, path: &str) -> Option<Door> {
        match mount {
            Mount::Json => return Some(Door::Json),
            Mount::Engine => {}
            Mount::Paths if is_under(path, &self.engine) => {}
            Mount::Paths => return is_under(path, &self.json).then_some(Door::Json),
        }
        // By its end: a router may have taken away what stands before.
        let script = path.ends_with(SCRIPT);
        Some(if script { Door::Script } else { Door::Engine })
    }
}

impl Door {
    /// Reads a request. `known` looks a session up by its id.
    pub(crate) fn read(
        self,
        head: &Head<'_>,
        known: impl FnOnce(&SessionId) -> Option<Known>,
    ) -> Intent {
        if head.method == "OPTIONS" {
            return Intent::Answer(Reply::preflight(
                head.header("access-control-request-headers"),
            ));
        }
        let intent = match self {
            Self::Engine => read_engine(head, known),
            Self::Script => Ok(Intent::Script),
            Self::Json => read_json(head),
        };
        intent.unwrap_or_else(|refusal| Intent::Answer(refusal.into()))
    }

    /// What a page is told that may not come in.
    pub(crate) fn forbidden(self) -> Refusal {
        match self {
            Self::Engine => Refusal::Forbidden,
            Self::Script | Self::Json => Refusal::ForeignOrigin,
        }
    }

    /// What a client is told that does not come in.
    pub(crate) fn turn_away(self, away: TurnedAway) -> Refusal {
        match self {
            Self::Engine => Refusal::Away(away),
            Self::Script | Self::Json => Refusal::AwayPlainly(away),
        }
    }
}

/// Whether `path` is `mount` or continues it after a slash.
pub(crate) fn is_under(path: &str, mount: &str) -> bool {
    path.strip_prefix(mount)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn read_json(head: &Head<'_>) -> Result<Intent, Refusal> {
    if !asks_for_websocket(head) {
        return Err(Refusal::UpgradeRequired);
    }
    Ok(Intent::Socket {
        target: SocketTarget::Json,
        handshake: read_handshake(head)?,
    })
}

fn read_engine(
    head: &Head<'_>,
    known: impl FnOnce(&SessionId) -> Option<Known>,
) -> Result<Intent, Refusal> {
    let query = Query::read(head.query);
    let websocket = match query.transport.as_deref() {
        Some("polling") => false,
        Some("websocket") => true,
        _ => return Err(Refusal::TransportUnknown),
    };
    let revision = match query.revision.as_deref() {
        Some("3") => Some(Revision::V3),
        Some("4") => Some(Revision::V4),
        _ => None,
    };
    let format = Format {
        base64: query.base64.unwrap_or_default(),
        jsonp: query.jsonp,
    };
    let Some(sid) = query.sid else {
        if head.method != "GET" && head.upgrade != Upgrade::Connect {
            return Err(Refusal::BadHandshakeMethod);
        }
        let revision = revision.ok_or(Refusal::UnsupportedVersion)?;
        if !websocket {
            return Ok(Intent::Open { revision, format });
        }
        if !asks_for_websocket(head) {
            return Err(Refusal::BadRequest);
        }
        let base64 = format.base64;
        let target = SocketTarget::Open { revision, base64 };
        let handshake = read_handshake(head)?;
        return Ok(Intent::Socket { target, handshake });
    };
    let sid = SessionId::parse(&sid).map_err(|_| Refusal::SessionUnknown)?;
    let session = known(&sid).ok_or(Refusal::SessionUnknown)?;
    if revision != Some(session.revision) {
        return Err(Refusal::BadRequest);
    }
    if websocket {
        if !asks_for_websocket(head) {
            return Err(Refusal::BadRequest);
        }
        let base64 = format.base64;
        let target = SocketTarget::Upgrade { sid, base64 };
        let handshake = read_handshake(head)?;
        return Ok(Intent::Socket { target, handshake });
    }
    if !session.polling {
        return Err(Refusal::BadRequest);
    }
    match head.method {
        "GET" => Ok(Intent::Poll { sid, format }),
        "POST" => Ok(Intent::Post {
            sid,
            content: read_content(head, format.jsonp.is_some()),
            length: head
                .header("content-length")
                .and_then(|length| length.trim().parse().ok()),
        }),
        _ => Err(Refusal::BadHandshakeMethod),
    }
}

fn read_content(head: &Head<'_>, jsonp: bool) -> Content {
    let binary = head.header("content-type").is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/octet-stream")
    });
    match (binary, jsonp) {
        (true, _) => Content::Binary,
        (false, true) => Content::Form,
        (false, false) => Content::Text,
    }
}

fn asks_for_websocket(head: &Head<'_>) -> bool {
    match head.upgrade {
        Upgrade::Never => false,
        Upgrade::Header => head.method == "GET" && head.has_token("upgrade", "websocket"),
        Upgrade::Connect => true,
    }
}

/// The key is that many random bytes, in base64 (RFC 6455, 4.1).
const KEY_BYTES: usize = 16;

fn read_handshake(head: &Head<'_>) -> Result<SocketHandshake, Refusal> {
    let accept = match head.upgrade {
        Upgrade::Connect => None,
        Upgrade::Header | Upgrade::Never => Some(read_key(head).ok_or(Refusal::BadRequest)?),
    };
    if head.header("sec-websocket-version").map(str::trim) != Some("13") {
        return Err(Refusal::WebsocketVersion);
    }
    let protocol = head
        .header("sec-websocket-protocol")
        .and_then(|offered| offered.split(',').next())
        .map(|first| first.trim().to_owned())
        .filter(|first| !first.is_empty());
    Ok(SocketHandshake { accept, protocol })
}

/// The answer to the key of a handshake by headers, if that is one.
fn read_key(head: &Head<'_>) -> Option<String> {
    let key = head.header("sec-websocket-key").map(str::trim);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_BYTES))?;
    head.has_token("connection", "upgrade")
        .then(|| derive_accept_key(key.as_bytes()))
}

/// The session that a long-polling request is about, as far as its query says that it is one.
pub(crate) fn polled_session(query: &str) -> Option<SessionId> {
    let query = Query::read(query);
    let polls = query.transport.as_deref() == Some("polling");
    let sid = query.sid.filter(|_| polls)?;
    SessionId::parse(&sid).ok()
}

/// The parameters of an Engine.IO request; the first of each name counts, others are the
/// application's.
#[derive(Default)]
struct Query<'a> {
    transport: Option<Cow<'a, str>>,
    revision: Option<Cow<'a, str>>,
    sid: Option<Cow<'a, str>>,
    base64: Option<bool>,
    jsonp: Option<String>,
}

impl<'a> Query<'a> {
    fn read(query: &'a str) -> Self {
        let mut read = Self::default();
        for (name, value) in parse_query(query.as_bytes()) {
            match &*name {
                "transport" => read.transport = read.transport.or(Some(value)),
                "EIO" => read.revision = read.revision.or(Some(value)),
                "sid" => read.sid = read.sid.or(Some(value)),
                "b64" if read.base64.is_none() => {
                    read.base64 = Some(!matches!(&*value, "" | "0" | "false"));
                }
                "j" if read.jsonp.is_none() => read.jsonp = Some(value.into_owned()),
                _ => {}
            }
        }
        read
    }
}

#[cfg(test)]
mod tests;
