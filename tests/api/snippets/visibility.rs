//! Who may do what with whose snippet: every route, everybody, every visibility.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Call, Persona, TestApp, on_both_databases};

on_both_databases![
    everybody_may_do_what_the_table_says,
    a_private_snippet_looks_exactly_like_a_missing_one,
    events_of_a_private_snippet_reach_only_who_may_read_it,
];

const MISSING: &str = "/v1/snippets/01890000-0000-7000-8000-000000000000";

/// Everything that can be asked of one snippet, the last of which removes it.
fn calls(person: &Persona, path: &str) -> Vec<(&'static str, Call)> {
    let id = path.trim_start_matches("/v1/snippets/");
    vec![
        ("read", person.get(path)),
        ("read", person.call(Method::HEAD, path)),
        ("read", person.get(&format!("{path}/raw"))),
        ("read", person.call(Method::HEAD, &format!("{path}/raw"))),
        ("read", person.get(&format!("{path}/events"))),
        ("read", person.get(&format!("/v1/events?topics=snippets:{id}"))),
        ("read", person.get(&format!("/v1/events?topics=snippets:{id}&since=earliest"))),
        (
            "read",
            person.get(&format!("/v1/events?topics=snippets:{id}")).header("Accept", "application/json"),
        ),
        ("change", person.patch(path, &json!({ "title": "Changed" }))),
        ("delete", person.delete(path)),
    ]
}

fn status(action: &str, outcome: &str) -> u16 {
    match (action, outcome) {
        ("delete", "yes") => 204,
        (_, "yes") => 200,
        (_, "unauthenticated") => 401,
        (_, "forbidden") => 403,
        _ => 404,
    }
}

async fn everybody_may_do_what_the_table_says(app: &TestApp) {
    let (owner, stranger, anonymous) = (app.user("owner").await, app.user("stranger").await, app.anonymous());
    let admin = app.admin().await;
    for (person, visibility, reading, writing) in [
        (&anonymous, "public", "yes", "unauthenticated"),
        (&anonymous, "unlisted", "yes", "unauthenticated"),
        (&anonymous, "private", "not_found", "unauthenticated"),
        (&stranger, "public", "yes", "forbidden"),
        (&stranger, "unlisted", "yes", "forbidden"),
        (&stranger, "private", "not_found", "not_found"),
        (&owner, "public", "yes", "yes"),
        (&owner, "unlisted", "yes", "yes"),
        (&owner, "private", "yes", "yes"),
        (admin, "public", "yes", "yes"),
        (admin, "unlisted", "yes", "yes"),
        (admin, "private", "yes", "yes"),
    ] {
        let path = owner.has_snippet_that_is(visibility).await;
        for (action, call) in calls(person, &path) {
            let outcome = if action == "read" { reading } else { writing };
            let answer = call.await;
            let who = &person.name;
            assert_eq!(answer.status, status(action, outcome), "{who}, {visibility}, {action}: {answer}");
            if outcome != "yes" && !answer.body.is_empty() {
                answer.problem(status(action, outcome), outcome);
            }
        }
    }
}

/// What an answer says, apart from what names the request.
fn essence(answer: Answer) -> (u16, serde_json::Value) {
    let status = answer.status.as_u16();
    if answer.body.is_empty() {
        return (status, json!(null));
    }
    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    (status, json!([answer.problem(status, &code).without_request(), names]))
}

async fn a_private_snippet_looks_exactly_like_a_missing_one(app: &TestApp) {
    let (owner, stranger) = (app.user("owner").await, app.user("stranger").await);
    let private = owner.has_snippet_that_is("private").await;
    for person in [stranger, app.anonymous()] {
        for ((action, hidden), (_, missing)) in
            calls(&person, &private).into_iter().zip(calls(&person, MISSING))
        {
            assert_eq!(essence(hidden.await), essence(missing.await), "{action} by {:?}", person.name);
        }
    }
    owner.get(&private).await.expect(200);
}

async fn events_of_a_private_snippet_reach_only_who_may_read_it(app: &TestApp) {
    let (owner, stranger) = (app.user("owner").await, app.user("stranger").await);
    let feed = stranger.subscribe("topics=snippets").await;
    let private = owner.has_snippet_that_is("private").await;
    app.settled().await;
    let topic = format!("snippets:{}", private.trim_start_matches("/v1/snippets/"));
    let mut own = owner.subscribe(&format!("topics=snippets,{topic}&presence=off")).await;
    let denied = stranger.subscribe(&format!("topics=snippets,{topic}")).await;
    assert_eq!(denied.ready["denied"], json!([{ "topic": topic, "code": "not_found" }]));
    owner.patch(&private, &json!({ "title": "Secret" })).await.expect(200);
    owner.delete(&private).await.expect(204);
    owner.has_snippet(json!({ "title": "Public" })).await;
    assert_eq!(own.next().await.kind, "snippet_updated");
    assert_eq!(own.next().await.kind, "snippet_deleted");
    for mut stream in [denied, feed] {
        assert_eq!(stream.next().await.data["title"], "Public");
    }
}
