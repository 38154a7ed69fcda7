//! Signaling beside the routes of an actix-web application, on the same port.
//!
//! ```text
//! cargo run --release --features actix --example actix_app
//! ```
//!
//! `HOST` (default 127.0.0.1) and `PORT` (default 3000) say where; the server's settings are read
//! from `PEER_DATA_*` variables.

use std::error::Error;
use std::time::Duration;

use actix_web::rt::signal::ctrl_c;
use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::{App, HttpServer, Responder, get};
use peer_data_server::{Builder, actix};

#[get("/")]
async fn hello() -> impl Responder {
    "Hello! Signaling is at /socket.io and /peer-data, unless the environment says otherwise.\n"
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 3000,
    };
    // Made once: all workers share its rooms.
    let server = Builder::from_env()?.build()?;
    let ending = server.clone();
    let application = move || {
        App::new()
            .configure(actix::mount(server.clone()))
            .service(hello)
    };
    let http = HttpServer::new(application)
        // Signals are small and come one by one: none is to wait for the next.
        .tcp_nodelay(true)
        // A client that hangs up while its poll waits is noticed at once.
        .h1_allow_half_closed(false)
        // Signaling ends first, so actix must not end by itself.
        .disable_signals()
        // For the last words, and for clients to hang up.
        .shutdown_timeout(2)
        .bind((host, port))?;
    for address in http.addrs() {
        println!("signaling on http://{address}");
    }
    let http = http.run();
    let handle = http.handle();
    actix_web::rt::spawn(async move {
        asked_to_end().await;
        // While actix still answers: who comes now is told to come again.
        ending.shutdown(Duration::from_secs(10)).await;
        handle.stop(true).await;
    });
    http.await?;
    Ok(())
}

/// Returns when a service manager, or somebody at the keyboard, wants the program to end.
async fn asked_to_end() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = ctrl_c() => {}
    }
}
