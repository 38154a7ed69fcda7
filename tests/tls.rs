//! The example `tls`, run as it is, with real clients of both versions of HTTP.

#![cfg(feature = "tower")]

mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Program, event, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The example with a certificate of the test's own, and what trusts it.
struct Site {
    program: Program,
    certificate: CertificateDer<'static>,
}

impl Site {
    async fn start(name: &str) -> Self {
        Self::set(name, &[]).await
    }

    async fn set(name: &str, settings: &[(&str, &str)]) -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let own = own.expect("a certificate");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("cert.pem"), own.cert.pem()).expect("a certificate");
        fs::write(folder.join("key.pem"), own.signing_key.serialize_pem()).expect("a key");
        let files = [("TLS_CERT", "cert.pem"), ("TLS_KEY", "key.pem")];
        let variables = [&files, settings].concat();
        Self {
            program: Program::start("tls", &folder, &variables).await,
            certificate: own.cert.into(),
        }
    }

    async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        let stream = connect(&self.program, roots, protocol).await;
        let stream = stream.expect("a trusted server");
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed, Some(protocol.as_bytes()));
        stream
    }
}

async fn connect(
    program: &Program,
    roots: RootCertStore,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(program.address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    within("a handshake", connector.connect(name, stream)).await
}

fn get(target: &str) -> http::request::Builder {
    Request::get(format!("https://localhost{target}")).header("host", "localhost")
}

async fn text(response: http::Response<Incoming>) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let body = within("a body", response.into_body().collect()).await;
    let body = body.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

/// Enters a room over a websocket that has just been opened, and hears of itself no more than an
/// error would tell: then it hangs up.
async fn speaks_json<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let ready = within("a greeting", socket.next()).await;
    let ready = ready.expect("a message").expect("a message");
    assert!(ready.into_text().expect("text").contains("READY"));
    let stranger = event("HELLO", "nowhere", 1).to_string();
    socket.send(Message::text(stranger)).await.expect("sent");
    let error = within("an error", socket.next()).await;
    let error = error.expect("a message").expect("a message");
    assert!(error.into_text().expect("text").contains("not_in_room"));
    socket.close(None).await.expect("closed");
}

#[tokio::test]
async fn http1_is_served() {
    let site = Site::start("tls_http1").await;
    let stream = TokioIo::new(site.connect("http/1.1").await);
    let (mut requests, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .expect("a connection");
    tokio::spawn(async move { drop(connection.await) });
    for (target, part) in [
        ("/", "<html"),
        (
            "/socket.io/?EIO=4&transport=polling",
            "\"upgrades\":[\"websocket\"]",
        ),
    ] {
        let request = get(target).body(Full::<Bytes>::default());
        let answer = requests.send_request(request.expect("a request")).await;
        let answer = text(answer.expect("an answer")).await;
        assert!(answer.contains(part), "{answer}");
    }
    let stream = site.connect("http/1.1").await;
    let (socket, _) = client_async("wss://localhost/peer-data", stream)
        .await
        .expect("a websocket");
    speaks_json(socket).await;
    site.program.stop().await;
}

#[tokio::test]
async fn http2_is_served_with_websockets() {
    let site = Site::start("tls_http2").await;
    let stream = TokioIo::new(site.connect("h2").await);
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .expect("a connection");
    tokio::spawn(async move { drop(connection.await) });
    for (target, part) in [
        ("/", "<html"),
        (
            "/socket.io/?EIO=4&transport=polling",
            "\"upgrades\":[\"websocket\"]",
        ),
    ] {
        let request = get(target).body(Full::<Bytes>::default());
        let answer = requests.send_request(request.expect("a request")).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.version(), Version::HTTP_2);
        let answer = text(answer).await;
        assert!(answer.contains(part), "{answer}");
    }
    let request = get("/peer-data")
        .method(Method::CONNECT)
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(Full::default());
    let answer = requests.send_request(request.expect("a request")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let stream = hyper::upgrade::on(answer).await.expect("a stream");
    let stream = TokioIo::new(stream);
    speaks_json(WebSocketStream::from_raw_socket(stream, Role::Client, None).await).await;
    site.program.stop().await;
}

#[tokio::test]
async fn clients_addresses_are_known() {
    let one = [("PEER_DATA_MAX_SESSIONS_PER_ADDRESS", "1")];
    let site = Site::set("tls_addresses", &one).await;
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let stream = TokioIo::new(site.connect("http/1.1").await);
        let (mut requests, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("a connection");
        tokio::spawn(async move { drop(connection.await) });
        let request = get("/socket.io/?EIO=4&transport=polling").body(Full::<Bytes>::default());
        let answer = requests.send_request(request.expect("a request")).await;
        assert_eq!(answer.expect("an answer").status(), status);
    }
    site.program.stop().await;
}

#[tokio::test]
async fn a_slow_or_broken_handshake_delays_nobody() {
    let site = Site::start("tls_slow").await;
    let address = site.program.address;
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(TcpStream::connect(address).await.expect("a connection"));
    }
    let mut broken = TcpStream::connect(address).await.expect("a connection");
    broken
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    // Told off, and hung up on.
    let mut alert = Vec::new();
    let _ = within("the end", broken.read_to_end(&mut alert)).await;
    // The slow ones are still there when another is served.
    site.connect("h2").await;
    for stream in &mut slow {
        stream.write_all(&[22, 3, 1]).await.expect("still open");
    }
    site.program.stop().await;
}

#[tokio::test]
async fn without_a_certificate_it_makes_its_own() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = Program::start("tls", folder, &[]).await;
    assert_eq!(program.address.ip(), Ipv4Addr::LOCALHOST);
    // Which nobody trusts who does not know it.
    let stranger = connect(&program, RootCertStore::empty(), "h2").await;
    let error = stranger.expect_err("an unknown issuer").to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    program.stop().await;
}
