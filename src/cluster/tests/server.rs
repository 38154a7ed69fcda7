//! A real bus as a process of its own, on a port of its own.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::ClusterAdapter;
use crate::cluster::Subjects;
use crate::sync::lock;

pub(super) struct Server {
    kind: Kind,
    port: u16,
    /// One, or those of a Redis Cluster.
    children: Mutex<Vec<Child>>,
    /// Where its certificate and its key are, if it speaks TLS and asks for a password.
    guarded: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Kind {
    #[cfg(feature = "nats")]
    Nats,
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(feature = "redis")]
    RedisCluster,
}

impl Server {
    #[cfg(feature = "nats")]
    pub(super) fn nats() -> Self {
        Self::of(Kind::Nats)
    }

    #[cfg(feature = "redis")]
    pub(super) fn redis() -> Self {
        Self::of(Kind::Redis)
    }

    /// Three servers, each with a third of the channels.
    #[cfg(feature = "redis")]
    pub(super) fn redis_cluster() -> Self {
        Self::of(Kind::RedisCluster)
    }

    /// Not started yet, but the port is chosen.
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            port: free_port(),
            children: Mutex::default(),
            guarded: None,
        }
    }

    /// The same with TLS, a certificate of its own making, and the password `secret`.
    pub(super) fn guarded(mut self) -> Self {
        let folder = std::env::temp_dir().join(format!("bus-{}-{}", std::process::id(), self.port));
        std::fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        self.guarded = Some(folder);
        self
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.guarded.as_ref().map(|folder| folder.join(name))
    }

    pub(super) async fn start(&self) {
        #[cfg(feature = "redis")]
        if matches!(self.kind, Kind::RedisCluster) {
            return self.start_cluster().await;
        }
        let port = self.port.to_string();
        let (program, arguments, guard) = match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats => (
                "nats-server",
                vec!["-a", "127.0.0.1", "-p", &port],
                "--tls --tlscert {cert} --tlskey {key} --user ann --pass secret",
            ),
            #[cfg(feature = "redis")]
            Kind::Redis | Kind::RedisCluster => (
                "redis-server",
                vec!["--bind", "127.0.0.1", "--save", "", "--port", &port],
                "--port 0 --tls-port {port} --tls-cert-file {cert} --tls-key-file {key} \
                 --tls-auth-clients no --tls-ca-cert-file {cert} --requirepass secret",
            ),
        };
        let mut arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        if let (Some(cert), Some(key)) = (self.file("cert.pem"), self.file("key.pem")) {
            let guard = guard.split_whitespace().map(|word| match word {
                "{cert}" => cert.display().to_string(),
                "{key}" => key.display().to_string(),
                "{port}" => port.clone(),
                word => word.to_owned(),
            });
            arguments.extend(guard);
        }
        let child = Command::new(program)
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}; see tests/run"));
        lock(&self.children).push(child);
        listens(self.port).await;
    }

    /// As `kill -9` does it.
    pub(super) fn kill(&self) {
        for mut child in lock(&self.children).drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// It hears everything and answers nothing, until `SIGCONT`.
    pub(super) fn signal(&self, name: &str) {
        for child in &*lock(&self.children) {
            let id = child.id().to_string();
            let status = Command::new("kill").args(["-s", name, &id]).status();
            assert!(status.unwrap().success());
        }
    }

    pub(super) fn place(&self) -> Box<dyn ClusterAdapter> {
        self.place_with("peer-data", 16 << 20)
    }

    pub(super) fn place_with(&self, prefix: &str, queue_bytes: usize) -> Box<dyn ClusterAdapter> {
        let subjects = Subjects::new(prefix).unwrap();
        match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats => {
                let options = crate::NatsOptions::default();
                let options = options.subjects(subjects).queue_bytes(queue_bytes);
                let url = format!("nats://127.0.0.1:{}", self.port);
                Box::new(crate::Nats::connect(&url, options).unwrap())
            }
            #[cfg(feature = "redis")]
            Kind::Redis | Kind::RedisCluster => {
                let options = crate::RedisOptions::default();
                let options = options.subjects(subjects).queue_bytes(queue_bytes);
                let url = format!("redis://127.0.0.1:{}", self.port);
                Box::new(crate::Redis::connect(&url, options).unwrap())
            }
        }
    }
}

#[cfg(feature = "redis")]
impl Server {
    /// Each of the three has the next port, and that and 10,000 for the others. Begun once, they find
    /// each other again by what is in their folder.
    async fn start_cluster(&self) {
        let folder = self.folder();
        let is_new = !folder.exists();
        std::fs::create_dir_all(&folder).unwrap();
        let ports: Vec<_> = (self.port..self.port + 3).collect();
        for port in &ports {
            let child = Command::new("redis-server")
                .args([
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--port",
                    &port.to_string(),
                ])
                .args(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])
                .args(["--cluster-config-file", &format!("{port}.conf")])
                .current_dir(&folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("redis-server starts; see tests/run");
            lock(&self.children).push(child);
        }
        for port in &ports {
            listens(*port).await;
        }
        let places: Vec<_> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        if is_new {
            let created = Command::new("redis-cli")
                .args(["--cluster", "create", "--cluster-yes"])
                .args(&places)
                .stdout(Stdio::null())
                .status();
            assert!(created.unwrap().success());
        }
        let deadline = Instant::now() + PATIENCE;
        for port in &ports {
            while !Self::says_ok(*port) {
                assert!(Instant::now() < deadline, "they should find each other");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn folder(&self) -> PathBuf {
        let name = format!("redis-cluster-{}-{}", std::process::id(), self.port);
        std::env::temp_dir().join(name)
    }

    fn says_ok(port: u16) -> bool {
        says(port, &["cluster", "info"]).contains("cluster_state:ok")
    }

    /// Gives the slot of a channel that somebody is subscribed to, and whose name has that part, to the
    /// next server.
    pub(super) fn move_channel(&self, part: &str) {
        let ports = [0, 1, 2].map(|at| self.port + at);
        let channel_at = |port| {
            let said = says(port, &["pubsub", "shardchannels"]);
            let mut channels = said.split_whitespace();
            channels.find(|name| name.contains(part)).map(str::to_owned)
        };
        let found = ports.iter().enumerate();
        let mut found = found.filter_map(|(at, port)| Some((at, channel_at(*port)?)));
        let (at, channel) = found.next().expect("a channel of that name");
        let slot = says(ports[at], &["cluster", "keyslot", &channel]);
        let heir = ports[(at + 1) % 3];
        let id = says(heir, &["cluster", "myid"]);
        for port in [heir, ports[at], ports[(at + 2) % 3]] {
            let said = says(
                port,
                &["cluster", "setslot", slot.trim(), "node", id.trim()],
            );
            assert_eq!(said.trim(), "OK", "{port}");
        }
    }

    /// How many channels of that kind are subscribed to at each of the three.
    pub(super) fn channels(&self, kind: &str) -> [usize; 3] {
        let said = [0, 1, 2].map(|at| says(self.port + at, &["pubsub", kind]));
        said.map(|said| said.split_whitespace().count())
    }
}

impl Server {
    /// A place for one who knows the password, and trusts the certificate.
    pub(super) fn trusted_place(&self, password: &str) -> Box<dyn ClusterAdapter> {
        let certificate = self.file("cert.pem").unwrap();
        let port = self.port;
        match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats => {
                let client = async_nats::ConnectOptions::new().add_root_certificates(certificate);
                let options = crate::NatsOptions::default().client(client);
                let url = format!("tls://ann:{password}@localhost:{port}");
                Box::new(crate::Nats::connect(&url, options).unwrap())
            }
            #[cfg(feature = "redis")]
            Kind::Redis | Kind::RedisCluster => {
                let certificates = ::redis::TlsCertificates {
                    client_tls: None,
                    root_cert: Some(std::fs::read(certificate).unwrap()),
                };
                let options = crate::RedisOptions::default().tls(certificates);
                let url = format!("rediss://:{password}@localhost:{port}");
                Box::new(crate::Redis::connect(&url, options).unwrap())
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        #[cfg(feature = "redis")]
        let own = matches!(self.kind, Kind::RedisCluster).then(|| self.folder());
        #[cfg(not(feature = "redis"))]
        let own = None;
        for folder in self.guarded.iter().chain(&own) {
            // What is left in the folder for temporary files harms nobody.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// What a server of Redis answers.
#[cfg(feature = "redis")]
fn says(port: u16, words: &[&str]) -> String {
    let said = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(words)
        .output();
    String::from_utf8_lossy(&said.unwrap().stdout).into_owned()
}

/// Far longer than any server takes.
const PATIENCE: Duration = Duration::from_secs(30);

async fn listens(port: u16) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "there should be a server");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The first of three ports that the system gives to nobody who asks for any, nor those 10,000 above
/// them, and that no other test here has.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 9_000).unwrap() + 12_000;
    loop {
        let port = first + NEXT.fetch_add(3, Ordering::Relaxed);
        if (port..port + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}
