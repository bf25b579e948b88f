//! A recorder for the rows in which somebody records: Prometheus, as its users have it.
//!
//! It is made current for a batch only, so that the same row can be measured without it in turns.

use std::sync::OnceLock;

use metrics::with_local_recorder;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::drive::Fork;

/// A contender whose policy was made, and is called, under the recorder.
pub fn recorded(make: fn() -> Fork) -> Fork {
    let fork = with_local_recorder(recorder(), make);
    Box::new(move |holding| {
        let mut batch = with_local_recorder(recorder(), || fork(holding));
        Box::new(move |calls| with_local_recorder(recorder(), || batch(calls)))
    })
}

/// What a scrape does for a recorder: samples that were taken are summed up and let go.
pub fn tidy() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

fn recorder() -> &'static PrometheusRecorder {
    static RECORDER: OnceLock<PrometheusRecorder> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _ = HANDLE.set(recorder.handle());
        recorder
    })
}
