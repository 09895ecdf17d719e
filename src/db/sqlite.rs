//! SQLite: a pool of readers, and one writer with group commit.
//!
//! A durable commit costs a sync of the disk, whatever it holds. So writes that wait for the one writer share a
//! transaction: each has a savepoint of its own, which it can roll back alone, and is acknowledged only after the
//! common `COMMIT`. The queue of the lock makes the groups: the task that commits asks for the lock when a group
//! opens, so it comes after those who were waiting then; it lets those go first who have come meanwhile.

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

/// How many writes a group takes while more are waiting.
const MAX_GROUP: usize = 128;

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
    savepoint: Savepoint,
    /// Whether a savepoint was gone when it was needed: then SQLite has rolled back the whole transaction.
    lost: bool,
    members: Vec<oneshot::Sender<Result<()>>>,
}

/// The innermost savepoint of the open transaction. All have one name, which SQLite reads as the innermost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    /// There is none, or one in which nothing has happened: the write that set it was dropped while it did.
    Empty,
    /// A write is in it, or was dropped in it.
    Used,
    /// Its write has ended, and the next one releases it along with setting its own.
    Done,
}

impl Writer {
    fn new(conn: SqliteConnection) -> Self {
        let group =
            Group { conn, open: false, savepoint: Savepoint::Empty, lost: false, members: Vec::new() };
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
        let sql = match std::mem::replace(&mut group.savepoint, Savepoint::Empty) {
            Savepoint::Done => "RELEASE one_write; SAVEPOINT one_write",
            Savepoint::Empty | Savepoint::Used => "SAVEPOINT one_write",
        };
        group.run_or_lose(sql).await?;
        group.savepoint = Savepoint::Used; // Until its end: a write that is dropped at any moment leaves it so.
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
        let Self { group, waiting, runtime } = self.clone();
        runtime.spawn(async move {
            loop {
                let mut group = group.lock().await;
                if waiting.load(Ordering::Relaxed) == 0 || group.members.len() >= MAX_GROUP {
                    group.mend().await;
                    return group.commit().await;
                }
            }
        });
    }
}

impl Group {
    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.conn).await.map(drop)
    }

    /// Sets, releases or undoes a savepoint. When that fails, nothing of the group may be acknowledged.
    async fn run_or_lose(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        let result = self.run(sql).await;
        self.lost |= result.is_err();
        result
    }

    /// Undoes what a dropped write left behind.
    async fn mend(&mut self) {
        if self.savepoint == Savepoint::Used {
            // A failure is known to the commit, which tells it to all.
            drop(self.run_or_lose("ROLLBACK TO one_write").await);
            self.savepoint = Savepoint::Empty;
        }
    }

    async fn commit(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        self.savepoint = Savepoint::Empty;
        let lost = std::mem::take(&mut self.lost);
        let result = if lost { Err(rolled_back()) } else { self.run("COMMIT").await };
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

/// What those are told whose writes were lost along with another's, by a full disk for instance.
fn rolled_back() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other("SQLite has rolled back the transaction of several writes"))
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
        self.group.savepoint = Savepoint::Done;
        let (done, committed) = oneshot::channel();
        self.group.members.push(done);
        drop(self.group);
        committed.await.map_err(|_| Error::Internal("the writer ended before it committed".into()))?
    }
}

#[cfg(test)]
mod tests {
    use sqlx::SqliteConnection;

    use super::{Savepoint, Writer, open};

    async fn writer(folder: &tempfile::TempDir) -> Writer {
        let url = format!("sqlite://{}/test.db", folder.path().display());
        let (_, writer) = open(&url, 1).await.unwrap();
        let mut write = writer.begin().await.unwrap();
        sqlx::query("CREATE TABLE t (n INTEGER)").execute(write.conn()).await.unwrap();
        write.commit().await.unwrap();
        writer
    }

    async fn insert(conn: &mut SqliteConnection, number: i64) {
        sqlx::query("INSERT INTO t VALUES ($1)").bind(number).execute(conn).await.unwrap();
    }

    async fn numbers(writer: &Writer) -> Vec<i64> {
        let mut group = writer.group.lock().await;
        sqlx::query_scalar("SELECT n FROM t ORDER BY n").fetch_all(&mut group.conn).await.unwrap()
    }

    /// Keeps the committing task out of the way, as writers do who wait in the queue.
    fn hold(writer: &Writer) -> super::Place<'_> {
        super::Place::take(&writer.waiting).unwrap()
    }

    #[tokio::test]
    async fn a_dropped_write_leaves_its_neighbours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer);
        let mut commits = Vec::new();
        for number in 1..=6 {
            let mut write = writer.begin().await.unwrap();
            insert(write.conn(), number).await;
            if number % 2 == 0 {
                drop(write);
            } else {
                commits.push(tokio::spawn(write.commit()));
                tokio::task::yield_now().await;
            }
        }
        drop(held);
        for commit in commits {
            commit.await.unwrap().unwrap();
        }
        assert_eq!(numbers(&writer).await, [1, 3, 5]);
    }

    #[tokio::test]
    async fn a_write_that_is_dropped_while_it_begins_undoes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer);
        let mut write = writer.begin().await.unwrap();
        insert(write.conn(), 1).await;
        let first = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        // Dropped at each of its steps, whichever of them has reached the database.
        for polls in 0..8 {
            let mut begin = Box::pin(writer.begin());
            for _ in 0..polls {
                if futures_util::poll!(&mut begin).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let mut write = writer.begin().await.unwrap();
        insert(write.conn(), 2).await;
        let second = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        drop(held);
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(numbers(&writer).await, [1, 2]);
    }

    #[tokio::test]
    async fn when_the_transaction_is_lost_nobody_of_the_group_is_told_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer);
        let mut write = writer.begin().await.unwrap();
        insert(write.conn(), 1).await;
        let before = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        let mut write = writer.begin().await.unwrap();
        // As SQLite does by itself when the disk is full.
        sqlx::query("ROLLBACK").execute(write.conn()).await.unwrap();
        drop(write);
        let mut write = writer.begin().await.unwrap();
        insert(write.conn(), 3).await;
        let behind = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        drop(held);
        assert!(before.await.unwrap().is_err());
        assert!(behind.await.unwrap().is_err());
        let mut write = writer.begin().await.unwrap();
        insert(write.conn(), 4).await;
        write.commit().await.unwrap();
        assert_eq!(numbers(&writer).await, [4]);
        assert!(writer.group.lock().await.savepoint == Savepoint::Empty);
    }
}
