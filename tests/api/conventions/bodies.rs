//! Bodies that are not what a route wants.

use std::time::Duration;

use futures_util::stream;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    malformed_json_is_refused_with_line_and_column,
    bytes_that_are_no_text_are_malformed_json,
    json_nested_without_end_is_malformed,
    unknown_fields_are_refused_by_name,
    a_body_that_is_no_object_breaks_a_rule,
    every_violation_of_a_snippet_is_listed,
    every_violation_of_an_account_is_listed,
    every_violation_of_a_token_is_listed,
    every_violation_of_a_stream_token_is_listed,
    wrong_types_are_violations_like_any_other,
    every_violation_of_a_patch_is_listed,
    other_media_types_are_refused,
    json_may_name_its_charset,
    a_body_above_one_mebibyte_is_refused,
    a_body_without_a_declared_length_is_measured,
    a_body_of_one_mebibyte_is_read,
    who_sends_a_body_is_asked_first,
    a_body_that_does_not_arrive_is_refused with ["--body-timeout", "300ms"],
];

const MEBIBYTE: usize = 1024 * 1024;
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// Every route that reads a body.
async fn routes_with_bodies(person: &Persona) -> Vec<(Method, String)> {
    let posts = [
        "/v1/users",
        "/v1/sessions",
        "/v1/tokens",
        "/v1/stream-tokens",
        "/v1/snippets",
        "/v1/topics/custom:builds/events",
        "/v1/rooms",
        "/v1/notifications/read",
    ];
    let snippet = path_of(&person.has_snippet(json!({})).await);
    let room = super::path_of_room(person).await;
    let notifications = format!("/v1/users/{}/notifications", person.id);
    let message = format!("{room}/messages/{NIL}");
    let more = [format!("{room}/messages"), notifications].map(|path| (Method::POST, path));
    let lease = room.replace("/v1/rooms/", "/v1/presence/chat:");
    let puts = [format!("{room}/read"), format!("{room}/typing"), lease].map(|path| (Method::PUT, path));
    let patches = ["/v1/me".to_owned(), snippet, message, format!("/v1/notifications/{NIL}"), room];
    let posts = posts.map(|path| (Method::POST, path.to_owned()));
    let patches = patches.map(|path| (Method::PATCH, path));
    posts.into_iter().chain(more).chain(puts).chain(patches).collect()
}

async fn malformed_json_is_refused_with_line_and_column(app: &TestApp) {
    let ann = app.user("ann").await;
    for (method, path) in routes_with_bodies(&ann).await {
        for body in ["{\n  \"title\": nope\n}", "{\n  \"title\": \"open", "{\n  \"a\": 1,}"] {
            let call = ann.call(method.clone(), &path).body("application/json", body);
            let problem = call.await.problem(400, "malformed_json");
            assert!(problem.detail().contains("line 2"), "{problem:?}");
            assert!(problem.detail().contains("column"), "{problem:?}");
        }
        let empty = ann.call(method.clone(), &path).body("application/json", "");
        empty.await.problem(400, "malformed_json");
    }
}

async fn bytes_that_are_no_text_are_malformed_json(app: &TestApp) {
    let ann = app.user("ann").await;
    for body in [&b"{\"title\": \"\xff\"}"[..], b"{\"title\": \"\\ud800\"}", b"\xef\xbb\xbf{}", b"\0"] {
        let call = ann.call(Method::POST, "/v1/snippets").body("application/json", body);
        call.await.problem(400, "malformed_json");
    }
}

async fn json_nested_without_end_is_malformed(app: &TestApp) {
    let ann = app.user("ann").await;
    for body in ["[".repeat(100_000), format!("{{\"data\": {}", "{\"a\":".repeat(100_000))] {
        for path in ["/v1/snippets", "/v1/topics/custom:builds/events"] {
            let call = ann.call(Method::POST, path).body("application/json", body.clone());
            call.await.problem(400, "malformed_json");
        }
    }
}

async fn unknown_fields_are_refused_by_name(app: &TestApp) {
    let ann = app.user("ann").await;
    for (method, path) in routes_with_bodies(&ann).await {
        let call = ann.call(method, &path).json(&json!({ "titel": "a typo", "colour": "red" }));
        let problem = call.await.problem(400, "unknown_field");
        assert_eq!(problem.pointers(), ["/colour", "/titel"], "{path}");
    }
}

async fn a_body_that_is_no_object_breaks_a_rule(app: &TestApp) {
    let ann = app.user("ann").await;
    for (method, path) in routes_with_bodies(&ann).await {
        for body in [json!([]), json!("text"), json!(5), json!(null), json!(["title"])] {
            let call = ann.call(method.clone(), &path).json(&body);
            let problem = call.await.problem(422, "validation_failed");
            assert_eq!(problem.pointers(), [""], "{path} {body}");
        }
    }
}

async fn assert_violations(person: &Persona, path: &str, body: Value, pointers: &[&str]) {
    let problem = person.post(path, &body).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), pointers, "{body}");
}

async fn every_violation_of_a_snippet_is_listed(app: &TestApp) {
    let ann = app.user("ann").await;
    let wrong = json!({
        "content": "",
        "language": "Rust!",
        "tags": ["UPPER", "fine", "with blank"],
        "visibility": "secret",
    });
    let pointers = ["/content", "/language", "/tags/0", "/tags/2", "/title", "/visibility"];
    assert_violations(&ann, "/v1/snippets", wrong, &pointers).await;
    assert_violations(&ann, "/v1/snippets", json!({}), &["/content", "/title"]).await;
}

async fn every_violation_of_an_account_is_listed(app: &TestApp) {
    let anonymous = app.anonymous();
    let wrong = json!({ "email": "no address", "name": "", "password": "short" });
    let pointers = ["/email", "/name", "/password"];
    assert_violations(&anonymous, "/v1/users", wrong, &pointers).await;
    assert_violations(&anonymous, "/v1/users", json!({}), &pointers).await;
    assert_violations(&anonymous, "/v1/sessions", json!({}), &["/email", "/password"]).await;
}

async fn every_violation_of_a_token_is_listed(app: &TestApp) {
    let ann = app.user("ann").await;
    let wrong = json!({ "name": "", "scopes": ["read", "fly"], "expires_at": "tomorrow" });
    assert_violations(&ann, "/v1/tokens", wrong, &["/expires_at", "/name", "/scopes/1"]).await;
    assert_violations(&ann, "/v1/tokens", json!({}), &["/name", "/scopes"]).await;
}

async fn every_violation_of_a_stream_token_is_listed(app: &TestApp) {
    let ann = app.user("ann").await;
    let wrong = json!({ "topics": ["snippets", "no topic"], "ttl_s": 3601 });
    assert_violations(&ann, "/v1/stream-tokens", wrong, &["/topics/1", "/ttl_s"]).await;
}

async fn wrong_types_are_violations_like_any_other(app: &TestApp) {
    let ann = app.user("ann").await;
    let wrong = json!({ "title": 5, "content": null, "language": [], "tags": ["fine", 7], "visibility": {} });
    let pointers = ["/content", "/language", "/tags/1", "/title", "/visibility"];
    assert_violations(&ann, "/v1/snippets", wrong, &pointers).await;
    let wrong = json!({ "title": "T", "content": "C", "tags": "rust" });
    assert_violations(&ann, "/v1/snippets", wrong, &["/tags"]).await;
    let wrong = json!({ "email": 1, "name": 2, "password": true });
    assert_violations(&ann, "/v1/users", wrong, &["/email", "/name", "/password"]).await;
    let wrong = json!({ "name": {}, "scopes": "read", "expires_at": 5 });
    assert_violations(&ann, "/v1/tokens", wrong, &["/expires_at", "/name", "/scopes"]).await;
    let wrong = json!({ "topics": "snippets", "ttl_s": "60" });
    assert_violations(&ann, "/v1/stream-tokens", wrong, &["/topics", "/ttl_s"]).await;
    let wrong = json!({ "type": 1, "ephemeral": "yes", "data": {} });
    assert_violations(&ann, "/v1/topics/custom:builds/events", wrong, &["/ephemeral", "/type"]).await;
}

async fn every_violation_of_a_patch_is_listed(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({})).await);
    let wrong =
        json!({ "title": null, "content": "", "language": "Rust!", "tags": ["a b"], "visibility": 3 });
    let problem = ann.patch(&path, &wrong).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/content", "/language", "/tags/0", "/title", "/visibility"]);
    let wrong = json!({ "name": "", "password": "short" });
    let problem = ann.patch("/v1/me", &wrong).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/name", "/password"]);
}

async fn other_media_types_are_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let body = "{\"title\": \"T\", \"content\": \"C\"}";
    for (method, path) in routes_with_bodies(&ann).await {
        for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"] {
            let call = ann.call(method.clone(), &path).body(media_type, body);
            call.await.problem(415, "unsupported_media_type");
        }
        let call = ann.call(method, &path).untyped_body(body);
        call.await.problem(415, "unsupported_media_type");
    }
    let merge_patch = ann.call(Method::POST, "/v1/snippets").body("application/merge-patch+json", body);
    merge_patch.await.problem(415, "unsupported_media_type");
}

async fn json_may_name_its_charset(app: &TestApp) {
    let ann = app.user("ann").await;
    let body = "{\"title\": \"T\", \"content\": \"C\"}";
    for media_type in ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        ann.call(Method::POST, "/v1/snippets").body(media_type, body).await.expect(201);
    }
}

/// A correct snippet in exactly this many bytes, most of which are blanks.
fn snippet_of_size(size: usize) -> String {
    let snippet = "{\"title\": \"T\", \"content\": \"C\"}";
    format!("{}{snippet}", " ".repeat(size - snippet.len()))
}

async fn a_body_above_one_mebibyte_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    for (method, path) in routes_with_bodies(&ann).await {
        let call = ann.call(method, &path).body("application/json", snippet_of_size(MEBIBYTE + 1));
        call.await.problem(413, "too_large");
    }
}

async fn a_body_without_a_declared_length_is_measured(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = snippet_of_size(MEBIBYTE + 1).into_bytes();
    let pieces: Vec<_> =
        snippet.chunks(64 * 1024).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let body = Body::wrap_stream(stream::iter(pieces));
    ann.call(Method::POST, "/v1/snippets").body("application/json", body).await.problem(413, "too_large");
}

async fn a_body_of_one_mebibyte_is_read(app: &TestApp) {
    let ann = app.user("ann").await;
    let call = ann.call(Method::POST, "/v1/snippets").body("application/json", snippet_of_size(MEBIBYTE));
    call.await.expect(201);
}

async fn who_sends_a_body_is_asked_first(app: &TestApp) {
    let ann = app.user("ann").await;
    let (anonymous, reader) = (app.anonymous(), ann.with_scopes(&["read"]).await);
    let routes = routes_with_bodies(&ann).await;
    for (method, path) in routes.iter().filter(|(_, path)| !["/v1/users", "/v1/sessions"].contains(&&**path))
    {
        for (media_type, body) in [("text/plain", "x"), ("application/json", "{"), ("application/json", "{}")]
        {
            let call = anonymous.call(method.clone(), path).body(media_type, body);
            call.await.problem(401, "unauthenticated");
            if path != "/v1/stream-tokens" {
                let call = reader.call(method.clone(), path).body(media_type, body);
                call.await.problem(403, "insufficient_scope");
            }
        }
    }
}

async fn a_body_that_does_not_arrive_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let bodies =
        [("/v1/snippets", "application/json", "{\"title\":"), ("/v1/imports", "application/zip", "PK")];
    for (path, media_type, beginning) in bodies {
        let mut socket =
            TcpStream::connect(app.url().trim_start_matches("http://")).await.expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {}\r\n\
             Content-Type: {media_type}\r\nContent-Length: 100\r\n\r\n{beginning}",
            ann.token()
        );
        socket.write_all(head.as_bytes()).await.expect("the beginning is sent");
        let mut answer = String::new();
        // To the end of the connection: nobody waits for the rest.
        let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_string(&mut answer)).await;
        read.expect("the connection ends").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
        assert!(answer.contains("\"status\":408"), "{answer}");
    }
}
