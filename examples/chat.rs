//! Video, voice and text in the browser: open the page in two windows and enter the same room.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where. Browsers hand out a camera only
//! on localhost or over HTTPS.

use std::error::Error;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use peer_data_server::PeerDataLayer;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/", get(Html(include_str!("chat.html"))))
        .layer(PeerDataLayer::new());

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 3000,
    };
    let listener = TcpListener::bind((host.as_str(), port)).await?;
    println!("open http://localhost:{port}/#lobby in two windows");
    axum::serve(listener, app).await?;
    Ok(())
}
