//! How far back the log reaches, and how its oldest part is removed.

use std::time::Duration;

use super::log::{Log, place};
use crate::{
    clock::{Clock, Timestamp},
    db::{Db, on_conn},
    error::{Error, Result},
};

/// How many events one step deletes, so that writers wait for milliseconds at most.
const TRIM_STEP: i64 = 500;

impl Log {
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
            let conn = tx.conn().await?;
            let sql = conn.sql(
                "DELETE FROM events WHERE seq <= $1",
                "WITH oldest AS (SELECT id FROM events WHERE seq <= $1 ORDER BY id FOR UPDATE)
                 DELETE FROM events USING oldest WHERE events.id = oldest.id",
            );
            on_conn!(conn, |c| sqlx::query(sql).bind(last).execute(c).await.map(drop)?);
            tx.commit().await?;
        }
    }

    /// The last of the oldest events that is older than the cutoff.
    async fn outdated(&self, cutoff: Timestamp) -> Result<Option<u64>> {
        let mut conn = self.db.read().await?;
        let last: Option<i64> = on_conn!(conn.conn(), |c| {
            sqlx::query_scalar(
            "SELECT max(seq) FROM (SELECT seq, at FROM events WHERE seq IS NOT NULL ORDER BY seq LIMIT $2) AS oldest
             WHERE at < $1"
        )
        .bind(cutoff)
        .bind(TRIM_STEP)
        .fetch_one(c)
        .await?
        });
        Ok(last.and_then(|seq| u64::try_from(seq).ok()))
    }
}

/// The places of the oldest and the newest event; `(1, 0)` for an empty log.
pub(super) async fn bounds(db: &Db) -> Result<(u64, u64)> {
    let mut conn = db.read().await?;
    let (oldest, newest): (Option<i64>, Option<i64>) = on_conn!(conn.conn(), |c| sqlx::query_as(
        "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)"
    )
    .fetch_one(c)
    .await?);
    let number = |seq: i64| u64::try_from(seq).map_err(|error| Error::Internal(error.to_string()));
    Ok((oldest.map_or(Ok(1), number)?, newest.map_or(Ok(0), number)?))
}
