//! Lists: which snippets, in which order, and what of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::titles;
use crate::support::{TestApp, on_both_databases, path_of};

on_both_databases![
    each_order_is_kept,
    titles_are_ordered_by_their_code_points,
    filters_choose_and_combine,
    an_owner_is_an_id_or_oneself,
    a_list_shows_the_public_ones,
    owners_and_admins_see_all_of_an_owner,
    list_items_have_an_excerpt_in_place_of_the_content,
    an_excerpt_has_200_characters,
    the_content_is_included_on_demand,
    an_empty_list_is_a_page_too,
    public_reading_can_be_switched_off with ["--public-read", "false"],
];

async fn each_order_is_kept(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut paths = Vec::new();
    for title in ["b", "c", "a"] {
        app.clock.advance(Duration::from_secs(1));
        paths.push(path_of(&ann.has_snippet(json!({ "title": title })).await));
    }
    app.clock.advance(Duration::from_secs(1));
    ann.patch(&paths[0], &json!({ "tags": ["changed"] })).await.expect(200);
    for (sort, order) in [
        ("created_at", ["b", "c", "a"]),
        ("-created_at", ["a", "c", "b"]),
        ("updated_at", ["c", "a", "b"]),
        ("-updated_at", ["b", "a", "c"]),
        ("title", ["a", "b", "c"]),
    ] {
        assert_eq!(titles(&ann, &format!("sort={sort}")).await, order, "{sort}");
    }
    assert_eq!(titles(&ann, "").await, ["a", "c", "b"]);
}

async fn titles_are_ordered_by_their_code_points(app: &TestApp) {
    let ann = app.user("ann").await;
    let ordered = ["\u{0}", " a", "-b", "B", "_", "a", "a b", "ab", "e", "z", "é", "\u{1F980}"];
    for title in ordered.iter().rev() {
        ann.has_snippet(json!({ "title": title })).await;
    }
    assert_eq!(titles(&ann, "sort=title").await, ordered);
}

async fn filters_choose_and_combine(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for (person, title, language, tags) in [
        (&ann, "a1", "rust", json!(["web"])),
        (&ann, "a2", "go", json!(["web", "cli"])),
        (&bob, "b1", "rust", json!(["cli"])),
        (&bob, "b2", "rust", json!(["web", "cli"])),
    ] {
        person.has_snippet(json!({ "title": title, "language": language, "tags": tags })).await;
    }
    let by_ann = format!("owner={}", ann.id);
    for (query, found) in [
        ("language=rust", &["a1", "b1", "b2"][..]),
        ("language=cobol", &[]),
        ("tag=web", &["a1", "a2", "b2"]),
        ("tag=we", &[]),
        (&by_ann, &["a1", "a2"]),
        ("owner=me", &["b1", "b2"]),
        ("language=rust&tag=web", &["a1", "b2"]),
        (&format!("{by_ann}&language=rust&tag=web"), &["a1"]),
        (&format!("{by_ann}&tag=cli"), &["a2"]),
    ] {
        for sort in ["title", "created_at", "updated_at"] {
            assert_eq!(titles(&bob, &format!("{query}&sort={sort}")).await, found, "{query} {sort}");
        }
    }
}

async fn an_owner_is_an_id_or_oneself(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({})).await;
    assert_eq!(titles(&ann, "owner=01890000-0000-7000-8000-000000000000").await, Vec::<String>::new());
    app.anonymous().get("/v1/snippets?owner=me").await.problem(401, "unauthenticated");
}

async fn a_list_shows_the_public_ones(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for visibility in ["public", "unlisted", "private"] {
        ann.has_snippet(json!({ "title": visibility, "visibility": visibility, "tags": ["x"] })).await;
    }
    let by_ann = format!("owner={}", ann.id);
    for query in ["", "sort=title", "language=text", "tag=x", &by_ann, &format!("{by_ann}&tag=x")] {
        for person in [&bob, &app.anonymous()] {
            assert_eq!(titles(person, query).await, ["public"], "{query}");
        }
    }
    for person in [&ann, app.admin().await] {
        assert_eq!(titles(person, "").await, ["public"]);
    }
}

async fn owners_and_admins_see_all_of_an_owner(app: &TestApp) {
    let (ann, admin) = (app.user("ann").await, app.admin().await);
    for visibility in ["public", "unlisted", "private"] {
        ann.has_snippet(json!({ "title": visibility, "visibility": visibility, "tags": ["x"] })).await;
    }
    let by_ann = format!("owner={}", ann.id);
    let all = ["private", "public", "unlisted"];
    for (person, owner) in [(&ann, "owner=me"), (&ann, &*by_ann), (admin, &*by_ann)] {
        for filter in ["", "&language=text", "&tag=x"] {
            assert_eq!(titles(person, &format!("{owner}&sort=title{filter}")).await, all, "{owner}{filter}");
        }
    }
    let script = admin.with_scopes(&["read"]).await;
    assert_eq!(titles(&script, &by_ann).await, ["public"]);
}

async fn list_items_have_an_excerpt_in_place_of_the_content(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut expected = ann.has_snippet(json!({ "content": "short", "tags": ["b", "a"] })).await;
    let fields = expected.as_object_mut().expect("an object");
    fields.remove("content");
    fields.insert("excerpt".to_owned(), json!("short"));
    let page = ann.get("/v1/snippets").await.expect(200).json();
    assert_eq!(page, json!({ "data": [expected], "next_cursor": null }));
}

async fn an_excerpt_has_200_characters(app: &TestApp) {
    let ann = app.user("ann").await;
    for character in ["a", "é", "\u{1F980}", "\u{0}", "\\", "\n"] {
        for length in [199, 200, 201, 1000] {
            ann.has_snippet(json!({ "content": character.repeat(length) })).await;
            let page = ann.get("/v1/snippets?limit=1").await.expect(200).json();
            assert_eq!(page["data"][0]["excerpt"], character.repeat(length.min(200)));
        }
    }
}

async fn the_content_is_included_on_demand(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = ann.has_snippet(json!({ "content": "long ".repeat(1000) })).await;
    for query in ["include=content", "include=content&sort=title", "include=content&owner=me"] {
        let page = ann.get(&format!("/v1/snippets?{query}")).await.expect(200).json();
        assert_eq!(page["data"], json!([snippet]));
    }
}

async fn an_empty_list_is_a_page_too(app: &TestApp) {
    let answer = app.anonymous().get("/v1/snippets").await.expect(200);
    assert_eq!(answer.json(), json!({ "data": [], "next_cursor": null }));
    assert_eq!(answer.find_header("link"), None);
}

async fn public_reading_can_be_switched_off(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({})).await);
    for path in
        ["/v1/snippets", &path, &format!("{path}/raw"), "/v1/events?topics=snippets", "/v1/snippets/events"]
    {
        app.anonymous().get(path).await.problem(401, "unauthenticated");
        bob.get(path).await.expect(200);
    }
    assert_ne!(bob.get("/v1/snippets").await.json()["data"], Value::Array(Vec::new()));
}
