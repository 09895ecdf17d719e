//! `/v1/stream-tokens`: credentials for `EventSource`, in the query of a stream.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    a_stream_token_opens_streams_until_it_expires,
    a_stream_token_opens_the_sugared_paths,
    a_stream_token_opens_nothing_else,
    no_other_token_is_taken_from_the_query,
    a_stream_token_reaches_the_topics_it_was_made_for,
    a_stream_token_has_the_rights_of_its_maker,
    a_stream_token_may_stay_with_topics_not_yet_readable,
    a_stream_token_lives_a_second_to_an_hour,
    a_stream_token_ends_with_the_session_that_made_it,
    stream_tokens_need_a_credential,
];

async fn stream_token(person: &Persona, wish: Value) -> String {
    let answer = person.post("/v1/stream-tokens", &wish).await.expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()["token"].as_str().expect("the token is shown").to_owned()
}

async fn a_stream_token_opens_streams_until_it_expires(app: &TestApp) {
    let ann = app.user("ann").await;
    let token = stream_token(&ann, json!({ "ttl_s": 60 })).await;
    assert!(token.starts_with("sbx_"));
    let browser = app.anonymous();
    let query = format!("topics=snippets,custom:mine&access_token={token}");
    for _ in 0..3 {
        let stream = browser.subscribe(&query).await;
        assert_eq!(stream.ready["denied"], json!([]));
    }
    app.clock.advance(Duration::from_secs(61));
    browser.get(&format!("/v1/events?{query}")).await.problem(401, "unauthenticated");
}

async fn a_stream_token_opens_the_sugared_paths(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = ann.has_snippet_that_is("private").await;
    let token = stream_token(&ann, json!({})).await;
    for path in ["/v1/snippets/events".to_owned(), format!("{snippet}/events")] {
        let (_, response) = app.anonymous().get(&format!("{path}?access_token={token}")).send().await;
        assert_eq!(response.status(), 200);
    }
}

async fn a_stream_token_opens_nothing_else(app: &TestApp) {
    let ann = app.user("ann").await;
    let token = stream_token(&ann, json!({})).await;
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let script = ann.with_token(&token);
    script.subscribe("topics=custom:mine").await.disconnect();
    let new = json!({ "title": "T", "content": "C" });
    for call in [
        script.get("/v1/me"),
        script.get("/v1/tokens"),
        script.get("/v1/snippets"),
        script.get(&snippet),
        script.post("/v1/snippets", &new),
        script.patch(&snippet, &new),
        script.delete(&snippet),
        script.post("/v1/stream-tokens", &json!({})),
        script.post("/v1/tokens", &json!({ "name": "more", "scopes": ["read"] })),
        script.publish("custom:builds", &json!({ "type": "built", "data": 1 })),
    ] {
        call.await.problem(403, "forbidden");
    }
    for path in ["/v1/me", "/v1/snippets", &snippet] {
        let answer = app.anonymous().get(&format!("{path}?access_token={token}")).await;
        assert!(answer.status == 400 || answer.status == 401, "{answer}");
    }
}

async fn no_other_token_is_taken_from_the_query(app: &TestApp) {
    let ann = app.user("ann").await;
    let script = ann.with_scopes(&["read"]).await;
    for token in [ann.token(), script.token(), "nonsense", ""] {
        let path = format!("/v1/events?topics=snippets&access_token={token}");
        app.anonymous().get(&path).await.problem(401, "unauthenticated");
    }
}

async fn a_stream_token_reaches_the_topics_it_was_made_for(app: &TestApp) {
    let ann = app.user("ann").await;
    let token = stream_token(&ann, json!({ "topics": ["snippets", "custom:builds"] })).await;
    let browser = app.anonymous();
    let query = format!("topics=snippets,custom:mine,custom:builds,custom:other&access_token={token}");
    let stream = browser.subscribe(&query).await;
    let denied = stream.ready["denied"].as_array().expect("a list");
    let denied: Vec<_> = denied.iter().map(|denied| &denied["topic"]).collect();
    assert_eq!(denied, ["custom:mine", "custom:other"]);
    let nothing = format!("/v1/events?topics=custom:mine&access_token={token}");
    browser.get(&nothing).await.problem(403, "forbidden");
}

async fn a_stream_token_has_the_rights_of_its_maker(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let snippet = ann.has_snippet(json!({ "visibility": "private" })).await;
    let topic = format!("snippets:{}", snippet["id"].as_str().expect("an id"));
    let token = stream_token(&ann, json!({})).await;
    let mut stream = app.anonymous().subscribe(&format!("topics={topic}&access_token={token}")).await;
    ann.patch(&path_of(&snippet), &json!({ "title": "T" })).await.expect(200);
    assert_eq!(stream.until("snippet_updated").await.topic, Some(topic.clone()));
    let token = stream_token(&bob, json!({})).await;
    let path = format!("/v1/events?topics={topic}&access_token={token}");
    app.anonymous().get(&path).await.problem(404, "not_found");
}

async fn a_stream_token_may_stay_with_topics_not_yet_readable(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let snippet = ann.has_snippet(json!({ "visibility": "private" })).await;
    let topic = format!("snippets:{}", snippet["id"].as_str().expect("an id"));
    let token = stream_token(&bob, json!({ "topics": [topic] })).await;
    let path = format!("/v1/events?topics={topic}&access_token={token}");
    app.anonymous().get(&path).await.problem(404, "not_found");
    ann.patch(&path_of(&snippet), &json!({ "visibility": "unlisted" })).await.expect(200);
    app.anonymous().get(&path).await.expect(200);
}

async fn a_stream_token_lives_a_second_to_an_hour(app: &TestApp) {
    let ann = app.user("ann").await;
    for seconds in [1, 60, 3600] {
        let token = ann.post("/v1/stream-tokens", &json!({ "ttl_s": seconds })).await.expect(201).json();
        assert_eq!(token["expires_at"], app.in_future(Duration::from_secs(seconds)));
    }
    for wrong in [json!(0), json!(-1), json!(3601), json!(1.5)] {
        let call = ann.post("/v1/stream-tokens", &json!({ "ttl_s": wrong }));
        assert_eq!(call.await.problem(422, "validation_failed").pointers(), ["/ttl_s"], "{wrong}");
    }
    let problem =
        ann.post("/v1/stream-tokens", &json!({ "topics": [] })).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/topics"]);
}

async fn a_stream_token_ends_with_the_session_that_made_it(app: &TestApp) {
    let ann = app.user("ann").await;
    let phone = ann.sign_in().await;
    let query = format!("topics=snippets&access_token={}", stream_token(&phone, json!({})).await);
    let mut stream = app.anonymous().subscribe(&query).await;
    phone.delete("/v1/sessions/current").await.expect(204);
    stream.until("closing").await;
    stream.ended().await;
    app.anonymous().get(&format!("/v1/events?{query}")).await.problem(401, "unauthenticated");
}

async fn stream_tokens_need_a_credential(app: &TestApp) {
    app.anonymous().post("/v1/stream-tokens", &json!({})).await.problem(401, "unauthenticated");
}
