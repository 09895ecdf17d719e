//! Who administers an installation, as named from outside while its server runs.

use serde_json::json;

use crate::support::{Persona, TestApp, on_both_databases, path_of, run_to_its_end};

on_both_databases![
    another_administrator_is_named_and_the_first_one_leaves,
    who_is_no_administrator_any_more_sees_no_more_than_others,
    what_cannot_be_is_one_clear_line,
];

/// Runs the command beside the server: its exit code, and what it said on standard error.
async fn give(app: &TestApp, email: &str, role: &str) -> (Option<i32>, String) {
    let url = app.database_url();
    let arguments = ["role", email, role, "--log", "error", "--database-url", &url].map(str::to_owned);
    let run = move || run_to_its_end(&arguments.each_ref().map(String::as_str), &[]);
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

fn done() -> (Option<i32>, String) {
    (Some(0), String::new())
}

async fn role(whose: &Persona) -> (String, i64) {
    let me = whose.get("/v1/me").await.expect(200).json();
    (me["role"].as_str().expect("a role").to_owned(), me["version"].as_i64().expect("a version"))
}

async fn another_administrator_is_named_and_the_first_one_leaves(app: &TestApp) {
    let (ann, ben) = (app.user("ann").await, app.user("ben").await);
    let private = path_of(&ben.has_snippet(json!({ "visibility": "private" })).await);
    ann.get(&private).await.problem(404, "not_found");
    app.admin().await.delete("/v1/me").await.problem(409, "conflict");
    assert_eq!(give(app, "ANN@example.org", "admin").await, done());
    assert_eq!(role(&ann).await, ("admin".to_owned(), 2));
    ann.get(&private).await.expect(200);
    assert_eq!(give(app, &ann.email, "admin").await, done());
    assert_eq!(role(&ann).await, ("admin".to_owned(), 2), "who is one stays one");
    app.admin().await.delete("/v1/me").await.expect(204);
}

async fn who_is_no_administrator_any_more_sees_no_more_than_others(app: &TestApp) {
    let (ann, ben) = (app.user("ann").await, app.user("ben").await);
    let private = path_of(&ben.has_snippet(json!({ "visibility": "private" })).await);
    assert_eq!(give(app, &ann.email, "admin").await, done());
    let (script, phone) = (ann.with_scopes(&["read", "admin"]).await, ann.sign_in().await);
    let mut streams = Vec::new();
    for one in [&ann, &script, &phone] {
        one.get(&private).await.expect(200);
        streams.push(one.subscribe("topics=snippets").await);
    }
    let mut bens = ben.subscribe("topics=snippets").await;
    assert_eq!(give(app, &ann.email, "member").await, done());
    for one in [&ann, &script, &phone] {
        one.get(&private).await.problem(401, "unauthenticated");
    }
    for mut stream in streams {
        assert_eq!(stream.until("closing").await.data, json!({ "reason": "credential_revoked" }));
        stream.ended().await;
    }
    let ann = ann.sign_in().await;
    assert_eq!(role(&ann).await.0, "member");
    ann.get(&private).await.problem(404, "not_found");
    assert_eq!(give(app, &ann.email, "member").await, done());
    ann.get("/v1/me").await.expect(200);
    ben.has_snippet(json!({})).await;
    bens.until("snippet_created").await;
}

async fn what_cannot_be_is_one_clear_line(app: &TestApp) {
    let (ann, admin) = (app.user("ann").await, app.admin().await);
    for (email, wish, told) in [
        ("nobody@example.org", "admin", "nobody@example.org: nobody here has this e-mail address"),
        ("nobody", "admin", "nobody: it must be an e-mail address"),
        (&admin.email, "member", "admin@example.org: this is the last administrator"),
        (&ann.email, "owner", "there is no role `owner`"),
    ] {
        let (code, said) = give(app, email, wish).await;
        assert!(code == Some(2) && said.contains(told), "`{told}` is not said: {code:?} {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
    }
    assert_eq!((role(admin).await, role(&ann).await), (("admin".to_owned(), 1), ("member".to_owned(), 1)));
    ann.delete("/v1/me").await.expect(204);
    let (code, said) = give(app, &admin.email, "member").await;
    assert!(code == Some(2) && said.contains("the last administrator"), "nobody else is there: {said}");
}
