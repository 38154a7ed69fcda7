//! Signaling over TLS, by HTTP/1.1 and HTTP/2, with the chat page beside it.
//!
//! ```text
//! cargo run --release --example tls
//! ```
//!
//! Then open <https://localhost:3000/#lobby> in two windows, and let the browser trust the
//! certificate: without `TLS_CERT` and `TLS_KEY`, which name PEM files, it is made at the start.
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where to listen.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use peer_data_server::{Builder, ClientAddress, PeerDataLayer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower::Service;

/// How long a client may take to agree on keys.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before accepting again after that has failed, as it does without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let layer = PeerDataLayer::from(Builder::from_env()?.build()?);
    let app = Router::new()
        .route("/", get(Html(include_str!("chat.html"))))
        .layer(layer);
    let acceptor = acceptor()?;

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 3000,
    };
    let listener = TcpListener::bind((host.as_str(), port)).await?;
    println!("listening on https://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = serve(listener, acceptor, app) => {}
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Accepts connections, each of which has a task of its own from the first byte on: a client that
/// is slow to shake hands keeps nobody waiting.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor, app: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let connection = connection(stream, address, acceptor.clone(), app.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        eprintln!("{address}: {error}");
                    }
                });
            }
            Err(error) => {
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    app: Router,
) -> Result<(), Failure> {
    // Signals are small and come one by one.
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientAddress(address));
        app.clone().call(request)
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    // Without a timer, hyper waits for headers as long as it takes.
    server.http1().timer(TokioTimer::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol();
    server
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
}

fn acceptor() -> Result<TlsAcceptor, Failure> {
    let (chain, key) = identity()?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificate with its chain, and its key.
fn identity() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let (cert, key) = (std::env::var("TLS_CERT"), std::env::var("TLS_KEY"));
    if let (Ok(cert), Ok(key)) = (&cert, &key) {
        let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
        return Ok((chain, PrivateKeyDer::from_pem_file(key)?));
    }
    if cert.is_ok() || key.is_ok() {
        return Err("TLS_CERT and TLS_KEY go together".into());
    }
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
    Ok((vec![own.cert.into()], key))
}
