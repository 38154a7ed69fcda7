//! Settings from the environment, so that a server can be configured without code.

mod turn;

use std::ffi::OsString;
use std::time::Duration;
use std::{fmt, fs};

use super::Builder;
use crate::error::Error;
use crate::ice::TurnSecret;
use crate::limits::Limits;
pub(super) use turn::TurnVariables;

/// An environment variable that [`Builder::from_env`] reads.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Variable {
    /// Its name, the unit in it.
    pub name: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// The method of [`Builder`] that sets the same.
    pub setting: &'static str,
    /// What it sets.
    pub meaning: &'static str,
    apply: fn(Builder, &str) -> Result<Builder, String>,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Every variable that [`from_env`](Self::from_env) reads, for a program's `--help`.
    pub const VARIABLES: &'static [Variable] = &[
        // First: what follows changes the set that it chooses.
        Variable {
            name: "PEER_DATA_LIMITS",
            setting: "limits",
            default: "default",
            meaning: "the set of limits to begin with: default, or strict for the open internet",
            apply: |builder, value| Ok(builder.limits(set_of_limits(value)?)),
        },
        Variable {
            name: "PEER_DATA_PATH",
            setting: "path",
            default: "/socket.io",
            meaning: "where Socket.IO clients connect",
            apply: |builder, value| Ok(builder.path(value)),
        },
        Variable {
            name: "PEER_DATA_JSON_PATH",
            setting: "json_path",
            default: "/peer-data",
            meaning: "where plain JSON WebSocket clients connect",
            apply: |builder, value| Ok(builder.json_path(value)),
        },
        Variable {
            name: "PEER_DATA_ALLOWED_ORIGINS",
            setting: "allowed_origins",
            default: "",
            meaning: "origins whose pages are served, with commas between; none given, all are",
            apply: |builder, value| Ok(builder.allowed_origins(list(value))),
        },
        Variable {
            name: "PEER_DATA_TRUSTED_PROXIES",
            setting: "trusted_proxies",
            default: "",
            meaning: "addresses and networks of proxies to believe, with commas between",
            apply: |builder, value| Ok(builder.trusted_proxies(list(value))),
        },
        Variable {
            name: "PEER_DATA_SESSION_COOKIE",
            setting: "session_cookie",
            default: "",
            meaning: "a cookie to set to the session id, for load balancers",
            apply: |builder, value| Ok(builder.session_cookie(value)),
        },
        Variable {
            name: "PEER_DATA_CLIENT_SCRIPT",
            setting: "client_script",
            default: "",
            meaning: "the file to serve as socket.io.js",
            apply: |builder, value| Ok(builder.client_script(file(value)?)),
        },
        Variable {
            name: "PEER_DATA_PING_INTERVAL_MS",
            setting: "ping_interval",
            default: "25000",
            meaning: "time between two heartbeats",
            apply: |builder, value| Ok(builder.ping_interval(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_PING_TIMEOUT_MS",
            setting: "ping_timeout",
            default: "20000",
            meaning: "how long an answer to a heartbeat may take",
            apply: |builder, value| Ok(builder.ping_timeout(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_UPGRADE_TIMEOUT_MS",
            setting: "upgrade_timeout",
            default: "10000",
            meaning: "how long a websocket may take to replace long-polling",
            apply: |builder, value| Ok(builder.upgrade_timeout(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_CONNECT_TIMEOUT_MS",
            setting: "connect_timeout",
            default: "10000",
            meaning: "how long a client may take to ask to connect",
            apply: |builder, value| Ok(builder.connect_timeout(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_MESSAGE_BYTES",
            setting: "max_message",
            default: "1000000",
            meaning: "the longest message",
            apply: |builder, value| Ok(builder.max_message(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_OUTBOX_BYTES",
            setting: "max_outbox",
            default: "4194304",
            meaning: "bytes that may wait for one peer, at least two messages",
            apply: |builder, value| Ok(builder.max_outbox(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_OUTBOX_TOTAL_BYTES",
            setting: "max_outbox_total",
            default: "1073741824",
            meaning: "bytes that may wait for all peers, beyond 16 KiB for each",
            apply: |builder, value| Ok(builder.max_outbox_total(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_ATTACHMENTS",
            setting: "max_attachments",
            default: "10",
            meaning: "binary attachments of one event",
            apply: |builder, value| Ok(builder.max_attachments(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_FRAGMENTS",
            setting: "max_fragments",
            default: "4096",
            meaning: "fragments of one websocket message",
            apply: |builder, value| Ok(builder.max_fragments(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_ROOMS_PER_PEER",
            setting: "max_rooms_per_peer",
            default: "10000",
            meaning: "rooms that one peer may be in at a time",
            apply: |builder, value| Ok(builder.max_rooms_per_peer(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_MEMBERSHIPS",
            setting: "max_memberships",
            default: "1000000",
            meaning: "places in rooms that all peers may have together",
            apply: |builder, value| Ok(builder.max_memberships(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_BODY_TIMEOUT_MS",
            setting: "body_timeout",
            default: "30000",
            meaning: "how long the body of a POST, or a message, may take",
            apply: |builder, value| Ok(builder.body_timeout(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_WRITE_TIMEOUT_MS",
            setting: "write_timeout",
            default: "20000",
            meaning: "how long a websocket may take no bytes",
            apply: |builder, value| Ok(builder.write_timeout(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_ADMIT_TIMEOUT_MS",
            setting: "admit_timeout",
            default: "10000",
            meaning: "how long a decision on who may join may take",
            apply: |builder, value| Ok(builder.admit_timeout(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_RECOVERY_MS",
            setting: "recovery",
            default: "0",
            meaning: "how long a client that lost its connection may take to come back; 0: it may not",
            apply: |builder, value| Ok(builder.recovery(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_RECOVERY_BYTES",
            setting: "max_recovery",
            default: "262144",
            meaning: "bytes kept for one client that may come back",
            apply: |builder, value| Ok(builder.max_recovery(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_RECOVERY_TOTAL_BYTES",
            setting: "max_recovery_total",
            default: "67108864",
            meaning: "bytes kept for all clients that may come back",
            apply: |builder, value| Ok(builder.max_recovery_total(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_PACKETS",
            setting: "max_packets",
            default: "10000",
            meaning: "packets of one POST",
            apply: |builder, value| Ok(builder.max_packets(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_ID_BYTES",
            setting: "max_id",
            default: "256",
            meaning: "the longest id of a room or callee, and the longest type, 20 to 256",
            apply: |builder, value| Ok(builder.max_id(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_HANDSHAKE_BYTES",
            setting: "max_handshake",
            default: "16384",
            meaning: "query and headers that are kept for hooks",
            apply: |builder, value| Ok(builder.max_handshake(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_PEERS_PER_ROOM",
            setting: "max_peers_per_room",
            default: "10000",
            meaning: "peers that may be in one room at a time",
            apply: |builder, value| Ok(builder.max_peers_per_room(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_SESSIONS",
            setting: "max_sessions",
            default: "100000",
            meaning: "clients connected or connecting",
            apply: |builder, value| Ok(builder.max_sessions(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_HANDSHAKES",
            setting: "max_handshakes",
            default: "20000",
            meaning: "clients that are not peers yet",
            apply: |builder, value| Ok(builder.max_handshakes(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_SESSIONS_PER_ADDRESS",
            setting: "max_sessions_per_address",
            default: "0",
            meaning: "clients of one address, 0: any number",
            apply: |builder, value| Ok(builder.max_sessions_per_address(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_MAX_HANDSHAKES_PER_ADDRESS",
            setting: "max_handshakes_per_address",
            default: "0",
            meaning: "clients of one address that are not peers yet, 0: any number",
            apply: |builder, value| Ok(builder.max_handshakes_per_address(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_EVENTS_PER_SECOND",
            setting: "events_per_second",
            default: "0",
            meaning: "messages of one client, 0: any number",
            apply: |builder, value| Ok(builder.events_per_second(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_EVENT_BURST",
            setting: "event_burst",
            default: "0",
            meaning: "messages of one client at once, 0: those of a second",
            apply: |builder, value| Ok(builder.event_burst(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_BYTES_PER_SECOND",
            setting: "bytes_per_second",
            default: "0",
            meaning: "bytes from one client, 0: any number",
            apply: |builder, value| Ok(builder.bytes_per_second(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_BYTE_BURST",
            setting: "byte_burst",
            default: "0",
            meaning: "bytes from one client at once, 0: those of a second",
            apply: |builder, value| Ok(builder.byte_burst(number(value)?)),
        },
        Variable {
            name: "PEER_DATA_RATE_PATIENCE_MS",
            setting: "rate_patience",
            default: "30000",
            meaning: "how long a client may stay over its rate",
            apply: |builder, value| Ok(builder.rate_patience(millis(value)?)),
        },
        Variable {
            name: "PEER_DATA_CLUSTER",
            setting: "cluster",
            default: "",
            meaning: "the bus of many nodes: nats://, tls://, redis:// or rediss://, and #prefix",
            apply: |builder, value| {
                let adapter = crate::cluster::adapter(value).map_err(|error| error.to_string())?;
                Ok(builder.on_bus(adapter))
            },
        },
        Variable {
            name: "PEER_DATA_STUN_URLS",
            setting: "ice_servers",
            default: "",
            meaning: "STUN servers to tell peers of, with commas between",
            apply: |mut builder, value| {
                builder.turn.stun = list(value).map(str::to_owned).collect();
                Ok(builder)
            },
        },
        Variable {
            name: "PEER_DATA_TURN_URLS",
            setting: "ice_servers",
            default: "",
            meaning: "URLs of a TURN server to tell peers of, with commas between",
            apply: |mut builder, value| {
                builder.turn.urls = list(value).map(str::to_owned).collect();
                Ok(builder)
            },
        },
        Variable {
            name: "PEER_DATA_TURN_SECRET",
            setting: "ice_servers",
            default: "",
            meaning: "what that server has as static-auth-secret",
            apply: |mut builder, value| {
                builder.turn.secret = Some(TurnSecret::new(value));
                Ok(builder)
            },
        },
        Variable {
            name: "PEER_DATA_TURN_SECRET_FILE",
            setting: "ice_servers",
            default: "",
            meaning: "a file that has it, so that it is in no environment",
            apply: |mut builder, value| {
                let secret = String::from_utf8(file(value)?);
                let secret = secret.map_err(|_| format!("{value:?} is not UTF-8"))?;
                builder.turn.secret = Some(TurnSecret::new(secret.trim()));
                Ok(builder)
            },
        },
        Variable {
            name: "PEER_DATA_TURN_LIFETIME_MS",
            setting: "ice_servers",
            default: "300000",
            meaning: "how long credentials for it are good, 1 minute to a day",
            apply: |mut builder, value| {
                builder.turn.lifetime = Some(millis(value)?);
                Ok(builder)
            },
        },
        Variable {
            name: "PEER_DATA_EXPOSE_SESSION_IDS",
            setting: "expose_session_ids",
            default: "0",
            meaning: "peer ids of revision-3 clients equal their session ids, as in the reference",
            apply: |builder, value| Ok(builder.expose_session_ids(switch(value)?)),
        },
        Variable {
            name: "PEER_DATA_REFERENCE_COMPAT",
            setting: "reference_compat",
            default: "0",
            meaning: "the reference's SERVER_LOG echo and ipaddr answer",
            apply: |builder, value| Ok(builder.reference_compat(switch(value)?)),
        },
    ];

    /// The defaults, changed by the variables in [`VARIABLES`](Self::VARIABLES): see
    /// [`with_env`](Self::with_env).
    ///
    /// # Errors
    ///
    /// When a variable's value cannot be; [`Error::subject`] is its name. Whether the values go
    /// together is seen by [`build`](Self::build).
    ///
    /// ```
    /// use peer_data_server::Builder;
    ///
    /// let server = Builder::from_env()?.build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn from_env() -> Result<Self, Error> {
        Self::default().with_env()
    }

    /// The settings so far, changed by the variables in [`VARIABLES`](Self::VARIABLES). Empty ones
    /// count as unset; a switch is off at `0`, `false`, `off` and `no`.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env) has them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use peer_data_server::PeerData;
    ///
    /// let server = PeerData::builder()
    ///     .ping_interval(Duration::from_secs(10))
    ///     .with_env()?
    ///     .build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn with_env(self) -> Result<Self, Error> {
        self.with_variables(|name| std::env::var_os(name).map(OsString::into_string))
    }

    fn with_variables(
        self,
        lookup: impl Fn(&str) -> Option<Result<String, OsString>>,
    ) -> Result<Self, Error> {
        let mut builder = self;
        for variable in Self::VARIABLES {
            let value = match lookup(variable.name) {
                None => continue,
                Some(Err(_)) => return Err(Error::new(variable.name, "not UTF-8")),
                Some(Ok(value)) if value.is_empty() => continue,
                Some(Ok(value)) => value,
            };
            builder = (variable.apply)(builder, value.trim())
                .map_err(|problem| Error::new(variable.name, problem))?;
            builder.variables.push((variable.setting, variable.name));
        }
        Ok(builder)
    }
}

/// What stands between commas.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

fn file(path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{path:?} cannot be read: {error}"))
}

fn millis(value: &str) -> Result<Duration, String> {
    let millis = value.parse();
    millis
        .map(Duration::from_millis)
        .map_err(|_| format!("{value:?} is not a number of milliseconds"))
}

fn number(value: &str) -> Result<usize, String> {
    value
        .parse()
        .map_err(|_| format!("{value:?} is not a whole number"))
}

fn set_of_limits(value: &str) -> Result<Limits, String> {
    match value {
        "default" => Ok(Limits::default()),
        "strict" => Ok(Limits::strict()),
        _ => Err(format!("{value:?} is neither default nor strict")),
    }
}

fn switch(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Ok(true),
        "0" | "false" | "off" | "no" => Ok(false),
        _ => Err(format!("{value:?} is neither 1 nor 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Result<Builder, Error> {
        let lookup = |asked: &str| (asked == name).then(|| Ok(value.to_owned()));
        Builder::default().with_variables(lookup)
    }

    #[test]
    fn every_default_is_the_builders_own() {
        for variable in Builder::VARIABLES {
            let set = read(variable.name, variable.default)
                .unwrap()
                .build()
                .unwrap();
            let unset = Builder::default().build().unwrap();
            assert_eq!(
                format!("{set:?}"),
                format!("{unset:?}"),
                "{}",
                variable.name
            );
        }
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        for (name, value) in [
            ("PEER_DATA_PING_INTERVAL_MS", "soon"),
            ("PEER_DATA_OUTBOX_BYTES", "-1"),
            ("PEER_DATA_REFERENCE_COMPAT", "maybe"),
            ("PEER_DATA_LIMITS", "loose"),
            ("PEER_DATA_CLIENT_SCRIPT", "/no/such/file.js"),
        ] {
            let error = read(name, value).unwrap_err();
            assert_eq!(error.subject(), name);
            assert!(error.to_string().contains(value), "{error}");
        }
    }

    #[test]
    fn a_url_of_no_bus_names_its_variable_and_hides_what_may_be_a_password() {
        let error = read("PEER_DATA_CLUSTER", "http://ann:secret@bus.test").unwrap_err();
        assert_eq!(error.subject(), "PEER_DATA_CLUSTER");
        let text = error.to_string();
        assert!(
            text.contains("\"http\"") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn a_value_that_cannot_be_names_its_variable() {
        for (name, value) in [
            ("PEER_DATA_PING_INTERVAL_MS", "0"),
            ("PEER_DATA_PATH", "relative"),
            ("PEER_DATA_OUTBOX_BYTES", "1"),
            ("PEER_DATA_MAX_ID_BYTES", "7"),
            ("PEER_DATA_RATE_PATIENCE_MS", "0"),
            ("PEER_DATA_ALLOWED_ORIGINS", "https://o.test,*"),
            ("PEER_DATA_TRUSTED_PROXIES", "10.0.0.0/8, proxy.test"),
            ("PEER_DATA_SESSION_COOKIE", "a b"),
        ] {
            let error = read(name, value).unwrap().build().unwrap_err();
            assert_eq!(error.subject(), name);
        }
    }

    #[test]
    fn lists_have_commas_and_scripts_are_files() {
        for (name, value) in [
            (
                "PEER_DATA_ALLOWED_ORIGINS",
                "https://o.test , null,http://[::1]:1",
            ),
            ("PEER_DATA_TRUSTED_PROXIES", "10.0.0.0/8,::1 , 192.0.2.1"),
            ("PEER_DATA_CLIENT_SCRIPT", file!()),
        ] {
            read(name, value).unwrap().build().unwrap();
        }
    }

    #[test]
    fn the_set_of_limits_comes_first_and_others_change_it() {
        let lookup = |name: &str| match name {
            "PEER_DATA_MAX_MESSAGE_BYTES" => Some(Ok("1000".to_owned())),
            "PEER_DATA_LIMITS" => Some(Ok("strict".to_owned())),
            _ => None,
        };
        let builder = Builder::default().max_packets(7).with_variables(lookup);
        let server = builder.unwrap().build().unwrap();
        let expected = Limits {
            max_message: 1_000,
            ..Limits::strict()
        };
        assert_eq!(*server.limits(), expected);
    }

    /// Else an application could be told of a setting only by its code.
    #[test]
    fn every_limit_has_a_variable() {
        let limits = format!("{:?}", Limits::default());
        let names = limits.trim_start_matches("Limits {").split(", ");
        let names: Vec<_> = names.filter_map(|field| field.split(':').next()).collect();
        assert!(names.len() > 20);
        for name in names {
            let mut variables = Builder::VARIABLES.iter();
            assert!(
                variables.any(|known| known.setting == name.trim()),
                "{name}"
            );
        }
    }

    #[test]
    fn zero_and_false_are_off() {
        for off in ["0", "false", "OFF", "no"] {
            assert_eq!(switch(off), Ok(false));
        }
        assert_eq!(switch("1"), Ok(true));
    }
}
