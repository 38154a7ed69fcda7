//! Packets, polling payloads and websocket frames, in and out.
//!
//! ```text
//! cargo bench --features bench --bench codec
//! ```

// A benchmark uses some of what the load generator sends.
#[allow(dead_code)]
#[path = "../examples/load/event.rs"]
mod event;
mod samples;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use peer_data_server::PeerId;
use peer_data_server::bench::{
    self, Payload, Revision, decode_base64, decode_packet, decode_payload, encode_base64,
    encode_connected,
};
use samples::{Sample, bytes};

/// How many signals come or go together: what a client finds of its addresses in a few moments.
const BURST: usize = 16;

const REVISIONS: [(&str, Revision); 2] = [("3", Revision::V3), ("4", Revision::V4)];

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    let own: PeerId = samples::OWN.parse().expect("an id");
    let data = [7; 1_000];
    for (name, revision) in REVISIONS {
        let event = format!("4{}", samples::candidate().packet());
        assert!(decode_packet(revision, &event).is_some());
        group.bench_function(format!("decode event, revision {name}"), |bencher| {
            bencher.iter(|| decode_packet(revision, black_box(&event)));
        });
        let binary = encode_base64(revision, &data);
        assert_eq!(decode_base64(revision, &binary), Some(data.len()));
        group.bench_function(format!("decode 1 kB base64, revision {name}"), |bencher| {
            bencher.iter(|| decode_base64(revision, black_box(&binary)));
        });
        group.bench_function(format!("encode 1 kB base64, revision {name}"), |bencher| {
            bencher.iter(|| encode_base64(revision, black_box(&data)));
        });
        group.bench_function(format!("encode connect, revision {name}"), |bencher| {
            bencher.iter(|| encode_connected(revision, black_box(&own)));
        });
    }
    group.finish();
}

fn payloads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload of 16 candidates");
    let signals = vec![samples::candidate().signal(); BURST];
    let payload = Payload::new(&signals);
    for (name, revision) in REVISIONS {
        let body = payload.encode(revision);
        assert_eq!(decode_payload(revision, &body), BURST);
        group.throughput(Throughput::Bytes(bytes(body.len())));
        group.bench_function(format!("decode, revision {name}"), |bencher| {
            bencher.iter(|| decode_payload(revision, black_box(&body)));
        });
        group.bench_function(format!("encode, revision {name}"), |bencher| {
            bencher.iter(|| black_box(&payload).encode(revision));
        });
    }
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let bursts = [
        ("16 candidates", samples::candidate(), BURST),
        ("an offer", samples::offer(), 1),
    ];
    for (name, sample, count) in bursts {
        let read = masked(&sample, count);
        let text = (sample.packet().len() + 1) * count;
        assert_eq!(bench::read_frames(&mut read.clone()), text);
        group.throughput(Throughput::Bytes(bytes(read.len())));
        // Unmasking is done in place, so each read is a fresh one.
        group.bench_function(format!("read {name}"), |bencher| {
            let fresh = || read.clone();
            let run = |read: &mut Vec<u8>| bench::read_frames(read);
            bencher.iter_batched_ref(fresh, run, BatchSize::SmallInput);
        });
        let signals = vec![sample.signal(); count];
        // A header of four bytes, and the packet around the event.
        let around = 4 + "42[\"message\",]".len();
        let framed = signals.iter().map(|signal| around + signal.json().len());
        assert_eq!(bench::write_frames(&signals), framed.sum::<usize>());
        group.bench_function(format!("write {name}"), |bencher| {
            bencher.iter(|| bench::write_frames(black_box(&signals)));
        });
    }
    group.finish();
}

/// What a client sends in one go: frames of this packet, each masked.
fn masked(sample: &Sample, count: usize) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];
    let packet = format!("4{}", sample.packet());
    let length = u16::try_from(packet.len()).expect("a length of two bytes");
    assert!(length > 125, "the short form of a length");
    let mut frame = vec![0x81, 0xfe];
    frame.extend(length.to_be_bytes());
    frame.extend(MASK);
    let text = packet.bytes().zip(MASK.iter().cycle());
    frame.extend(text.map(|(byte, mask)| byte ^ mask));
    frame.repeat(count)
}

criterion_group!(benches, packets, payloads, frames);
criterion_main!(benches);
