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
    let processes = server.processes.as_ref();
    let process = processes.ok_or("idle needs the server's process")?;
    let mut report = once(options, server, process).await?;
    let mut after = vec![settled_kb(process).await?];
    for _ in 1..options.rounds {
        report.blame(&once(options, server, process).await?);
        after.push(settled_kb(process).await?);
    }
    report.set("rss_kb_after", after);
    Ok(report)
}

/// Everybody comes, stays and leaves.
async fn once(options: &Options, server: &Server, process: &Processes) -> Result<Report, Failure> {
    // Rooms have two.
    let clients = options.conns.next_multiple_of(2);
    let number = clients as u64;
    let mut report = Report::default();

    let before = process.resident_kb()?;
    let connecting = Watch::start(server, None)?;
    let crowd = Crowd::connect(options, server, clients, 2).await?;
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
    let held = process.resident_kb()?;
    if let Some(cpu) = holding.server_cpu()? {
        report.set("idle_cpu_ms", round(cpu.as_secs_f64() * 1e3));
    }
    let each = count(held.saturating_sub(before)) / count(number);
    report.set("rss_kb_per_connection", round(each));
    report.set("rss_kb_before", before);

    if options.pause {
        println!("held");
        // Heartbeats go on meanwhile, on this thread.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    }
    crowd.leave().await?;
    Ok(report)
}

/// What stays: allocators give memory back some time after it was last used, if they do.
async fn settled_kb(process: &Processes) -> Result<u64, Failure> {
    let mut least = process.resident_kb()?;
    loop {
        sleep(STILL).await;
        let now = process.resident_kb()?;
        if now >= least {
            return Ok(now);
        }
        least = now;
    }
}
