//! What the public conformance suites of Engine.IO drive, revisions 3 and 4: the bare transports,
//! without Socket.IO in them, that send every message back.
//!
//! ```text
//! cargo run --all-features --example conformance_engine
//! ```
//!
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where; `PEER_DATA_*` variables win over
//! the settings that the suites expect.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use peer_data_server::{PeerData, PeerDataLayer};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = PeerData::builder()
        .path("/engine.io")
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .max_message(1_000_000)
        .engine_echo()
        .with_env()?
        .build()?;
    let app = Router::new()
        .layer(PeerDataLayer::from(server))
        .into_make_service_with_connect_info::<SocketAddr>();

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 3000,
    };
    let listener = TcpListener::bind((host.as_str(), port)).await?;
    println!("Engine.IO on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
