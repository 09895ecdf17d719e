//! What watchers are told, and in which shape.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Known, hold, present, topic_of, until, watch};
use crate::support::{TestApp, eventually, on_both_databases};

on_both_databases![
    the_state_comes_after_ready_and_has_the_shape_of_phoenix,
    joins_and_leaves_come_as_diffs,
    joins_of_one_moment_are_one_diff,
    changes_are_told_ten_times_a_second_at_most,
    observers_watch_and_are_not_seen,
    who_is_not_signed_in_hears_numbers_alone_and_is_not_seen,
    counters_hear_numbers_alone,
    off_hears_nothing_and_is_not_seen,
    types_choose_among_the_events_of_presence_too,
    topics_that_are_added_and_removed_in_flight_count,
    a_crowd_is_told_as_a_number_and_a_small_group_by_name_again with ["--presence-limit", "3", "--presence-grace", "0s"],
    pages_of_history_and_heads_leave_no_trace,
    unknown_ways_to_take_part_are_refused,
];

async fn the_state_comes_after_ready_and_has_the_shape_of_phoenix(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let (_stream, state) = watch(&ann, &topic, "").await;
    let meta = &state[&ann.id]["metas"][0];
    let phx_ref = meta["phx_ref"].as_str().expect("a reference");
    let user = json!({ "id": ann.id, "name": "ann" });
    let expected =
        json!({ &ann.id: { "user": user, "metas": [{ "phx_ref": phx_ref, "joined_at": app.now() }] } });
    assert_eq!(state, expected);
    assert_eq!(present(&ann, &topic).await, json!({ "count": 1, "presences": expected }));
}

async fn joins_and_leaves_come_as_diffs(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    let (mut stream, state) = watch(&ann, &topic, "&presence=observe").await;
    assert_eq!(state, json!({}));
    let (bobs, _) = watch(&bob, &topic, "").await;
    let diff = stream.next().await;
    assert_eq!(
        (diff.kind.as_str(), &diff.id, diff.topic.as_deref()),
        ("presence_diff", &None, Some(&*topic))
    );
    assert_eq!(diff.data, json!({ "joins": present(&ann, &topic).await["presences"], "leaves": {} }));
    bobs.disconnect();
    app.clock.advance(Duration::from_secs(4));
    assert_eq!(present(&ann, &topic).await["count"], 1, "the grace holds");
    eventually("the cut is noticed and its grace is over", async || {
        app.clock.advance(Duration::from_secs(5));
        (present(&ann, &topic).await["count"] == 0).then_some(())
    })
    .await;
    assert_eq!(stream.next().await.data, json!({ "joins": {}, "leaves": diff.data["joins"] }));
}

async fn joins_of_one_moment_are_one_diff(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let (mut stream, _) = watch(&ann, &topic, "&presence=observe").await;
    let (mut devices, begun) = (Vec::new(), Instant::now());
    for _ in 0..20 {
        devices.push(watch(&ann, &topic, "").await);
    }
    let (mut n_diffs, mut n_metas) = (0, 0);
    while n_metas < devices.len() {
        let diff = stream.until("presence_diff").await;
        n_metas += diff.data["joins"][&ann.id]["metas"].as_array().expect("metas").len();
        n_diffs += 1;
    }
    assert!(n_diffs <= windows_since(begun), "{n_diffs} diffs for {} joins", devices.len());
}

/// How many windows of 100 ms there can have been since.
fn windows_since(begun: Instant) -> u128 {
    begun.elapsed().as_millis() / 100 + 1
}

async fn changes_are_told_ten_times_a_second_at_most(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let (mut stream, _) = watch(&ann, &topic, "&presence=observe").await;
    hold(&ann, &topic, &json!({ "ttl_s": 120 })).await.expect(200);
    stream.until("presence_diff").await;
    let (mut number, mut n_diffs, begun) = (0, 0, Instant::now());
    while begun.elapsed() < Duration::from_millis(600) {
        number += 1;
        ann.patch(&format!("/v1/presence/{topic}"), &json!({ "number": number })).await.expect(200);
    }
    loop {
        let diff = stream.until("presence_diff").await;
        n_diffs += 1;
        if diff.data["joins"][&ann.id]["metas"][0]["number"] == number {
            break;
        }
    }
    assert!(n_diffs <= windows_since(begun), "{n_diffs} diffs in {:?}", begun.elapsed());
}

async fn observers_watch_and_are_not_seen(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    let (_observing, _) = watch(&bob, &topic, "&presence=observe").await;
    let (mut other, state) = watch(app.admin().await, &topic, "&presence=observe").await;
    assert_eq!(state, json!({}));
    let (_anns, _) = watch(&ann, &topic, "").await;
    let mut known = Known::of(&state);
    until(&mut other, &mut known, |known| known.users() == [&ann.id]).await;
}

async fn who_is_not_signed_in_hears_numbers_alone_and_is_not_seen(app: &TestApp) {
    let ann = app.user("ann").await;
    for wish in ["", "&presence=track", "&presence=observe"] {
        let topic = topic_of(&ann, "public").await;
        let mut stranger = app.anonymous().subscribe(&format!("topics={topic}{wish}")).await;
        assert_eq!(stranger.next().await.data, json!({ "count": 0 }));
        let (_anns, _) = watch(&ann, &topic, "").await;
        let told = stranger.next().await;
        assert_eq!((told.kind.as_str(), told.data), ("presence_count", json!({ "count": 1 })), "{wish}");
        assert_eq!(present(&app.anonymous(), &topic).await, json!({ "count": 1, "presences": null }));
    }
}

async fn counters_hear_numbers_alone(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let mut counting = app.anonymous().subscribe(&format!("topics={topic}&presence=count")).await;
    let first = counting.next().await;
    assert_eq!((first.kind.as_str(), first.id, first.data), ("presence_count", None, json!({ "count": 0 })));
    let (_one, _) = watch(&ann, &topic, "").await;
    let (_two, _) = watch(&ann, &topic, "").await;
    let told = counting.next().await;
    assert_eq!(
        (told.kind.as_str(), told.data),
        ("presence_count", json!({ "count": 1 })),
        "users, not devices"
    );
    let (_three, _) = watch(app.admin().await, &topic, "").await;
    assert_eq!(counting.next().await.data, json!({ "count": 2 }));
}

async fn off_hears_nothing_and_is_not_seen(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let mut stream = ann.subscribe(&format!("topics={topic}&presence=off")).await;
    let (_other, state) = watch(app.admin().await, &topic, "").await;
    assert_eq!(Known::of(&state).users(), [&app.admin().await.id]);
    let (mut watcher, _) = watch(&ann, &topic, "").await;
    watcher.until("presence_diff").await;
    ann.patch(&topic.replace("snippets:", "/v1/snippets/"), &json!({ "title": "New" })).await.expect(200);
    assert_eq!(stream.next().await.kind, "snippet_updated");
}

async fn types_choose_among_the_events_of_presence_too(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    let mut diffs = ann.subscribe(&format!("topics={topic}&types=presence_diff")).await;
    assert_eq!(diffs.next().await.kind, "presence_diff");
    let (_bobs, state) = watch(&bob, &topic, "").await;
    assert!(state[&ann.id].is_object(), "who hears little is seen all the same");
    assert!(diffs.next().await.data["joins"][&bob.id].is_object());
}

async fn topics_that_are_added_and_removed_in_flight_count(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (one, two) = (topic_of(&ann, "public").await, topic_of(&ann, "public").await);
    let (mut watcher, state) = watch(&bob, &two, "&presence=observe").await;
    let mut known = Known::of(&state);
    let (mut stream, _) = watch(&ann, &one, "").await;
    let path = format!("/v1/events/{}", stream.connection());
    ann.patch(&path, &json!({ "add": [two], "remove": [one] })).await.expect(200);
    stream.until("topics").await;
    let state = stream.until("presence_state").await;
    assert_eq!((state.topic.as_deref(), Known::of(&state.data).users()), (Some(&*two), vec![&*ann.id]));
    assert_eq!(present(&ann, &one).await["count"], 0, "a topic that is left on purpose is left at once");
    until(&mut watcher, &mut known, |known| known.users() == [&ann.id]).await;
    ann.patch(&path, &json!({ "remove": [two] })).await.expect(200);
    until(&mut watcher, &mut known, |known| known.users().is_empty()).await;
}

async fn a_crowd_is_told_as_a_number_and_a_small_group_by_name_again(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let (mut watcher, state) = watch(app.admin().await, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let mut streams = Vec::new();
    for number in 0..3 {
        let person = app.user(&format!("p{number}")).await;
        streams.push(watch(&person, &topic, "").await);
    }
    until(&mut watcher, &mut known, |known| known.users().len() == 3).await;
    let fourth = app.user("p3").await;
    let mut last = fourth.subscribe(&format!("topics={topic}")).await;
    assert_eq!(last.next().await.data, json!({ "count": 4 }), "one too many: the state is a number");
    let told = watcher.next().await;
    assert_eq!((told.kind.as_str(), told.data), ("presence_count", json!({ "count": 4 })));
    assert_eq!(present(&ann, &topic).await, json!({ "count": 4, "presences": null }));
    last.disconnect();
    assert_eq!(watcher.next().await.data, json!({ "count": 3 }), "it does not flap at the edge");
    streams.pop();
    let back = watcher.next().await;
    assert_eq!((back.kind.as_str(), Known::of(&back.data).users().len()), ("presence_state", 2));
    assert_eq!(back.data, present(&ann, &topic).await["presences"]);
}

async fn pages_of_history_and_heads_leave_no_trace(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let path = format!("/v1/events?topics={topic}&since=earliest");
    ann.get(&path).header("Accept", "application/json").await.expect(200);
    ann.call(reqwest::Method::HEAD, &path).await.expect(200);
    assert_eq!(present(&ann, &topic).await, json!({ "count": 0, "presences": {} }));
}

async fn unknown_ways_to_take_part_are_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let id = topic.trim_start_matches("snippets:");
    for path in ["/v1/events?topics=snippets&presence=yes", &format!("/v1/snippets/{id}/events?presence=")] {
        let problem = ann.get(path).await.problem(400, "invalid_query");
        assert_eq!(problem.parameters(), ["presence"]);
    }
    let answer: Value = present(&ann, &topic).await;
    assert_eq!(answer["count"], 0);
}
