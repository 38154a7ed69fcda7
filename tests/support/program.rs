//! An example as a program of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::within;

/// A running example; it ends with the test.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Where an example is. `cargo test` has built it, unless told to build certain tests only.
    pub(crate) fn path(example: &str) -> PathBuf {
        let test = std::env::current_exe().expect("the path of this test");
        let profile = test.ancestors().nth(2).expect("target/<profile>/deps/");
        let program = profile.join("examples").join(example);
        assert!(
            program.exists(),
            "run `cargo build --examples` with the same features first"
        );
        program
    }

    /// Starts an example in that folder, on a free port and with these variables alone, and
    /// returns once it listens.
    pub(crate) async fn start(example: &str, folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(Self::path(example))
            .current_dir(folder)
            .env_clear()
            .env("PORT", "0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a running program");
        let stdout = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        let line = within("its address", lines.next_line()).await;
        let line = line.expect("readable").expect("a line, not the end");
        let (_, url) = line.split_once("://").expect("a URL");
        let address = url
            .split('/')
            .next()
            .and_then(|address| address.parse().ok());
        let address = address.expect("an address");
        // Read on: a program that prints to nobody panics.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address }
    }

    /// Asks it to end, as service managers do, and asserts that it does so in peace.
    pub(crate) async fn stop(self) {
        self.terminate().await;
        self.ended().await;
    }

    /// Asks it to end, as service managers do.
    pub(crate) async fn terminate(&self) {
        let id = self.child.id().expect("a running program").to_string();
        let kill = Command::new("kill").arg(id).status().await;
        assert!(kill.expect("kill").success());
    }

    /// Asserts that it ends in peace.
    pub(crate) async fn ended(mut self) {
        let status = within("its end", self.child.wait()).await;
        assert!(status.expect("a status").success());
    }
}
