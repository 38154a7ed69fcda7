//! Opening a session: what is answered, and which requests are refused with which code.

#![cfg(feature = "tower")]

use std::time::Duration;

use crate::support::{
    Host, Peer, Polling, Request, Response, Revision, Site, Socket, Wire, in_each_revision,
    on_each_host,
};
use serde_json::{Value, json};

in_each_revision!(
    polling_is_opened_as_the_revision_has_it,
    a_websocket_is_opened_as_the_revision_has_it,
    the_settings_are_announced,
    requests_that_make_no_sense_are_refused_by_code,
    a_session_keeps_to_its_revision,
    an_odd_method_leaves_a_session_alone,
    order_and_encoding_of_parameters_do_not_matter,
    pages_of_other_origins_may_read_every_answer,
    a_websocket_handshake_must_be_complete,
);
on_each_host!(
    other_versions_are_refused,
    a_preflight_is_answered_anywhere,
    the_peer_id_is_never_the_session_id,
);

fn target(revision: Revision, rest: &str) -> String {
    format!("/socket.io/?EIO={}{rest}", revision.number())
}

async fn get(site: &Site, target: &str) -> Response {
    Request::get(target).send(site.address).await
}

/// The open packet, read as JSON.
fn opening(packet: &str) -> Value {
    let open = packet.strip_prefix('0').expect("an open packet");
    serde_json::from_str(open).expect("JSON")
}

#[track_caller]
fn is_id(id: &str) {
    assert_eq!(id.len(), 20, "{id}");
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(id.chars().all(allowed), "{id}");
}

async fn polling_is_opened_as_the_revision_has_it(host: Host, revision: Revision) {
    let site = host.start().await;
    let answer = get(&site, &target(revision, "&transport=polling&t=Nabc")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let body = answer.text();
    let (sid, expected) = match revision {
        Revision::V3 => {
            let sid = &body[12..32];
            let open = format!(
                r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}}"#
            );
            (sid, format!("97:{open}2:40"))
        }
        Revision::V4 => {
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let sid = &body[9..29];
            (
                sid,
                format!(
                    r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
                ),
            )
        }
    };
    assert_eq!(body, expected);
    is_id(sid);
    let again = get(&site, &target(revision, "&transport=polling")).await;
    assert!(!again.text().contains(sid), "a session id is given twice");
}

async fn a_websocket_is_opened_as_the_revision_has_it(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut socket, open) = Socket::engine(&site, revision).await;
    let sid = opening(&open)["sid"].as_str().expect("a sid").to_owned();
    is_id(&sid);
    match revision {
        Revision::V3 => {
            assert_eq!(
                open,
                format!(
                    r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#
                )
            );
            assert_eq!(socket.text().await, "40", "unasked");
        }
        Revision::V4 => {
            assert_eq!(
                open,
                format!(
                    r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
                )
            );
            socket.send(r#"40{"token":"x"}"#).await;
            let connected = socket.text().await;
            let connected: Value = serde_json::from_str(&connected[2..]).expect("JSON");
            is_id(connected["sid"].as_str().expect("an id"));
            assert_ne!(connected["sid"], sid);
        }
    }
}

async fn the_settings_are_announced(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| {
            builder
                .ping_interval(Duration::from_millis(12_345))
                .ping_timeout(Duration::from_millis(6_789))
                .max_message(54_321)
        })
        .await;
    let (_socket, open) = Socket::engine(&site, revision).await;
    let open = opening(&open);
    assert_eq!(open["pingInterval"], 12_345);
    assert_eq!(open["pingTimeout"], 6_789);
    let max = match revision {
        Revision::V3 => Value::Null,
        Revision::V4 => json!(54_321),
    };
    assert_eq!(open["maxPayload"], max);
}

async fn requests_that_make_no_sense_are_refused_by_code(host: Host, revision: Revision) {
    let site = host.start().await;
    let ask = async |method: &str, rest: &str| {
        Request::new(method, &target(revision, rest))
            .send(site.address)
            .await
    };
    let transport = (0, "Transport unknown");
    let session = (1, "Session ID unknown");
    let method = (2, "Bad handshake method");
    let request = (3, "Bad request");
    for (verb, rest, (code, message)) in [
        ("GET", "", transport),
        ("GET", "&transport=", transport),
        ("GET", "&transport=flash", transport),
        ("GET", "&transport=__proto__", transport),
        ("POST", "&transport=constructor", transport),
        ("GET", "&transport=polling&sid=", session),
        ("GET", "&transport=polling&sid=abc", session),
        ("GET", "&transport=polling&sid=__proto__", session),
        (
            "GET",
            "&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
            session,
        ),
        (
            "POST",
            "&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
            session,
        ),
        (
            "PUT",
            "&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
            session,
        ),
        (
            "GET",
            "&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA",
            session,
        ),
        ("POST", "&transport=polling", method),
        ("PUT", "&transport=polling", method),
        ("DELETE", "&transport=polling", method),
        ("POST", "&transport=websocket", method),
        ("GET", "&transport=websocket", request),
    ] {
        let answer = ask(verb, rest).await;
        println!("{verb} {rest}");
        answer.is_refusal(code, message);
    }
    assert_eq!(site.server.peer_count(), 0);
}

async fn other_versions_are_refused(host: Host) {
    let site = host.start().await;
    for version in ["", "EIO=", "EIO=2", "EIO=5", "EIO=abc", "EIO=34", "eio=4"] {
        for transport in ["polling", "websocket"] {
            let target = format!("/socket.io/?transport={transport}&{version}");
            println!("{target}");
            let answer = Request::upgrade(&target).send(site.address).await;
            answer.is_refusal(5, "Unsupported protocol version");
        }
    }
}

async fn a_session_keeps_to_its_revision(host: Host, revision: Revision) {
    let site = host.start().await;
    let (client, _) = Polling::connect(&site, revision).await;
    let other = target(revision.other(), "&transport=polling&sid=") + &client.sid;
    get(&site, &other).await.is_refusal(3, "Bad request");
    Request::post(&other, "1:1")
        .send(site.address)
        .await
        .is_refusal(3, "Bad request");
    let socket = other.replace("polling", "websocket");
    assert_eq!(
        Socket::try_open(site.address, &socket).await.err(),
        Some(400)
    );
    let nameless = client.target().replace("EIO=", "x=");
    get(&site, &nameless).await.is_refusal(3, "Bad request");
    client.post(&["6"]).await;
}

async fn an_odd_method_leaves_a_session_alone(host: Host, revision: Revision) {
    let site = host.start().await;
    let (client, _) = Polling::connect(&site, revision).await;
    for method in ["PUT", "DELETE", "PATCH", "HEAD"] {
        let request = Request::new(method, &client.target());
        let mut exchange = request.start(site.address).await;
        let head = String::from_utf8(exchange.read_until(b"\r\n\r\n").await).expect("text");
        assert!(
            head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 5"),
            "{head}"
        );
    }
    client.post(&["6"]).await;
}

async fn order_and_encoding_of_parameters_do_not_matter(host: Host, revision: Revision) {
    let site = host.start().await;
    let eio = revision.number();
    for query in [
        format!("transport=polling&EIO={eio}"),
        format!("t=x&transport=polling&room=kitchen&EIO={eio}&token="),
        format!("transport=%70olling&%45IO=%3{eio}"),
        format!("&&EIO={eio}&transport=polling&"),
        format!("EIO={eio}&EIO={eio}&transport=polling&transport=polling"),
    ] {
        for path in ["/socket.io/", "/socket.io"] {
            let answer = get(&site, &format!("{path}?{query}")).await;
            assert_eq!(answer.status, 200, "{path}?{query}");
        }
    }
    // The one who reads along: parameters of the application's do not get into the way of a sid.
    let client = Polling::open(&site, revision, "&token=a%26b&sid2=x").await;
    client.post(&["6"]).await;
}

async fn pages_of_other_origins_may_read_every_answer(host: Host, revision: Revision) {
    let site = host.start().await;
    let origin = "http://o.test";
    let client = Polling::open(&site, revision, "").await;
    let open = target(revision, "&transport=polling");
    for request in [
        Request::get(&open),
        Request::get(&target(revision, "&transport=none")),
        Request::post(
            &client.target(),
            crate::support::encode(revision, &["6".into()]),
        ),
        Request::post(&client.target(), "").announce(2_000_000),
        Request::get(&(open.clone() + "&sid=unknown")),
    ] {
        let answer = request
            .clone()
            .header("Origin", origin)
            .send(site.address)
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some(origin),
            "{request:?}"
        );
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
    }
    let answer = get(&site, &target(revision, "&transport=none")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

async fn a_preflight_is_answered_anywhere(host: Host) {
    let site = host.start().await;
    let client = Polling::open(&site, Revision::V3, "").await;
    for target in [
        client.target(),
        "/socket.io/?EIO=4&transport=polling&sid=unknown".to_owned(),
        "/socket.io/".to_owned(),
        "/socket.io/deeper?x".to_owned(),
        "/peer-data".to_owned(),
    ] {
        let answer = Request::new("OPTIONS", &target)
            .header("Origin", "http://o.test")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type")
            .send(site.address)
            .await;
        assert_eq!(answer.status, 204, "{target}");
        assert_eq!(answer.body, b"");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("http://o.test")
        );
        let allowed = answer
            .header("access-control-allow-headers")
            .expect("headers");
        assert!(allowed.eq_ignore_ascii_case("content-type"), "{allowed}");
        assert!(
            answer
                .header("access-control-allow-methods")
                .is_some_and(|all| all.contains("POST"))
        );
    }
}

async fn a_websocket_handshake_must_be_complete(host: Host, revision: Revision) {
    let site = host.start().await;
    let target = target(revision, "&transport=websocket");
    let complete = Request::upgrade(&target);
    let mut exchange = complete.clone().start(site.address).await;
    let answer = exchange.response().await;
    assert_eq!(answer.status, 101);
    // The key and its answer are the example of RFC 6455, 1.3.
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(answer.header("sec-websocket-protocol"), None);

    let offered = complete
        .clone()
        .header("Sec-WebSocket-Protocol", "one, two");
    let answer = offered.start(site.address).await.response().await;
    assert_eq!(answer.header("sec-websocket-protocol"), Some("one"));

    let no_key = complete.clone().header("Sec-WebSocket-Key", "short");
    no_key.send(site.address).await.is_refusal(3, "Bad request");
    let no_upgrade = complete.clone().header("Upgrade", "h2c");
    no_upgrade
        .send(site.address)
        .await
        .is_refusal(3, "Bad request");
    let old = complete.clone().header("Sec-WebSocket-Version", "8");
    let answer = old.send(site.address).await;
    assert_eq!(
        (answer.status, answer.header("sec-websocket-version")),
        (426, Some("13"))
    );
    assert_eq!(answer.names_of_the_hop("upgrade"), 1, "{answer:?}");
    let stranger = Request::upgrade(&(target + "&sid=AAAAAAAAAAAAAAAAAAAA"));
    let answer = stranger.send(site.address).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("Session ID unknown"), "{answer:?}");
}

async fn the_peer_id_is_never_the_session_id(host: Host) {
    let site = host.start().await;
    for wire in Wire::SOCKET_IO {
        let mut peer = Peer::join(&site, wire, "kitchen").await;
        is_id(&peer.id);
        if let Wire::Polling(_) = wire {
            let sid = peer.polling().sid.clone();
            assert_ne!(peer.id, sid);
        }
        // And a peer id opens no session.
        for revision in Revision::BOTH {
            let target = target(revision, "&transport=polling&sid=") + &peer.id;
            get(&site, &target).await.is_unknown_session();
        }
    }
}
