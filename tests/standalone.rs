//! The `standalone` example in operation: what it tells machines, and how it ends.

#![cfg(all(feature = "tower", feature = "metrics"))]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use prometheus_parse::{Scrape, Value as Figure};
use serde_json::json;
use support::{Frame, Program, Request, Response, Socket, event, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

async fn start(variables: &[(&str, &str)]) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    Program::start("standalone", folder, variables).await
}

async fn get(address: SocketAddr, path: &str) -> Response {
    Request::get(path).send(address).await
}

/// How many plain JSON peers there are, as Prometheus is told.
async fn json_peers(address: SocketAddr) -> f64 {
    websocket_peers(address, "json").await
}

/// How many peers there are with a websocket on that wire.
async fn websocket_peers(address: SocketAddr, wire: &str) -> f64 {
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").expect("a type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let lines = answer.text().lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).expect("the text of Prometheus");
    let mut samples = scrape.samples.iter();
    let peers = samples.find(|sample| {
        let is = |label: &str, value: &str| sample.labels.get(label) == Some(value);
        sample.metric == "peer_data_peers" && is("wire", wire) && is("transport", "websocket")
    });
    match peers.expect("peers").value {
        Figure::Gauge(peers) => peers,
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_is_ready_until_it_is_asked_to_end() {
    let program = start(&[]).await;
    let address = program.address;
    for (path, body) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        let answer = get(address, path).await;
        assert_eq!((answer.status, answer.text()), (200, body));
    }
    assert!(json_peers(address).await.abs() < f64::EPSILON);

    // One that does not hang up holds the end up.
    let mut silent = Request::upgrade("/peer-data").start(address).await;
    silent.read_until(b"READY").await;
    assert!((json_peers(address).await - 1.0).abs() < f64::EPSILON);
    program.terminate().await;
    let end = silent.read_to_end().await;
    assert!(end.ends_with(b"the server is shutting down"), "{end:?}");
    let ready = get(address, "/readyz").await;
    assert_eq!((ready.status, ready.text()), (503, "not ready\n"));
    assert_eq!(get(address, "/healthz").await.status, 200, "it lives");
    let late = get(address, "/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(late.status, 503);
    assert!(late.header("retry-after").is_some());
    assert!(json_peers(address).await.abs() < f64::EPSILON);
    drop(silent);
    program.ended().await;
}

#[test]
fn a_misspelt_variable_is_told_of() {
    let output = Command::new(Program::path("standalone"))
        .env_clear()
        .env("PEER_DATA_MAX_SESSION", "1")
        .env("PEER_DATA_INSPECTOR_TOKEN", "")
        // With this it ends at once.
        .env("PEER_DATA_MAX_SESSIONS", "many")
        .output()
        .expect("a program that ends");
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).expect("text");
    let said: Vec<_> = said.lines().collect();
    let [misspelt, wrong] = *said else {
        panic!("{said:?}");
    };
    assert!(
        misspelt.contains("PEER_DATA_MAX_SESSION is no variable"),
        "{misspelt}"
    );
    assert!(wrong.contains("PEER_DATA_MAX_SESSIONS"), "{wrong}");
}

/// Examples of other stacks end as it does.
#[tokio::test]
async fn the_other_examples_say_goodbye_too() {
    let examples = [
        #[cfg(feature = "axum")]
        "axum_layer",
        "hyper_bare",
        #[cfg(feature = "actix")]
        "actix_app",
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for example in examples {
        let program = Program::start(example, folder, &[]).await;
        let mut json = Socket::open(program.address, "/peer-data").await;
        assert!(json.text().await.contains("READY"));
        let polling = "/socket.io/?EIO=3&transport=polling";
        let opened = get(program.address, polling).await;
        let sid = opened.text().split('"').nth(3).expect("a sid");
        let poll = Request::get(&format!("{polling}&sid={sid}"));
        let mut poll = poll.start(program.address).await;
        // Both have come in, in this order, so the poll is waiting.
        json.send(&event("CONNECT", "r", 0).to_string()).await;
        json.send(&json!({}).to_string()).await;
        assert!(json.text().await.contains("malformed"), "{example}");
        program.terminate().await;
        assert_eq!(json.frame().await, Frame::Closed(Some(1001)), "{example}");
        assert_eq!(json.frame().await, Frame::Lost, "{example}");
        let last = poll.response().await;
        if last.status == 200 {
            assert_eq!(last.text(), "1:1", "{example}");
        } else {
            // Came too late to wait.
            last.is_unknown_session();
        }
        program.ended().await;
    }
}

/// How many are to be told goodbye. Each is one open file here and one there.
const CROWD: usize = 10_000;

/// Fewer than that are no crowd: a machine that allows no more is none to test this on.
const LEAST: usize = 1_000;

/// They come so many at a time.
const AT_ONCE: usize = 100;

/// The one bound of time: as long as a user waits for a page.
const SOON: Duration = Duration::from_secs(10);

/// What those of the crowd come on, one after the other: how the wire is called, and where it is.
const WIRES: [(&str, &str); 3] = [
    ("socket_io_2", "/socket.io/?EIO=3&transport=websocket"),
    ("socket_io_4", "/socket.io/?EIO=4&transport=websocket"),
    ("json", "/peer-data"),
];

/// One of the crowd, a member of a room of four.
async fn come(address: SocketAddr, number: usize) -> TcpStream {
    let (wire, target) = WIRES[number % WIRES.len()];
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let upgrade = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.expect("written");
    let event = event("CONNECT", &format!("room {}", number / 4), 0);
    let text = match wire {
        "json" => event.to_string(),
        _ => format!("42[\"message\",{event}]"),
    };
    if wire == "socket_io_4" {
        write_frame(&mut stream, 0x81, b"40").await;
    }
    write_frame(&mut stream, 0x81, text.as_bytes()).await;
    // Something that is answered once the room is joined, whatever the wire: a ping frame.
    write_frame(&mut stream, 0x89, b"here").await;
    let mut seen = Vec::new();
    while !seen.windows(6).any(|window| window == b"\x8a\x04here") {
        assert!(stream.read_buf(&mut seen).await.expect("read") > 0);
    }
    stream
}

/// A masked frame with a mask of zeros, so that what is masked is as it was.
async fn write_frame(stream: &mut TcpStream, first: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).expect("a short frame");
    assert!(length < 126, "the short form of a length");
    let frame = [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat();
    stream.write_all(&frame).await.expect("written");
}

/// Reads on until the server says goodbye, answers as a browser does, and sees the connection end
/// in order. Whether there was a close frame of code 1001 at the end.
async fn go(mut stream: TcpStream) -> std::io::Result<bool> {
    let mut heard = Vec::new();
    let farewell = b"\x88\x1d\x03\xe9the server is shutting down";
    loop {
        if heard.ends_with(farewell) {
            write_frame(&mut stream, 0x88, b"\x03\xe9").await;
            return Ok(stream.read_buf(&mut heard).await? == 0);
        }
        if stream.read_buf(&mut heard).await? == 0 {
            return Ok(false);
        }
    }
}

/// In processes of their own: the clients here, the server there.
#[tokio::test]
async fn ten_thousand_are_told_goodbye() {
    let files = rlimit::increase_nofile_limit(16_384).expect("a limit");
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let crowd = CROWD.min(files.saturating_sub(500));
    assert!(crowd >= LEAST, "this machine allows {files} open files");
    if crowd < CROWD {
        println!("only {crowd}: this machine allows no more open files than {files}");
    }
    // None of the crowd ever answers a ping, however long the others take to come.
    let hour = "3600000";
    let variables = [("GRACE_MS", "10000"), ("PEER_DATA_PING_INTERVAL_MS", hour)];
    let program = start(&variables).await;
    let address = program.address;
    let mut streams = Vec::new();
    for first in (0..crowd).step_by(AT_ONCE) {
        let mut coming = JoinSet::new();
        for number in first..(first + AT_ONCE).min(crowd) {
            coming.spawn(come(address, number));
        }
        streams.extend(within("some to come", coming.join_all()).await);
    }
    for (first, (wire, _)) in WIRES.iter().enumerate() {
        let share = (first..crowd).step_by(WIRES.len()).count();
        let share = f64::from(u32::try_from(share).expect("a crowd"));
        let peers = websocket_peers(address, wire).await;
        assert!((peers - share).abs() < f64::EPSILON, "{wire}: {peers}");
    }

    let mut going: JoinSet<_> = streams.into_iter().map(go).collect();
    let asked = Instant::now();
    program.terminate().await;
    let mut told = 0;
    while let Some(gone) = within("the next to go", going.join_next()).await {
        // An error is a connection that was reset.
        let gone = gone.expect("no panic").expect("an end in order");
        assert!(gone, "a close frame");
        told += 1;
    }
    program.ended().await;
    assert_eq!(told, crowd);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn clients_are_counted_by_their_address() {
    let program = start(&[("PEER_DATA_MAX_SESSIONS_PER_ADDRESS", "1")]).await;
    let path = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(get(program.address, path).await.status, 200);
    assert_eq!(get(program.address, path).await.status, 429);
    program.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let program = start(&[("HEAD_TIMEOUT_MS", "200")]).await;
    let address = program.address;
    let mut json = Socket::open(address, "/peer-data").await;
    assert!(json.text().await.contains("READY"));
    let opened = get(address, "/socket.io/?EIO=4&transport=polling").await;
    let sid = opened.text().split('"').nth(3).expect("a sid").to_owned();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let mut poll = Request::get(&path).start(address).await;
    for head in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut heard = Vec::new();
        // At the end of its time, or at once where it cannot be a head.
        let _ = within("its end", stream.read_to_end(&mut heard)).await;
        assert!(!heard.starts_with(b"HTTP/1.1 200"), "{head:?}");
    }
    // Neither a websocket nor a poll is one.
    json.send(&event("CONNECT", "r", 0).to_string()).await;
    json.send(&json!({}).to_string()).await;
    assert!(json.text().await.contains("malformed"));
    Request::post(&path, "40").send(address).await.is_ok();
    assert!(poll.response().await.text().starts_with("40{"));
    program.stop().await;
}

/// Both examples that have an inspector behind a token.
#[cfg(feature = "inspector")]
#[tokio::test]
async fn the_inspector_asks_for_its_token_however_it_is_spelled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (example, variable) in [
        ("standalone", "PEER_DATA_INSPECTOR_TOKEN"),
        ("inspector", "INSPECTOR_TOKEN"),
    ] {
        let program = Program::start(example, folder, &[(variable, "sesame")]).await;
        let address = program.address;
        assert_eq!(get(address, "/inspector/").await.status, 200, "{example}");
        for below in [
            "/api/overview",
            "//api/overview",
            "///api/overview",
            "////api/overview",
            "/%61pi/overview",
            "/api%2foverview",
            "/api//overview",
            "/./api/overview",
            "/x/../api/overview",
        ] {
            let path = format!("/inspector{below}");
            let seen = get(address, &path).await.status;
            assert!(matches!(seen, 401 | 404), "{example} {path}: {seen}");
            let close = Request::post(&path.replace("overview", "close?room=r"), "");
            let done = close
                .header("x-peer-data-inspector", "1")
                .send(address)
                .await;
            assert!(
                matches!(done.status, 401 | 404),
                "{example} {path}: {}",
                done.status
            );
        }
        let shown =
            Request::get("/inspector/api/overview").header("Authorization", "Bearer sesame");
        assert_eq!(shown.send(address).await.status, 200, "{example}");
        drop(program);
    }
}
