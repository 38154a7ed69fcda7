//! Connections that do nothing, two to a room: what each costs to make and to keep.

use std::io::Read;

use tokio::time::sleep;

use crate::Failure;
use crate::call;
use crate::crowd::Crowd;
use crate::options::Options;
use crate::report::{Report, Watch, count, micros, round};
use crate::server::Server;

pub(crate) async fn run(options: &Options, server: &Server) -> Result<Report, Failure> {
    let processes = server.processes.as_ref();
    let process = processes.ok_or("idle needs the server's process")?;
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
    report.set("rss_kb_after", process.resident_kb()?);
    Ok(report)
}
