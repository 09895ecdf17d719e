//! One writer with group commit.
//!
//! A durable commit costs a sync of the disk, whatever it holds. So writes that wait for the one writer share a
//! transaction: each has a savepoint of its own, which it can roll back alone, and is acknowledged only after the
//! common `COMMIT`. The queue of the lock makes the groups: the task that commits asks for the lock when a group
//! opens, so it comes after those who were waiting then; it lets those go first who have come meanwhile.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteArguments};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, oneshot},
};

use crate::{
    db::later::Batch,
    error::{Error, Result},
};

/// How many writes a group takes while more are waiting.
const MAX_GROUP: usize = 128;

/// How many writes may wait; at several thousand a second this is well under a second of work.
const MAX_WAITING: usize = 1_024;

/// The one connection that writes.
#[derive(Clone)]
pub struct Writer {
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
    /// What is to run before the commit, once.
    before_commit: BTreeSet<&'static str>,
    members: Vec<oneshot::Sender<Result<()>>>,
}

/// The savepoint of the open transaction; there is one at most.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    None,
    /// What was in it has been undone.
    Empty,
    /// A write is in it, or was dropped in it.
    Used,
    /// Its write has ended, and the next one releases it along with setting its own.
    Done,
}

impl Savepoint {
    /// What leads from here to an empty savepoint.
    fn renew(self) -> Option<&'static str> {
        match self {
            Self::None => Some("SAVEPOINT one_write"),
            Self::Empty | Self::Used => None,
            Self::Done => Some("RELEASE one_write; SAVEPOINT one_write"),
        }
    }
}

impl Writer {
    pub(super) fn new(conn: SqliteConnection) -> Self {
        let group = Group {
            conn,
            open: false,
            savepoint: Savepoint::None,
            lost: false,
            before_commit: BTreeSet::new(),
            members: Vec::new(),
        };
        Self { group: Arc::new(Mutex::new(group)), waiting: Arc::default(), runtime: Handle::current() }
    }

    pub(in crate::db) async fn begin(&self) -> Result<Write> {
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
        Ok(Write { group, later: Batch::default(), begun: false })
    }

    pub(in crate::db) async fn close(&self) {
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

    /// Undoes what a dropped write left behind.
    async fn mend(&mut self) {
        if self.savepoint != Savepoint::Used {
            return;
        }
        if self.run("ROLLBACK TO one_write").await.is_ok() {
            self.savepoint = Savepoint::Empty;
            return;
        }
        // There is no savepoint. Either the write was dropped when it had released the one before it and not yet set
        // its own; then nothing has happened. Or SQLite has rolled back everything; then a transaction can begin.
        self.savepoint = Savepoint::None;
        self.lost |= self.run("BEGIN").await.is_ok();
    }

    async fn commit(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        self.savepoint = Savepoint::None;
        let mut last = Batch::default();
        for sql in std::mem::take(&mut self.before_commit).into_iter().chain(["COMMIT"]) {
            last.push(sql);
        }
        let lost = std::mem::take(&mut self.lost);
        let result = if lost { Err(rolled_back()) } else { run(&mut self.conn, last).await };
        if result.is_err() {
            // The transaction may still be open, with a full disk for instance.
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

async fn run(conn: &mut SqliteConnection, mut batch: Batch) -> Result<(), sqlx::Error> {
    let (sql, arguments) = batch.take();
    sqlx::query_with(sql, arguments).execute(conn).await.map(drop)
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
pub struct Write {
    group: OwnedMutexGuard<Group>,
    /// What has not run yet.
    pub(in crate::db) later: Batch,
    /// Whether the savepoint is its own.
    begun: bool,
}

impl Write {
    /// The connection, when everything that was put off has run.
    pub(in crate::db) async fn conn(&mut self) -> Result<&mut SqliteConnection> {
        self.flush().await?;
        Ok(&mut self.group.conn)
    }

    /// Runs what was put off.
    pub(in crate::db) async fn flush(&mut self) -> Result<()> {
        let (conn, (sql, arguments)) = self.due();
        sqlx::query_with(sql, arguments).execute(conn).await?;
        Ok(())
    }

    /// What is to run next: what was put off, in a savepoint of its own. It must be handed over at once: from here on
    /// the savepoint counts as this write's, which at least its first statement makes true.
    pub(in crate::db) fn due(&mut self) -> (&mut SqliteConnection, (AssertSqlSafe<String>, SqliteArguments)) {
        if !std::mem::replace(&mut self.begun, true) {
            let renew = std::mem::replace(&mut self.group.savepoint, Savepoint::Used).renew();
            self.later.begin_with(renew);
        }
        (&mut self.group.conn, self.later.take())
    }

    pub(in crate::db) fn before_commit(&mut self, sql: &'static str) {
        self.group.before_commit.insert(sql);
    }

    /// Ends this write's part, lets the next one in, and waits until the group is on disk.
    pub(in crate::db) async fn commit(mut self) -> Result<()> {
        if !self.later.is_empty() {
            self.flush().await?;
        }
        if self.begun {
            self.group.savepoint = Savepoint::Done;
        }
        let (done, committed) = oneshot::channel();
        self.group.members.push(done);
        drop(self.group);
        committed.await.map_err(|_| Error::Internal("the writer ended before it committed".into()))?
    }
}

#[cfg(test)]
mod tests {
    use sqlx::SqliteConnection;

    use super::{Savepoint, Writer};
    use crate::db::sqlite::open;

    async fn writer(folder: &tempfile::TempDir) -> Writer {
        let url = format!("sqlite://{}/test.db", folder.path().display());
        let (_, writer) = open(&url, 1).await.unwrap();
        let mut write = writer.begin().await.unwrap();
        sqlx::query("CREATE TABLE t (n INTEGER)").execute(write.conn().await.unwrap()).await.unwrap();
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
            insert(write.conn().await.unwrap(), number).await;
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
    async fn what_is_to_run_before_the_commit_runs_once_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer);
        let mut commits = Vec::new();
        for number in 1..=4 {
            let mut write = writer.begin().await.unwrap();
            write.before_commit("INSERT INTO t SELECT 100 + COUNT(*) FROM t");
            insert(write.conn().await.unwrap(), number).await;
            if number == 4 {
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
        assert_eq!(numbers(&writer).await, [1, 2, 3, 103]);
    }

    #[tokio::test]
    async fn a_write_that_is_dropped_while_it_begins_undoes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer);
        let mut commits = Vec::new();
        // Dropped at each of its steps, whichever of them has reached the database, and each time behind another write.
        for polls in 0..40 {
            let mut write = writer.begin().await.unwrap();
            insert(write.conn().await.unwrap(), polls).await;
            commits.push(tokio::spawn(write.commit()));
            tokio::task::yield_now().await;
            let mut begins = Box::pin(async {
                let mut write = writer.begin().await?;
                write.later.push("INSERT INTO t VALUES (100)");
                write.conn().await?;
                write.later.push("INSERT INTO t VALUES (101)");
                write.conn().await.map(drop)
            });
            for poll in 0..polls {
                if futures_util::poll!(&mut begins).is_ready() {
                    break;
                }
                if poll + polls % 4 < polls {
                    tokio::task::yield_now().await;
                }
            }
        }
        drop(held);
        for commit in commits {
            commit.await.unwrap().unwrap();
        }
        assert_eq!(numbers(&writer).await, (0..40).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn when_the_transaction_is_lost_nobody_of_the_group_is_told_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer);
        let mut write = writer.begin().await.unwrap();
        insert(write.conn().await.unwrap(), 1).await;
        let before = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        let mut write = writer.begin().await.unwrap();
        // As SQLite does by itself when the disk is full.
        sqlx::query("ROLLBACK").execute(write.conn().await.unwrap()).await.unwrap();
        drop(write);
        let mut write = writer.begin().await.unwrap();
        insert(write.conn().await.unwrap(), 3).await;
        let behind = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        drop(held);
        assert!(before.await.unwrap().is_err());
        assert!(behind.await.unwrap().is_err());
        let mut write = writer.begin().await.unwrap();
        insert(write.conn().await.unwrap(), 4).await;
        write.commit().await.unwrap();
        assert_eq!(numbers(&writer).await, [4]);
        assert!(writer.group.lock().await.savepoint == Savepoint::None);
    }
}
