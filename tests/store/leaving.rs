//! What is read for somebody who leaves, or waits too long, is read no further.

use std::time::Duration;

use snippetbox::db::Db;
use snippetbox::error::{Error, Result};
use tokio::time::timeout;

use crate::storage::Database;
use crate::{on, on_both_databases};

on_both_databases![a_statement_ends_with_its_reader, a_statement_that_takes_long_is_given_up];

const ENDLESS_ON_SQLITE: &str =
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n";
const ENDLESS_ON_POSTGRES: &str = "SELECT count(*) FROM pg_sleep(600)";
const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                       AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";

async fn endless(db: &Db) -> Result<i64> {
    db.read_briefly(async |conn| {
        let mut conn = conn.conn();
        let sql = match &mut conn {
            snippetbox::db::Conn::Sqlite(_) => ENDLESS_ON_SQLITE,
            snippetbox::db::Conn::Postgres(_) => ENDLESS_ON_POSTGRES,
        };
        Ok(on!(conn, |c| sqlx::query_scalar(sql).fetch_one(c).await?))
    })
    .await
}

/// The only connection is free again, and on PostgreSQL nothing goes on without it.
async fn nothing_runs(db: &Db) {
    let mut conn = timeout(Duration::from_secs(30), db.read()).await.expect("in time").expect("a connection");
    let one: i64 = on!(conn.conn(), |c| sqlx::query_scalar("SELECT CAST(1 AS bigint)").fetch_one(c).await)
        .expect("an answer");
    assert_eq!(one, 1);
    let Some(pool) = db.postgres() else { return };
    drop(conn);
    let ends = async {
        while sqlx::query_scalar::<_, i64>(RUNNING).fetch_one(pool).await.expect(RUNNING) > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), ends).await.expect("the statement goes on");
}

async fn a_statement_ends_with_its_reader(_: &Db, url: &str) {
    let db = Db::open(url, 1).await.expect("the database");
    let left = timeout(Duration::from_millis(100), endless(&db)).await;
    assert!(left.is_err(), "it ended by itself: {left:?}");
    nothing_runs(&db).await;
    db.close().await;
}

async fn a_statement_that_takes_long_is_given_up(_: &Db, url: &str) {
    let db = Db::open(url, 1).await.expect("the database");
    let answer = timeout(Duration::from_secs(30), endless(&db)).await.expect("it is given up");
    assert!(matches!(answer, Err(Error::Overloaded)), "{answer:?}");
    nothing_runs(&db).await;
    db.close().await;
}

/// One that waits for nothing: how a transaction ends that is left open is the cluster's test.
#[test]
#[ignore = "needs PostgreSQL: tests/run starts one"]
fn a_session_whose_node_is_gone_is_found_out_within_90_s() {
    crate::run(Database::Postgres, async |db, _| {
        let seconds = sqlx::query_scalar(
            "SELECT current_setting('tcp_keepalives_idle')::bigint
                    + current_setting('tcp_keepalives_interval')::bigint * current_setting('tcp_keepalives_count')::bigint",
        );
        let seconds: i64 = seconds.fetch_one(db.postgres().expect("a pool")).await.expect("the settings");
        assert_eq!(seconds, 90);
    });
}
