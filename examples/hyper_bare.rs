//! Signaling beside a handler of your own on bare hyper, without a framework.
//!
//! ```text
//! cargo run --release --example hyper_bare
//! ```
//!
//! `HOST` (default 127.0.0.1) and `PORT` (default 3000) say where; the server's settings are read
//! from `PEER_DATA_*` variables.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use http_body_util::Either;
use hyper::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use peer_data_server::{Builder, ClientAddress, PeerDataService};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let signaling = PeerDataService::new(Builder::from_env()?.build()?);

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".into());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind((&*host, port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    let connections = GracefulShutdown::new();
    // First signaling ends, while new connections are still taken: who comes now is told to come
    // again.
    let server = signaling.server().clone();
    let mut ending = pin!(async {
        asked_to_end().await;
        server.shutdown(Duration::from_secs(10)).await;
    });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ending => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A connection that is gone already, or too many open files: both pass.
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let signaling = signaling.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let mut signaling = signaling.clone();
            // Limits by address and trusted proxies go by that.
            request.extensions_mut().insert(ClientAddress(address));
            async move {
                match request.uri().path() {
                    "/" => Ok(Response::new(Either::Left("hello".to_owned()))),
                    // Signaling, and 404 for the rest.
                    _ => signaling
                        .call(request)
                        .await
                        .map(|answer| answer.map(Either::Right)),
                }
            }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let connection = connections.watch(connection);
        // A client that breaks off is no error of ours, and its session has heard of it.
        tokio::spawn(async move { drop(connection.await) });
    }
    // Then what is still being answered, such as the last polls.
    connections.shutdown().await;
    Ok(())
}

/// Returns when a service manager, or somebody at the keyboard, wants the program to end.
async fn asked_to_end() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
