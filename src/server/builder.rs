//! The settings of a server, checked before it starts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::custom::CustomHook;
use super::edge::{Edge, EdgeSettings};
use super::policy::Policies;
use super::{
    AppEvent, CustomEvent, Dialect, Hello, Keep, Namespace, Peer, PeerData, Settings, Verdict,
};
use crate::error::Error;
use crate::limits::Limits;
use crate::wire::intent::{Paths, is_under};
use crate::wire::socket::is_namespace;

/// Deadlines beyond a day are mistakes, and adding them to a clock could overflow it.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Positions within a signal are kept in 32 bits; this leaves room for all that is added.
const MAX_MESSAGE: usize = 1 << 30;

/// Attachments beyond this are mistakes; each costs a little memory, however small it is.
const MAX_ATTACHMENTS: usize = 1_000;

const DEFAULT_PATH: &str = "/socket.io";
const DEFAULT_JSON_PATH: &str = "/peer-data";

/// Settings of a [`PeerData`]; begins with the defaults.
///
/// ```
/// use std::time::Duration;
/// use peer_data_server::PeerData;
///
/// let server = PeerData::builder()
///     .path("/signaling")
///     .ping_interval(Duration::from_secs(10))
///     .build()?;
///
/// let error = PeerData::builder().max_message(0).build().unwrap_err();
/// assert_eq!(error.subject(), "max_message");
/// # Ok::<(), peer_data_server::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    path: String,
    json_path: String,
    pub(super) edge: EdgeSettings,
    limits: Limits,
    outbox: Option<usize>,
    expose_session_ids: bool,
    reference_compat: bool,
    custom: Option<CustomHook>,
    pub(super) policies: Policies,
    main: Namespace,
    others: Vec<Namespace>,
    dialect: Dialect,
    /// Settings that came from the environment, with the variables that they came from.
    pub(super) variables: Vec<(&'static str, &'static str)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            path: DEFAULT_PATH.to_owned(),
            json_path: DEFAULT_JSON_PATH.to_owned(),
            edge: EdgeSettings::default(),
            limits: Limits::default(),
            outbox: None,
            expose_session_ids: false,
            reference_compat: false,
            custom: None,
            policies: Policies::default(),
            main: Namespace::new("/"),
            others: Vec::new(),
            dialect: Dialect::default(),
            variables: Vec::new(),
        }
    }
}

impl Builder {
    /// Where Socket.IO clients connect. Default `/socket.io`; a trailing slash makes no difference.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Where plain JSON clients connect. Default `/peer-data`.
    pub fn json_path(mut self, path: impl Into<String>) -> Self {
        self.json_path = path.into();
        self
    }

    /// Time between two heartbeats. Default 25 s. See [`Limits::ping_interval`].
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.limits.ping_interval = interval;
        self
    }

    /// How long an answer to a heartbeat may take. Default 20 s. See [`Limits::ping_timeout`].
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.limits.ping_timeout = timeout;
        self
    }

    /// How long a websocket may take to replace long-polling. Default 10 s.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.limits.upgrade_timeout = timeout;
        self
    }

    /// How long a client may take to ask to connect. Default 10 s. See
    /// [`Limits::connect_timeout`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect_timeout = timeout;
        self
    }

    /// The longest message, in bytes. Default 1,000,000. See [`Limits::max_message`].
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.limits.max_message = bytes;
        self
    }

    /// Bytes that may wait for one peer: at least twice the maximum message. Default 4 MiB, or
    /// twice the maximum message if that is more. See [`Limits::max_outbox`].
    pub fn max_outbox(mut self, bytes: usize) -> Self {
        self.outbox = Some(bytes);
        self
    }

    /// Binary attachments of one event, 0 to 1,000. Default 10.
    pub fn max_attachments(mut self, count: usize) -> Self {
        self.limits.max_attachments = count;
        self
    }

    /// Fragments of one websocket message. Default 4,096.
    pub fn max_fragments(mut self, count: usize) -> Self {
        self.limits.max_fragments = count;
        self
    }

    /// Rooms that one peer may be in at a time. Default 10,000. See
    /// [`Limits::max_rooms_per_peer`].
    pub fn max_rooms_per_peer(mut self, count: usize) -> Self {
        self.limits.max_rooms_per_peer = count;
        self
    }

    /// Makes the peer id of a revision-3 client (`peer-data`, socket.io-client 2) equal to its
    /// session id, for applications that compare `socket.id` with ids in events. Default off.
    ///
    /// A session id is a credential: with this on, whoever hears of a peer that is still on
    /// long-polling can read its mail and speak in its name. The reference server always does so.
    pub fn expose_session_ids(mut self, on: bool) -> Self {
        self.expose_session_ids = on;
        self
    }

    /// Does what only the reference server does: each `message` is echoed to its sender as
    /// `log`, `SERVER_LOG`, and an `ipaddr` event is answered with the machine's addresses.
    /// Default off: the echo doubles the traffic, the addresses are nobody's business.
    pub fn reference_compat(mut self, on: bool) -> Self {
        self.reference_compat = on;
        self
    }

    /// Asks the application what becomes of events whose type is none of the protocol's five.
    /// Without a hook they go to the others in their room.
    ///
    /// The hook runs in the middle of the sender's message, so it must not block. It is given the
    /// sender, and may answer it, speak to the others, or do anything else that the server's handle
    /// can. The reference calls this its callback, and likewise asks it in place of relaying.
    ///
    /// ```
    /// use peer_data_server::{Code, PeerData, RoomId, Signal, Verdict};
    ///
    /// let lobby = RoomId::new("lobby")?;
    /// let server = PeerData::builder()
    ///     .on_custom(move |peer, event| match event.kind {
    ///         "CHAT" => Verdict::Relay,
    ///         "TIME" => {
    ///             if let Ok(answer) = Signal::new("TIME", Some(&lobby), &1_700_000_000) {
    ///                 peer.send(&answer);
    ///             }
    ///             Verdict::Drop
    ///         }
    ///         "HEADLINE" => {
    ///             // To a room of the application's choice, under the name of its sender.
    ///             peer.to_room(&lobby, event.signal);
    ///             Verdict::Drop
    ///         }
    ///         _ => Verdict::Refuse(Code::Refused),
    ///     })
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_custom(
        mut self,
        hook: impl Fn(&Peer, &CustomEvent<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.custom = Some(CustomHook::new(hook));
        self
    }

    /// Calls the hook for each client that has become a peer: see [`Namespace::on_connect`].
    pub fn on_connect(mut self, hook: impl Fn(&Peer, &Hello<'_>) + Send + Sync + 'static) -> Self {
        self.main = self.main.on_connect(hook);
        self
    }

    /// Calls the hook for each event of Socket.IO whose name is not `message`, so that an
    /// application needs no second Socket.IO server beside signaling: see [`Namespace::on_event`].
    ///
    /// ```
    /// use peer_data_server::{Arguments, PeerData};
    ///
    /// let server = PeerData::builder()
    ///     .on_event(|_peer, event| {
    ///         // emit("sum", 1, 2, (sum) => …)
    ///         if let ("sum", Ok((a, b)), Some(ack)) =
    ///             (event.name, event.arguments.read::<(i64, i64)>(), event.ack)
    ///             && let Some(sum) = a.checked_add(b)
    ///             && let Ok(sum) = Arguments::new(&[sum])
    ///         {
    ///             ack.send(&sum);
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn on_event(mut self, hook: impl Fn(&Peer, AppEvent<'_>) + Send + Sync + 'static) -> Self {
        self.main = self.main.on_event(hook);
        self
    }

    /// Adds a namespace beside `/`.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.others.push(namespace);
        self
    }

    /// Whether `message` events are signaling. Default on. Off, the server is a plain Socket.IO
    /// server: every event goes to the [`on_event`](Self::on_event) hook, and plain JSON clients
    /// are refused whatever they say.
    pub fn signaling(mut self, on: bool) -> Self {
        self.dialect = if on {
            Dialect::Signaling
        } else {
            Dialect::Events
        };
        self
    }

    /// Makes a server of Engine.IO alone that sends every message back.
    #[cfg(feature = "conformance")]
    #[doc(hidden)]
    pub fn engine_echo(mut self) -> Self {
        self.dialect = Dialect::EngineEcho;
        self
    }

    /// Checks the settings and makes the server.
    ///
    /// # Errors
    ///
    /// When a setting cannot be; [`Error::subject`] is the name of its method, or of the
    /// environment variable that it came from.
    pub fn build(self) -> Result<PeerData, Error> {
        let variables = self.variables.clone();
        let settings = self.check().map_err(|error| {
            let variable = variables.iter().find(|(name, _)| *name == error.subject());
            match variable {
                Some((_, variable)) => error.about(variable),
                None => error,
            }
        })?;
        Ok(PeerData::with(settings))
    }

    fn check(self) -> Result<Settings, Error> {
        let paths = Paths {
            engine: check_path("path", &self.path)?,
            json: check_path("json_path", &self.json_path)?,
        };
        if is_under(&paths.json, &paths.engine) {
            let problem = format!("{} lies under path {}", paths.json, paths.engine);
            return Err(Error::new("json_path", problem));
        }
        let mut limits = self.limits;
        for (name, duration) in [
            ("ping_interval", limits.ping_interval),
            ("ping_timeout", limits.ping_timeout),
            ("upgrade_timeout", limits.upgrade_timeout),
            ("connect_timeout", limits.connect_timeout),
        ] {
            if duration < Duration::from_millis(1) || duration > MAX_DURATION {
                let problem = format!("{duration:?} is not between 1 ms and one day");
                return Err(Error::new(name, problem));
            }
        }
        for (name, count, min, max) in [
            ("max_message", limits.max_message, 1, MAX_MESSAGE),
            ("max_fragments", limits.max_fragments, 1, usize::MAX),
            (
                "max_attachments",
                limits.max_attachments,
                0,
                MAX_ATTACHMENTS,
            ),
            (
                "max_rooms_per_peer",
                limits.max_rooms_per_peer,
                1,
                usize::MAX,
            ),
        ] {
            if count < min || count > max {
                let problem = format!("{count} is not between {min} and {max}");
                return Err(Error::new(name, problem));
            }
        }
        let twice = limits.max_message * 2;
        limits.max_outbox = self.outbox.unwrap_or(limits.max_outbox.max(twice));
        if limits.max_outbox < twice {
            let problem = format!("{} is less than two messages, {twice}", limits.max_outbox);
            return Err(Error::new("max_outbox", problem));
        }
        let mut namespaces = vec![self.main];
        for namespace in self.others {
            let name = &namespace.name;
            let problem = if !is_namespace(name) {
                "is not the name of a namespace beside /"
            } else if namespaces.iter().any(|other| other.name == *name) {
                "is given twice"
            } else {
                namespaces.push(namespace);
                continue;
            };
            return Err(Error::new("namespace", format!("{name:?} {problem}")));
        }
        Ok(Settings {
            keep_handshakes: keep_handshakes(&namespaces, &self.policies),
            policies: self.policies,
            namespaces,
            dialect: self.dialect,
            paths,
            edge: self.edge.check()?,
            limits: Arc::new(limits),
            expose_session_ids: self.expose_session_ids,
            reference_compat: self.reference_compat,
            custom: self.custom,
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            paths: Paths {
                engine: DEFAULT_PATH.to_owned(),
                json: DEFAULT_JSON_PATH.to_owned(),
            },
            edge: Edge::default(),
            limits: Arc::default(),
            expose_session_ids: false,
            reference_compat: false,
            custom: None,
            policies: Policies::default(),
            keep_handshakes: Keep::Never,
            namespaces: vec![Namespace::new("/")],
            dialect: Dialect::default(),
        }
    }
}

fn keep_handshakes(namespaces: &[Namespace], policies: &Policies) -> Keep {
    let told = namespaces
        .iter()
        .any(|namespace| namespace.on_connect.is_some());
    match (told, policies.authorizes()) {
        (false, false) => Keep::Never,
        // Another namespace may be asked for at any time.
        (false, true) if namespaces.len() == 1 => Keep::UntilConnected,
        _ => Keep::Always,
    }
}

fn check_path(name: &'static str, path: &str) -> Result<String, Error> {
    let problem = |problem: &str| Err(Error::new(name, format!("{path:?} {problem}")));
    if !path.starts_with('/') {
        return problem("does not begin with a slash");
    }
    if path.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#')) {
        return problem("is not the path of a URL");
    }
    match path.trim_end_matches('/') {
        "" => problem("would take every request of the application"),
        path => Ok(path.to_owned()),
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("paths", &self.paths)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(builder: Builder) -> String {
        builder.build().unwrap_err().subject().to_owned()
    }

    #[test]
    fn the_defaults_build_and_agree_with_a_server_made_without() {
        let built = Builder::default().check().unwrap();
        let default = Settings::default();
        assert_eq!(built.paths, default.paths);
        assert_eq!(built.limits, default.limits);
    }

    #[test]
    fn a_bad_value_is_named() {
        let builder = PeerData::builder;
        assert_eq!(subject(builder().path("socket.io")), "path");
        assert_eq!(subject(builder().path("/")), "path");
        assert_eq!(subject(builder().json_path("/a b")), "json_path");
        assert_eq!(subject(builder().json_path("/socket.io/x")), "json_path");
        assert_eq!(
            subject(builder().ping_interval(Duration::ZERO)),
            "ping_interval"
        );
        assert_eq!(
            subject(builder().connect_timeout(Duration::MAX)),
            "connect_timeout"
        );
        assert_eq!(subject(builder().max_message(usize::MAX)), "max_message");
        assert_eq!(subject(builder().max_fragments(0)), "max_fragments");
        assert_eq!(subject(builder().max_attachments(1_001)), "max_attachments");
        assert_eq!(subject(builder().max_outbox(1_999_999)), "max_outbox");
    }

    #[test]
    fn the_outbox_follows_the_maximum_message() {
        let settings = PeerData::builder().max_message(8 << 20).check().unwrap();
        assert_eq!(settings.limits.max_outbox, 16 << 20);
    }
}
