//! The unmodified npm package `peer-data` in a page, against this server.
//!
//! ```text
//! npm install --prefix examples/peer_data_client peer-data@3.2.5
//! cargo run --release --features axum --example peer_data_client
//! ```
//!
//! `PORT` (default 3000) says where; the server's settings are read from `PEER_DATA_*` variables.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::TcpListener;

const LIBRARY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/peer_data_client/node_modules/peer-data/dist/index.js"
);

const MISSING: &str = "The npm package is not installed. Run:
    npm install --prefix examples/peer_data_client peer-data@3.2.5";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Builder::from_env()?.build()?;
    let app = Router::new()
        .route("/", get(Html(include_str!("peer_data_client.html"))))
        .route("/peer-data.js", get(library))
        .layer(PeerDataLayer::from(server))
        .into_make_service_with_connect_info::<SocketAddr>();

    if !Path::new(LIBRARY).exists() {
        eprintln!("{MISSING}");
    }
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 3000,
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!(
        "open http://{}/?room=lobby in two windows",
        listener.local_addr()?
    );
    axum::serve(listener, app).await?;
    Ok(())
}

/// The package as npm installed it, read anew each time, so that it can be installed meanwhile.
async fn library() -> Response {
    match tokio::fs::read(LIBRARY).await {
        Ok(script) => ([(header::CONTENT_TYPE, "text/javascript")], script).into_response(),
        Err(_) => (StatusCode::NOT_FOUND, MISSING).into_response(),
    }
}
