//! What the public conformance suite of Socket.IO drives: a plain Socket.IO server with the
//! namespaces `/` and `/custom`, made of the crate's public parts.
//!
//! ```text
//! cargo run --all-features --example conformance_socket
//! ```
//!
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where; `PEER_DATA_*` variables win over
//! the settings that the suite expects.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use peer_data_server::{
    AppEvent, Arguments, Hello, Namespace, Peer, PeerData, PeerDataLayer, Signal,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = PeerData::builder()
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .connect_timeout(Duration::from_secs(1))
        .max_message(1_000_000)
        .signaling(false)
        .on_connect(show_auth)
        .on_event(answer)
        .namespace(
            Namespace::new("/custom")
                .on_connect(show_auth)
                .on_event(answer),
        )
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
    println!("Socket.IO on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Tells a client what it said of itself: `{}` if nothing.
fn show_auth(peer: &Peer, hello: &Hello<'_>) {
    let auth = hello.auth::<serde_json::Value>();
    let event = auth.and_then(|auth| Signal::event("auth", &Arguments::new(&[auth])?));
    match event {
        Ok(event) => drop(peer.send(&event)),
        Err(error) => eprintln!("auth: {error}"),
    }
}

/// Sends back what came, as an event or as the ack that was asked for.
fn answer(peer: &Peer, event: AppEvent<'_>) {
    match (event.name, event.ack) {
        ("message", _) => match Signal::event("message-back", &event.arguments) {
            Ok(back) => drop(peer.send(&back)),
            Err(error) => eprintln!("message: {error}"),
        },
        ("message-with-ack", Some(ack)) => ack.send(&event.arguments),
        _ => {}
    }
}
