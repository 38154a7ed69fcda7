//! A real bus as a process of its own, on a port of its own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::ClusterAdapter;
use crate::cluster::Subjects;
use crate::sync::lock;

pub(super) struct Server {
    kind: Kind,
    port: u16,
    child: Mutex<Option<Child>>,
}

#[derive(Clone, Copy)]
enum Kind {
    #[cfg(feature = "nats")]
    Nats,
    #[cfg(feature = "redis")]
    Redis,
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

    /// Not started yet, but the port is chosen.
    fn of(kind: Kind) -> Self {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            kind,
            port: probe.local_addr().unwrap().port(),
            child: Mutex::default(),
        }
    }

    pub(super) async fn start(&self) {
        let port = self.port.to_string();
        let (program, arguments) = match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats => ("nats-server", vec!["-a", "127.0.0.1", "-p", &port]),
            #[cfg(feature = "redis")]
            Kind::Redis => {
                let arguments = ["--bind", "127.0.0.1", "--port", &port, "--save", ""];
                ("redis-server", arguments.to_vec())
            }
        };
        let child = Command::new(program)
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}; see tests/run"));
        *lock(&self.child) = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "{program} should listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As `kill -9` does it.
    pub(super) fn kill(&self) {
        if let Some(mut child) = lock(&self.child).take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// It hears everything and answers nothing, until `SIGCONT`.
    pub(super) fn signal(&self, name: &str) {
        let id = lock(&self.child).as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
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
            Kind::Redis => {
                let options = crate::RedisOptions::default();
                let options = options.subjects(subjects).queue_bytes(queue_bytes);
                let url = format!("redis://127.0.0.1:{}", self.port);
                Box::new(crate::Redis::connect(&url, options).unwrap())
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
