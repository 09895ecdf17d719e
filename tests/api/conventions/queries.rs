//! Query parameters and cursors.

use serde_json::{Value, json};

use crate::support::{Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    a_bad_parameter_is_refused_by_name,
    every_bad_parameter_is_listed,
    unknown_parameters_are_refused_everywhere,
    an_empty_pair_is_no_parameter,
    a_limit_is_from_1_to_100,
    a_forged_cursor_is_refused,
    a_cursor_belongs_to_the_order_it_was_made_in,
];

async fn assert_bad(person: &Persona, path: &str, parameters: &[&str]) {
    let problem = person.get(path).await.problem(400, "invalid_query");
    assert_eq!(problem.parameters(), parameters, "{path}");
}

async fn a_bad_parameter_is_refused_by_name(app: &TestApp) {
    let ann = app.user("ann").await;
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("sort=size", "sort"),
        ("sort=-title%20desc", "sort"),
        ("owner=nobody", "owner"),
        ("include=everything", "include"),
        ("cursor=forged", "cursor"),
        ("cursor=", "cursor"),
        ("colour=red", "colour"),
        ("Limit=5", "Limit"),
    ] {
        assert_bad(&ann, &format!("/v1/snippets?{query}"), &[parameter]).await;
    }
    for (query, parameter) in [
        ("topics=", "topics"),
        ("topics=no%20topic", "topics"),
        ("topics=snippets,", "topics"),
        ("topics=snippets:1", "topics"),
        ("topics=custom:UPPER", "topics"),
        ("topics=snippets&types=No", "types"),
        ("topics=snippets&types=", "types"),
        ("topics=snippets&types=snippet_created,", "types"),
        ("topics=snippets&echo=maybe", "echo"),
        ("topics=snippets&wait=61", "wait"),
        ("topics=snippets&topic=snippets", "topic"),
    ] {
        assert_bad(&ann, &format!("/v1/events?{query}"), &[parameter]).await;
    }
    assert_bad(&ann, "/v1/events", &["topics"]).await;
    assert_bad(&ann, "/v1/events?topics=snippets,no%20topic,-", &["topics", "topics"]).await;
}

async fn every_bad_parameter_is_listed(app: &TestApp) {
    let query = "limit=0&sort=size&include=all&colour=red";
    let parameters = ["colour", "include", "limit", "sort"];
    assert_bad(&app.anonymous(), &format!("/v1/snippets?{query}"), &parameters).await;
}

async fn unknown_parameters_are_refused_everywhere(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let user = format!("/v1/users/{}", ann.id);
    for path in ["/v1/me", "/v1/tokens", "/v1/snippets", "/v1/snippets/events", &snippet, &user] {
        assert_bad(&ann, &format!("{path}?colour=red"), &["colour"]).await;
    }
    assert_bad(&ann, &format!("{snippet}/raw?colour=red"), &["colour"]).await;
    let new = json!({ "title": "T", "content": "C" });
    ann.post("/v1/snippets?dry_run=true", &new).await.problem(400, "invalid_query");
    ann.patch(&format!("{snippet}?dry_run=true"), &new).await.problem(400, "invalid_query");
    ann.delete(&format!("{snippet}?dry_run=true")).await.problem(400, "invalid_query");
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/problems/not_found"] {
        assert_bad(&app.anonymous(), &format!("{path}?colour=red"), &["colour"]).await;
    }
}

async fn an_empty_pair_is_no_parameter(app: &TestApp) {
    let ann = app.user("ann").await;
    for path in ["/v1/me", "/v1/snippets", "/v1/tokens", "/healthz"] {
        for query in ["?", "?&", "?&&"] {
            ann.get(&format!("{path}{query}")).await.expect(200);
        }
    }
}

async fn a_limit_is_from_1_to_100(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..21 {
        ann.has_snippet(json!({})).await;
    }
    for (query, n_items) in [("limit=1", 1), ("limit=21", 21), ("limit=100", 21), ("sort=-created_at", 20)] {
        let page = ann.get(&format!("/v1/snippets?{query}")).await.expect(200).json();
        assert_eq!(page["data"].as_array().map(Vec::len), Some(n_items), "{query}");
        assert_eq!(page["next_cursor"].is_string(), n_items < 21, "{query}");
    }
}

/// A genuine cursor of the snippets in this order.
async fn cursor_of(person: &Persona, sort: &str) -> String {
    for title in ["One", "Two"] {
        person.has_snippet(json!({ "title": title })).await;
    }
    let page = person.get(&format!("/v1/snippets?limit=1&sort={sort}")).await.expect(200).json();
    page["next_cursor"].as_str().expect("there is a second page").to_owned()
}

async fn a_forged_cursor_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let genuine = cursor_of(&ann, "-created_at").await;
    ann.get(&format!("/v1/snippets?cursor={genuine}")).await.expect(200);
    let middle = genuine.len() / 2;
    let other = if genuine.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &genuine[..middle], &genuine[middle + 1..]);
    let cut = &genuine[..genuine.len() - 4];
    let long = "A".repeat(4000);
    let double = format!("{genuine}{genuine}");
    for forged in ["x", "AAAA", "e30", "%00", "%F0%9F%A6%80", cut, &changed, &double, &long] {
        assert_bad(&ann, &format!("/v1/snippets?cursor={forged}"), &["cursor"]).await;
    }
}

async fn a_cursor_belongs_to_the_order_it_was_made_in(app: &TestApp) {
    let ann = app.user("ann").await;
    for (made, used) in [("title", "-created_at"), ("-created_at", "title"), ("created_at", "-created_at")] {
        let cursor = cursor_of(&ann, made).await;
        assert_bad(&ann, &format!("/v1/snippets?sort={used}&cursor={cursor}"), &["cursor"]).await;
        let page = ann.get(&format!("/v1/snippets?sort={made}&cursor={cursor}")).await.expect(200).json();
        assert_ne!(page["data"], Value::Array(Vec::new()));
    }
}
