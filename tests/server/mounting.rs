//! The server within a web application: what it takes, and that it leaves all else alone.

#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::support::{
    Frame, Host, Peer, Polling, Request, Revision, Site, Socket, Wire, eventually, on_each_host,
    serve_axum, serve_hyper, signals,
};
use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use peer_data_server::{PeerData, PeerDataLayer, PeerDataService};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tower::{Layer, Service};

on_each_host!(
    a_path_ends_at_a_slash,
    both_paths_can_be_elsewhere,
    nobody_has_to_know_an_id_to_begin,
    extra_parameters_are_the_applications,
);

/// An application of its own: a websocket that echoes at `/echo`, and an echo of requests.
#[derive(Clone)]
struct Application;

impl<B: Send + 'static> Service<http::Request<B>> for Application {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async move { Ok(application(request)) })
    }
}

fn application<B>(mut request: http::Request<B>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if let Some(key) = request.headers().get("sec-websocket-key") {
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = TokioIo::new(upgrade.await.expect("an upgrade"));
            let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        });
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert("connection", "upgrade".parse().expect("a value"));
        headers.insert("upgrade", "websocket".parse().expect("a value"));
        headers.insert("sec-websocket-accept", accept.parse().expect("a value"));
        return response;
    }
    let seen = format!(
        "{} {} {:?}",
        request.method(),
        request.uri(),
        request.headers().get("x-own")
    );
    *response.body_mut() = seen.into();
    *response.status_mut() = StatusCode::IM_A_TEAPOT;
    response
        .headers_mut()
        .insert("x-answer", "own".parse().expect("a value"));
    response
}

/// The layer over the application, on both stacks.
async fn mounted(server: &PeerData) -> [SocketAddr; 2] {
    let layer = PeerDataLayer::from(server.clone());
    let router = Router::new()
        .fallback_service(Application)
        .layer(layer.clone());
    [
        serve_axum(router).await,
        serve_hyper(layer.layer(Application)).await,
    ]
}

#[tokio::test]
async fn other_requests_reach_the_application_untouched() {
    for address in mounted(&PeerData::new()).await {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/socket.iox/?EIO=4&transport=polling"),
            ("POST", "/socket.i"),
            ("GET", "/x/socket.io/?EIO=4&transport=polling"),
            ("GET", "/SOCKET.IO/?EIO=4&transport=polling"),
            ("GET", "/socket%2eio/?EIO=4&transport=polling"),
            ("GET", "//socket.io/?EIO=4&transport=polling"),
            ("OPTIONS", "/peer-data2"),
            ("DELETE", "/peer-dat/a?x=%20"),
        ] {
            let answer = Request::new(method, target)
                .header("X-Own", "kept")
                .send(address)
                .await;
            assert_eq!(answer.status, 418, "{method} {target}");
            assert_eq!(answer.text(), format!("{method} {target} Some(\"kept\")"));
            assert_eq!(answer.header("x-answer"), Some("own"));
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
}

#[tokio::test]
async fn the_applications_own_websockets_go_on() {
    let server = PeerData::new();
    for address in mounted(&server).await {
        let site = Site {
            address,
            server: server.clone(),
        };
        let mut own = Socket::open(address, "/echo").await;
        let mut peer = Peer::connect(&site, Wire::Json).await;
        own.send("hello").await;
        own.send_binary(b"bytes").await;
        assert_eq!(own.text().await, "hello");
        assert_eq!(own.binary().await, b"bytes");
        peer.hears_nothing(&site).await;
        peer.vanish().await;
        eventually("gone", || server.peer_count() == 0).await;
        own.send("still").await;
        assert_eq!(own.frame().await, Frame::Text("still".into()));
    }
}

#[tokio::test]
async fn bodies_of_the_application_pass_through() {
    // Larger than any signal may be, in both directions.
    let body = "x".repeat(3_000_000);
    let echo = post(|headers: HeaderMap, body: Bytes| async move {
        assert!(headers.contains_key("content-length"));
        body
    });
    let limit = axum::extract::DefaultBodyLimit::disable();
    let app = Router::new()
        .route("/echo", echo.layer(limit))
        .layer(PeerDataLayer::new());
    let address = serve_axum(app).await;
    let answer = Request::post("/echo", body.clone()).send(address).await;
    assert!(answer.status == 200 && answer.text() == body);
}

async fn a_path_ends_at_a_slash(host: Host) {
    let site = host.start().await;
    for path in ["/socket.io", "/socket.io/", "/socket.io/deeper"] {
        assert!(signals(site.address, path).await, "{path}");
    }
    for path in [
        "/",
        "/socket.iox",
        "/socket.io.js",
        "/socket.i",
        "/socket",
        "/a/socket.io/",
    ] {
        assert!(!signals(site.address, path).await, "{path}");
    }
    for path in ["/peer-data", "/peer-data/", "/peer-data/x"] {
        assert!(Socket::try_open(site.address, path).await.is_ok(), "{path}");
    }
    for path in ["/peer-datax", "/peer-data.js", "/peer", "/x/peer-data"] {
        assert!(
            Socket::try_open(site.address, path).await.is_err(),
            "{path}"
        );
    }
}

async fn both_paths_can_be_elsewhere(host: Host) {
    for (engine, json) in [
        ("/a/b", "/a/c"),
        ("/a/b/", "/json/"),
        ("/signaling", "/signal"),
    ] {
        let site = host.start_at(engine, json).await;
        let (engine, json) = (engine.trim_end_matches('/'), json.trim_end_matches('/'));
        for path in [engine.to_owned(), format!("{engine}/")] {
            assert!(signals(site.address, &path).await, "{path}");
        }
        assert!(Socket::try_open(site.address, json).await.is_ok());
        let target = format!("{engine}/?EIO=3&transport=websocket");
        let mut socket = Socket::open(site.address, &target).await;
        assert!(socket.text().await.starts_with("0{"));
        for path in ["/socket.io/", "/", "/a"] {
            assert!(!signals(site.address, path).await, "{path}");
        }
        assert!(Socket::try_open(site.address, "/peer-data").await.is_err());
    }
}

async fn nobody_has_to_know_an_id_to_begin(host: Host) {
    let site = host.start().await;
    // No cookie, no token, no header but what HTTP itself asks for, on any wire.
    for wire in Wire::ALL {
        let mut peer = Peer::join(&site, wire, "r").await;
        assert_eq!(site.members("r"), [peer.id.clone()]);
        peer.hears_nothing(&site).await;
        peer.vanish().await;
        eventually("an empty room", || site.members("r").is_empty()).await;
    }
    for revision in Revision::BOTH {
        let client = Polling::open(&site, revision, "").await;
        let answer = client
            .post_body(crate::support::encode(revision, &["6".into()]))
            .await;
        answer.is_ok();
        assert_eq!(answer.header("set-cookie"), None);
    }
}

async fn extra_parameters_are_the_applications(host: Host) {
    let site = host.start().await;
    let mut socket = Socket::open(site.address, "/peer-data?sid=x&EIO=9&transport=none").await;
    assert!(socket.text().await.contains("READY"));
    for revision in Revision::BOTH {
        let client =
            Polling::open(&site, revision, "&token=t&id=1&id=2&path=%2F&__proto__=x").await;
        client.post(&["6"]).await;
    }
}

/// One of each, all in the room `r` and heard by each other: so they share a server.
async fn meet(addresses: &[SocketAddr], server: &PeerData) {
    let mut peers: Vec<Peer> = Vec::new();
    for (address, wire) in addresses.iter().zip(Wire::ALL.iter().rev().cycle()) {
        let site = Site {
            address: *address,
            server: server.clone(),
        };
        let newcomer = Peer::join(&site, *wire, "r").await;
        for peer in &mut peers {
            assert_eq!(peer.signal().await["caller"]["id"], newcomer.id);
        }
        peers.push(newcomer);
    }
    let room = peer_data_server::RoomId::new("r").expect("a room's id");
    assert_eq!(server.members(&room).len(), addresses.len());
}

#[tokio::test]
async fn clones_of_a_layer_share_one_server() {
    let layer = PeerDataLayer::new();
    let server = layer.server().clone();
    let inner = Router::new().route("/", get(|| async { "hello" }));
    let one = serve_axum(inner.clone().layer(layer.clone())).await;
    let two = serve_axum(inner.clone().layer(layer.clone())).await;
    // Twice over the same application: the outer one answers.
    let twice = serve_axum(inner.layer(layer.clone()).layer(layer.clone())).await;
    let alone = serve_hyper(PeerDataService::new(server.clone())).await;
    let layered = serve_hyper(layer.layer(Application)).await;
    meet(&[one, two, twice, alone, layered], &server).await;
}

#[tokio::test]
async fn every_layer_made_anew_has_its_own_server() {
    let (one, two) = (PeerDataLayer::new(), PeerDataLayer::default());
    let address = serve_axum(Router::new().layer(one.clone())).await;
    assert!(!signals(address, "/elsewhere").await);
    let site = Site {
        address,
        server: one.server().clone(),
    };
    let _peer = Peer::join(&site, Wire::Json, "r").await;
    assert_eq!(
        (one.server().peer_count(), two.server().peer_count()),
        (1, 0)
    );
}

#[tokio::test]
async fn the_service_can_be_routed() {
    let server = PeerData::new();
    let service = PeerDataService::new(server.clone());
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route_service("/socket.io/", service.clone())
        .route_service("/peer-data", service);
    let address = serve_axum(app).await;
    meet(&[address; 5], &server).await;
    assert_eq!(Request::get("/").send(address).await.text(), "hello");
    assert_eq!(Request::get("/other").send(address).await.status, 404);
}

#[tokio::test]
async fn the_service_alone_knows_nothing_else() {
    let address = serve_hyper(PeerDataService::new(PeerData::new())).await;
    for target in ["/", "/index.html", "/socket.iox"] {
        let answer = Request::get(target).send(address).await;
        assert_eq!(answer.status, 404);
        assert!(!answer.body.is_empty());
    }
}
