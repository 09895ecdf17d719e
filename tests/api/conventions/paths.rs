//! Paths that lead nowhere.

use reqwest::Method;
use serde_json::json;

use crate::support::{TestApp, on_both_databases};

on_both_databases![an_unknown_path_is_not_found, a_malformed_id_is_not_found, an_unknown_id_is_not_found,];

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

async fn an_unknown_path_is_not_found(app: &TestApp) {
    let anonymous = app.anonymous();
    let odd =
        ["/v1/%00", "/v1/%ff", "/v1/snippets%2F", "/%2e%2e/etc/passwd", "/v1/<script>", "/v1/\u{1F980}"];
    let plain = ["/v1", "/v1/nothing", "/v2/snippets", "/V1/SNIPPETS", "/index.html", "/problems/unheard_of"];
    for path in plain.into_iter().chain(odd) {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            if path.starts_with("/problems") && method != Method::GET {
                continue;
            }
            anonymous.call(method, path).await.problem(404, "not_found");
        }
    }
}

async fn a_malformed_id_is_not_found(app: &TestApp) {
    let ann = app.user("ann").await;
    let ids = ["1", "not-an-id", "%ff", "%00", "01890000-0000-7000-8000-00000000000g", "me", "%F0%9F%A6%80"];
    for id in ids {
        for path in
            [format!("/v1/snippets/{id}"), format!("/v1/snippets/{id}/raw"), format!("/v1/users/{id}")]
        {
            ann.get(&path).await.problem(404, "not_found");
        }
        ann.patch(&format!("/v1/snippets/{id}"), &json!({ "title": "T" })).await.problem(404, "not_found");
        ann.patch(&format!("/v1/events/{id}"), &json!({ "add": [] })).await.problem(404, "not_found");
        ann.delete(&format!("/v1/snippets/{id}")).await.problem(404, "not_found");
        ann.delete(&format!("/v1/tokens/{id}")).await.problem(404, "not_found");
    }
}

async fn an_unknown_id_is_not_found(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = format!("/v1/snippets/{UNKNOWN}");
    for path in [snippet.clone(), format!("{snippet}/raw"), format!("{snippet}/events")] {
        ann.get(&path).await.problem(404, "not_found");
    }
    ann.get(&format!("/v1/users/{UNKNOWN}")).await.problem(404, "not_found");
    ann.patch(&snippet, &json!({ "title": "T" })).await.problem(404, "not_found");
    ann.patch(&format!("/v1/events/{UNKNOWN}"), &json!({ "add": [] })).await.problem(404, "not_found");
    ann.delete(&snippet).await.problem(404, "not_found");
    ann.delete(&format!("/v1/tokens/{UNKNOWN}")).await.problem(404, "not_found");
}
