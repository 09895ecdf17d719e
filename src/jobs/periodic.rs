//! Periodic work: what is written behind, what has expired, what has grown too old.

use std::{sync::Arc, time::Duration};

use super::{remove_expired, remove_left_over};
use crate::{
    app::App, credentials, dashboard, db::within, error::Result, http::idempotency, search, snippets,
};

/// How often counters that are written behind are flushed.
const FLUSH: Duration = Duration::from_secs(1);
/// How many flushes there are between two rounds of cleaning up.
const CLEAN_UP_EVERY: u32 = 5;
/// How long one round of it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time between two looks for files that nobody needs.
const SWEEP: Duration = Duration::from_secs(60);

/// Works for as long as the server runs.
pub async fn run(app: Arc<App>) {
    tokio::join!(write_behind(&app), sweep(&app), merge(&app));
}

/// Looks for files that nobody needs. Nothing else waits for it: there may be many, and the store may be slow.
async fn sweep(app: &App) {
    loop {
        report("sweep", within(PATIENCE, remove_left_over(app)).await);
        tokio::time::sleep(SWEEP).await;
    }
}

/// Keeps the index of the search in few parts.
async fn merge(app: &App) {
    let mut merged = 0;
    loop {
        tokio::time::sleep(FLUSH).await;
        report("merge", within(PATIENCE, search::merge_index(app, &mut merged)).await);
    }
}

async fn write_behind(app: &App) {
    let mut round = 0_u32;
    loop {
        tokio::time::sleep(FLUSH).await;
        report("flush", within(PATIENCE, flush(app)).await);
        round = round.wrapping_add(1);
        if round.is_multiple_of(CLEAN_UP_EVERY) {
            report("clean up", within(PATIENCE, clean_up(app)).await);
            app.limits.shrink();
        }
    }
}

async fn flush(app: &App) -> Result<()> {
    snippets::flush_views(app).await?;
    dashboard::flush_seen(app).await?;
    credentials::flush_last_used(app).await
}

async fn clean_up(app: &App) -> Result<()> {
    idempotency::remove_expired(app).await?;
    credentials::remove_expired(app).await?;
    remove_expired(app).await?;
    let settings = &app.settings;
    app.realtime.log.trim(&app.clock, settings.history_events, settings.history_age).await
}

fn report(work: &str, result: Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, work, "periodic work failed; the next round tries again");
    }
}
