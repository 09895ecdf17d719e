//! Methods: the wrong ones, and those which every path has that answers `GET`.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::paths_with_get;
use crate::support::{Answer, TestApp, on_both_databases, path_of};

on_both_databases![
    a_wrong_method_is_refused_with_those_that_are_right,
    head_answers_what_get_answers_without_the_body,
    head_and_get_are_refused_alike,
    options_names_the_methods,
];

fn allowed(answer: &Answer) -> BTreeSet<String> {
    answer.header("allow").split(',').map(|method| method.trim().to_owned()).collect()
}

async fn a_wrong_method_is_refused_with_those_that_are_right(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let wrong = [
        (Method::PUT, "/v1/snippets", &["GET", "HEAD", "OPTIONS", "POST"][..]),
        (Method::DELETE, "/v1/snippets", &["GET", "HEAD", "OPTIONS", "POST"]),
        (Method::POST, &snippet, &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]),
        (Method::POST, "/v1/me", &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]),
        (Method::GET, "/v1/sessions", &["OPTIONS", "POST"]),
        (Method::GET, "/v1/sessions/current", &["DELETE", "OPTIONS"]),
        (Method::GET, "/v1/stream-tokens", &["OPTIONS", "POST"]),
        (Method::HEAD, "/v1/users", &["OPTIONS", "POST"]),
        (Method::TRACE, "/v1/events", &["GET", "HEAD", "OPTIONS"]),
        (Method::DELETE, "/healthz", &["GET", "HEAD", "OPTIONS"]),
        (Method::POST, "/openapi.json", &["GET", "HEAD", "OPTIONS"]),
        // It would fit the pattern of a snippet's path, which knows these methods.
        (Method::DELETE, "/v1/snippets/events", &["GET", "HEAD", "OPTIONS"]),
        (Method::PATCH, "/v1/snippets/events", &["GET", "HEAD", "OPTIONS"]),
        (Method::POST, "/docs", &["GET", "HEAD", "OPTIONS"]),
        (Method::POST, "/docs/", &["GET", "HEAD", "OPTIONS"]),
    ];
    for (method, path, methods) in wrong {
        let answer = ann.call(method.clone(), path).await.expect(405);
        assert_eq!(allowed(&answer), methods.iter().map(ToString::to_string).collect(), "{method} {path}");
        if method != Method::HEAD {
            answer.problem(405, "method_not_allowed");
        }
    }
}

async fn head_answers_what_get_answers_without_the_body(app: &TestApp) {
    let ann = app.user("ann").await;
    for path in paths_with_get(&ann).await {
        let get = ann.get(&path).await.expect(200);
        let head = ann.call(Method::HEAD, &path).await.expect(200);
        assert!(head.body.is_empty(), "{head}");
        for name in ["content-type", "etag", "link", "cache-control", "vary"] {
            assert_eq!(head.find_header(name), get.find_header(name), "{name} of {path}");
        }
    }
}

async fn head_and_get_are_refused_alike(app: &TestApp) {
    let anonymous = app.anonymous();
    for path in ["/v1/me", "/v1/nothing", "/v1/snippets/1", "/v1/snippets?limit=0", "/v1/events?topics=-"] {
        let get = anonymous.get(path).await;
        let head = anonymous.call(Method::HEAD, path).await.expect(get.status.as_u16());
        assert_eq!(head.header("content-type"), "application/problem+json", "{head}");
        assert!(head.body.is_empty(), "{head}");
    }
}

async fn options_names_the_methods(app: &TestApp) {
    let ann = app.user("ann").await;
    for path in paths_with_get(&ann).await {
        let answer = app.anonymous().call(Method::OPTIONS, &path).await;
        assert!(answer.status.is_success(), "{answer}");
        let methods = allowed(&answer);
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert!(methods.contains(method), "{answer}");
        }
    }
}
