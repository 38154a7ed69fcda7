//! Attacks that other servers of this kind have fallen to, as far as no other test has them:
//! SECURITY.md names them.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use crate::support::{
    Bystanders, Host, Peer, Polling, ROOM, Request, Revision, Socket, Wire, event, eventually,
    in_each_revision, message, on_each_host,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

on_each_host!(
    long_headers_cost_their_length,
    binary_posts_of_revision_4_are_answered,
    resets_in_the_middle_of_anything_end_their_own_session,
);
in_each_revision!(
    placeholders_that_are_none_are_refused,
    a_name_that_is_no_text_ends_its_connection,
    an_event_called_error_is_an_event,
);

async fn long_headers_cost_their_length(host: Host) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    let protocol = format!("b{}x", " ".repeat(6_000));
    let commas = ",".repeat(6_000);
    for value in [protocol.as_str(), &commas, "\u{7f}"] {
        for target in ["/peer-data", "/socket.io/?EIO=4&transport=websocket"] {
            let request = Request::upgrade(target).header("sec-websocket-protocol", value);
            let mut exchange = request.start(site.address).await;
            let head = exchange.read_until(b"\r\n").await;
            assert!(head.starts_with(b"HTTP/1.1 "), "{head:?}");
            bystanders.talk().await;
        }
    }
    // More lines than any server takes.
    for count in [90, 3_000] {
        let mut request = Request::upgrade("/peer-data");
        for number in 0..count {
            request = request.header(&format!("x-{number}"), "y");
        }
        let mut exchange = request.start(site.address).await;
        let head = exchange.read_until(b"\r\n").await;
        assert!(head.starts_with(b"HTTP/1.1 "), "{head:?}");
        bystanders.talk().await;
    }
    bystanders.part(&site).await;
}

async fn binary_posts_of_revision_4_are_answered(host: Host) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    for body in [&b"4x"[..], b"", b"\x00\x01\xff4", b"b"] {
        let (session, _) = Polling::connect(&site, Revision::V4).await;
        // Many at a time: none may keep its connection waiting.
        let mut posts = Vec::new();
        for _ in 0..10 {
            let post = Request::post(&session.target(), body);
            let post = post.header("content-type", "application/octet-stream");
            posts.push(post.start(site.address).await);
        }
        for mut post in posts {
            let answer = post.response().await;
            assert!(matches!(answer.status, 200 | 400), "{answer:?}");
        }
        bystanders.talk().await;
    }
    eventually("their sessions are over", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

/// Sends that much of a request or of a websocket, and resets the connection.
async fn reset_after(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.set_zero_linger().unwrap();
}

async fn resets_in_the_middle_of_anything_end_their_own_session(host: Host) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    let (session, _) = Polling::connect(&site, Revision::V4).await;
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let upgrade = format!(
        "GET /peer-data HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n"
    );
    let frame = b"\x81\xfe\x10\x00\x00\x00\x00\x00[[[[";
    let with_frame = [upgrade.as_bytes(), frame].concat();
    let post = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4",
        session.target()
    );
    for bytes in [
        &b"G"[..],
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n",
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
        &upgrade.as_bytes()[..40],
        upgrade.as_bytes(),
        &with_frame,
        post.as_bytes(),
    ] {
        for _ in 0..5 {
            reset_after(site.address, bytes).await;
        }
        bystanders.talk().await;
    }
    eventually("all are gone", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

async fn placeholders_that_are_none_are_refused(host: Host, revision: Revision) {
    let site = host.start().await;
    let bystanders = Bystanders::meet(&site).await;
    let mut attacker = Peer::join(&site, Wire::Socket(revision), ROOM).await;
    for number in [
        "\"0\"",
        "\"constructor\"",
        "\"__proto__\"",
        "{}",
        "[0]",
        "null",
        "-1",
        "1",
        "0.5",
        "1e99",
        "18446744073709551616",
    ] {
        let raw = format!(
            r#"{{"type":"CHAT","room":{{"id":"r"}},"payload":{{"_placeholder":true,"num":{number}}}}}"#
        );
        attacker.send_raw(&raw, &[b"x"]).await;
        let answer = attacker.signal().await;
        let told = (&answer["type"], &answer["payload"]["code"]);
        assert_eq!(told, (&json!("ERROR"), &json!("malformed")), "{number}");
    }
    bystanders.part(&site).await;
}

async fn a_name_that_is_no_text_ends_its_connection(host: Host, revision: Revision) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    for name in [
        r#"{"toString":"foo"}"#,
        "{}",
        "null",
        "7",
        "[\"message\"]",
        "true",
    ] {
        let (mut attacker, _) = Socket::connect(&site, revision).await;
        let event = event("CHAT", ROOM, 1);
        attacker.send(&format!("42[{name},{event}]")).await;
        assert_eq!(attacker.closed().await, None, "{name}");
        bystanders.talk().await;
    }
    eventually("all are gone", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

async fn an_event_called_error_is_an_event(host: Host, revision: Revision) {
    let site = host.start().await;
    let bystanders = Bystanders::meet(&site).await;
    let (mut attacker, _) = Socket::connect(&site, revision).await;
    for name in [
        "error",
        "connect",
        "connect_error",
        "disconnect",
        "newListener",
        "__proto__",
    ] {
        attacker.send(&format!("42[\"{name}\",1]")).await;
    }
    // It lives, and what comes next is the answer to this.
    attacker.send(&message(&json!(null))).await;
    assert!(attacker.text().await.contains("malformed"));
    assert_eq!(site.server.ignored_events(), 6);
    bystanders.part(&site).await;
}
