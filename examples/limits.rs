//! A server for the open internet: the strict set of limits with a few bounds of its own, and a
//! line for each request that it turns away.
//!
//! ```text
//! cargo run --release --example limits
//! ```
//!
//! Request heads that never end are the HTTP server's to bound, or a proxy's: `axum::serve` waits for
//! them. The example `standalone` does not.
//!
//! `PORT` (default 3000) says where; `PEER_DATA_*` variables win over what stands here.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use peer_data_server::{ClientAddress, Limits, PeerData, PeerDataLayer};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Each value of the strict set has its reason in the docs of `Limits::strict`.
    let mut limits = Limits::strict();
    // Calls of this application are small, and so are its tokens.
    limits.max_peers_per_room = 12;
    limits.max_handshake = 2 << 10;
    // A household has a few devices.
    limits.max_sessions_per_address = 10;
    // Nobody types faster; a page that has lost itself is stopped soon.
    limits.events_per_second = 20;
    limits.event_burst = 400;
    limits.rate_patience = Duration::from_secs(5);
    let server = PeerData::builder().limits(limits).with_env()?.build()?;

    let app = Router::new()
        .layer(PeerDataLayer::from(server))
        // Around signaling: it must know whom it counts, and its answers pass here.
        .layer(from_fn(print_refusals));

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

/// Says for each request that is refused how, and whether it may come again; not by whom, as an
/// address is nobody else's business.
async fn print_refusals(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    // In place of the crate's feature `axum`, with which signaling finds the address by itself.
    request.extensions_mut().insert(ClientAddress(address));
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let again = response.headers().contains_key("retry-after");
        let again = if again { ", to come again later" } else { "" };
        println!("refused at {path}: {status}{again}");
    }
    response
}
