//! Who may ask and be seen, and what happens when the right ends.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{Known, hold, present, topic_of, until, until_updated, watch};
use crate::support::{Persona, TestApp, on_both_databases};

on_both_databases![
    every_route_refuses_who_may_not,
    without_public_reading_everybody_signs_in with ["--public-read", "false"],
    what_cannot_be_seen_looks_like_what_is_missing,
    topics_without_presence_are_not_found,
    who_loses_the_topic_leaves_it_at_once,
    a_deleted_topic_has_nobody,
    a_deleted_account_is_nowhere,
    who_signs_out_leaves_at_once,
];

const MISSING: &str = "snippets:00000000-0000-0000-0000-000000000000";

/// Every route on a topic, in an order in which each can succeed.
pub fn calls(person: &Persona, topic: &str) -> Vec<crate::support::Call> {
    let path = format!("/v1/presence/{topic}");
    vec![
        person.get(&path),
        hold(person, topic, &json!({ "ttl_s": 60 })),
        person.patch(&path, &json!({ "status": "away" })),
        person.delete(&path),
    ]
}

async fn statuses(person: &Persona, topic: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for call in calls(person, topic) {
        let answer = call.await;
        statuses.push(answer.status.as_u16());
        if answer.status.is_client_error() {
            let code = answer.json()["code"].as_str().expect("a code").to_owned();
            let status = answer.status.as_u16();
            answer.problem(status, &code);
        }
    }
    statuses
}

async fn every_route_refuses_who_may_not(app: &TestApp) {
    let (owner, stranger, admin) = (app.user("owner").await, app.user("stranger").await, app.admin().await);
    let (public, private) = (topic_of(&owner, "public").await, topic_of(&owner, "private").await);
    let reader = stranger.with_scopes(&["read"]).await;
    let anonymous = app.anonymous();
    let fine = [200, 200, 200, 204];
    for (who, person, topic, expected) in [
        ("anonymous", &anonymous, &public, [200, 401, 401, 401]),
        ("anonymous", &anonymous, &private, [404, 401, 401, 401]),
        ("a script that reads", &reader, &public, [200, 403, 403, 403]),
        ("a script that reads", &reader, &private, [404, 403, 403, 403]),
        ("a stranger", &stranger, &public, fine),
        ("a stranger", &stranger, &private, [404; 4]),
        ("the owner", &owner, &public, fine),
        ("the owner", &owner, &private, fine),
        ("an administrator", admin, &public, fine),
        ("an administrator", admin, &private, fine),
    ] {
        assert_eq!(statuses(person, topic).await, expected, "{who} on {topic}");
    }
    let token = stranger.post("/v1/stream-tokens", &json!({})).await.expect(201).json();
    let page = stranger.with_token(token["token"].as_str().expect("a token"));
    assert_eq!(statuses(&page, &public).await, [403; 4], "a stream token opens streams and nothing else");
    let (_stream, state) = watch(&page, &public, "").await;
    assert_eq!(Known::of(&state).users(), [&stranger.id], "but such a stream is seen like any other");
}

async fn without_public_reading_everybody_signs_in(app: &TestApp) {
    let owner = app.user("owner").await;
    let topic = topic_of(&owner, "public").await;
    assert_eq!(statuses(&app.anonymous(), &topic).await, [401; 4]);
    assert_eq!(statuses(&owner, &topic).await, [200, 200, 200, 204]);
}

async fn what_cannot_be_seen_looks_like_what_is_missing(app: &TestApp) {
    let (owner, stranger) = (app.user("owner").await, app.user("stranger").await);
    let private = topic_of(&owner, "private").await;
    let (_stream, _) = watch(&owner, &private, "").await;
    for (hidden, missing) in calls(&stranger, &private).into_iter().zip(calls(&stranger, MISSING)) {
        let (hidden, missing) =
            (hidden.await.problem(404, "not_found"), missing.await.problem(404, "not_found"));
        assert_eq!(hidden.without_request(), missing.without_request());
    }
}

async fn topics_without_presence_are_not_found(app: &TestApp) {
    let ann = app.user("ann").await;
    for topic in ["snippets", "custom:builds", "nonsense", "snippets:1", "snippets:", "%20"] {
        for call in calls(&ann, topic) {
            call.await.problem(404, "not_found");
        }
    }
    let mut stream = ann.subscribe("topics=snippets,custom:builds&presence=track").await;
    ann.has_snippet(json!({})).await;
    assert_eq!(stream.next().await.kind, "snippet_created", "no state of who is there came before it");
}

async fn who_loses_the_topic_leaves_it_at_once(app: &TestApp) {
    let (owner, bob, phone) = (app.user("owner").await, app.user("bob").await, app.user("phone").await);
    let topic = topic_of(&owner, "public").await;
    let (mut watcher, state) = watch(&owner, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let (mut bobs, _) = watch(&bob, &topic, "").await;
    let (_admins, _) = watch(app.admin().await, &topic, "").await;
    hold(&phone, &topic, &json!({ "ttl_s": 120 })).await.expect(200);
    until(&mut watcher, &mut known, |known| known.users().len() == 3).await;
    let path = topic.replace("snippets:", "/v1/snippets/");
    owner.patch(&path, &json!({ "visibility": "private" })).await.expect(200);
    until_updated(&mut watcher, &mut known).await;
    let admin = &app.admin().await.id;
    until(&mut watcher, &mut known, |known| known.users() == [admin]).await;
    bobs.until("topic_closed").await;
    hold(&phone, &topic, &json!({ "ttl_s": 120 })).await.problem(404, "not_found");

    owner.patch(&path, &json!({ "visibility": "public" })).await.expect(200);
    until_updated(&mut watcher, &mut known).await;
    let (_back, _) = watch(&bob, &topic, "").await;
    until(&mut watcher, &mut known, |known| known.users().len() == 2).await;
}

async fn a_deleted_topic_has_nobody(app: &TestApp) {
    let owner = app.user("owner").await;
    let topic = topic_of(&owner, "public").await;
    let (mut stream, _) = watch(&owner, &topic, "").await;
    hold(&owner, &topic, &json!({ "ttl_s": 120 })).await.expect(200);
    owner.delete(&topic.replace("snippets:", "/v1/snippets/")).await.expect(204);
    stream.until("topic_closed").await;
    owner.get(&format!("/v1/presence/{topic}")).await.problem(404, "not_found");
}

async fn a_deleted_account_is_nowhere(app: &TestApp) {
    let (owner, bob) = (app.user("owner").await, app.user("bob").await);
    let topic = topic_of(&owner, "public").await;
    let (mut watcher, state) = watch(&owner, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let (_stream, _) = watch(&bob, &topic, "").await;
    hold(&bob, &topic, &json!({ "ttl_s": 120 })).await.expect(200);
    until(&mut watcher, &mut known, |known| known.0[&bob.id]["metas"].as_array().map(Vec::len) == Some(2))
        .await;
    bob.delete("/v1/me").await.expect(204);
    until(&mut watcher, &mut known, |known| known.users().is_empty()).await;
    assert_eq!(present(&owner, &topic).await["count"], 0);
}

async fn who_signs_out_leaves_at_once(app: &TestApp) {
    let (owner, bob) = (app.user("owner").await, app.user("bob").await);
    let topic = topic_of(&owner, "public").await;
    let phone = bob.sign_in().await;
    let (stream, _) = watch(&phone, &topic, "").await;
    let (ending, _) = watch(&bob, &topic, "").await;
    phone.call(Method::DELETE, "/v1/sessions/current").await.expect(204);
    let mut stream = stream;
    stream.until("closing").await;
    let now = present(&owner, &topic).await;
    assert_eq!(
        now["presences"][&bob.id]["metas"].as_array().map(Vec::len),
        Some(1),
        "no grace for it: {now}"
    );
    ending.disconnect();
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(present(&owner, &topic).await["count"], 1, "but for one that was cut");
}
