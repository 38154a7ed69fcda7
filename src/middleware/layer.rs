//! Signaling around an application's own service.

use http::{Request, Response};
use tower::{Layer, Service};

use super::probe;
use super::service::PeerDataService;
use crate::error::Error;
use crate::server::PeerData;

/// Answers signaling, and hands every other request, upgrades included, to the wrapped service
/// untouched.
///
/// Cloning the layer, or applying it more than once, shares one server.
///
/// ```
/// use axum::{Router, routing::get};
/// use peer_data_server::PeerDataLayer;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(PeerDataLayer::new());
/// ```
///
/// # Around an axum router
///
/// `Router::layer` wraps what the router has at that moment: its routes, and its fallback with the
/// paths that nobody has routed, signaling's among them. So the layer has to come last, and this is
/// what happens where it does not:
///
/// | mounting | signaling |
/// |---|---|
/// | `.layer(layer)` after all routes and fallbacks | works |
/// | a `.fallback` or a wildcard route added after it | **silently lost**, see [`verify`](Self::verify) |
/// | `.route_layer(layer)` | never works: unrouted paths pass it by |
/// | `Router::new().fallback_service(layer.layer(router))` | works, whatever is in that router |
/// | `.merge(peer_data_server::axum::routes(server))` (feature `axum`) | works, whatever comes later |
/// | `.nest("/api", layered)` | never works, unless `layered` has a fallback of its own |
/// | `.nest_service("/api", layered)` | works, under `/api/socket.io/` and `/api/peer-data` |
/// | `.nest("/api", peer_data_server::axum::routes(server))` | works, under the same |
/// | `.nest_service("/any", PeerDataService::socket_io(server))` | works, under `/any/` |
///
/// The two that nothing can shadow by accident are the wrapped router and the routes:
///
/// ```
/// use axum::Router;
/// use peer_data_server::PeerDataLayer;
/// use tower::Layer;
///
/// let finished: Router = Router::new().fallback(|| async { "index.html" });
/// let app: Router = Router::new().fallback_service(PeerDataLayer::new().layer(finished));
/// ```
///
/// # Among other middleware
///
/// Middleware is *inside* if it was added to the application before this layer: it sees what is not
/// signaling, and nothing else. Added later it is *outside* and sees signaling too:
///
/// | outside | does to signaling |
/// |---|---|
/// | `TraceLayer`, `middleware::from_fn`, `HandleErrorLayer` | no harm |
/// | `TimeoutLayer` | a poll waits until there is something to say. A timeout that is shorter than the [ping interval](crate::Limits::ping_interval) cuts it, and **a poll that is cut ends its session**. Keep timeouts inside, or give them the ping interval and ten seconds more. Websockets are answered at once and then out of its reach |
/// | `CompressionLayer` | answers to polls are compressed for clients that ask for it; websockets stay as they are |
/// | `CorsLayer` | answers preflights itself and overwrites the headers that signaling sets. An origin of `*` breaks browsers that poll with credentials, as Socket.IO 2 clients do from other origins. Signaling answers for its own paths: keep such layers inside |
/// | `RequestBodyLimitLayer` | refuses POSTs over its limit, or breaks off those of no known length, which ends their session: keep it inside, or above [`max_message`](crate::Limits::max_message). The limits of axum's extractors are no concern |
/// | `map_request_body` and other wrappers of bodies | no harm |
/// | whatever builds requests anew and leaves out their extensions | websockets fail, for the upgrade is lost with them |
///
/// # HTTP/2
///
/// Polling needs nothing. Websockets over HTTP/2 (RFC 8441) need a server that offers them:
/// `axum::serve` does with axum's own feature `http2`, hyper after `enable_connect_protocol()`. Any
/// other CONNECT, to a host or to one of the application's paths, goes to the application; on
/// signaling's own paths, what is no websocket is refused.
#[derive(Clone, Debug, Default)]
pub struct PeerDataLayer {
    server: PeerData,
}

impl PeerDataLayer {
    /// A layer with a server of its own and the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle of the layer's server.
    #[must_use]
    pub fn server(&self) -> &PeerData {
        &self.server
    }

    /// Gives the finished application back if signaling can be reached through it.
    ///
    /// Made for the start of a program: it turns a route or a fallback that was added after the
    /// layer, which would have taken signaling's requests without a word, into an error. It sends
    /// one bare GET for each of the server's two paths through `app`. These make no session, but
    /// they pass the middleware outside, and what shadows signaling sees them.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use peer_data_server::PeerDataLayer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), peer_data_server::Error> {
    /// let layer = PeerDataLayer::new();
    /// let app = Router::new().route("/", get(|| async { "hello" }));
    ///
    /// let good: Router = app.clone().layer(layer.clone());
    /// let good = layer.verify(good).await?;
    ///
    /// let bad: Router = app.layer(layer.clone()).fallback(|| async { "index.html" });
    /// assert!(layer.verify(bad).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When something else answers one of the paths, be it another server's layer;
    /// [`Error::subject`] is `path` or `json_path`. It waits for that answer as long as it takes.
    pub async fn verify<S, R>(&self, mut app: S) -> Result<S, Error>
    where
        S: Service<Request<String>, Response = Response<R>>,
    {
        probe::verify(&self.server, &mut app).await?;
        Ok(app)
    }
}

impl From<PeerData> for PeerDataLayer {
    fn from(server: PeerData) -> Self {
        Self { server }
    }
}

impl<S> Layer<S> for PeerDataLayer {
    type Service = PeerDataService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PeerDataService::around(self.server.clone(), inner)
    }
}
