//! Reading one event and making what is relayed of it, beside what `serde_json` takes to find out
//! less.
//!
//! ```text
//! cargo bench --features bench --bench event_scan
//! ```

// A benchmark uses some of what the load generator sends.
#[allow(dead_code)]
#[path = "../examples/load/event.rs"]
mod event;
#[allow(dead_code)]
mod samples;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peer_data_server::PeerId;
use peer_data_server::bench::{relay_event, relay_packet, scan_event, scan_packet};
use samples::bytes;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

fn scans(criterion: &mut Criterion) {
    let own: PeerId = samples::OWN.parse().expect("an id");
    for (name, sample) in [
        ("candidate", samples::candidate()),
        ("offer", samples::offer()),
    ] {
        let (text, data) = (&sample.0, sample.data());
        assert!(scan_event(text) && scan_packet(&data));
        // Both ways make the same event.
        let relayed = relay_packet(&data, &own).expect("an event");
        let value: Value = serde_json::from_slice(&by_value(text, &own)).expect("JSON");
        assert_eq!(
            serde_json::from_slice::<Value>(&relayed.json()).expect("JSON"),
            value
        );

        let title = format!("{name} of {} bytes", text.len());
        let mut group = criterion.benchmark_group(title);
        group.throughput(Throughput::Bytes(bytes(text.len())));
        group.bench_function("scan, plain JSON", |bencher| {
            bencher.iter(|| scan_event(black_box(text)));
        });
        group.bench_function("scan, packet", |bencher| {
            bencher.iter(|| scan_packet(black_box(&data)));
        });
        group.bench_function("scan and splice, plain JSON", |bencher| {
            bencher.iter(|| relay_event(black_box(text), &own));
        });
        group.bench_function("scan and splice, packet", |bencher| {
            bencher.iter(|| relay_packet(black_box(&data), &own));
        });
        group.bench_function("serde_json, only whether it is JSON", |bencher| {
            bencher.iter(|| serde_json::from_str::<IgnoredAny>(black_box(text)).is_ok());
        });
        group.bench_function("serde_json, value and back", |bencher| {
            bencher.iter(|| by_value(black_box(text), &own));
        });
        group.bench_function("memcpy", |bencher| {
            bencher.iter(|| black_box(text).as_bytes().to_vec());
        });
        group.finish();
    }
}

/// The same by way of a tree.
fn by_value(text: &str, own: &PeerId) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(text).expect("JSON");
    value["caller"] = json!({"id": own.as_str()});
    serde_json::to_vec(&value).expect("JSON")
}

criterion_group!(benches, scans);
criterion_main!(benches);
