//! Views: counted once per user or address per hour, and written behind.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{Persona, TestApp, eventually, on_both_databases, path_of};

on_both_databases![
    a_user_is_counted_once_per_hour,
    an_address_is_counted_once_per_hour,
    many_viewers_at_once_are_all_counted,
    lists_and_refusals_are_no_views,
    views_change_neither_the_version_nor_the_time,
    views_survive_a_restart,
];

/// Waits until the list, whose reading is no view, says so.
async fn assert_views(person: &Persona, n_views: i64) {
    eventually(&format!("{n_views} views"), async || {
        let page = person.get("/v1/snippets").await.expect(200).json();
        let counted = page["data"][0]["views"].as_i64().expect("a number");
        assert!(counted <= n_views, "{counted} views instead of {n_views}");
        (counted == n_views).then_some(())
    })
    .await;
}

async fn see(person: &Persona, path: &str) {
    for _ in 0..3 {
        person.get(path).await.expect(200);
    }
}

async fn a_user_is_counted_once_per_hour(app: &TestApp) {
    let (ann, bob, carol) = (app.user("ann").await, app.user("bob").await, app.user("carol").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    see(&bob, &path).await;
    assert_views(&ann, 1).await;
    see(&bob.sign_in().await, &path).await;
    see(&carol, &path).await;
    assert_views(&ann, 2).await;
    app.clock.advance(Duration::from_secs(3601));
    see(&bob, &path).await;
    assert_views(&ann, 3).await;
}

async fn an_address_is_counted_once_per_hour(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    see(&app.anonymous(), &path).await;
    assert_views(&ann, 1).await;
    app.clock.advance(Duration::from_secs(3601));
    see(&app.anonymous(), &path).await;
    assert_views(&ann, 2).await;
}

async fn many_viewers_at_once_are_all_counted(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    for name in ["bob", "carol", "dave", "erin"] {
        let person = app.user(name).await;
        futures_util::future::join_all((0..5).map(|_| see(&person, &path))).await;
    }
    assert_views(&ann, 4).await;
}

async fn lists_and_refusals_are_no_views(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    bob.get("/v1/snippets?include=content").await.expect(200);
    bob.call(Method::OPTIONS, &path).await;
    bob.patch(&path, &json!({ "title": "Mine" })).await.problem(403, "forbidden");
    see(&app.user("carol").await, &path).await;
    assert_views(&ann, 1).await;
}

async fn views_change_neither_the_version_nor_the_time(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let snippet = ann.has_snippet(json!({})).await;
    app.clock.advance(Duration::from_secs(60));
    see(&bob, &path_of(&snippet)).await;
    assert_views(&ann, 1).await;
    let answer = bob.get(&path_of(&snippet)).await.expect(200);
    assert_eq!(answer.header("etag"), "\"1\"");
    assert_eq!(answer.json()["updated_at"], snippet["updated_at"]);
}

async fn views_survive_a_restart(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    see(&bob, &path).await;
    app.restart_with(&[]).await;
    assert_views(&ann, 1).await;
}
