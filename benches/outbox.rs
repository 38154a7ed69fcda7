//! Signals that wait for one client: queued one by one, taken out as one write.
//!
//! ```text
//! cargo bench --features bench --bench outbox
//! ```

// A benchmark uses some of what the load generator sends.
#[allow(dead_code)]
#[path = "../examples/load/event.rs"]
mod event;
#[allow(dead_code)]
mod samples;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peer_data_server::bench::Outbox;

/// What one write to a socket takes at most.
const BUDGET: usize = 64 << 10;

fn queue_and_drain(criterion: &mut Criterion) {
    let signal = samples::candidate().signal();
    let mut group = criterion.benchmark_group("outbox, queue and drain");
    for count in [1_usize, 16, 100] {
        group.throughput(Throughput::Elements(samples::bytes(count)));
        group.bench_function(format!("{count} candidates"), |bencher| {
            let mut outbox = Outbox::default();
            bencher.iter(|| {
                for _ in 0..count {
                    assert!(outbox.queue(&signal));
                }
                assert_eq!(outbox.drain(BUDGET), count);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, queue_and_drain);
criterion_main!(benches);
