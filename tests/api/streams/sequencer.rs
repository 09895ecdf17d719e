//! Writers that commit out of order, some not at all: the log gives everything once, in one order.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use snippetbox::clock::Clock;
use snippetbox::db::Db;
use snippetbox::id::Ids;
use snippetbox::realtime::{Bus, Json, NewEvent, Realtime, Rules, Since, Start, Tuning, append};
use sqlx::Row as _;

use crate::support::{Database, TestApp, on_both_databases};

on_both_databases![every_committed_event_has_one_place_in_one_order];

const WRITERS: u64 = 16;
/// A fifth of them is rolled back: 100,000 remain.
const EVENTS: u64 = 125_000;

/// What one writer committed: 80 % of what it began, after a delay now and then.
async fn write(db: &Db, writer: u64, each: u64, clock: &Clock) -> Vec<u64> {
    let mut committed = Vec::new();
    let mut random = writer + 1;
    for number in 0..each {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407); // Knuth
        let mut tx = db.write().await.expect("a transaction");
        let event = NewEvent {
            kind: "storm",
            topic: "custom:sequencer".to_owned(),
            feed: None,
            audience: None,
            effect: None,
            actor: None,
            origin: None,
            data: Json::of(&(writer, number)).expect("JSON"),
            at: clock.now(),
        };
        append(&mut tx, event).await.expect("appended");
        if random >> 60 == 0 {
            tokio::time::sleep(Duration::from_millis(random >> 32 & 7)).await; // A slow transaction.
        }
        if random >> 33 & 0xff >= 51 {
            tx.commit().await.expect("committed");
            committed.push(number);
        }
    }
    committed
}

async fn every_committed_event_has_one_place_in_one_order(app: &TestApp) {
    let clock = Clock::system();
    let db = Db::open(&app.database_url(), 24).await.expect("the database");
    let ids = Arc::new(Ids::new(clock.clone()));
    let tuning = Tuning {
        heartbeat: Duration::from_secs(15),
        drain: Duration::ZERO,
        ring_bytes: 1,
        max_streams: 10,
        roster: Rules { grace: Duration::ZERO, limit: 250 },
    };
    let node = Realtime::open(db.clone(), "test".to_owned(), clock.clone(), ids, tuning, Bus::Local)
        .await
        .expect("a node");
    let following = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.run().await }
    });
    let each = EVENTS / WRITERS;
    let naive = tokio::spawn(read_by_id(app.database, app.database_url(), WRITERS * each));
    let written = join_all((0..WRITERS).map(|writer| write(&db, writer, each, &clock))).await;
    let total = written.iter().map(Vec::len).sum::<usize>();

    let mut seen: Vec<Vec<u64>> = vec![Vec::new(); usize::try_from(WRITERS).expect("small")];
    let (mut place, mut count) = (0, 0);
    while count < total {
        let topics = ["custom:sequencer".into()];
        let page = node
            .log
            .page(&topics, place, node.log.head())
            .await
            .expect("a page")
            .expect("nothing is trimmed");
        for event in &page.events {
            assert!(event.seq > place, "places only grow");
            place = event.seq;
            let envelope: serde_json::Value = serde_json::from_slice(event.frame().envelope()).expect("JSON");
            let number = |index: usize| envelope["data"][index].as_u64().expect("a number");
            seen[usize::try_from(number(0)).expect("small")].push(number(1));
            count += 1;
        }
        place = place.max(page.through);
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, written, "what was committed, once, in the order of each writer");
    assert_eq!(node.log.start(Since::Id(&node.log.id(place))).await.expect("a start"), Start::After(place));
    following.abort();
    let lost_by_naive = naive.await.expect("the naive reader ends").map(|read| total - read);
    if app.database == Database::Postgres {
        assert!(
            lost_by_naive > Some(0),
            "reading by `id > cursor` loses events: else this test would not bite"
        );
    }
    db.close().await;
}

/// The control: a reader that believes that ids become visible in their order. Tells how many events it saw.
async fn read_by_id(database: Database, url: String, highest: u64) -> Option<usize> {
    if database == Database::Sqlite {
        return None; // One writer: there the order of ids is the order of commits.
    }
    let pool = sqlx::PgPool::connect(&url).await.expect("a connection");
    let (mut cursor, mut read, mut idle) = (0_i64, 0, 0);
    while idle < 100 && cursor < i64::try_from(highest).expect("small") {
        let rows = sqlx::query("SELECT id FROM events WHERE id > $1 AND type = 'storm' ORDER BY id")
            .bind(cursor)
            .fetch_all(&pool)
            .await
            .expect("rows");
        idle = if rows.is_empty() { idle + 1 } else { 0 };
        read += rows.len();
        cursor = rows.last().map_or(cursor, |row| row.get(0));
        tokio::time::sleep(Duration::from_millis(5)).await; // The pace of a poll.
    }
    Some(read)
}
