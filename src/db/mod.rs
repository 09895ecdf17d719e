//! The two databases behind one face.
//!
//! SQL is written once: `on_conn!` expands one query for both drivers, so no statement can drift between them.
//! Where the databases differ, `Conn::sql` picks one of two texts and the bindings stay single.
//!
//! Three rules hold everywhere: placeholders are `$1`, `$2`, …; integers are `i64`; text that a client wrote is
//! bound as [`Text`], because PostgreSQL cannot hold the character NUL.
#![deny(missing_docs)]

mod backup;
mod installation;
mod later;
mod migrate;
mod postgres;
mod shared;
mod sqlite;
mod stopping;
mod text;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction, pool::PoolConnection,
};
use tokio::sync::Notify;

use self::stopping::Stopping;
pub use self::{
    backup::{BackupError, backup, renew_epoch, restore},
    installation::Installation,
    later::Later,
    migrate::StartError,
    shared::{Shared, push_keys},
    text::Text,
};
use crate::error::{Error, Result};

/// How long a reading may take that is made for one impatient client.
const BRIEF: Duration = Duration::from_secs(2);

/// Runs one query on whichever database a [`Conn`] leads to; the query is expanded once for each driver.
macro_rules! on_conn {
    ($conn:expr, |$c:ident| $query:expr) => {
        match $conn {
            $crate::db::Conn::Sqlite($c) => $query,
            $crate::db::Conn::Postgres($c) => $query,
        }
    };
}
pub(crate) use on_conn;

/// The database of this server. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    engine: Engine,
    committed: Arc<Notify>,
    uses: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Engine {
    Sqlite { reader: SqlitePool, writer: sqlite::Writer },
    Postgres(postgres::Database),
}

/// A borrowed connection of either kind; queries run on it through `on_conn!`.
pub enum Conn<'c> {
    /// A connection to SQLite.
    Sqlite(&'c mut SqliteConnection),
    /// A connection to PostgreSQL.
    Postgres(&'c mut PgConnection),
}

impl Conn<'_> {
    /// A shorter-lived borrow of the same connection, for operations that run several queries on it.
    pub fn again(&mut self) -> Conn<'_> {
        match self {
            Conn::Sqlite(c) => Conn::Sqlite(c),
            Conn::Postgres(c) => Conn::Postgres(c),
        }
    }

    /// Picks the text of a statement that the two databases spell differently.
    pub(crate) fn sql(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Conn::Sqlite(_) => sqlite,
            Conn::Postgres(_) => postgres,
        }
    }
}

/// A connection that reads.
pub enum ReadConn {
    /// From the pool of readers of SQLite, which cannot write.
    Sqlite(PoolConnection<Sqlite>),
    /// From the pool of PostgreSQL.
    Postgres(PoolConnection<Postgres>),
}

impl ReadConn {
    /// The connection, for one query.
    pub fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn) => Conn::Sqlite(conn),
            Self::Postgres(conn) => Conn::Postgres(conn),
        }
    }
}

/// A transaction that writes: all of it is there after [`commit`](Self::commit), and nothing when it is dropped.
pub struct WriteTx {
    open: OpenTx,
    committed: Arc<Notify>,
    uses: Arc<AtomicU64>,
}

enum OpenTx {
    Sqlite(sqlite::Write),
    Postgres(Transaction<'static, Postgres>),
}

impl WriteTx {
    /// The connection, for one query. What was put off has run before.
    ///
    /// # Errors
    /// When that was refused.
    pub async fn conn(&mut self) -> Result<Conn<'_>> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        Ok(match &mut self.open {
            OpenTx::Sqlite(write) => Conn::Sqlite(write.conn().await?),
            OpenTx::Postgres(tx) => Conn::Postgres(tx),
        })
    }

    /// A statement that may run along with later ones, which saves the way to SQLite's thread and back.
    pub fn later(&mut self, sqlite: &'static str, postgres: &'static str) -> Later<'_> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        match &mut self.open {
            OpenTx::Sqlite(write) => Later::sqlite(write, sqlite),
            OpenTx::Postgres(tx) => Later::postgres(tx, postgres),
        }
    }

    /// On SQLite, runs a statement before the commit, once for all writes that share it: for work that costs the same
    /// for many as for one. Where a write that asked for it is undone, the statement must find nothing to do.
    pub fn before_commit(&mut self, sqlite: &'static str) {
        if let OpenTx::Sqlite(write) = &mut self.open {
            write.before_commit(sqlite);
        }
    }

    /// Makes the changes durable and visible, and tells the log that there may be something new.
    ///
    /// # Errors
    /// When the database could not promise durability; then nothing of the transaction may be acknowledged.
    pub async fn commit(self) -> Result<()> {
        match self.open {
            OpenTx::Sqlite(write) => write.commit().await?,
            OpenTx::Postgres(tx) => tx.commit().await?,
        }
        self.committed.notify_one();
        Ok(())
    }
}

/// Gives up work that takes longer than it may. Nobody tells of a connection that has died with its machine, or in a
/// firewall: whoever waits for its answer would wait for ever.
///
/// # Errors
/// Those of the work; [`Error::Overloaded`] when it was given up.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::Overloaded))
}

impl Db {
    /// Opens the database that `url` names (`sqlite://…` or `postgres://…`) and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer version of this program.
    pub async fn open(url: &str, connections: u32) -> Result<Self, StartError> {
        let engine = if url.starts_with("sqlite:") {
            let (reader, writer) = sqlite::open(url, connections).await?;
            Engine::Sqlite { reader, writer }
        } else {
            Engine::Postgres(postgres::open(url, connections).await?)
        };
        Ok(Self { engine, committed: Arc::new(Notify::new()), uses: Arc::default() })
    }

    /// Whether this is PostgreSQL, where a sequencer numbers the events.
    #[must_use]
    pub fn postgres(&self) -> Option<&PgPool> {
        match &self.engine {
            Engine::Sqlite { .. } => None,
            Engine::Postgres(postgres) => Some(&postgres.pool),
        }
    }

    /// How often the database was used: each reading, each transaction, and each statement of one.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// A connection to read with. What it sees is what was committed when its query starts.
    ///
    /// # Errors
    /// When none becomes free in time.
    pub async fn read(&self) -> Result<ReadConn> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        Ok(match &self.engine {
            Engine::Sqlite { reader, .. } => ReadConn::Sqlite(reader.acquire().await?),
            Engine::Postgres(postgres) => ReadConn::Postgres(postgres.acquire().await?),
        })
    }

    /// Reads for somebody who may be gone before the answer: when this is dropped, or has taken two seconds, the
    /// statement that runs is stopped.
    ///
    /// # Errors
    /// Those of the work; [`Error::Overloaded`] when it took too long, or no connection became free in time.
    pub async fn read_briefly<T>(&self, work: impl AsyncFnOnce(&mut ReadConn) -> Result<T>) -> Result<T> {
        let mut conn = Stopping::new(self.read().await?).await?;
        let answer = within(BRIEF, work(&mut conn.conn)).await?;
        conn.is_over = true;
        Ok(answer)
    }

    /// A transaction to write with.
    ///
    /// # Errors
    /// When the queue of writers is full, or the database does not answer.
    pub async fn write(&self) -> Result<WriteTx> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        let open = match &self.engine {
            Engine::Sqlite { writer, .. } => OpenTx::Sqlite(writer.begin()),
            Engine::Postgres(postgres) => OpenTx::Postgres(postgres.begin().await?),
        };
        Ok(WriteTx { open, committed: Arc::clone(&self.committed), uses: Arc::clone(&self.uses) })
    }

    /// Completes after the next commit of this process (one that has happened since the last call included).
    pub async fn committed(&self) {
        self.committed.notified().await;
    }

    /// Closes every connection; what was acknowledged is on disk already.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { reader, writer } => {
                reader.close().await;
                writer.close().await;
            }
            Engine::Postgres(postgres) => postgres.pool.close().await,
        }
    }
}
