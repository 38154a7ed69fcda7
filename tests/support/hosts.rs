//! The stacks that the server is mounted in.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request as AxumRequest};
use axum::middleware::{Next, from_fn};
use axum::{BoxError, Router};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peer_data_server::{
    Builder, ClientAddress, PeerData, PeerDataLayer, PeerDataService, RoomId, Signal,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tower::Service;

#[cfg(feature = "actix")]
pub(crate) use self::actix::{run_actix, serve_actix};
use super::{Request, Socket};

/// A web server to mount the signaling in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The layer over an axum router.
    Axum,
    /// The service alone on hyper 1.
    Hyper,
    /// The services nested in an axum router, which strips the paths.
    AxumNested,
    /// Mounted beside an actix application.
    #[cfg(feature = "actix")]
    Actix,
}

/// A running server and its handle.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) server: PeerData,
}

impl Host {
    /// A server with the defaults.
    pub(crate) async fn start(self) -> Site {
        self.start_with(|builder| builder).await
    }

    /// A server with other settings. Other paths are for [`start_at`](Self::start_at).
    pub(crate) async fn start_with(self, settings: impl FnOnce(Builder) -> Builder) -> Site {
        let builder = settings(PeerData::builder());
        self.serve(builder, "/socket.io", "/peer-data").await
    }

    /// A server at other paths.
    pub(crate) async fn start_at(self, engine: &str, json: &str) -> Site {
        let builder = PeerData::builder().path(engine).json_path(json);
        self.serve(builder, engine, json).await
    }

    async fn serve(self, builder: Builder, engine: &str, json: &str) -> Site {
        let server = builder.build().expect("good settings");
        let address = self.mount(server.clone(), engine, json).await;
        Site { address, server }
    }

    /// A server that was built elsewhere, with paths as by default.
    pub(crate) async fn start_built(self, server: PeerData) -> Site {
        let address = self.mount(server.clone(), "/socket.io", "/peer-data").await;
        Site { address, server }
    }

    async fn mount(self, server: PeerData, engine: &str, json: &str) -> SocketAddr {
        match self {
            Self::Axum => {
                let app = Router::new()
                    .fallback(application)
                    .layer(PeerDataLayer::from(server));
                serve_axum_by_address(app).await
            }
            Self::Hyper => serve_hyper(PeerDataService::new(server)).await,
            Self::AxumNested => {
                let [engine, json] = [engine, json].map(|path| path.trim_end_matches('/'));
                let app = Router::new()
                    .nest_service(engine, PeerDataService::socket_io(server.clone()))
                    .nest_service(json, PeerDataService::plain_json(server))
                    .fallback(application);
                serve_axum_by_address(app).await
            }
            #[cfg(feature = "actix")]
            Self::Actix => {
                let mount = move |config: &mut actix_web::web::ServiceConfig| {
                    config.configure(peer_data_server::actix::mount(server.clone()));
                };
                serve_actix(1, mount).await
            }
        }
    }
}

impl Site {
    /// The members of a room, by id.
    pub(crate) fn members(&self, room: &str) -> Vec<String> {
        let room = RoomId::new(room).expect("a room's id");
        let members = self.server.members(&room);
        members.iter().map(ToString::to_string).collect()
    }

    /// Returns once the server has read what was sent to it before: it has one thread for all
    /// connections, which serves them in the order in which they had something to say.
    pub(crate) async fn catch_up(&self) {
        let answer = Request::get("/socket.io/").send(self.address).await;
        assert_eq!(answer.status, 400);
    }

    /// Has the application itself speak to a peer; returns how many took it.
    pub(crate) fn tell(&self, peer: &str, kind: &str, payload: &Value) -> usize {
        let peer = peer.parse().expect("a peer's id");
        let signal = Signal::new(kind, None, payload).expect("a signal");
        self.server.to_peer(&peer, &signal).delivered
    }
}

/// Something of the application's own: says what it was asked.
pub(crate) async fn application(request: http::Request<axum::body::Body>) -> String {
    format!("application: {} {}", request.method(), request.uri())
}

/// Serves a router on a free port until the test ends.
pub(crate) async fn serve_axum(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The same, and signaling is told where each request comes from.
async fn serve_axum_by_address(app: Router) -> SocketAddr {
    let tell = |mut request: AxumRequest, next: Next| async {
        let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let ConnectInfo(address) = *info.expect("a connection");
        request.extensions_mut().insert(ClientAddress(address));
        next.run(request).await
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let app = app.layer(from_fn(tell));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Serves a service with hyper alone, on a free port, until the test ends.
pub(crate) async fn serve_hyper<S, B>(service: S) -> SocketAddr
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, client) = listener.accept().await.expect("a connection");
            let service = service.clone();
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |mut request| {
                        request.extensions_mut().insert(ClientAddress(client));
                        service.clone().call(request)
                    }),
                )
                .with_upgrades();
            // Clients that hang up in the middle are what some tests are about.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    address
}

#[cfg(feature = "actix")]
mod actix {
    use std::future::pending;
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use actix_web::dev::{Server, ServerHandle};
    use actix_web::rt::System;
    use actix_web::web::ServiceConfig;
    use actix_web::{App, HttpServer};
    use tokio::sync::oneshot;

    /// Ends its server when it goes.
    struct Running(ServerHandle);

    impl Drop for Running {
        fn drop(&mut self) {
            // The order is on its way at once; nobody has to see it carried out.
            drop(self.0.stop(false));
        }
    }

    /// Serves an application, whose settings are the ones that the docs advise, on a free port
    /// until the test ends.
    pub(crate) async fn serve_actix<F>(workers: usize, configure: F) -> SocketAddr
    where
        F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        run_actix(move |listener| {
            HttpServer::new(move || App::new().configure(&configure))
                .workers(workers)
                .tcp_nodelay(true)
                .h1_allow_half_closed(false)
                .disable_signals()
                .listen(listener)
                .expect("a listener")
                .run()
        })
        .await
    }

    /// Runs a server of any settings, on a free port until the test ends.
    pub(crate) async fn run_actix<F>(build: F) -> SocketAddr
    where
        F: FnOnce(TcpListener) -> Server + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (started, running) = oneshot::channel();
        // actix has a runtime of its own.
        thread::spawn(move || {
            System::new().block_on(async move {
                let server = build(listener);
                let _ = started.send(Running(server.handle()));
                server.await.expect("an end in order");
            });
        });
        let running = running.await.expect("a server");
        tokio::spawn(async move {
            let _running = running;
            pending::<()>().await;
        });
        address
    }
}

/// Whether a handshake at that path reaches the signaling.
pub(crate) async fn signals(address: SocketAddr, path: &str) -> bool {
    let target = format!("{path}?EIO=4&transport=polling");
    let answer = Request::get(&target).send(address).await;
    answer.status == 200 && answer.text().starts_with("0{\"sid\"")
}

/// Whether both default paths lead to signaling, by polling and by websocket, below a prefix. It
/// must be both or neither.
pub(crate) async fn signals_below(prefix: &str, address: SocketAddr) -> bool {
    let engine = format!("{prefix}/socket.io/");
    let polling = signals(address, &engine).await;
    let engine = format!("{engine}?EIO=3&transport=websocket");
    let socket = Socket::try_open(address, &engine).await.is_ok();
    let json = format!("{prefix}/peer-data");
    let json = Socket::try_open(address, &json).await.is_ok();
    assert_eq!((socket, json), (polling, polling), "{prefix:?}");
    polling
}
