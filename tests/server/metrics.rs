//! The numbers, as Prometheus reads them: all there from the start, bounded, and true.

#![cfg(all(feature = "tower", feature = "metrics"))]
#![allow(clippy::float_cmp)] // small whole numbers, which a double holds as they are

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::{
    Frame, Host, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, event, event_to,
    eventually, everybody, on_each_host,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use peer_data_server::{Builder, Hello, Identity, MemoryBus, PeerData, Refused};
use prometheus_parse::{Sample, Scrape, Value as Figure};
use serde_json::{Value, json};

on_each_host!(
    peers_and_rooms_are_counted_while_they_are_there,
    an_upgrade_moves_its_peer,
    upgrades_that_fail_are_counted,
    what_is_said_and_heard_is_counted,
    a_call_is_timed,
    handshakes_are_counted_by_their_outcome,
    a_slow_receiver_is_counted,
    heartbeats_are_timed,
);

/// A site whose numbers go to a recorder of its own.
struct Watched {
    site: Site,
    recorded: PrometheusHandle,
}

impl Watched {
    async fn start(host: Host) -> Self {
        Self::start_with(host, |builder| builder).await
    }

    async fn start_with(host: Host, settings: impl FnOnce(Builder) -> Builder) -> Self {
        let (server, recorded) = build(settings(PeerData::builder()));
        let site = host.start_built(server).await;
        Self { site, recorded }
    }

    /// The figure of that name and these labels.
    #[track_caller]
    fn figure(&self, name: &str) -> f64 {
        let figures = figures(&self.recorded);
        *figures
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {figures:#?}"))
    }

    /// Returns once a figure has that value.
    async fn comes_to(&self, name: &str, value: f64) {
        let is = || (self.figure(name) - value).abs() < 0.5;
        eventually(&format!("{name} to be {value}"), is).await;
    }

    /// All peers, by wire and transport.
    fn peers(&self) -> Vec<f64> {
        LINES.map(|line| self.figure(line)).to_vec()
    }
}

/// The peers of each wire and transport, in the order of [`Wire::ALL`].
const LINES: [&str; 5] = [
    "peer_data_peers{transport=polling,wire=socket_io_2}",
    "peer_data_peers{transport=polling,wire=socket_io_4}",
    "peer_data_peers{transport=websocket,wire=socket_io_2}",
    "peer_data_peers{transport=websocket,wire=socket_io_4}",
    "peer_data_peers{transport=websocket,wire=json}",
];

fn build(builder: Builder) -> (PeerData, PrometheusHandle) {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[1.0, 10.0])
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_size".into()), &[2.0, 8.0])
        })
        .expect("buckets")
        .build_recorder();
    let server = metrics::with_local_recorder(&recorder, || builder.build());
    (server.expect("good settings"), recorder.handle())
}

fn samples(recorded: &PrometheusHandle) -> Vec<Sample> {
    let text = recorded.render();
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    Scrape::parse(lines)
        .expect("the text of Prometheus")
        .samples
}

/// Each figure by its name with its labels; of a histogram, how often and how much in all.
fn figures(recorded: &PrometheusHandle) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    for sample in samples(recorded) {
        let labels: BTreeMap<_, _> = sample.labels.iter().collect();
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let labels = match labels.len() {
            0 => String::new(),
            _ => format!("{{{}}}", labels.join(",")),
        };
        let name = format!("{}{labels}", sample.metric);
        match sample.value {
            Figure::Counter(value) | Figure::Gauge(value) | Figure::Untyped(value) => {
                figures.insert(name, value);
            }
            Figure::Histogram(counts) => {
                figures.insert(name, counts.last().map_or(0.0, |last| last.count));
            }
            Figure::Summary(_) => panic!("{name} has no buckets"),
        }
    }
    figures
}

#[test]
fn everything_is_there_at_zero_and_in_the_readme() {
    let (_server, recorded) = build(PeerData::builder());
    let figures = figures(&recorded);
    for (name, value) in &figures {
        assert!(value.abs() < f64::EPSILON, "{name} is {value}");
    }
    let named: BTreeSet<_> = samples(&recorded)
        .iter()
        .map(|sample| {
            let name = &*sample.metric;
            let name = name.strip_suffix("_sum").unwrap_or(name);
            name.strip_suffix("_count").unwrap_or(name).to_owned()
        })
        .collect();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| `peer_data_"));
    let documented: BTreeSet<_> = rows
        .flat_map(|row| row.split('`'))
        .filter(|word| word.starts_with("peer_data_"))
        .map(|word| word.split('{').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(named, documented);
    // Each value of each label from the start, and no label for what clients choose.
    let count = |name: &str| figures.keys().filter(|key| key.starts_with(name)).count();
    for (name, labels) in [
        ("peer_data_peers{", 5),
        ("peer_data_handshakes_total{", 9),
        ("peer_data_sessions_ended_total{", 15),
        ("peer_data_events_total{", 7),
        ("peer_data_refusals_total{", 10),
        ("peer_data_upgrades_total{", 3),
        ("peer_data_recoveries_total{", 4),
        ("peer_data_setup_seconds{", 3),
        ("peer_data_setup_mishaps_total{", 2),
    ] {
        assert_eq!(count(name), labels, "{name}");
    }
}

/// Only of many nodes, and so not among the figures above.
#[tokio::test]
async fn a_node_among_others_counts_what_it_says_to_them() {
    let bus = MemoryBus::new();
    let (server, recorded) = build(PeerData::builder().cluster(bus.node()));
    let figure = |name: &str| figures(&recorded).get(name).copied();
    let connected = "peer_data_cluster_connected";
    eventually("the bus is there", || figure(connected) == Some(1.0)).await;
    assert!(server.is_ready());
    let other = PeerData::builder()
        .cluster(bus.node())
        .build()
        .expect("good settings");
    let nodes = "peer_data_cluster_nodes";
    eventually("they know each other", || figure(nodes) == Some(1.0)).await;
    for outcome in ["published", "received"] {
        let name = format!("peer_data_cluster_parcels_total{{outcome={outcome}}}");
        assert!(figure(&name) >= Some(1.0), "{outcome}");
    }
    bus.go_down();
    eventually("the bus is away", || figure(connected) == Some(0.0)).await;
    assert!(!server.is_ready());
    drop(other);
}

/// What the other node's peer answers is not heard here, and must not look unanswered.
#[tokio::test]
async fn a_call_to_another_node_is_not_timed() {
    let bus = MemoryBus::new();
    let (server, recorded) = build(PeerData::builder().cluster(bus.node()));
    let other = PeerData::builder().cluster(bus.node());
    let other = other.build().expect("good settings");
    let here = Host::Hyper.start_built(server).await;
    let there = Host::Hyper.start_built(other).await;
    let nodes = || figures(&recorded)["peer_data_cluster_nodes"] == 1.0;
    eventually("they know each other", nodes).await;
    let mut ann = Peer::join(&here, Wire::Json, ROOM).await;
    let mut ben = Peer::join(&there, Wire::Json, ROOM).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    ann.send(&event_to(&ben.id, "OFFER", ROOM, "v=0")).await;
    assert_eq!(ben.signal().await["type"], "OFFER");
    ben.send(&event_to(&ann.id, "ANSWER", ROOM, "v=0")).await;
    assert_eq!(ann.signal().await["type"], "ANSWER");
    ann.vanish().await;
    eventually("she is gone", || here.server.peer_count() == 0).await;
    for kind in ["unanswered", "glare"] {
        let name = format!("peer_data_setup_mishaps_total{{kind={kind}}}");
        assert_eq!(figures(&recorded)[&name], 0.0, "{kind}");
    }
}

async fn peers_and_rooms_are_counted_while_they_are_there(host: Host) {
    let watched = Watched::start(host).await;
    let site = &watched.site;
    let peers = everybody(site, ROOM).await;
    let alone = Peer::join(site, Wire::Json, "SECRETROOM").await;
    assert_eq!(watched.peers(), [1.0, 1.0, 1.0, 1.0, 2.0]);
    watched.comes_to("peer_data_rooms", 2.0).await;
    watched.comes_to("peer_data_room_size", 6.0).await;
    watched.comes_to("peer_data_room_size_sum", 16.0).await;
    let connected = "peer_data_handshakes_total{outcome=connected}";
    assert_eq!(watched.figure(connected), 6.0);

    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    let text = watched.recorded.render();
    for private in ids.iter().map(String::as_str).chain(["SECRET", "127.0."]) {
        assert!(!text.contains(private), "{text}");
    }

    for peer in peers.into_iter().chain([alone]) {
        peer.vanish().await;
    }
    eventually("nobody", || site.server.peer_count() == 0).await;
    let lost = "peer_data_sessions_ended_total{reason=transport_lost}";
    watched.comes_to(lost, 6.0).await;
    for line in LINES {
        watched.comes_to(line, 0.0).await;
    }
    watched.comes_to("peer_data_rooms", 0.0).await;
}

async fn an_upgrade_moves_its_peer(host: Host) {
    let watched = Watched::start(host).await;
    let (polling, _) = Polling::connect(&watched.site, Revision::V4).await;
    assert_eq!(watched.peers(), [0.0, 1.0, 0.0, 0.0, 0.0]);
    let mut socket = Socket::open(watched.site.address, &polling.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    let completed = "peer_data_upgrades_total{outcome=completed}";
    assert_eq!(watched.figure(completed), 0.0);
    socket.send("5").await;
    watched.comes_to(completed, 1.0).await;
    watched.comes_to(LINES[3], 1.0).await;
    assert_eq!(watched.peers(), [0.0, 0.0, 0.0, 1.0, 0.0]);
    drop(socket);
    watched.comes_to(LINES[3], 0.0).await;
    assert_eq!(watched.peers(), [0.0; 5]);
}

async fn upgrades_that_fail_are_counted(host: Host) {
    let outcome = |outcome: &str| format!("peer_data_upgrades_total{{outcome={outcome}}}");
    for (upgrade_timeout, packet, failed) in [
        (Duration::from_millis(50), None, "timed_out"),
        (Duration::from_secs(60), Some("2nonsense"), "abandoned"),
    ] {
        let watched =
            Watched::start_with(host, |builder| builder.upgrade_timeout(upgrade_timeout)).await;
        let (polling, _) = Polling::connect(&watched.site, Revision::V4).await;
        let mut socket = Socket::open(watched.site.address, &polling.upgrade_target()).await;
        if let Some(packet) = packet {
            socket.send(packet).await;
        }
        watched.comes_to(&outcome(failed), 1.0).await;
        assert_eq!(watched.figure(&outcome("completed")), 0.0);
        assert_eq!(watched.peers(), [0.0, 1.0, 0.0, 0.0, 0.0]);
    }
}

async fn what_is_said_and_heard_is_counted(host: Host) {
    let watched = Watched::start(host).await;
    let site = &watched.site;
    let mut ann = Peer::join(site, Wire::Json, ROOM).await;
    let mut ben = Peer::join(site, Wire::Socket(Revision::V4), ROOM).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    let (received, sent) = (
        "peer_data_received_bytes_total",
        "peer_data_sent_bytes_total",
    );
    let before = [received, sent].map(|name| watched.figure(name));

    let payload = "x".repeat(10_000);
    ann.send(&event("CHAT", ROOM, &*payload)).await;
    assert_eq!(ben.signal().await["type"], "CHAT");
    ann.send(&event_to(&ben.id, "OFFER", ROOM, 1)).await;
    assert_eq!(ben.signal().await["type"], "OFFER");
    ann.send(&event("CHAT", "elsewhere", 1)).await;
    assert_eq!(ann.signal().await["payload"]["code"], "not_in_room");
    ann.send(&json!({"type": "CHAT"})).await;
    assert_eq!(ann.signal().await["payload"]["code"], "malformed");
    ben.send_packets("42[\"other\",1]", &[]).await;
    ben.send(&event("DISCONNECT", ROOM, Value::Null)).await;
    assert_eq!(ann.signal().await["type"], "DISCONNECT");

    for (kind, count) in [
        ("connect", 2.0),
        ("disconnect", 1.0),
        ("offer", 1.0),
        ("answer", 0.0),
        ("candidate", 0.0),
        ("custom", 2.0),
        ("application", 1.0),
    ] {
        let name = format!("peer_data_events_total{{type={kind}}}");
        assert_eq!(watched.figure(&name), count, "{kind}");
    }
    let code = |code: &str| watched.figure(&format!("peer_data_refusals_total{{code={code}}}"));
    assert_eq!(
        ["not_in_room", "malformed", "busy"].map(code),
        [1.0, 1.0, 0.0]
    );
    // CONNECT, CHAT, OFFER and DISCONNECT, and two errors.
    assert_eq!(watched.figure("peer_data_deliveries_total"), 6.0);
    for (name, before) in [received, sent].into_iter().zip(before) {
        let more = watched.figure(name) - before;
        assert!((10_000.0..13_000.0).contains(&more), "{name}: {more}");
    }
    let most = watched.figure("peer_data_outbox_high_water_bytes");
    assert!((10_000.0..11_000.0).contains(&most), "{most}");
}

async fn a_call_is_timed(host: Host) {
    let watched = Watched::start(host).await;
    let site = &watched.site;
    let mut ann = Peer::join(site, Wire::Socket(Revision::V3), ROOM).await;
    let mut ben = Peer::join(site, Wire::Polling(Revision::V4), ROOM).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    for (from_ann, kind) in [
        (true, "OFFER"),
        (true, "CANDIDATE"),
        (false, "ANSWER"),
        (false, "CANDIDATE"),
        (false, "CANDIDATE"),
        // Once more, at the same time, and nobody answers.
        (true, "OFFER"),
        (false, "OFFER"),
    ] {
        let (from, to) = if from_ann {
            (&mut ann, &mut ben)
        } else {
            (&mut ben, &mut ann)
        };
        from.send(&event_to(&to.id, kind, ROOM, "v=0")).await;
        assert_eq!(to.signal().await["type"], kind);
    }
    for stage in ["join_to_offer", "offer_to_answer", "answer_to_candidate"] {
        let name = format!("peer_data_setup_seconds{{stage={stage}}}");
        assert_eq!(watched.figure(&name), 1.0, "{stage}");
        let sum = watched.figure(&format!("peer_data_setup_seconds_sum{{stage={stage}}}"));
        assert!(sum > 0.0 && sum < 60.0, "{stage}: {sum}");
    }
    let mishaps = |kind: &str| format!("peer_data_setup_mishaps_total{{kind={kind}}}");
    assert_eq!(watched.figure(&mishaps("glare")), 1.0);
    assert_eq!(watched.figure(&mishaps("unanswered")), 0.0);
    ann.vanish().await;
    ben.vanish().await;
    watched.comes_to(&mishaps("unanswered"), 2.0).await;
}

async fn handshakes_are_counted_by_their_outcome(host: Host) {
    let authorize = |hello: &Hello<'_>| {
        let welcome = hello.credential("token").is_some();
        async move {
            if welcome {
                Ok(Identity::anonymous())
            } else {
                Err(Refused::unauthorized("no token"))
            }
        }
    };
    let watched = Watched::start_with(host, |builder| {
        builder
            .authorize(authorize)
            .allowed_origins(["https://example.org"])
            .trusted_proxies(["127.0.0.1"])
            .max_handshake(600)
            .max_sessions_per_address(1)
            .max_sessions(2)
    })
    .await;
    let address = watched.site.address;
    let json = |query: &str| Request::upgrade(&format!("/peer-data?{query}"));
    let by = |client: &str, request: Request| request.header("X-Forwarded-For", client);
    let figure = |outcome: &str| {
        let outcome = format!("peer_data_handshakes_total{{outcome={outcome}}}");
        watched.figure(&outcome)
    };

    assert_eq!(json("").send(address).await.status, 401);
    assert_eq!(figure("refused"), 1.0);
    let foreign = json("token=1").header("Origin", "https://evil.example");
    assert_eq!(foreign.send(address).await.status, 403);
    assert_eq!(figure("foreign_origin"), 1.0);
    let long = json("token=1").header("X-Long", &"x".repeat(700));
    assert_eq!(long.send(address).await.status, 431);
    assert_eq!(figure("too_large"), 1.0);
    let old = Request::get("/socket.io/?EIO=1&transport=polling&token=1");
    assert_eq!(old.send(address).await.status, 400);
    assert_eq!(figure("invalid"), 1.0);

    let mut first = by("192.0.2.1", json("token=1")).start(address).await;
    first.read_until(b"READY").await;
    let again = by("192.0.2.1", json("token=1")).send(address).await;
    assert_eq!((again.status, figure("address_full")), (429, 1.0));
    let mut second = by("192.0.2.2", json("token=1")).start(address).await;
    second.read_until(b"READY").await;
    let third = by("192.0.2.3", json("token=1")).send(address).await;
    assert_eq!((third.status, figure("server_full")), (503, 1.0));
    assert_eq!(figure("connected"), 2.0);

    let minute = Duration::from_secs(60);
    let banned = "192.0.2.9".parse().expect("an address");
    watched.site.server.ban(banned, minute);
    let banned = by("192.0.2.9", json("token=1")).send(address).await;
    assert_eq!((banned.status, figure("banned")), (403, 1.0));

    drop((first, second));
    watched.site.server.shutdown(minute).await;
    let late = json("token=1").send(address).await;
    assert_eq!((late.status, figure("shutting_down")), (503, 1.0));
}

async fn a_slow_receiver_is_counted(host: Host) {
    let watched = Watched::start_with(host, |builder| {
        builder.max_message(1_000).max_outbox(20_000)
    })
    .await;
    let site = &watched.site;
    // A poll that never comes.
    let slow = Peer::join(site, Wire::Polling(Revision::V4), ROOM).await;
    let ended = "peer_data_sessions_ended_total{reason=slow_consumer}";
    while watched.figure(ended) < 1.0 {
        site.tell(&slow.id, "NEWS", &json!("x".repeat(500)));
        tokio::task::yield_now().await;
    }
    let most = watched.figure("peer_data_outbox_high_water_bytes");
    assert!((19_000.0..=20_000.0).contains(&most), "{most}");
    assert_eq!(watched.figure(ended), 1.0);
    assert_eq!(watched.peers(), [0.0; 5]);
}

async fn heartbeats_are_timed(host: Host) {
    let soon = Duration::from_millis(20);
    let watched = Watched::start_with(host, |builder| builder.ping_interval(soon)).await;
    // Not connected first: the ping does not wait for that.
    let (mut engine, _) = Socket::engine(&watched.site, Revision::V4).await;
    assert_eq!(engine.text().await, "2");
    engine.send("3").await;
    let beats = "peer_data_heartbeat_seconds";
    watched.comes_to(beats, 1.0).await;
    drop(engine);
    // A websocket's own pings, which clients answer by themselves.
    let mut json = Socket::open(watched.site.address, "/peer-data").await;
    while watched.figure(beats) < 4.0 {
        assert!(!matches!(
            json.frame().await,
            Frame::Closed(_) | Frame::Lost
        ));
    }
    let sum = watched.figure("peer_data_heartbeat_seconds_sum");
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
}
