//! A node that speaks to others as the next version would, to try how they take it. Configured as
//! `standalone` is, and `EDITION` says what it is of and the oldest that can read it: `2,1`.

use std::error::Error;

use axum::Router;
use peer_data_server::{Builder, PeerDataLayer};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let edition = std::env::var("EDITION")?;
    let (written, readable) = edition.split_once(',').ok_or("EDITION is two numbers")?;
    let server = Builder::from_env()?
        .cluster_edition(written.parse()?, readable.parse()?)
        .build()?;
    let app = Router::new().layer(PeerDataLayer::from(server));
    let port = std::env::var("PORT")?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
