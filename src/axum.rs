//! Signaling as routes of an axum application, and how its handlers reach the server.
//!
//! [`routes`] is the way that no fallback, wildcard or layer can take away again by accident;
//! [`PeerDataLayer`](crate::PeerDataLayer) says what else there is, and how signaling gets along
//! with other middleware and with HTTP/2.
//!
//! # The handle
//!
//! [`PeerData`] is an application's state like any other: it can be the whole state, or a part of
//! it that handlers ask for by `State<PeerData>`.
//!
//! ```
//! use axum::Router;
//! use axum::extract::{FromRef, State};
//! use axum::routing::get;
//! use peer_data_server::{PeerData, axum::routes};
//!
//! #[derive(Clone)]
//! struct App {
//!     greeting: &'static str,
//!     signaling: PeerData,
//! }
//!
//! impl FromRef<App> for PeerData {
//!     fn from_ref(app: &App) -> Self {
//!         app.signaling.clone()
//!     }
//! }
//!
//! /// Lists the rooms that somebody is in.
//! async fn rooms(State(signaling): State<PeerData>) -> String {
//!     let rooms = signaling.rooms();
//!     rooms.iter().map(|room| format!("{}\n", room.as_str())).collect()
//! }
//!
//! let app = App { greeting: "hello", signaling: PeerData::new() };
//! let router: Router = Router::new()
//!     .route("/", get(|State(app): State<App>| async move { app.greeting }))
//!     .route("/rooms", get(rooms))
//!     .merge(routes(app.signaling.clone()))
//!     .with_state(app);
//! ```
//!
//! # Addresses of clients
//!
//! Serve with `into_make_service_with_connect_info::<SocketAddr>()`, and signaling knows where its
//! requests come from. [`ClientAddress`](crate::ClientAddress) is for servers that cannot.

use axum::Router;

use crate::middleware::PeerDataService;
use crate::server::PeerData;

/// The server's own paths as routes, to be merged into a router or nested under a prefix.
///
/// There is one route for each of the two paths, one with a slash behind it, and one for all that
/// lies below. They answer every method and precede fallbacks and wildcards, whenever those are
/// added. Middleware that is added to the router later, `route_layer` included, sees signaling too.
///
/// ```
/// use axum::Router;
/// use peer_data_server::{PeerData, axum::routes};
///
/// let server = PeerData::new();
/// let app: Router = Router::new()
///     .merge(routes(server.clone()))
///     .nest("/api", routes(server))
///     .fallback(|| async { "index.html" });
/// ```
///
/// # Panics
///
/// axum panics where the routes are merged or nested, at the start of the program, if the
/// application has a route for the same path. It also does so where a segment of a path begins with
/// `:` or `*`, unless the router was told `without_v07_checks()`.
pub fn routes<S>(server: PeerData) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    // They have no braces, so they are no patterns.
    let paths = server.paths().clone();
    let router = Router::new().without_v07_checks();
    let json = PeerDataService::plain_json(server.clone());
    let router = mount(router, &paths.json, json);
    mount(router, &paths.engine, PeerDataService::socket_io(server))
}

fn mount<S>(router: Router<S>, path: &str, service: PeerDataService) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router
        .route_service(path, service.clone())
        .route_service(&format!("{path}/"), service.clone())
        .route_service(&format!("{path}/{{*rest}}"), service)
}
