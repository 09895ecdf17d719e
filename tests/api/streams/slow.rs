//! Readers that take their time: what they are promised, and what they may not get any more.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{Persona, TestApp, eventually, on_both_databases};

// However long the machine takes to publish, none of those who wait with their reading has stalled.
on_both_databases![
    what_waits_for_a_revoked_token_is_not_sent with ["--stall-timeout", "300s"],
    what_waits_of_a_snippet_made_private_is_not_sent with ["--stall-timeout", "300s"],
    a_page_is_answered_as_soon_as_it_is_read with ["--heartbeat", "300s"],
    of_what_is_not_kept_a_slow_reader_gets_the_newest with ["--stall-timeout", "300s"],
    a_quiet_topic_is_not_reset_by_what_was_trimmed_elsewhere with [
        "--stall-timeout", "300s", "--history-memory", "1",
    ],
];

const LARGE: usize = 60_000;

/// Takes everything up to the frame of this name, and tells how many events of another name there were.
async fn count_until(stream: &mut TcpStream, event: &str, last: &str) -> usize {
    let (mut text, mut buffer) = (String::new(), vec![0; 65_536]);
    while !text.contains(last) {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("silent before {last}")).expect("bytes");
        assert!(count > 0, "ended before {last}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text.matches(event).count()
}

async fn what_waits_for_a_revoked_token_is_not_sent(app: &TestApp) {
    let ann = app.user("ann").await;
    let script = ann.with_scopes(&["read"]).await;
    let content = "x".repeat(LARGE);
    for _ in 0..20 {
        ann.has_snippet(json!({ "content": content })).await;
    }
    let mut reader = script.read_slowly("topics=snippets&since=earliest").await;
    let tokens = ann.get("/v1/tokens").await.expect(200).json();
    let id = tokens["data"][0]["id"].as_str().expect("an id");
    ann.delete(&format!("/v1/tokens/{id}")).await.expect(204);
    eventually("the stream is cut", async || (script.get("/v1/me").await.status == 401).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // What is promised for the end of a right.
    let got = count_until(&mut reader, "event: snippet_created", "event: closing").await;
    assert!(got <= 5, "{got} events after the token was revoked");
}

async fn what_waits_of_a_snippet_made_private_is_not_sent(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut reader = app.anonymous().read_slowly("topics=snippets&types=snippet_created").await;
    let filler = "x".repeat(LARGE / 2);
    for _ in 0..3 {
        ann.has_snippet(json!({ "content": filler })).await;
    }
    let secret = ann.has_snippet(json!({ "title": "Soon a secret" })).await;
    ann.patch(&crate::support::path_of(&secret), &json!({ "visibility": "private" })).await.expect(200);
    ann.has_snippet(json!({ "title": "The last one" })).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // What is promised for the end of a right.
    let got = count_until(&mut reader, "Soon a secret", "The last one").await;
    assert_eq!(got, 0, "what is private now was still sent");
}

async fn a_page_is_answered_as_soon_as_it_is_read(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.publish("custom:wanted", &json!({ "type": "first", "data": 1 })).await.expect(202);
    for number in 0..300 {
        ann.publish("custom:other", &json!({ "type": "more", "data": number })).await.expect(202);
    }
    for (since, expected) in [("earliest", 1), (ann_cursor(&ann).await.as_str(), 0)] {
        let path = format!("/v1/events?topics=custom:wanted&since={since}");
        let page = ann.get(&path).header("Accept", "application/json");
        let page = tokio::time::timeout(Duration::from_secs(10), page.into_future()).await;
        let page = page.expect("no heartbeat is waited for").expect(200).json();
        assert_eq!(page["data"].as_array().expect("a list").len(), expected);
    }
}

/// The place of the first event, behind which much lies that does not concern the topic.
async fn ann_cursor(ann: &Persona) -> String {
    let path = "/v1/events?topics=custom:wanted&since=earliest";
    let page = ann.get(path).header("Accept", "application/json").await.expect(200).json();
    page["data"][0]["id"].as_str().expect("an id").to_owned()
}

async fn a_quiet_topic_is_not_reset_by_what_was_trimmed_elsewhere(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut reader = ann.read_slowly("topics=custom:quiet").await;
    let mut noise = ann.subscribe("topics=custom:noise").await;
    for number in 0..50 {
        ann.publish("custom:noise", &json!({ "type": "noise", "data": number })).await.expect(202);
        noise.next().await;
    }
    app.execute("DELETE FROM events WHERE seq < (SELECT max(seq) FROM events)").await; // As the retention does.
    let data = "x".repeat(LARGE);
    for _ in 0..6 {
        ann.publish("custom:quiet", &json!({ "type": "told", "data": data })).await.expect(202);
    }
    ann.publish("custom:quiet", &json!({ "type": "the_last", "data": 1 })).await.expect(202);
    app.settled().await; // Whoever reads while it is still being told may keep up.
    let mut text = String::new();
    let mut buffer = vec![0; 65_536];
    while !text.contains("event: the_last") {
        let read = tokio::time::timeout(Duration::from_secs(10), reader.read(&mut buffer)).await;
        let count = read.expect("it goes on").expect("bytes");
        assert!(count > 0, "it ended");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(!text.contains("event: reset"), "nothing of its topic was trimmed");
    // That it fell behind is told before it catches up, and has no place in the log: no `id:` in its chunk.
    let [before, after] = text.split("event: lagged\ndata: ").collect::<Vec<_>>()[..] else {
        panic!("it fell behind once: {} bytes", text.len());
    };
    assert!(before.ends_with("\r\n") && after.contains("event: told"), "{} bytes before", before.len());
    assert_eq!(text.matches("event: told").count(), 6);
}

async fn of_what_is_not_kept_a_slow_reader_gets_the_newest(app: &TestApp) {
    const EVENTS: usize = 500;
    let ann = app.user("ann").await;
    let mut reader = ann.read_slowly("topics=custom:pointer").await;
    let filler = "x".repeat(2_000);
    for number in 0..EVENTS {
        let event = json!({ "type": "moved", "data": [number, filler], "ephemeral": true });
        ann.publish("custom:pointer", &event).await.expect(202);
    }
    let last = format!("[{},", EVENTS - 1);
    let got = count_until(&mut reader, "event: moved", &last).await;
    assert!(got < EVENTS / 2, "{got} of {EVENTS} have waited");
}
