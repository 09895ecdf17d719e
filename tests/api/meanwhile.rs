//! What ends while a request is on its way: the request comes too late, and leaves nothing behind.

use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Call, Database, PASSWORD, Persona, TestApp, on_both_databases, path_of, run};

on_both_databases![
    a_change_comes_too_late_when_its_credential_has_ended,
    a_change_comes_too_late_when_its_account_is_gone,
    a_sign_in_comes_too_late_when_the_password_is_another,
    a_new_password_comes_too_late_when_the_present_one_is_another,
    a_new_password_waits_for_tokens_in_the_making,
    an_account_is_deleted_while_its_user_writes,
    a_session_ends_while_it_makes_stream_tokens,
    nobody_waits_who_may_not_write,
    a_change_that_waits_too_long_is_told_to_try_again,
];

/// Long enough for a request to come to where it has to wait; where it is not, the test shows less but is right.
const UNDER_WAY: Duration = Duration::from_millis(300);
/// The same for a request for which passwords are hashed first.
const HASHED: Duration = Duration::from_secs(2);

/// The answer to a call that was under way when these statements, begun before it, were committed.
async fn overtaken(app: &TestApp, statements: &[&'static str], call: Call, under_way: Duration) -> Answer {
    let other = app.begin(statements).await;
    let mut answer = call.into_future();
    let early = tokio::time::timeout(under_way, &mut answer).await;
    if let Ok(early) = early {
        panic!("it did not wait: {early}");
    }
    other.commit().await;
    answer.await
}

/// Everything that a signed-in user can change.
async fn changes(ann: &Persona) -> Vec<(Method, String, Value)> {
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let token =
        ann.post("/v1/tokens", &json!({ "name": "a script", "scopes": ["read"] })).await.expect(201).id();
    let wish = json!({ "format": "zip" });
    let export = ann.post("/v1/exports", &wish).await.expect(202).id();
    let room =
        format!("/v1/rooms/{}", ann.post("/v1/rooms", &json!({ "name": "Den" })).await.expect(201).id());
    let (messages, say) = (format!("{room}/messages"), json!({ "content": "x" }));
    let said = ann.post(&messages, &say).await.expect(201).id();
    let message = format!("{messages}/{said}");
    let (notify, notice) =
        (format!("/v1/users/{}/notifications", ann.id), json!({ "kind": "note", "message": "Hello" }));
    let notification = format!("/v1/notifications/{}", ann.post(&notify, &notice).await.expect(201).id());
    vec![
        (Method::POST, "/v1/rooms".to_owned(), json!({ "name": "Hall" })),
        (Method::PATCH, room.clone(), json!({ "name": "Hall" })),
        (Method::PUT, format!("{room}/members/{}", ann.id), Value::Null),
        (Method::DELETE, format!("{room}/members/{}", ann.id), Value::Null),
        (Method::PUT, format!("{room}/read"), json!({ "message_id": said })),
        (Method::POST, messages, say.clone()),
        (Method::PATCH, message.clone(), say),
        (Method::DELETE, message, Value::Null),
        (Method::DELETE, room, Value::Null),
        (Method::POST, notify, notice),
        (Method::PATCH, notification.clone(), json!({ "read": true })),
        (Method::DELETE, notification, Value::Null),
        (Method::POST, "/v1/notifications/read".to_owned(), json!({})),
        (Method::POST, "/v1/tokens".to_owned(), json!({ "name": "mine", "scopes": ["read"] })),
        (Method::POST, "/v1/stream-tokens".to_owned(), json!({})),
        (Method::POST, "/v1/snippets".to_owned(), json!({ "title": "T", "content": "C" })),
        (Method::POST, "/v1/topics/custom:builds/events".to_owned(), json!({ "type": "built", "data": 1 })),
        (Method::POST, "/v1/exports".to_owned(), wish),
        (Method::DELETE, format!("/v1/exports/{export}"), Value::Null),
        (Method::PATCH, snippet.clone(), json!({ "title": "T" })),
        (Method::DELETE, snippet, Value::Null),
        (Method::PATCH, "/v1/me".to_owned(), json!({ "name": "Mallory" })),
        (Method::DELETE, "/v1/me".to_owned(), Value::Null),
        (Method::DELETE, "/v1/sessions/current".to_owned(), Value::Null),
        (Method::DELETE, format!("/v1/tokens/{token}"), Value::Null),
    ]
}

async fn assert_all_come_too_late(app: &TestApp, statements: &[&'static str]) {
    let mut number = 0;
    loop {
        let ann = app.user(&format!("ann{number}")).await;
        let Some((method, path, body)) = changes(&ann).await.into_iter().nth(number) else { return };
        let answer = overtaken(app, statements, ann.call(method.clone(), &path).json(&body), UNDER_WAY).await;
        assert_eq!(answer.status, 401, "{method} {path}: {answer}");
        answer.problem(401, "unauthenticated");
        number += 1;
    }
}

async fn a_change_comes_too_late_when_its_credential_has_ended(app: &TestApp) {
    assert_all_come_too_late(app, &["DELETE FROM credentials"]).await;
}

async fn a_change_comes_too_late_when_its_account_is_gone(app: &TestApp) {
    let gone = ["DELETE FROM rooms", "DELETE FROM snippets", "DELETE FROM users WHERE role = 'member'"];
    assert_all_come_too_late(app, &gone).await;
}

/// Changes all passwords to one that nobody knows, as the server does it.
fn other_passwords(app: &TestApp) -> [&'static str; 2] {
    let lock = match app.database {
        Database::Sqlite => "SELECT id FROM users",
        Database::Postgres => "SELECT id FROM users FOR UPDATE",
    };
    [lock, "UPDATE users SET password_hash = 'another'"]
}

async fn a_sign_in_comes_too_late_when_the_password_is_another(app: &TestApp) {
    let ann = app.user("ann").await;
    let sign_in = ann.signed_out().post("/v1/sessions", &ann.right_credentials());
    let answer = overtaken(app, &other_passwords(app), sign_in, HASHED).await;
    answer.problem(401, "invalid_credentials");
}

async fn a_new_password_comes_too_late_when_the_present_one_is_another(app: &TestApp) {
    let ann = app.user("ann").await;
    let change =
        ann.patch("/v1/me", &json!({ "password": "another password", "current_password": PASSWORD }));
    let problem =
        overtaken(app, &other_passwords(app), change, HASHED).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/current_password"]);
}

async fn a_new_password_waits_for_tokens_in_the_making(app: &TestApp) {
    let ann = app.user("ann").await;
    let make = match app.database {
        Database::Sqlite => {
            "INSERT INTO credentials (id, user_id, kind, digest, name, scopes, created_at)
             SELECT randomblob(16), id, 'personal', randomblob(32), 'stolen', '[\"read\"]', created_at FROM users"
        }
        Database::Postgres => {
            "INSERT INTO credentials (id, user_id, kind, digest, name, scopes, created_at)
             SELECT gen_random_uuid(), id, 'personal', uuid_send(id), 'stolen', '[\"read\"]', created_at FROM users"
        }
    };
    let change =
        ann.patch("/v1/me", &json!({ "password": "another password", "current_password": PASSWORD }));
    overtaken(app, &[make], change, HASHED).await.expect(200);
    assert_eq!(ann.get("/v1/tokens").await.json()["data"], json!([]));
}

async fn an_account_is_deleted_while_its_user_writes(app: &TestApp) {
    for round in 0..5 {
        let ann = app.user(&format!("ann{round}")).await;
        let writes = (0..12).map(|n| match n % 3 {
            0 => ann.post_snippet(&json!({ "title": "T", "content": "C" })).into_future(),
            1 => ann.post("/v1/tokens", &json!({ "name": "mine", "scopes": ["read"] })).into_future(),
            _ => ann.post("/v1/stream-tokens", &json!({})).into_future(),
        });
        let (answers, deleted) = join(join_all(writes), ann.delete("/v1/me").into_future()).await;
        deleted.expect(204);
        for answer in answers {
            assert!([201, 401].contains(&answer.status.as_u16()), "{answer}");
        }
        let left = app.admin().await.get(&format!("/v1/snippets?owner={}", ann.id)).await.expect(200).json();
        assert_eq!(left["data"], json!([]));
    }
}

async fn a_session_ends_while_it_makes_stream_tokens(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..5 {
        let phone = ann.sign_in().await;
        let wishes = (0..12).map(|_| phone.post("/v1/stream-tokens", &json!({})).into_future());
        let (answers, ended) =
            join(join_all(wishes), phone.delete("/v1/sessions/current").into_future()).await;
        ended.expect(204);
        for answer in answers {
            let status = answer.status.as_u16();
            assert!([201, 401].contains(&status), "{answer}");
            if status == 201 {
                let token = answer.json()["token"].as_str().expect("a token").to_owned();
                let stream = app.anonymous().get(&format!("/v1/events?topics=snippets&access_token={token}"));
                stream.await.problem(401, "unauthenticated");
            }
        }
    }
}

async fn nobody_waits_who_may_not_write(app: &TestApp) {
    let ann = app.user("ann").await;
    let (anonymous, reader, changes) =
        (app.anonymous(), ann.with_scopes(&["read"]).await, changes(&ann).await);
    // Nothing is written for as long as this is open; on SQLite nobody else can even begin to.
    let other = app.begin(&[]).await;
    for (method, path, body) in changes {
        let call = anonymous.call(method.clone(), &path).json(&body);
        call.await.problem(401, "unauthenticated");
        if path != "/v1/stream-tokens" && path != "/v1/sessions/current" {
            let call = reader.call(method, &path).json(&body);
            call.await.problem(403, "insufficient_scope");
        }
    }
    other.commit().await;
}

/// Starts the server again with another setting of PostgreSQL for all its connections.
async fn restart_with_option(app: &TestApp, option: &str) {
    let url = format!("{}?options=-c%20{option}", app.database_url());
    app.restart_with(&["--database-url", &url]).await;
}

async fn a_change_that_waits_too_long_is_told_to_try_again(app: &TestApp) {
    let ann = app.user("ann").await;
    let lock = match app.database {
        Database::Sqlite => "SELECT id FROM users", // Nobody else writes: it waits for five seconds.
        Database::Postgres => {
            restart_with_option(app, "lock_timeout%3D200").await;
            "SELECT id FROM users FOR UPDATE"
        }
    };
    let other = app.begin(&[lock]).await;
    let problem = ann.post_snippet(&json!({ "title": "T", "content": "C" })).await.problem(503, "overloaded");
    assert_eq!(problem.headers["retry-after"], "1");
    other.commit().await;
    ann.has_snippet(json!({})).await;
}

async fn a_change_that_another_got_in_the_way_of_is_told_to_try_again(app: &TestApp) {
    let ann = app.user("ann").await;
    restart_with_option(app, "default_transaction_isolation%3Dserializable").await;
    let change = ann.patch("/v1/me", &json!({ "name": "Anna" }));
    let answer = overtaken(app, &["UPDATE users SET version = version + 1"], change, UNDER_WAY).await;
    answer.problem(503, "overloaded");
}

#[test]
#[ignore = "needs PostgreSQL: tests/run starts one"]
fn on_postgres_a_change_that_another_got_in_the_way_of_is_told_to_try_again() {
    run(Database::Postgres, &[], a_change_that_another_got_in_the_way_of_is_told_to_try_again);
}

/// What is taken out of the feed would else wait for the rest of the deletion, and all events of all users behind it.
async fn an_account_that_is_being_deleted_holds_no_event(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({})).await;
    ann.post("/v1/rooms", &json!({ "name": "Den" })).await.expect(201);
    app.settled().await;
    let other = app.begin(&["SELECT id FROM rooms FOR UPDATE"]).await;
    let mut answer = ann.delete("/v1/me").into_future();
    if let Ok(early) = tokio::time::timeout(UNDER_WAY, &mut answer).await {
        panic!("it did not wait: {early}");
    }
    app.execute("SELECT id FROM events FOR UPDATE NOWAIT").await;
    other.commit().await;
    answer.await.expect(204);
}

#[test]
#[ignore = "needs PostgreSQL: tests/run starts one"]
fn on_postgres_an_account_that_is_being_deleted_holds_no_event() {
    run(Database::Postgres, &[], an_account_that_is_being_deleted_holds_no_event);
}
