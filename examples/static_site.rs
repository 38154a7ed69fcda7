//! A single-page application and its signaling on one port, as the Node package's Express example
//! has it.
//!
//! ```text
//! APP_ENV=production cargo run --release --features axum --example static_site
//! ```
//!
//! In production it serves what is in `build/`, and `build/index.html` for every other path, so
//! that the application's own routes can be reloaded and linked to. Otherwise it serves signaling
//! alone, beside the development server that serves the application.
//!
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where; the server's settings come from
//! the environment too, as `cargo run --features metrics --example standalone -- --help` lists them.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::services::{ServeDir, ServeFile};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let layer = PeerDataLayer::from(Builder::from_env()?.build()?);
    let mut app = Router::new();
    if std::env::var("APP_ENV").as_deref() == Ok("production") {
        let build = Path::new("build");
        let index = ServeFile::new(build.join("index.html"));
        let files = ServeDir::new(build).append_index_html_on_directories(false);
        app = app.fallback_service(files.fallback(index));
    }
    // Last, and verified: the fallback above would answer signaling's requests with a page.
    let app = layer.verify(app.layer(layer.clone())).await?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 3000,
    };
    let listener = TcpListener::bind((host.as_str(), port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, app).into_future() => served?,
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
