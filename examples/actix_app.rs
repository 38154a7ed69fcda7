//! Signaling beside the routes of an actix-web application, on the same port.
//!
//! ```text
//! cargo run --release --features actix --example actix_app
//! ```
//!
//! `HOST` (default 127.0.0.1) and `PORT` (default 3000) say where; the server's settings are read
//! from `PEER_DATA_*` variables.

use std::error::Error;

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
        // Websockets do not end by themselves when the process is asked to.
        .shutdown_timeout(2)
        .bind((host, port))?;
    for address in http.addrs() {
        println!("signaling on http://{address}");
    }
    http.run().await?;
    Ok(())
}
