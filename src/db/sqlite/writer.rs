//! One writer with group commit.
//!
//! A durable commit costs a sync of the disk, whatever it holds. So writes that come while one commits share the next
//! transaction: each has a savepoint of its own, which it can roll back alone, and is acknowledged only after the
//! common `COMMIT`. A write that needs an answer from the database before its end has the connection to itself for
//! that time; one that needs none is handed over whole, and the task that commits runs it along with others.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex as StdMutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteArguments};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, oneshot},
};

use super::group::{Group, Queued, Savepoint};
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
pub struct Writer(Arc<Inner>);

struct Inner {
    group: Arc<Mutex<Group>>,
    /// How many wait for the lock.
    waiting: AtomicUsize,
    queue: StdMutex<Queue>,
    /// Where commits run: a runtime that outlives the request that opened a group.
    runtime: Handle,
}

/// What is to be run by the task that commits.
#[derive(Default)]
struct Queue {
    writes: VecDeque<Queued>,
    /// Whether the task runs; it sees to whatever is open or queued until its end.
    committing: bool,
}

impl Writer {
    pub(super) fn new(conn: SqliteConnection) -> Self {
        Self(Arc::new(Inner {
            group: Arc::new(Mutex::new(Group::new(conn))),
            waiting: AtomicUsize::new(0),
            queue: StdMutex::default(),
            runtime: Handle::current(),
        }))
    }

    pub(in crate::db) fn begin(&self) -> Write {
        let (later, before_commit) = (Batch::default(), Vec::new());
        Write { writer: self.clone(), group: None, later, before_commit, begun: false }
    }

    pub(in crate::db) async fn close(&self) {
        let mut group = self.0.group.lock().await;
        group.mend().await;
        while let Some(write) = self.next() {
            group.take_in(write).await;
        }
        group.commit().await;
        if let Err(error) = group.run("PRAGMA wal_checkpoint(PASSIVE)").await {
            tracing::warn!(%error, "the write-ahead log could not be checkpointed; the next start does it");
        }
    }

    /// Waits for the connection, in the transaction of a group.
    async fn enter(&self) -> Result<OwnedMutexGuard<Group>> {
        let place = Place::take(&self.0.waiting)?;
        let mut group = Arc::clone(&self.0.group).lock_owned().await;
        drop(place);
        self.see_to_commit(self.queue());
        group.mend().await;
        group.open().await?;
        Ok(group)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Queued> {
        self.queue().writes.pop_front()
    }

    fn hand_over(&self, write: Queued) -> Result<()> {
        let mut queue = self.queue();
        if queue.writes.len() >= MAX_WAITING {
            return Err(Error::Overloaded);
        }
        queue.writes.push_back(write);
        self.see_to_commit(queue);
        Ok(())
    }

    fn see_to_commit(&self, mut queue: MutexGuard<'_, Queue>) {
        if !std::mem::replace(&mut queue.committing, true) {
            self.0.runtime.spawn(self.clone().commit_groups());
        }
    }

    async fn commit_groups(self) {
        loop {
            let mut group = self.0.group.lock().await;
            group.mend().await;
            for _ in 0..MAX_GROUP.saturating_sub(group.members.len()) {
                let Some(write) = self.next() else { break };
                group.take_in(write).await;
            }
            if self.0.waiting.load(Ordering::Relaxed) > 0 && group.members.len() < MAX_GROUP {
                continue; // The lock lets those go first who wait for it.
            }
            group.commit().await;
            let mut queue = self.queue();
            if queue.writes.is_empty() {
                queue.committing = false;
                return;
            }
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
pub struct Write {
    writer: Writer,
    /// From the first statement on that somebody waits for.
    group: Option<OwnedMutexGuard<Group>>,
    /// What has not run yet.
    pub(in crate::db) later: Batch,
    before_commit: Vec<&'static str>,
    /// Whether the savepoint is its own.
    begun: bool,
}

impl Write {
    /// The connection, when everything that was put off has run.
    pub(in crate::db) async fn conn(&mut self) -> Result<&mut SqliteConnection> {
        let waits = !self.begun || !self.later.is_empty();
        let (conn, (sql, arguments)) = self.due().await?;
        if waits {
            sqlx::query_with(sql, arguments).execute(&mut *conn).await?;
        }
        Ok(conn)
    }

    /// What is to run next: what was put off, in a savepoint of its own. It must be handed over at once: from here on
    /// the savepoint counts as this write's, which at least its first statement makes true.
    pub(in crate::db) async fn due(
        &mut self,
    ) -> Result<(&mut SqliteConnection, (AssertSqlSafe<String>, SqliteArguments))> {
        let group = match self.group.take() {
            Some(group) => group,
            None => self.writer.enter().await?,
        };
        let group = self.group.insert(group);
        if !std::mem::replace(&mut self.begun, true) {
            let renew = std::mem::replace(&mut group.savepoint, Savepoint::Used).renew();
            self.later.begin_with(renew);
        }
        Ok((&mut group.conn, self.later.take()))
    }

    pub(in crate::db) fn before_commit(&mut self, sql: &'static str) {
        self.before_commit.push(sql);
    }

    /// Ends this write's part, lets the next one in, and waits until the group is on disk.
    pub(in crate::db) async fn commit(self) -> Result<()> {
        let (done, committed) = oneshot::channel();
        if self.group.is_some() {
            self.end(done).await?;
        } else if self.later.is_empty() {
            return Ok(());
        } else {
            let Self { writer, later: batch, before_commit, .. } = self;
            writer.hand_over(Queued { batch, before_commit, done })?;
        }
        committed.await.map_err(|_| Error::Internal("the writer ended before it committed".into()))?
    }

    async fn end(mut self, done: oneshot::Sender<Result<()>>) -> Result<()> {
        if !self.later.is_empty() {
            self.conn().await?;
        }
        if let Some(mut group) = self.group {
            group.savepoint = Savepoint::Done;
            group.before_commit.extend(self.before_commit);
            group.members.push(done);
        }
        Ok(())
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
        let mut write = writer.begin();
        sqlx::query("CREATE TABLE t (n INTEGER)").execute(write.conn().await.unwrap()).await.unwrap();
        write.commit().await.unwrap();
        writer
    }

    async fn insert(conn: &mut SqliteConnection, number: i64) {
        sqlx::query("INSERT INTO t VALUES ($1)").bind(number).execute(conn).await.unwrap();
    }

    async fn numbers(writer: &Writer) -> Vec<i64> {
        let mut group = writer.0.group.lock().await;
        sqlx::query_scalar("SELECT n FROM t ORDER BY n").fetch_all(&mut group.conn).await.unwrap()
    }

    /// Keeps the committing task out of the way, as writers do who wait in the queue.
    fn hold(writer: &Writer) -> super::Place<'_> {
        super::Place::take(&writer.0.waiting).unwrap()
    }

    #[tokio::test]
    async fn a_dropped_write_leaves_its_neighbours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let held = hold(&writer);
        let mut commits = Vec::new();
        for number in 1..=6 {
            let mut write = writer.begin();
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
            let mut write = writer.begin();
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
            let mut write = writer.begin();
            insert(write.conn().await.unwrap(), polls).await;
            commits.push(tokio::spawn(write.commit()));
            tokio::task::yield_now().await;
            let mut begins = Box::pin(async {
                let mut write = writer.begin();
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
        let mut write = writer.begin();
        insert(write.conn().await.unwrap(), 1).await;
        let before = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        let mut write = writer.begin();
        // As SQLite does by itself when the disk is full.
        sqlx::query("ROLLBACK").execute(write.conn().await.unwrap()).await.unwrap();
        drop(write);
        let mut write = writer.begin();
        insert(write.conn().await.unwrap(), 3).await;
        let behind = tokio::spawn(write.commit());
        tokio::task::yield_now().await;
        drop(held);
        assert!(before.await.unwrap().is_err());
        assert!(behind.await.unwrap().is_err());
        let mut write = writer.begin();
        insert(write.conn().await.unwrap(), 4).await;
        write.commit().await.unwrap();
        assert_eq!(numbers(&writer).await, [4]);
        assert!(writer.0.group.lock().await.savepoint == Savepoint::None);
    }

    #[tokio::test]
    async fn a_lost_transaction_is_lost_though_whoever_finds_out_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        for polls in 1..200 {
            let held = hold(&writer);
            let mut write = writer.begin();
            insert(write.conn().await.unwrap(), polls).await;
            let mut fails = writer.begin();
            let mut rolls_back =
                Box::pin(async { sqlx::query("ROLLBACK").execute(fails.conn().await.unwrap()).await });
            let mut enters = Box::pin(async { writer.begin().conn().await.map(drop) });
            // Both wait, so they come before the task that commits looks again.
            assert!(futures_util::poll!(&mut rolls_back).is_pending());
            assert!(futures_util::poll!(&mut enters).is_pending());
            let before = tokio::spawn(write.commit());
            rolls_back.await.unwrap();
            drop(fails);
            for _ in 0..polls {
                if futures_util::poll!(&mut enters).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(enters);
            drop(held);
            assert!(before.await.unwrap().is_err(), "after {polls} polls");
        }
        assert!(numbers(&writer).await.is_empty());
    }
}
