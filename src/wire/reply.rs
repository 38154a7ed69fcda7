//! What a request is answered, before any framework gives it a type.

use bytes::Bytes;

use crate::error::{Code, Refused};

/// Status, headers and body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TransportUnknown,
    SessionUnknown,
    BadHandshakeMethod,
    BadRequest,
    UnsupportedVersion,
    /// In the words of Engine.IO.
    Forbidden,
    /// The same, for those who do not speak Engine.IO.
    ForeignOrigin,
    /// Not an Engine.IO code: HTTP's own.
    TooLarge,
    TooManyPackets,
    /// The body of a POST did not come in time.
    BodyTimeout,
    /// The client has sent too much for too long.
    RateLimited,
    /// The plain JSON wire is a websocket and nothing else.
    UpgradeRequired,
    WebsocketVersion,
    /// The operating system gives no randomness, or there is no runtime to run on.
    Unavailable,
    /// In the likeness of Engine.IO's own refusals.
    Away(TurnedAway),
    /// The same, for those who do not speak Engine.IO.
    AwayPlainly(TurnedAway),
}

/// Why a client does not come in, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The server has all the clients that it takes.
    ServerFull,
    /// The client's address has.
    AddressFull,
    /// The client's address is banned.
    Banned,
    /// More headers than are kept for the application.
    HandshakeTooLarge,
    /// The server is about to end.
    ShuttingDown,
}

/// Seconds after which it is worth trying again: time for some others to go, and far less than a
/// user waits.
const RETRY_AFTER: &str = "10";

impl TurnedAway {
    const fn status(self) -> u16 {
        match self {
            Self::ServerFull | Self::ShuttingDown => 503,
            Self::AddressFull => 429,
            Self::Banned => 403,
            Self::HandshakeTooLarge => 431,
        }
    }

    /// Engine.IO has a code of its own for what is forbidden only; the others are HTTP's.
    const fn code(self) -> u16 {
        match self {
            Self::Banned => 4,
            _ => self.status(),
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::ServerFull => "The server has all the clients that it takes",
            Self::AddressFull => "There are too many clients at that address",
            Self::Banned => "Forbidden",
            Self::HandshakeTooLarge => "The query and the headers are too long",
            Self::ShuttingDown => "The server is shutting down",
        }
    }

    fn retried(self, reply: Reply) -> Reply {
        match self {
            Self::ServerFull | Self::AddressFull | Self::ShuttingDown => {
                reply.with("retry-after", RETRY_AFTER)
            }
            Self::Banned | Self::HandshakeTooLarge => reply,
        }
    }
}

/// As those who watch the server are told.
impl From<TurnedAway> for Refused {
    fn from(why: TurnedAway) -> Self {
        let code = match why {
            TurnedAway::ServerFull | TurnedAway::ShuttingDown => Code::Busy,
            TurnedAway::AddressFull => Code::RateLimited,
            TurnedAway::Banned => return Self::forbidden("the address is banned"),
            TurnedAway::HandshakeTooLarge => Code::TooLarge,
        };
        Self::new(code, why.message())
    }
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
        }
    }

    /// No headers and no body yet.
    pub(crate) fn bare(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer to a CORS preflight; what the client wants to send is allowed by name. All but
    /// what is for proxies to say: many pass on what they do not set themselves.
    pub(crate) fn preflight(headers: Option<&str>) -> Self {
        let names = headers.unwrap_or("Content-Type").split(',');
        let allowed: Vec<_> = names.filter(|name| !is_of_proxies(name)).collect();
        Self::bare(204)
            .with("access-control-allow-methods", "GET, POST")
            .with("access-control-allow-headers", allowed.join(","))
            .with("access-control-max-age", "86400")
    }

    /// The same as the answer to a HEAD: of the body, only how long it would be.
    pub(crate) fn without_body(self) -> Self {
        let length = self.body.len();
        let reply = Self {
            body: Bytes::new(),
            ..self
        };
        match reply.status {
            // Its length would be that of the body which it spares (RFC 9110, 8.6).
            304 => reply,
            _ => reply.with("content-length", length.to_string()),
        }
    }

    /// Lets pages of other origins read the answer, with credentials: Engine.IO clients in
    /// browsers ask for both.
    pub(crate) fn allow_origin(self, origin: Option<&str>) -> Self {
        match origin {
            Some(origin) => self
                .with("access-control-allow-origin", origin)
                .with("access-control-allow-credentials", "true")
                .with("vary", "Origin"),
            None => self.with("access-control-allow-origin", "*"),
        }
    }

    /// Says what the connection could become. Such a header is of one hop, and `Connection` has to
    /// say so (RFC 9110, 7.8).
    fn inviting(self) -> Self {
        self.with("connection", "upgrade")
            .with("upgrade", "websocket")
    }

    /// Keeps it out of every cache.
    pub(crate) fn uncached(self) -> Self {
        self.with("cache-control", "no-store")
    }
}

fn is_of_proxies(name: &str) -> bool {
    let name = name.trim().as_bytes();
    let prefix = b"x-forwarded-";
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let coded = |status, code: u16, message: &str| {
            let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
            Self::new(status, "application/json", body)
        };
        let engine = |code, message| coded(400, code, message);
        let text = |status, sentence: &'static str| {
            Self::new(status, "text/plain; charset=utf-8", sentence)
        };
        match refusal {
            Refusal::TransportUnknown => engine(0, "Transport unknown"),
            Refusal::SessionUnknown => engine(1, "Session ID unknown"),
            Refusal::BadHandshakeMethod => engine(2, "Bad handshake method"),
            Refusal::BadRequest => engine(3, "Bad request"),
            Refusal::UnsupportedVersion => engine(5, "Unsupported protocol version"),
            Refusal::Forbidden => coded(403, 4, "Forbidden"),
            Refusal::ForeignOrigin => text(403, "Pages of that origin are not served here."),
            Refusal::TooLarge => text(413, "The body exceeds the maximum message."),
            Refusal::TooManyPackets => text(413, "The body has more packets than one may have."),
            Refusal::BodyTimeout => text(408, "The body did not come in time."),
            Refusal::RateLimited => {
                text(429, "That was too much in too little time.").with("retry-after", RETRY_AFTER)
            }
            Refusal::UpgradeRequired => text(
                426,
                "This is a signaling endpoint: open it as a WebSocket and send one JSON event per text message.",
            )
            .inviting(),
            Refusal::WebsocketVersion => {
                text(426, "Only version 13 of the WebSocket protocol is spoken here.")
                    .inviting()
                    .with("sec-websocket-version", "13")
            }
            Refusal::Unavailable => text(503, "The server cannot take a session now."),
            Refusal::Away(away) => {
                away.retried(coded(away.status(), away.code(), away.message()))
            }
            Refusal::AwayPlainly(away) => away.retried(text(away.status(), away.message())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_allows_what_is_asked_but_the_words_of_proxies() {
        for (asked, allowed) in [
            (None, "Content-Type"),
            (Some("x-token"), "x-token"),
            (Some("content-type, x-token"), "content-type, x-token"),
            (Some("x-forwarded-host"), ""),
            (Some("a,X-Forwarded-For, b"), "a, b"),
            (Some("x-forwarded"), "x-forwarded"),
        ] {
            let allowed = ("access-control-allow-headers", allowed.to_owned());
            assert!(
                Reply::preflight(asked).headers.contains(&allowed),
                "{asked:?}"
            );
        }
    }
}
