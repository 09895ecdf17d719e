//! Who may see what, at the opening, while the stream is open, and when history is replayed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{EventStream, TestApp, on_both_databases, path_of};

type Kinds = &'static [&'static str];

on_both_databases![
    private_snippets_reach_their_owner_and_admins_alone,
    a_snippet_made_private_is_gone_for_others_live_and_replayed,
    a_deleted_snippet_ends_its_topic,
    what_was_told_of_a_deleted_snippet_is_told_to_nobody_again,
    what_is_hidden_after_a_restart_is_replayed_to_nobody_else,
    each_visibility_is_told_to_those_who_may_see_it,
    a_revoked_credential_ends_its_streams,
    a_stream_token_ends_with_the_session_that_made_it,
    credentials_that_expire_end_the_stream_after_a_warning,
    a_renewal_that_ends_sooner_ends_the_stream_sooner,
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
    app.settled().await;
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

pub(super) async fn what_was_told_of_a_deleted_snippet_is_told_to_nobody_again(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let one = path_of(&ann.has_snippet(json!({ "title": "Deleted" })).await);
    ann.patch(&one, &json!({ "content": "once more" })).await.expect(200);
    ann.has_snippet(json!({ "title": "Of an account" })).await;
    let kept = bob.has_snippet(json!({ "title": "Kept" })).await;
    let mut feed = bob.subscribe("topics=snippets").await;
    ann.delete(&one).await.expect(204);
    ann.delete("/v1/me").await.expect(204);
    for _ in 0..2 {
        feed.until("snippet_deleted").await;
    }
    // What is left makes the same state: the snippet that is there, and two that were never heard of are gone.
    for restarted in [false, true] {
        if restarted {
            app.restart_with(&[]).await; // The table alone says the same as the memory.
        }
        for reader in [&bob, app.admin().await, &app.anonymous()] {
            let mut replay = reader.subscribe("topics=snippets&since=earliest").await;
            let created = replay.next().await;
            assert_eq!((created.kind.as_str(), &created.data["id"]), ("snippet_created", &kept["id"]));
            for _ in 0..2 {
                assert_eq!(replay.next().await.kind, "snippet_deleted");
            }
        }
    }
}

/// After a restart the first who comes back has what was missed read into memory, as it was then.
async fn what_is_hidden_after_a_restart_is_replayed_to_nobody_else(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let cursor = ann.get("/v1/snippets").await.expect(200).header("snippetbox-cursor").to_owned();
    let hidden = ann.has_snippet(json!({ "title": "Hidden" })).await;
    let deleted = ann.has_snippet(json!({ "title": "Deleted" })).await;
    let kept = ann.has_snippet(json!({ "title": "Kept" })).await;
    app.restart_with(&[]).await;
    let replay = format!("topics=snippets&since={cursor}");
    let mut first = bob.subscribe(&replay).await;
    for snippet in [&hidden, &deleted, &kept] {
        assert_eq!(first.next().await.data["id"], snippet["id"]);
    }
    ann.patch(&path_of(&hidden), &json!({ "visibility": "private" })).await.expect(200);
    ann.delete(&path_of(&deleted)).await.expect(204);
    for _ in 0..2 {
        assert_eq!(first.next().await.kind, "snippet_deleted");
    }
    let mut later = bob.subscribe(&replay).await;
    let created = later.next().await;
    assert_eq!((created.kind.as_str(), &created.data["id"]), ("snippet_created", &kept["id"]));
    for gone in [&hidden, &deleted] {
        let event = later.next().await;
        assert_eq!((event.kind.as_str(), &event.data["id"]), ("snippet_deleted", &gone["id"]));
    }
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

async fn a_renewal_that_ends_sooner_ends_the_stream_sooner(app: &TestApp) {
    let ann = app.user("ann").await;
    let token = ann.post("/v1/stream-tokens", &json!({ "ttl_s": 600 })).await.expect(201).json();
    let short = ann.with_token(token["token"].as_str().expect("a token"));
    let mut stream = ann.subscribe("topics=snippets").await;
    short.patch(&format!("/v1/events/{}", stream.connection()), &json!({})).await.expect(200);
    stream.until("topics").await;
    app.clock.advance(Duration::from_secs(541));
    stream.until("auth_expiring").await;
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(stream.until("closing").await.data["reason"], "credential_expired");
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

/// What a stranger is told, from the creation to the end: `was` and `is` are what the snippet is before and after a
/// change of its visibility, between a change of its title and its deletion. The next change waits until this one was
/// told, because nobody hears any more of what has been hidden meanwhile.
async fn each_visibility_is_told_to_those_who_may_see_it(app: &TestApp) {
    const VISIBILITIES: [&str; 3] = ["public", "unlisted", "private"];
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for (was, is) in VISIBILITIES.into_iter().flat_map(|was| VISIBILITIES.map(|is| (was, is))) {
        let case = format!("from {was} to {is}");
        app.settled().await;
        let mut feed = bob.subscribe("topics=snippets").await;
        let from = feed.ready["cursor"].as_str().expect("a cursor").to_owned();
        let path = ann.has_snippet_that_is(was).await;
        app.settled().await;
        let topic = format!("topics=snippets:{}&presence=off", &path["/v1/snippets/".len()..]);
        let mut follower = if was == "private" {
            bob.get(&format!("/v1/events?{topic}")).await.problem(404, "not_found");
            None
        } else {
            Some(bob.subscribe(&topic).await)
        };
        are_told(&mut feed, if was == "public" { &["snippet_created"] } else { &[] }, &case).await;

        for (change, fed, followed) in changes(was, is) {
            match change {
                Some(change) => ann.patch(&path, &change).await.expect(200),
                None => ann.delete(&path).await.expect(204),
            };
            are_told(&mut feed, fed, &case).await;
            if let Some(follower) = &mut follower {
                are_told(follower, followed, &case).await;
            }
        }
        ann.has_snippet(json!({ "title": "The end" })).await;
        are_told(&mut feed, &["snippet_created"], &case).await;

        let mut replay = bob.subscribe(&format!("topics=snippets&since={from}")).await;
        let left: &[&str] = match (was, is) {
            ("public", _) | (_, "public") => &["snippet_deleted", "snippet_created"],
            _ => &["snippet_created"],
        };
        are_told(&mut replay, left, &case).await;
    }
}

/// Each change, the last one being the deletion, with what is told of it in the feed and to those who follow the
/// snippet since before it.
fn changes(was: &str, is: &str) -> [(Option<Value>, Kinds, Kinds); 3] {
    let title_fed: Kinds = if was == "public" { &["snippet_updated"] } else { &[] };
    let visibility_fed: Kinds = match (was, is) {
        (_, "public") => &["snippet_updated"],
        ("public", _) => &["snippet_deleted"],
        _ => &[],
    };
    let deletion_fed: Kinds = if is == "public" { &["snippet_deleted"] } else { &[] };
    let (visibility_followed, deletion_followed): (Kinds, Kinds) = match is {
        "private" => (&["topic_closed"], &[]),
        _ => (&["snippet_updated"], &["snippet_deleted", "topic_closed"]),
    };
    [
        (Some(json!({ "title": "New" })), title_fed, &["snippet_updated"]),
        (Some(json!({ "visibility": is })), visibility_fed, visibility_followed),
        (None, deletion_fed, deletion_followed),
    ]
}

async fn are_told(stream: &mut EventStream, kinds: Kinds, case: &str) {
    for kind in kinds {
        let event = stream.next().await;
        assert_eq!(event.kind, *kind, "{case}: {}", event.envelope);
    }
}
