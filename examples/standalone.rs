//! A signaling server as a process of its own, configured by the environment.
//!
//! ```text
//! cargo run --release --features metrics --example standalone -- --help
//! ```
//!
//! Besides signaling it answers `/metrics` in the words of Prometheus, `/healthz` while it lives,
//! and `/readyz` while it takes new clients. On SIGTERM it ends all sessions in peace.

use std::error::Error;
use std::fmt::Display;
use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use peer_data_server::{Builder, PeerData, PeerDataLayer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: &str = "3000";
const DEFAULT_GRACE: &str = "10000";

/// Upper bounds of times in seconds: from a heartbeat in one city to a user who looks for the
/// button.
const SECONDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of the members of a room: calls, meetings, audiences.
const MEMBERS: [f64; 9] = [1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1_024.0];

/// How often what was measured is brought together, whether or not anybody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

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
    // Before the server, which finds it there.
    let metrics = record()?;
    let server = Builder::from_env()?.build()?;
    let handle = server.clone();
    let app = Router::new()
        .route("/metrics", get(move || async move { scrape(&metrics) }))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(move || async move { ready(&handle) }))
        .layer(PeerDataLayer::from(server.clone()));

    let listener = TcpListener::bind((host, port))
        .await
        .map_err(|error| format!("cannot listen on {host} port {port}: {error}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("signaling on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        // First signaling, while axum still answers, and then the rest.
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            match server.shutdown(grace).await {
                0 => {}
                open => eprintln!("standalone: {open} still open after {grace:?}"),
            }
        })
        .await?;
    Ok(())
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
        println!("  {name:<30} {meaning} [{default}]");
    };
    line("HOST", DEFAULT_HOST, "the address to listen on");
    line("PORT", DEFAULT_PORT, "the port to listen on");
    line(
        "GRACE_MS",
        DEFAULT_GRACE,
        "how long clients have to go on SIGTERM, in milliseconds",
    );
    for variable in Builder::VARIABLES {
        line(variable.name, variable.default, variable.meaning);
    }
}
