//! The dashboard: how much there is and happens, from counters that are kept as it happens, and what happened last.

mod figures;
pub mod routes;
mod seen;
mod store;
mod ticker;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::{figures::Moment, seen::Seen};
pub use self::{
    figures::{Figure, Metrics, minute},
    seen::flush_seen,
    ticker::run,
};
use crate::{
    accounts::{Profile, UserId},
    app::App,
    clock::Timestamp,
    credentials::Caller,
    db::{Shared, WriteTx},
    error::{Error, Result},
    snippets::{self, SnippetId},
};

/// The topic of the dashboard.
pub const TOPIC: &str = "dashboard";
/// How many activities it shows.
const ACTIVITIES: u32 = 10;
/// How many rows one minute's count is spread over.
const LANES: u8 = 8;

/// What a node keeps for its dashboard.
pub struct Dashboard {
    seen: Seen,
    /// Those who ask at the same time share an answer.
    overviews: Shared<(), Arc<Overview>>,
    /// How often the database was asked for it.
    reads: AtomicU64,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self { seen: Seen::default(), overviews: Shared::new(1), reads: AtomicU64::new(0) }
    }
}

impl Dashboard {
    /// How often the database was asked for the dashboard.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Notes that a user was seen.
    pub fn see(&self, user: UserId, now: Timestamp) {
        self.seen.note(user, now);
    }
}

/// Everything that the dashboard shows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// Public snippets, now and 24 hours ago
    pub total_snippets: Figure,
    /// Different users seen in the last 24 hours and in the 24 hours before, to the hour
    pub active_users: Figure,
    /// Views since 00:00 UTC, and in the same span of yesterday
    pub views_today: Figure,
    /// Users, and connections of nobody in particular, that have a stream open
    pub online: u64,
    /// The latest 10 public activities, the newest first
    pub activity: Vec<Activity>,
}

/// Something that happened to a public snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Activity {
    /// `snippet_created`, `snippet_updated` or `snippet_deleted`
    pub r#type: String,
    pub at: Timestamp,
    /// Who did it
    pub actor: Option<Profile>,
    pub snippet: Subject,
}

/// The snippet to which it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Subject {
    pub id: SnippetId,
    /// Its title then; none of one that was deleted
    pub title: Option<String>,
}

/// What the envelope of an event says of it.
#[derive(Deserialize)]
struct Told {
    r#type: String,
    at: Timestamp,
    actor: Option<Profile>,
    data: Subject,
}

/// Counts public snippets that were added or, with a negative number, removed. The last statement of a transaction:
/// others that count wait until it ends.
pub async fn count_snippets(tx: &mut WriteTx, by: i64, lane: SnippetId, now: Timestamp) -> Result<()> {
    let lane = i64::from(lane.0.as_bytes()[15] % LANES);
    store::count(tx, "snippets", minute(now), lane, by).await
}

/// Counts views of a minute.
pub async fn count_views(tx: &mut WriteTx, minute: i64, views: i64) -> Result<()> {
    store::count(tx, "views", minute, 0, views).await
}

/// Everything that the dashboard shows, as of now.
pub async fn overview(app: &App, caller: &Caller) -> Result<Arc<Overview>> {
    caller.require_read(app.settings.public_read)?;
    let load = async |_| {
        let Metrics { total_snippets, active_users, views_today, online } = metrics(app).await?;
        let activity = activity(app).await?;
        let overview = Overview { total_snippets, active_users, views_today, online, activity };
        Ok(HashMap::from([((), Arc::new(overview))]))
    };
    let overview = app.dashboard.overviews.find((), load).await?;
    overview.ok_or_else(|| Error::Internal("the dashboard was not read".into()))
}

/// The figures as of now.
async fn metrics(app: &App) -> Result<Metrics> {
    app.dashboard.reads.fetch_add(1, Ordering::Relaxed);
    let mut conn = app.db.read().await?;
    let counts = store::counts(conn.conn(), Moment::of(app.clock.now())).await?;
    Ok(Metrics::of(&counts, app.realtime.online()))
}

/// The latest activities, from the log, the newest first.
async fn activity(app: &App) -> Result<Vec<Activity>> {
    app.dashboard.reads.fetch_add(1, Ordering::Relaxed);
    let events = app.realtime.log.latest(snippets::FEED, ACTIVITIES).await?;
    let mut activity = Vec::with_capacity(events.len());
    for event in events {
        let told = serde_json::from_slice(event.frame().envelope());
        let Told { r#type, at, actor, data } = told.map_err(|error| Error::Internal(error.to_string()))?;
        activity.push(Activity { r#type, at, actor, snippet: data });
    }
    Ok(activity)
}
