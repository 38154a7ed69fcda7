//! The figures of a simulated world: what comes must go.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::PeerData;

/// Builds a server whose figures can be read.
pub(super) fn recorded(build: impl FnOnce() -> PeerData) -> (PeerData, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let server = metrics::with_local_recorder(&recorder, build);
    (server, recorder.handle())
}

/// Nobody is there any more, and the figures say so.
pub(super) fn are_at_rest(figures: &PrometheusHandle) {
    let text = figures.render();
    let lines = text.lines();
    let gauges = lines.filter(|line| {
        line.starts_with("peer_data_peers{") || line.starts_with("peer_data_rooms ")
    });
    let mut count = 0;
    for gauge in gauges {
        assert!(gauge.ends_with(" 0"), "{gauge}");
        count += 1;
    }
    assert_eq!(count, 6, "{text}");
}
