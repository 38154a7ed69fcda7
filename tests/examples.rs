//! Examples that no browser and no suite of clients drives, run as they are.

#![cfg(feature = "axum")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Frame, Program, Request, Socket, event, message};
use tokio_tungstenite::tungstenite::Message;

async fn start(example: &str) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    Program::start(example, folder, &[]).await
}

/// Examples that take the server's settings from the environment, as far as they are built.
const SET_BY_THE_ENVIRONMENT: &[&str] = &[
    #[cfg(feature = "actix")]
    "actix_app",
    "auth",
    "axum_layer",
    "axum_service",
    #[cfg(feature = "conformance")]
    "conformance_engine",
    "conformance_socket",
    "custom_channel",
    "custom_events",
    "hyper_bare",
    "limits",
    "peer_data_client",
    "standalone",
    "static_site",
    #[cfg(feature = "actix")]
    "static_site_actix",
    "turn",
];

/// Else a limit by address would do nothing there, and nobody would notice.
#[tokio::test]
async fn whoever_takes_settings_from_the_environment_knows_addresses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let variables = [
        ("PEER_DATA_MAX_SESSIONS_PER_ADDRESS", "1"),
        ("PEER_DATA_TRUSTED_PROXIES", "127.0.0.1"),
        // No session ends by itself before the last answer.
        ("PEER_DATA_PING_INTERVAL_MS", "60000"),
        ("PEER_DATA_CONNECT_TIMEOUT_MS", "60000"),
    ];
    for example in SET_BY_THE_ENVIRONMENT {
        let program = Program::start(example, folder, &variables).await;
        let path = match *example {
            "conformance_engine" => "/engine.io/",
            _ => "/socket.io/",
        };
        let target = format!("{path}?EIO=4&transport=polling");
        let ask = |client: &str| {
            let request = Request::get(&target).header("X-Forwarded-For", client);
            request.send(program.address)
        };
        for (client, status) in [
            ("203.0.113.1", 200),
            ("203.0.113.1", 429),
            ("203.0.113.2", 200),
        ] {
            assert_eq!(ask(client).await.status, status, "{example}: {client}");
        }
        for status in [200, 429] {
            let proxy = Request::get(&target).send(program.address).await;
            assert_eq!(proxy.status, status, "{example}: the proxy itself");
        }
    }
}

#[test]
fn no_example_that_takes_settings_from_the_environment_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = fs::read_dir(folder).expect("the examples");
    let files = files.map(|file| file.expect("a file").path());
    let named = files
        .filter(|file| file.extension().is_some_and(|kind| kind == "rs"))
        .filter(|file| {
            let text = fs::read_to_string(file).expect("an example");
            text.contains("from_env()") || text.contains("with_env()")
        })
        .map(|file| file.file_stem().expect("a name").to_owned())
        .map(|name| name.into_string().expect("text"))
        .filter(|name| cfg!(feature = "actix") || !name.contains("actix"))
        .filter(|name| cfg!(feature = "conformance") || name != "conformance_engine")
        // Has tests of its own.
        .filter(|name| name != "tls")
        .collect::<BTreeSet<_>>();
    let known = SET_BY_THE_ENVIRONMENT.iter();
    assert_eq!(named, known.map(ToString::to_string).collect());
}

/// A socket.io-client 4 by websocket, in a room; what it is called comes first.
async fn join(program: &Program, room: &str) -> (Socket, String) {
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = Socket::open(program.address, target).await;
    socket.text().await;
    socket.send("40").await;
    let connected: Value = serde_json::from_str(&socket.text().await[2..]).expect("JSON");
    let id = connected["sid"].as_str().expect("an id").to_owned();
    ask(&mut socket, "CONNECT", room).await;
    (socket, id)
}

/// The ack of an event.
async fn ask(socket: &mut Socket, kind: &str, room: &str) -> Value {
    let event = event(kind, room, "text");
    socket.send(&format!("421[\"message\",{event}]")).await;
    loop {
        if let Some(ack) = socket.text().await.strip_prefix("431") {
            return serde_json::from_str(ack).expect("JSON");
        }
    }
}

/// The event that comes next.
async fn heard(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text().await[2..]).expect("JSON")
}

#[tokio::test]
async fn custom_events() {
    let program = start("custom_events").await;
    let (mut ann, id) = join(&program, "a").await;
    ask(&mut ann, "CONNECT", "b").await;
    let (mut ben, _) = join(&program, "a").await;
    assert_eq!(heard(&mut ann).await[1]["type"], "CONNECT");
    let (mut eve, _) = join(&program, "b").await;
    assert_eq!(heard(&mut ann).await[1]["type"], "CONNECT");

    assert_eq!(ask(&mut ann, "SHOUT", "a").await[0]["delivered"], 1);
    assert_eq!(heard(&mut ben).await[1]["type"], "SHOUT");
    ask(&mut ann, "ANNOUNCE", "a").await;
    for other in [&mut ben, &mut eve] {
        let heard = heard(other).await;
        assert_eq!(heard[1]["type"], "ANNOUNCE");
        assert_eq!(heard[1]["caller"]["id"], id);
    }
    assert_eq!(ask(&mut ann, "NOTE", "a").await[0]["ok"], true);
    assert_eq!(ask(&mut ann, "ELSE", "a").await[0]["code"], "refused");

    ann.send(&message(&event("WHOAMI", "a", Value::Null))).await;
    let you_are = loop {
        let heard = heard(&mut ann).await;
        if heard[1]["type"] == "YOU_ARE" {
            break heard;
        }
    };
    assert_eq!(you_are[1]["payload"][0], id);

    ann.send("427[\"sum\",1,2.5]").await;
    assert_eq!(ann.text().await, "437[3.5]");
    ann.send("42[\"hello\"]").await;
    assert_eq!(
        heard(&mut ann).await,
        json!(["welcome", "welcome to you", id])
    );
}

#[tokio::test]
async fn limits() {
    // Some events for free and hardly another, and less patience than anybody needs.
    let variables = [
        ("PEER_DATA_EVENT_BURST", "200"),
        ("PEER_DATA_EVENTS_PER_SECOND", "1"),
        ("PEER_DATA_RATE_PATIENCE_MS", "1"),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Program::start("limits", folder, &variables).await;
    let (mut ann, _) = join(&program, "a").await;
    let open = "/socket.io/?EIO=3&transport=polling";
    let ask = |header: usize| {
        let request = Request::get(open).header("x", &"y".repeat(header));
        request.send(program.address)
    };
    let first = ask(1).await;
    let sid = first.text().split('"').nth(3).expect("a sid");
    let post = |body: String| {
        let target = format!("{open}&sid={sid}");
        Request::post(&target, body).send(program.address)
    };
    // The strict set's own bound of a message, and of packets.
    assert_eq!(post("2".repeat((128 << 10) + 1)).await.status, 413);
    assert_eq!(post("1:2".repeat(1_001)).await.status, 413);
    post("1:2".repeat(300)).await.is_ok();
    let spent = post("1:2".repeat(100)).await;
    assert_eq!(
        (spent.status, spent.header("retry-after").is_some()),
        (429, true)
    );

    for _ in 0..300 {
        ann.send_message(Message::Ping(Vec::new().into())).await;
    }
    let code = loop {
        match ann.frame().await {
            Frame::Closed(code) => break code,
            Frame::Lost => panic!("no close frame"),
            // It is still read: there is always another one to come.
            _ => ann.send_message(Message::Ping(Vec::new().into())).await,
        }
    };
    assert_eq!(code, Some(4429));

    // Nine more of this address, whose sessions stay, and then it is full.
    let mut open = Vec::new();
    let refused = loop {
        let answer = ask(1).await;
        if answer.status != 200 {
            break answer;
        }
        open.push(answer);
    };
    assert_eq!((refused.status, open.len()), (429, 10));
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn conformance_socket() {
    let program = start("conformance_socket").await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = Socket::open(program.address, target).await;
    let open: Value = serde_json::from_str(&socket.text().await[1..]).expect("JSON");
    assert_eq!(
        (&open["pingInterval"], &open["pingTimeout"]),
        (&json!(300), &json!(200))
    );
    for (packet, answers) in [
        ("40", &["40{", "42[\"auth\",{}]"][..]),
        (
            "40/custom,{\"a\":1}",
            &["40/custom,{", "42/custom,[\"auth\",{\"a\":1}]"],
        ),
        ("40/else,", &["44/else,{\"message\":\"Invalid namespace\"}"]),
        (
            "42[\"message\",1,{\"b\":[]}]",
            &["42[\"message-back\",1,{\"b\":[]}]"],
        ),
        (
            "42/custom,5[\"message-with-ack\",\"x\"]",
            &["43/custom,5[\"x\"]"],
        ),
    ] {
        socket.send(packet).await;
        for answer in answers {
            let text = loop {
                match socket.text().await {
                    ping if ping == "2" => socket.send("3").await,
                    text => break text,
                }
            };
            assert!(text.starts_with(answer), "{packet}: {text}");
        }
    }
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn conformance_engine() {
    let program = start("conformance_engine").await;
    for revision in [3, 4] {
        let path = format!("/engine.io/?EIO={revision}&transport=");
        let answer = Request::get(&format!("{path}polling"))
            .send(program.address)
            .await;
        let text = answer.text();
        assert!(text.ends_with('}'), "nothing after the open packet: {text}");
        let mut socket = Socket::open(program.address, &format!("{path}websocket")).await;
        assert!(socket.text().await.starts_with('0'));
        socket.send("4hello").await;
        assert_eq!(socket.text().await, "4hello");
        socket.send_binary(&[4, 1, 2]).await;
        assert_eq!(socket.binary().await, [4, 1, 2]);
    }
    let elsewhere = Request::get("/socket.io/?EIO=4&transport=polling");
    assert_eq!(elsewhere.send(program.address).await.status, 404);
}
