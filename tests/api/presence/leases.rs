//! Clients without a stream.

use std::time::Duration;

use serde_json::json;

use super::{Known, hold, present, topic_of, until, watch};
use crate::support::{TestApp, on_both_databases};

on_both_databases![
    a_lease_is_seen_until_its_time_is_over,
    a_lease_is_renewed_and_ended,
    each_device_has_a_lease_of_its_own,
    a_lease_ends_with_its_credential,
    a_lease_is_no_longer_than_its_credential,
    bad_leases_are_refused_whole,
];

async fn a_lease_is_seen_until_its_time_is_over(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let topic = topic_of(&ann, "public").await;
    let (mut watcher, state) = watch(&bob, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    let held = hold(&ann, &topic, &json!({ "ttl_s": 10, "meta": { "status": "active", "app": "pager" } }));
    let held = held.await.expect(200).json();
    assert_eq!(held["expires_at"], app.in_future(Duration::from_secs(10)));
    until(&mut watcher, &mut known, |known| known.users() == [&ann.id]).await;
    assert_eq!(known.0[&ann.id], json!({ "user": { "id": ann.id, "name": "ann" }, "metas": [held["meta"]] }));
    assert_eq!((&held["meta"]["status"], &held["meta"]["app"]), (&json!("active"), &json!("pager")));
    assert_eq!(known.0, present(&bob, &topic).await["presences"]);
    app.clock.advance(Duration::from_millis(9_999));
    assert_eq!(present(&bob, &topic).await["count"], 1);
    app.clock.advance(Duration::from_millis(1));
    until(&mut watcher, &mut known, |known| known.users().is_empty()).await;
}

async fn a_lease_is_renewed_and_ended(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let meta = json!({ "status": "idle" });
    let first = hold(&ann, &topic, &json!({ "ttl_s": 120, "meta": meta })).await.expect(200).json();
    let (mut watcher, state) = watch(app.admin().await, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    app.clock.advance(Duration::from_secs(100));
    let second = hold(&ann, &topic, &json!({ "ttl_s": 60 })).await.expect(200).json();
    assert_eq!(second["meta"], first["meta"], "it is the same, and longer");
    assert_eq!(second["expires_at"], app.in_future(Duration::from_secs(60)));
    app.clock.advance(Duration::from_secs(59));
    let third = hold(&ann, &topic, &json!({ "ttl_s": 60, "meta": { "status": "away" } })).await.expect(200);
    assert_eq!(third.json()["meta"]["phx_ref_prev"], first["meta"]["phx_ref"]);
    until(&mut watcher, &mut known, |known| known.0[&ann.id]["metas"][0]["status"] == "away").await;
    for _ in 0..2 {
        ann.delete(&format!("/v1/presence/{topic}")).await.expect(204);
        assert_eq!(present(&ann, &topic).await["count"], 0);
    }
    until(&mut watcher, &mut known, |known| known.users().is_empty()).await;
}

async fn each_device_has_a_lease_of_its_own(app: &TestApp) {
    let ann = app.user("ann").await;
    let (phone, topic) = (ann.sign_in().await, topic_of(&ann, "public").await);
    hold(&ann, &topic, &json!({ "ttl_s": 60 })).await.expect(200);
    hold(&phone, &topic, &json!({ "ttl_s": 60 })).await.expect(200);
    let (_stream, state) = watch(&phone, &topic, "").await;
    assert_eq!(state[&ann.id]["metas"].as_array().map(Vec::len), Some(3));
    phone.delete(&format!("/v1/presence/{topic}")).await.expect(204);
    let now = present(&ann, &topic).await;
    assert_eq!(now["presences"][&ann.id]["metas"].as_array().map(Vec::len), Some(2), "{now}");
}

async fn a_lease_ends_with_its_credential(app: &TestApp) {
    let ann = app.user("ann").await;
    let (phone, topic) = (ann.sign_in().await, topic_of(&ann, "public").await);
    let (mut watcher, state) = watch(app.admin().await, &topic, "&presence=observe").await;
    let mut known = Known::of(&state);
    hold(&phone, &topic, &json!({ "ttl_s": 120 })).await.expect(200);
    let (_stream, _) = watch(&phone, &topic, "").await;
    until(&mut watcher, &mut known, |known| known.0[&ann.id]["metas"].as_array().map(Vec::len) == Some(2))
        .await;
    phone.delete("/v1/sessions/current").await.expect(204);
    until(&mut watcher, &mut known, |known| known.users().is_empty()).await;
}

async fn a_lease_is_no_longer_than_its_credential(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    let end = app.in_future(Duration::from_secs(30));
    let wish = json!({ "name": "a script", "scopes": ["read", "write"], "expires_at": end });
    let token = ann.post("/v1/tokens", &wish).await.expect(201).json();
    let script = ann.with_token(token["token"].as_str().expect("the token is shown"));
    for (ttl, expires_at) in [(10, app.in_future(Duration::from_secs(10))), (120, end)] {
        let held = hold(&script, &topic, &json!({ "ttl_s": ttl })).await.expect(200).json();
        assert_eq!(held["expires_at"], expires_at);
    }
    app.clock.advance(Duration::from_millis(29_999));
    assert_eq!(present(&ann, &topic).await["count"], 1);
    app.clock.advance(Duration::from_millis(1));
    assert_eq!(present(&ann, &topic).await["count"], 0);
}

async fn bad_leases_are_refused_whole(app: &TestApp) {
    let ann = app.user("ann").await;
    let topic = topic_of(&ann, "public").await;
    for (body, pointers) in [
        (json!({}), vec!["/ttl_s"]),
        (json!({ "ttl_s": 9 }), vec!["/ttl_s"]),
        (json!({ "ttl_s": 121 }), vec!["/ttl_s"]),
        (json!({ "ttl_s": -1 }), vec!["/ttl_s"]),
        (json!({ "ttl_s": "60" }), vec!["/ttl_s"]),
        (json!({ "ttl_s": 60.5, "meta": 1 }), vec!["/meta", "/ttl_s"]),
        (json!({ "ttl_s": 60, "meta": { "status": "here" } }), vec!["/meta/status"]),
        (json!({ "ttl_s": 60, "meta": { "joined_at": "1999" } }), vec!["/meta/joined_at"]),
        (json!({ "ttl_s": 60, "meta": { "x": "y".repeat(1_024) } }), vec!["/meta"]),
    ] {
        let problem = hold(&ann, &topic, &body).await.problem(422, "validation_failed");
        assert_eq!(problem.pointers(), pointers, "{body}");
    }
    let problem = hold(&ann, &topic, &json!({ "ttl_s": 60, "for": 1 })).await.problem(400, "unknown_field");
    assert_eq!(problem.pointers(), ["/for"]);
    assert_eq!(present(&ann, &topic).await["count"], 0, "nothing is half done");
}
