//! On PostgreSQL, gives committed events their places.
//!
//! A transaction takes the `id` of its event before it commits, so ids become visible out of order, and reading by
//! `id > cursor` loses the late ones. The sequencer is the one process that numbers what is committed, in batches,
//! in the order of ids, without a gap. It holds an advisory lock of its session: when it dies another node's
//! sequencer gets the lock.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

use super::log::Log;
use crate::{db::Db, error::Result};

/// The key of the advisory lock; any number that nothing else in the database uses.
const LOCK: i64 = 0x0073_6e69_7070_6574;
/// How many events one statement numbers at most.
const BATCH: i64 = 1_000;
/// How long the sequencer waits for a wake-up before it looks by itself, and between two tries for the lock.
const POLL: Duration = Duration::from_secs(1);

/// Numbers events for as long as the server runs; on SQLite, where the append does it, there is nothing to do.
pub(super) async fn run(db: &Db, log: &Log) {
    let Some(pool) = db.postgres() else { return };
    loop {
        if let Err(error) = lead(pool, db, log).await {
            tracing::error!(%error, "the sequencer lost the database; trying again");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Numbers events while this process holds the lock; comes back when another one does.
async fn lead(pool: &PgPool, db: &Db, log: &Log) -> Result<(), sqlx::Error> {
    // A connection of its own: the lock belongs to the session, and must end with it.
    let mut conn = pool.acquire().await?.detach();
    let leads: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut conn).await?;
    if !leads {
        return conn.close().await;
    }
    loop {
        while number(&mut conn).await? > 0 {
            log.numbered.notify_one();
        }
        tokio::select! {
            () = db.committed() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Reports how many committed events wait for their places; on SQLite none ever does.
///
/// # Errors
/// When the database does not answer.
pub async fn report_lag(db: &Db) -> Result<()> {
    let Some(pool) = db.postgres() else { return Ok(()) };
    let waiting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE seq IS NULL").fetch_one(pool).await?;
    metrics::gauge!("snippetbox_outbox_events").set(f64::from(i32::try_from(waiting).unwrap_or(i32::MAX)));
    Ok(())
}

/// Numbers one batch and tells how many events it held.
async fn number(conn: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let numbered = sqlx::query(
        "WITH head AS (SELECT COALESCE(max(seq), 0) AS seq FROM events),
              batch AS (SELECT id, row_number() OVER (ORDER BY id) AS place
                        FROM (SELECT id FROM events WHERE seq IS NULL ORDER BY id LIMIT $1) AS unnumbered)
         UPDATE events SET seq = head.seq + batch.place FROM head, batch WHERE events.id = batch.id",
    )
    .bind(BATCH)
    .execute(conn)
    .await?;
    Ok(numbered.rows_affected())
}
