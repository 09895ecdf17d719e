//! Changing a snippet by JSON Merge Patch.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, on_both_databases, path_of};

on_both_databases![
    a_patch_changes_what_it_names,
    each_patch_makes_a_version,
    null_brings_the_default_back,
    null_cannot_take_away_what_must_be_there,
    tags_are_replaced_as_a_whole,
    both_media_types_are_merge_patches,
    what_the_server_decides_cannot_be_patched,
    a_refused_patch_changes_nothing,
    a_snippet_made_private_disappears_for_others,
    a_snippet_made_public_appears,
    foreign_snippets_are_changed_by_the_admin_only,
];

async fn a_patch_changes_what_it_names(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = ann.has_snippet(json!({ "language": "rust", "tags": ["web"] })).await;
    app.clock.advance(Duration::from_secs(60));
    for (field, value) in [
        ("title", json!("Another title")),
        ("content", json!("other content")),
        ("language", json!("go")),
        ("tags", json!(["cli"])),
        ("visibility", json!("private")),
    ] {
        let before = ann.get(&path_of(&snippet)).await.json();
        let answer = ann.patch(&path_of(&snippet), &json!({ field: value })).await.expect(200);
        let mut expected = before.clone();
        expected[field] = value;
        expected["version"] = json!(before["version"].as_i64().expect("a number") + 1);
        expected["updated_at"] = json!(app.now());
        expected["views"] = answer.json()["views"].clone();
        assert_eq!(answer.json(), expected);
        assert_eq!(answer.json()["created_at"], snippet["created_at"]);
    }
}

async fn each_patch_makes_a_version(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    for version in 2..5 {
        let answer = ann.patch(&path, &json!({ "title": "The same title" })).await.expect(200);
        assert_eq!(answer.json()["version"], version);
        assert_eq!(answer.header("etag"), format!("\"{version}\""));
    }
}

async fn null_brings_the_default_back(app: &TestApp) {
    let ann = app.user("ann").await;
    let fields = json!({ "language": "rust", "tags": ["web"], "visibility": "private" });
    let path = path_of(&ann.has_snippet(fields).await);
    let nothing = json!({ "language": null, "tags": null, "visibility": null });
    let snippet = ann.patch(&path, &nothing).await.expect(200).json();
    assert_eq!(snippet["language"], "text");
    assert_eq!(snippet["tags"], json!([]));
    assert_eq!(snippet["visibility"], "public");
}

async fn null_cannot_take_away_what_must_be_there(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    let nothing = json!({ "title": null, "content": null, "language": null });
    let problem = ann.patch(&path, &nothing).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/content", "/title"]);
}

async fn tags_are_replaced_as_a_whole(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({ "tags": ["a", "b"] })).await);
    for (tags, found) in [(json!(["b", "c"]), ["", "b", "c"]), (json!([]), ["", "", ""])] {
        let snippet = ann.patch(&path, &json!({ "tags": tags })).await.expect(200).json();
        assert_eq!(snippet["tags"], tags);
        for (tag, is_found) in ["a", "b", "c"].iter().zip(found.map(|tag| !tag.is_empty())) {
            let page = ann.get(&format!("/v1/snippets?tag={tag}")).await.expect(200).json();
            assert_eq!(page["data"] != json!([]), is_found, "{tag}");
        }
    }
}

async fn both_media_types_are_merge_patches(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    for media_type in
        ["application/json", "application/merge-patch+json", "application/merge-patch+json; charset=utf-8"]
    {
        let patch = json!({ "title": media_type }).to_string();
        let answer = ann.call(Method::PATCH, &path).body(media_type, patch).await.expect(200);
        assert_eq!(answer.json()["title"], media_type);
    }
    let other = ann.call(Method::PATCH, &path).body("application/json-patch+json", "[]");
    other.await.problem(415, "unsupported_media_type");
}

async fn what_the_server_decides_cannot_be_patched(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    for field in ["id", "owner", "version", "views", "created_at", "updated_at", "excerpt"] {
        let problem = ann.patch(&path, &json!({ field: 1 })).await.problem(400, "unknown_field");
        assert_eq!(problem.pointers(), [format!("/{field}")]);
        let new = json!({ "title": "T", "content": "C", field: 1 });
        ann.post_snippet(&new).await.problem(400, "unknown_field");
    }
}

async fn a_refused_patch_changes_nothing(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = ann.has_snippet(json!({})).await;
    let wrong = json!({ "title": "Another title", "language": "Rust!" });
    ann.patch(&path_of(&snippet), &wrong).await.problem(422, "validation_failed");
    let mut after = ann.get(&path_of(&snippet)).await.expect(200).json();
    after["views"] = json!(0);
    assert_eq!(after, snippet);
}

async fn a_snippet_made_private_disappears_for_others(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    app.settled().await;
    let mut feed = bob.subscribe("topics=snippets").await;
    ann.patch(&path, &json!({ "visibility": "private", "title": "Secret" })).await.expect(200);
    let event = feed.next().await;
    assert_eq!(event.kind, "snippet_deleted");
    assert!(!event.envelope.to_string().contains("Secret"), "{event:?}");
    bob.get(&path).await.problem(404, "not_found");
    assert_eq!(bob.get("/v1/snippets").await.json()["data"], Value::Array(Vec::new()));
    ann.get(&path).await.expect(200);
}

async fn a_snippet_made_public_appears(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = ann.has_snippet_that_is("private").await;
    let mut feed = bob.subscribe("topics=snippets").await;
    ann.patch(&path, &json!({ "visibility": "public" })).await.expect(200);
    let event = feed.next().await;
    assert_eq!(event.data["visibility"], "public", "{event:?}");
    bob.get(&path).await.expect(200);
    assert_eq!(bob.get("/v1/snippets").await.json()["data"].as_array().map(Vec::len), Some(1));
}

async fn foreign_snippets_are_changed_by_the_admin_only(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    bob.patch(&path, &json!({ "title": "Mine" })).await.problem(403, "forbidden");
    app.anonymous().patch(&path, &json!({ "title": "Mine" })).await.problem(401, "unauthenticated");
    let snippet = app.admin().await.patch(&path, &json!({ "title": "Moderated" })).await.expect(200).json();
    assert_eq!(snippet["title"], "Moderated");
    assert_eq!(snippet["owner"]["id"], ann.id.as_str());
}
