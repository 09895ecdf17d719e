//! The contract of both databases: what every feature relies on whichever of them it runs on.

#[path = "../api/support/storage.rs"]
mod storage;

mod groups;
mod leaving;
mod schema;
mod values;

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt as _;
use snippetbox::clock::{Clock, Timestamp};
use snippetbox::db::{Db, Text, WriteTx};
use snippetbox::error::Result;
use snippetbox::id::Ids;
use storage::{Database, Storage};

/// Runs one query on whichever database a connection leads to.
macro_rules! on {
    ($conn:expr, |$c:ident| $query:expr) => {
        match $conn {
            snippetbox::db::Conn::Sqlite($c) => $query,
            snippetbox::db::Conn::Postgres($c) => $query,
        }
    };
}
pub(crate) use on;

/// Runs each of the named functions twice, as `sqlite::name` and as `postgres::name`.
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                crate::run(crate::storage::Database::Sqlite, super::$test);
            })+
        }

        mod postgres {
            $(#[test]
            #[ignore = "needs PostgreSQL: tests/run starts one"]
            fn $test() {
                crate::run(crate::storage::Database::Postgres, super::$test);
            })+
        }
    };
}
pub(crate) use on_both_databases;

/// Runs one test on a database of its own, which goes however the test ends.
fn run(database: Database, test: impl AsyncFnOnce(&Db, &str)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let storage = Storage::create(database).await;
        let db = Db::open(&storage.url(), 8).await.expect("the database");
        let outcome = AssertUnwindSafe(test(&db, &storage.url())).catch_unwind().await;
        db.close().await;
        storage.remove().await;
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    });
}

/// Adds somebody: a row with text, a moment and a column in which nothing may stand twice.
async fn insert(tx: &mut WriteTx, email: &str, at: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO users (id, email, name, role, password_hash, version, created_at)
                       VALUES ($1, $2, $3, 'member', '', 1, $4)";
    let (id, text) = (Ids::new(Clock::system()).next(), Text(email.to_owned()));
    tx.later(SQL, SQL).bind(id).bind(text.clone()).bind(text).bind(at).run().await
}

/// Adds somebody in a transaction of its own.
async fn write(db: &Db, email: &str) -> Result<()> {
    let mut tx = db.write().await?;
    insert(&mut tx, email, Clock::system().now()).await?;
    tx.commit().await
}

/// Everybody's e-mail address, sorted by the database.
async fn emails(db: &Db) -> Vec<String> {
    let mut conn = db.read().await.expect("a connection");
    let rows: Vec<(Text,)> = on!(conn.conn(), |c| sqlx::query_as("SELECT email FROM users ORDER BY email")
        .fetch_all(c)
        .await
        .expect("rows"));
    rows.into_iter().map(|(email,)| email.0).collect()
}
