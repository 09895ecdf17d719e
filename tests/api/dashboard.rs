//! The dashboard: its figures are true, its activities public, and listeners cost nothing.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Database, EventStream, Persona, TestApp, eventually, on_both_databases, path_of};

on_both_databases![
    only_what_is_public_counts,
    the_total_is_set_against_the_one_of_24_hours_ago,
    what_is_long_ago_still_counts,
    views_of_today_are_set_against_the_same_span_of_yesterday,
    users_are_distinct_within_24_hours,
    who_was_seen_last_is_written_down_at_a_stop,
    online_are_users_and_unknown_connections,
    activities_are_the_latest_ten_and_public,
    metrics_are_told_when_something_has_changed,
    activities_are_told_as_a_whole,
    what_does_not_concern_it_is_not_read,
    many_listeners_cost_the_database_what_one_costs,
    those_without_credentials_are_let_in_only_where_reading_is_public with ["--public-read", "false"],
];

const HOUR: Duration = Duration::from_hours(1);
const TICK: Duration = Duration::from_secs(5);

async fn dashboard(app: &TestApp) -> Value {
    let reader = app.admin().await;
    reader.get("/v1/dashboard").await.expect(200).json()
}

fn figure(value: i64, previous: i64, change_pct: Option<f64>) -> Value {
    json!({ "value": value, "previous": previous, "change_pct": change_pct })
}

/// Waits until a figure is what it must be: what is written behind needs a moment.
async fn assert_figure(app: &TestApp, name: &str, expected: Value) {
    let mut last = Value::Null;
    let what = format!("{name} is {expected}");
    eventually(&what, async || {
        last = dashboard(app).await[name].clone();
        (last == expected).then_some(())
    })
    .await;
}

async fn only_what_is_public_counts(app: &TestApp) {
    let ann = app.user("ann").await;
    let total = async || dashboard(app).await["total_snippets"]["value"].clone();
    let public = path_of(&ann.has_snippet(json!({})).await);
    let unlisted = ann.has_snippet_that_is("unlisted").await;
    ann.has_snippet_that_is("private").await;
    assert_eq!(total().await, 1);
    ann.patch(&unlisted, &json!({ "visibility": "public" })).await.expect(200);
    ann.patch(&unlisted, &json!({ "title": "Still public" })).await.expect(200);
    assert_eq!(total().await, 2);
    ann.patch(&public, &json!({ "visibility": "private" })).await.expect(200);
    assert_eq!(total().await, 1);
    ann.delete(&public).await.expect(204);
    assert_eq!(total().await, 1);
    ann.delete(&unlisted).await.expect(204);
    assert_eq!(total().await, 0);
    for _ in 0..3 {
        ann.has_snippet(json!({})).await;
    }
    ann.post("/v1/snippets", &json!({ "title": "", "content": "x" })).await.problem(422, "validation_failed");
    assert_eq!(total().await, 3);
    ann.delete("/v1/me").await.expect(204);
    assert_eq!(total().await, 0);
}

async fn the_total_is_set_against_the_one_of_24_hours_ago(app: &TestApp) {
    let ann = app.user("ann").await;
    let total = async || dashboard(app).await["total_snippets"].clone();
    let first = path_of(&ann.has_snippet(json!({})).await);
    ann.has_snippet(json!({})).await;
    assert_eq!(total().await, figure(2, 0, None));
    app.clock.advance(24 * HOUR - Duration::from_mins(1));
    assert_eq!(total().await, figure(2, 0, None));
    app.clock.advance(Duration::from_mins(1));
    assert_eq!(total().await, figure(2, 2, Some(0.0)));
    ann.has_snippet(json!({})).await;
    assert_eq!(total().await, figure(3, 2, Some(50.0)));
    ann.delete(&first).await.expect(204);
    ann.patch(&path_of(&ann.has_snippet(json!({})).await), &json!({ "visibility": "private" }))
        .await
        .expect(200);
    assert_eq!(total().await, figure(2, 2, Some(0.0)));
}

async fn what_is_long_ago_still_counts(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({})).await;
    let mut events = ann.subscribe("topics=dashboard").await;
    for days in 1..=3 {
        app.clock.advance(24 * HOUR);
        ann.has_snippet(json!({})).await;
        // Told by the task that also puts together what is old.
        app.clock.advance(TICK);
        until_total(&mut events, days + 1).await;
    }
    app.clock.advance(24 * HOUR);
    ann.has_snippet(json!({})).await;
    app.clock.advance(TICK);
    until_total(&mut events, 5).await;
    assert_figure(app, "total_snippets", figure(5, 4, Some(25.0))).await;
}

async fn until_total(events: &mut EventStream, total: i64) {
    while events.until("metrics").await.data["total_snippets"]["value"] != total {}
}

async fn views_of_today_are_set_against_the_same_span_of_yesterday(app: &TestApp) {
    let (ann, bob, carol) = (app.user("ann").await, app.user("bob").await, app.user("carol").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    let views = async |expected| assert_figure(app, "views_today", expected).await;
    bob.get(&path).await.expect(200); // At 12:00.
    views(figure(1, 0, None)).await;
    app.clock.advance(12 * HOUR - Duration::from_mins(1));
    carol.get(&path).await.expect(200); // At 23:59.
    views(figure(2, 0, None)).await;
    app.clock.advance(Duration::from_mins(1));
    views(figure(0, 0, None)).await;
    app.clock.advance(12 * HOUR - Duration::from_mins(1));
    views(figure(0, 0, None)).await;
    app.clock.advance(Duration::from_mins(1));
    views(figure(0, 1, Some(-100.0))).await;
    app.clock.advance(12 * HOUR - Duration::from_mins(1));
    bob.get(&path).await.expect(200);
    views(figure(1, 2, Some(-50.0))).await;
    app.clock.advance(Duration::from_mins(1));
    views(figure(0, 0, None)).await;
}

async fn users_are_distinct_within_24_hours(app: &TestApp) {
    let admin = app.admin().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    // Read without credentials, so that reading is no sighting.
    let users = async |expected: Value| {
        eventually(&format!("active users are {expected}"), async || {
            let seen = app.anonymous().get("/v1/dashboard").await.expect(200).json();
            (seen["active_users"] == expected).then_some(())
        })
        .await;
    };
    let see = async |person: &Persona| drop(person.get("/v1/me").await.expect(200));
    see(admin).await;
    see(&ann).await;
    see(&bob).await; // All three between 12:00 and 13:00.
    users(figure(3, 0, None)).await;
    app.clock.advance(HOUR);
    see(&ann).await;
    see(&ann).await;
    users(figure(3, 0, None)).await;
    app.clock.advance(22 * HOUR);
    users(figure(3, 0, None)).await;
    app.clock.advance(HOUR); // A day after 12:00: only ann was seen since 13:00.
    users(figure(1, 3, Some(-66.7))).await;
    app.clock.advance(HOUR);
    users(figure(0, 3, Some(-100.0))).await;
    see(&bob).await; // On the second day, at 13:00.
    users(figure(1, 3, Some(-66.7))).await;
    app.clock.advance(24 * HOUR);
    users(figure(0, 1, Some(-100.0))).await;
    see(&ann).await;
    users(figure(1, 1, Some(0.0))).await;
}

async fn who_was_seen_last_is_written_down_at_a_stop(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.get("/v1/me").await.expect(200);
    app.restart_with(&[]).await;
    let seen = app.anonymous().get("/v1/dashboard").await.expect(200).json();
    assert_eq!(seen["active_users"], figure(1, 0, None));
}

async fn online_are_users_and_unknown_connections(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let online = async |expected: i64| assert_figure(app, "online", json!(expected)).await;
    online(0).await;
    let first = ann.subscribe("topics=snippets").await;
    let second = ann.subscribe("topics=dashboard").await;
    let third = bob.subscribe("topics=snippets").await;
    let unknown = [
        app.anonymous().subscribe("topics=snippets").await,
        app.anonymous().subscribe("topics=snippets").await,
    ];
    online(4).await;
    first.disconnect();
    third.disconnect();
    online(3).await;
    second.disconnect();
    unknown.into_iter().for_each(EventStream::disconnect);
    online(0).await;
}

/// The activities as `type title`, the newest first.
fn told(activity: &Value) -> Vec<String> {
    let activities = activity.as_array().expect("a list");
    let line = |one: &Value| {
        let kind = one["type"].as_str().expect("a type").trim_start_matches("snippet_");
        format!("{kind} {}", one["snippet"]["title"].as_str().unwrap_or("-"))
    };
    activities.iter().map(line).collect()
}

async fn activities_are_the_latest_ten_and_public(app: &TestApp) {
    let ann = app.user("ann").await;
    let activity = async |expected: &[&str]| {
        let what = format!("the activities are {expected:?}");
        eventually(&what, async || {
            let seen = dashboard(app).await["activity"].clone();
            (told(&seen) == expected).then_some(seen)
        })
        .await
    };
    activity(&[]).await;
    let title = "One\0\u{1}\u{2028} <b>";
    let one = ann.has_snippet(json!({ "title": title })).await;
    ann.has_snippet_that_is("private").await;
    ann.has_snippet_that_is("unlisted").await;
    let seen = activity(&[&format!("created {title}")]).await;
    let actor = json!({ "id": ann.id, "name": "ann" });
    let subject = json!({ "id": one["id"], "title": title });
    let expected = json!({ "type": "snippet_created", "at": app.now(), "actor": actor, "snippet": subject });
    assert_eq!(seen[0], expected);
    let two = path_of(&ann.has_snippet(json!({ "title": "Two" })).await);
    ann.patch(&path_of(&one), &json!({ "title": "One more" })).await.expect(200);
    activity(&["updated One more", "created Two", &format!("created {title}")]).await;
    // What was public is gone from here once it is not.
    ann.patch(&path_of(&one), &json!({ "visibility": "private" })).await.expect(200);
    activity(&["deleted -", "created Two"]).await;
    ann.delete(&two).await.expect(204);
    activity(&["deleted -", "deleted -"]).await;
    for number in 1..=9 {
        ann.has_snippet(json!({ "title": number.to_string() })).await;
    }
    let mut expected: Vec<String> = (1..=9).rev().map(|number| format!("created {number}")).collect();
    expected.push("deleted -".to_owned());
    activity(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// How often something was done, by the server's figures.
async fn figure_of(app: &TestApp, name: &str) -> u64 {
    app.anonymous().figure(&format!("snippetbox_{name}_total")).await.expect("the figure")
}

/// How often the database was asked for the dashboard.
async fn reads(app: &TestApp) -> u64 {
    figure_of(app, "dashboard_reads").await
}

/// Lets a tick pass, and waits for its reading.
async fn tick(app: &TestApp) {
    let before = reads(app).await;
    app.clock.advance(TICK);
    eventually("the dashboard is read", async || (reads(app).await > before).then_some(())).await;
}

async fn metrics_are_told_when_something_has_changed(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.get("/v1/me").await.expect(200);
    assert_figure(app, "active_users", figure(2, 0, None)).await;
    let mut events = ann.subscribe("topics=dashboard,custom:marks").await;
    tick(app).await;
    while events.until("metrics").await.data["online"] != 1 {}
    ann.has_snippet(json!({})).await;
    events.until("activity").await;
    tick(app).await;
    let metrics = events.next().await;
    assert_eq!((metrics.kind.as_str(), metrics.id), ("metrics", None));
    assert_eq!(metrics.topic.as_deref(), Some("dashboard"));
    let expected = json!({
        "total_snippets": figure(1, 0, None), "active_users": figure(2, 0, None), "views_today": figure(0, 0, None),
        "online": 1,
    });
    assert_eq!(metrics.data, expected);
    // Who comes later is told right after `ready`.
    let mut late = app.anonymous().get("/v1/dashboard/events").send().await.1;
    let mut beginning = String::new();
    while !beginning.contains("event: metrics") {
        let part = late.chunk().await.expect("the stream goes on").expect("the stream goes on");
        beginning.push_str(&String::from_utf8_lossy(&part));
    }
    drop(late);
    eventually("the late one is gone", async || (dashboard(app).await["online"] == 1).then_some(())).await;
    // Nothing has changed, so nothing is told: the mark is what comes next.
    tick(app).await;
    tick(app).await;
    ann.publish("custom:marks", &json!({ "type": "mark", "data": 1 })).await.expect(202);
    assert_eq!(events.next().await.kind, "mark");
}

async fn activities_are_told_as_a_whole(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({ "title": "One" })).await;
    let mut events = ann.subscribe("topics=dashboard&types=activity").await;
    let mut until = async |expected: &[&str]| {
        loop {
            let event = events.next().await;
            assert_eq!((event.kind.as_str(), event.id), ("activity", None));
            if told(&event.data["activity"]) == expected {
                return;
            }
        }
    };
    app.clock.advance(TICK);
    until(&["created One"]).await;
    let two = ann.has_snippet(json!({ "title": "Two" })).await;
    app.clock.advance(TICK);
    until(&["created Two", "created One"]).await;
    // What is hidden is not shown on, to nobody who comes later either.
    ann.patch(&path_of(&two), &json!({ "visibility": "private" })).await.expect(200);
    app.clock.advance(TICK);
    until(&["deleted -", "created One"]).await;
    let mut later = app.anonymous().subscribe("topics=dashboard&types=activity").await;
    assert_eq!(told(&later.next().await.data["activity"]), ["deleted -", "created One"]);
}

async fn what_does_not_concern_it_is_not_read(app: &TestApp) {
    let ann = app.user("ann").await;
    tick(app).await;
    let before = reads(app).await;
    for _ in 0..4 {
        ann.publish("custom:builds", &json!({ "type": "built", "data": 1 })).await.expect(202);
        // Activities would be due, and figures not yet.
        app.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(reads(app).await, before);
    ann.has_snippet(json!({})).await;
    eventually("the activities are read", async || (reads(app).await == before + 1).then_some(())).await;
}

/// People with sessions, made behind the back of the server: to hash their passwords would take minutes.
async fn crowd(app: &TestApp, count: usize) -> Vec<String> {
    let tokens: Vec<String> = (0..count).map(|number| format!("sbx_session_{number}")).collect();
    let bytes = |hex: &str| match app.database {
        Database::Sqlite => format!("X'{hex}'"),
        Database::Postgres => format!("'\\x{hex}'"),
    };
    let id = |number: usize| match app.database {
        Database::Sqlite => format!("X'{:032x}'", number + 1),
        Database::Postgres => format!("'{:032x}'", number + 1),
    };
    let now = app.now();
    let (mut users, mut sessions) = (Vec::new(), Vec::new());
    for (number, token) in tokens.iter().enumerate() {
        let digest = snippetbox::seal::digest(&[token.as_bytes()]);
        let digest: String = digest.map(|byte| format!("{byte:02x}")).concat();
        let (id, digest) = (id(number), bytes(&digest));
        users.push(format!("({id}, 'c{number}@example.org', 'c{number}', 'member', '', 1, '{now}')"));
        sessions.push(format!("({id}, {id}, 'session', {digest}, '[\"read\", \"write\"]', '{now}')"));
    }
    let statement = format!(
        "INSERT INTO users (id, email, name, role, password_hash, version, created_at) VALUES {};
         INSERT INTO credentials (id, user_id, kind, digest, scopes, created_at) VALUES {}",
        users.join(", "),
        sessions.join(", ")
    );
    app.execute(Box::leak(statement.into_boxed_str())).await;
    tokens
}

/// Listens to the dashboard on a bare socket, so that thousands cost the test little.
async fn listen(app: &TestApp, token: Option<&String>) -> TcpStream {
    let address = app.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    let credential = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("GET /v1/events?topics=dashboard HTTP/1.1\r\nHost: {address}\r\n{credential}\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    read_until(&mut stream, "event: ready").await;
    stream
}

async fn read_until(stream: &mut TcpStream, text: &str) {
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            assert!(stream.read_buf(&mut read).await.expect("an answer") > 0, "the stream ends");
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), reading).await;
    assert!(done.is_ok(), "no {text:?} in {}", String::from_utf8_lossy(&read));
}

/// Everything that is asked of the database is counted, whoever asks. `SNIPPETBOX_LISTENERS=10000` makes it many, where
/// as many sockets can be open twice in one process.
async fn many_listeners_cost_the_database_what_one_costs(app: &TestApp) {
    rlimit::increase_nofile_limit(u64::MAX).expect("sockets");
    let count = std::env::var("SNIPPETBOX_LISTENERS").map_or(2_000, |text| text.parse().expect("a number"));
    let ann = app.user("ann").await;
    ann.get("/v1/me").await.expect(200);
    let of_ann = ann.subscribe("topics=dashboard").await;
    assert_figure(app, "active_users", figure(2, 0, None)).await;
    let cost = async || {
        tick(app).await; // What there was to catch up with.
        let (before, begun) = (figure_of(app, "database_uses").await, Instant::now());
        for _ in 0..3 {
            tick(app).await;
        }
        // As long as each other, because there is periodic work too.
        tokio::time::sleep_until((begun + Duration::from_secs(5)).into()).await;
        figure_of(app, "database_uses").await - before
    };
    let one = cost().await;
    let tokens = crowd(app, count / 2).await;
    let mut who: Vec<Option<&String>> = tokens.iter().map(Some).collect();
    who.resize(count, None);
    let mut listeners = Vec::new();
    for some in who.chunks(50) {
        listeners.extend(join_all(some.iter().map(|token| listen(app, *token))).await);
    }
    let users = i64::try_from(count / 2).expect("few") + 2;
    assert_figure(app, "active_users", figure(users, 0, None)).await;
    let many = cost().await;
    println!("{one} uses of the database with one listener, {many} with {}", count + 1);
    assert!(many < one + one / 2 + 50, "{many} instead of {one}");
    // Each day and each hour all of them are seen anew: that is written down for many at once.
    let before = figure_of(app, "database_uses").await;
    app.clock.advance(24 * HOUR);
    assert_figure(app, "active_users", figure(users, users, Some(0.0))).await;
    let seen = figure_of(app, "database_uses").await - before;
    println!("{seen} uses to see {users} users anew");
    assert!(seen < tokens.len() as u64, "{seen} uses to see {users} users anew");
    app.clock.advance(TICK);
    for mut listener in listeners {
        read_until(&mut listener, &format!("\"online\":{}", count + 1)).await;
    }
    of_ann.disconnect();
}

async fn those_without_credentials_are_let_in_only_where_reading_is_public(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.get("/v1/dashboard").await.expect(200);
    app.anonymous().get("/v1/dashboard").await.problem(401, "unauthenticated");
    app.anonymous().get("/v1/dashboard/events").await.problem(401, "unauthenticated");
    ann.get("/v1/dashboard?x=1").await.problem(400, "invalid_query");
    ann.get("/v1/dashboard/events?topics=snippets").await.problem(400, "invalid_query");
}
