//! Signaling for users who have logged in: a token, an identity, rooms by invitation.
//!
//! ```text
//! AUTH_SECRET=$(openssl rand -hex 32) cargo run --features axum --example auth
//! ```
//!
//! opens a page on <http://localhost:3000>. It logs in with a name (`POST /login`, where a real
//! application would ask for a password), gets a JSON Web Token that lasts ten minutes, and connects
//! with it. The server knows from the token who speaks, whatever he says himself, and which rooms he
//! may enter; what it refuses, the page shows.
//!
//! A token can come by any wire, as the docs of `policy::BearerToken` say: from a page over plain
//! JSON as a subprotocol, from socket.io-client 3 and 4 by `auth: {token}`, from `peer-data` and
//! socket.io-client 2 by `?token=…`, from programs as a header.
//!
//! `PORT` (default 3000) and `HOST` (default 127.0.0.1) say where; without `AUTH_SECRET` the tokens are
//! good until the server ends. Other settings are read from `PEER_DATA_*` variables.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use peer_data_server::policy::BearerToken;
use peer_data_server::{
    Builder, Hello, Identity, Peer, PeerData, PeerDataLayer, Refused, RoomId, Signal,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Who somebody is: what the token says, and what the server goes by while he is connected.
#[derive(Serialize, Deserialize)]
struct User {
    /// The name that he logged in with.
    sub: String,
    /// Everybody may enter the lobby; this room is by invitation.
    invited: Option<String>,
    /// When the token ends, in seconds since 1970.
    exp: u64,
}

struct Keys {
    signs: EncodingKey,
    verifies: DecodingKey,
}

impl Keys {
    fn of(secret: &[u8]) -> Self {
        Self {
            signs: EncodingKey::from_secret(secret),
            verifies: DecodingKey::from_secret(secret),
        }
    }

    fn token(&self, user: &User) -> Result<String, jsonwebtoken::errors::Error> {
        encode(&Header::default(), user, &self.signs)
    }

    /// Whose token that is, if it is a good one: signed with our secret, by the method that we sign
    /// with, and not expired.
    fn user(&self, token: &str) -> Result<User, Refused> {
        let good = decode(token, &self.verifies, &Validation::default());
        good.map(|token| token.claims)
            // Why not, is nobody's business.
            .map_err(|_| Refused::unauthorized("log in first: that token is not valid"))
    }
}

fn server(keys: Arc<Keys>) -> Result<PeerData, peer_data_server::Error> {
    Builder::from_env()?
        .policy(BearerToken::new(move |token: String| {
            let user = keys.user(&token).map(Identity::new);
            async move { user }
        }))
        .admit(|peer: &Peer, room: &RoomId| {
            let user = peer.identity::<User>();
            let invited = user.and_then(|user| user.invited.clone());
            let may = room.as_str() == "lobby" || invited.as_deref() == Some(room.as_str());
            async move {
                if may {
                    Ok(())
                } else {
                    Err(Refused::forbidden("you are not invited to that room"))
                }
            }
        })
        .on_connect(|peer: &Peer, _: &Hello<'_>| {
            if let Some(user) = peer.identity::<User>()
                && let Ok(welcome) = Signal::new("WELCOME", None, &user.sub)
            {
                peer.send(&welcome);
            }
        })
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = Arc::new(match std::env::var("AUTH_SECRET") {
        Ok(secret) if secret.len() >= 32 => Keys::of(secret.as_bytes()),
        Ok(_) => return Err("AUTH_SECRET should have 32 characters at least".into()),
        Err(_) => {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret)?;
            Keys::of(&secret)
        }
    });
    let signaling = server(Arc::clone(&keys))?;
    let login = move |form: String| {
        let answer = log_in(&keys, &form);
        async move { answer }
    };
    let app = Router::new()
        .route("/", get(Html(include_str!("auth.html"))))
        .route("/login", post(login))
        .layer(PeerDataLayer::from(signaling))
        .into_make_service_with_connect_info::<SocketAddr>();

    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = TcpListener::bind((host.as_str(), port.parse()?)).await?;
    println!("open http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Anybody gets a token for the name that he gives: here a real application would check more.
fn log_in(keys: &Keys, form: &str) -> Result<String, StatusCode> {
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(form.as_bytes());
        let value = fields.find(|(field, _)| field == name)?.1;
        (!value.is_empty() && value.len() <= 60).then(|| value.into_owned())
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let user = User {
        sub: field("name").ok_or(StatusCode::BAD_REQUEST)?,
        invited: field("invited"),
        exp: (now + LIFETIME).as_secs(),
    };
    keys.token(&user)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
