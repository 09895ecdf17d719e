//! `/v1/snippets/{id}/raw`: the content alone.

use reqwest::Method;
use serde_json::json;

use crate::support::{TestApp, on_both_databases, path_of};

on_both_databases![
    the_content_comes_as_plain_text,
    no_browser_takes_it_for_a_page,
    it_is_as_private_as_the_snippet,
];

async fn the_content_comes_as_plain_text(app: &TestApp) {
    let ann = app.user("ann").await;
    for content in ["fn main() {}\n", "\u{0}\r\n\u{feff}\u{1F980}", "<script>alert(1)</script>"] {
        let path = path_of(&ann.has_snippet(json!({ "content": content })).await);
        let answer = app.anonymous().get(&format!("{path}/raw")).await.expect(200);
        assert_eq!(answer.header("content-type").to_ascii_lowercase(), "text/plain; charset=utf-8");
        assert_eq!(answer.header("etag"), "\"1\"");
        assert_eq!(answer.text(), content);
    }
}

async fn no_browser_takes_it_for_a_page(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = path_of(&ann.has_snippet(json!({ "content": "<script>alert(1)</script>" })).await);
    let answer = app.anonymous().get(&format!("{path}/raw")).header("Accept", "text/html").await.expect(200);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

async fn it_is_as_private_as_the_snippet(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = format!("{}/raw", ann.has_snippet_that_is("private").await);
    ann.get(&path).await.expect(200);
    app.admin().await.get(&path).await.expect(200);
    bob.get(&path).await.problem(404, "not_found");
    bob.call(Method::HEAD, &path).await.expect(404);
    app.anonymous().get(&path).await.problem(404, "not_found");
}
