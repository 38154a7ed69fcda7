//! A connection is lost, and its client comes back as the same peer: the others hear nothing of it, and
//! it hears all that it has missed, once and in order.

#![cfg(feature = "tower")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{
    Host, Node, Peer, Polling, ROOM, Revision, Site, Socket, Wire, acquaint, event, eventually,
    on_each_host,
};
use peer_data_server::{
    Builder, CloseReason, Identity, MemoryBus, PeerData, PeerId, Refused, Signal,
};
use serde_json::{Value, json};

on_each_host!(
    what_was_missed_is_said_once_and_in_order,
    what_was_on_its_way_is_said_again,
    a_polling_client_comes_back_by_websocket,
    who_comes_back_again_has_the_same_right,
    binary_is_said_again_with_its_attachments,
    who_does_not_come_back_has_left_once,
    who_leaves_on_purpose_has_left_at_once,
    an_engine_that_is_closed_may_be_opened_again,
    a_guess_or_a_lie_makes_a_new_peer,
    a_peer_that_is_there_is_not_taken_over,
    of_two_that_come_back_one_is_the_peer,
    more_than_is_kept_ends_the_absence,
    the_application_is_asked_again,
    it_is_off_by_default,
);

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

fn recovers(builder: Builder) -> Builder {
    builder.recovery(LONG)
}

/// A Socket.IO 4 client that may come back, in [`ROOM`].
struct Caller {
    socket: Socket,
    id: String,
    pid: String,
}

fn body(packet: &str) -> Value {
    let json = packet.strip_prefix("40").expect("a CONNECT");
    serde_json::from_str(json).expect("JSON")
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

impl Caller {
    async fn join(site: &Site) -> Self {
        let (mut socket, connected) = Socket::connect(site, Revision::V4).await;
        let connected = body(&connected);
        let connect = event("CONNECT", ROOM, Value::Null);
        socket.send(&format!("420[\"message\",{connect}]")).await;
        assert!(socket.text().await.starts_with("430["), "the ack");
        Self {
            socket,
            id: text(&connected["sid"]),
            pid: text(&connected["pid"]),
        }
    }

    /// The payload of the next signal and the offset that came with it.
    async fn hear(&mut self) -> (Value, String) {
        heard(&self.socket.text().await)
    }

    /// Cuts the connection; returns once the server knows.
    async fn vanish(self, site: &Site) -> (String, String) {
        drop(self.socket);
        absent(site, &self.id).await;
        (self.id, self.pid)
    }
}

fn heard(packet: &str) -> (Value, String) {
    let event = packet.strip_prefix("42").expect("an event");
    let event: Value = serde_json::from_str(event).expect("JSON");
    assert_eq!(event.as_array().map(Vec::len), Some(3), "{event}");
    (event[1]["payload"].clone(), text(&event[2]))
}

/// The peer as the application has it.
fn handle(site: &Site, id: &str) -> peer_data_server::Peer {
    let id: PeerId = id.parse().expect("an id");
    site.server.peer(&id).expect("a peer")
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

/// Comes back; what the server says to that.
async fn come_back(site: &Site, auth: &Value) -> (Socket, Value) {
    let (mut socket, _) = Socket::engine(site, Revision::V4).await;
    socket.send(&format!("40{auth}")).await;
    let connected = body(&socket.text().await);
    (socket, connected)
}

async fn witness(site: &Site) -> Peer {
    Peer::join(site, Wire::Json, ROOM).await
}

async fn scene(site: &Site) -> (Peer, Caller) {
    let mut other = witness(site).await;
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
    tell(&site, &caller.id, 0..1);
    let (_, offset) = caller.hear().await;
    let (id, pid) = caller.vanish(&site).await;
    tell(&site, &id, 1..3);
    other.send(&event("CHAT", ROOM, 3)).await;
    other.hears_nothing(&site).await;
    assert!(site.members(ROOM).contains(&id));

    let (mut socket, connected) = come_back(&site, &json!({"pid": pid, "offset": offset})).await;
    assert_eq!(connected, json!({"sid": id, "pid": pid}));
    let mut offsets = vec![offset];
    for number in 1..4 {
        let (payload, offset) = heard(&socket.text().await);
        assert_eq!(payload, number);
        offsets.push(offset);
    }
    tell(&site, &id, 4..5);
    let (payload, offset) = heard(&socket.text().await);
    assert_eq!(payload, 4, "nothing twice");
    assert!(!offsets.contains(&offset));
    // It is in its room as before, and nobody has heard of anything.
    socket
        .send(&format!("42[\"message\",{}]", event("CHAT", ROOM, "back")))
        .await;
    let said = other.signal().await;
    assert_eq!(
        (&said["caller"]["id"], &said["payload"]),
        (&json!(id), &json!("back"))
    );
    other.hears_nothing(&site).await;
    assert_eq!(site.server.peer_count(), 2);
}

async fn what_was_on_its_way_is_said_again(host: Host) {
    let site = host.start_with(recovers).await;
    let (_other, mut caller) = scene(&site).await;
    tell(&site, &caller.id, 0..3);
    let (_, first) = caller.hear().await;
    caller.hear().await;
    // The third was written to the socket, and the client says that the first is all that it has seen.
    let (id, pid) = caller.vanish(&site).await;
    let (mut socket, connected) = come_back(&site, &json!({"pid": pid, "offset": first})).await;
    assert_eq!(connected["sid"], id);
    for number in 1..3 {
        assert_eq!(heard(&socket.text().await).0, number);
    }
    // One that has seen nothing at all, by its offset from when it was another peer.
    drop(socket);
    absent(&site, &id).await;
    tell(&site, &id, 3..4);
    let auth = json!({"pid": pid, "offset": first});
    let (mut socket, connected) = come_back(&site, &auth).await;
    assert_eq!(connected["sid"], id);
    for number in 1..4 {
        assert_eq!(heard(&socket.text().await).0, number);
    }
}

async fn a_polling_client_comes_back_by_websocket(host: Host) {
    let site = host.start_with(recovers).await;
    let (polling, connected) = Polling::connect(&site, Revision::V4).await;
    let connected = body(&connected);
    let id = text(&connected["sid"]);
    drop(polling.start_post(1).await);
    absent(&site, &id).await;
    tell(&site, &id, 0..2);
    let polled = polling.get().await;
    assert_eq!(polled.status, 400, "the old session is over");
    let (mut socket, again) = come_back(&site, &json!({"pid": connected["pid"]})).await;
    assert_eq!(again, connected);
    for number in 0..2 {
        assert_eq!(heard(&socket.text().await).0, number);
    }
}

async fn who_comes_back_again_has_the_same_right(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, caller) = scene(&site).await;
    let peer = handle(&site, &caller.id);
    let (id, pid) = caller.vanish(&site).await;
    let mut offset = None;
    for round in 0..5 {
        tell(&site, &id, round..round + 1);
        let auth = json!({"pid": pid, "offset": offset});
        let (mut socket, connected) = come_back(&site, &auth).await;
        assert_eq!(connected["sid"], id, "{round}");
        let (payload, seen) = heard(&socket.text().await);
        assert_eq!(payload, round);
        offset = Some(seen);
        assert!(
            peer.transport().is_some(),
            "the application's handle goes on"
        );
        drop(socket);
        absent(&site, &id).await;
    }
    other.hears_nothing(&site).await;
    assert!(peer.disconnect());
    other.hears_departure(&id, ROOM).await;
}

async fn binary_is_said_again_with_its_attachments(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, caller) = scene(&site).await;
    let (id, pid) = caller.vanish(&site).await;
    let mut sender = Peer::join(&site, Wire::Socket(Revision::V3), ROOM).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
    let file = event("FILE", ROOM, json!({"_placeholder": true, "num": 0}));
    sender.send_raw(&file.to_string(), &[b"bytes"]).await;
    assert_eq!(other.hear().await.attachments, [b"bytes"]);
    let (mut socket, connected) = come_back(&site, &json!({"pid": pid})).await;
    assert_eq!(connected["sid"], id);
    assert!(socket.text().await.contains("\"CONNECT\""));
    let file = socket.text().await;
    assert!(file.starts_with("451-[\"message\",{"), "{file}");
    assert!(file.contains("\"FILE\""), "{file}");
    assert_eq!(socket.binary().await, b"bytes");
}

async fn who_does_not_come_back_has_left_once(host: Host) {
    let short = Duration::from_millis(50);
    let site = host.start_with(|builder| builder.recovery(short)).await;
    let mut lifecycle = site.server.lifecycle();
    let (mut other, caller) = scene(&site).await;
    let (id, pid) = (caller.id.clone(), caller.pid.clone());
    drop(caller);
    other.hears_departure(&id, ROOM).await;
    let (_socket, connected) = come_back(&site, &json!({"pid": pid, "offset": "x.1"})).await;
    assert_ne!(connected["sid"], id);
    assert_ne!(connected["pid"], pid);
    other.hears_nothing(&site).await;
    let mut gone = 0;
    loop {
        match lifecycle.next().await.expect("a server") {
            peer_data_server::LifecycleEvent::Disconnected { peer, reason, .. } => {
                assert_eq!(
                    (peer.id().to_string(), reason),
                    (id.clone(), CloseReason::TransportLost)
                );
                gone += 1;
            }
            peer_data_server::LifecycleEvent::Connected { peer, .. }
                if connected["sid"] == peer.id().to_string() =>
            {
                break;
            }
            _ => {}
        }
    }
    assert_eq!(gone, 1);
}

async fn who_leaves_on_purpose_has_left_at_once(host: Host) {
    let site = host.start_with(recovers).await;
    let mut other = witness(&site).await;
    for way in ["41", "a page that is closed", "kick"] {
        let mut caller = Caller::join(&site).await;
        assert_eq!(other.signal().await["type"], "CONNECT");
        match way {
            "kick" => assert!(handle(&site, &caller.id).disconnect()),
            "a page that is closed" => caller.socket.send_close(1001).await,
            packet => caller.socket.send(packet).await,
        }
        other.hears_departure(&caller.id, ROOM).await;
        drop(caller.socket);
        let (_socket, connected) = come_back(&site, &json!({"pid": caller.pid})).await;
        assert_ne!(connected["sid"], caller.id, "{way}");
    }
    // Also while it is away.
    let caller = Caller::join(&site).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
    let (id, _) = caller.vanish(&site).await;
    assert!(handle(&site, &id).disconnect());
    other.hears_departure(&id, ROOM).await;
    other.hears_nothing(&site).await;
}

/// A Socket.IO client says that it leaves by a packet of that protocol, not by what ends its engine.
async fn an_engine_that_is_closed_may_be_opened_again(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, caller) = scene(&site).await;
    let Caller {
        mut socket,
        id,
        pid,
    } = caller;
    for way in ["a close packet", "a close frame"] {
        match way {
            "a close packet" => socket.send("1").await,
            _ => socket.send_close(1000).await,
        }
        absent(&site, &id).await;
        let (back, connected) = come_back(&site, &json!({"pid": pid})).await;
        assert_eq!(connected["sid"], id, "{way}");
        socket = back;
    }
    other.hears_nothing(&site).await;
}

async fn a_guess_or_a_lie_makes_a_new_peer(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, mut caller) = scene(&site).await;
    tell(&site, &caller.id, 0..1);
    let (_, offset) = caller.hear().await;
    let (id, pid) = caller.vanish(&site).await;
    let last = if pid.ends_with('A') { 'B' } else { 'A' };
    let near = format!("{}{last}", &pid[..pid.len() - 1]);
    for guess in [
        json!(near),
        json!(id),
        json!(format!("{id}{id}")),
        json!(pid[..pid.len() - 1]),
        json!(format!("{pid}A")),
        json!("é".repeat(20)),
        json!(""),
        json!(null),
        json!([pid]),
        json!("x".repeat(10_000)),
    ] {
        let auth = json!({"pid": guess, "offset": offset});
        let (_socket, connected) = come_back(&site, &auth).await;
        assert_ne!(connected["sid"], id, "{guess}");
    }
    other.hears_nothing(&site).await;
    // Of what was never said nobody has seen anything: that is not the client, or it is broken.
    let (tag, _) = offset.split_once('.').expect("a tag");
    let auth = json!({"pid": pid, "offset": format!("{tag}.2")});
    let (_socket, connected) = come_back(&site, &auth).await;
    assert_ne!(connected["sid"], id);
    other.hears_departure(&id, ROOM).await;
    let (_socket, connected) = come_back(&site, &json!({"pid": pid, "offset": offset})).await;
    assert_ne!(connected["sid"], id, "it has left");
    other.hears_nothing(&site).await;
}

async fn a_peer_that_is_there_is_not_taken_over(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, mut caller) = scene(&site).await;
    let (_socket, connected) = come_back(&site, &json!({"pid": caller.pid})).await;
    assert_ne!(connected["sid"], caller.id);
    tell(&site, &caller.id, 0..1);
    assert_eq!(caller.hear().await.0, 0);
    // Nor does a peer take over itself.
    caller.socket.send("41").await;
    other.hears_departure(&caller.id, ROOM).await;
    caller
        .socket
        .send(&format!("40{}", json!({"pid": caller.pid})))
        .await;
    assert_ne!(body(&caller.socket.text().await)["sid"], caller.id);
    other.hears_nothing(&site).await;
}

async fn of_two_that_come_back_one_is_the_peer(host: Host) {
    let site = host.start_with(recovers).await;
    let (mut other, caller) = scene(&site).await;
    let (id, pid) = caller.vanish(&site).await;
    tell(&site, &id, 0..1);
    let auth = json!({"pid": pid});
    let all = (0..8).map(|_| come_back(&site, &auth));
    let mut all = futures_util::future::join_all(all).await;
    let same = |(_, connected): &(Socket, Value)| connected["sid"] == id;
    assert_eq!(all.iter().filter(|back| same(back)).count(), 1);
    let (socket, _) = all.iter_mut().find(|back| same(back)).expect("one");
    assert_eq!(heard(&socket.text().await).0, 0);
    other.hears_nothing(&site).await;
}

async fn more_than_is_kept_ends_the_absence(host: Host) {
    let few = |builder: Builder| recovers(builder).max_recovery(1_000);
    let site = host.start_with(few).await;
    let (mut other, caller) = scene(&site).await;
    let (id, pid) = caller.vanish(&site).await;
    let mut told = 0;
    while site.tell(&id, "NUMBER", &json!(told)) == 1 {
        told += 1;
        assert!(told < 20, "there is no bound");
    }
    assert!(told > 1);
    // The one who says something that cannot be kept ends the absence.
    other.send(&event("CHAT", ROOM, "x".repeat(2_000))).await;
    other.hears_departure(&id, ROOM).await;
    let (_socket, connected) = come_back(&site, &json!({"pid": pid})).await;
    assert_ne!(connected["sid"], id);
    other.hears_nothing(&site).await;

    // One that was there for all of it, and has seen too little of it, has left as well.
    let mut caller = Caller::join(&site).await;
    assert_eq!(other.signal().await["type"], "CONNECT");
    tell(&site, &caller.id, 0..20);
    for _ in 0..20 {
        caller.hear().await;
    }
    let (id, pid) = caller.vanish(&site).await;
    let (_socket, connected) = come_back(&site, &json!({"pid": pid})).await;
    assert_ne!(connected["sid"], id);
    other.hears_departure(&id, ROOM).await;
    other.hears_nothing(&site).await;
}

async fn the_application_is_asked_again(host: Host) {
    let asks = |builder: Builder| {
        recovers(builder).authorize(|hello| {
            let known = hello
                .credential("token")
                .map(|token| Identity::new(token.into_owned()));
            async move { known.ok_or_else(|| Refused::unauthorized("who are you?")) }
        })
    };
    let site = host.start_with(asks).await;
    let (socket, connected) = come_back(&site, &json!({"token": "first"})).await;
    let id = text(&connected["sid"]);
    drop(socket);
    absent(&site, &id).await;
    let (mut socket, _) = Socket::engine(&site, Revision::V4).await;
    socket
        .send(&format!("40{}", json!({"pid": connected["pid"]})))
        .await;
    assert!(
        socket.text().await.starts_with("44{"),
        "not without a token"
    );
    let auth = json!({"pid": connected["pid"], "token": "second"});
    let (_socket, again) = come_back(&site, &auth).await;
    assert_eq!(again, connected);
    let peer = handle(&site, &id);
    assert_eq!(*peer.identity::<String>().expect("who it is"), "second");
}

async fn it_is_off_by_default(host: Host) {
    let site = host.start().await;
    let (mut other, mut peer) = {
        let other = witness(&site).await;
        (
            other,
            Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await,
        )
    };
    assert_eq!(other.signal().await["type"], "CONNECT");
    site.tell(&peer.id, "X", &json!(1));
    let packet = peer.socket().text().await;
    assert!(packet.ends_with("\"payload\":1}]"), "no offset: {packet}");
    let id = peer.id.clone();
    peer.vanish().await;
    other.hears_departure(&id, ROOM).await;
    let (_socket, connected) = come_back(&site, &json!({"pid": format!("{id}{id}")})).await;
    assert_eq!(
        connected.as_object().map(serde_json::Map::len),
        Some(1),
        "no pid"
    );
}

#[tokio::test]
async fn at_another_node_a_client_is_a_new_peer() {
    let bus = MemoryBus::new();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let builder = recovers(PeerData::builder()).cluster(bus.node());
        nodes.push(Node::of(builder.build().expect("good settings")).await);
    }
    acquaint(&nodes).await;
    let [home, away] = [&nodes[0], &nodes[1]];
    let mut other = away.join(Wire::Json).await;
    let caller = Caller::join(&home.site).await;
    assert_eq!(other.signal().await["caller"]["id"], caller.id);
    let (id, pid) = caller.vanish(&home.site).await;
    let (mut socket, connected) = come_back(&away.site, &json!({"pid": pid})).await;
    let new = text(&connected["sid"]);
    assert_ne!(new, id);
    // It is told of all who are in the room: to those the one that it was has not left yet.
    let connect = event("CONNECT", ROOM, Value::Null);
    socket.send(&format!("420[\"message\",{connect}]")).await;
    let ack = socket.text().await;
    let ack: Value = serde_json::from_str(ack.strip_prefix("430").expect("the ack")).unwrap();
    let mut peers: Vec<_> = ack[0]["peers"].as_array().expect("peers").iter().collect();
    peers.sort_unstable_by_key(|peer| peer.as_str());
    let mut everybody = [&json!(id), &json!(other.id)];
    everybody.sort_unstable_by_key(|peer| peer.as_str());
    assert_eq!(peers, everybody);
    assert_eq!(other.signal().await["caller"]["id"], new);
    // At home it is the peer that it was, also for those elsewhere, and hears of the new one.
    let (mut socket, connected) = come_back(&home.site, &json!({"pid": pid})).await;
    assert_eq!(connected["sid"], id);
    let missed = socket.text().await;
    assert!(
        missed.contains("CONNECT") && missed.contains(&new),
        "{missed}"
    );
    other.send(&event("CHAT", ROOM, "still there?")).await;
    assert_eq!(heard(&socket.text().await).0, "still there?");
    other.hears_nothing(&away.site).await;
}

/// Others speak from other threads all the while: what they say finds the old session, the new one, or
/// the way from the one to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_while_one_comes_back() {
    let site = Host::Axum.start_with(recovers).await;
    let (mut other, caller) = scene(&site).await;
    let (id, pid) = caller.vanish(&site).await;
    let (said, caught_up) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let is_over = Arc::new(AtomicBool::new(false));
    let speaker = {
        let (server, is_over) = (site.server.clone(), is_over.clone());
        let (said, caught_up) = (said.clone(), caught_up.clone());
        let id: PeerId = id.parse().expect("an id");
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let number = said.fetch_add(1, Ordering::Relaxed);
                let signal = Signal::new("NUMBER", None, &number).expect("a signal");
                assert_eq!(server.to_peer(&id, &signal).delivered, 1, "{number}");
                // Less than is kept for one that is away, however slow it is to come back.
                let mut is_far_ahead = true;
                while is_far_ahead && !is_over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_micros(50));
                    is_far_ahead = number > caught_up.load(Ordering::Relaxed) + 500;
                }
            }
        })
    };
    let (mut offset, mut next) = (None, 0);
    for round in 0..50 {
        let auth = json!({"pid": pid, "offset": offset});
        let (mut socket, connected) = come_back(&site, &auth).await;
        assert_eq!(connected["sid"], id, "{round}");
        let until = said.load(Ordering::Relaxed) + 5;
        while next < until {
            let (payload, seen) = heard(&socket.text().await);
            assert_eq!(payload, next, "{round}");
            (offset, next) = (Some(seen), next + 1);
            caught_up.store(next, Ordering::Relaxed);
        }
        drop(socket);
        absent(&site, &id).await;
    }
    is_over.store(true, Ordering::Relaxed);
    speaker.join().expect("all was taken");
    other.hears_nothing(&site).await;
}
