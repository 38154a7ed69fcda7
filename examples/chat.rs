//! Video, voice and text in the browser: open the page in two windows and enter the same room.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! A page that loses its connection may come back within 30 seconds, and the call goes on meanwhile.
//!
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where. Browsers hand out a camera only
//! on localhost or over HTTPS.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use peer_data_server::{PeerData, PeerDataLayer};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = PeerData::builder()
        .recovery(Duration::from_secs(30))
        .build()?;
    let app = Router::new()
        .route("/", get(Html(include_str!("chat.html"))))
        .layer(PeerDataLayer::from(server));

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
