//! What clients say is nobody else's business: it is in no log and in no error text.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

mod support;

use peer_data_server::{Identity, Refused};
use serde_json::json;
use support::{
    Host, Log, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, event, event_to,
};

/// What a log must not hold: a word of a session description, of a candidate, of each credential,
/// and the client's address.
const SECRETS: [&str; 6] = [
    "UFRAGSECRET",
    "198.51.100.77",
    "TOKENSECRET",
    "COOKIESECRET",
    "203.0.113.42",
    "ROOMSECRET",
];

fn keeps_quiet(what: &str, text: &str) {
    for secret in SECRETS {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what} tells {secret}");
    }
}

/// A server that knows its users by a token, behind a proxy.
async fn start(host: Host) -> Site {
    host.start_with(|builder| {
        builder
            .trusted_proxies(["127.0.0.1"])
            .max_message(20_000)
            .authorize(|hello| {
                let token = hello.credential("token").unwrap_or_default().into_owned();
                let address = hello.handshake().address();
                async move {
                    match token.as_str() {
                        "TOKENSECRET" => Ok(Identity::new((token, address))),
                        _ => Err(Refused::unauthorized("a token is needed")),
                    }
                }
            })
    })
    .await
}

fn secret_request(request: Request) -> Request {
    request
        .header("x-forwarded-for", "203.0.113.42")
        .header("cookie", "login=COOKIESECRET")
        .header("authorization", "Bearer TOKENSECRET")
}

async fn nothing_private_is_told(host: Host) {
    let log = Log::of_all();
    let site = start(host).await;
    let mut told = Vec::new();

    // A call, from hello to goodbye, on websockets.
    let target = "/peer-data?token=TOKENSECRET";
    let mut json_peer = Socket::open(site.address, target).await;
    assert!(json_peer.text().await.contains("READY"));
    let description = "v=0\r\na=ice-ufrag:UFRAGSECRET\r\n";
    let candidate = "candidate:1 1 udp 1 198.51.100.77 9 typ host";
    for text in [
        event("CONNECT", "ROOMSECRET", 0).to_string(),
        event_to("nobody", "OFFER", "ROOMSECRET", description).to_string(),
        event_to(&"x".repeat(20), "CANDIDATE", "ROOMSECRET", candidate).to_string(),
        // Of wrong shape in all ways.
        format!("{{\"type\":\"UFRAGSECRET\",\"payload\":\"{candidate}"),
        json!({"type": "OFFER", "payload": description}).to_string(),
        json!({"type": "send", "room": {"id": "r"}, "payload": candidate}).to_string(),
        json!(["UFRAGSECRET"]).to_string(),
        "[".repeat(1_000) + "UFRAGSECRET",
    ] {
        json_peer.send(&text).await;
    }
    // The room's own id stands in what its member is told.
    for _ in 0..7 {
        let said = json_peer.text().await;
        assert!(said.contains(r#""type":"ERROR""#), "{said}");
        told.push(said.replace("ROOMSECRET", ""));
    }
    json_peer.send(&"UFRAGSECRET".repeat(2_000)).await;
    told.push(format!("{:?}", json_peer.frame().await));

    // Refusals of requests.
    for target in [
        "/peer-data?token=wrong&x=TOKENSECRET",
        "/socket.io/?EIO=4&transport=TOKENSECRET",
        "/socket.io/?EIO=4&transport=polling&sid=TOKENSECRET",
        "/socket.io/?EIO=TOKENSECRET&transport=polling",
        "/peer-data/TOKENSECRET",
    ] {
        for request in [Request::get(target), Request::upgrade(target)] {
            let answer = secret_request(request).send(site.address).await;
            assert!(answer.status >= 400 || answer.status == 101, "{answer:?}");
            told.push(format!("{} {}", answer.status, answer.text()));
        }
    }
    // Long-polling: a session that breaks off, and one that is told off.
    let open = "/socket.io/?EIO=3&transport=polling&token=TOKENSECRET";
    let answer = secret_request(Request::get(open)).send(site.address).await;
    assert_eq!(answer.status, 200);
    let polling = Polling::open(&site, Revision::V4, "&token=TOKENSECRET").await;
    polling.post(&[r#"40{"token":"TOKENSECRET"}"#]).await;
    told.push(polling.get().await.text().to_owned());
    polling.post(&["42[\"message\",{\"UFRAGSECRET\":"]).await;
    told.push(polling.get().await.text().to_owned());
    let answer = polling.post_body("UFRAGSECRET").await;
    answer.is_unknown_session();
    // Frames that are none.
    let mut exchange = secret_request(Request::upgrade(target))
        .start(site.address)
        .await;
    exchange.read_until(b"\r\n\r\n").await;
    exchange.write(b"UFRAGSECRET, 198.51.100.77").await;
    let farewell = exchange.read_to_end().await;
    let farewell = String::from_utf8_lossy(&farewell).into_owned();
    // The greeting tells the client who it is.
    told.push(farewell);

    for peer in site.server.peers() {
        told.push(format!("{peer:?} {:?}", site.server));
        peer.disconnect();
    }
    for text in &told {
        keeps_quiet("an answer", text);
    }
    let log = log.text();
    let (debugging, rest): (Vec<_>, Vec<_>) = log.lines().partition(|line| names_a_room(line));
    // With the feature, and only with it, there is something that could have been too much.
    let traced = cfg!(feature = "tracing");
    assert_eq!(!debugging.is_empty(), traced);
    assert_eq!(log.contains("session ended"), traced);
    keeps_quiet("the log", &rest.join("\n"));
    let debugging = debugging.join("\n").replace("ROOMSECRET", "");
    keeps_quiet("a line about a room", &debugging);
}

/// Whether this line is one of those that may name a room: whoever looks for a fault in rooms has to
/// know which.
fn names_a_room(line: &str) -> bool {
    line.contains(" DEBUG session{")
        && ["joined", "left"].iter().any(|what| {
            line.ends_with(&format!(
                r#"peer_data_server: room {what} room="ROOMSECRET""#
            ))
        })
}

#[tokio::test]
async fn nothing_private_is_told_on_axum() {
    nothing_private_is_told(Host::Axum).await;
    nothing_private_is_told(Host::Hyper).await;
}

#[cfg(feature = "actix")]
#[tokio::test]
async fn nothing_private_is_told_on_actix() {
    nothing_private_is_told(Host::Actix).await;
}

/// The test above would see it.
#[tokio::test]
async fn the_log_is_read_at_every_level() {
    let log = Log::of_all();
    tracing::trace!(target: "peer_data_server", "a word of {}", "ours");
    assert!(log.text().contains("a word of ours"));
    // What lies below tells what it does too: the event loop and, where it is built in, actix.
    let site = Host::Axum.start().await;
    drop(Peer::join(&site, Wire::Polling(Revision::V4), ROOM).await);
    assert!(log.text().contains(" TRACE mio::"));
    #[cfg(feature = "actix")]
    {
        let site = Host::Actix.start().await;
        drop(Peer::join(&site, Wire::Polling(Revision::V4), ROOM).await);
        assert!(log.text().contains(" TRACE actix_http::"));
    }
}
