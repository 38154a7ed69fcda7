//! One room, one sender: the next event goes out when everybody has heard one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use tokio::time::sleep;

use crate::Failure;
use crate::crowd::Crowd;
use crate::event::Kind;
use crate::options::Options;
use crate::report::{Report, Watch};
use crate::server::Server;

const SENDER: usize = 0;

pub(crate) async fn run(options: &Options, server: &Server) -> Result<Report, Failure> {
    let crowd = Crowd::connect(options, server, options.peers, options.peers).await?;
    crowd.join(server).await?;
    crowd.settle().await?;
    let others = options.peers - 1;
    // By number of an event, how many have heard it.
    let heard = RefCell::new(HashMap::<u64, usize>::new());
    crowd.follow(move |crowd, _, mark| {
        let mut heard = heard.borrow_mut();
        let count = heard.entry(mark.number).or_default();
        *count += 1;
        if *count == others {
            heard.remove(&mark.number);
            crowd.say(SENDER, Kind::Chat, None);
        }
    });
    for _ in 0..options.window {
        crowd.say(SENDER, Kind::Chat, None);
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
