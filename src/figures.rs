//! The figures of this process, in the form that Prometheus reads.

use std::sync::OnceLock;

use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry, exponential_buckets};

/// The figures of this process, which all its servers share.
#[must_use]
pub fn registry() -> Registry {
    static FIGURES: OnceLock<Registry> = OnceLock::new();
    let install = || {
        let registry = Registry::new();
        let mut recorder = metrics_prometheus::Recorder::builder().with_registry(&registry);
        match durations() {
            Ok((requests, streams)) => recorder = recorder.with_metric(requests).with_metric(streams),
            Err(error) => tracing::warn!(%error, "the figures of durations have other bounds"),
        }
        if metrics::set_global_recorder(recorder.build()).is_err() {
            tracing::warn!("another recorder takes the figures of this process");
        }
        registry
    };
    FIGURES.get_or_init(install).clone()
}

/// The histograms of how long requests take, from 0.1 ms to 6.5 s, and streams, from a second to three days.
fn durations() -> prometheus::Result<(HistogramVec, Histogram)> {
    let requests =
        HistogramOpts::new("snippetbox_request_seconds", "Time from a request's head to its answer's")
            .buckets(exponential_buckets(0.000_1, 2.0, 17)?);
    let streams = HistogramOpts::new("snippetbox_stream_seconds", "Time that a stream was open")
        .buckets(exponential_buckets(1.0, 4.0, 10)?);
    Ok((HistogramVec::new(requests, &["method", "route"])?, Histogram::with_opts(streams)?))
}
