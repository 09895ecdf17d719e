//! Reading the log from a cursor on: where one can begin, what comes next, how much there is.

use std::{sync::Arc, time::Duration};

use sqlx::QueryBuilder;

use super::{
    event::{Event, EventRow, Key, select_events},
    log::{Log, PAGE, place},
    retention::bounds,
    subscription::{Viewer, Wishes},
};
use crate::{
    db::{on_conn, within},
    error::{Error, Result},
};

/// How many bytes of payload a page holds at most (or one event): what a connection's queue has room for, with the
/// envelopes around it.
const PAGE_BYTES: i64 = 48 * 1024;
/// Up to how many events of history are counted before they are sent; a client that has missed more knows enough.
pub const COUNTED: u64 = 1_000;

/// How many events before those in memory are read into it for a reader that begins there. Most of those who come back
/// after a restart begin not far from each other, and read the rest from memory.
const REACH: u64 = 4_096;
/// How many bytes of payload are read into memory at once (or one event).
const BACK_BYTES: i64 = 1024 * 1024;
/// How long a reader waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// With what is new, which lies behind this place.
    Fresh(u64),
    /// After this place, with nothing missing.
    After(u64),
    /// Not where it wanted: the history does not reach back, or the id is not one of this log.
    Gap,
}

impl Log {
    /// Decides where a reader can begin.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn start(&self, since: Since<'_>) -> Result<Start> {
        let id = match since {
            Since::Now => return Ok(Start::Fresh(bounds(&self.db).await?.1)),
            Since::Earliest => return Ok(Start::After(bounds(&self.db).await?.0 - 1)),
            Since::Id(id) => id,
        };
        let place = id.strip_prefix(&self.epoch).and_then(|rest| rest.strip_prefix('.'));
        let Some(seq) = place.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())) else {
            return Ok(Start::Gap);
        };
        let Ok(seq) = seq.parse::<u64>() else { return Ok(Start::Gap) };
        if self.head().checked_sub(seq).is_some_and(|missed| missed <= REACH) {
            self.reach_back(seq).await;
        }
        if seq <= self.head() && self.recent(seq, 0).is_some() {
            return Ok(Start::After(seq));
        }
        let (oldest, newest) = bounds(&self.db).await?;
        Ok(if (oldest - 1..=newest).contains(&seq) { Start::After(seq) } else { Start::Gap })
    }

    /// Has memory reach back to a place, as far as there is room. Where that fails, readers go to the database as ever.
    async fn reach_back(&self, after: u64) {
        if self.ring().lacks(after).is_none() {
            return;
        }
        let _turn = self.reaching_back.lock().await; // One reads for all of a crowd.
        if let Err(error) = within(PATIENCE, self.read_back(after)).await {
            tracing::warn!(%error, "what came before cannot be read into memory");
            self.ring().close();
        }
    }

    async fn read_back(&self, after: u64) -> Result<()> {
        loop {
            let (lacking, read_at) = {
                let ring = self.ring();
                (ring.lacks(after), ring.head())
            };
            let Some(oldest) = lacking else { return Ok(()) };
            let earlier = self.decode(self.rows_between(after, oldest).await?)?;
            metrics::counter!("snippetbox_log_read_back_total").increment(earlier.len() as u64);
            if earlier.is_empty() {
                self.ring().close(); // The history has ended there.
            } else if !self.ring().prepend(earlier, read_at) {
                return Ok(());
            }
        }
    }

    /// The last events between two places, the newest first: a page of them.
    async fn rows_between(&self, after: u64, before: u64) -> Result<Vec<EventRow>> {
        let mut conn = self.db.read().await?;
        Ok(on_conn!(conn.conn(), |c| {
            sqlx::query_as(select_events!(
                "WHERE seq IN (SELECT seq FROM (
                     SELECT seq, sum(octet_length(payload)) OVER (ORDER BY seq DESC) - octet_length(payload) AS later
                     FROM events WHERE seq IN (SELECT seq FROM (
                         SELECT seq FROM events WHERE seq > $1 AND seq < $2 ORDER BY seq DESC LIMIT $3
                     ) AS candidates)
                 ) AS measured WHERE later < $4) ORDER BY seq DESC"
            ))
            .bind(place(after))
            .bind(place(before))
            .bind(PAGE)
            .bind(BACK_BYTES)
            .fetch_all(c)
            .await?
        }))
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
            let mut query = QueryBuilder::new(select_events!(
                "WHERE seq IN (SELECT seq FROM (
                     SELECT seq, sum(octet_length(payload)) OVER (ORDER BY seq) - octet_length(payload) AS before
                     FROM events WHERE seq IN (SELECT seq FROM ("
            ));
            select_places(&mut query, topics, place(after), place(through), PAGE);
            query.push(") AS candidates ORDER BY seq LIMIT ").push_bind(PAGE);
            query.push(")) AS measured WHERE before < ").push_bind(PAGE_BYTES).push(") ORDER BY seq");
            query.build_query_as::<EventRow>().fetch_all(c).await?
        });
        drop(conn);
        // The bounds are read after the page: whatever was trimmed before or during the read shows here.
        let (oldest, _) = bounds(&self.db).await?;
        if oldest > after + 1 {
            return Ok(None);
        }
        let bytes: usize = rows.iter().map(|row| row.payload.len()).sum();
        let full =
            i64::try_from(rows.len()) == Ok(PAGE) || i64::try_from(bytes).is_ok_and(|b| b >= PAGE_BYTES);
        let events = self.decode(rows)?;
        let through = events.last().filter(|_| full).map_or(through, |last| last.seq);
        Ok(Some(Page { events, through }))
    }

    /// The newest events of a topic or feed that everyone may see, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn latest(&self, topic: &str, limit: u32) -> Result<Vec<Arc<Event>>> {
        let mut conn = self.db.read().await?;
        let rows = on_conn!(conn.conn(), |c| {
            sqlx::query_as::<_, EventRow>(select_events!(
                "WHERE audience IS NULL AND seq IN (
                     SELECT seq FROM (SELECT seq FROM events WHERE topic = $1 AND seq IS NOT NULL
                                      ORDER BY seq DESC LIMIT $2) AS own
                     UNION
                     SELECT seq FROM (SELECT seq FROM events WHERE feed = $1 AND seq IS NOT NULL
                                      ORDER BY seq DESC LIMIT $2) AS fed)
                 ORDER BY seq DESC LIMIT $2"
            ))
            .bind(topic)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await?
        });
        self.decode(rows)
    }

    /// How many events after a place a viewer would get, counted up to 1,000.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count(&self, topics: &[Key], viewer: Viewer, wishes: &Wishes, after: u64) -> Result<u64> {
        let wanted = |kind: &str| wishes.types.as_ref().is_none_or(|types| types.iter().any(|t| t == kind));
        let listens = |event: &Event| {
            topics.contains(&event.topic) || event.feed.as_ref().is_some_and(|f| topics.contains(f))
        };
        let filter = |event: &Event| viewer.may_see(event.audience) && wanted(&event.kind) && listens(event);
        let head = self.head();
        if head.saturating_sub(after) <= COUNTED
            && let Some(count) = self.ring().count(after, filter)
        {
            return Ok(count);
        }
        let mut conn = self.db.read().await?;
        let count: i64 = on_conn!(conn.conn(), |c| {
            let mut query = QueryBuilder::new("SELECT count(*) FROM events WHERE seq IN (SELECT seq FROM (");
            select_places(&mut query, topics, place(after), place(head), place(COUNTED));
            query.push(") AS candidates ORDER BY seq LIMIT ").push_bind(place(COUNTED)).push(")");
            if !viewer.sees_all {
                query.push(" AND (audience IS NULL OR audience = ").push_bind(viewer.user).push(")");
            }
            if let Some(types) = &wishes.types {
                let mut list = query.push(" AND type IN (").separated(", ");
                for name in types {
                    list.push_bind(name.clone());
                }
                list.push_unseparated(")");
            }
            query.build_query_scalar().fetch_one(c).await?
        });
        u64::try_from(count).map_err(|error| Error::Internal(error.to_string()))
    }
}

/// Selects the places of the next page: a walk of one index for each topic, whatever else the log holds.
fn select_places<DB: sqlx::Database>(
    query: &mut QueryBuilder<DB>,
    topics: &[Key],
    after: i64,
    through: i64,
    limit: i64,
) where
    String: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
    i64: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
{
    let mut separator = "";
    for topic in topics {
        for column in ["topic", "feed"] {
            query.push(separator).push("SELECT seq FROM (SELECT seq FROM events WHERE ").push(column);
            query.push(" = ").push_bind(topic.to_string()).push(" AND seq > ").push_bind(after);
            query.push(" AND seq <= ").push_bind(through).push(" ORDER BY seq LIMIT ").push_bind(limit);
            query.push(") AS places");
            separator = " UNION ";
        }
    }
}
