//! The axum layer below what many applications have around it: traces, compression, a timeout and
//! CORS, so that it shows what these cost. Not an example of how to serve: see `examples/`.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::TcpListener;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

/// Longer than a poll waits.
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // As in production: what traces say is looked at, and too little to be written.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .init();
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(PeerDataLayer::from(Builder::from_env()?.build()?))
        .layer(CorsLayer::permissive())
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            TIMEOUT,
        ))
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
