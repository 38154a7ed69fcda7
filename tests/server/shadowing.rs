//! Where an axum router loses the layer, and how that comes out at its start.

#![cfg(feature = "tower")]

use crate::support::{
    Peer, Request, Site, Wire, application, eventually, serve_axum, serve_hyper, signals,
    signals_below,
};
use axum::Router;
use axum::routing::{any, get};
use http::StatusCode;
use peer_data_server::{PeerData, PeerDataLayer, PeerDataService};
use tower::Layer;

/// An application with a route, and without a fallback of its own.
fn routed() -> Router {
    Router::new().route("/", get(application))
}

#[tokio::test]
async fn the_layer_sees_what_nobody_has_routed() {
    let layer = PeerDataLayer::new();
    for app in [Router::new(), routed(), routed().fallback(application)] {
        let app = layer.verify(app.layer(layer.clone())).await;
        let address = serve_axum(app.expect("signaling")).await;
        assert!(signals_below("", address).await);
    }
}

#[tokio::test]
async fn a_route_layer_does_not() {
    let layer = PeerDataLayer::new();
    let app = routed().route_layer(layer.clone());
    let error = layer.verify(app.clone()).await.expect_err("no signaling");
    assert!(error.to_string().contains("404"), "{error}");
    let address = serve_axum(app).await;
    assert!(!signals_below("", address).await);
}

#[tokio::test]
async fn what_is_added_after_the_layer_wins() {
    let layer = PeerDataLayer::new();
    let layered = routed().layer(layer.clone());
    for shadowed in [
        layered.clone().fallback(application),
        layered.clone().route("/{*path}", any(application)),
        layered
            .clone()
            .merge(Router::new().fallback_service(any(application))),
        Router::new().fallback(application).merge(
            Router::new()
                .route("/a", get(application))
                .layer(layer.clone()),
        ),
    ] {
        let error = layer.verify(shadowed.clone()).await.expect_err("shadowed");
        assert_eq!(error.subject(), "path");
        let text = error.to_string();
        assert!(
            text.starts_with("path: /socket.io/ ") && text.contains("answered 200"),
            "{text}"
        );
        let address = serve_axum(shadowed).await;
        assert!(!signals_below("", address).await);
    }
}

#[tokio::test]
async fn each_path_is_verified() {
    let layer = PeerDataLayer::new();
    let app = routed()
        .layer(layer.clone())
        .route("/peer-data", get(|| async { StatusCode::IM_A_TEAPOT }));
    let error = layer.verify(app).await.expect_err("half of it is lost");
    assert_eq!(error.subject(), "json_path");
    assert!(error.to_string().contains("/peer-data "), "{error}");
    assert!(error.to_string().contains("answered 418"), "{error}");
}

#[tokio::test]
async fn other_paths_are_verified_as_they_are() {
    let server = PeerData::builder().path("/a/b/").json_path("/*c");
    let layer = PeerDataLayer::from(server.build().expect("good paths"));
    let app = routed().layer(layer.clone());
    let app = layer.verify(app).await.expect("signaling");
    let app = app.route("/a/{b}/", get(application));
    assert_eq!(
        layer.verify(app).await.expect_err("shadowed").subject(),
        "path"
    );
}

#[tokio::test]
async fn another_servers_layer_is_no_help() {
    let (inner, outer) = (PeerDataLayer::new(), PeerDataLayer::new());
    let app = routed().layer(inner.clone()).layer(outer.clone());
    assert!(inner.verify(app.clone()).await.is_err());
    let app = outer.verify(app).await.expect("the outer one answers");
    // A clone of the layer is the same server, however often it is there.
    assert!(outer.clone().verify(app.layer(outer)).await.is_ok());
}

#[tokio::test]
async fn a_middleware_that_answers_first_is_told_by_its_status() {
    let layer = PeerDataLayer::new();
    let gate = axum::middleware::from_fn(gate);
    let app = routed().layer(layer.clone());
    let error = layer.verify(app.layer(gate)).await.expect_err("a gate");
    assert!(error.to_string().contains("answered 401"), "{error}");
}

async fn gate(_: axum::extract::Request, _: axum::middleware::Next) -> StatusCode {
    StatusCode::UNAUTHORIZED
}

#[tokio::test]
async fn verifying_leaves_nothing_behind() {
    let layer = PeerDataLayer::new();
    let app = layer.verify(routed().layer(layer.clone())).await;
    let address = serve_axum(app.expect("signaling")).await;
    // What is verified is the application that is served.
    assert_eq!(Request::get("/").send(address).await.status, 200);
    let server = layer.server().clone();
    let site = Site { address, server };
    let peer = Peer::join(&site, Wire::Json, "r").await;
    assert_eq!(site.server.peer_count(), 1);
    peer.vanish().await;
    eventually("gone", || site.server.peer_count() == 0).await;
}

#[tokio::test]
async fn a_wrapped_router_cannot_lose_it() {
    let layer = PeerDataLayer::new();
    let everything = routed()
        .route("/{*path}", any(application))
        .fallback(application);
    let app = layer.layer(everything);
    let app = layer.verify(app).await.expect("signaling");
    let address = serve_hyper(app.clone()).await;
    assert!(signals_below("", address).await);

    let app = Router::new().fallback_service(app);
    let app = layer.verify(app).await.expect("signaling");
    let address = serve_axum(app).await;
    assert!(signals_below("", address).await);
    let answer = Request::get("/elsewhere").send(address).await;
    assert_eq!(answer.text(), "application: GET /elsewhere");
}

#[tokio::test]
async fn a_nested_router_loses_it_with_its_fallback() {
    let layer = PeerDataLayer::new();
    let address = serve_axum(Router::new().nest("/api", routed().layer(layer.clone()))).await;
    assert!(!signals_below("/api", address).await);
    assert!(!signals_below("", address).await);

    // A fallback of its own is nested with it, and its layer too.
    let own = routed().fallback(application).layer(layer);
    let address = serve_axum(Router::new().nest("/api", own)).await;
    assert!(signals_below("/api", address).await);
    assert!(!signals_below("", address).await);
}

#[tokio::test]
async fn a_layered_router_can_be_nested_as_a_service() {
    let layer = PeerDataLayer::new();
    let app = Router::new()
        .nest_service("/api", routed().layer(layer))
        .fallback(application);
    let address = serve_axum(app).await;
    assert!(signals_below("/api", address).await);
    assert!(!signals_below("", address).await);
    let answer = Request::get("/api/").send(address).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_service_can_be_nested_anywhere() {
    let server = PeerData::new();
    let app = Router::new()
        .nest_service("/io", PeerDataService::socket_io(server.clone()))
        .nest_service("/a/json", PeerDataService::plain_json(server.clone()))
        // Looks at the path, of which the router leaves it nothing.
        .nest_service("/lost", PeerDataService::new(server));
    let address = serve_axum(app).await;
    for path in ["/io", "/io/", "/io/deeper"] {
        assert!(signals(address, path).await, "{path}");
    }
    let target = "/io/?EIO=4&transport=websocket";
    let mut socket = crate::support::Socket::open(address, target).await;
    assert!(socket.text().await.starts_with("0{"));
    for path in ["/a/json", "/a/json/"] {
        let mut socket = crate::support::Socket::open(address, path).await;
        assert!(socket.text().await.contains("READY"), "{path}");
    }
    assert!(!signals(address, "/lost/").await);
    assert!(signals_below("/lost", address).await);
}
