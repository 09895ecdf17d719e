//! `/v1/users`

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PASSWORD, TestApp, on_both_databases, path_of};

on_both_databases![
    registering_answers_the_account,
    the_first_user_is_the_admin_and_only_the_first,
    of_many_first_users_one_becomes_admin,
    an_installation_that_is_empty_again_has_a_first_user_again,
    the_last_admin_stays_while_there_are_others,
    of_two_admins_who_leave_at_once_one_stays,
    an_address_is_taken_once,
    an_address_is_taken_once_by_many_at_once,
    limits_count_characters,
    an_address_looks_like_one,
    the_public_profile_is_only_a_name,
    profiles_are_for_those_who_signed_in,
];

fn account(email: &str) -> Value {
    json!({ "email": email, "name": "Ann", "password": PASSWORD })
}

async fn registering_answers_the_account(app: &TestApp) {
    app.admin().await;
    let answer = app.anonymous().post("/v1/users", &account("ann@example.org")).await.expect(201);
    let expected = json!({
        "id": answer.id(),
        "name": "Ann",
        "email": "ann@example.org",
        "role": "member",
        "version": 1,
        "created_at": app.now(),
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("etag"), "\"1\"");
}

async fn the_first_user_is_the_admin_and_only_the_first(app: &TestApp) {
    for (email, role) in
        [("one@example.org", "admin"), ("two@example.org", "member"), ("3@example.org", "member")]
    {
        let user = app.anonymous().post("/v1/users", &account(email)).await.expect(201).json();
        assert_eq!(user["role"], role);
    }
}

async fn of_many_first_users_one_becomes_admin(app: &TestApp) {
    let register = async |number: usize| {
        let account = account(&format!("user{number}@example.org"));
        app.anonymous().post("/v1/users", &account).await.expect(201).json()
    };
    let users = join_all((0..6).map(register)).await;
    assert_eq!(users.iter().filter(|user| user["role"] == "admin").count(), 1, "{users:?}");
}

async fn an_installation_that_is_empty_again_has_a_first_user_again(app: &TestApp) {
    app.admin().await.delete("/v1/me").await.expect(204);
    for (email, role) in [("one@example.org", "admin"), ("two@example.org", "member")] {
        let user = app.anonymous().post("/v1/users", &account(email)).await.expect(201).json();
        assert_eq!(user["role"], role);
    }
}

async fn the_last_admin_stays_while_there_are_others(app: &TestApp) {
    let (ann, admin) = (app.user("ann").await, app.admin().await);
    let snippet = path_of(&admin.has_snippet(json!({})).await);
    admin.delete("/v1/me").await.problem(409, "conflict");
    admin.get(&snippet).await.expect(200);
    ann.delete("/v1/me").await.expect(204);
    admin.delete("/v1/me").await.expect(204);
}

async fn of_two_admins_who_leave_at_once_one_stays(app: &TestApp) {
    let (mut ann, _member) = (app.admin().await.clone(), app.user("member").await);
    for round in 0..5 {
        let bob = app.user(&format!("bob{round}")).await;
        app.execute("UPDATE users SET role = 'admin' WHERE name LIKE 'bob%'").await;
        // Whoever goes hands a room over to the other one.
        for (owner, other) in [(&ann, &bob), (&bob, &ann)] {
            let room = owner.post("/v1/rooms", &json!({ "name": "Den" })).await.expect(201).id();
            let path = format!("/v1/rooms/{room}/members/{}", other.id);
            owner.call(Method::PUT, &path).await.expect(201);
        }
        let leaving = join(ann.delete("/v1/me").into_future(), bob.delete("/v1/me").into_future());
        let (one, other) = leaving.await;
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409], "{one}\n{other}");
        if one.status == 204 {
            ann = bob;
        }
    }
}

async fn an_address_is_taken_once(app: &TestApp) {
    app.user("ann").await;
    for email in ["ann@example.org", "ANN@Example.ORG"] {
        app.anonymous().post("/v1/users", &account(email)).await.problem(409, "conflict");
    }
}

async fn an_address_is_taken_once_by_many_at_once(app: &TestApp) {
    let register = async |_| app.anonymous().post("/v1/users", &account("ann@example.org")).await;
    let answers = join_all((0..6).map(register)).await;
    let (taken, registered): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 409);
    assert_eq!(registered.len(), 1);
    for answer in registered {
        answer.expect(201);
    }
    for answer in taken {
        answer.problem(409, "conflict");
    }
}

async fn limits_count_characters(app: &TestApp) {
    let longest = json!({ "email": "a@example.org", "name": "é".repeat(80), "password": "é".repeat(200) });
    app.anonymous().post("/v1/users", &longest).await.expect(201);
    let shortest = json!({ "email": "b@example.org", "name": "é", "password": "é".repeat(8) });
    app.anonymous().post("/v1/users", &shortest).await.expect(201);
    for (name, password) in [(81, 201), (0, 7)] {
        let (name, password) = ("é".repeat(name), "é".repeat(password));
        let wrong = json!({ "email": "c@example.org", "name": name, "password": password });
        let problem = app.anonymous().post("/v1/users", &wrong).await.problem(422, "validation_failed");
        assert_eq!(problem.pointers(), ["/name", "/password"]);
    }
}

async fn an_address_looks_like_one(app: &TestApp) {
    let long = format!("{}@example.org", "a".repeat(300));
    for email in
        ["", "ann", "ann@", "@example.org", "a b@example.org", "ann@@example.org", "a\n@example.org", &long]
    {
        let call = app.anonymous().post("/v1/users", &account(email));
        assert_eq!(call.await.problem(422, "validation_failed").pointers(), ["/email"], "{email}");
    }
}

async fn the_public_profile_is_only_a_name(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for person in [&ann, &bob, app.admin().await] {
        let profile = person.get(&format!("/v1/users/{}", ann.id)).await.expect(200).json();
        assert_eq!(profile, json!({ "id": ann.id, "name": "ann" }));
    }
}

async fn profiles_are_for_those_who_signed_in(app: &TestApp) {
    let ann = app.user("ann").await;
    let anonymous = app.anonymous();
    anonymous.get(&format!("/v1/users/{}", ann.id)).await.problem(401, "unauthenticated");
}
