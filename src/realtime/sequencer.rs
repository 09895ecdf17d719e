//! On PostgreSQL, gives committed events their places.
//!
//! A transaction takes the `id` of its event before it commits, so ids become visible out of order, and reading by
//! `id > cursor` loses the late ones. The sequencer is the one process that numbers what is committed, in batches,
//! in the order of ids, without a gap. It holds an advisory lock of its session: when it dies another node's
//! sequencer gets the lock. The other nodes tell it over the bus that they have committed something.

use std::{sync::atomic::Ordering, time::Duration};

use sqlx::{PgConnection, PgPool};

use super::{
    bus::{Bus, Inbox, Subject},
    log::Log,
};
use crate::{
    db::{Conn, Db},
    error::Result,
};

/// The key of the advisory lock; any number that nothing else in the database uses.
const LOCK: i64 = 0x0073_6e69_7070_6574;
/// How many events one statement numbers at most.
const BATCH: i64 = 1_000;
/// How long the sequencer waits for a wake-up before it looks by itself, and between two tries for the lock.
const POLL: Duration = Duration::from_secs(1);

/// How long a statement of the sequencer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The server ends the sequencer's session, and so the lock, when it has been silent for three times as long as it
/// should: a node that has stopped does not stop the others.
const LEASE: &str = "SET idle_session_timeout = '3s'";

/// Numbers events for as long as the server runs; on SQLite, where the append does it, there is nothing to do.
pub(super) async fn run(db: &Db, log: &Log, bus: &Bus) {
    let Some(pool) = db.postgres() else { return };
    let mut committed = bus.subscribe(Subject::Committed).await;
    loop {
        if let Err(error) = lead(pool, db, log, &mut committed).await {
            tracing::error!(%error, "the sequencer lost the database; trying again");
        }
        log.sight.leads.store(false, Ordering::Relaxed);
        metrics::gauge!("snippetbox_sequencer_leads").set(0);
        let retry = tokio::time::Instant::now() + POLL;
        loop {
            tokio::select! {
                () = db.committed() => bus.publish(Subject::Committed, Vec::new()),
                _ = committed.next() => {} // For the one who leads.
                () = tokio::time::sleep_until(retry) => break,
            }
        }
    }
}

/// Numbers events while this process holds the lock; comes back when another one does.
async fn lead(pool: &PgPool, db: &Db, log: &Log, committed: &mut Inbox) -> Result<(), sqlx::Error> {
    let mut conn = pool.acquire().await?;
    let locking = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *conn);
    // A session that got the lock after all must not go back to the pool with it.
    let leads: bool = within(locking).await.inspect_err(|_| conn.close_on_drop())?;
    if !leads {
        return Ok(());
    }
    // A connection of its own: the lock belongs to the session, and must end with it.
    let mut conn = conn.detach();
    within(sqlx::query(LEASE).execute(&mut conn)).await?;
    log.sight.leads.store(true, Ordering::Relaxed);
    metrics::gauge!("snippetbox_sequencer_leads").set(1);
    tracing::info!("this node gives the events their places");
    loop {
        while within(number(&mut conn)).await? > 0 {
            log.numbered.notify_one();
        }
        tokio::select! {
            () = db.committed() => {}
            _ = committed.next() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn within<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let answer = tokio::time::timeout(PATIENCE, statement).await;
    answer.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Reports how many committed events wait for their places; on SQLite none ever does.
///
/// # Errors
/// When the database does not answer.
pub async fn report_lag(conn: Conn<'_>) -> Result<()> {
    let Conn::Postgres(conn) = conn else { return Ok(()) };
    let waiting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE seq IS NULL").fetch_one(conn).await?;
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
