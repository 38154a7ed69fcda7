//! A signaling server as a process of its own, configured by the environment.
//!
//! ```text
//! cargo run --release --example standalone -- --help
//! ```

use std::error::Error;
use std::fmt::Display;
use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;

use axum::Router;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: &str = "3000";

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
    let server = Builder::from_env()?.build()?;
    let app = Router::new().layer(PeerDataLayer::from(server.clone()));

    let listener = TcpListener::bind((host, port))
        .await
        .map_err(|error| format!("cannot listen on {host} port {port}: {error}"))?;
    println!("signaling on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, app).into_future() => served?,
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    // Other nodes need not wait for this one, if there are any.
    server.leave_cluster().await;
    Ok(())
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
    for variable in Builder::VARIABLES {
        line(variable.name, variable.default, variable.meaning);
    }
}
