//! Pairs, in which each CANDIDATE is answered with one: a closed loop.

use std::time::Instant;

use tokio::time::sleep;

use crate::Failure;
use crate::crowd::Crowd;
use crate::event::Kind;
use crate::options::Options;
use crate::report::{Report, Watch};
use crate::server::Server;

pub(crate) async fn run(options: &Options, server: &Server) -> Result<Report, Failure> {
    let clients = 2 * options.pairs;
    let crowd = Crowd::connect(options, server, clients, 2).await?;
    crowd.join(server).await?;
    crowd.introduce().await?;
    crowd.follow(|crowd, client, mark| crowd.say(client, Kind::Candidate, Some(mark.from)));
    for pair in 0..options.pairs {
        for number in 0..options.window {
            let from = 2 * pair + number % 2;
            crowd.say(from, Kind::Candidate, Some(from ^ 1));
        }
    }
    sleep(options.warmup).await;
    crowd.ledger.borrow_mut().is_measuring = true;
    let watch = Watch::start(server, Some(&crowd))?;
    sleep(options.length).await;
    let mut report = watch.stop(&crowd, Instant::now())?;
    crowd.follow(|_, _, _| {});
    report.settle(&crowd).await?;
    crowd.leave().await?;
    Ok(report)
}
