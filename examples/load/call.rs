//! Rooms in which everybody calls everybody, all at once: CONNECT is answered with an OFFER, that
//! with an ANSWER, and both sides send CANDIDATEs, which makes 19 deliveries for each pair.

use crate::Failure;
use crate::crowd::Crowd;
use crate::event::{Kind, Mark};
use crate::options::Options;
use crate::report::{Report, Watch};
use crate::server::Server;

/// How many addresses each side has.
const CANDIDATES: usize = 8;

pub(crate) async fn run(options: &Options, server: &Server) -> Result<Report, Failure> {
    let clients = options.rooms * options.peers;
    let crowd = Crowd::connect(options, server, clients, options.peers).await?;
    crowd.follow(negotiate);
    crowd.ledger.borrow_mut().is_measuring = true;
    let watch = Watch::start(server, Some(&crowd))?;
    crowd.join(server).await?;
    crowd.settle().await?;
    let end = crowd.ledger.borrow().last_delivery();
    let mut report = watch.stop(&crowd, end)?;
    report.settle(&crowd).await?;
    crowd.leave().await?;
    Ok(report)
}

/// What `client` says to what it hears.
pub(crate) fn negotiate(crowd: &Crowd, client: usize, mark: Mark) {
    let other = Some(mark.from);
    match mark.kind {
        Kind::Connect => return crowd.say(client, Kind::Offer, other),
        Kind::Offer => crowd.say(client, Kind::Answer, other),
        Kind::Answer => {}
        Kind::Candidate | Kind::Chat => return,
    }
    for _ in 0..CANDIDATES {
        crowd.say(client, Kind::Candidate, other);
    }
}
