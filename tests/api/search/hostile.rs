//! Any text is a valid query.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{encoded, search};
use crate::support::{Database, Persona, TestApp, eventually, on_both_databases, run};

on_both_databases![
    ten_thousand_odd_queries_are_answered,
    odd_bytes_in_the_url_are_answered,
    a_huge_query_is_refused,
    a_head_that_does_not_end_is_refused,
];

/// What means something to a query language, a database, a terminal or a renderer, and words that are there.
const PIECES: [&str; 64] = [
    "\"",
    "'",
    "`",
    "\\",
    "%",
    "_",
    "*",
    "?",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "^",
    "~",
    ":",
    ";",
    ",",
    ".",
    "-",
    "--",
    "+",
    "&",
    "&&",
    "|",
    "||",
    "!",
    "=",
    "$1",
    "?1",
    ":*",
    "/*",
    "*/",
    "\0",
    "\u{1}",
    "\u{1}0",
    "\r\n",
    "\t",
    " ",
    "AND",
    "OR",
    "NOT",
    "NEAR(",
    "terms:",
    "rowid",
    "'; DROP TABLE snippets; --",
    "<mark>",
    "fn",
    "main",
    "word",
    "ümläut",
    "\u{1F980}",
    "👨‍👩‍👧‍👦",
    "שלום",
    "\u{202E}rtl",
    "日本語",
    "e\u{301}",
    "\u{FFFD}",
    "\u{FEFF}",
    "İ",
    "\u{7A8}",
];

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..=self.below(12) {
            match self.below(4) {
                0 => text.extend(char::from_u32(u32::try_from(self.below(0x11_0000)).expect("21 bits"))),
                1 => text.extend(char::from_u32(u32::try_from(self.below(0x80)).expect("7 bits"))),
                _ => text += PIECES[self.below(PIECES.len())],
            }
        }
        text
    }
}

async fn assert_answered(person: &Persona, text: &str) {
    let page = search(person, text, "&limit=5").await.expect(200).json();
    assert_eq!(page["q"], text);
    for hit in page["data"].as_array().expect("a page has data") {
        assert_ne!(hit["highlights"], json!([]), "{text:?} found {hit}");
    }
}

async fn ten_thousand_odd_queries_are_answered(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..30 {
        ann.has_snippet(json!({ "title": PIECES.concat(), "content": PIECES.join(" "), "tags": ["main"] }))
            .await;
    }
    let mut numbers = Numbers(1);
    let pieces = PIECES.map(str::to_owned);
    let repeated = PIECES.iter().map(|piece| piece.repeat(999 / piece.chars().count()));
    let random = std::iter::repeat_with(|| numbers.text()).take(10_000);
    let queries = stream::iter(pieces.clone().into_iter().chain(repeated).chain(random));
    queries
        .for_each_concurrent(8, |text| {
            let ann = &ann;
            async move { assert_answered(ann, &text).await }
        })
        .await;
}

async fn odd_bytes_in_the_url_are_answered(app: &TestApp) {
    let ann = app.user("ann").await;
    for query in
        ["q=%", "q=%f", "q=%ff%fe", "q=%00", "q=%C0%80", "q=%ED%A0%80", "q=+++", "q=a=b=c", "q=%zz&", "q"]
    {
        ann.get(&format!("/v1/search?{query}")).await.expect(200);
    }
}

async fn a_huge_query_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    for (length, text) in [(20_000, "a"), (3_000, "\u{1F980}")] {
        let text = encoded(&text.repeat(length));
        ann.get(&format!("/v1/search?q={text}")).await.problem(400, "invalid_query");
    }
}

/// Four megabytes, as nothing but a raw socket sends them: the HTTP layer hangs up on such a head.
async fn a_head_that_does_not_end_is_refused(app: &TestApp) {
    let address = app.url().trim_start_matches("http://").to_owned();
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let head = format!("GET /v1/search?q={} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(4 << 20));
    let (mut reader, mut writer) = socket.split();
    let mut answer = Vec::new();
    let write = async { drop(writer.write_all(head.as_bytes()).await) }; // It may be cut short.
    let read = async { drop(reader.read_buf(&mut answer).await) };
    tokio::join!(write, read);
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    app.user("ann").await.get("/v1/search?q=word").await.expect(200);
}

/// A lock on the table stands for whatever makes a search slow.
#[test]
#[ignore = "needs PostgreSQL: tests/run starts one"]
fn a_search_that_takes_too_long_is_given_up() {
    run(Database::Postgres, &[], async |app| {
        let ann = app.user("ann").await;
        let mut other = PgConnection::connect(&app.database_url()).await.expect("a connection");
        for statement in ["BEGIN", "LOCK TABLE search_entries IN ACCESS EXCLUSIVE MODE"] {
            sqlx::query(statement).execute(&mut other).await.expect(statement);
        }
        search(&ann, "word", "").await.problem(503, "overloaded");
        // One whose client has gone does not stay for as long: the quickest of some, as a machine may be busy.
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = \
                       (SELECT oid FROM pg_database WHERE datname = current_database())";
        let mut quickest = Duration::MAX;
        for _ in 0..3 {
            let begun = Instant::now();
            let gone = tokio::time::timeout(Duration::from_millis(300), search(&ann, "word", "")).await;
            assert!(gone.is_err(), "it was answered in spite of the lock");
            eventually("nothing waits for the lock", async || {
                let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut other).await.expect(waiting);
                (waiting == 0).then_some(())
            })
            .await;
            quickest = quickest.min(begun.elapsed());
        }
        assert!(quickest < Duration::from_millis(1_500), "it went on for {quickest:?}");
        sqlx::query("ROLLBACK").execute(&mut other).await.expect("the end of the lock");
        search(&ann, "word", "").await.expect(200);
    });
}
