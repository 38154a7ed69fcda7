//! The server that is measured: one that runs, or one that is started and ended with the run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use crate::Failure;
use crate::options::{Options, Wire};
use crate::process::Process;
use crate::target::Target;

pub(crate) struct Server {
    pub(crate) target: Rc<Target>,
    /// Where signaling is mounted.
    path: Option<String>,
    /// Known if it was started here or named.
    pub(crate) process: Option<Process>,
    /// Ends with this.
    _program: Option<Program>,
}

impl Server {
    pub(crate) async fn reach(options: &Options) -> Result<Self, Failure> {
        let program = options.start.as_deref().map(Program::start).transpose()?;
        let (url, certificate) = match (&program, &options.url) {
            (Some(program), _) => (program.url.clone(), Some(program.certificate())),
            (None, Some(url)) => (url.clone(), None),
            (None, None) => return Err("no server".into()),
        };
        let ca = options.ca.as_deref().or(certificate.as_deref());
        let own = program.as_ref().map(|program| program.child.id());
        let process = own.or(options.server_pid).map(Process::new);
        // To learn of a wrong number now, and not at the end.
        process.map(Process::usage).transpose()?;
        Ok(Self {
            target: Target::new(&url, ca).await?.into(),
            path: options.path.clone(),
            process,
            _program: program,
        })
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
    fn start(path: &Path) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("load-{}", std::process::id()));
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
