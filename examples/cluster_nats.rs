//! One node of many, which share their rooms by NATS.
//!
//! ```text
//! PORT=3001 cargo run --release --features nats --example cluster_nats
//! PORT=3002 cargo run --release --features nats --example cluster_nats
//! ```
//!
//! `NATS_URL` (default `nats://127.0.0.1:4222`) says where the bus is, which need not be there
//! yet; `HOST` (default 127.0.0.1) and `PORT` (default 3000) where the node is.

use std::error::Error;
use std::time::Duration;

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
        .route("/readyz", get(ready))
        .with_state(server.clone())
        .layer(PeerDataLayer::from(server.clone()));

    let (host, port) = (variable("HOST", "127.0.0.1"), variable("PORT", "3000"));
    let listener = TcpListener::bind((&*host, port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
            // The others are told at once that this node's peers are gone.
            server.shutdown(Duration::from_secs(10)).await;
        })
        .await?;
    Ok(())
}

/// Whether a load balancer should send clients here.
async fn ready(State(server): State<PeerData>) -> StatusCode {
    if server.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}
