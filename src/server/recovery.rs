//! Peers that lose their connection and come back: one session hands its peer over to another.
//!
//! The only place where two sessions are locked at a time: that of the newcomer, then the one that it
//! has claimed. A claimed session has no connection, and can be no newcomer itself.

use std::sync::{Arc, Mutex, Weak};

use serde::Deserialize;

use super::client::Client;
use super::membership::Held;
use super::turn::Turn;
use super::{Hello, Peer, PeerData};
use crate::clock;
use crate::ending::CloseReason;
use crate::id::SessionId;
use crate::identity::Identity;
use crate::session::{Claim, Claimed, Presence, Recovery, Session, Wire};
use crate::signal;
use crate::sync::lock;
use crate::wire::engine::Revision;

/// What the clients have in common that were, one after the other, the same peer.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    pub(super) membership: Mutex<()>,
    /// The last of them.
    latest: Mutex<Weak<Client>>,
}

impl Lineage {
    pub(super) fn latest(&self) -> Option<Arc<Client>> {
        lock(&self.latest).upgrade()
    }
}

/// What a client says of itself that comes back.
#[derive(Deserialize)]
struct Auth {
    pid: String,
    offset: Option<String>,
}

impl PeerData {
    /// What a client needs to come back as that peer, if it may.
    pub(super) fn recovery(&self, client: &Arc<Client>, presence: &Presence) -> Option<Recovery> {
        let limits = &self.inner.settings.limits;
        let may = client.wire != Wire::Engine(Revision::V3) && presence.namespace.is_none();
        if limits.recovery.is_zero() || !may {
            return None;
        }
        let secret = SessionId::random().ok()?;
        // All of it is to fit into an outbox when it is said again.
        let max = limits.max_recovery.min(limits.max_outbox / 2);
        let budget = Arc::clone(&self.inner.recovered);
        client.lineage();
        Some(Recovery::new(presence.id, secret, max, budget))
    }

    /// Makes a client the peer that it was before it lost its connection, if it can show that. `None`:
    /// it is to be a new one.
    pub(super) fn resume(
        &self,
        client: &Arc<Client>,
        auth: Option<&str>,
        identity: &Identity,
    ) -> Option<Peer> {
        if self.inner.settings.limits.recovery.is_zero() {
            return None;
        }
        let handshake = client.handshake().filter(|_| client.wire == Wire::Json);
        let shown: Option<Auth> = auth.and_then(|auth| signal::read("auth", auth).ok());
        let claim = match (&handshake, &shown) {
            (Some(handshake), _) => Hello::new(handshake, None, None)
                .protocols()
                .find_map(Claim::of_protocol),
            (None, Some(Auth { pid, offset })) => Claim::of_auth(pid, offset.as_deref()),
            (None, None) => None,
        }?;
        let old = self.inner.broker.mailbox(&claim.peer)?;
        if Arc::ptr_eq(&old, client) || client.wire != old.wire {
            return None;
        }
        // Whoever still acts for it: what the client said before comes before what it says now.
        let turn = Turn::try_take(&old)?;
        let peer = match old.with(|session| session.claim(&claim)) {
            Claimed::No => None,
            Claimed::Yes => self.take_over(client, &old, &claim, identity),
            Claimed::Missed => {
                old.close(CloseReason::TransportLost);
                None
            }
        };
        drop(turn);
        self.settle(&old);
        peer
    }

    fn take_over(
        &self,
        client: &Arc<Client>,
        old: &Arc<Client>,
        claim: &Claim<'_>,
        identity: &Identity,
    ) -> Option<Peer> {
        let presence = Presence::main(claim.peer);
        let ice = self.mint_for(client, &claim.peer);
        let field = self.inner.settings.tracer.field(identity);
        let held = Held::new(old);
        let (handed, wakes) = client.step(|session| {
            if session.is_closed() || !client.succeeds(old) {
                return None;
            }
            // Nothing is delivered until both know: whoever is at the old one goes on at the new.
            let (handover, wakes) = old.step(|gone| {
                let handover = gone.hand_over()?;
                session.recover(handover, claim, identity.clone(), ice.as_deref());
                if ice.is_some() {
                    self.note_minted(session, clock::now());
                }
                self.inner.broker.move_mailbox(&claim.peer, client);
                if let Some(lineage) = client.known_lineage() {
                    *lock(&lineage.latest) = Arc::downgrade(client);
                }
                Some(())
            });
            Some((handover?, wakes))
        });
        let taken = handed.is_some();
        if taken {
            client.connected();
        } else {
            old.with(Session::unclaim);
        }
        drop(held);
        wakes.wake();
        let ((), old_wakes) = handed?;
        old_wakes.wake();
        let peer = Peer::known(self, client, presence, identity.clone());
        self.note_connected(client, &peer, field.as_deref());
        self.await_refresh(client);
        Some(peer)
    }
}
