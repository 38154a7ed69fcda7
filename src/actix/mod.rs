//! The server as a part of an actix-web 4 application: long-polling, websockets and the upgrade
//! between them, beside the application's own routes, middleware and data.
//!
//! ```no_run
//! use actix_web::{App, HttpServer, Responder, get};
//! use peer_data_server::PeerData;
//! use peer_data_server::actix;
//!
//! #[get("/")]
//! async fn hello() -> impl Responder {
//!     "hello"
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     // Outside the closure: all workers share one server, and with it the rooms.
//!     let server = PeerData::new();
//!     HttpServer::new(move || {
//!         App::new()
//!             .configure(actix::mount(server.clone()))
//!             .service(hello)
//!     })
//!     .tcp_nodelay(true)
//!     .h1_allow_half_closed(false)
//!     .bind(("127.0.0.1", 3000))?
//!     .run()
//!     .await
//! }
//! ```
//!
//! The same handle may serve a tower stack at the same time.
//!
//! # Order
//!
//! actix asks its services in the order in which they were registered. Mount the server before a
//! route or a service that matches everything, such as `/{path:.*}` or the files of a site at `/`:
//! behind it no request comes here, and nothing says so. A `default_service` is asked last wherever
//! it stands.
//!
//! # Settings of `HttpServer`
//!
//! - `tcp_nodelay(true)`: signals are small and come one by one. By default the operating system
//!   may keep one back until the one before it is acknowledged.
//! - `h1_allow_half_closed(false)`: a client that hangs up while its GET waits is noticed at once,
//!   and its rooms are told. By default actix goes on, as the client might only have closed its
//!   half of the connection; the session then ends with its heartbeat, after
//!   [`ping_interval`](crate::Limits::ping_interval) and
//!   [`ping_timeout`](crate::Limits::ping_timeout). Websockets are not affected; the application's
//!   own routes are.
//! - `client_disconnect_timeout` (default 1 s): a websocket that is over has sent its close frame,
//!   and its session has ended; for so long the connection stays open until the client hangs up.
//!   What the client still sends is thrown away, so that it does not lose the close frame to a
//!   reset.
//! - `disable_signals()`, and [`PeerData::shutdown`] before `ServerHandle::stop`: left to itself, a
//!   graceful shutdown of actix waits `shutdown_timeout` (default 30 s) for open websockets, and then
//!   cuts them without a close frame.
//!
//! # Middleware
//!
//! What is wrapped around the `App` sees signaling too. `Compress` compresses answers to polls for
//! clients that ask for it, and leaves websockets as they are; `Logger` does no harm. Others have not
//! been tried: they must hand on the request's payload and a 101 with its body untouched, must not
//! cut a poll, which may wait for a [`ping_interval`](crate::Limits::ping_interval), and should leave
//! CORS of its paths to signaling, which answers for itself.
//!
//! # Limits
//!
//! - Over HTTP/2, long-polling works, but a GET that is cut is noticed by the heartbeat only. actix
//!   has no websockets there (extended CONNECT): clients need HTTP/1.1 for them, which browsers
//!   choose by themselves where both are offered.
//! - A websocket is asked for with a header `Upgrade: websocket` of its own, as all clients do: with
//!   `Upgrade: h2c, websocket`, or with a body, the request is answered as any other.
//! - A client that does not read what it is sent is not read either, once the buffers of the
//!   connection are full. Its session ends after [`write_timeout`](crate::Limits::write_timeout) or
//!   when its outbox is full, and its rooms are told; its connection and what actix has buffered
//!   for it, when TCP gives it up, which a client that only never reads can put off for ever. Such a
//!   connection is in no limit of this crate any more, but it is in `HttpServer::max_connections`.
//! - actix compares paths decoded: `/socket%2eio/` is `/socket.io/` here.

#[cfg(feature = "inspector")]
mod inspector;
mod request;
mod socket;

use actix_web::dev::HttpServiceFactory;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, Scope};

use crate::server::PeerData;
use crate::wire::intent::Mount;
#[cfg(feature = "inspector")]
pub use inspector::inspector;

/// Mounts the server at its own paths, `/socket.io` and `/peer-data` if nothing else was built, and
/// all below them, within whatever scope it is configured.
///
/// ```
/// use actix_web::{App, web};
/// use peer_data_server::{PeerData, actix};
///
/// let server = PeerData::new();
/// // At /api/socket.io and /api/peer-data.
/// let app = App::new().service(web::scope("/api").configure(actix::mount(server)));
/// ```
#[must_use = "it is for `App::configure`"]
pub fn mount(server: PeerData) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let paths = server.paths();
        config.service(socket_io(&paths.engine, server.clone()));
        config.service(plain_json(&paths.json, server.clone()));
    }
}

/// Socket.IO at a path and all below it, whatever path the server was built with.
///
/// The path is taken as it is, not as a pattern; a trailing slash makes no difference.
///
/// ```
/// use actix_web::App;
/// use peer_data_server::{PeerData, actix};
///
/// let server = PeerData::new();
/// let app = App::new()
///     .service(actix::socket_io("/any/path", server.clone()))
///     .service(actix::plain_json("/other", server));
/// ```
#[must_use = "it is for `App::service`"]
pub fn socket_io(path: &str, server: PeerData) -> impl HttpServiceFactory + use<> {
    service(path, server, Mount::Engine)
}

/// Plain JSON at a path and all below it, whatever path the server was built with. The path is
/// taken as [`socket_io`] takes its own.
#[must_use = "it is for `App::service`"]
pub fn plain_json(path: &str, server: PeerData) -> impl HttpServiceFactory + use<> {
    service(path, server, Mount::Json)
}

fn service(path: &str, server: PeerData, mount: Mount) -> Scope {
    web::scope(&literal(path.trim_end_matches('/'))).default_service(web::to(
        move |request: HttpRequest, payload: Payload| {
            request::answer(request::read(&server, mount, &request), payload)
        },
    ))
}

/// The pattern that matches a path and nothing else: in actix's patterns braces and a final
/// asterisk are more than characters.
fn literal(path: &str) -> String {
    if !path.contains('{') && !path.ends_with('*') {
        return path.to_owned();
    }
    // A variable whose value is the path. Within it only a brace would count, and the expression
    // has none.
    let quote = |c: char| match c {
        c if c.is_ascii_punctuation() => format!(r"\x{:02x}", u32::from(c)),
        c => c.to_string(),
    };
    let quoted: String = path.trim_start_matches('/').chars().map(quote).collect();
    format!("/{{path:{quoted}}}")
}
