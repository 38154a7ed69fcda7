//! Signaling around an application's own service.

use tower::Layer;

use super::service::PeerDataService;
use crate::server::PeerData;

/// Answers signaling, and hands every other request, upgrades included, to the wrapped service
/// untouched.
///
/// Cloning the layer, or applying it more than once, shares one server. In axum it must be the
/// last thing that is added to the router: routes and fallbacks that come later win over it.
///
/// ```
/// use axum::{Router, routing::get};
/// use peer_data_server::PeerDataLayer;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(PeerDataLayer::new());
/// ```
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
