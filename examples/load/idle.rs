//! Connections that do nothing, two to a room: what each costs to make and to keep, and what stays
//! when they have gone.

use std::io::Read;
use std::time::Duration;

use tokio::time::sleep;

use crate::Failure;
use crate::call;
use crate::crowd::Crowd;
use crate::options::Options;
use crate::process::Processes;
use crate::report::{Report, Watch, count, micros, round};
use crate::server::Server;

/// How long resident memory must not fall to count as what stays.
const STILL: Duration = Duration::from_millis(500);

/// The figures are the first round's, faults are all of them's.
pub(crate) async fn run(options: &Options, server: &Server) -> Result<Report, Failure> {
    let mut report = once(options, server).await?;
    let mut after = Vec::from_iter(settled_kb(server).await?);
    for _ in 1..options.rounds {
        report.blame(&once(options, server).await?);
        after.extend(settled_kb(server).await?);
    }
    if !after.is_empty() {
        report.set("rss_kb_after", after);
    }
    Ok(report)
}

/// Everybody comes, stays and leaves.
async fn once(options: &Options, server: &Server) -> Result<Report, Failure> {
    // Rooms have two.
    let clients = options.conns.next_multiple_of(2);
    let number = clients as u64;
    let mut report = Report::default();

    let before = resident_kb(server)?;
    let connecting = Watch::start(server, None)?;
    let crowd = Crowd::connect(options, server, clients, 2).await?;
    report.set("connecting_s", round(connecting.elapsed().as_secs_f64()));
    if let Some(cpu) = connecting.server_cpu()? {
        report.set("cpu_us_per_connection", micros(cpu, number));
    }
    if options.talk {
        crowd.follow(call::negotiate);
    }
    crowd.join(server).await?;
    report.settle(&crowd).await?;

    let holding = Watch::start(server, None)?;
    sleep(options.hold).await;
    if let Some(cpu) = holding.server_cpu()? {
        report.set("idle_cpu_ms", round(cpu.as_secs_f64() * 1e3));
    }
    if let Some((before, held)) = before.zip(resident_kb(server)?) {
        let each = count(held.saturating_sub(before)) / count(number);
        report.set("rss_kb_per_connection", round(each));
        report.set("rss_kb_before", before);
    }

    if options.pause {
        println!("held");
        // Heartbeats go on meanwhile, on this thread.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    }
    crowd.leave().await?;
    Ok(report)
}

/// Resident memory of the server, if its processes are known.
fn resident_kb(server: &Server) -> Result<Option<u64>, Failure> {
    let processes = server.processes.as_ref();
    processes.map(Processes::resident_kb).transpose()
}

/// What stays: allocators give memory back some time after it was last used, if they do.
async fn settled_kb(server: &Server) -> Result<Option<u64>, Failure> {
    let Some(mut least) = resident_kb(server)? else {
        return Ok(None);
    };
    loop {
        sleep(STILL).await;
        match resident_kb(server)? {
            Some(now) if now < least => least = now,
            now => return Ok(now),
        }
    }
}
