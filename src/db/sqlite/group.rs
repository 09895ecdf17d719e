//! Writes that share a transaction.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::{
    db::later::Batch,
    error::{Error, Result},
};

/// A write that needs no answer from the database before its end.
pub(super) struct Queued {
    pub(super) batch: Batch,
    pub(super) before_commit: Vec<&'static str>,
    pub(super) done: oneshot::Sender<Result<()>>,
}

/// The writes that share the transaction which is open now.
pub(super) struct Group {
    pub(super) conn: SqliteConnection,
    /// Whether `BEGIN` has run.
    open: bool,
    pub(super) savepoint: Savepoint,
    /// Whether a savepoint was gone when it was needed: then SQLite has rolled back the whole transaction.
    lost: bool,
    /// What is to run before the commit, once.
    pub(super) before_commit: BTreeSet<&'static str>,
    pub(super) members: Vec<oneshot::Sender<Result<()>>>,
}

/// The savepoint of the open transaction; there is one at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Savepoint {
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
    pub(super) fn renew(self) -> Option<&'static str> {
        match self {
            Self::None => Some("SAVEPOINT one_write"),
            Self::Empty | Self::Used => None,
            Self::Done => Some("RELEASE one_write; SAVEPOINT one_write"),
        }
    }
}

impl Group {
    pub(super) fn new(conn: SqliteConnection) -> Self {
        Self {
            conn,
            open: false,
            savepoint: Savepoint::None,
            lost: false,
            before_commit: BTreeSet::new(),
            members: Vec::new(),
        }
    }

    pub(super) async fn open(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.open, true)
            && let Err(error) = self.run("BEGIN IMMEDIATE").await
        {
            self.open = false;
            return Err(error.into());
        }
        Ok(())
    }

    /// Runs a write that asked nothing, and takes it into the group.
    pub(super) async fn take_in(&mut self, write: Queued) {
        let Queued { mut batch, before_commit, done } = write;
        if done.is_closed() {
            return; // Nobody waits for it any more.
        }
        let result = match self.open().await {
            Ok(()) => {
                batch.begin_with(std::mem::replace(&mut self.savepoint, Savepoint::Used).renew());
                run(&mut self.conn, batch).await.map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.mend().await;
            drop(done.send(result));
            return;
        }
        self.savepoint = Savepoint::Done;
        self.before_commit.extend(before_commit);
        self.members.push(done);
    }

    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.conn).await.map(drop)
    }

    /// Undoes what a dropped write left behind.
    pub(super) async fn mend(&mut self) {
        if self.savepoint != Savepoint::Used {
            return;
        }
        let Err(error) = self.run("ROLLBACK TO one_write").await else {
            self.savepoint = Savepoint::Empty;
            return;
        };
        // Until it is known better, all is lost: whoever waits for it here may be gone before the answer.
        let was_lost = std::mem::replace(&mut self.lost, true);
        self.savepoint = Savepoint::None;
        // Where there is no savepoint, the write was dropped when it had released the one before it and not yet set its
        // own; then nothing has happened. Or SQLite has rolled back everything; then a transaction can begin.
        if error.to_string().contains("no such savepoint") && self.run("BEGIN").await.is_err() {
            self.lost = was_lost;
        }
    }

    pub(super) async fn commit(&mut self) {
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
