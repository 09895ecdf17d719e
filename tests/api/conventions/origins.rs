//! CORS: which pages of other origins may read answers.

use reqwest::Method;

use crate::support::{Answer, TestApp, on_both_databases};

on_both_databases![
    an_allowed_origin_may_read_answers with ["--cors-origins", "https://app.example,https://other.example"],
    an_allowed_origin_may_read_refusals with ["--cors-origins", "https://app.example"],
    an_allowed_origin_may_read_that_it_was_limited
        with ["--cors-origins", "https://app.example", "--rate-limit", "3"],
    a_preflight_allows_what_clients_send with ["--cors-origins", "https://app.example"],
    other_origins_may_read_nothing with ["--cors-origins", "https://app.example"],
    no_origin_is_allowed_unless_configured,
];

fn assert_readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), origin, "{answer}");
    assert_eq!(answer.header("access-control-allow-credentials"), "true", "{answer}");
    assert!(answer.header("vary").to_ascii_lowercase().contains("origin"), "{answer}");
}

async fn an_allowed_origin_may_read_answers(app: &TestApp) {
    for origin in ["https://app.example", "https://other.example"] {
        for path in ["/v1/snippets", "/v1/events?topics=snippets"] {
            let answer = app.anonymous().get(path).header("Origin", origin).await.expect(200);
            assert_readable(&answer, origin);
            let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
            for name in ["etag", "link", "location", "retry-after", "snippetbox-cursor", "x-request-id"] {
                assert!(exposed.contains(name), "{name} is not exposed: {answer}");
            }
        }
    }
}

async fn an_allowed_origin_may_read_refusals(app: &TestApp) {
    let origin = "https://app.example";
    for (method, path, status) in [
        (Method::GET, "/v1/nothing", 404),
        (Method::GET, "/v1/me", 401),
        (Method::GET, "/v1/snippets?limit=0", 400),
        (Method::GET, "/v1/events?topics=custom:mine", 401),
        (Method::PUT, "/v1/snippets", 405),
        (Method::POST, "/v1/users", 415),
    ] {
        let answer = app.anonymous().call(method, path).header("Origin", origin).await.expect(status);
        assert_readable(&answer, origin);
    }
}

async fn an_allowed_origin_may_read_that_it_was_limited(app: &TestApp) {
    let origin = "https://app.example";
    for _ in 0..20 {
        let answer = app.anonymous().get("/v1/snippets").header("Origin", origin).await;
        assert_readable(&answer, origin);
        if answer.status == 429 {
            return;
        }
    }
    panic!("the limit was not reached");
}

async fn a_preflight_allows_what_clients_send(app: &TestApp) {
    let sent = "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, \
                snippetbox-connection-id, x-request-id";
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let call =
            app.anonymous().call(Method::OPTIONS, "/v1/snippets").header("Origin", "https://app.example");
        let call = call.header("Access-Control-Request-Method", method);
        let answer = call.header("Access-Control-Request-Headers", sent).await;
        assert!(answer.status.is_success(), "{answer}");
        assert_readable(&answer, "https://app.example");
        assert!(answer.header("access-control-allow-methods").contains(method), "{answer}");
        let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
        for name in sent.split(", ") {
            assert!(allowed.contains(name), "{name} is not allowed: {answer}");
        }
    }
}

async fn other_origins_may_read_nothing(app: &TestApp) {
    for origin in ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null"] {
        let answer = app.anonymous().get("/v1/snippets").header("Origin", origin).await;
        assert_eq!(answer.find_header("access-control-allow-origin"), None, "{answer}");
        let call = app.anonymous().call(Method::OPTIONS, "/v1/snippets").header("Origin", origin);
        let answer = call.header("Access-Control-Request-Method", "POST").await;
        assert_eq!(answer.find_header("access-control-allow-origin"), None, "{answer}");
    }
}

async fn no_origin_is_allowed_unless_configured(app: &TestApp) {
    let answer = app.anonymous().get("/v1/snippets").header("Origin", "https://app.example").await;
    assert_eq!(answer.find_header("access-control-allow-origin"), None, "{answer}");
}
