//! Signaling as routes of an axum application.

#![cfg(feature = "axum")]

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::{
    Peer, Request, Revision, Site, Socket, Wire, application, everybody, serve_axum, signals,
    signals_below,
};
use axum::Router;
use axum::extract::{FromRef, Request as AxumRequest, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{any, get};
use peer_data_server::axum::routes;
use peer_data_server::{PeerData, PeerDataLayer};

/// An application that takes every path.
fn greedy(app: Router) -> Router {
    app.route("/{*path}", any(application))
        .fallback(application)
        .method_not_allowed_fallback(application)
}

#[tokio::test]
async fn every_wire_meets_over_routes() {
    let server = PeerData::new();
    let address = serve_axum(Router::new().merge(routes(server.clone()))).await;
    let site = Site { address, server };
    let peers = everybody(&site, "r").await;
    assert_eq!(site.members("r").len(), peers.len());
    assert_eq!(Request::get("/").send(address).await.status, 404);
}

#[tokio::test]
async fn nothing_that_is_added_later_takes_them_away() {
    let server = PeerData::new();
    let layer = PeerDataLayer::from(server.clone());
    let merged = Router::new().merge(routes(server.clone()));
    for app in [
        greedy(merged.clone()),
        greedy(Router::new()).merge(routes(server.clone())),
        merged
            .clone()
            .route_layer(from_fn(pass))
            .fallback(application),
        merged.clone().route("/{a}/{b}", any(application)),
        merged.clone().fallback(application).reset_fallback(),
        Router::new().fallback(application).merge(merged.clone()),
        merged
            .fallback(application)
            .merge(greedy(Router::new()).reset_fallback()),
    ] {
        let app = layer.verify(app).await.expect("signaling");
        let address = serve_axum(app).await;
        assert!(signals_below("", address).await);
        for path in ["/socket.io", "/socket.io/deeper/still"] {
            assert!(signals(address, path).await, "{path}");
        }
        assert!(Socket::try_open(address, "/peer-data/").await.is_ok());
        assert!(!signals(address, "/socket.iox").await);
    }
}

async fn pass(request: AxumRequest, next: Next) -> Response {
    next.run(request).await
}

#[tokio::test]
async fn other_paths_stay_the_applications() {
    let app = greedy(Router::new().merge(routes(PeerData::new())));
    let address = serve_axum(app).await;
    for target in ["/", "/socket.iox/", "/a/b", "/peer-data2", "/socket.i"] {
        let answer = Request::get(target).send(address).await;
        assert_eq!(answer.text(), format!("application: GET {target}"));
    }
}

#[tokio::test]
async fn every_method_gets_there() {
    let address = serve_axum(Router::new().merge(routes(PeerData::new()))).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"] {
        let target = "/socket.io/?EIO=4&transport=polling";
        let answer = Request::new(method, target).send(address).await;
        answer.is_refusal(2, "Bad handshake method");
        let answer = Request::new(method, "/peer-data").send(address).await;
        assert_eq!(answer.status, 426, "{method}");
    }
    for target in ["/socket.io/", "/peer-data"] {
        let answer = Request::new("OPTIONS", target).send(address).await;
        assert_eq!(answer.status, 204);
        assert!(answer.header("access-control-allow-methods").is_some());
    }
}

#[tokio::test]
async fn they_can_be_nested() {
    let server = PeerData::new();
    let app = Router::new()
        .nest("/api", routes(server.clone()))
        .nest("/deep/er", Router::new().nest("/{tenant}", routes(server)))
        .fallback(application);
    let address = serve_axum(app).await;
    assert!(signals_below("/api", address).await);
    assert!(signals_below("/deep/er/anybody", address).await);
    assert!(!signals_below("", address).await);
    assert!(!signals(address, "/deep/socket.io/").await);
}

#[tokio::test]
async fn a_session_goes_on_under_whatever_prefix() {
    let server = PeerData::new();
    let app = Router::new()
        .merge(routes(server.clone()))
        .nest("/api", routes(server.clone()));
    let address = serve_axum(app).await;
    let site = Site { address, server };
    let polling = crate::support::Polling::open(&site, Revision::V4, "").await;
    let target = format!("/api{}", polling.upgrade_target());
    let mut probe = Socket::open(address, &target).await;
    probe.send("2probe").await;
    assert_eq!(probe.text().await, "3probe");
}

#[tokio::test]
async fn segments_with_old_marks_are_literal_too() {
    let server = PeerData::builder().path("/:a/*b").json_path("/json");
    let server = server.build().expect("good paths");
    assert!(panics(|| Router::<()>::new().merge(routes(server.clone()))));
    let app = Router::new().without_v07_checks().merge(routes(server));
    let address = serve_axum(app).await;
    assert!(signals(address, "/:a/*b/").await);
    assert!(!signals(address, "/x/y/").await);
}

#[tokio::test]
async fn one_path_can_lie_below_the_other() {
    let server = PeerData::builder().path("/a/io").json_path("/a");
    let server = server.build().expect("good paths");
    let address = serve_axum(Router::new().merge(routes(server))).await;
    assert!(signals(address, "/a/io/").await);
    assert!(Socket::try_open(address, "/a").await.is_ok());
    assert!(Socket::try_open(address, "/a/iox").await.is_ok());
}

fn panics<T>(make: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(make)).is_err()
}

#[test]
fn an_overlap_is_found_at_the_start() {
    let server = PeerData::new();
    let own = || routes::<()>(server.clone());
    let app = || Router::new();
    assert!(!panics(|| app().route("/", get(application)).merge(own())));
    assert!(panics(|| own().merge(own())));
    for path in [
        "/socket.io",
        "/socket.io/",
        "/socket.io/{rest}",
        "/peer-data",
    ] {
        assert!(
            panics(|| app().route(path, get(application)).merge(own())),
            "{path}"
        );
        assert!(
            panics(|| own().route(path, get(application))),
            "{path} afterwards"
        );
    }
    let service = tower::service_fn(|_: AxumRequest| async {
        Ok::<_, Infallible>(Response::new(axum::body::Body::empty()))
    });
    assert!(panics(|| own().nest_service("/socket.io", service)));
}

/// State of an application, of which the handle is a part.
#[derive(Clone)]
struct App {
    signaling: PeerData,
}

impl FromRef<App> for PeerData {
    fn from_ref(app: &App) -> Self {
        app.signaling.clone()
    }
}

async fn rooms(State(signaling): State<PeerData>) -> String {
    let rooms = signaling.rooms();
    let rooms = rooms.iter().map(|room| format!("{}\n", room.as_str()));
    rooms.collect()
}

#[tokio::test]
async fn handlers_reach_the_server_by_state() {
    let server = PeerData::new();
    let part = Router::new()
        .route("/rooms", get(rooms))
        .merge(routes(server.clone()))
        .with_state(App {
            signaling: server.clone(),
        });
    let whole = Router::new()
        .route("/rooms", get(rooms))
        .merge(routes(server.clone()))
        .with_state(server.clone());
    for app in [part, whole] {
        let address = serve_axum(app).await;
        assert_eq!(Request::get("/rooms").send(address).await.text(), "");
        let site = Site {
            address,
            server: server.clone(),
        };
        let peer = Peer::join(&site, Wire::Json, "kitchen").await;
        let answer = Request::get("/rooms").send(address).await;
        assert_eq!(answer.text(), "kitchen\n");
        peer.vanish().await;
        crate::support::eventually("gone", || server.peer_count() == 0).await;
    }
}
