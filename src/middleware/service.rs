//! One request: signaling's, or somebody else's.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use tower::Service;

use super::address::client_address;
use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::{probe, upgrade};
use crate::server::{PeerData, Task};
use crate::wire::intent::{Head, Mount};
use crate::wire::reply::{Refusal, Reply};

/// Answers signaling; hands everything else to `S` untouched.
///
/// Made by [`PeerDataLayer`](super::PeerDataLayer) around an application, or by
/// [`new`](PeerDataService::new) without one, to be routed:
///
/// ```
/// use axum::Router;
/// use peer_data_server::{PeerData, PeerDataService};
///
/// let service = PeerDataService::new(PeerData::new());
/// let app: Router = Router::new()
///     .route_service("/socket.io/", service.clone())
///     .route_service("/peer-data", service);
/// ```
///
/// A service that was made so looks at the path of each request. A router that strips what it has
/// matched, as `nest_service` does, leaves nothing to recognise: it wants
/// [`socket_io`](PeerDataService::socket_io) and [`plain_json`](PeerDataService::plain_json), which
/// answer whatever is routed to them.
///
/// A websocket is pumped by a task of its own, spawned on the tokio runtime that calls the
/// service. The response to a waiting poll can be dropped at any time: that ends its session, as
/// the protocol has it.
#[derive(Clone, Debug)]
pub struct PeerDataService<S = NotFound> {
    server: PeerData,
    mount: Mount,
    inner: S,
}

impl PeerDataService {
    /// Signaling alone: every other request is answered 404.
    #[must_use]
    pub fn new(server: PeerData) -> Self {
        Self::around(server, NotFound(()))
    }

    /// Socket.IO alone, for every request that comes, whatever its path.
    ///
    /// ```
    /// use axum::Router;
    /// use peer_data_server::{PeerData, PeerDataService};
    ///
    /// let server = PeerData::new();
    /// let app: Router = Router::new()
    ///     .nest_service("/any/path", PeerDataService::socket_io(server.clone()))
    ///     .nest_service("/other", PeerDataService::plain_json(server));
    /// ```
    #[must_use]
    pub fn socket_io(server: PeerData) -> Self {
        Self::mounted(server, Mount::Engine)
    }

    /// Plain JSON alone, for every request that comes, whatever its path.
    #[must_use]
    pub fn plain_json(server: PeerData) -> Self {
        Self::mounted(server, Mount::Json)
    }

    fn mounted(server: PeerData, mount: Mount) -> Self {
        Self {
            mount,
            ..Self::new(server)
        }
    }
}

impl<S> PeerDataService<S> {
    pub(super) fn around(server: PeerData, inner: S) -> Self {
        Self {
            server,
            mount: Mount::Paths,
            inner,
        }
    }

    /// The handle of the server.
    #[must_use]
    pub fn server(&self) -> &PeerData {
        &self.server
    }
}

impl<S, B, R> Service<Request<B>> for PeerDataService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let headers = request.headers();
        let head = Head {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            authority: request.uri().authority().map(Authority::as_str),
            address: client_address(request.extensions()),
            upgrade: upgrade::offered(&request),
            lines: &|name, show| {
                let lines = headers.get_all(name).iter();
                lines.map(HeaderValue::as_bytes).for_each(show);
            },
            each_header: &|show| {
                for (name, value) in headers {
                    if let Ok(value) = value.to_str() {
                        show(name.as_str(), value);
                    }
                }
            },
        };
        let task = self.server.task(self.mount, &head);
        match task {
            Task::Elsewhere => ResponseFuture::inner(self.inner.call(request)),
            Task::Answer(reply) => {
                probe::note(request.extensions(), &self.server);
                ResponseFuture::answer(reply)
            }
            Task::Later(later) => ResponseFuture::later(later, hyper::upgrade::on(&mut request)),
            Task::Poll(poll) => ResponseFuture::poll(poll),
            Task::Post(post) => ResponseFuture::post(post, request.into_body()),
            // What is left of the request goes here: it would pin its connection's read buffer.
            Task::Socket(socket) => {
                let upgrade = hyper::upgrade::on(&mut request);
                ResponseFuture::answer(upgrade::start(upgrade, socket))
            }
        }
    }
}

pub(super) fn response<B>(reply: Reply) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::own(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        // Whatever of a client's is repeated was a header's value before.
        if let Ok(value) = HeaderValue::try_from(value) {
            response
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
    }
    response
}

pub(super) fn unavailable() -> Reply {
    Refusal::Unavailable.into()
}

/// The inner service of a [`PeerDataService`] without an application: answers 404.
#[derive(Clone, Copy, Debug)]
pub struct NotFound(());

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response = Response::new("Not found: this service answers signaling only.".into());
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}
