//! How far a run has come, where somebody watches.

use std::io::{IsTerminal, Write, stderr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::crowd::Crowd;

const LOOK: Duration = Duration::from_millis(200);

/// The bar of those who are connected, in characters.
const WIDTH: usize = 30;

/// Shows it for as long as the crowd is there, on a terminal only.
pub(crate) fn show(crowd: &Rc<Crowd>) {
    if !stderr().is_terminal() {
        return;
    }
    let crowd = Rc::downgrade(crowd);
    tokio::task::spawn_local(async move {
        let (mut before, mut since) = (0, Instant::now());
        while let Some(crowd) = crowd.upgrade() {
            let (present, all, heard) = crowd.progress();
            drop(crowd);
            let done = WIDTH * present / all.max(1);
            let bar = format!("{}{}", "#".repeat(done), ".".repeat(WIDTH - done));
            let rate = rate(heard - before, since.elapsed());
            (before, since) = (heard, Instant::now());
            let mut terminal = stderr();
            // Who cannot be shown it does not watch.
            let _ = write!(
                terminal,
                "\r[{bar}] {present} of {all} connected, {heard} delivered, {rate:.0}/s \x1b[K"
            );
            let _ = terminal.flush();
            sleep(LOOK).await;
        }
        let _ = write!(stderr(), "\r\x1b[K");
    });
}

/// No run counts as far as a float does not.
#[allow(clippy::cast_precision_loss)]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-3)
}
