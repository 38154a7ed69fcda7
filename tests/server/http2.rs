//! Every wire over HTTP/2: polls as streams of one connection, and websockets by CONNECT
//! (RFC 8441).

#![cfg(feature = "tower")]

use std::net::SocketAddr;

use crate::support::{
    Heard, Peer, Response, Revision, Site, Wire, application, decode, encode, event, event_to,
    eventually, message, serve_axum, within,
};
use axum::Router;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use peer_data_server::{PeerData, PeerDataLayer, PeerDataService};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tower::Service;

/// A client with one connection, on which it does everything.
struct Client {
    requests: SendRequest<Full<Bytes>>,
    authority: SocketAddr,
}

impl Client {
    /// A connection whose settings have arrived: no CONNECT may be sent before.
    async fn connect(authority: SocketAddr) -> Self {
        let stream = TcpStream::connect(authority).await.expect("a connection");
        let stream = TokioIo::new(stream);
        let (requests, connection) = handshake(TokioExecutor::new(), stream)
            .await
            .expect("an HTTP/2 connection");
        // Servers that are gone before the test are no concern of it.
        tokio::spawn(async move { drop(connection.await) });
        let client = Self {
            requests,
            authority,
        };
        client.get("/").await;
        client
    }

    fn request(&self, method: Method, target: &str) -> http::request::Builder {
        let uri = format!("http://{}{target}", self.authority);
        Request::builder().method(method).uri(uri)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<hyper::body::Incoming> {
        let answer = self.requests.clone().send_request(request);
        within("an answer", answer).await.expect("an answer")
    }

    async fn ask(&self, method: Method, target: &str, body: &str) -> Response {
        let body = Full::from(body.to_owned());
        let request = self.request(method, target).body(body).expect("a request");
        let (head, body) = self.send(request).await.into_parts();
        assert_eq!(head.version, http::Version::HTTP_2);
        let body = within("a body", body.collect()).await.expect("a body");
        let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
        Response {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: body.to_bytes().to_vec(),
        }
    }

    async fn get(&self, target: &str) -> Response {
        self.ask(Method::GET, target, "").await
    }

    fn connect_request(&self, target: &str, protocol: &'static str) -> http::request::Builder {
        self.request(Method::CONNECT, target)
            .extension(Protocol::from_static(protocol))
    }

    /// A websocket as a stream of this connection.
    async fn websocket(&self, target: &str) -> Socket {
        let request = self
            .connect_request(target, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "signals, other")
            .body(Full::default())
            .expect("a request");
        let response = self.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        assert_eq!(headers["sec-websocket-protocol"], "signals");
        for name in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!headers.contains_key(name), "{name} is of HTTP/1.1");
        }
        let upgraded = hyper::upgrade::on(response).await.expect("a stream");
        let stream = TokioIo::new(upgraded);
        let stream = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Socket { stream }
    }

    /// A Socket.IO session born on a websocket, connected.
    async fn socket_io(&self, revision: Revision) -> Socket {
        let number = revision.number();
        let target = format!("/socket.io/?EIO={number}&transport=websocket");
        let mut socket = self.websocket(&target).await;
        assert!(socket.text().await.starts_with("0{"));
        if revision == Revision::V4 {
            socket.send("40").await;
        }
        assert!(socket.text().await.starts_with("40"));
        socket
    }
}

struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
}

impl Socket {
    async fn send(&mut self, text: &str) {
        let message = Message::text(text);
        within("to be read", self.stream.send(message))
            .await
            .expect("sent");
    }

    async fn message(&mut self) -> Message {
        let message = within("a message", self.stream.next()).await;
        message.expect("not the end").expect("a message")
    }

    async fn text(&mut self) -> String {
        let message = self.message().await;
        message.into_text().expect("text").to_string()
    }
}

/// The server in both stacks.
async fn sites() -> [Site; 2] {
    let (one, two) = (PeerData::new(), PeerData::new());
    let app = Router::new()
        .fallback(application)
        .layer(PeerDataLayer::from(one.clone()));
    let service = PeerDataService::new(two.clone());
    [
        Site {
            address: serve_axum(app).await,
            server: one,
        },
        Site {
            address: serve_auto(service).await,
            server: two,
        },
    ]
}

/// Serves with hyper-util alone, whatever version of HTTP clients speak.
async fn serve_auto(service: PeerDataService) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = service.clone();
            tokio::spawn(async move {
                let mut server = auto::Builder::new(TokioExecutor::new());
                server.http2().enable_connect_protocol();
                let service = service_fn(move |request| service.clone().call(request));
                let stream = TokioIo::new(stream);
                drop(server.serve_connection_with_upgrades(stream, service).await);
            });
        }
    });
    address
}

/// Somebody over HTTP/1.1, to talk with.
async fn other(site: &Site) -> Peer {
    Peer::join(site, Wire::Json, "r").await
}

fn connect() -> String {
    event("CONNECT", "r", serde_json::Value::Null).to_string()
}

#[tokio::test]
async fn plain_json_is_spoken_over_a_stream() {
    for site in sites().await {
        let mut other = other(&site).await;
        let client = Client::connect(site.address).await;
        let mut socket = client.websocket("/peer-data").await;
        assert!(socket.text().await.contains("READY"));
        socket.send(&connect()).await;
        let id = other.signal().await["caller"]["id"].clone();
        let id = id.as_str().expect("an id");
        // Larger than a window of flow control, in both directions.
        let long = "x".repeat(200_000);
        other.send(&event_to(id, "OFFER", "r", &*long)).await;
        let heard: serde_json::Value = serde_json::from_str(&socket.text().await).expect("JSON");
        assert_eq!(heard["payload"], long);
        socket
            .send(&event_to(&other.id, "ANSWER", "r", &*long).to_string())
            .await;
        assert_eq!(other.signal().await["payload"], long);
    }
}

#[tokio::test]
async fn socket_io_is_spoken_over_a_stream() {
    for site in sites().await {
        for revision in Revision::BOTH {
            let mut other = other(&site).await;
            let client = Client::connect(site.address).await;
            let mut socket = client.socket_io(revision).await;
            let packet = message(&event("CONNECT", "r", serde_json::Value::Null));
            socket.send(&packet).await;
            let id = other.signal().await["caller"]["id"].clone();
            let id = id.as_str().expect("an id");
            // An attachment, so that binary frames cross too.
            let offer = format!(
                r#"{{"type":"OFFER","caller":null,"callee":{{"id":"{id}"}},"room":{{"id":"r"}},"payload":{{"_placeholder":true,"num":0}}}}"#
            );
            let mut sender = Peer::join(&site, Wire::Socket(revision), "r").await;
            assert_eq!(other.signal().await["type"], "CONNECT");
            assert!(socket.text().await.contains("CONNECT"));
            sender.send_raw(&offer, &[b"bytes"]).await;
            assert!(socket.text().await.starts_with("451-"));
            let expected: &[u8] = match revision {
                Revision::V3 => b"\x04bytes",
                Revision::V4 => b"bytes",
            };
            assert_eq!(socket.message().await.into_data(), expected);
            drop(socket);
            other.hears_departure(id, "r").await;
            sender.vanish().await;
            other.vanish().await;
            eventually("nobody", || site.server.peer_count() == 0).await;
        }
    }
}

#[tokio::test]
async fn polls_are_streams_of_one_connection() {
    for site in sites().await {
        for revision in Revision::BOTH {
            let mut other = other(&site).await;
            let client = Client::connect(site.address).await;
            let target = open(&client, revision).await;
            join_by_post(&client, &target, revision).await;
            let id = other.signal().await["caller"]["id"].clone();
            // The poll waits while the POST that it waits for goes by on the same connection.
            let waiting = client.get(&target);
            let posting = async {
                let event = event("HELLO", "r", 1);
                post(&client, &target, revision, &message(&event)).await;
                assert_eq!(other.signal().await["type"], "HELLO");
                let id = id.as_str().expect("an id");
                other.send(&event_to(id, "OFFER", "r", "sdp")).await;
            };
            let (answer, ()) = tokio::join!(waiting, posting);
            let packets = decode(revision, &answer);
            let last = packets.last().expect("a packet").clone().text();
            assert!(last.contains("OFFER"), "{last}");
            other.vanish().await;
            eventually("one left", || site.server.peer_count() == 1).await;
            // The other's departure, and then nothing.
            client.get(&target).await;
            hang_up(&client, &target, revision).await;
            eventually("nobody", || site.server.peer_count() == 0).await;
        }
    }
}

/// Opens a session by polling, and connects it; returns its target.
async fn open(client: &Client, revision: Revision) -> String {
    let target = format!("/socket.io/?EIO={}&transport=polling", revision.number());
    let answer = client.get(&target).await;
    assert_eq!(answer.status, 200);
    let packets = decode(revision, &answer);
    let opened = packets[0].clone().text();
    let opened: serde_json::Value = serde_json::from_str(&opened[1..]).expect("JSON");
    let target = format!("{target}&sid={}", opened["sid"].as_str().expect("a sid"));
    if revision == Revision::V4 {
        post(client, &target, revision, "40").await;
        let answer = client.get(&target).await;
        assert!(answer.text().starts_with("40"));
    }
    target
}

async fn post(client: &Client, target: &str, revision: Revision, packet: &str) {
    let body = encode(revision, &[packet.into()]);
    client.ask(Method::POST, target, &body).await.is_ok();
}

async fn join_by_post(client: &Client, target: &str, revision: Revision) {
    let packet = message(&event("CONNECT", "r", serde_json::Value::Null));
    post(client, target, revision, &packet).await;
}

/// Begins a poll and resets its stream; the connection stays.
async fn hang_up(client: &Client, target: &str, revision: Revision) {
    let request = client.request(Method::GET, target);
    let request = request.body(Full::default()).expect("a request");
    let mut requests = client.requests.clone();
    let mut poll = Box::pin(requests.send_request(request));
    let post = post(client, target, revision, "6");
    tokio::select! {
        // The poll was sent first, so it is there when this answer comes.
        biased;
        answer = &mut poll => panic!("nothing was to be said: {answer:?}"),
        () = post => drop(poll),
    }
    // The session is gone, and the connection is not.
    client.get("/").await;
}

#[tokio::test]
async fn polling_is_upgraded_to_a_stream() {
    for site in sites().await {
        for revision in Revision::BOTH {
            let mut other = other(&site).await;
            let client = Client::connect(site.address).await;
            let target = open(&client, revision).await;
            join_by_post(&client, &target, revision).await;
            assert_eq!(other.signal().await["type"], "CONNECT");
            let probe = target.replace("transport=polling", "transport=websocket");
            let mut socket = client.websocket(&probe).await;
            let waiting = client.get(&target);
            let probing = async {
                socket.send("2probe").await;
                assert_eq!(socket.text().await, "3probe");
            };
            let (noop, ()) = tokio::join!(waiting, probing);
            assert_eq!(decode(revision, &noop), ["6".into()]);
            socket.send("5").await;
            let event = event("HELLO", "r", 1);
            socket.send(&message(&event)).await;
            let id = other.signal().await["caller"]["id"].clone();
            let id = id.as_str().expect("an id").to_owned();
            other.send(&event_to(&id, "OFFER", "r", "sdp")).await;
            assert!(socket.text().await.contains("OFFER"));
            client.get(&target).await.is_refusal(3, "Bad request");
            drop(socket);
            other.hears_departure(&id, "r").await;
        }
    }
}

#[tokio::test]
async fn many_websockets_share_a_connection() {
    for site in sites().await {
        let client = Client::connect(site.address).await;
        let mut sockets = Vec::new();
        for count in 0..20 {
            let mut socket = client.websocket("/peer-data").await;
            assert!(socket.text().await.contains("READY"));
            socket.send(&connect()).await;
            eventually("membership", || site.members("r").len() == count + 1).await;
            sockets.push(socket);
        }
        // The first hears of all that came after it, in order.
        let members = site.members("r");
        for member in &members[1..] {
            assert!(sockets[0].text().await.contains(&**member));
        }
        // One stream is reset: its session ends, and all others go on.
        drop(sockets.remove(19));
        eventually("one less", || site.members("r").len() == 19).await;
        let departure = Heard {
            raw: sockets[0].text().await,
            attachments: Vec::new(),
        };
        assert_eq!(departure.json()["type"], "DISCONNECT");
        assert_eq!(departure.json()["caller"]["id"], members[19]);
        // The connection goes, and everybody with it.
        drop((client, sockets));
        eventually("nobody", || site.server.peer_count() == 0).await;
    }
}

#[tokio::test]
async fn the_server_can_end_a_stream() {
    for site in sites().await {
        let client = Client::connect(site.address).await;
        let mut socket = client.websocket("/peer-data").await;
        let ready: serde_json::Value = serde_json::from_str(&socket.text().await).expect("JSON");
        let id = ready["payload"]["id"].as_str().expect("an id");
        assert!(site.server.disconnect(&id.parse().expect("an id")));
        assert!(matches!(socket.message().await, Message::Close(Some(_))));
        let end = within("the end", socket.stream.next()).await;
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        // The connection itself is not concerned.
        client.websocket("/peer-data").await;
    }
}

#[tokio::test]
async fn streams_are_told_and_waited_for_when_the_server_ends() {
    for site in sites().await {
        let client = Client::connect(site.address).await;
        let mut json = client.websocket("/peer-data").await;
        assert!(json.text().await.contains("READY"));
        let mut packets = client.socket_io(Revision::V4).await;
        let server = site.server.clone();
        let grace = std::time::Duration::from_secs(60);
        let ending = tokio::spawn(async move { server.shutdown(grace).await });
        let Message::Close(Some(frame)) = json.message().await else {
            panic!("no close frame");
        };
        assert_eq!(u16::from(frame.code), 1001);
        assert!(matches!(packets.message().await, Message::Close(_)));
        // They hang up, as clients do.
        drop((json, packets));
        let open = within("the end", ending).await.expect("no panic");
        assert_eq!(open, 0, "nobody had to be cut off");
        assert_eq!(site.server.peer_count(), 0);
        let request = client
            .connect_request("/peer-data", "websocket")
            .header("sec-websocket-version", "13")
            .body(Full::default())
            .expect("a request");
        let late = client.send(request).await;
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_delays_nobody() {
    for site in sites().await {
        let mut sender = other(&site).await;
        let client = Client::connect(site.address).await;
        let mut deaf = client.websocket("/peer-data").await;
        deaf.send(&connect()).await;
        assert_eq!(sender.signal().await["type"], "CONNECT");
        // More than its stream and its outbox take: it is put out, and its neighbours are not.
        let mut neighbour = client.websocket("/peer-data").await;
        assert!(neighbour.text().await.contains("READY"));
        let long = "x".repeat(900_000);
        for _ in 0..8 {
            sender.send(&event("BLOB", "r", &*long)).await;
        }
        assert_eq!(sender.signal().await["type"], "DISCONNECT");
        neighbour.send(&connect()).await;
        assert_eq!(sender.signal().await["type"], "CONNECT");
    }
}

#[tokio::test]
async fn the_version_of_websockets_is_still_asked_for() {
    for site in sites().await {
        let client = Client::connect(site.address).await;
        for version in [None, Some("8")] {
            let mut request = client.connect_request("/peer-data", "websocket");
            if let Some(version) = version {
                request = request.header("sec-websocket-version", version);
            }
            let response = client
                .send(request.body(Full::default()).expect("a request"))
                .await;
            assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
            assert_eq!(response.headers()["sec-websocket-version"], "13");
        }
    }
}

#[tokio::test]
async fn other_connects_reach_the_application() {
    let layer = PeerDataLayer::new();
    let app = Router::new().fallback(|| async { [("x-own", "yes")] });
    let address = serve_axum(app.layer(layer.clone())).await;
    let client = Client::connect(address).await;
    let tunnel = Request::connect("example.test:443").body(Full::default());
    let elsewhere = client
        .connect_request("/socket.iox", "websocket")
        .body(Full::default());
    for request in [tunnel, elsewhere] {
        let response = client.send(request.expect("a request")).await;
        assert_eq!(response.headers()["x-own"], "yes");
    }
    // On signaling's own paths, what is no websocket is refused like any other odd method.
    let udp = client.connect_request("/socket.io/?EIO=4&transport=websocket", "connect-udp");
    let response = client
        .send(udp.body(Full::default()).expect("a request"))
        .await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let udp = client.connect_request("/peer-data", "connect-udp");
    let response = client
        .send(udp.body(Full::default()).expect("a request"))
        .await;
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(layer.server().peer_count(), 0);
}

#[tokio::test]
async fn headers_of_http1_mean_nothing_here() {
    for site in sites().await {
        let client = Client::connect(site.address).await;
        // A GET with the headers of a handshake, but those that HTTP/2 forbids.
        let request = client
            .request(Method::GET, "/peer-data")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(Full::default())
            .expect("a request");
        let response = client.send(request).await;
        assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    }
}
