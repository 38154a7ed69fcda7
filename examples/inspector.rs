//! A page that shows what is going on, for whoever has the token.
//!
//! ```text
//! INSPECTOR_TOKEN=sesame cargo run --features inspector --example inspector
//! ```
//!
//! Open `/inspector` and show the token. `PORT` (default 3000) says where.

use std::error::Error;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, Response};
use axum::routing::get;
use peer_data_server::{Inspector, PeerData, PeerDataLayer};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let token = std::env::var("INSPECTOR_TOKEN").map_err(|_| "INSPECTOR_TOKEN is not set")?;
    let server = PeerData::new();
    let inspector = Router::new()
        .fallback_service(Inspector::new(&server))
        .layer(from_fn_with_state(token, operators_only));
    let app = Router::new()
        .route("/", get(Html(include_str!("chat.html"))))
        .nest_service("/inspector", inspector)
        .layer(PeerDataLayer::from(server));

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("signaling on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// The page itself holds nothing, and asks for the token when it is refused all else.
async fn operators_only(
    State(token): State<String>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let shown = request.headers().get(AUTHORIZATION);
    let shown = shown.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let known = shown.is_some_and(|shown| is_same(shown, token.as_bytes()));
    if known || matches!(request.uri().path(), "" | "/") {
        Ok(next.run(request).await)
    } else {
        Err(StatusCode::UNAUTHORIZED)
    }
}

/// In a time that does not tell how much of it is right.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    let pairs = shown.iter().zip(token);
    shown.len() == token.len() && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
