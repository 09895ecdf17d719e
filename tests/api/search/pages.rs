//! Pages of hits, and what a request must be like.

use std::collections::BTreeSet;

use serde_json::json;

use super::{encoded, search, titles_of};
use crate::support::{Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    pages_have_every_hit_once_while_others_are_written,
    pages_go_on_though_the_last_seen_hit_is_deleted,
    pages_end_at_what_is_worth_weighing,
    large_texts_make_short_pages,
    the_link_header_leads_to_the_next_page,
    a_cursor_belongs_to_its_query,
    what_is_wrong_with_a_request_is_told,
];

/// The titles on all pages, in order; something happens between each two.
async fn walk(person: &Persona, text: &str, limit: u32, between: impl AsyncFn(usize)) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for number in 0..400 {
        let page = search(person, text, &format!("&limit={limit}{cursor}")).await.expect(200).json();
        seen.extend(titles_of(&page));
        let Some(next) = page["next_cursor"].as_str() else { return seen };
        cursor = format!("&cursor={next}");
        between(number).await;
    }
    panic!("{text} has no end: {seen:?}");
}

/// Snippets of every worth: by title, tag, content, and within a word.
async fn has_snippets(person: &Persona, count: usize) -> BTreeSet<String> {
    for number in 0..count {
        let word = if number % 3 == 0 { "needle" } else { "hay" };
        let tags = if number % 4 == 0 { json!(["needle"]) } else { json!([]) };
        let content = if number % 5 == 0 { "anneedle" } else { "a needle" };
        let fields = json!({ "title": format!("{word} {number}"), "tags": tags, "content": content });
        person.has_snippet(fields).await;
    }
    let whole = super::search(person, "needle", "&limit=100").await.expect(200).json();
    titles_of(&whole).into_iter().collect()
}

async fn pages_have_every_hit_once_while_others_are_written(app: &TestApp) {
    let ann = app.user("ann").await;
    // More than are weighed, so that new ones could push old ones out.
    let created = has_snippets(&ann, 80).await;
    assert!((60..80).contains(&created.len()), "{created:?}");
    for limit in [7, 20] {
        let all = titles_of(&search(&ann, "needle", "&limit=100").await.expect(200).json());
        let seen = walk(&ann, "needle", limit, async |number| {
            for more in 0..if number < 3 { 10 } else { 0 } {
                let title = format!("new {limit} {number} {more}");
                ann.has_snippet(json!({ "title": title, "content": "a needle" })).await;
            }
        })
        .await;
        let known: Vec<String> = seen.iter().filter(|title| all.contains(*title)).cloned().collect();
        assert_eq!(known, all, "by {limit}");
        let distinct: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "by {limit}: {seen:?}");
    }
}

async fn pages_go_on_though_the_last_seen_hit_is_deleted(app: &TestApp) {
    let ann = app.user("ann").await;
    for number in 0..6 {
        ann.has_snippet(json!({ "title": format!("needle {number}") })).await;
    }
    let page = search(&ann, "needle", "&limit=2").await.expect(200).json();
    ann.delete(&path_of(&page["data"][1]["snippet"])).await.expect(204);
    let cursor = format!("&limit=2&cursor={}", page["next_cursor"].as_str().expect("there is more"));
    let page = search(&ann, "needle", &cursor).await.expect(200).json();
    assert_eq!(titles_of(&page), ["needle 3", "needle 2"]);
}

async fn large_texts_make_short_pages(app: &TestApp) {
    let ann = app.user("ann").await;
    let large = "needle ".repeat(500 * 1024 / 7);
    for number in 0..6 {
        ann.has_snippet(json!({ "title": format!("{number}"), "content": large })).await;
    }
    let page = search(&ann, "needle", "&limit=20").await.expect(200).json();
    assert_eq!(titles_of(&page), ["5", "4", "3", "2"], "2 MiB are the most that a page reads");
    assert_eq!(walk(&ann, "needle", 20, async |_| {}).await, ["5", "4", "3", "2", "1", "0"]);
}

async fn pages_end_at_what_is_worth_weighing(app: &TestApp) {
    let ann = app.user("ann").await;
    for number in 0..90 {
        ann.has_snippet(json!({ "title": format!("{number}"), "content": "needle" })).await;
    }
    let seen = walk(&ann, "needle", 30, async |_| {}).await;
    let newest: Vec<String> = (30..90).rev().map(|number: usize| number.to_string()).collect();
    assert_eq!(seen, newest);
}

async fn the_link_header_leads_to_the_next_page(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..3 {
        ann.has_snippet(json!({ "title": "a & b" })).await;
    }
    let first = search(&ann, "a & b", "&limit=2").await.expect(200);
    let link = first.header("link");
    let path = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).expect(link);
    let last = ann.get(path).await.expect(200);
    assert_eq!(titles_of(&last.json()), ["a & b"]);
    assert_eq!((last.find_header("link"), &last.json()["next_cursor"]), (None, &json!(null)));
}

async fn a_cursor_belongs_to_its_query(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..2 {
        ann.has_snippet(json!({ "title": "needle" })).await;
    }
    let page = search(&ann, "needle", "&limit=1").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let list = ann.get("/v1/snippets?limit=1").await.expect(200).json();
    let other = list["next_cursor"].as_str().expect("there is more");
    for (text, rest) in [
        ("needl", format!("&cursor={cursor}")),
        ("needle", format!("&language=text&cursor={cursor}")),
        ("needle", format!("&cursor={other}")),
        ("needle", "&cursor=x".to_owned()),
        ("n", "&cursor=x".to_owned()),
    ] {
        let problem = search(&ann, text, &rest).await.problem(400, "invalid_query");
        assert_eq!(problem.parameters(), ["cursor"], "{text}{rest}");
    }
    ann.get(&format!("/v1/snippets?cursor={cursor}")).await.problem(400, "invalid_query");
}

async fn what_is_wrong_with_a_request_is_told(app: &TestApp) {
    let ann = app.user("ann").await;
    let (long, longest) = ("é".repeat(1_001), "é".repeat(1_000));
    search(&ann, &longest, "").await.expect(200);
    for (query, parameters) in [
        ("", &["q"][..]),
        ("q=word&q=word", &["q"]),
        (&format!("q={}", encoded(&long)), &["q"]),
        ("q=word&limit=0", &["limit"]),
        (
            "q=word&limit=101&owner=nobody&language=Rust&tag=_&sort=title",
            &["language", "limit", "owner", "sort", "tag"],
        ),
    ] {
        let problem = ann.get(&format!("/v1/search?{query}")).await.problem(400, "invalid_query");
        assert_eq!(problem.parameters(), parameters, "{query}");
    }
}
