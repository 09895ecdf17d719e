//! Headers of every answer: its id, its cursor, its encoding.

use std::collections::BTreeSet;

use serde_json::json;

use super::paths_with_get;
use crate::support::{TestApp, eventually, on_both_databases, path_of};

on_both_databases![
    a_sane_request_id_is_taken_over,
    a_request_without_an_id_is_given_one,
    an_insane_request_id_is_replaced,
    reading_state_tells_the_position_in_the_log,
    the_position_in_the_log_moves_with_a_change,
    json_is_compressed_as_the_client_likes,
    streams_are_never_compressed,
    no_answer_names_the_program,
    a_failure_says_nothing_of_the_inside,
    what_is_answered_to_credentials_is_private,
    what_the_client_refuses_to_accept_is_told,
];

async fn a_sane_request_id_is_taken_over(app: &TestApp) {
    let anonymous = app.anonymous();
    for id in ["abc-123", "01890000-0000-7000-8000-000000000000", "a.b_c-D"] {
        for path in ["/v1/snippets", "/v1/nothing", "/healthz", "/v1/me", "/v1/events?topics=snippets"] {
            let answer = anonymous.get(path).header("X-Request-Id", id).await;
            assert_eq!(answer.header("x-request-id"), id, "{answer}");
        }
    }
}

async fn a_request_without_an_id_is_given_one(app: &TestApp) {
    let anonymous = app.anonymous();
    let mut ids = BTreeSet::new();
    for path in ["/v1/snippets", "/v1/snippets", "/v1/nothing", "/healthz", "/v1/me"] {
        let answer = anonymous.get(path).await;
        assert!(ids.insert(answer.header("x-request-id").to_owned()), "the same id twice: {answer}");
    }
    assert!(!ids.contains(""));
}

async fn an_insane_request_id_is_replaced(app: &TestApp) {
    let anonymous = app.anonymous();
    for id in ["", "two words", "<script>", "\"quoted\"", "caf\u{e9}", &"a".repeat(1000)] {
        let answer = anonymous.get("/v1/nothing").header("X-Request-Id", id).await;
        assert_ne!(answer.header("x-request-id"), id, "{answer}");
        answer.problem(404, "not_found");
    }
}

async fn reading_state_tells_the_position_in_the_log(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let user = format!("/v1/users/{}", ann.id);
    for path in ["/v1/snippets", "/v1/me", "/v1/tokens", &snippet, &format!("{snippet}/raw"), &user] {
        let answer = ann.get(path).await.expect(200);
        let cursor = answer.header("snippetbox-cursor").to_owned();
        assert!(cursor.contains('.'), "{answer}");
        ann.subscribe(&format!("topics=snippets&since={cursor}")).await.disconnect();
    }
}

async fn the_position_in_the_log_moves_with_a_change(app: &TestApp) {
    let ann = app.user("ann").await;
    let before = ann.get("/v1/snippets").await.header("snippetbox-cursor").to_owned();
    ann.has_snippet(json!({})).await;
    eventually("the position moves", async || {
        let answer = ann.get("/v1/snippets").await;
        (answer.header("snippetbox-cursor") != before).then_some(())
    })
    .await;
}

async fn json_is_compressed_as_the_client_likes(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({ "content": "fn main() {}\n".repeat(1000) })).await;
    let path = "/v1/snippets?include=content";
    let plain = ann.get(path).await.expect(200);
    assert_eq!(plain.find_header("content-encoding"), None);
    for (encoding, magic) in [("gzip", &b"\x1f\x8b"[..]), ("zstd", b"\x28\xb5\x2f\xfd"), ("br", b"")] {
        let answer = ann.get(path).header("Accept-Encoding", encoding).await.expect(200);
        assert_eq!(answer.header("content-encoding"), encoding);
        assert!(answer.header("vary").to_ascii_lowercase().contains("accept-encoding"), "{answer}");
        assert!(answer.body.starts_with(magic) && answer.body.len() < plain.body.len() / 2);
    }
}

async fn streams_are_never_compressed(app: &TestApp) {
    let ann = app.user("ann").await;
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let headers = [("Accept", accept), ("Accept-Encoding", "br, gzip, zstd")];
        let mut stream = ann.subscribe_with("topics=snippets", &headers).await;
        ann.has_snippet(json!({})).await;
        assert_eq!(stream.next().await.kind, "snippet_created");
    }
}

async fn no_answer_names_the_program(app: &TestApp) {
    let ann = app.user("ann").await;
    for path in paths_with_get(&ann).await {
        let answer = ann.get(&path).await;
        for name in ["server", "x-powered-by"] {
            assert_eq!(answer.find_header(name), None, "{answer}");
        }
    }
}

async fn a_failure_says_nothing_of_the_inside(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    app.execute("ALTER TABLE snippets RENAME TO elsewhere").await;
    for call in [
        ann.get("/v1/snippets"),
        ann.get(&path),
        ann.delete(&path),
        ann.post_snippet(&json!({ "title": "T", "content": "C" })),
    ] {
        let problem = call.await.problem(500, "internal");
        assert_eq!(problem.detail(), "The server made a mistake; the log knows more");
        let text = problem.body.to_string();
        for inside in ["snippets", "table", "relation", "sql", "SELECT"] {
            assert!(!text.contains(inside), "{text}");
        }
    }
}

async fn what_is_answered_to_credentials_is_private(app: &TestApp) {
    let ann = app.user("ann").await;
    for person in [&ann, &ann.with_cookie(ann.token())] {
        for path in ["/v1/me", "/v1/tokens", "/v1/snippets", "/v1/nothing"] {
            assert_eq!(person.get(path).await.header("cache-control"), "private", "{path}");
        }
    }
    assert_eq!(app.anonymous().get("/v1/snippets").await.find_header("cache-control"), None);
}

async fn what_the_client_refuses_to_accept_is_told(app: &TestApp) {
    let call = app.anonymous().get("/v1/snippets").header("Accept-Encoding", "identity;q=0, foo");
    call.await.problem(406, "not_acceptable");
}
