//! `ETag`, `If-None-Match` and `If-Match`.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{TestApp, on_both_databases, path_of};

on_both_databases![
    an_unchanged_snippet_is_not_sent_again,
    a_changed_snippet_is_sent_again,
    a_stale_version_is_neither_changed_nor_deleted,
    the_current_version_is_changed_and_deleted,
    of_many_changes_of_one_version_one_wins,
    a_missing_snippet_is_missing_whatever_the_condition,
    conditions_do_not_reveal_a_private_snippet,
];

async fn an_unchanged_snippet_is_not_sent_again(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    for known in ["\"1\"", "W/\"1\"", "\"7\", \"1\"", "\"7\",W/\"1\"", "*"] {
        for path in [path.clone(), format!("{path}/raw")] {
            let answer = ann.get(&path).header("If-None-Match", known).await.expect(304);
            assert!(answer.body.is_empty(), "{answer}");
            assert_eq!(answer.header("etag"), "\"1\"");
        }
    }
    for unknown in ["\"2\"", "\"11\"", "W/\"7\"", "\"7\", \"8\""] {
        ann.get(&path).header("If-None-Match", unknown).await.expect(200);
    }
}

async fn a_changed_snippet_is_sent_again(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    ann.patch(&path, &json!({ "title": "Another title" })).await.expect(200);
    let answer = ann.get(&path).header("If-None-Match", "\"1\"").await.expect(200);
    assert_eq!(answer.header("etag"), "\"2\"");
}

async fn a_stale_version_is_neither_changed_nor_deleted(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    ann.patch(&path, &json!({ "title": "Second" })).await.expect(200);
    for stale in ["\"1\"", "\"3\"", "\"1\", \"3\"", "W/\"2\""] {
        let patch = ann.patch(&path, &json!({ "title": "Third" })).header("If-Match", stale);
        patch.await.problem(412, "precondition_failed");
        ann.delete(&path).header("If-Match", stale).await.problem(412, "precondition_failed");
    }
    let snippet = ann.get(&path).await.expect(200).json();
    assert_eq!((&snippet["title"], &snippet["version"]), (&json!("Second"), &json!(2)));
}

async fn the_current_version_is_changed_and_deleted(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    for current in ["\"1\"", "\"7\", \"2\"", "*"] {
        let patch = ann.patch(&path, &json!({ "title": "Another title" })).header("If-Match", current);
        patch.await.expect(200);
    }
    ann.delete(&path).header("If-Match", "\"4\"").await.expect(204);
}

async fn of_many_changes_of_one_version_one_wins(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    let change = async |number: usize| {
        let patch = ann.patch(&path, &json!({ "title": format!("Title {number}") }));
        patch.header("If-Match", "\"1\"").await
    };
    let answers = join_all((0..8).map(change)).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    for answer in lost {
        answer.problem(412, "precondition_failed");
    }
    let after = ann.get(&path).await.json();
    assert_eq!((&after["version"], &after["title"]), (&json!(2), &won[0].json()["title"]));
}

async fn a_missing_snippet_is_missing_whatever_the_condition(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    ann.delete(&path).await.expect(204);
    ann.get(&path).header("If-None-Match", "*").await.problem(404, "not_found");
    ann.delete(&path).header("If-Match", "\"1\"").await.problem(404, "not_found");
}

async fn conditions_do_not_reveal_a_private_snippet(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = ann.has_snippet_that_is("private").await;
    for tag in ["\"1\"", "\"2\"", "*"] {
        bob.get(&path).header("If-None-Match", tag).await.problem(404, "not_found");
        let patch = bob.patch(&path, &json!({ "title": "Mine" })).header("If-Match", tag);
        patch.await.problem(404, "not_found");
        bob.delete(&path).header("If-Match", tag).await.problem(404, "not_found");
    }
}
