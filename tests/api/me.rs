//! `/v1/me`

use serde_json::json;

use crate::support::{PASSWORD, Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    the_own_profile_has_everything,
    the_own_profile_needs_a_credential,
    a_changed_name_shows_everywhere,
    a_patch_that_changes_nothing_is_fine,
    an_address_is_changed_to_a_free_one_only,
    a_new_password_needs_the_current_one,
    a_new_password_ends_other_sessions,
    a_new_password_ends_streams_of_other_sessions,
    a_name_cannot_be_taken_away,
    a_deleted_account_is_gone,
    the_snippets_of_a_deleted_account_are_gone,
    the_own_profile_has_a_version,
    only_the_meant_version_is_changed,
    only_the_meant_version_is_deleted,
];

async fn the_own_profile_has_everything(app: &TestApp) {
    let ann = app.user("ann").await;
    let expected = json!({
        "id": ann.id,
        "name": "ann",
        "email": "ann@example.org",
        "role": "member",
        "version": 1,
        "created_at": app.now(),
    });
    assert_eq!(ann.get("/v1/me").await.expect(200).json(), expected);
    assert_eq!(app.admin().await.get("/v1/me").await.expect(200).json()["role"], "admin");
}

async fn the_own_profile_needs_a_credential(app: &TestApp) {
    let anonymous = app.anonymous();
    anonymous.get("/v1/me").await.problem(401, "unauthenticated");
    anonymous.patch("/v1/me", &json!({ "name": "Ann" })).await.problem(401, "unauthenticated");
    anonymous.delete("/v1/me").await.problem(401, "unauthenticated");
}

async fn a_changed_name_shows_everywhere(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let me = ann.patch("/v1/me", &json!({ "name": "Ann \u{1F980}" })).await.expect(200).json();
    assert_eq!(me["name"], "Ann \u{1F980}");
    assert_eq!(ann.get("/v1/me").await.json(), me);
    assert_eq!(ann.get(&format!("/v1/users/{}", ann.id)).await.json()["name"], me["name"]);
    assert_eq!(ann.get(&snippet).await.json()["owner"]["name"], me["name"]);
}

async fn a_patch_that_changes_nothing_is_fine(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut me = ann.get("/v1/me").await.json();
    me["version"] = json!(2);
    assert_eq!(ann.patch("/v1/me", &json!({})).await.expect(200).json(), me);
}

async fn an_address_is_changed_to_a_free_one_only(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    ann.patch("/v1/me", &json!({ "email": bob.email })).await.problem(409, "conflict");
    let me = ann.patch("/v1/me", &json!({ "email": "Ann@New.example" })).await.expect(200).json();
    assert!(me["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case("ann@new.example")), "{me}");
    let old = ann.signed_out().post("/v1/sessions", &ann.right_credentials());
    old.await.problem(401, "invalid_credentials");
    let new = json!({ "email": "ann@new.example", "password": PASSWORD });
    ann.signed_out().post("/v1/sessions", &new).await.expect(201);
    bob.sign_in().await;
}

async fn a_new_password_needs_the_current_one(app: &TestApp) {
    let ann = app.user("ann").await;
    for wish in [
        json!({ "password": "another password" }),
        json!({ "password": "another password", "current_password": null }),
        json!({ "password": "another password", "current_password": "a wrong guess" }),
    ] {
        let problem = ann.patch("/v1/me", &wish).await.problem(422, "validation_failed");
        assert_eq!(problem.pointers(), ["/current_password"], "{wish}");
    }
    ann.sign_in().await;
}

async fn change_password(ann: &Persona) {
    let wish = json!({ "password": "another password", "current_password": PASSWORD });
    ann.patch("/v1/me", &wish).await.expect(200);
}

async fn a_new_password_ends_other_sessions(app: &TestApp) {
    let ann = app.user("ann").await;
    let (phone, bob) = (ann.sign_in().await, app.user("bob").await);
    change_password(&ann).await;
    phone.get("/v1/me").await.problem(401, "unauthenticated");
    ann.get("/v1/me").await.expect(200);
    bob.get("/v1/me").await.expect(200);
    let signed_out = ann.signed_out();
    let old = signed_out.post("/v1/sessions", &ann.right_credentials());
    old.await.problem(401, "invalid_credentials");
    let new = json!({ "email": ann.email, "password": "another password" });
    signed_out.post("/v1/sessions", &new).await.expect(201);
}

async fn a_new_password_ends_streams_of_other_sessions(app: &TestApp) {
    let ann = app.user("ann").await;
    let phone = ann.sign_in().await;
    let (mut on_phone, mut here) =
        (phone.subscribe("topics=snippets").await, ann.subscribe("topics=snippets").await);
    change_password(&ann).await;
    on_phone.until("closing").await;
    on_phone.ended().await;
    ann.has_snippet(json!({})).await;
    assert_eq!(here.next().await.kind, "snippet_created");
}

async fn a_name_cannot_be_taken_away(app: &TestApp) {
    let ann = app.user("ann").await;
    let problem = ann.patch("/v1/me", &json!({ "name": null })).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/name"]);
}

async fn a_deleted_account_is_gone(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (phone, script) = (ann.sign_in().await, ann.with_scopes(&["read"]).await);
    ann.delete("/v1/me").await.expect(204);
    for person in [&ann, &phone, &script] {
        person.get("/v1/me").await.problem(401, "unauthenticated");
    }
    bob.get(&format!("/v1/users/{}", ann.id)).await.problem(404, "not_found");
    let call = ann.signed_out().post("/v1/sessions", &ann.right_credentials());
    call.await.problem(401, "invalid_credentials");
    let again = app.user("ann").await;
    assert_ne!(again.id, ann.id);
}

async fn the_snippets_of_a_deleted_account_are_gone(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let mut events = bob.subscribe("topics=snippets").await;
    ann.delete("/v1/me").await.expect(204);
    assert_eq!(events.until("snippet_deleted").await.topic.as_deref(), Some("snippets"));
    bob.get(&snippet).await.problem(404, "not_found");
    assert_eq!(bob.get("/v1/snippets").await.json()["data"], json!([]));
}

async fn the_own_profile_has_a_version(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let public = format!("/v1/users/{}", ann.id);
    for (number, tag) in [(1, "\"1\""), (2, "\"2\"")] {
        for (person, path) in [(&ann, "/v1/me"), (&bob, &*public)] {
            assert_eq!(person.get(path).await.expect(200).header("etag"), tag);
            let answer = person.get(path).header("If-None-Match", tag).await.expect(304);
            assert!(answer.body.is_empty() && answer.header("etag") == tag, "{answer}");
            person.get(path).header("If-None-Match", "\"7\"").await.expect(200);
        }
        let changed = ann.patch("/v1/me", &json!({ "name": "Ann" })).await.expect(200);
        assert_eq!(changed.json()["version"], number + 1);
        assert_eq!(changed.header("etag"), format!("\"{}\"", number + 1));
    }
}

async fn only_the_meant_version_is_changed(app: &TestApp) {
    let ann = app.user("ann").await;
    let rename =
        |name: &str, meant: &str| ann.patch("/v1/me", &json!({ "name": name })).header("If-Match", meant);
    rename("Ann", "\"1\"").await.expect(200);
    rename("Eve", "\"1\"").await.problem(412, "precondition_failed");
    rename("Eve", "W/\"2\"").await.problem(412, "precondition_failed");
    assert_eq!(ann.get("/v1/me").await.json()["name"], "Ann");
    rename("Anna", "\"2\"").await.expect(200);
    rename("Annie", "*").await.expect(200);
}

async fn only_the_meant_version_is_deleted(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.delete("/v1/me").header("If-Match", "\"2\"").await.problem(412, "precondition_failed");
    ann.get("/v1/me").await.expect(200);
    ann.delete("/v1/me").header("If-Match", "\"1\"").await.expect(204);
}
