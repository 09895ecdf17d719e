//! What is stored comes back as it was, and in the same order from both.

use std::time::Duration;

use snippetbox::clock::{Clock, Timestamp};
use snippetbox::db::{Db, Text};

use crate::{emails, insert, on, on_both_databases, write};

on_both_databases![
    every_text_survives_and_sorts_by_its_bytes,
    moments_keep_their_milliseconds_and_their_order
];

async fn every_text_survives_and_sorts_by_its_bytes(db: &Db, _: &str) {
    let mut texts = vec![
        "\0",
        "\u{1}",
        "\0\u{1}",
        "\u{1}0",
        "a\0b",
        "a\u{1}b",
        "a",
        "a b",
        "a-b",
        "aa",
        "B",
        "Z",
        "_",
        "b",
        "ß",
        "ss",
        "é",
        "e\u{301}",
        "ﬀ",
        "\u{e000}",
        "𝒳",
        "🦀",
        "\u{10ffff}",
        "\r\n\u{85}\u{2028}",
        "%",
        "'\"\\",
    ];
    for text in &texts {
        write(db, text).await.expect("committed");
    }
    texts.sort_unstable();
    assert_eq!(emails(db).await, texts);
    let mut conn = db.read().await.expect("a connection");
    for text in texts {
        // Found by equality, too.
        let found: Text = on!(conn.conn(), |c| sqlx::query_scalar("SELECT name FROM users WHERE email = $1")
            .bind(Text(text.to_owned()))
            .fetch_one(c)
            .await
            .expect(text));
        assert_eq!(found.0, text);
    }
}

async fn moments_keep_their_milliseconds_and_their_order(db: &Db, _: &str) {
    let second = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a moment")).now();
    let spans = [0, 1, 10, 100, 120, 123, 999, 1_000, 1_001, 60_000, 86_400_000];
    let moments = spans.map(|millis| second.plus(Duration::from_millis(millis)));
    for (number, moment) in moments.iter().enumerate().rev() {
        let mut tx = db.write().await.expect("a transaction");
        insert(&mut tx, &number.to_string(), *moment).await.expect("inserted");
        tx.commit().await.expect("committed");
    }
    let mut conn = db.read().await.expect("a connection");
    let read: Vec<(Timestamp,)> = on!(conn.conn(), |c| sqlx::query_as(
        "SELECT created_at FROM users WHERE created_at >= $1 ORDER BY created_at"
    )
    .bind(second)
    .fetch_all(c)
    .await
    .expect("rows"));
    let read: Vec<Timestamp> = read.into_iter().map(|(moment,)| moment).collect();
    assert_eq!(read, moments);
}
