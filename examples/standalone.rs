//! A signaling server as a process of its own, configured by the environment.
//!
//! ```text
//! cargo run --release --example standalone -- --help
//! ```
//!
//! Besides signaling it answers `/healthz` while it lives and `/readyz` while it takes new clients;
//! built with `--features metrics`, also `/metrics` in the words of Prometheus; built with `--features
//! inspector`, and given a `PEER_DATA_INSPECTOR_TOKEN`, a page at `/inspector` that shows what is going
//! on. On SIGTERM it ends all sessions in peace.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
#[cfg(feature = "inspector")]
use axum::extract::Request as Asked;
use axum::http::header::CONTENT_TYPE;
#[cfg(feature = "inspector")]
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{Request, StatusCode};
#[cfg(feature = "inspector")]
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use peer_data_server::{Builder, ClientAddress, PeerData, PeerDataLayer, PeerDataService};
use tikv_jemallocator::Jemalloc;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tower::Layer;
use tower::util::MapRequest;

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: &str = "3000";
const DEFAULT_GRACE: &str = "10000";
/// Clients on long-polling, and proxies, use their connections again within a heartbeat of 25 s.
const DEFAULT_HEAD_TIMEOUT: &str = "30000";

/// What whoever opens the inspector has to show.
const TOKEN: &str = "PEER_DATA_INSPECTOR_TOKEN";

/// Upper bounds of times in seconds: from a heartbeat in one city to a user who looks for the
/// button.
const SECONDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of the members of a room: calls, meetings, audiences.
const MEMBERS: [f64; 9] = [1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1_024.0];

/// How long no connection is accepted after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often what was measured is brought together, whether or not anybody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// Gives memory back when clients have gone: many allocators keep what a process had at its busiest.
/// It does so soon, as `.cargo/config.toml` says when this is built.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        if matches!(&*argument, "--help" | "-h") {
            help();
            return ExitCode::SUCCESS;
        }
        eprintln!("standalone: unknown argument {argument}; see --help");
        return ExitCode::from(2);
    }
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("standalone: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let host: IpAddr = variable("HOST", DEFAULT_HOST)?;
    let port: u16 = variable("PORT", DEFAULT_PORT)?;
    let grace = Duration::from_millis(variable("GRACE_MS", DEFAULT_GRACE)?);
    let patience = variable("HEAD_TIMEOUT_MS", DEFAULT_HEAD_TIMEOUT)?;
    let http = http(Duration::from_millis(patience));
    log();
    doubt();
    // Before the server, which finds it there.
    let metrics = record()?;
    let server = Builder::from_env()?.build()?;
    let handle = server.clone();
    let mut app = Router::new();
    if cfg!(feature = "metrics") {
        app = app.route("/metrics", get(move || async move { scrape(&metrics) }));
    }
    let pages = inspect(app, &server)?
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(move || async move { ready(&handle) }));
    // Around the router and not within: a router boxes what it serves, for as long as a poll waits.
    let app = PeerDataLayer::from(server.clone()).layer(pages);

    // Before anybody can connect, and then end it.
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = listen((host, port).into())
        .map_err(|error| format!("cannot listen on {host} port {port}: {error}"))?;
    println!("signaling on http://{}", listener.local_addr()?);
    let mut ending = pin!(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        // First signaling, while requests are still answered, and then the rest.
        match server.shutdown(grace).await {
            0 => {}
            open => eprintln!("standalone: {open} still open after {grace:?}"),
        }
    });
    let (end, connections) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ending => break,
        };
        match accepted {
            Ok(accepted) => {
                let (app, connections) = (app.clone(), connections.clone());
                tokio::spawn(serve_connection(http.clone(), accepted, app, connections));
            }
            Err(error) => {
                // A connection that is gone already, or too many open files: both pass.
                eprintln!("standalone: accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(connections);
    end.send_replace(());
    // The last polls are being answered. Whoever takes longer is cut.
    let _ = tokio::time::timeout(grace, end.closed()).await;
    Ok(())
}

/// How connections are served. `axum::serve` would wait for the head of a request for ever, and needs
/// twice the memory to read it: it looks first whether it is HTTP/2. Without TLS no browser speaks that.
fn http(patience: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience);
    http
}

/// Serves one connection until it ends, or until it has nothing more to answer and the server ends.
async fn serve_connection(
    http: http1::Builder,
    (stream, address): (TcpStream, SocketAddr),
    app: PeerDataService<Router>,
    mut ending: watch::Receiver<()>,
) {
    let app = MapRequest::new(app, move |mut request: Request<Incoming>| {
        // Limits that count by address go by that.
        request.extensions_mut().insert(ClientAddress(address));
        request.map(Body::new)
    });
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection.with_upgrades());
    // A client that breaks off is no error of ours, and its session has heard of it.
    tokio::select! {
        _ = &mut connection => return,
        _ = ending.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Tells what becomes of sessions, if somebody has said by `RUST_LOG` how much of it.
fn log() {
    #[cfg(feature = "tracing")]
    if std::env::var_os("RUST_LOG").is_some() {
        use tracing_subscriber::layer::SubscriberExt;
        use tracing_subscriber::util::SubscriberInitExt;

        let filter = std::env::var("RUST_LOG").unwrap_or_default();
        match filter.parse::<tracing_subscriber::filter::Targets>() {
            Ok(targets) => {
                let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
                tracing_subscriber::registry()
                    .with(lines.with_ansi(false))
                    .with(targets)
                    .init();
            }
            Err(error) => eprintln!("standalone: RUST_LOG: {filter:?}: {error}"),
        }
    }
}

/// Says which variables look like the server's and are none: a limit whose name is misspelt would not
/// be missed. They are no error, since Kubernetes gives every service such names.
fn doubt() {
    let known = |name: &str| {
        let mut variables = Builder::VARIABLES.iter();
        name == TOKEN || variables.any(|variable| variable.name == name)
    };
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("PEER_DATA_") && !known(&name) {
            eprintln!("standalone: {name} is no variable of this server; see --help");
        }
    }
}

/// Connections that may wait to be accepted. When many clients come back at once, the usual 128 are
/// soon too few, and whoever finds no place tries again only after a second.
const BACKLOG: u32 = 4_096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that is started anew need not wait until the connections of the last are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Has everything recorded that is measured in this process from now on.
fn record() -> Result<PrometheusHandle, Box<dyn Error>> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("peer_data_room_size".into()), &MEMBERS)?
        .install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// The page for whoever knows the token; nothing, if there is none.
#[cfg(feature = "inspector")]
fn inspect(app: Router, server: &PeerData) -> Result<Router, String> {
    let token: String = variable(TOKEN, "")?;
    if token.is_empty() {
        return Ok(app);
    }
    let inspector = Router::new()
        .fallback_service(peer_data_server::Inspector::new(server))
        .layer(from_fn(move |request: Asked, next: Next| {
            // The page itself is no secret: it asks for the token.
            let may = matches!(request.uri().path(), "" | "/") || shows(&request, &token);
            async move {
                if may {
                    return next.run(request).await;
                }
                (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response()
            }
        }));
    Ok(app.nest_service("/inspector", inspector))
}

/// Whether a request has the token, in a time that does not tell how much of it is right.
#[cfg(feature = "inspector")]
fn shows(request: &Asked, token: &str) -> bool {
    let shown = request.headers().get(AUTHORIZATION);
    let shown = shown.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    shown.is_some_and(|shown| {
        let pairs = shown.iter().zip(token.as_bytes());
        shown.len() == token.len() && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    })
}

#[cfg(not(feature = "inspector"))]
fn inspect(app: Router, _server: &PeerData) -> Result<Router, String> {
    let token: String = variable(TOKEN, "")?;
    if token.is_empty() {
        return Ok(app);
    }
    let problem = "this program was built without the feature inspector";
    Err(format!("{TOKEN}: {problem}"))
}

/// What Prometheus asks for.
fn scrape(metrics: &PrometheusHandle) -> impl IntoResponse + use<> {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], metrics.render())
}

/// What load balancers ask: whether to send new clients here.
fn ready(server: &PeerData) -> (StatusCode, &'static str) {
    if server.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// A variable of this program's own; empty counts as unset, as it does for the server's.
fn variable<T>(name: &str, default: &str) -> Result<T, String>
where
    T: FromStr<Err: Display>,
{
    let value = match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => default.to_owned(),
    };
    value
        .parse()
        .map_err(|error| format!("{name}: {value:?}: {error}"))
}

fn help() {
    println!("A WebRTC signaling server. It takes no arguments, but reads the environment:\n");
    let line = |name: &str, default: &str, meaning: &str| {
        let default = match default {
            "" => "none",
            default => default,
        };
        println!("  {name:<36} {meaning} [{default}]");
    };
    line("HOST", DEFAULT_HOST, "the address to listen on");
    line("PORT", DEFAULT_PORT, "the port to listen on");
    line(
        "GRACE_MS",
        DEFAULT_GRACE,
        "how long clients have to go on SIGTERM, in milliseconds",
    );
    line(
        "HEAD_TIMEOUT_MS",
        DEFAULT_HEAD_TIMEOUT,
        "how long the head of a request may take, in milliseconds",
    );
    if cfg!(feature = "tracing") {
        line("RUST_LOG", "", "what to log of sessions, such as info");
    }
    line(TOKEN, "", "opens /inspector to whoever shows it");
    for variable in Builder::VARIABLES {
        line(variable.name, variable.default, variable.meaning);
    }
}
