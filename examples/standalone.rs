//! A signaling server as a process of its own, configured by the environment.
//!
//! ```text
//! cargo run --release --example standalone -- --help
//! ```

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

use axum::Router;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::{TcpListener, TcpSocket};
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
    let layer = PeerDataLayer::from(Builder::from_env()?.build()?);
    let app = Router::new().layer(layer);

    let listener = listen((host, port).into())
        .map_err(|error| format!("cannot listen on {host} port {port}: {error}"))?;
    println!("signaling on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, app).into_future() => served?,
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
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
