//! Two windows that talk through a TURN server, with credentials that the signaling server makes.
//!
//! ```text
//! turnserver -n -v --use-auth-secret --static-auth-secret=north --realm=example.org --allow-loopback-peers
//! PEER_DATA_TURN_URLS=turn:127.0.0.1:3478 PEER_DATA_TURN_SECRET=north cargo run --release --features axum --example turn
//! ```
//!
//! Then open `http://127.0.0.1:3000/?room=lobby&relay` in two windows; with `relay` in the address,
//! nothing goes any other way. `HOST` (default 127.0.0.1) and `PORT` (default 3000) say where. In code
//! instead of variables it is `Builder::ice_servers`.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Builder::from_env()?.build()?;
    let app = Router::new()
        .route("/", get(Html(include_str!("turn.html"))))
        .layer(PeerDataLayer::from(server))
        .into_make_service_with_connect_info::<SocketAddr>();

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".into());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind((&*host, port.parse()?)).await?;
    println!(
        "open http://{}/?room=lobby&relay in two windows",
        listener.local_addr()?
    );
    axum::serve(listener, app).await?;
    Ok(())
}
