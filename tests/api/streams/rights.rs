//! Who may see what, at the opening, while the stream is open, and when history is replayed.

use std::time::Duration;

use serde_json::json;

use crate::support::{TestApp, on_both_databases, path_of};

on_both_databases![
    private_snippets_reach_their_owner_and_admins_alone,
    a_snippet_made_private_is_gone_for_others_live_and_replayed,
    a_deleted_snippet_ends_its_topic,
    a_revoked_credential_ends_its_streams,
    a_stream_token_ends_with_the_session_that_made_it,
    credentials_that_expire_end_the_stream_after_a_warning,
    a_new_password_ends_the_streams_of_other_sessions,
    a_deleted_account_ends_its_streams,
];

pub(super) async fn private_snippets_reach_their_owner_and_admins_alone(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let mut feed = bob.subscribe("topics=snippets").await;
    let path = ann.has_snippet_that_is("private").await;
    let topic = format!("presence=off&topics=snippets:{}", path.rsplit('/').next().expect("an id"));
    for stranger in [&bob, &app.anonymous()] {
        stranger.get(&format!("/v1/events?{topic}&since=earliest")).await.problem(404, "not_found");
        stranger.get(&format!("{path}/events")).await.problem(404, "not_found");
    }
    for insider in [&ann, app.admin().await] {
        let mut stream = insider.subscribe(&format!("{topic}&since=earliest")).await;
        assert_eq!(stream.next().await.kind, "snippet_created");
    }
    ann.has_snippet(json!({ "title": "Public" })).await;
    assert_eq!(feed.next().await.data["title"], "Public", "the private one is not in the feed");
}

pub(super) async fn a_snippet_made_private_is_gone_for_others_live_and_replayed(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let snippet = ann.has_snippet(json!({ "title": "Soon a secret" })).await;
    let id = snippet["id"].as_str().expect("an id");
    let mut one = bob.subscribe(&format!("topics=snippets:{id}&presence=off")).await;
    let mut feed = bob.subscribe("topics=snippets").await;
    ann.patch(&path_of(&snippet), &json!({ "visibility": "private" })).await.expect(200);
    let closed = one.next().await;
    assert_eq!(closed.kind, "topic_closed");
    assert_eq!(closed.data["topic"], format!("snippets:{id}"));
    let deleted = feed.next().await;
    assert_eq!((deleted.kind.as_str(), &deleted.data), ("snippet_deleted", &json!({ "id": id })));

    let mut replay = bob.subscribe("topics=snippets&since=earliest").await;
    let first = replay.next().await;
    assert_eq!(first.kind, "snippet_deleted", "what came before it is nobody's any more");
    ann.patch(&path_of(&snippet), &json!({ "title": "A secret" })).await.expect(200);
    ann.has_snippet(json!({ "title": "Public" })).await;
    assert_eq!(feed.next().await.data["title"], "Public");
    assert_eq!(replay.next().await.data["title"], "Public");

    app.restart_with(&[]).await; // The replay from the table alone says the same as the one from memory.
    let mut replay = bob.subscribe("topics=snippets&since=earliest").await;
    assert_eq!(replay.next().await.kind, "snippet_deleted");
    assert_eq!(replay.next().await.data["title"], "Public");
}

pub(super) async fn a_deleted_snippet_ends_its_topic(app: &TestApp) {
    let ann = app.user("ann").await;
    let path = ann.has_snippet_that_is("public").await;
    app.settled().await;
    let mut stream =
        ann.subscribe(&format!("presence=off&topics=snippets:{}", &path["/v1/snippets/".len()..])).await;
    ann.delete(&path).await.expect(204);
    assert_eq!(stream.next().await.kind, "snippet_deleted");
    assert_eq!(stream.next().await.kind, "topic_closed");
}

pub(super) async fn a_revoked_credential_ends_its_streams(app: &TestApp) {
    let ann = app.user("ann").await;
    let phone = ann.sign_in().await;
    let mut stream = phone.subscribe("topics=snippets").await;
    let mut other = ann.subscribe("topics=snippets").await;
    phone.delete("/v1/sessions/current").await.expect(204);
    assert_eq!(stream.next().await.data["reason"], "credential_revoked");
    stream.ended().await;
    ann.has_snippet(json!({})).await;
    assert_eq!(other.next().await.kind, "snippet_created");
}

pub(super) async fn a_stream_token_ends_with_the_session_that_made_it(app: &TestApp) {
    let ann = app.user("ann").await;
    let token = ann.post("/v1/stream-tokens", &json!({})).await.expect(201).json();
    let token = token["token"].as_str().expect("a token");
    let mut stream = app.anonymous().subscribe(&format!("topics=snippets&access_token={token}")).await;
    ann.delete("/v1/sessions/current").await.expect(204);
    assert_eq!(stream.next().await.kind, "closing");
    stream.ended().await;
}

pub(super) async fn credentials_that_expire_end_the_stream_after_a_warning(app: &TestApp) {
    let ann = app.user("ann").await;
    let token = ann.post("/v1/stream-tokens", &json!({ "ttl_s": 600 })).await.expect(201).json();
    let token = token["token"].as_str().expect("a token");
    let mut ending = app.anonymous().subscribe(&format!("topics=snippets&access_token={token}")).await;
    let mut renewed = app.anonymous().subscribe(&format!("topics=snippets&access_token={token}")).await;
    app.clock.advance(Duration::from_secs(541));
    assert_eq!(ending.until("auth_expiring").await.id, None);
    renewed.until("auth_expiring").await;
    ann.patch(&format!("/v1/events/{}", renewed.connection()), &json!({})).await.expect(200);
    renewed.until("topics").await;
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(ending.until("closing").await.data["reason"], "credential_expired");
    ann.has_snippet(json!({})).await;
    renewed.until("snippet_created").await;
}

pub(super) async fn a_new_password_ends_the_streams_of_other_sessions(app: &TestApp) {
    let ann = app.user("ann").await;
    let other = ann.sign_in().await;
    let mut stream = other.subscribe("topics=snippets").await;
    let change = json!({ "password": "another good password", "current_password": crate::support::PASSWORD });
    ann.patch("/v1/me", &change).await.expect(200);
    assert_eq!(stream.next().await.kind, "closing");
}

pub(super) async fn a_deleted_account_ends_its_streams(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({})).await;
    app.settled().await;
    let mut feed = app.anonymous().subscribe("topics=snippets").await;
    let mut stream = ann.subscribe("topics=custom:mine").await;
    ann.delete("/v1/me").await.expect(204);
    assert_eq!(stream.next().await.kind, "closing");
    assert_eq!(feed.next().await.kind, "snippet_deleted");
}
