//! The task that reads the figures once for everybody who listens, and tells what has changed.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::json;

use super::{Activity, Metrics, TOPIC, activity, figures::hour, metrics, store};
use crate::{
    app::App,
    clock::Timestamp,
    db::within,
    error::Result,
    realtime::{Envelope, Ephemeral, Event, Frame, Json},
    snippets,
};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_millis(250);
/// The time between two readings of the figures.
const TICK: Duration = Duration::from_secs(5);
/// The time between two readings of the activities, when there are new ones.
const ACTIVITY_TICK: Duration = Duration::from_secs(1);

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was told last, and when something is due again.
#[derive(Default)]
struct Told {
    metrics: Option<Metrics>,
    metrics_due: Option<Timestamp>,
    activity: Option<Vec<Activity>>,
    activity_due: Option<Timestamp>,
    /// How much of the log was looked at for new activities.
    head: Option<u64>,
    /// Whether there may be some that were not read.
    is_behind: bool,
    folded: Option<i64>,
}

/// Works for as long as the server runs.
pub async fn run(app: Arc<App>) {
    let mut told = Told::default();
    loop {
        if let Err(error) = within(PATIENCE, look(&app, &mut told)).await {
            tracing::error!(%error, "the dashboard cannot be read; trying again");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(app: &App, told: &mut Told) -> Result<()> {
    let now = app.clock.now();
    let is_due = |at: Option<Timestamp>| at.is_none_or(|at| at <= now);
    let head = app.realtime.log.head();
    told.is_behind |= may_have_news(app, told.head);
    told.head = Some(head);
    if told.is_behind && is_due(told.activity_due) {
        let activity = activity(app).await?;
        (told.is_behind, told.activity_due) = (false, Some(now.plus(ACTIVITY_TICK)));
        if told.activity.as_ref() != Some(&activity) {
            show(app, "activity", now, &json!({ "activity": activity }))?;
            told.activity = Some(activity);
        }
    }
    if is_due(told.metrics_due) {
        let metrics = metrics(app).await?;
        told.metrics_due = Some(now.plus(TICK));
        if told.metrics != Some(metrics) {
            show(app, "metrics", now, &metrics)?;
            told.metrics = Some(metrics);
        }
    }
    if told.folded != Some(hour(now)) {
        let mut tx = app.db.write().await?;
        store::fold(tx.conn().await?, now).await?;
        tx.commit().await?;
        told.folded = Some(hour(now));
    }
    Ok(())
}

/// Whether something may have happened to public snippets since a place in the log.
fn may_have_news(app: &App, since: Option<u64>) -> bool {
    let recent = since.and_then(|since| app.realtime.log.recent(since, usize::MAX));
    // What is no longer public is told to the feed itself.
    let is_news =
        |event: &Arc<Event>| event.feed.as_deref() == Some(snippets::FEED) || &*event.topic == snippets::FEED;
    recent.is_none_or(|events| events.iter().any(is_news))
}

fn show(app: &App, kind: &str, at: Timestamp, data: &impl Serialize) -> Result<()> {
    let data = Json::of(data)?;
    let envelope = Envelope { id: None, kind, topic: Some(TOPIC), at, actor: None, data: &data };
    let frame = Frame::encode(&envelope, None)?;
    app.realtime.show(Ephemeral { topic: TOPIC.into(), kind: kind.into(), origin: None, frame }, true);
    Ok(())
}
