//! A client that writes its HTTP by hand, so that it can also stop in the middle.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// A request to be.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: usize,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            length: 0,
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len();
        let request = Self {
            body,
            length,
            ..Self::new("POST", target)
        };
        request.header("Content-Type", "text/plain;charset=UTF-8")
    }

    /// Adds a header, or replaces the one of that name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends these bytes right behind the request, as nothing that belongs to it.
    pub(crate) fn followed_by(self, bytes: &[u8]) -> Self {
        Self {
            body: bytes.to_vec(),
            ..self
        }
    }

    /// Announces a body of that length, whatever is sent.
    pub(crate) fn announce(mut self, length: usize) -> Self {
        self.length = length;
        self
    }

    /// What a websocket client asks with.
    pub(crate) fn upgrade(target: &str) -> Self {
        Self::get(target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// Sends it on a connection of its own, and reads the answer.
    pub(crate) async fn send(self, address: SocketAddr) -> Response {
        self.start(address).await.response().await
    }

    /// Sends it on a connection of its own; the answer can be read later.
    pub(crate) async fn start(self, address: SocketAddr) -> Exchange {
        let mut exchange = Exchange::connect(address).await;
        exchange.request(&self).await;
        exchange
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: site.test\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let chunked = self
            .headers
            .iter()
            .any(|(name, _)| name == "Transfer-Encoding");
        if !chunked && (self.length > 0 || self.method == "POST") {
            head.extend(["Content-Length: ", &self.length.to_string(), "\r\n"]);
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: TcpStream,
    /// Read, and not yet taken.
    read: Vec<u8>,
}

impl Exchange {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an open connection");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) async fn request(&mut self, request: &Request) {
        self.write(&request.bytes()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    /// The next answer; the connection stays.
    pub(crate) async fn response(&mut self) -> Response {
        within("an answer", self.read_response()).await
    }

    /// Whatever the server writes up to and including `end`.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        within("an end mark", async {
            loop {
                if let Some(at) = find(&self.read, end) {
                    let rest = self.read.split_off(at + end.len());
                    return std::mem::replace(&mut self.read, rest);
                }
                assert!(self.more().await, "hung up after {:?}", self.read);
            }
        })
        .await
    }

    /// The next `count` bytes.
    pub(crate) async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        within("bytes", async {
            while self.read.len() < count {
                assert!(self.more().await, "hung up after {:?}", self.read);
            }
            let rest = self.read.split_off(count);
            std::mem::replace(&mut self.read, rest)
        })
        .await
    }

    /// Everything until the server hangs up.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        within("the end", async { while self.more().await {} }).await;
        std::mem::take(&mut self.read)
    }

    async fn read_response(&mut self) -> Response {
        let head = self.read_until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).expect("a head of text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        let length = response.header("content-length").map(str::parse);
        response.body = match length {
            Some(length) => self.read_exactly(length.expect("a length")).await,
            None if matches!(status, 100..=199 | 204 | 304) => Vec::new(),
            None => self.read_to_end().await,
        };
        response
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).await.expect("read") > 0
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The only header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(other, _)| other == name);
        let value = found.next().map(|(_, value)| &**value);
        assert_eq!(found.next(), None, "{name} occurs twice");
        value
    }

    /// How often the header `Connection` names an option.
    pub(crate) fn names_of_the_hop(&self, option: &str) -> usize {
        let names = self.header("connection").unwrap_or_default().split(',');
        names
            .filter(|name| name.trim().eq_ignore_ascii_case(option))
            .count()
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("a body of text")
    }

    /// Asserts that this is the 400 of Engine.IO with that code and message.
    #[track_caller]
    pub(crate) fn is_refusal(&self, code: u8, message: &str) {
        assert_eq!(
            (self.status, self.header("content-type")),
            (400, Some("application/json"))
        );
        let body: Value = serde_json::from_str(self.text()).expect("JSON");
        assert_eq!(
            body,
            serde_json::json!({ "code": code, "message": message })
        );
    }

    /// Asserts that the session is not there any more.
    #[track_caller]
    pub(crate) fn is_unknown_session(&self) {
        self.is_refusal(1, "Session ID unknown");
    }

    /// Asserts that this is how a POST of packets is answered.
    #[track_caller]
    pub(crate) fn is_ok(&self) {
        let kind = self.header("content-type");
        assert_eq!(
            (self.status, kind, self.text()),
            (200, Some("text/html"), "ok")
        );
    }
}
