//! Events of the application's own, beside signaling: what the Node package's
//! `callback(socket, event)` is for, and any other event of Socket.IO.
//!
//! ```text
//! cargo run --features axum --example custom_events
//! ```
//!
//! Types that the protocol does not know (`socket.emit("message", {type: "SHOUT", …})`):
//!
//! - `SHOUT` is relayed to its room, as every such type is without a hook;
//! - `WHOAMI` is answered to its sender alone;
//! - `ANNOUNCE` goes to every room that its sender is in, not only to the one that it names;
//! - `NOTE` is dropped, and printed; all else is refused.
//!
//! Other events (`socket.emit("sum", 1, 2, (sum) => …)`): `sum` is answered by its ack, `hello` by an
//! event `welcome`.
//!
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where; the server's settings are read from
//! `PEER_DATA_*` variables.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use peer_data_server::{
    AppEvent, Arguments, Builder, Code, CustomEvent, Peer, PeerDataLayer, RoomId, Signal, Verdict,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Builder::from_env()?
        .on_custom(|peer, event| {
            custom(peer, event).unwrap_or_else(|error| {
                eprintln!("{}: {error}", event.kind);
                Verdict::Refuse(Code::Refused)
            })
        })
        .on_event(|peer, event| {
            if let Err(error) = other(peer, event) {
                eprintln!("{}: {error}", peer.id());
            }
        })
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
    println!("signaling on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Decides on a `message` whose type is the application's own.
fn custom(peer: &Peer, event: &CustomEvent<'_>) -> Result<Verdict, Box<dyn Error>> {
    match event.kind {
        "SHOUT" => return Ok(Verdict::Relay),
        "WHOAMI" => {
            let room = RoomId::new(event.room)?;
            let rooms: Vec<_> = peer.rooms().iter().map(ToString::to_string).collect();
            peer.send(&Signal::new("YOU_ARE", Some(&room), &(peer.id(), rooms))?);
        }
        "ANNOUNCE" => {
            for room in peer.rooms() {
                peer.to_room(&room, event.signal);
            }
        }
        "NOTE" => println!("{} notes: {}", peer.id(), event.signal.payload::<String>()?),
        _ => return Ok(Verdict::Refuse(Code::Refused)),
    }
    Ok(Verdict::Drop)
}

/// Hears an event that is no `message`.
fn other(peer: &Peer, event: AppEvent<'_>) -> Result<(), Box<dyn Error>> {
    match (event.name, event.ack) {
        ("sum", Some(ack)) => {
            let numbers: Vec<f64> = event.arguments.read()?;
            ack.send(&Arguments::new(&[numbers.iter().sum::<f64>()])?);
        }
        ("hello", _) => {
            let welcome = Arguments::new(&("welcome to you", peer.id()))?;
            peer.send(&Signal::event("welcome", &welcome)?);
        }
        _ => {}
    }
    Ok(())
}
