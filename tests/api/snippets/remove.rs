//! Deleting a snippet.

use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases, path_of};

on_both_databases![a_deleted_snippet_is_gone_everywhere, foreign_snippets_are_deleted_by_the_admin_only,];

async fn a_deleted_snippet_is_gone_everywhere(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({ "tags": ["web"] })).await);
    let mut feed = app.anonymous().subscribe("topics=snippets").await;
    let answer = ann.delete(&path).await.expect(204);
    assert!(answer.body.is_empty(), "{answer}");
    feed.until("snippet_deleted").await; // On PostgreSQL the creation may get its place after the stream opened.
    for path in [path.clone(), format!("{path}/raw"), format!("{path}/events")] {
        ann.get(&path).await.problem(404, "not_found");
    }
    ann.patch(&path, &json!({ "title": "T" })).await.problem(404, "not_found");
    ann.delete(&path).await.problem(404, "not_found");
    for query in ["", "owner=me", "tag=web"] {
        let page = ann.get(&format!("/v1/snippets?{query}")).await.expect(200).json();
        assert_eq!(page["data"], Value::Array(Vec::new()), "{query}");
    }
}

async fn foreign_snippets_are_deleted_by_the_admin_only(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    bob.delete(&path).await.problem(403, "forbidden");
    app.anonymous().delete(&path).await.problem(401, "unauthenticated");
    app.admin().await.delete(&path).await.expect(204);
    ann.get(&path).await.problem(404, "not_found");
}
