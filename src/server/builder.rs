//! The settings of a server, checked before it starts.

use std::fmt;
use std::sync::Arc;

use super::bounds;
use super::cluster::{Cluster, Membership};
use super::custom::CustomHook;
use super::edge::{Edge, EdgeSettings};
use super::environment::TurnVariables;
use super::policy::Policies;
use super::{
    AppEvent, CustomEvent, Dialect, Hello, Keep, Namespace, Peer, PeerData, Settings, Verdict,
};
use crate::cluster::{ClusterAdapter, Edition};
use crate::error::Error;
use crate::ice::IceServers;
use crate::limits::Limits;
use crate::observe::Tracer;
use crate::wire::intent::{Paths, is_under};
use crate::wire::socket::is_namespace;

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
    pub(super) limits: Limits,
    pub(super) outbox: Option<usize>,
    expose_session_ids: bool,
    reference_compat: bool,
    custom: Option<CustomHook>,
    pub(super) ice: Option<IceServers>,
    /// What the environment says of one more server.
    pub(super) turn: TurnVariables,
    pub(super) policies: Policies,
    main: Namespace,
    others: Vec<Namespace>,
    dialect: Dialect,
    cluster: Option<Membership>,
    pub(super) tracer: Tracer,
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
            ice: None,
            turn: TurnVariables::default(),
            policies: Policies::default(),
            main: Namespace::new("/"),
            others: Vec::new(),
            dialect: Dialect::default(),
            cluster: None,
            tracer: Tracer::default(),
            variables: Vec::new(),
        }
    }
}

impl Builder {
    /// Where Socket.IO clients connect. Default `/socket.io`; a trailing slash makes no difference.
    ///
    /// It is compared with what requests say, byte by byte. So it can have only letters and digits of
    /// ASCII and `-._~!$&'()*+,;=:@` between its slashes: all else clients write as `%` and two digits.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Where plain JSON clients connect. Default `/peer-data`; the rules are those of [`path`](Self::path),
    /// below which it must not lie.
    pub fn json_path(mut self, path: impl Into<String>) -> Self {
        self.json_path = path.into();
        self
    }

    /// Tells peers which STUN and TURN servers there are, with credentials of their own where those end
    /// by themselves. Default: none.
    ///
    /// They are an array that `new RTCPeerConnection({iceServers})` takes as it is. A plain JSON client
    /// finds it in the payload of `READY`; a Socket.IO client that emits `CONNECT` with an ack, in that
    /// ack; and whoever sends an event of the type `ICE_SERVERS` in a room that it is in gets one of that
    /// type back, with `{iceServers}` as payload. An application's own events of that type are
    /// not relayed any more. Whoever was given credentials that end gets the same event, of no room,
    /// once half their life is over, for as long as it is connected.
    ///
    /// Who is not [authorized](Self::authorize) is told nothing.
    ///
    /// ```
    /// use peer_data_server::{IceServers, PeerData, TurnSecret};
    ///
    /// let secret = TurnSecret::new("what coturn has as static-auth-secret");
    /// let servers = IceServers::new().stun(["stun:turn.example.org"]).turn(["turn:turn.example.org"], &secret);
    /// let server = PeerData::builder().ice_servers(servers).build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn ice_servers(mut self, servers: IceServers) -> Self {
        self.ice = Some(servers);
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

    /// Makes the server one node of many, which share their rooms by a bus, `Nats` or `Redis` with the
    /// feature of that name: to peers it makes no difference which of them they are connected to. Without it a server is all by itself, which
    /// is the default and costs nothing.
    ///
    /// The server begins at once, also while the bus is away, with the peers that it has; see
    /// [`cluster_status`](PeerData::cluster_status). All nodes on a bus trust each other, and whoever
    /// else can publish there. They need the same settings, those about limits and policies above
    /// all: a signal is judged by the policy of its sender's node.
    ///
    /// Some things are looked after by each node for itself: bans, rates, how many sessions there
    /// are, and all of the handle that does not say otherwise.
    /// [`max_peers_per_room`](crate::Limits::max_peers_per_room) and a policy's
    /// [`capacity`](crate::Policy::capacity) count the peers of all nodes, but of two who want the
    /// last place at the same moment at different nodes both get it, and a node that has no member in
    /// a room lets its first one in even if the room is full: it does not know yet who else is there.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) has one then if it is not called within a tokio runtime.
    ///
    /// ```
    /// use peer_data_server::{MemoryBus, PeerData};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), peer_data_server::Error> {
    /// let bus = MemoryBus::new();
    /// let one = PeerData::builder().cluster(bus.node()).build()?;
    /// let other = PeerData::builder().cluster(bus.node()).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster(self, adapter: impl ClusterAdapter) -> Self {
        self.on_bus(Box::new(adapter))
    }

    pub(super) fn on_bus(mut self, adapter: Box<dyn ClusterAdapter>) -> Self {
        self.cluster = Some(Membership {
            adapter,
            edition: Edition::default(),
        });
        self
    }

    /// Has the node speak as a version would that is not there yet, to try how others take it: the
    /// one that it says it is of, and the oldest that can read it. For tests.
    #[doc(hidden)]
    pub fn cluster_edition(mut self, written: u8, readable: u8) -> Self {
        if let Some(membership) = &mut self.cluster {
            membership.edition = Edition { written, readable };
        }
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
    pub fn build(mut self) -> Result<PeerData, Error> {
        let variables = self.variables.clone();
        let membership = self.cluster.take();
        let settings = self.check().map_err(|error| {
            let variable = variables.iter().find(|(name, _)| *name == error.subject());
            match variable {
                Some((_, variable)) => error.about(variable),
                None => error,
            }
        })?;
        let Some(membership) = membership else {
            return Ok(PeerData::with(settings));
        };
        let (cluster, inbound) = Cluster::new(membership, &settings.limits)?;
        let server = PeerData::among(settings, Some(cluster));
        server.enter_cluster(inbound)?;
        Ok(server)
    }

    fn check(self) -> Result<Settings, Error> {
        let paths = Paths {
            engine: check_path("path", &self.path)?,
            json: check_path("json_path", &self.json_path)?,
        };
        if is_under(&paths.json, &paths.engine) {
            // Either may be at its default, and whoever set the other would not know it.
            let problem = format!(
                "{} lies under path {}: let json_path (PEER_DATA_JSON_PATH) or path (PEER_DATA_PATH) be another",
                paths.json, paths.engine
            );
            return Err(Error::new("json_path", problem));
        }
        let limits = bounds::check(self.limits, self.outbox)?;
        let ice = self.turn.added_to(self.ice)?;
        if let Some(ice) = &ice {
            ice.check()?;
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
            keep_handshakes: keep_handshakes(&namespaces, &self.policies, &limits),
            policies: self.policies,
            namespaces,
            tracer: self.tracer,
            dialect: self.dialect,
            paths,
            edge: self.edge.check()?,
            limits: Arc::new(limits),
            expose_session_ids: self.expose_session_ids,
            reference_compat: self.reference_compat,
            custom: self.custom,
            ice,
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
            ice: None,
            policies: Policies::default(),
            keep_handshakes: Keep::Never,
            tracer: Tracer::default(),
            namespaces: vec![Namespace::new("/")],
            dialect: Dialect::default(),
        }
    }
}

fn keep_handshakes(namespaces: &[Namespace], policies: &Policies, limits: &Limits) -> Keep {
    let told = namespaces
        .iter()
        .any(|namespace| namespace.on_connect.is_some());
    match (told, policies.authorizes()) {
        (false, false) if limits.recovery.is_zero() => Keep::Never,
        // Who comes back by plain JSON says so there.
        (false, false) => Keep::UntilConnected,
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
    if !path.bytes().all(stands_for_itself) {
        return problem("has something that requests carry encoded, as % and two digits");
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return problem("has a part that clients resolve before they ask");
    }
    match path.trim_end_matches('/') {
        "" => problem("would take every request of the application"),
        path => Ok(path.to_owned()),
    }
}

/// Whether clients write that byte of a path as it is (RFC 3986, 3.3). What is encoded could be
/// compared only decoded, and by what stands in front of the server too.
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
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
        assert_eq!(subject(builder().json_path("/socket.io/x")), "json_path");
    }

    #[test]
    fn a_path_has_what_requests_carry_as_it_is() {
        let builder = PeerData::builder;
        let good = "/Az09-._~!$&'()*+,;=:@/.io/..io/";
        assert!(builder().path(good).json_path("/j").build().is_ok());
        let bad = " \t\n\u{7f}\"#%<>?[\\]^`{|}ä😀".chars();
        let bad = bad.map(|c| format!("/a{c}"));
        let bad = bad.chain(["/%C3%A4", "/a/../b", "/./b", "/a/.."].map(String::from));
        for path in bad {
            assert_eq!(subject(builder().path(&path)), "path", "{path:?}");
            assert_eq!(subject(builder().json_path(&path)), "json_path", "{path:?}");
        }
    }

    #[test]
    fn paths_that_meet_are_told_by_the_names_of_both() {
        let error = PeerData::builder().path("/peer-data").build().unwrap_err();
        let text = error.to_string();
        for name in ["json_path", "PEER_DATA_PATH", "PEER_DATA_JSON_PATH"] {
            assert!(text.contains(name), "{text}");
        }
    }
}
