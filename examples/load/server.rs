//! The server that is measured: one that runs, or one that is started and ended with the run; and
//! of either, one node or several.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use crate::Failure;
use crate::options::{Options, Wire};
use crate::process::Processes;
use crate::target::Target;

/// How long nodes that have just been started may take to find each other.
const GATHERING: Duration = Duration::from_secs(2);

pub(crate) struct Server {
    /// Its nodes.
    targets: Vec<Rc<Target>>,
    /// Where signaling is mounted.
    path: Option<String>,
    /// Known if they were started here or named.
    pub(crate) processes: Option<Processes>,
    /// What carries the words of the nodes, if that is named.
    pub(crate) bus: Option<Processes>,
    /// End with this.
    _programs: Vec<Program>,
}

impl Server {
    pub(crate) async fn reach(options: &Options) -> Result<Self, Failure> {
        let mut programs = Vec::new();
        if let Some(path) = &options.start {
            for number in 0..options.nodes {
                programs.push(Program::start(path, number)?);
            }
        }
        let own = programs.iter().map(|program| program.child.id());
        let processes = Processes::new(own.chain(options.server_pids.iter().copied()));
        if programs.len() > 1 {
            tokio::time::sleep(GATHERING).await;
        }
        // To learn of a wrong number now, and not at the end.
        processes.as_ref().map(Processes::usage).transpose()?;
        let mut targets = Vec::new();
        for program in &programs {
            let certificate = program.certificate();
            let ca = options.ca.as_deref().unwrap_or(&certificate);
            targets.push(Target::new(&program.url, Some(ca)).await?.into());
        }
        for url in &options.urls {
            targets.push(Target::new(url, options.ca.as_deref()).await?.into());
        }
        Ok(Self {
            targets,
            path: options.path.clone(),
            processes,
            bus: Processes::new(options.bus_pid),
            _programs: programs,
        })
    }

    /// The node that a client is to go to.
    pub(crate) fn target(&self, client: usize) -> &Rc<Target> {
        &self.targets[client % self.targets.len()]
    }

    pub(crate) fn nodes(&self) -> usize {
        self.targets.len()
    }

    /// Where signaling is mounted for that wire.
    pub(crate) fn path(&self, wire: Wire) -> &str {
        let default = match wire {
            Wire::Json => "/peer-data",
            _ => "/socket.io/",
        };
        self.path.as_deref().unwrap_or(default)
    }
}

/// A program with an own folder, in which there are a certificate and its key, should it want TLS.
struct Program {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Program {
    /// Returns once it listens, which it says by a line that ends in its URL.
    fn start(path: &Path, number: usize) -> Result<Self, Failure> {
        let name = format!("load-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names)?;
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&cert, own.cert.pem())?;
        fs::write(&key, own.signing_key.serialize_pem())?;
        let mut child = Command::new(path)
            .env("PORT", "0")
            .env("TLS_CERT", cert)
            .env("TLS_KEY", key)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take();
        // Made before anything can fail, so that the child ends with it.
        let mut program = Self {
            child,
            url: String::new(),
            folder,
        };
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let url = line
            .split_whitespace()
            .last()
            .filter(|url| url.contains("://"));
        url.ok_or("the program ended, or its first line has no URL")?
            .clone_into(&mut program.url);
        Ok(program)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, and what is left of it is in a folder for such.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
