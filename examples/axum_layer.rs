//! Signaling as a layer over an axum application.
//!
//! ```text
//! cargo run --release --features axum --example axum_layer
//! ```
//!
//! `HOST` (default 127.0.0.1) and `PORT` (default 3000) say where; the server's settings are read
//! from `PEER_DATA_*` variables.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Builder::from_env()?.build()?;
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        // Last: routes and fallbacks that are added after the layer win over it.
        .layer(PeerDataLayer::from(server.clone()))
        // Limits by address and trusted proxies go by what it tells (feature `axum`).
        .into_make_service_with_connect_info::<SocketAddr>();

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".into());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind((&*host, port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        // First signaling, while axum still answers, and then the rest: of websockets axum knows
        // nothing.
        .with_graceful_shutdown(async move {
            asked_to_end().await;
            server.shutdown(Duration::from_secs(10)).await;
        })
        .await?;
    Ok(())
}

/// Returns when a service manager, or somebody at the keyboard, wants the program to end.
async fn asked_to_end() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
