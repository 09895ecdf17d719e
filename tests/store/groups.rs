//! Writes share commits, and nothing else: each is durable and visible when it is acknowledged, or gone.

use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use snippetbox::clock::Clock;
use snippetbox::db::Db;
use snippetbox::error::Error;
use sqlx::{Connection as _, SqliteConnection};

use crate::storage::Database;
use crate::{emails, insert, on, on_both_databases, run, write};

on_both_databases![
    a_write_that_fails_or_is_dropped_leaves_its_neighbours_alone,
    what_was_acknowledged_is_seen_by_every_reader,
    what_was_put_off_runs_before_what_is_asked_and_before_the_end,
];

const WRITES: usize = 400;
const AT_ONCE: usize = 40;

/// Ends as the number says: committed, refused by the database, left without a commit, or dropped half-way.
async fn end_somehow(db: &Db, number: usize) {
    let email = format!("{number:03}");
    let insert = async || {
        let mut tx = db.write().await.expect("a transaction");
        insert(&mut tx, &email, Clock::system().now()).await.expect("inserted");
        if number % 8 < 4 {
            tx.conn().await.expect("inserted"); // Else it is put off to the end.
        }
        tx
    };
    match number % 4 {
        0 => insert().await.commit().await.expect("committed"),
        1 => {
            let mut tx = insert().await;
            let again = match crate::insert(&mut tx, &email, Clock::system().now()).await {
                Ok(()) if number % 8 < 4 => tx.conn().await.map(drop),
                Ok(()) => tx.commit().await,
                Err(error) => Err(error),
            };
            assert!(again.as_ref().is_err_and(Error::is_unique_violation), "{again:?}");
        }
        2 => drop(insert().await),
        _ => {
            let half_way = async {
                let _tx = insert().await;
                pending::<()>().await;
            };
            let span = Duration::from_micros(number as u64 * 7 % 3_000);
            assert!(tokio::time::timeout(span, half_way).await.is_err(), "it does not end by itself");
        }
    }
}

async fn a_write_that_fails_or_is_dropped_leaves_its_neighbours_alone(db: &Db, _: &str) {
    for first in (0..WRITES).step_by(AT_ONCE) {
        join_all((first..first + AT_ONCE).map(|number| end_somehow(db, number))).await;
    }
    let committed: Vec<String> = (0..WRITES).step_by(4).map(|number| format!("{number:03}")).collect();
    assert_eq!(emails(db).await, committed);
}

async fn what_was_put_off_runs_before_what_is_asked_and_before_the_end(db: &Db, _: &str) {
    const COUNT: &str = "SELECT count(*) FROM users WHERE email LIKE $1";
    let mut tx = db.write().await.expect("a transaction");
    let mut put_off = async |from: i64, to: i64| {
        for number in from..to {
            insert(&mut tx, &format!("{number:03}"), Clock::system().now()).await.expect("put off");
        }
        let count: Option<(i64,)> = tx.later(COUNT, COUNT).bind("0%").find().await.expect("an answer");
        assert_eq!(count, Some((to,)), "more than are handed over at once, and fewer");
    };
    put_off(0, 50).await;
    put_off(50, 53).await;
    let count: i64 = on!(tx.conn().await.expect("a connection"), |c| sqlx::query_scalar(COUNT)
        .bind("05%")
        .fetch_one(c)
        .await
        .expect("a row"));
    assert_eq!(count, 3);
    insert(&mut tx, "053", Clock::system().now()).await.expect("put off");
    tx.commit().await.expect("committed");
    assert_eq!(emails(db).await.len(), 54);
}

async fn what_was_acknowledged_is_seen_by_every_reader(db: &Db, _: &str) {
    join_all((0..8).map(async |writer| {
        for number in 0..25 {
            let email = format!("{writer}.{number}");
            write(db, &email).await.expect("committed");
            let mut conn = db.read().await.expect("a connection");
            let seen: bool = on!(conn.conn(), |c| sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM users WHERE email = $1)"
            )
            .bind(email)
            .fetch_one(c)
            .await
            .expect("a row"));
            assert!(seen, "{writer}.{number}");
        }
    }))
    .await;
}

/// On PostgreSQL the server groups commits itself.
#[test]
fn a_thousand_writes_at_once_share_a_few_commits() {
    run(Database::Sqlite, async |db, url| {
        // As long as it reads, the write-ahead log only grows, so every commit can be counted in it.
        let mut reader = SqliteConnection::connect(url).await.expect("a connection");
        for statement in ["BEGIN", "SELECT count(*) FROM users"] {
            sqlx::query(statement).execute(&mut reader).await.expect(statement);
        }
        write(db, "first").await.expect("committed");
        let before = commits(url);
        for number in 0..20 {
            write(db, &format!("alone {number}")).await.expect("committed");
        }
        assert_eq!(commits(url) - before, 20, "one after the other, each has a commit of its own");

        let before = commits(url);
        let storm = (0..1_000).map(async |number| write(db, &format!("at once {number}")).await);
        let failed = join_all(storm).await.into_iter().find_map(Result::err);
        assert!(failed.is_none(), "{failed:?}");
        let shared = commits(url) - before;
        assert!((1..=50).contains(&shared), "{shared} commits for 1,000 writes");
        assert_eq!(emails(db).await.len(), 1_021);
    });
}

/// How many transactions stand in the write-ahead log. Each frame tells in its header how large the database is
/// after it, when it is the last of its transaction, and else zero.
fn commits(url: &str) -> usize {
    let path = url.trim_start_matches("sqlite://").to_owned() + "-wal";
    let log = std::fs::read(&path).expect("the write-ahead log");
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().expect("four bytes"));
    let page_size = usize::try_from(number(8)).expect("a size");
    let frames = (32..log.len()).step_by(24 + page_size).filter(|at| at + 24 + page_size <= log.len());
    // Frames of an earlier round of the log have other salts.
    frames.filter(|at| log[at + 8..at + 16] == log[16..24] && number(at + 4) != 0).count()
}

/// More writes than may wait are refused at once, and the others are there when who held them up is done.
#[test]
fn more_writes_than_may_wait_are_refused_at_once() {
    run(Database::Sqlite, async |db, url| {
        let mut other = SqliteConnection::connect(url).await.expect("a connection");
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("a transaction");
        for (kind, asks) in [("asking", true), ("silent", false)] {
            let write = async |number: usize| {
                let mut tx = db.write().await?;
                insert(&mut tx, &format!("{kind} {number}"), Clock::system().now()).await?;
                if asks {
                    tx.conn().await?;
                }
                tx.commit().await
            };
            let mut writes: FuturesUnordered<_> = (0..1_200).map(write).collect();
            let mut refused = 0;
            while refused < 100 {
                match writes.next().await.expect("there are more") {
                    Err(Error::Overloaded) => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
            sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("committed");
            let mut written = 0;
            while let Some(ended) = writes.next().await {
                match ended {
                    Ok(()) => written += 1,
                    Err(Error::Overloaded) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(written >= 1_000 && refused + written == 1_200, "{written} and {refused}");
            let found = emails(db).await.iter().filter(|email| email.starts_with(kind)).count();
            assert_eq!(found, written, "{kind}");
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("a transaction");
        }
    });
}
