//! Pages: each snippet once, whatever is created meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    pages_have_every_snippet_once_while_others_are_created,
    pages_have_every_snippet_once_though_all_keys_are_equal,
    pages_go_on_though_the_last_seen_snippet_is_deleted,
    the_link_header_leads_to_the_next_page,
    filters_hold_on_every_page,
    the_last_page_is_known_as_such,
];

const ORDERS: [&str; 5] = ["created_at", "-created_at", "updated_at", "-updated_at", "title"];

fn ids(page: &Value) -> Vec<String> {
    let snippets = page["data"].as_array().expect("a page has data");
    snippets.iter().map(|snippet| snippet["id"].as_str().expect("an id").to_owned()).collect()
}

/// Walks through all pages, and does something between each two.
async fn walk(person: &Persona, query: &str, between: impl AsyncFn(usize)) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for number in 0..100 {
        let page = person.get(&format!("/v1/snippets?{query}{cursor}")).await.expect(200).json();
        seen.extend(ids(&page));
        let Some(next) = page["next_cursor"].as_str() else { return seen };
        cursor = format!("&cursor={next}");
        between(number).await;
    }
    panic!("{query} has no end: {seen:?}");
}

async fn has_snippets(person: &Persona, titles: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut created = BTreeSet::new();
    for title in titles {
        let snippet = person.has_snippet(json!({ "title": title })).await;
        created.insert(snippet["id"].as_str().expect("an id").to_owned());
    }
    created
}

fn assert_once(seen: &[String], expected: &BTreeSet<String>, query: &str) {
    let distinct: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "{query} shows a snippet twice");
    assert!(distinct.is_superset(expected), "{query} leaves out {:?}", expected.difference(&distinct));
}

async fn pages_have_every_snippet_once_while_others_are_created(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for sort in ORDERS {
        let titles = ["m", "c", "x", "a", "k", "z", "b"].into_iter().map(ToOwned::to_owned);
        let created = has_snippets(&ann, titles).await;
        let query = format!("limit=2&sort={sort}&owner={}", ann.id);
        let seen = walk(&bob, &query, async |number| {
            app.clock.advance(Duration::from_millis(1));
            let create =
                async |title: &str| drop(has_snippets(&ann, [format!("{title}{number}")].into_iter()).await);
            if number < 5 {
                join_all(["a", "k", "zz"].map(create)).await;
            }
        })
        .await;
        assert_once(&seen, &created, &query);
    }
}

async fn pages_have_every_snippet_once_though_all_keys_are_equal(app: &TestApp) {
    let ann = app.user("ann").await;
    let created = has_snippets(&ann, (0..11).map(|_| "The same title".to_owned())).await;
    for sort in ORDERS {
        for limit in [1, 2, 3, 10, 11] {
            let query = format!("limit={limit}&sort={sort}");
            let seen = walk(&ann, &query, async |_| {}).await;
            assert_eq!(seen.len(), 11, "{query}");
            assert_once(&seen, &created, &query);
        }
    }
}

async fn pages_go_on_though_the_last_seen_snippet_is_deleted(app: &TestApp) {
    let ann = app.user("ann").await;
    has_snippets(&ann, (0..6).map(|number| format!("Title {number}"))).await;
    let first = ann.get("/v1/snippets?limit=3&sort=title").await.expect(200).json();
    ann.delete(&path_of(&first["data"][2])).await.expect(204);
    let cursor = first["next_cursor"].as_str().expect("there is a second page");
    let second =
        ann.get(&format!("/v1/snippets?limit=3&sort=title&cursor={cursor}")).await.expect(200).json();
    assert_eq!(second["data"][0]["title"], "Title 3");
    assert_eq!(second["data"].as_array().map(Vec::len), Some(3));
}

/// The path in `Link: <…>; rel="next"`.
fn next_link(answer: &Answer) -> Option<String> {
    let link = answer.find_header("link")?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    assert_eq!(parameters.trim_start_matches([';', ' ']), "rel=\"next\"");
    let start = target.find("/v1/")?;
    Some(target[start..].to_owned())
}

async fn the_link_header_leads_to_the_next_page(app: &TestApp) {
    let ann = app.user("ann").await;
    let created = has_snippets(&ann, (0..7).map(|number| format!("Title {number}"))).await;
    let (mut seen, mut path) =
        (Vec::new(), "/v1/snippets?limit=3&sort=title&include=content&owner=me".to_owned());
    loop {
        let answer = ann.get(&path).await.expect(200);
        let page = answer.json();
        assert!(page["data"][0]["content"].is_string(), "{answer}");
        seen.extend(ids(&page));
        let Some(next) = next_link(&answer) else { break };
        assert!(next.contains(page["next_cursor"].as_str().expect("there is a next page")), "{answer}");
        path = next;
    }
    assert_eq!(seen.len(), 7);
    assert_once(&seen, &created, "the link");
}

async fn filters_hold_on_every_page(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let mut expected = BTreeSet::new();
    for number in 0..12 {
        let (person, language) = if number % 2 == 0 { (&ann, "rust") } else { (&bob, "go") };
        let visibility = if number % 3 == 0 { "private" } else { "public" };
        let fields = json!({ "language": language, "visibility": visibility, "tags": [language] });
        let snippet = person.has_snippet(fields).await;
        if language == "rust" && visibility == "public" {
            expected.insert(snippet["id"].as_str().expect("an id").to_owned());
        }
    }
    for filter in ["language=rust".to_owned(), "tag=rust".to_owned(), format!("owner={}", ann.id)] {
        for sort in ORDERS {
            let query = format!("limit=1&sort={sort}&{filter}");
            let seen = walk(&bob, &query, async |_| {}).await;
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected, "{query}");
        }
    }
}

async fn the_last_page_is_known_as_such(app: &TestApp) {
    let ann = app.user("ann").await;
    has_snippets(&ann, (0..4).map(|number| format!("Title {number}"))).await;
    let first = ann.get("/v1/snippets?limit=2").await.expect(200).json();
    let cursor = first["next_cursor"].as_str().expect("there is a second page");
    let second = ann.get(&format!("/v1/snippets?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(second.json()["next_cursor"], Value::Null);
    assert_eq!(second.find_header("link"), None);
}
