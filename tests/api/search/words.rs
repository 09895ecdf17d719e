//! What finds what, and what comes first.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use super::{search, titles, titles_of};
use crate::support::{Database, TestApp, eventually, on_both_databases, run};

on_both_databases![
    queries_find_what_they_should,
    title_is_above_tags_and_those_above_content,
    an_old_title_is_above_any_number_of_new_contents,
    the_newest_of_equals_comes_first,
    filters_choose_and_combine,
    below_two_characters_nothing_is_found,
    a_typo_is_looked_for_only_where_nothing_fits,
];

async fn queries_find_what_they_should(app: &TestApp) {
    let ann = app.user("ann").await;
    for (title, content) in [
        ("one", "fn main() {\n    let x = a.b();\n    println!(\"{}\", x->y);\n}"),
        ("two", "let cache: HashMap<String, Vec<u8>> = HashMap::new();"),
        ("three", "void parse_config_file(const char *path);"),
        ("four", "Die Größe des Puffers: größer als ÜBERALL"),
        ("five", "日本語の文字列 and \u{1F980} crab"),
        ("six", "connection.establish(timeout)"),
    ] {
        ann.has_snippet(json!({ "title": title, "content": content })).await;
    }
    for (query, expected) in [
        // Words, in any order, whatever their case; the last one begun.
        ("main", "one"),
        ("MAIN fn", "one"),
        ("println let fn", "one"),
        ("establish conn", "six"),
        ("conn", "six"),
        ("co", "three six"),
        ("conn establish", ""),
        ("conn timeout", ""),
        ("establish time", "six"),
        ("c", ""),
        // A word that something follows is whole, or else a piece of one.
        ("conn ", "six"),
        ("conn  timeout", ""),
        ("connection ", "six"),
        ("par(", ""),
        // Humps are words, and so are parts between underscores.
        ("hash", "two"),
        ("map string", "two"),
        ("hashmap", "two"),
        ("config path", "three"),
        ("parse_config", "three"),
        // Pieces of code, also from within words.
        ("fn main(", "one"),
        ("a.b()", "one"),
        ("x->y", "one"),
        ("->", "one"),
        ("{}", "one"),
        ("ashma", "two"),
        ("arse_conf", "three"),
        ("Vec<u8>", "two"),
        // What stands nowhere like this has its words, at least.
        ("b.a()", "one"),
        ("main(fn", "one"),
        ("b.q()", ""),
        // Typos: a character too many, too few, another one, one in another place.
        ("conection", "six"),
        ("connnection", "six"),
        ("cennection", "six"),
        ("conenction timeout", "six"),
        ("estabilsh", "six"),
        ("konektion", ""),
        // Beyond ASCII.
        ("größe", "four"),
        ("GRÖSSE", ""),
        ("überall", "four"),
        ("Puffrs", "four"),
        ("文字列", "five"),
        ("日本", "five"),
        ("\u{1F980} crab", "five"),
    ] {
        let mut found = titles(&ann, query).await;
        let order = ["one", "two", "three", "four", "five", "six"];
        found.sort_by_key(|title| order.iter().position(|known| known == title));
        assert_eq!(found.join(" "), expected, "{query}");
    }
}

async fn title_is_above_tags_and_those_above_content(app: &TestApp) {
    let ann = app.user("ann").await;
    for (title, tags, content) in [
        ("Iterator", json!([]), "x"),
        ("About iterators", json!([]), "x"),
        ("An iterator and more", json!([]), "x"),
        ("tagged", json!(["iterator"]), "x"),
        ("tagged with more", json!(["iterators"]), "x"),
        ("whole", json!([]), "an iterator"),
        ("begun", json!([]), "two iterators"),
    ] {
        ann.has_snippet(json!({ "title": title, "tags": tags, "content": content })).await;
    }
    let order = [
        "Iterator",
        "An iterator and more",
        "About iterators",
        "tagged",
        "tagged with more",
        "whole",
        "begun",
    ];
    assert_eq!(titles(&ann, "iterator").await, order);
}

async fn an_old_title_is_above_any_number_of_new_contents(app: &TestApp) {
    let ann = app.user("ann").await;
    for (title, tags) in [("The Needle", json!([])), ("tagged", json!(["needle"]))] {
        ann.has_snippet(json!({ "title": title, "tags": tags })).await;
    }
    for _ in 0..250 {
        ann.has_snippet(json!({ "title": "hay", "content": "a needle" })).await;
    }
    let found = titles(&ann, "needle").await;
    assert_eq!(found[..3], ["The Needle", "tagged", "hay"]);
    assert_eq!(found.len(), 20);
}

async fn the_newest_of_equals_comes_first(app: &TestApp) {
    let ann = app.user("ann").await;
    for title in ["first", "second", "third"] {
        app.clock.advance(Duration::from_secs(1));
        ann.has_snippet(json!({ "title": title, "content": "same" })).await;
    }
    assert_eq!(titles(&ann, "same").await, ["third", "second", "first"]);
}

async fn filters_choose_and_combine(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for (person, title, language, tags) in [
        (&ann, "a1", "rust", json!(["web"])),
        (&ann, "a2", "c++", json!(["web", "cli-tool"])),
        (&bob, "b1", "rust", json!(["cli-tool"])),
        (&bob, "b2", "rust", json!(["web", "cli-tool"])),
    ] {
        let fields = json!({ "title": title, "language": language, "tags": tags, "content": "common rust" });
        person.has_snippet(fields).await;
    }
    let by_ann = format!("&owner={}", ann.id);
    for (query, found) in [
        ("", &["b2", "b1", "a2", "a1"][..]),
        ("&language=rust", &["b2", "b1", "a1"]),
        ("&language=c%2B%2B", &["a2"]),
        ("&language=c", &[]),
        ("&tag=web", &["b2", "a2", "a1"]),
        ("&tag=cli-tool", &["b2", "b1", "a2"]),
        ("&tag=cli", &[]),
        (&by_ann, &["a2", "a1"]),
        ("&owner=me", &["b2", "b1"]),
        ("&language=rust&tag=web", &["b2", "a1"]),
        (&format!("{by_ann}&language=rust&tag=web"), &["a1"]),
    ] {
        for text in ["common", "com", "n rus", "ommon rus", "comomn"] {
            let page = search(&bob, text, query).await.expect(200).json();
            assert_eq!(titles_of(&page), found, "{text} {query}");
        }
    }
    search(&app.anonymous(), "common", "&owner=me").await.problem(401, "unauthenticated");
}

async fn below_two_characters_nothing_is_found(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({ "title": "a b" })).await;
    for text in ["", " ", "a", " a ", "\u{1F980}", "é"] {
        let page = search(&ann, text, "").await.expect(200).json();
        assert_eq!(
            (&page["data"], &page["next_cursor"], &page["q"]),
            (&json!([]), &json!(null), &json!(text))
        );
    }
    assert_eq!(titles(&ann, "a b").await, ["a b"]);
}

async fn a_typo_is_looked_for_only_where_nothing_fits(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({ "title": "recieve" })).await;
    assert_eq!(titles(&ann, "receive").await, ["recieve"]);
    ann.has_snippet(json!({ "title": "receive" })).await;
    assert_eq!(titles(&ann, "receive").await, ["receive"]);
}

/// Each commit adds a part to the index of SQLite, and each part costs every query.
#[test]
fn the_index_of_sqlite_is_kept_in_few_parts() {
    run(Database::Sqlite, &[], async |app| {
        let ann = app.user("ann").await;
        for number in 0..60 {
            ann.has_snippet(json!({ "title": "x", "content": format!("word{number}") })).await;
        }
        let mut conn = SqliteConnection::connect(&app.database_url()).await.expect("a connection");
        let parts = "SELECT count(DISTINCT segid) FROM search_terms_idx";
        eventually("there are at most three parts", async || {
            let parts: i64 = sqlx::query_scalar(parts).fetch_one(&mut conn).await.expect(parts);
            (parts <= 3).then_some(())
        })
        .await;
        assert_eq!(titles(&ann, "word7").await, ["x"]);
    });
}
