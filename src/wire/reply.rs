//! What a request is answered, before any framework gives it a type.

use bytes::Bytes;

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
    /// Not an Engine.IO code: HTTP's own.
    TooLarge,
    /// The plain JSON wire is a websocket and nothing else.
    UpgradeRequired,
    WebsocketVersion,
    /// The operating system gives no randomness, or there is no runtime to run on.
    Unavailable,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer to a CORS preflight; what the client wants to send is allowed by name.
    pub(crate) fn preflight(headers: Option<&str>) -> Self {
        Self {
            status: 204,
            headers: Vec::new(),
            body: Bytes::new(),
        }
        .with("access-control-allow-methods", "GET, POST")
        .with(
            "access-control-allow-headers",
            headers.unwrap_or("Content-Type"),
        )
        .with("access-control-max-age", "86400")
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

    /// A waiting answer is one client's and one moment's.
    pub(crate) fn uncached(self) -> Self {
        self.with("cache-control", "no-store")
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let engine = |code: u8, message: &str| {
            let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
            Self::new(400, "application/json", body)
        };
        let text = |status, sentence: &'static str| {
            Self::new(status, "text/plain; charset=utf-8", sentence)
        };
        match refusal {
            Refusal::TransportUnknown => engine(0, "Transport unknown"),
            Refusal::SessionUnknown => engine(1, "Session ID unknown"),
            Refusal::BadHandshakeMethod => engine(2, "Bad handshake method"),
            Refusal::BadRequest => engine(3, "Bad request"),
            Refusal::UnsupportedVersion => engine(5, "Unsupported protocol version"),
            Refusal::TooLarge => text(413, "The body exceeds the maximum message."),
            Refusal::UpgradeRequired => text(
                426,
                "This is a signaling endpoint: open it as a WebSocket and send one JSON event per text message.",
            )
            .with("upgrade", "websocket"),
            Refusal::WebsocketVersion => {
                text(426, "Only version 13 of the WebSocket protocol is spoken here.")
                    .with("upgrade", "websocket")
                    .with("sec-websocket-version", "13")
            }
            Refusal::Unavailable => text(503, "The server cannot take a session now."),
        }
    }
}
