//! What the application's hooks may do: use the handle of the server that asks them, and panic,
//! which harms nobody but the client that they were asked about.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::support::{
    Bystanders, Host, Peer, Polling, ROOM, Request, Revision, Socket, Wire, event, eventually,
    message, on_each_host, within,
};
use peer_data_server::{
    Code, Hello, Identity, Peer as Caller, PeerData, Policy, Refused, Relay, RoomId, Verdict,
};

on_each_host!(
    a_hook_that_panics_costs_its_own_client_only,
    hooks_may_use_the_handle,
    a_place_is_free_again_when_a_client_gives_up,
);

async fn a_hook_that_panics_costs_its_own_client_only(host: Host) {
    let site = host
        .start_with(|builder| {
            builder
                .relay(|_, event| {
                    assert_ne!(event.kind, "BOOM");
                    Verdict::Relay
                })
                .admit(|_, room| {
                    assert_ne!(room.as_str(), "boom");
                    async { Ok(()) }
                })
        })
        .await;
    let mut bystanders = Bystanders::meet(&site).await;
    let sockets = [
        Wire::Socket(Revision::V3),
        Wire::Socket(Revision::V4),
        Wire::Json,
    ];
    for wire in sockets {
        for said in [event("BOOM", ROOM, 0), event("CONNECT", "boom", 0)] {
            let mut witness = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
            let mut peer = Peer::join(&site, wire, ROOM).await;
            assert_eq!(witness.signal().await["type"], "CONNECT");
            peer.send(&said).await;
            let heard = witness.signal().await;
            assert_eq!(heard["type"], "DISCONNECT", "{wire:?}");
            assert_eq!(heard["caller"]["id"], peer.id);
            bystanders.talk().await;
            let id = witness.id.clone();
            witness.vanish().await;
            eventually("it has left", || !site.members(ROOM).contains(&id)).await;
        }
    }
    // On long-polling it is the request that ends, and with it the session.
    let (polling, _) = Polling::connect(&site, Revision::V4).await;
    assert_eq!(site.server.peer_count(), 3);
    let body = message(&event("CONNECT", "boom", 0));
    let _unanswered = Request::post(&polling.target(), body)
        .start(site.address)
        .await;
    eventually("it has left", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

/// A policy whose every answer comes after it has asked and changed the server it serves.
struct Meddling(Arc<OnceLock<PeerData>>);

impl Meddling {
    fn server(&self) -> &PeerData {
        self.0.get().expect("set before anybody comes")
    }

    /// Whatever the handle can do to one peer but end it.
    fn meddle(&self, peer: &Caller) {
        let [lobby, annex] = ["lobby", "annex"].map(|name| RoomId::new(name).unwrap());
        let server = self.server();
        let id = peer.id();
        assert!(server.peer(&id).is_some());
        server.remove(&id, &annex);
        server.join(&id, &lobby).unwrap();
        server.move_peer(&id, &lobby, &annex).unwrap();
        assert_eq!(server.room_peers(&annex).len(), 1);
        assert_eq!(server.close_room(&annex), 1);
    }
}

impl Policy for Meddling {
    async fn authorize(&self, _: &Hello<'_>) -> Result<Identity, Refused> {
        for peer in self.server().peers() {
            self.meddle(&peer);
        }
        Ok(Identity::anonymous())
    }

    async fn admit(&self, peer: &Caller, _: &RoomId) -> Result<(), Refused> {
        self.meddle(peer);
        Ok(())
    }

    fn capacity(&self, room: &RoomId) -> usize {
        for peer in self.server().peers() {
            let known = self.server().rooms_of(&peer.id());
            if room.as_str() == "doomed" {
                assert!(known.is_empty());
                peer.disconnect();
            } else if room.as_str() == ROOM {
                self.meddle(&peer);
            }
        }
        usize::MAX
    }

    fn relay(&self, peer: &Caller, event: &Relay<'_>) -> Verdict {
        if event.kind == "CHAT" {
            self.meddle(peer);
        } else {
            peer.disconnect();
        }
        Verdict::Refuse(Code::Refused)
    }
}

async fn hooks_may_use_the_handle(host: Host) {
    for wire in Wire::ALL {
        let server = Arc::new(OnceLock::new());
        let (policy, connected) = (Meddling(Arc::clone(&server)), Arc::clone(&server));
        let site = host
            .start_with(move |builder| {
                builder.policy(policy).on_connect(move |peer, _| {
                    let server: &PeerData = connected.get().unwrap();
                    Meddling(Arc::clone(&connected)).meddle(peer);
                    assert_eq!(server.peer_count(), 1);
                })
            })
            .await;
        assert!(server.set(site.server.clone()).is_ok());

        let mut peer = Peer::connect(&site, wire).await;
        peer.send(&event("CONNECT", ROOM, 0)).await;
        eventually("it is in", || site.members(ROOM).len() == 1).await;
        peer.send(&event("CHAT", ROOM, 0)).await;
        peer.send(&event("BYE", ROOM, 0)).await;
        eventually("it is out", || site.server.peer_count() == 0).await;

        let mut peer = Peer::connect(&site, wire).await;
        peer.send(&event("CONNECT", "doomed", 0)).await;
        eventually("it is out", || site.server.peer_count() == 0).await;
        assert_eq!(site.server.room_count(), 0);
    }
}

/// One handshake at a time, and a decision that the first never gets.
async fn a_place_is_free_again_when_a_client_gives_up(host: Host) {
    let requests = [
        Request::upgrade("/peer-data"),
        Request::upgrade("/socket.io/?EIO=3&transport=websocket"),
        Request::get("/socket.io/?EIO=3&transport=polling"),
    ];
    for request in requests {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let site = host
            .start_with(move |builder| {
                builder
                    .max_handshakes(1)
                    .connect_timeout(Duration::from_secs(300))
                    .authorize(move |_| {
                        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                        async move {
                            if first {
                                pending::<()>().await;
                            }
                            Ok(Identity::anonymous())
                        }
                    })
            })
            .await;
        let waiting = request.start(site.address).await;
        eventually("it is asked about", || asked.load(Ordering::SeqCst) == 1).await;
        let answer = Request::upgrade("/peer-data").send(site.address).await;
        assert_eq!(answer.status, 503);
        drop(waiting);
        within("the place is free", async {
            while Socket::try_open(site.address, "/peer-data").await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
