//! What a stream looks like, and how it is changed while it is open.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases, path_of};

on_both_databases![
    no_content_breaks_a_frame,
    a_subscriber_of_both_topics_gets_each_event_once,
    lines_and_pages_carry_the_same_envelopes,
    long_polling_waits_for_something_new,
    topics_change_while_the_stream_is_open,
    types_and_echo_are_honoured,
    the_form_is_the_one_that_the_client_likes_best,
    heartbeats_come_by_the_clock with ["--heartbeat", "15s"],
    a_heartbeat_comes_once_and_in_its_time with ["--workers", "1"],
    ready_says_where_a_stream_begins,
    what_holds_comes_before_history_and_history_before_news,
    topics_come_in_one_order,
    malformed_and_forbidden_topics_are_refused,
    a_graceful_stop_says_so,
];

const NASTY: &str = "a\rb\nc\r\nd\0e\u{2028}f\u{2029}g\u{85}h\u{feff}🦀 id: 1\n\ndata: x";

pub(super) async fn no_content_breaks_a_frame(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut stream = ann.subscribe("topics=snippets").await;
    let title = NASTY.replace('x', "y");
    let snippet = ann.has_snippet(json!({ "title": title, "content": NASTY })).await;
    let event = stream.next().await;
    assert_eq!((&event.data["content"], &event.data["title"]), (&json!(NASTY), &json!(title)));
    assert_eq!(ann.get(&path_of(&snippet)).await.expect(200).json()["content"], NASTY);
}

pub(super) async fn a_subscriber_of_both_topics_gets_each_event_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = ann.has_snippet(json!({})).await;
    let id = snippet["id"].as_str().expect("an id");
    app.settled().await;
    let mut both = ann.subscribe(&format!("topics=snippets,snippets:{id}&presence=off")).await;
    ann.patch(&path_of(&snippet), &json!({ "title": "Two" })).await.expect(200);
    ann.has_snippet(json!({ "title": "Another" })).await;
    let first = both.next().await;
    assert_eq!(first.topic.as_deref(), Some(format!("snippets:{id}").as_str()), "the most specific topic");
    let second = both.next().await;
    assert_eq!((second.kind.as_str(), second.topic.as_deref()), ("snippet_created", Some("snippets")));
}

pub(super) async fn lines_and_pages_carry_the_same_envelopes(app: &TestApp) {
    let ann = app.user("ann").await;
    for number in 0..3 {
        ann.has_snippet(json!({ "title": format!("{number}") })).await;
    }
    let mut frames = ann.subscribe("topics=snippets&since=earliest").await;
    let lines = [("Accept", "application/x-ndjson")];
    let mut lines = ann.subscribe_with("topics=snippets&since=earliest", &lines).await;
    let (mut paged, mut cursor) = (Vec::new(), "earliest".to_owned());
    while paged.len() < 3 {
        let path = format!("/v1/events?topics=snippets&since={cursor}&wait=30");
        let mut page = ann.get(&path).header("Accept", "application/json").await.expect(200).json();
        paged.append(page["data"].as_array_mut().expect("a list"));
        page["next_cursor"].as_str().expect("a cursor").clone_into(&mut cursor);
    }
    for envelope in &paged {
        assert_eq!(frames.next().await.envelope, *envelope);
        assert_eq!(lines.next().await.envelope, *envelope);
    }
    assert_eq!(paged[2]["id"], cursor);
}

pub(super) async fn long_polling_waits_for_something_new(app: &TestApp) {
    let ann = app.user("ann").await;
    let poll = async |cursor: &str, wait: u32| -> Value {
        let path = format!("/v1/events?topics=snippets&since={cursor}&wait={wait}");
        ann.get(&path).header("Accept", "application/json").await.expect(200).json()
    };
    let start =
        ann.get("/v1/events?topics=snippets").header("Accept", "application/json").await.expect(200).json();
    let cursor = start["next_cursor"].as_str().expect("a cursor");
    assert_eq!(poll(cursor, 1).await["data"], json!([]));
    let (page, _) = tokio::join!(poll(cursor, 30), ann.has_snippet(json!({ "title": "New" })));
    assert_eq!(page["data"][0]["data"]["title"], "New");
    assert_eq!(page["resume"], "resumed");
}

pub(super) async fn topics_change_while_the_stream_is_open(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let mut stream = ann.subscribe("topics=custom:one").await;
    let path = format!("/v1/events/{}", stream.connection());
    let change = json!({ "add": ["custom:two", "snippets"], "remove": ["custom:one"] });
    bob.patch(&path, &change).await.problem(404, "not_found");
    let answer = ann.patch(&path, &change).await.expect(200).json();
    assert_eq!(answer["topics"], json!(["custom:two", "snippets"]));
    assert_eq!(stream.next().await.kind, "topics");
    ann.publish("custom:one", &json!({ "type": "gone", "data": 1 })).await.expect(202);
    ann.publish("custom:two", &json!({ "type": "here", "data": 2 })).await.expect(202);
    assert_eq!(stream.next().await.kind, "here");
    ann.patch(&path, &json!({ "add": ["nonsense"] })).await.problem(422, "validation_failed");
    let many: Vec<String> = (0..101).map(|number| format!("custom:{number}")).collect();
    ann.patch(&path, &json!({ "add": many })).await.problem(422, "validation_failed");
    // What is not listened to makes no room by leaving, and neither does what leaves twice.
    let (full, more) = (&many[..98], vec!["custom:more"; 2]);
    ann.patch(&path, &json!({ "add": full })).await.expect(200);
    for remove in [&many[98..100], &["custom:1".to_owned(), "custom:1".to_owned()]] {
        let change = json!({ "add": ["custom:a", "custom:b"], "remove": remove });
        ann.patch(&path, &change).await.problem(422, "validation_failed");
    }
    let change = json!({ "add": more, "remove": ["custom:1"] });
    let topics = ann.patch(&path, &change).await.expect(200).json();
    assert_eq!(topics["topics"].as_array().map(Vec::len), Some(100));
}

pub(super) async fn types_and_echo_are_honoured(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut quiet = ann.subscribe("topics=custom:x&echo=false").await;
    let mut typed = ann.subscribe("topics=custom:x&types=b,c").await;
    let connection = quiet.connection().to_owned();
    let own = ann.publish("custom:x", &json!({ "type": "a", "data": 1 }));
    own.header("Snippetbox-Connection-Id", &connection).await.expect(202);
    ann.publish("custom:x", &json!({ "type": "b", "data": 2 })).await.expect(202);
    assert_eq!(quiet.next().await.kind, "b");
    assert_eq!(typed.next().await.kind, "b");
    ann.publish("custom:x", &json!({ "type": "c", "data": 3, "ephemeral": true })).await.expect(202);
    let last = typed.next().await;
    assert_eq!((last.kind.as_str(), last.id), ("c", None));
    assert_eq!(quiet.next().await.kind, "c");
    let own = ann.publish("custom:x", &json!({ "type": "a", "data": 4, "ephemeral": true }));
    own.header("Snippetbox-Connection-Id", &connection).await.expect(202);
    ann.publish("custom:x", &json!({ "type": "b", "data": 5, "ephemeral": true })).await.expect(202);
    assert_eq!(quiet.next().await.kind, "b", "its own was told");
    assert_eq!(typed.next().await.kind, "b", "another type was told");
}

pub(super) async fn heartbeats_come_by_the_clock(app: &TestApp) {
    let mut first = app.anonymous().subscribe("topics=snippets").await;
    app.clock.advance(Duration::from_secs(10));
    let mut second = app.anonymous().subscribe("topics=snippets").await;
    app.clock.advance(Duration::from_secs(5));
    assert_eq!(first.until("heartbeat").await.id, None);
    app.clock.advance(Duration::from_secs(10));
    second.until("heartbeat").await;
    app.clock.advance(Duration::from_secs(5));
    first.until("heartbeat").await;
}

async fn the_form_is_the_one_that_the_client_likes_best(app: &TestApp) {
    for (accept, form) in [
        ("*/*", "text/event-stream"),
        ("text/html", "text/event-stream"),
        ("application/json;q=0, text/event-stream", "text/event-stream"),
        ("application/x-ndjson;q=0.1, text/event-stream", "text/event-stream"),
        ("text/event-stream;q=0.1, application/x-ndjson", "application/x-ndjson"),
        ("application/json, text/event-stream;q=0.9", "application/json"),
    ] {
        let call = app.anonymous().get("/v1/events?topics=snippets").header("Accept", accept);
        let (_, response) = call.send().await;
        assert_eq!(response.headers()["content-type"], form, "{accept}");
    }
}

pub(super) async fn malformed_and_forbidden_topics_are_refused(app: &TestApp) {
    let anonymous = app.anonymous();
    for query in ["", "topics=", "topics=what", "topics=snippets:1", "topics=custom:", "topics=snippets&x=1"]
    {
        anonymous.get(&format!("/v1/events?{query}")).await.problem(400, "invalid_query");
    }
    let many = vec!["snippets"; 101].join(",");
    anonymous.get(&format!("/v1/events?topics={many}")).await.problem(400, "invalid_query");
    anonymous.get("/v1/events?topics=custom:x").await.problem(401, "unauthenticated");
    let missing = "/v1/events?topics=snippets:00000000-0000-0000-0000-000000000000";
    anonymous.get(missing).await.problem(404, "not_found");
    let stream = anonymous.subscribe("topics=snippets,custom:x").await;
    assert_eq!(stream.ready["denied"], json!([{ "topic": "custom:x", "code": "unauthenticated" }]));
}

pub(super) async fn a_graceful_stop_says_so(app: &TestApp) {
    let mut stream = app.anonymous().subscribe("topics=snippets").await;
    stream.retry = None; // What `ready` says is another time.
    app.stop().await;
    let last = stream.next().await;
    assert_eq!((last.kind.as_str(), &last.data["reason"]), ("closing", &json!("shutdown")));
    assert!(stream.retry.is_some_and(|retry| (1_000..5_000).contains(&retry)));
    stream.ended().await;
}

/// With one worker there is one hub, which looks at all its streams at the same time.
async fn a_heartbeat_comes_once_and_in_its_time(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut first = ann.subscribe("topics=snippets").await;
    app.clock.advance(Duration::from_secs(1));
    let mut second = ann.subscribe("topics=snippets").await;
    app.clock.advance(Duration::from_secs(14));
    first.until("heartbeat").await;
    ann.has_snippet(json!({})).await;
    assert_eq!(second.kinds_until("snippet_created").await, ["snippet_created"], "none after 14 s");
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(second.kinds_until("heartbeat").await, ["heartbeat"]);
    app.clock.advance(Duration::from_secs(14));
    first.until("heartbeat").await;
    ann.has_snippet(json!({})).await;
    assert_eq!(second.kinds_until("snippet_created").await, ["snippet_created"], "one in 15 s");
}

async fn ready_says_where_a_stream_begins(app: &TestApp) {
    let ann = app.user("ann").await;
    app.settled().await;
    let cursor = ann.get("/v1/snippets").await.expect(200).header("snippetbox-cursor").to_owned();
    let stream = ann.subscribe("topics=snippets,custom:x").await;
    let expected = json!({
        "connection_id": stream.connection(),
        "resume": "fresh",
        "replayed": 0,
        "cursor": cursor,
        "topics": ["snippets", "custom:x"],
        "denied": [],
        "heartbeat_s": 15.0,
        "server_time": app.now(),
    });
    assert_eq!(stream.ready, expected);
    assert_eq!(stream.retry, Some(2_000));
}

async fn what_holds_comes_before_history_and_history_before_news(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = ann.has_snippet_that_is("public").await;
    ann.patch(&path, &json!({ "title": "Two" })).await.expect(200);
    app.settled().await;
    let topic = &path["/v1/snippets/".len()..];
    let mut stream = ann.subscribe(&format!("topics=snippets:{topic}&since=earliest&presence=observe")).await;
    assert_eq!(stream.ready["replayed"], 2);
    ann.patch(&path, &json!({ "title": "Three" })).await.expect(200);
    for kind in ["presence_state", "snippet_created", "snippet_updated", "snippet_updated"] {
        assert_eq!(stream.next().await.kind, kind);
    }
}

async fn topics_come_in_one_order(app: &TestApp) {
    const TOPICS: [&str; 3] = ["custom:a", "custom:b", "custom:c"];
    let ann = app.user("ann").await;
    let mut stream = ann.subscribe("topics=custom:a,custom:b,custom:c").await;
    let write = async |writer: usize| {
        for number in 0..6 {
            let event = json!({ "type": "told", "data": [writer, number] });
            ann.publish(TOPICS[(writer + number) % 3], &event).await.expect(202);
        }
    };
    join_all((0..16).map(write)).await;
    let (mut places, mut told) = (Vec::new(), HashSet::new());
    for _ in 0..16 * 6 {
        let event = stream.next().await;
        let id = event.id.expect("durable events have ids");
        places.push(id.split_once('.').and_then(|(_, place)| place.parse::<u64>().ok()).expect("a place"));
        told.insert((event.topic, event.data.to_string()));
    }
    assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
    assert_eq!(told.len(), 16 * 6, "each of them once");
}
