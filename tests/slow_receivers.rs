//! A thousand who never read in a room that talks: memory is bounded, and whoever reads hears all.
//!
//! In a process of its own, whose heap is counted.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use peak_alloc::PeakAlloc;
use peer_data_server::{CloseReason, LifecycleEvent};
use support::{Host, Peer, ROOM, Revision, Wire, event, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const STALLED: usize = 1_000;
const HOUR: Duration = Duration::from_secs(3_600);
const MESSAGE: usize = 10_000;
/// Room for the news that all of them are gone, too.
const OUTBOX: usize = 400_000;

/// One that asks to join and then never reads. The kernel is to keep little for it: what it does
/// not take, the server has to deal with.
async fn stalled(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let upgrade = "GET /peer-data HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    let join = event("CONNECT", ROOM, 0).to_string();
    let length = u8::try_from(join.len()).unwrap();
    assert!(length < 126, "the short form of a length");
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], join.as_bytes()].concat();
    stream.write_all(&frame).await.unwrap();
    stream
}

#[tokio::test]
async fn a_thousand_stalled_receivers_take_the_memory_of_one() {
    rlimit::increase_nofile_limit(8_192).unwrap();
    let site = Host::Axum
        .start_with(|builder| {
            // However long it takes, it is nothing but full outboxes that ends them.
            let builder = builder.ping_interval(HOUR).write_timeout(HOUR);
            builder.max_message(MESSAGE).max_outbox(OUTBOX)
        })
        .await;
    let mut crowd = Vec::new();
    for _ in 0..STALLED {
        crowd.push(stalled(site.address).await);
    }
    eventually("all are there", || site.members(ROOM).len() == STALLED).await;
    let mut ben = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    let mut ann = Peer::join(&site, Wire::Json, ROOM).await;
    assert_eq!(ben.signal().await["caller"]["id"], ann.id);
    let mut lifecycle = site.server.lifecycle();

    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let text = "x".repeat(MESSAGE - 200);
    let mut departures = 0;
    let mut number = 0;
    while departures < STALLED {
        number += 1;
        assert!(number < 10_000, "{departures} of them are put out");
        let payload = format!("{number} {text}");
        ann.send(&event("CHAT", ROOM, payload.as_str())).await;
        loop {
            let heard = ben.signal().await;
            if heard["type"] != "DISCONNECT" {
                assert_eq!(heard["payload"], payload, "he hears all, in order");
                break;
            }
            departures += 1;
            // She is told as well, and reads it.
            assert_eq!(ann.signal().await["type"], "DISCONNECT");
        }
    }
    let peak = HEAP.peak_usage().saturating_sub(before);

    // One outbox of shared signals, and what was handed to the sockets, 64 KiB and a message each:
    // were they copies, that alone would be 460 MB. For each receiver a queue of references to some
    // dozens of signals, a few kilobytes, and what the tests' own clients keep.
    let bound = 2 * (OUTBOX + (64 << 10) + MESSAGE) + STALLED * 8_192;
    assert!(peak < bound, "{peak} bytes, and {bound} were expected");

    assert_eq!(site.members(ROOM), [ben.id.clone(), ann.id.clone()]);
    let mut reasons = 0;
    while reasons < STALLED {
        match within("their endings", lifecycle.next()).await.unwrap() {
            LifecycleEvent::Disconnected { reason, .. } => {
                assert_eq!(reason, CloseReason::SlowConsumer);
                reasons += 1;
            }
            LifecycleEvent::Missed(count) => panic!("{count} were missed"),
            _ => {}
        }
    }
    drop(crowd);
}
