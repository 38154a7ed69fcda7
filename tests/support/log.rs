//! The log of this process, at every level.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was logged, by this crate and by all that it is built on.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The log of this process, from now on at the latest.
    pub(crate) fn of_all() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            tracing_subscriber::fmt()
                .with_max_level(LevelFilter::TRACE)
                .with_ansi(false)
                .with_target(true)
                .with_writer(log.clone())
                .init();
            log
        })
    }

    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        let lines = text.lines().filter(|line| !is_of_the_client(line));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Whether the websocket library said that of the tests' own clients, which are in this process too.
/// Of its streams and handshakes the server uses none.
fn is_of_the_client(line: &str) -> bool {
    let said_by = line.split(' ').nth(2).unwrap_or_default();
    said_by == "tungstenite::protocol:"
        || said_by.starts_with("tokio_tungstenite")
        || said_by.starts_with("tungstenite::handshake::")
}

pub(crate) struct Line<'a>(MutexGuard<'a, Vec<u8>>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.0.lock().unwrap())
    }
}
