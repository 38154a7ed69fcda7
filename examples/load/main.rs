//! A load generator: real clients on any of the wires, which count what a server costs and check
//! that it does its work.
//!
//! ```text
//! cargo build --release --all-features --examples
//! target/release/examples/load relay --wire json --start target/release/examples/standalone
//! target/release/examples/load relay --wire polling3 --url http://127.0.0.1:3000 --server-pid 4711
//! target/release/examples/load table results.jsonl
//! ```
//!
//! One run prints a summary, or one line of JSON with `--output json`. The status is 0 if all went
//! well, 1 if a signal was lost, misdelivered, out of order or under a wrong name, or came later than
//! `--max-p99` allows, and 2 if the run could not be made.
//! `benches/README.md` says what the figures mean.

mod call;
mod crowd;
mod event;
mod fanout;
mod idle;
mod ledger;
mod line;
mod options;
mod polling;
mod process;
mod progress;
mod relay;
mod report;
mod server;
mod session;
mod socket;
mod table;
mod target;

use std::error::Error;
use std::process::ExitCode;

use options::{Options, Output, Workload};
use report::Report;
use server::Server;

type Failure = Box<dyn Error>;

/// One thread, so that at most one core goes to the clients.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, files)) if first == "table" => table::print(files).map(|()| true),
        Some((first, _)) if matches!(&**first, "--help" | "-h") => {
            println!("{}", options::HELP);
            Ok(true)
        }
        _ => run(&arguments).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}

/// One run; false if the server did not do its work.
async fn run(arguments: &[String]) -> Result<bool, Failure> {
    let options = Options::parse(arguments)?;
    // Each client of a polling session has two connections.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let server = Server::reach(&options).await?;
    // Clients share what they know without locks, and none leaves this thread.
    let report = tokio::task::LocalSet::new()
        .run_until(measure(&options, &server))
        .await?;
    match options.output {
        Output::Json => println!("{}", report.line(&options)),
        Output::Summary => print!("{}", report.summary(&options)),
    }
    Ok(report.is_correct() && !report.is_late(&options))
}

async fn measure(options: &Options, server: &Server) -> Result<Report, Failure> {
    match options.workload {
        Workload::Relay => relay::run(options, server).await,
        Workload::Fanout => fanout::run(options, server).await,
        Workload::Call => call::run(options, server).await,
        Workload::Idle => idle::run(options, server).await,
    }
}
