//! What traces show of sessions.

#![cfg(all(feature = "tower", feature = "tracing"))]

mod support;

use peer_data_server::{Hello, Identity, Refused, Verdict};
use serde_json::Value;
use support::{
    Host, Log, Peer, Polling, Request, Revision, Site, Socket, Wire, event, eventually,
    on_each_host,
};

on_each_host!(
    a_session_has_a_span_from_its_beginning_to_its_end,
    an_upgrade_shows_in_the_span,
    hooks_run_within_the_span,
    refusals_are_told_without_their_reasons,
    identities_are_not_looked_into_unasked,
);

/// A user with something to hide.
struct User {
    name: &'static str,
    #[allow(dead_code)] // nobody is to read it
    password: &'static str,
}

/// Lets everybody in as Ann, unless they say that they are Eve.
fn authorize(hello: &Hello<'_>) -> impl Future<Output = Result<Identity, Refused>> + Send + use<> {
    tracing::info!("authorize runs");
    let evil = hello.credential("eve").is_some();
    async move {
        if evil {
            return Err(Refused::forbidden("PRIVATE reasons"));
        }
        let (name, password) = ("ann", "PRIVATE");
        Ok(Identity::new(User { name, password }))
    }
}

async fn start(host: Host) -> Site {
    host.start_with(|builder| {
        builder
            .authorize(authorize)
            .on_custom(|_, _| {
                tracing::info!("custom runs");
                Verdict::Relay
            })
            .trace_identity(|identity| identity.get::<User>().map(|user| user.name.to_owned()))
    })
    .await
}

/// What was logged of that peer: its level, and what follows the span.
fn story(peer: &str) -> Vec<String> {
    let text = Log::of_all().text();
    let own = format!(r#"peer="{peer}""#);
    let lines = text.lines().filter(|line| line.contains(&own));
    // What a library says of a session's frames, at the level of traces, is not told here.
    let own = lines.filter(|line| !line.contains("}: tungstenite::"));
    own.map(|line| {
        let (head, said) = line.split_once("}: ").expect("a span");
        assert!(!line.contains("PRIVATE"), "{line}");
        let level = head.split_whitespace().nth(1).expect("a level");
        format!("{level} {said}")
    })
    .collect()
}

/// The beginning of the last line of that peer, which is its span with all fields.
fn span(peer: &str) -> String {
    let text = Log::of_all().text();
    let own = format!(r#"peer="{peer}""#);
    let last = text.lines().rfind(|line| line.contains(&own));
    let (span, _) = last.expect("a line").split_once("}: ").expect("a span");
    let (_, fields) = span.split_once("session{").expect("the fields");
    fields.to_owned()
}

async fn a_session_has_a_span_from_its_beginning_to_its_end(host: Host) {
    Log::of_all();
    let site = start(host).await;
    for (wire, name, transport) in [
        (Wire::Json, "json", "websocket"),
        (Wire::Socket(Revision::V3), "socket_io_2", "websocket"),
        (Wire::Polling(Revision::V4), "socket_io_4", "polling"),
    ] {
        let mut peer = Peer::join(&site, wire, "attic").await;
        peer.send(&event("DISCONNECT", "attic", "PRIVATE")).await;
        eventually("nobody", || site.members("attic").is_empty()).await;
        let id = peer.id.clone();
        peer.vanish().await;
        let ended = || story(&id).iter().any(|line| line.contains("session ended"));
        eventually("the end", ended).await;
        assert_eq!(
            story(&id),
            [
                "INFO peer_data_server: peer connected",
                r#"DEBUG peer_data_server: room joined room="attic""#,
                r#"DEBUG peer_data_server: room left room="attic""#,
                "INFO peer_data_server: session ended reason=connection lost",
            ],
            "{wire:?}"
        );
        let fields = format!(r#"wire="{name}" transport="{transport}" peer="{id}" identity="ann""#);
        assert_eq!(span(&id), fields);
    }
}

async fn an_upgrade_shows_in_the_span(host: Host) {
    Log::of_all();
    let site = start(host).await;
    let (polling, connected) = Polling::connect(&site, Revision::V4).await;
    let connected: Value = serde_json::from_str(&connected[2..]).expect("JSON");
    let id = connected["sid"].as_str().expect("an id");
    let mut socket = Socket::open(site.address, &polling.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    socket.send("5").await;
    let upgraded = "DEBUG peer_data_server: transport upgraded";
    let shows = || story(id).iter().any(|line| line == upgraded);
    eventually("the upgrade", shows).await;
    assert!(
        span(id).ends_with(r#"transport="websocket""#),
        "{}",
        span(id)
    );
    assert!(!Log::of_all().text().contains(&polling.sid), "the key");
}

async fn hooks_run_within_the_span(host: Host) {
    Log::of_all();
    let site = start(host).await;
    let mut peer = Peer::join(&site, Wire::Socket(Revision::V4), "cellar").await;
    peer.ask(&event("CHAT", "cellar", "PRIVATE")).await;
    let lines = story(&peer.id);
    assert!(
        lines.contains(&"INFO spans: custom runs".to_owned()),
        "{lines:?}"
    );
    // Revision 4 is authorized in its session, which has no peer yet.
    let text = Log::of_all().text();
    let within = r#"INFO session{wire="socket_io_4" transport="websocket"}: spans: authorize runs"#;
    assert!(text.contains(within), "{text}");
}

async fn refusals_are_told_without_their_reasons(host: Host) {
    Log::of_all();
    let site = start(host).await;
    let evil = Request::get("/socket.io/?EIO=3&transport=polling&eve=1");
    assert_eq!(evil.send(site.address).await.status, 200);
    let nonsense = Request::get("/socket.io/?EIO=9&transport=polling");
    assert_eq!(nonsense.send(site.address).await.status, 400);
    let text = Log::of_all().text();
    for outcome in ["refused", "invalid"] {
        let line = format!(r#"peer_data_server: handshake refused outcome="{outcome}""#);
        let line = text.lines().find(|other| other.ends_with(&line));
        assert!(
            line.is_some_and(|line| line.contains(" DEBUG ")),
            "{outcome}: {text}"
        );
    }
    assert!(!text.contains("PRIVATE"));

    let mut peer = Peer::join(&site, Wire::Json, "den").await;
    peer.send(&event("CHAT", "PRIVATE place", 1)).await;
    assert_eq!(peer.signal().await["type"], "ERROR");
    let refused = "DEBUG peer_data_server: event refused code=not_in_room".to_owned();
    assert!(story(&peer.id).contains(&refused), "{:?}", story(&peer.id));
}

async fn identities_are_not_looked_into_unasked(host: Host) {
    Log::of_all();
    let site = host
        .start_with(|builder| builder.authorize(authorize))
        .await;
    let peer = Peer::join(&site, Wire::Json, "porch").await;
    assert_eq!(
        span(&peer.id),
        format!(r#"wire="json" transport="websocket" peer="{}""#, peer.id)
    );
}
