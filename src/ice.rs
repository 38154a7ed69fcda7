//! The STUN and TURN servers that peers are told of, and credentials for them that end by
//! themselves.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha1::Sha1;

use crate::error::Error;
use crate::sync::lock;

/// How long time-limited credentials are good for.
///
/// Enough to begin a call; who already uses a relay keeps it when they end, since TURN asks for them
/// only when an allocation is made or refreshed, and peers are given new ones in time.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// A shorter life would mostly be over before a call begins.
const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// Whoever gets hold of longer-lived credentials has a relay for days.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The STUN and TURN servers that peers are told of: see
/// [`Builder::ice_servers`](crate::Builder::ice_servers).
///
/// ```
/// use peer_data_server::{IceServers, PeerData, TurnSecret};
///
/// let secret = TurnSecret::new("what coturn has as static-auth-secret");
/// let server = PeerData::builder()
///     .ice_servers(
///         IceServers::new()
///             .stun(["stun:turn.example.org"])
///             .turn(["turn:turn.example.org", "turns:turn.example.org:5349?transport=tcp"], &secret),
///     )
///     .build()?;
/// # Ok::<(), peer_data_server::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "these are told to nobody until a builder has them"]
pub struct IceServers {
    entries: Vec<Entry>,
    lifetime: Duration,
}

#[derive(Clone, Debug)]
struct Entry {
    urls: Vec<String>,
    access: Access,
}

#[derive(Clone)]
enum Access {
    Open,
    Fixed {
        username: String,
        credential: String,
    },
    Timed(TurnSecret),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Fixed { .. } => "Fixed",
            Self::Timed(_) => "Timed",
        })
    }
}

/// An `RTCIceServer` (W3C WebRTC 1.0, 4.2.4).
#[derive(Serialize)]
struct IceServer<'a> {
    urls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

/// The secret that this server shares with a TURN server, coturn's `static-auth-secret`.
///
/// Clones share it, so that it can be [changed](Self::rotate) while the server runs. Its `Debug` form
/// does not show it.
#[derive(Clone)]
pub struct TurnSecret(Arc<Mutex<String>>);

impl TurnSecret {
    /// A secret as the TURN server has it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(secret.into())))
    }

    /// Signs with another secret from here on. What was handed out stays good for as long as the TURN
    /// server takes the old one too: coturn takes several at a time, so first tell it the new one,
    /// then this, and a lifetime later take the old one from it.
    ///
    /// ```
    /// use peer_data_server::TurnSecret;
    ///
    /// let secret = TurnSecret::new("of this year");
    /// secret.rotate("of the next");
    /// ```
    pub fn rotate(&self, secret: impl Into<String>) {
        *lock(&self.0) = secret.into();
    }

    /// What the TURN server expects of that user.
    fn sign(&self, username: &str) -> String {
        // A key of any length is one (RFC 2104, 3).
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(lock(&self.0).as_bytes()) else {
            return String::new();
        };
        mac.update(username.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for TurnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnSecret(..)")
    }
}

impl IceServers {
    /// None yet.
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            lifetime: LIFETIME,
        }
    }

    /// Adds a server that asks for nothing, under one or more URLs: `stun:host`, `stun:host:port`.
    pub fn stun<U: Into<String>>(self, urls: impl IntoIterator<Item = U>) -> Self {
        self.with(urls, Access::Open)
    }

    /// Adds a TURN server that takes time-limited credentials, as coturn does with `use-auth-secret`:
    /// the user name is the second at which they end, a colon, and the peer's id; the password is the
    /// base64 of the HMAC-SHA1 of that with the secret as key (draft-uberti-behave-turn-rest-00).
    pub fn turn<U: Into<String>>(
        self,
        urls: impl IntoIterator<Item = U>,
        secret: &TurnSecret,
    ) -> Self {
        self.with(urls, Access::Timed(secret.clone()))
    }

    /// Adds a TURN server with one user name and password for all. Whoever has been a peer once can
    /// use it from then on; [`turn`](Self::turn) is better where the server can do it.
    pub fn turn_with_password<U: Into<String>>(
        self,
        urls: impl IntoIterator<Item = U>,
        username: impl Into<String>,
        credential: impl Into<String>,
    ) -> Self {
        let (username, credential) = (username.into(), credential.into());
        self.with(
            urls,
            Access::Fixed {
                username,
                credential,
            },
        )
    }

    /// How long time-limited credentials are good for: 5 minutes by default, from 1 minute to a day.
    /// Peers are given new ones when half of that is over.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn with<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>, access: Access) -> Self {
        let urls = urls.into_iter().map(Into::into).collect();
        self.entries.push(Entry { urls, access });
        self
    }

    /// Whether browsers take it: they throw at what is no URL of a STUN or TURN server.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = |problem: String| Err(Error::new("ice_servers", problem));
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&self.lifetime) {
            let seconds = self.lifetime.as_secs();
            return problem(format!(
                "a lifetime of {seconds} s is not 1 minute to a day"
            ));
        }
        for entry in &self.entries {
            let schemes: &[&str] = match entry.access {
                Access::Open => &["stun:", "stuns:"],
                Access::Fixed { .. } | Access::Timed(_) => &["turn:", "turns:"],
            };
            let fits = |url: &String| {
                let host = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
                host.is_some_and(|host| !host.is_empty() && !host.contains(char::is_whitespace))
            };
            if let Some(url) = entry.urls.iter().find(|url| !fits(url)) {
                return problem(format!(
                    "{url:?} does not begin with {}",
                    schemes.join(" or ")
                ));
            }
            if entry.urls.is_empty() {
                return problem("a server has no URL".to_owned());
            }
            if let Access::Timed(secret) = &entry.access
                && lock(&secret.0).is_empty()
            {
                return problem("a secret is empty".to_owned());
            }
        }
        Ok(())
    }

    /// After how long a peer needs new ones; never, if none of them end.
    pub(crate) fn refresh_after(&self) -> Option<Duration> {
        let mut entries = self.entries.iter();
        let ends = entries.any(|entry| matches!(entry.access, Access::Timed(_)));
        ends.then_some(self.lifetime / 2)
    }

    /// All of them for that user, as the JSON array that `RTCPeerConnection` takes as `iceServers`.
    pub(crate) fn mint(&self, user: &str, now: SystemTime) -> String {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = now.saturating_add(self.lifetime).as_secs();
        let timed = format!("{end}:{user}");
        let mut json = String::from("[");
        for (nth, Entry { urls, access }) in self.entries.iter().enumerate() {
            let signed;
            let (username, credential) = match access {
                Access::Open => (None, None),
                Access::Fixed {
                    username,
                    credential,
                } => (Some(username.as_str()), Some(credential.as_str())),
                Access::Timed(secret) => {
                    signed = secret.sign(&timed);
                    (Some(timed.as_str()), Some(signed.as_str()))
                }
            };
            if nth > 0 {
                json.push(',');
            }
            // Strings alone: this cannot fail.
            json += &serde_json::to_string(&IceServer {
                urls,
                username,
                credential,
            })
            .unwrap_or_default();
        }
        json.push(']');
        json
    }
}

impl Default for IceServers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn minted(servers: &IceServers) -> Value {
        serde_json::from_str(&servers.mint("ann", UNIX_EPOCH + NOW)).unwrap()
    }

    #[test]
    fn credentials_are_what_openssl_signs() {
        // printf '1700000300:ann' | openssl dgst -sha1 -hmac north -binary | base64
        let secret = TurnSecret::new("north");
        let servers = IceServers::new().turn(["turn:turn.test"], &secret);
        assert_eq!(
            minted(&servers),
            json!([{
                "urls": ["turn:turn.test"],
                "username": "1700000300:ann",
                "credential": "LNLZp7pBH06UI6r06K6pl9ucWEU=",
            }])
        );
        secret.rotate("south");
        assert_eq!(
            minted(&servers)[0]["credential"],
            "JPIuTlnUxfu1ipFEr1a+PG+EY28="
        );
    }

    #[test]
    fn each_server_is_there_with_what_it_asks_for() {
        let servers = IceServers::new()
            .stun(["stun:a.test", "stun:b.test:3478"])
            .turn_with_password(["turns:c.test"], "guest", "\"quoted\"");
        assert_eq!(
            minted(&servers),
            json!([
                {"urls": ["stun:a.test", "stun:b.test:3478"]},
                {"urls": ["turns:c.test"], "username": "guest", "credential": "\"quoted\""},
            ])
        );
        assert_eq!(servers.refresh_after(), None, "nothing of it ends");
        assert_eq!(minted(&IceServers::new()), json!([]));
    }

    #[test]
    fn what_browsers_would_throw_at_is_refused() {
        let secret = TurnSecret::new("s");
        let none = [""; 0];
        for servers in [
            IceServers::new().stun(["turn:a.test"]),
            IceServers::new().stun(["stun:"]),
            IceServers::new().stun(["stun:a.test b.test"]),
            IceServers::new().stun(none),
            IceServers::new().turn(["stun:a.test"], &secret),
            IceServers::new().turn(["turn:a.test"], &TurnSecret::new("")),
            IceServers::new().lifetime(Duration::from_secs(59)),
            IceServers::new().lifetime(Duration::from_secs(86_401)),
        ] {
            let error = servers.check().unwrap_err();
            assert_eq!(error.subject(), "ice_servers");
        }
        let servers = IceServers::new().turn(["turn:[2001:db8::1]:3478?transport=tcp"], &secret);
        assert!(servers.check().is_ok());
        assert_eq!(servers.refresh_after(), Some(LIFETIME / 2));
    }

    #[test]
    fn secrets_are_not_shown() {
        let servers = IceServers::new()
            .turn(["turn:a.test"], &TurnSecret::new("hush"))
            .turn_with_password(["turn:b.test"], "guest", "hush");
        let secret = TurnSecret::new("hush");
        assert!(!format!("{servers:?} {secret:?}").contains("hush"));
    }
}
