//! Signaling among other middleware: outside it, where it sees signaling, and inside, where it
//! does not.

#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::time::Duration;

use crate::support::{
    Exchange, Packet, Peer, Polling, Request, Revision, Site, Socket, Wire, all_quiet, application,
    encode, event, everybody, serve_axum, serve_hyper,
};
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn, map_request, map_response};
use axum::response::Response;
use axum::routing::get;
use axum::{BoxError, Router};
use http::{HeaderValue, StatusCode};
use http_body_util::Limited;
use peer_data_server::{PeerData, PeerDataLayer, PeerDataService};
use serde_json::json;
use tower::ServiceBuilder;
use tower::util::MapErrLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

const ORIGIN: &str = "https://app.example";
const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

/// Serves an application in which something is `inside` of the layer and something `outside`.
async fn site(
    inside: impl FnOnce(Router) -> Router,
    outside: impl FnOnce(Router) -> Router,
) -> Site {
    let layer = PeerDataLayer::new();
    let app = Router::new()
        .route("/never", get(std::future::pending::<()>))
        .fallback(application);
    let app = outside(inside(app).layer(layer.clone()));
    let app = layer.verify(app).await.expect("signaling");
    Site {
        address: serve_axum(app).await,
        server: layer.server().clone(),
    }
}

/// The same thing in both places, one at a time.
async fn both(around: impl Fn(Router) -> Router) -> [Site; 2] {
    [
        site(&around, |app| app).await,
        site(|app| app, around).await,
    ]
}

/// Every wire works, and the application is there too.
async fn all_goes_on(site: &Site) {
    let mut peers = everybody(site, "r").await;
    let (first, others) = peers.split_at_mut(1);
    first[0].send(&event("HELLO", "r", "x".repeat(2_000))).await;
    for other in others {
        assert_eq!(other.signal().await["type"], "HELLO", "{:?}", other.wire);
    }
    all_quiet(site, &mut peers).await;
    let answer = Request::get("/own").send(site.address).await;
    assert_eq!(answer.text(), "application: GET /own");
}

fn timeout(duration: Duration) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, duration)
}

async fn marked(mut request: AxumRequest, next: Next) -> Response {
    let upgrade = request.headers().contains_key("upgrade");
    let value = HeaderValue::from(u16::from(upgrade));
    request.headers_mut().insert("x-seen", value.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-seen", value);
    response
}

async fn wrapped_request(request: AxumRequest) -> AxumRequest {
    request.map(|body| Body::new(Limited::new(body, 1 << 20)))
}

async fn wrapped_response(response: Response) -> Response {
    response.map(|body| Body::new(Limited::new(body, 1 << 20)))
}

async fn gave_up(_: BoxError) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}

#[tokio::test]
async fn signaling_goes_on_inside_and_outside_of() {
    let minute = Duration::from_secs(60);
    let arounds: [&dyn Fn(Router) -> Router; 9] = [
        &|app| app.layer(TraceLayer::new_for_http()),
        &|app| app.layer(timeout(minute)),
        &|app| app.layer(CompressionLayer::new()),
        &|app| app.layer(CorsLayer::very_permissive()),
        &|app| app.layer(RequestBodyLimitLayer::new(1 << 20)),
        &|app| app.layer(map_request(wrapped_request)),
        &|app| app.layer(map_response(wrapped_response)),
        &|app| app.layer(from_fn(marked)),
        &|app| {
            let fallible = MapErrLayer::new(|never: Infallible| BoxError::from(never));
            let handle = HandleErrorLayer::new(gave_up);
            app.layer(ServiceBuilder::new().layer(handle).layer(fallible))
        },
    ];
    for around in arounds {
        for site in both(around).await {
            all_goes_on(&site).await;
        }
    }
    let all = |app| arounds.iter().fold(app, |app, around| around(app));
    all_goes_on(&site(all, all).await).await;
}

/// The same without a router, whose routes would give every body one type.
#[tokio::test]
async fn bare_services_can_be_wrapped_as_well() {
    let server = PeerData::new();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(CorsLayer::very_permissive())
        .layer(timeout(Duration::from_secs(60)))
        .layer(RequestBodyLimitLayer::new(1 << 20))
        .layer(PeerDataLayer::from(server.clone()))
        .service(PeerDataService::new(PeerData::new()));
    let address = serve_hyper(service).await;
    let site = Site { address, server };
    let mut peers = everybody(&site, "r").await;
    all_quiet(&site, &mut peers).await;
}

#[tokio::test]
async fn what_is_outside_sees_signaling_and_what_is_inside_does_not() {
    let [inside, outside] = both(|app| app.layer(from_fn(marked))).await;
    for (site, polled, upgraded) in [(inside, None, None), (outside, Some("0"), Some("1"))] {
        let answer = Request::get(HANDSHAKE).send(site.address).await;
        assert_eq!((answer.status, answer.header("x-seen")), (200, polled));
        let answer = Request::upgrade("/peer-data").send(site.address).await;
        assert_eq!((answer.status, answer.header("x-seen")), (101, upgraded));
        let answer = Request::get("/own").send(site.address).await;
        assert_eq!(answer.header("x-seen"), Some("0"));
    }
}

/// Returns once a timeout has struck that began after what was sent before.
async fn a_timeout_passes(site: &Site) {
    let answer = Request::get("/never").send(site.address).await;
    assert_eq!(answer.status, 408);
}

#[tokio::test]
async fn a_short_timeout_outside_ends_polling_sessions() {
    let short = timeout(Duration::from_millis(50));
    let site = site(|app| app, |app| app.layer(short)).await;
    for revision in Revision::BOTH {
        let (polling, _) = Polling::connect(&site, revision).await;
        assert_eq!(polling.get().await.status, 408);
        polling.get().await.is_unknown_session();
    }
    // Websockets were answered before it struck.
    for wire in [
        Wire::Socket(Revision::V3),
        Wire::Socket(Revision::V4),
        Wire::Json,
    ] {
        let mut peer = Peer::join(&site, wire, "r").await;
        a_timeout_passes(&site).await;
        peer.hears_nothing(&site).await;
        peer.vanish().await;
        crate::support::eventually("gone", || site.server.peer_count() == 0).await;
    }
}

#[tokio::test]
async fn a_short_timeout_inside_is_the_applications_alone() {
    let short = timeout(Duration::from_millis(50));
    let site = site(|app| app.layer(short), |app| app).await;
    for revision in Revision::BOTH {
        let mut peer = Peer::join(&site, Wire::Polling(revision), "r").await;
        let mut waiting = peer.polling().start_get().await;
        a_timeout_passes(&site).await;
        site.tell(&peer.id, "STILL", &json!(1));
        let answer = waiting.response().await;
        assert!(answer.text().contains("STILL"), "{answer:?}");
        peer.vanish().await;
        crate::support::eventually("gone", || site.server.peer_count() == 0).await;
    }
}

#[tokio::test]
async fn a_timeout_above_the_ping_interval_leaves_polling_alone() {
    let server = PeerData::builder().ping_interval(Duration::from_millis(20));
    let layer = PeerDataLayer::from(server.build().expect("good settings"));
    let app = Router::new()
        .layer(layer.clone())
        .layer(timeout(Duration::from_secs(10)));
    let site = Site {
        address: serve_axum(app).await,
        server: layer.server().clone(),
    };
    // On revision 4 the server's ping answers the poll, on 3 its answer to the client's.
    let mut polling = Polling::open(&site, Revision::V4, "").await;
    assert_eq!(polling.text().await, "2");
    let (mut polling, _) = Polling::connect(&site, Revision::V3).await;
    let mut waiting = polling.start_get().await;
    polling.post(&["2"]).await;
    polling.take(&waiting.response().await);
    assert_eq!(polling.text().await, "3");
}

#[tokio::test]
async fn compression_outside_compresses_polls_for_those_who_ask() {
    let [inside, outside] = both(|app| app.layer(CompressionLayer::new())).await;
    for (site, coding) in [(inside, None), (outside, Some("gzip"))] {
        // Whose length is not known before, is over when the connection is.
        let handshake = Request::get(HANDSHAKE)
            .header("Connection", "close")
            .header("Accept-Encoding", "gzip");
        let answer = handshake.send(site.address).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), coding);
        let plain = answer.body.windows(7).any(|part| part == b"\"sid\":\"");
        assert_eq!(plain, coding.is_none());
        let answer = Request::get(HANDSHAKE).send(site.address).await;
        assert_eq!(answer.header("content-encoding"), None);

        let upgrade = Request::upgrade("/peer-data").header("Accept-Encoding", "gzip");
        let mut exchange = upgrade.start(site.address).await;
        let answer = exchange.response().await;
        assert_eq!(
            (answer.status, answer.header("content-encoding")),
            (101, None)
        );
        // Frames are as they were: a final one of text, with the length of two bytes or one.
        assert_eq!(exchange.read_exactly(1).await, [0x81]);
        exchange.read_until(b"\"READY\"").await;
    }
}

/// What pages of other origins may do, as the answers to a handshake and to a preflight say it.
async fn cors(site: &Site) -> [(u16, Option<String>, Option<String>); 2] {
    let get = Request::get(HANDSHAKE);
    let preflight = Request::new("OPTIONS", HANDSHAKE)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type");
    let mut seen = Vec::new();
    for request in [get, preflight] {
        let answer = request.header("Origin", ORIGIN).send(site.address).await;
        let header = |name| answer.header(name).map(str::to_owned);
        seen.push((
            answer.status,
            header("access-control-allow-origin"),
            header("access-control-allow-credentials"),
        ));
    }
    seen.try_into().expect("two")
}

#[tokio::test]
async fn cors_outside_takes_over() {
    let (origin, any, yes) = (
        Some(ORIGIN.to_owned()),
        Some("*".to_owned()),
        Some("true".to_owned()),
    );
    let own = [
        (200, origin.clone(), yes.clone()),
        (204, origin.clone(), yes.clone()),
    ];
    // Inside it is never asked, whatever it says.
    let star = || CorsLayer::new().allow_origin(Any);
    let [inside, outside] = both(|app| app.layer(star())).await;
    assert_eq!(cors(&inside).await, own);
    // Outside, `*` replaces the origin, and the two together are void in browsers.
    let void = [(200, any.clone(), yes.clone()), (200, any, None)];
    assert_eq!(cors(&outside).await, void);
    // What agrees with signaling does no harm.
    let mirror = || CorsLayer::very_permissive();
    let [inside, outside] = both(|app| app.layer(mirror())).await;
    assert_eq!(cors(&inside).await, own);
    let mirrored = [(200, origin.clone(), yes.clone()), (200, origin, yes)];
    assert_eq!(cors(&outside).await, mirrored);
}

#[tokio::test]
async fn cors_of_the_application_stays_the_applications() {
    let [inside, _] = both(|app| app.layer(CorsLayer::new().allow_origin(Any))).await;
    let answer = Request::get("/own").header("Origin", ORIGIN);
    let answer = answer.send(inside.address).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_body_limit_outside_comes_before_the_maximum_message() {
    let [inside, outside] = both(|app| app.layer(RequestBodyLimitLayer::new(1_000))).await;
    let long = message(&"x".repeat(2_000));
    for revision in Revision::BOTH {
        let (polling, _) = Polling::connect(&inside, revision).await;
        polling.post(&[&long]).await;

        let (mut polling, _) = Polling::connect(&outside, revision).await;
        let body = encode(revision, &[Packet::from(&*long)]);
        assert_eq!(polling.post_body(body).await.status, 413);
        // The request never came here, so the session is as it was.
        polling.post(&["6"]).await;
        // One of no known length is broken off in the middle.
        let chunked = Request::new("POST", &polling.target())
            .header("Transfer-Encoding", "chunked")
            .followed_by(format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2_000)).as_bytes());
        let mut exchange: Exchange = chunked.start(outside.address).await;
        assert_eq!(exchange.response().await.status, 400);
        polling.ended().await;
    }
    let mut socket = Socket::open(outside.address, "/peer-data").await;
    assert!(socket.text().await.contains("READY"));
    socket
        .send(&event("CONNECT", "r", json!(null)).to_string())
        .await;
    socket.send(&event("HELLO", "r", long).to_string()).await;
    crate::support::eventually("membership", || outside.members("r").len() == 1).await;
    outside.catch_up().await;
    assert_eq!(outside.server.peer_count(), 1, "no body, no limit");
}

fn message(payload: &str) -> String {
    crate::support::message(&event("HELLO", "r", payload))
}

/// Builds each request anew, and forgets its extensions.
async fn forgetful(request: AxumRequest, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let mut anew = AxumRequest::new(body);
    (*anew.method_mut(), *anew.uri_mut()) = (head.method, head.uri);
    *anew.headers_mut() = head.headers;
    next.run(anew).await
}

#[tokio::test]
async fn lost_extensions_are_found_at_the_start() {
    let layer = PeerDataLayer::new();
    let app: Router = Router::new().layer(layer.clone()).layer(from_fn(forgetful));
    assert!(layer.verify(app.clone()).await.is_err());
    // For good reason: the upgrade was among them.
    let address = serve_axum(app).await;
    let mut exchange = Request::upgrade("/peer-data").start(address).await;
    exchange.response().await;
    Request::get("/").send(address).await;
    assert_eq!(layer.server().peer_count(), 0);
}
