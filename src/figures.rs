//! The figures of this process, in the form that Prometheus reads.

use std::{collections::HashMap, sync::OnceLock};

use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry, exponential_buckets};

use crate::{app::App, db::on_conn, error::Result, realtime};

/// The kinds of jobs, and how far one may be.
const JOBS: [&str; 2] = ["export", "import"];
const STATUSES: [&str; 5] = ["queued", "running", "completed", "failed", "cancelled"];

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

/// Brings up to date what only the database knows: how many events wait for their places, and how many jobs there are
/// of each kind, by how far they are.
///
/// # Errors
/// When the database does not answer soon.
pub async fn refresh(app: &App) -> Result<()> {
    let counted = app.db.read_briefly(async |conn| {
        realtime::report_lag(conn.conn()).await?;
        Ok(on_conn!(conn.conn(), |c| sqlx::query_as(
            "SELECT kind, status, count(*) FROM jobs GROUP BY kind, status"
        )
        .fetch_all(c)
        .await?))
    });
    let counted: Vec<(String, String, i64)> = counted.await?;
    let counted: HashMap<_, _> =
        counted.iter().map(|(kind, status, count)| ((kind.as_str(), status.as_str()), *count)).collect();
    for kind in JOBS {
        for status in STATUSES {
            let count = counted.get(&(kind, status)).map_or(Ok(0), |count| i32::try_from(*count));
            let count = f64::from(count.unwrap_or(i32::MAX));
            metrics::gauge!("snippetbox_jobs", "kind" => kind, "status" => status).set(count);
        }
    }
    Ok(())
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
