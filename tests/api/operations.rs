//! What operators, developers and monitoring look at.

use reqwest::Method;
use serde_json::json;

use crate::support::{TestApp, eventually, on_both_databases};

on_both_databases![
    a_running_server_is_alive_and_ready,
    metrics_count_requests,
    invented_methods_are_counted_together,
    metrics_tell_how_far_jobs_are,
    the_api_is_described,
    the_documentation_works_without_the_internet,
    every_problem_has_a_page,
    the_limit_on_requests_spares_monitoring with ["--rate-limit", "3"],
];

async fn a_running_server_is_alive_and_ready(app: &TestApp) {
    for path in ["/healthz", "/readyz"] {
        let answer = app.anonymous().get(path).await.expect(200);
        assert!(answer.header("content-type").starts_with("application/json"), "{answer}");
    }
}

async fn metrics_count_requests(app: &TestApp) {
    app.anonymous().get("/v1/snippets").await.expect(200);
    let answer = app.anonymous().get("/metrics").await.expect(200);
    assert!(answer.header("content-type").starts_with("text/plain"), "{answer}");
    let text = answer.text();
    assert!(text.contains("# TYPE"), "{text}");
    assert!(text.contains("/v1/snippets"), "{text}");
    // Most answers take less than a millisecond; the histogram tells them apart.
    let bucket = r#"snippetbox_request_seconds_bucket{method="GET",route="/v1/snippets",le="0.0001"}"#;
    assert!(text.contains(bucket), "{text}");
}

async fn metrics_tell_how_far_jobs_are(app: &TestApp) {
    let ann = app.user("ann").await;
    let told = async |expected: &[&str]| {
        eventually(&format!("the jobs are {expected:?}"), async || {
            let text = app.anonymous().get("/metrics").await.expect(200).text();
            let line = |what: &str| format!("\nsnippetbox_jobs{{kind=\"export\",status=\"{what}\n");
            expected.iter().all(|what| text.contains(&line(what))).then_some(())
        })
        .await;
    };
    told(&["completed\"} 0", "failed\"} 0", "queued\"} 0", "running\"} 0"]).await;
    let export = ann.post("/v1/exports", &json!({ "format": "zip" })).await.expect(202).id();
    told(&["completed\"} 1", "queued\"} 0", "running\"} 0"]).await;
    ann.delete(&format!("/v1/exports/{export}")).await.expect(204);
    told(&["completed\"} 0"]).await;
}

async fn invented_methods_are_counted_together(app: &TestApp) {
    let method = Method::from_bytes(b"INVENTED").expect("a method");
    app.anonymous().call(method, "/v1/snippets").await.problem(405, "method_not_allowed");
    let text = app.anonymous().get("/metrics").await.expect(200).text();
    assert!(text.contains("method=\"OTHER\"") && !text.contains("INVENTED"), "{text}");
}

async fn the_api_is_described(app: &TestApp) {
    let answer = app.anonymous().get("/openapi.json").await.expect(200);
    assert!(answer.header("content-type").starts_with("application/json"), "{answer}");
    let document = answer.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    for (path, method) in [
        ("/v1/users", "post"),
        ("/v1/sessions", "post"),
        ("/v1/sessions/current", "delete"),
        ("/v1/me", "patch"),
        ("/v1/users/{id}", "get"),
        ("/v1/tokens", "get"),
        ("/v1/tokens/{id}", "delete"),
        ("/v1/stream-tokens", "post"),
        ("/v1/snippets", "get"),
        ("/v1/snippets/{id}", "patch"),
        ("/v1/snippets/{id}/raw", "get"),
        ("/v1/events", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{method} {path} is not described");
    }
}

async fn the_documentation_works_without_the_internet(app: &TestApp) {
    let anonymous = app.anonymous();
    let answer = anonymous.get("/docs").await;
    assert!(answer.status == 200 || answer.status.is_redirection(), "{answer}");
    let answer = anonymous.get("/docs/").await.expect(200);
    assert!(answer.header("content-type").starts_with("text/html"), "{answer}");
    let page = answer.text();
    for part in page.split(['"', '\'']).filter(|part| !part.contains(['<', '>', ' '])) {
        assert!(!part.starts_with("http") && !part.starts_with("//"), "the page needs {part}");
        if [".js", ".css"].iter().any(|ending| part.ends_with(ending)) {
            anonymous.get(&format!("/docs/{}", part.trim_start_matches("./"))).await.expect(200);
        }
    }
}

async fn every_problem_has_a_page(app: &TestApp) {
    let anonymous = app.anonymous();
    for code in [
        "not_found",
        "method_not_allowed",
        "unauthenticated",
        "invalid_credentials",
        "forbidden",
        "insufficient_scope",
        "csrf",
        "conflict",
        "precondition_failed",
        "malformed_json",
        "unknown_field",
        "invalid_query",
        "validation_failed",
        "unsupported_media_type",
        "too_large",
        "idempotency_key_reused",
        "idempotency_in_progress",
        "rate_limited",
        "not_acceptable",
        "request_timeout",
    ] {
        let answer = anonymous.get(&format!("/problems/{code}")).await.expect(200);
        assert!(answer.header("content-type").starts_with("text/"), "{answer}");
        assert!(answer.text().contains(code), "{answer}");
    }
    let problem = anonymous
        .post("/v1/snippets", &json!({ "title": "T", "content": "C" }))
        .await
        .problem(401, "unauthenticated");
    let page = problem.body["type"].as_str().expect("a reference").to_owned();
    anonymous.get(&page).await.expect(200);
}

async fn the_limit_on_requests_spares_monitoring(app: &TestApp) {
    for _ in 0..20 {
        for path in ["/healthz", "/readyz", "/metrics"] {
            app.anonymous().get(path).await.expect(200);
        }
    }
}
