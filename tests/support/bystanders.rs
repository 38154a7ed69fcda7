//! Two who have nothing to do with an attack, and must not notice it.

use serde_json::json;

use super::{Peer, Revision, Site, Wire, event, event_to};

/// Where they are, and nobody else.
pub(crate) const QUIET: &str = "quiet";

/// Two peers on different wires who exchange numbered signals.
pub(crate) struct Bystanders {
    peers: [Peer; 2],
    number: u64,
}

impl Bystanders {
    pub(crate) async fn meet(site: &Site) -> Self {
        let mut ann = Peer::join(site, Wire::Socket(Revision::V4), QUIET).await;
        let ben = Peer::join(site, Wire::Json, QUIET).await;
        assert_eq!(ann.signal().await["caller"]["id"], ben.id);
        Self {
            peers: [ann, ben],
            number: 0,
        }
    }

    /// The ids of the two.
    pub(crate) fn ids(&self) -> [&str; 2] {
        self.peers.each_ref().map(|peer| peer.id.as_str())
    }

    /// Each hears of the other what that says now, and nothing before it.
    pub(crate) async fn talk(&mut self) {
        for kind in ["OFFER", "CHAT"] {
            for (from, to) in [(0, 1), (1, 0)] {
                self.number += 1;
                let [from_id, to_id] = [from, to].map(|at: usize| self.peers[at].id.clone());
                let said = match kind {
                    "CHAT" => event(kind, QUIET, self.number),
                    _ => event_to(&to_id, kind, QUIET, self.number),
                };
                self.peers[from].send(&said).await;
                let heard = self.peers[to].signal().await;
                assert_eq!(
                    (&heard["type"], &heard["payload"], &heard["caller"]["id"]),
                    (&json!(kind), &json!(self.number), &json!(from_id))
                );
            }
        }
    }

    /// They have heard nothing but each other, from the beginning to the end.
    pub(crate) async fn part(mut self, site: &Site) {
        self.talk().await;
        super::all_quiet(site, &mut self.peers).await;
        assert_eq!(site.members(QUIET).len(), 2);
    }
}
