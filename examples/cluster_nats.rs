//! One node of many, which share their rooms by Nats.
//!
//! ```text
//! PORT=3001 cargo run --release --features nats --example cluster_nats
//! PORT=3002 cargo run --release --features nats --example cluster_nats
//! ```
//!
//! `NATS_URL` (default nats://127.0.0.1:4222) says where the bus is, which need not be there
//! yet; `HOST` (default 127.0.0.1) and `PORT` (default 3000) where the node is.

use std::error::Error;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use peer_data_server::{Nats, NatsOptions, PeerData, PeerDataLayer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = variable("NATS_URL", "nats://127.0.0.1:4222");
    let bus = Nats::connect(&url, NatsOptions::default())?;
    let server = PeerData::builder().cluster(bus).build()?;
    let app = Router::new()
        .route("/ready", get(ready))
        .with_state(server.clone())
        .layer(PeerDataLayer::from(server.clone()));

    let (host, port) = (variable("HOST", "127.0.0.1"), variable("PORT", "3000"));
    let listener = TcpListener::bind((&*host, port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, app).into_future() => served?,
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    // The others are told at once that this node's peers are gone.
    server.leave_cluster().await;
    Ok(())
}

/// Whether a load balancer should send clients here.
async fn ready(State(server): State<PeerData>) -> StatusCode {
    match server.cluster_status() {
        Some(status) if status.is_ready() => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}
