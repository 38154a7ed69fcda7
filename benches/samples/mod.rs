//! The two events that signaling is mostly made of, as a browser sends them.

use peer_data_server::Signal;
use peer_data_server::bench::relay_event;

use crate::event::{self, Kind, Mark};

/// Of an id's form.
pub(crate) const OWN: &str = "zVM8wOtnweVu5FYeAAAA";
const CALLEE: &str = "HjuA7FgHpBJ6BFMPAAAo";

/// One event, as plain JSON.
pub(crate) struct Sample(pub(crate) String);

impl Sample {
    /// The Socket.IO packet that carries it.
    pub(crate) fn packet(&self) -> String {
        format!("2{}", self.data())
    }

    /// The data of that packet.
    pub(crate) fn data(&self) -> String {
        format!("[\"message\",{}]", self.0)
    }

    /// What receivers get of it.
    pub(crate) fn signal(&self) -> Signal {
        let own = OWN.parse().expect("an id");
        relay_event(&self.0, &own).expect("an event")
    }
}

/// The address at which a browser may be reached.
pub(crate) fn candidate() -> Sample {
    sample(Kind::Candidate)
}

/// The description of a call with sound and picture.
pub(crate) fn offer() -> Sample {
    sample(Kind::Offer)
}

fn sample(kind: Kind) -> Sample {
    let mark = Mark {
        kind,
        from: 0,
        to: Some(1),
        number: 0,
        sent_at: 0,
    };
    Sample(event::write(mark, Some(CALLEE), 0))
}

/// A length as criterion counts it.
pub(crate) fn bytes(length: usize) -> u64 {
    length as u64
}
