//! Hostile frames: bytes on a websocket that are not the protocol end that websocket, with the code
//! that says why, and nobody else notices.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use crate::support::{
    Bystanders, Exchange, Host, Peer, ROOM, Request, Revision, Site, Socket, Wire, event,
    eventually, on_each_host,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as Raw;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

on_each_host!(
    frames_that_are_none_close_with_a_code,
    compression_is_not_agreed_to,
    tiny_fragments_are_counted,
    a_flood_of_pings_is_answered_once,
    a_frame_that_never_ends_holds_up_its_sender_only,
    whoever_does_not_read_is_put_out_alone,
);

const JSON: &str = "/peer-data";
const ENGINE: &str = "/socket.io/?EIO=4&transport=websocket";

/// A frame as a client should send it, but for what its first two bytes say.
fn frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    // Masked by zeros, which change nothing.
    [&[first][..], length, &[0; 4], payload].concat()
}

/// An open websocket, of which every byte counts.
async fn open(site: &Site, target: &str) -> Exchange {
    let mut exchange = Request::upgrade(target).start(site.address).await;
    let head = exchange.read_until(b"\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 101"));
    exchange
}

/// The code of the close frame, if it has one, and how many pongs came before it.
async fn farewell(exchange: &mut Exchange) -> (Option<u16>, usize) {
    let mut pongs = 0;
    loop {
        let head = exchange.read_exactly(2).await;
        let length = match head[1] {
            126 => {
                let length = exchange.read_exactly(2).await;
                u16::from_be_bytes([length[0], length[1]])
            }
            length => length.into(),
        };
        let payload = exchange.read_exactly(length.into()).await;
        match head[0] {
            0x88 => {
                let code = payload.get(..2);
                return (
                    code.map(|code| u16::from_be_bytes([code[0], code[1]])),
                    pongs,
                );
            }
            0x8a => pongs += 1,
            _ => {}
        }
    }
}

async fn frames_that_are_none_close_with_a_code(host: Host) {
    let site = host.start_with(|builder| builder.max_message(10_000)).await;
    let mut bystanders = Bystanders::meet(&site).await;
    let text = b"null";
    let unmasked = [&[0x81, 4][..], text].concat();
    let huge = |bytes: [u8; 8]| [&[0x80 | 127][..], &bytes].concat();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked", unmasked, 1002),
        ("compressed", frame(0xc1, &[0x84], text), 1002),
        ("second reserved bit", frame(0xa1, &[0x84], text), 1002),
        ("third reserved bit", frame(0x91, &[0x84], text), 1002),
        ("reserved opcode 3", frame(0x83, &[0x84], text), 1002),
        ("reserved opcode 11", frame(0x8b, &[0x84], text), 1002),
        ("ping in pieces", frame(0x09, &[0x84], text), 1002),
        ("close in pieces", frame(0x08, &[0x80], b""), 1002),
        ("long ping", frame(0x89, &[0xfe, 0, 126], &[0; 126]), 1002),
        ("continuation of nothing", frame(0x80, &[0x84], text), 1002),
        (
            "text within text",
            [frame(0x01, &[0x84], text), frame(0x81, &[0x84], text)].concat(),
            1002,
        ),
        (
            "length over the maximum",
            frame(0x81, &[0xfe, 0xff, 0xff], b""),
            1009,
        ),
        (
            "length of an exabyte",
            frame(0x82, &huge([0x0f; 8]), b""),
            1009,
        ),
        (
            "length over all lengths",
            frame(0x81, &huge([0xff; 8]), b""),
            1009,
        ),
        ("no utf-8", frame(0x81, &[0x82], b"\xc3\x28"), 1007),
        (
            "close with half a code",
            frame(0x88, &[0x81], b"\x03"),
            1002,
        ),
        (
            "close with a code of nobody",
            frame(0x88, &[0x82], &1005_u16.to_be_bytes()),
            1002,
        ),
        (
            "close with no utf-8",
            frame(0x88, &[0x83], b"\x03\xe8\xff"),
            1007,
        ),
    ];
    for target in [JSON, ENGINE] {
        for (what, bytes, code) in &cases {
            for piece in [1, bytes.len()] {
                let mut exchange = open(&site, target).await;
                for piece in bytes.chunks(piece) {
                    exchange.write(piece).await;
                }
                let (told, _) = farewell(&mut exchange).await;
                assert_eq!(told, Some(*code), "{what} at {target}");
            }
            bystanders.talk().await;
        }
    }
    eventually("all are gone", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

async fn compression_is_not_agreed_to(host: Host) {
    let site = host.start().await;
    for target in [JSON, ENGINE] {
        let offer = "permessage-deflate; client_max_window_bits";
        let request = Request::upgrade(target).header("sec-websocket-extensions", offer);
        let mut exchange = request.start(site.address).await;
        let head = exchange.read_until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(!head.contains("extensions"), "{head}");
    }
}

async fn tiny_fragments_are_counted(host: Host) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    for revision in Revision::BOTH {
        let (mut attacker, _) = Socket::connect(&site, revision).await;
        let first = Raw::message(vec![b'4'], OpCode::Data(Data::Text), false);
        attacker.send_message(Message::Frame(first)).await;
        for number in 1..=4_096 {
            let code = OpCode::Data(Data::Continue);
            let piece = Raw::message(Vec::new(), code, false);
            attacker.send_message(Message::Frame(piece)).await;
            if number % 1_024 == 0 {
                bystanders.talk().await;
            }
        }
        assert_eq!(attacker.closed().await, Some(1008));
    }
    bystanders.part(&site).await;
}

async fn a_flood_of_pings_is_answered_once(host: Host) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    let mut exchange = open(&site, ENGINE).await;
    // All of them in one read, or few.
    let flood: Vec<u8> = (0..10_000)
        .flat_map(|_| frame(0x89, &[0x80], b""))
        .collect();
    exchange.write(&flood).await;
    bystanders.talk().await;
    exchange.write(&frame(0x88, &[0x80], b"")).await;
    let (code, pongs) = farewell(&mut exchange).await;
    assert_eq!(code, None);
    assert!((1..1_000).contains(&pongs), "{pongs}");
    bystanders.part(&site).await;
}

async fn a_frame_that_never_ends_holds_up_its_sender_only(host: Host) {
    let site = host.start().await;
    let mut bystanders = Bystanders::meet(&site).await;
    let mut attackers = Vec::new();
    for number in 0..20 {
        let target = if number % 2 == 0 { JSON } else { ENGINE };
        let mut exchange = open(&site, target).await;
        let head = frame(0x81, &[0xff, 0, 0, 0, 0, 0, 0x0f, 0, 0], b"");
        exchange.write(&head).await;
        exchange.write(&[b' '; 1_000]).await;
        attackers.push(exchange);
        bystanders.talk().await;
    }
    drop(attackers);
    eventually("all are gone", || site.server.peer_count() == 2).await;
    bystanders.part(&site).await;
}

/// It is in a room that talks, and never reads. The room goes on, and is told once.
async fn whoever_does_not_read_is_put_out_alone(host: Host) {
    let site = host
        .start_with(|builder| builder.max_message(100_000).max_outbox(300_000))
        .await;
    let mut bystanders = Bystanders::meet(&site).await;
    for wire in [
        Wire::Json,
        Wire::Socket(Revision::V3),
        Wire::Socket(Revision::V4),
    ] {
        let mut ann = Peer::join(&site, Wire::Json, ROOM).await;
        let mut ben = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
        assert_eq!(ann.signal().await["type"], "CONNECT");
        let stalled = Peer::join(&site, wire, ROOM).await;
        for peer in [&mut ann, &mut ben] {
            assert_eq!(peer.signal().await["type"], "CONNECT");
        }
        let long = "x".repeat(90_000);
        let mut gone = false;
        let mut number = 0;
        // How much the kernel takes for the stalled one is its own affair.
        while !gone {
            number += 1;
            let payload = format!("{number} {long}");
            ann.send(&event("CHAT", ROOM, payload.as_str())).await;
            let mut heard = ben.signal().await;
            if heard["type"] == "DISCONNECT" {
                assert_eq!(heard["caller"]["id"], stalled.id);
                gone = true;
                heard = ben.signal().await;
            }
            assert_eq!(heard["payload"], payload);
            assert!(number < 1_000, "it is never put out");
        }
        ann.hears_departure(&stalled.id, ROOM).await;
        bystanders.talk().await;
        for peer in [&mut ann, &mut ben] {
            peer.hears_nothing(&site).await;
        }
        drop((ann, ben, stalled));
        eventually("all are gone", || site.server.peer_count() == 2).await;
    }
    bystanders.part(&site).await;
}
