//! A client that speaks plain JSON loses its connection, and comes back as the same peer: it counts
//! what it hears, and says how much that was.

#![cfg(feature = "tower")]

use std::time::Duration;

use crate::support::{
    Frame, Host, Peer, ROOM, Revision, Site, Socket, Wire, event, eventually, on_each_host,
};
use peer_data_server::{Builder, IceServers, PeerId};
use serde_json::{Value, json};

on_each_host!(
    what_was_missed_is_said_once_and_in_order,
    all_messages_count,
    who_closes_its_websocket_has_left,
    a_guess_or_a_lie_makes_a_new_peer,
    who_comes_back_is_told_of_turn_servers,
    it_is_off_by_default,
);

fn recovers(builder: Builder) -> Builder {
    // Longer than any test takes.
    builder.recovery(Duration::from_secs(600))
}

/// A client in [`ROOM`] that may come back.
struct Caller {
    socket: Socket,
    id: String,
    resume: String,
    /// How many messages it has had, but READY.
    seen: usize,
}

impl Caller {
    async fn join(site: &Site) -> Self {
        let socket = Socket::open(site.address, "/peer-data").await;
        let mut caller = Self::of(socket).await;
        assert_eq!(caller.ready["payload"]["resumed"], false);
        let connect = event("CONNECT", ROOM, Value::Null);
        caller.caller.socket.send(&connect.to_string()).await;
        site.catch_up().await;
        caller.caller
    }

    async fn of(mut socket: Socket) -> Arrived {
        let ready: Value = serde_json::from_str(&socket.text().await).expect("JSON");
        assert_eq!(ready["type"], "READY");
        let text = |name: &str| {
            ready["payload"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let (id, resume) = (text("id"), text("resume"));
        let seen = 0;
        let caller = Self {
            socket,
            id,
            resume,
            seen,
        };
        Arrived { ready, caller }
    }

    async fn hear(&mut self) -> Value {
        self.seen += 1;
        serde_json::from_str(&self.socket.text().await).expect("JSON")
    }

    /// Loses its connection; what it shows to come back.
    async fn vanish(self, site: &Site) -> String {
        drop(self.socket);
        absent(site, &self.id).await;
        format!("resume.{}.{}", self.resume, self.seen)
    }
}

/// What it is told first, and who it is then.
struct Arrived {
    ready: Value,
    caller: Caller,
}

async fn absent(site: &Site, id: &str) {
    let id: PeerId = id.parse().expect("an id");
    let away = || {
        site.server
            .peer(&id)
            .is_some_and(|peer| peer.transport().is_none())
    };
    eventually("the loss is noticed", away).await;
}

async fn come_back(site: &Site, shown: &str) -> Arrived {
    let protocols = format!("peer-data, {shown}");
    Caller::of(Socket::offer(site.address, "/peer-data", &protocols).await).await
}

/// A member of another wire, and the client.
async fn scene(site: &Site) -> (Peer, Caller) {
    let mut other = Peer::join(site, Wire::Socket(Revision::V3), ROOM).await;
    let caller = Caller::join(site).await;
    assert_eq!(other.signal().await["caller"]["id"], caller.id);
    (other, caller)
}

fn tell(site: &Site, id: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        assert_eq!(site.tell(id, "NUMBER", &json!(number)), 1, "{number}");
    }
}

async fn what_was_missed_is_said_once_and_in_order(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, mut caller) = scene(&site).await;
    let id = caller.id.clone();
    let (mut next, mut seen) = (0, 0);
    for round in 0..3 {
        tell(&site, &id, next..next + 3);
        // Two of them it has seen; the third was on its way.
        for number in next..next + 2 {
            assert_eq!(caller.hear().await["payload"], number, "{round}");
        }
        seen += 2;
        caller.seen = seen;
        let shown = caller.vanish(&site).await;
        tell(&site, &id, next + 3..next + 5);
        let arrived = come_back(&site, &shown).await;
        assert_eq!(arrived.ready["payload"]["resumed"], true, "{round}");
        caller = arrived.caller;
        assert_eq!(caller.id, id, "{round}");
        for number in next + 2..next + 5 {
            assert_eq!(caller.hear().await["payload"], number, "{round}");
        }
        seen += 3;
        next += 5;
    }
    let said = event("CHAT", ROOM, "back");
    caller.socket.send(&said.to_string()).await;
    let said = other.signal().await;
    assert_eq!(
        (&said["caller"]["id"], &said["payload"]),
        (&json!(id), &json!("back"))
    );
    other.hears_nothing(&site).await;
}

async fn all_messages_count(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, mut caller) = scene(&site).await;
    let id = caller.id.clone();
    caller.socket.send("{").await;
    assert_eq!(caller.hear().await["type"], "ERROR");
    let file = event("FILE", ROOM, json!({"_placeholder": true, "num": 0}));
    other.send_raw(&file.to_string(), &[b"bytes"]).await;
    assert_eq!(caller.hear().await["type"], "FILE");
    // The bytes did not come any more.
    let shown = caller.vanish(&site).await;
    assert!(shown.ends_with(".2"), "{shown}");
    let mut caller = come_back(&site, &shown).await.caller;
    assert_eq!(caller.id, id);
    assert_eq!(
        caller.socket.frame().await,
        Frame::Binary(b"bytes".to_vec())
    );
    tell(&site, &id, 0..1);
    assert_eq!(caller.hear().await["payload"], 0);
}

async fn who_closes_its_websocket_has_left(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, mut caller) = scene(&site).await;
    caller.socket.send_close(1000).await;
    other.hears_departure(&caller.id, ROOM).await;
    let arrived = come_back(&site, &format!("resume.{}.0", caller.resume)).await;
    assert_eq!(arrived.ready["payload"]["resumed"], false);
    assert_ne!(arrived.caller.id, caller.id);
    other.hears_nothing(&site).await;
}

async fn a_guess_or_a_lie_makes_a_new_peer(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, caller) = scene(&site).await;
    let (id, resume) = (caller.id.clone(), caller.resume.clone());
    // Not while it is there.
    let arrived = come_back(&site, &format!("resume.{resume}.0")).await;
    assert_ne!(arrived.caller.id, id);
    let shown = caller.vanish(&site).await;
    let last = if resume.ends_with('A') { 'B' } else { 'A' };
    for guess in [
        format!("resume.{}{last}.0", &resume[..resume.len() - 1]),
        format!("resume.{id}{id}.0"),
        format!("resume.{resume}"),
        format!("resume.{resume}.x"),
        format!("resume.{resume}.99999999999999999999"),
        format!("resume.{}.0", "x".repeat(4_000)),
        format!("RESUME.{resume}.0"),
    ] {
        let arrived = come_back(&site, &guess).await;
        assert_ne!(arrived.caller.id, id, "{guess}");
        assert_eq!(arrived.ready["payload"]["resumed"], false, "{guess}");
    }
    // Nor does another wire help.
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    socket.send(&format!("40{}", json!({"pid": resume}))).await;
    assert!(!socket.text().await.contains(&id));
    other.hears_nothing(&site).await;
    let arrived = come_back(&site, &shown).await;
    assert_eq!(arrived.caller.id, id, "nobody has spoilt it");
    let _ = arrived.caller.vanish(&site).await;
    // It cannot have heard what was never said.
    let last = format!("resume.{resume}.{}", u64::MAX);
    assert_ne!(come_back(&site, &last).await.caller.id, id);
    other.hears_departure(&id, ROOM).await;
}

async fn who_comes_back_is_told_of_turn_servers(host: Host) {
    let with_turn = |builder: Builder| {
        recovers(builder).ice_servers(IceServers::new().stun(["stun:stun.example.org:3478"]))
    };
    let site = host.start_with(with_turn).await;
    let caller = Caller::join(&site).await;
    let id = caller.id.clone();
    let shown = caller.vanish(&site).await;
    let arrived = come_back(&site, &shown).await;
    assert_eq!(arrived.caller.id, id);
    let servers = &arrived.ready["payload"]["iceServers"];
    assert_eq!(servers[0]["urls"], json!(["stun:stun.example.org:3478"]));
}

async fn it_is_off_by_default(host: Host) {
    let site = host.start().await;
    let mut other = Peer::join(&site, Wire::Json, ROOM).await;
    let socket = Socket::open(site.address, "/peer-data").await;
    let Arrived { ready, caller } = Caller::of(socket).await;
    let payload = ready["payload"].as_object().expect("an object");
    assert_eq!(payload.keys().collect::<Vec<_>>(), ["id"]);
    let connect = event("CONNECT", ROOM, Value::Null);
    let mut caller = caller;
    caller.socket.send(&connect.to_string()).await;
    assert_eq!(other.signal().await["caller"]["id"], caller.id);
    drop(caller.socket);
    other.hears_departure(&caller.id, ROOM).await;
}
