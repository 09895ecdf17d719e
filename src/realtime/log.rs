//! The log: every durable change, in one order.
//!
//! A writer appends in the transaction of the change itself. A reader asks for what comes after a cursor. Live
//! delivery, resume, long polling and the catch-up of a slow reader are all that one question.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::QueryBuilder;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    event::{Effect, Event, EventRow, Json, Key},
    connection::{Viewer, Wishes},
    ring::Ring,
};
use crate::{
    clock::{Clock, Timestamp},
    db::{Conn, Db, on_conn},
    error::{Error, Result},
};

/// How many events one read of the database takes at most.
const PAGE: i64 = 256;
/// How many events one step of the retention deletes, so that writers wait for milliseconds at most.
const TRIM_STEP: i64 = 500;
/// How long the log waits for a wake-up before it looks by itself.
const POLL: Duration = Duration::from_secs(1);

/// An event to be appended.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// The name.
    pub kind: &'a str,
    /// The topic it belongs to.
    pub topic: String,
    /// A wider topic on which it is told too.
    pub feed: Option<&'static str>,
    /// The one user who may see it, or everyone who may read the topic.
    pub audience: Option<Uuid>,
    /// What it does to its topic.
    pub effect: Option<Effect>,
    /// Who caused it.
    pub actor: Option<Json>,
    /// The stream connection whose owner caused it.
    pub origin: Option<Uuid>,
    /// What happened.
    pub data: Json,
    /// When.
    pub at: Timestamp,
}

/// Appends an event in the transaction of the change that it tells of.
///
/// The append must come after the change has locked its row: two changes of one thing are then numbered in the
/// order in which they happened.
///
/// # Errors
/// When the database refuses.
pub async fn append(mut conn: Conn<'_>, event: NewEvent<'_>) -> Result<i64> {
    if event.effect == Some(Effect::Withdraw) {
        withdraw(conn.again(), &event.topic, event.audience).await?;
    }
    let sql = conn.sql(
        "INSERT INTO events (type, topic, feed, audience, effect, actor, origin, payload, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING seq",
        "INSERT INTO events (type, topic, feed, audience, effect, actor, origin, payload, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
    );
    Ok(on_conn!(conn, |c| sqlx::query_scalar(sql)
        .bind(event.kind)
        .bind(event.topic)
        .bind(event.feed)
        .bind(event.audience)
        .bind(event.effect)
        .bind(event.actor.as_ref().map(Json::as_str))
        .bind(event.origin)
        .bind(event.data.as_str())
        .bind(event.at)
        .fetch_one(c)
        .await?))
}

/// Takes the earlier events of a topic out of their feed, and out of sight of all but the audience.
async fn withdraw(conn: Conn<'_>, topic: &str, audience: Option<Uuid>) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "UPDATE events SET feed = NULL, audience = COALESCE($2, audience) WHERE topic = $1"
    )
    .bind(topic)
    .bind(audience)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

/// Some events in their order, and how far the log was looked through to find them.
#[derive(Debug)]
pub struct Page {
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// All that was asked for up to this place is in the page.
    pub through: u64,
}

/// Where a reader wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since<'a> {
    /// With what is new.
    Now,
    /// With the oldest event that is kept.
    Earliest,
    /// After the event with this id.
    Id(&'a str),
}

/// Where a reader can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what is new.
    Fresh,
    /// After this place, with nothing missing.
    After(u64),
    /// Not where it wanted: the history does not reach back, or the id is not one of this log.
    Gap,
}

/// The log of this installation, with its newest part in memory.
pub struct Log {
    db: Db,
    epoch: String,
    ring: Mutex<Ring>,
    followers: Mutex<Vec<Arc<Notify>>>,
    /// Wakes the follower when events have been numbered.
    pub(super) numbered: Notify,
}

impl Log {
    /// The log in `db`, from its present head on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(db: Db, epoch: String, ring_bytes: usize) -> Result<Self> {
        let (_, head) = bounds(&db).await?;
        Ok(Self {
            db,
            epoch,
            ring: Mutex::new(Ring::new(head, ring_bytes)),
            followers: Mutex::default(),
            numbered: Notify::new(),
        })
    }

    /// The place of the newest event that this node has taken up.
    pub fn head(&self) -> u64 {
        self.ring().head()
    }

    /// The id of the event at a place, which is also the cursor behind it.
    #[must_use]
    pub fn id(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    /// A signal that comes whenever there are new events.
    pub fn subscribe(&self) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&wake));
        wake
    }

    /// At most `limit` recent events after a place, or nothing when only the database reaches back to it.
    pub fn recent(&self, after: u64, limit: usize) -> Option<Vec<Arc<Event>>> {
        self.ring().after(after, limit)
    }

    /// Decides where a reader can begin.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn start(&self, since: Since<'_>) -> Result<Start> {
        let id = match since {
            Since::Now => return Ok(Start::Fresh),
            Since::Earliest => return Ok(Start::After(bounds(&self.db).await?.0 - 1)),
            Since::Id(id) => id,
        };
        let place = id.strip_prefix(&self.epoch).and_then(|rest| rest.strip_prefix('.'));
        let Some(seq) = place.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())) else {
            return Ok(Start::Gap);
        };
        let Ok(seq) = seq.parse::<u64>() else { return Ok(Start::Gap) };
        if seq <= self.head() && self.recent(seq, 0).is_some() {
            return Ok(Start::After(seq));
        }
        let (oldest, newest) = bounds(&self.db).await?;
        Ok(if (oldest - 1..=newest).contains(&seq) { Start::After(seq) } else { Start::Gap })
    }

    /// Reads from the database what comes after a place on some topics, up to the place `through`.
    ///
    /// The answer is nothing when the retention has removed events behind the place meanwhile.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn page(&self, topics: &[Key], after: u64, through: u64) -> Result<Option<Page>> {
        let mut conn = self.db.read().await?;
        let rows = on_conn!(conn.conn(), |c| {
            let mut query = QueryBuilder::new(
                "SELECT seq, type, topic, feed, audience, effect, actor, origin, payload, at FROM events
                 WHERE seq IN (",
            );
            select_places(&mut query, topics, place(after), place(through));
            query.push(") ORDER BY seq LIMIT ").push_bind(PAGE);
            query.build_query_as::<EventRow>().fetch_all(c).await?
        });
        drop(conn);
        // The bounds are read after the page: whatever was trimmed before or during the read shows here.
        let (oldest, _) = bounds(&self.db).await?;
        if oldest > after + 1 {
            return Ok(None);
        }
        let full = i64::try_from(rows.len()) == Ok(PAGE);
        let events = self.decode(rows)?;
        let through = events.last().filter(|_| full).map_or(through, |last| last.seq);
        Ok(Some(Page { events, through }))
    }

    /// How many events after a place a viewer would get.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count(&self, topics: &[Key], viewer: Viewer, wishes: &Wishes, after: u64) -> Result<u64> {
        let wanted = |kind: &str| wishes.types.as_ref().is_none_or(|types| types.iter().any(|t| t == kind));
        let listens = |event: &Event| topics.contains(&event.topic) || event.feed.as_ref().is_some_and(|f| topics.contains(f));
        let filter = |event: &Event| viewer.may_see(event.audience) && wanted(&event.kind) && listens(event);
        if let Some(count) = self.ring().count(after, filter) {
            return Ok(count);
        }
        let (head, mut place, mut count) = (self.head(), after, 0);
        while place < head {
            let Some(page) = self.page(topics, place, head).await? else { break };
            count += page.events.iter().filter(|event| filter(event)).count() as u64;
            place = page.through;
        }
        Ok(count)
    }

    /// The place of an event that was appended and committed, from what the append answered.
    ///
    /// # Errors
    /// When the database does not answer, or the sequencer does not come.
    pub async fn place_of(&self, appended: i64) -> Result<u64> {
        let Some(pool) = self.db.postgres() else {
            return u64::try_from(appended).map_err(|error| Error::Internal(error.to_string()));
        };
        for _ in 0..500 {
            let seq: Option<Option<i64>> =
                sqlx::query_scalar("SELECT seq FROM events WHERE id = $1").bind(appended).fetch_optional(pool).await?;
            if let Some(Some(seq)) = seq {
                return u64::try_from(seq).map_err(|error| Error::Internal(error.to_string()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Error::Overloaded)
    }

    fn decode(&self, rows: Vec<EventRow>) -> Result<Vec<Arc<Event>>> {
        rows.into_iter().map(|row| Event::from_row(&self.epoch, row).map(Arc::new)).collect()
    }

    /// Takes up new events for as long as the server runs.
    pub async fn follow(&self) {
        loop {
            if let Err(error) = self.advance().await {
                tracing::error!(%error, "the log cannot be read; trying again");
            }
            let numbered_here = self.db.postgres().is_none();
            tokio::select! {
                () = self.db.committed(), if numbered_here => {}
                () = self.numbered.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn advance(&self) -> Result<()> {
        loop {
            let rows = self.next_rows(self.head()).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for event in self.decode(rows)? {
                self.ring().push(event);
            }
            for wake in self.followers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                wake.notify_one();
            }
        }
    }

    async fn next_rows(&self, after: u64) -> Result<Vec<EventRow>> {
        let mut conn = self.db.read().await?;
        Ok(on_conn!(conn.conn(), |c| sqlx::query_as(
            "SELECT seq, type, topic, feed, audience, effect, actor, origin, payload, at FROM events
             WHERE seq > $1 ORDER BY seq LIMIT $2"
        )
        .bind(place(after))
        .bind(PAGE)
        .fetch_all(c)
        .await?))
    }

    /// Removes events beyond the newest `keep`, or older than `age`. The newest event always stays: it holds the
    /// place of the head.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim(&self, clock: &Clock, keep: u64, age: Duration) -> Result<()> {
        let cutoff = clock.now().minus(age);
        loop {
            let (oldest, newest) = bounds(&self.db).await?;
            let beyond = newest.saturating_sub(keep.max(1));
            let outdated = self.outdated(cutoff).await?.unwrap_or(0).min(newest.saturating_sub(1));
            let last = beyond.max(outdated);
            if last < oldest {
                return Ok(());
            }
            let last = place(last).min(place(oldest) + TRIM_STEP - 1);
            let mut tx = self.db.write().await?;
            on_conn!(tx.conn(), |c| sqlx::query("DELETE FROM events WHERE seq <= $1").bind(last).execute(c).await.map(drop)?);
            tx.commit().await?;
        }
    }

    /// The last of the oldest events that is older than the cutoff.
    async fn outdated(&self, cutoff: Timestamp) -> Result<Option<u64>> {
        let mut conn = self.db.read().await?;
        let last: Option<i64> = on_conn!(conn.conn(), |c| sqlx::query_scalar(
            "SELECT max(seq) FROM (SELECT seq, at FROM events WHERE seq IS NOT NULL ORDER BY seq LIMIT $2) AS oldest
             WHERE at < $1"
        )
        .bind(cutoff)
        .bind(TRIM_STEP)
        .fetch_one(c)
        .await?);
        Ok(last.and_then(|seq| u64::try_from(seq).ok()))
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// The places of the oldest and the newest event; `(1, 0)` for an empty log.
async fn bounds(db: &Db) -> Result<(u64, u64)> {
    let mut conn = db.read().await?;
    let (oldest, newest): (Option<i64>, Option<i64>) = on_conn!(conn.conn(), |c| sqlx::query_as(
        "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)"
    )
    .fetch_one(c)
    .await?);
    let number = |seq: i64| u64::try_from(seq).map_err(|error| Error::Internal(error.to_string()));
    Ok((oldest.map_or(Ok(1), number)?, newest.map_or(Ok(0), number)?))
}

/// Selects the places of the next page: a walk of one index for each topic, whatever else the log holds.
fn select_places<DB: sqlx::Database>(query: &mut QueryBuilder<DB>, topics: &[Key], after: i64, through: i64)
where
    String: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
    i64: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
{
    let mut separator = "";
    for topic in topics {
        for column in ["topic", "feed"] {
            query.push(separator).push("SELECT seq FROM (SELECT seq FROM events WHERE ").push(column);
            query.push(" = ").push_bind(topic.to_string()).push(" AND seq > ").push_bind(after);
            query.push(" AND seq <= ").push_bind(through).push(" ORDER BY seq LIMIT ").push_bind(PAGE);
            query.push(") AS places");
            separator = " UNION ";
        }
    }
}
