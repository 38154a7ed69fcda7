//! Signaling as routed services of an axum application.
//!
//! ```text
//! cargo run --release --features axum --example axum_service
//! ```
//!
//! `HOST` (default 127.0.0.1) and `PORT` (default 3000) say where; the server's settings are read
//! from `PEER_DATA_*` variables, except its paths, which the router decides.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use peer_data_server::{Builder, PeerDataService};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Builder::from_env()?.build()?;
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        // Both share one server: who comes by either is in the same rooms.
        .nest_service("/socket.io", PeerDataService::socket_io(server.clone()))
        .nest_service("/peer-data", PeerDataService::plain_json(server))
        // Limits by address and trusted proxies go by what it tells (feature `axum`).
        .into_make_service_with_connect_info::<SocketAddr>();

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".into());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind((&*host, port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
