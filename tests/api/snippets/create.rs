//! Creating a snippet and reading it back.

use serde_json::{Value, json};

use crate::support::{Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    creating_answers_the_whole_snippet_and_where_it_is,
    what_is_not_given_has_a_default,
    the_snippet_is_read_back_by_anyone,
    ids_follow_the_order_of_creation,
    any_text_comes_back_as_it_was_sent,
    a_title_has_1_to_200_characters,
    the_content_has_1_byte_to_512_kibibytes,
    a_language_is_a_lower_case_identifier,
    tags_are_at_most_ten_short_words,
    creating_needs_a_credential,
];

async fn creating_answers_the_whole_snippet_and_where_it_is(app: &TestApp) {
    let ann = app.user("ann").await;
    let wish = json!({
        "title": "Hello",
        "content": "fn main() {}\n",
        "language": "rust",
        "tags": ["web", "1-2"],
        "visibility": "unlisted",
    });
    let answer = ann.post_snippet(&wish).await.expect(201);
    let expected = json!({
        "id": answer.id(),
        "title": "Hello",
        "content": "fn main() {}\n",
        "language": "rust",
        "tags": ["web", "1-2"],
        "visibility": "unlisted",
        "owner": { "id": ann.id, "name": "ann" },
        "version": 1,
        "views": 0,
        "created_at": app.now(),
        "updated_at": app.now(),
    });
    assert_eq!(answer.json(), expected);
    assert!(answer.header("location").ends_with(&format!("/v1/snippets/{}", answer.id())), "{answer}");
    assert_eq!(answer.header("etag"), "\"1\"");
}

async fn what_is_not_given_has_a_default(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = ann.has_snippet(json!({})).await;
    assert_eq!(snippet["language"], "text");
    assert_eq!(snippet["tags"], json!([]));
    assert_eq!(snippet["visibility"], "public");
}

async fn the_snippet_is_read_back_by_anyone(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let snippet = ann.has_snippet(json!({ "tags": ["b", "a"] })).await;
    for person in [&ann, &bob, &app.anonymous()] {
        let answer = person.get(&path_of(&snippet)).await.expect(200);
        assert_eq!(answer.header("etag"), "\"1\"");
        let mut read = answer.json();
        read["views"] = json!(0);
        assert_eq!(read, snippet);
    }
}

async fn ids_follow_the_order_of_creation(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(ann.has_snippet(json!({})).await["id"].as_str().expect("an id").to_owned());
    }
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(ids.iter().all(|id| id.as_bytes()[14] == b'7'), "{ids:?}");
}

async fn any_text_comes_back_as_it_was_sent(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut events = ann.subscribe("topics=snippets").await;
    for text in [
        "\u{0}",
        "a\u{0}b\\u0000\\\\u0000\\0",
        "\r\n \r \n\n data: x\n\nid: 1",
        "\u{85}\u{2028}\u{2029}\u{feff}",
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} e\u{301} \u{202E}",
        "\\ \" ' ; -- %s $1 {} </script>",
        "\u{10FFFF}\u{FFFF}\u{1}\u{7f}",
        " \t leading and trailing \t ",
    ] {
        let snippet = ann.has_snippet(json!({ "title": text, "content": text })).await;
        assert_eq!([&snippet["title"], &snippet["content"]], [text, text]);
        let read = ann.get(&path_of(&snippet)).await.json();
        assert_eq!([&read["title"], &read["content"]], [text, text]);
        let event = events.next().await;
        assert_eq!([&event.data["title"], &event.data["content"]], [text, text]);
    }
}

async fn assert_violation(person: &Persona, fields: Value, pointer: &str) {
    let mut snippet = json!({ "title": "T", "content": "C" });
    for (name, value) in fields.as_object().expect("fields") {
        snippet[name] = value.clone();
    }
    let problem = person.post_snippet(&snippet).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), [pointer], "{fields}");
}

async fn a_title_has_1_to_200_characters(app: &TestApp) {
    let ann = app.user("ann").await;
    for title in ["a".to_owned(), "a".repeat(200), "\u{1F980}".repeat(200)] {
        assert_eq!(ann.has_snippet(json!({ "title": title })).await["title"], title);
    }
    for title in [String::new(), "a".repeat(201), "\u{1F980}".repeat(201)] {
        assert_violation(&ann, json!({ "title": title }), "/title").await;
    }
}

async fn the_content_has_1_byte_to_512_kibibytes(app: &TestApp) {
    let ann = app.user("ann").await;
    let limit = 512 * 1024;
    for content in ["a".to_owned(), "a".repeat(limit), "é".repeat(limit / 2), "\u{1F980}".repeat(limit / 4)]
    {
        assert_eq!(ann.has_snippet(json!({ "content": content })).await["content"], content);
    }
    for content in [String::new(), "a".repeat(limit + 1), format!("a{}", "é".repeat(limit / 2))] {
        assert_violation(&ann, json!({ "content": content }), "/content").await;
    }
}

async fn a_language_is_a_lower_case_identifier(app: &TestApp) {
    let ann = app.user("ann").await;
    for language in ["c", "rust", "python3", "objective-c"] {
        assert_eq!(ann.has_snippet(json!({ "language": language })).await["language"], language);
    }
    for language in ["", "Rust", "r ust", "rust\n", "r\u{fc}st", "rust\u{0}", &"a".repeat(200)] {
        assert_violation(&ann, json!({ "language": language }), "/language").await;
    }
}

async fn tags_are_at_most_ten_short_words(app: &TestApp) {
    let ann = app.user("ann").await;
    let ten: Vec<String> = (0..10).map(|number| format!("{}{number}", "a".repeat(31))).collect();
    assert_eq!(ann.has_snippet(json!({ "tags": ten })).await["tags"], json!(ten));
    let eleven: Vec<String> = (0..11).map(|number| format!("tag-{number}")).collect();
    assert_violation(&ann, json!({ "tags": eleven }), "/tags").await;
    assert_violation(&ann, json!({ "tags": ["twice", "twice"] }), "/tags").await;
    for tag in ["", "A", "a b", "a_b", "a\n", "\u{e9}", &"a".repeat(33)] {
        assert_violation(&ann, json!({ "tags": ["fine", tag] }), "/tags/1").await;
    }
}

async fn creating_needs_a_credential(app: &TestApp) {
    let wish = json!({ "title": "T", "content": "C" });
    app.anonymous().post_snippet(&wish).await.problem(401, "unauthenticated");
}
