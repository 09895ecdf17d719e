//! SQLite: a pool of readers, and one writer with group commit.
//!
//! A durable commit costs a sync of the disk, whatever it holds. So writes that wait for the one writer share a
//! transaction: each has a savepoint of its own, which it can roll back alone, and is acknowledged only after the
//! common `COMMIT`. The queue of the lock makes the groups: the task that commits asks for the lock when a group
//! opens, so it comes after those who were waiting then, and before all who come later.

use std::{
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, oneshot},
};

use super::{
    StartError,
    migrate::{self, SQLITE},
};
use crate::error::{Error, Result};

/// The oldest SQLite without the bug that could reset a write-ahead log under concurrent checkpoints.
const OLDEST_SAFE: [u32; 3] = [3, 51, 3];

/// How many writes may wait; at several thousand a second this is well under a second of work.
const MAX_WAITING: usize = 1_024;

pub(super) async fn open(url: &str, readers: u32) -> Result<(SqlitePool, Writer), StartError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| StartError::Url(error.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    let path = options.get_filename().to_path_buf();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| StartError::Folder(folder.to_path_buf(), error.to_string()))?;
    }
    let mut conn = options
        .connect()
        .await
        .map_err(|error| StartError::Open(path.display().to_string(), error.to_string()))?;
    require_safe_version(&mut conn).await?;
    migrate::run(&SQLITE, &mut conn).await?;
    let reader = SqlitePoolOptions::new()
        .max_connections(readers)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options.read_only(true));
    Ok((reader, Writer::new(conn)))
}

async fn require_safe_version(conn: &mut SqliteConnection) -> Result<(), StartError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(conn).await?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < OLDEST_SAFE.as_slice() {
        return Err(StartError::OldSqlite(version));
    }
    Ok(())
}

/// The one connection that writes.
#[derive(Clone)]
pub(super) struct Writer {
    group: Arc<Mutex<Group>>,
    waiting: Arc<AtomicUsize>,
    /// Where commits run: a runtime that outlives the request that opened a group.
    runtime: Handle,
}

/// The writes that share the transaction which is open now.
struct Group {
    conn: SqliteConnection,
    /// Whether `BEGIN` has run; then a commit is on its way, somewhere in the queue of the lock.
    open: bool,
    /// Whether a savepoint was left without an end, because its write was dropped.
    torn: bool,
    members: Vec<oneshot::Sender<Result<()>>>,
}

impl Writer {
    fn new(conn: SqliteConnection) -> Self {
        let group = Group { conn, open: false, torn: false, members: Vec::new() };
        Self { group: Arc::new(Mutex::new(group)), waiting: Arc::default(), runtime: Handle::current() }
    }

    pub(super) async fn begin(&self) -> Result<Write> {
        let mut group = self.enter().await?;
        group.mend().await;
        if !group.open {
            group.open = true;
            self.commit_later();
            if let Err(error) = group.run("BEGIN IMMEDIATE").await {
                group.open = false;
                return Err(error.into());
            }
        }
        group.torn = true; // Until the savepoint is released: dropping the write at any moment leaves it torn.
        group.run("SAVEPOINT one_write").await?;
        Ok(Write { group })
    }

    pub(super) async fn close(&self) {
        let mut group = self.group.lock().await;
        group.mend().await;
        group.commit().await;
        if let Err(error) = group.run("PRAGMA wal_checkpoint(PASSIVE)").await {
            tracing::warn!(%error, "the write-ahead log could not be checkpointed; the next start does it");
        }
    }

    async fn enter(&self) -> Result<OwnedMutexGuard<Group>> {
        let place = Place::take(&self.waiting)?;
        let group = Arc::clone(&self.group).lock_owned().await;
        drop(place);
        Ok(group)
    }

    fn commit_later(&self) {
        let group = Arc::clone(&self.group);
        self.runtime.spawn(async move {
            let mut group = group.lock_owned().await;
            group.mend().await;
            group.commit().await;
        });
    }
}

impl Group {
    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.conn).await.map(drop)
    }

    /// Undoes what a dropped write left behind.
    async fn mend(&mut self) {
        if !std::mem::take(&mut self.torn) {
            return;
        }
        for sql in ["ROLLBACK TO one_write", "RELEASE one_write"] {
            if let Err(error) = self.run(sql).await {
                // The write was dropped between asking for its release and hearing of it, or the engine has
                // rolled back the whole group by itself, which the commit will find out.
                tracing::debug!(%error, sql, "a dropped write had no savepoint left");
            }
        }
    }

    async fn commit(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let result = self.run("COMMIT").await;
        if result.is_err() {
            // After a failed commit (a full disk, say) the transaction may still be open.
            drop(self.run("ROLLBACK").await);
        }
        let result = result.map_err(Error::from);
        // Each commit is one sync of the disk: together they tell how many writes share one.
        metrics::counter!("snippetbox_commits_total").increment(1);
        metrics::counter!("snippetbox_writes_total").increment(self.members.len() as u64);
        for member in self.members.drain(..) {
            drop(member.send(result.clone())); // A member that is gone needs no answer.
        }
    }
}

/// One place in the queue of writers.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            return Err(Error::Overloaded);
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One write of a group; dropping it undoes its part alone.
pub(super) struct Write {
    group: OwnedMutexGuard<Group>,
}

impl Write {
    pub(super) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.group.conn
    }

    /// Ends this write's part, lets the next one in, and waits until the group is on disk.
    pub(super) async fn commit(mut self) -> Result<()> {
        self.group.run("RELEASE one_write").await?;
        self.group.torn = false;
        let (done, committed) = oneshot::channel();
        self.group.members.push(done);
        drop(self.group);
        committed.await.map_err(|_| Error::Internal("the writer ended before it committed".into()))?
    }
}
