//! `Idempotency-Key`: a request repeated on a bad network has one effect.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use snippetbox::seal::digest;

use crate::support::{Answer, Database, PASSWORD, Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    every_post_is_answered_again_without_a_second_effect,
    a_repeated_snippet_exists_once,
    a_replayed_session_works,
    a_replayed_token_is_the_same_and_exists_once,
    a_replayed_session_brings_its_cookie,
    a_repeated_event_is_delivered_once,
    another_body_under_the_same_key_is_refused,
    another_path_under_the_same_key_is_refused,
    of_many_at_once_one_has_an_effect,
    a_repetition_is_refused_while_the_first_is_running,
    keys_belong_to_their_user,
    a_key_is_forgotten_after_a_day,
    a_malformed_key_is_refused,
    a_refusal_does_not_use_up_the_key,
    a_replay_survives_a_restart,
    strangers_with_the_same_key_never_meet,
    what_is_stored_of_a_password_cannot_be_guessed_fast,
    an_event_is_answered_again_when_the_history_has_ended_before_it,
];

const DAY: Duration = Duration::from_secs(24 * 3600);

fn replayed(answer: &Answer) -> bool {
    answer.find_header("idempotent-replayed") == Some("true")
}

/// What both answers must share.
fn essence(answer: &Answer) -> Value {
    let header = |name| answer.find_header(name);
    json!([answer.status.as_u16(), answer.json(), header("location"), header("etag"), header("content-type")])
}

async fn twice(person: &Persona, path: &str, body: &Value) -> (Answer, Answer) {
    let first = person.post(path, body).once("a-key").await;
    let second = person.post(path, body).once("a-key").await;
    (first, second)
}

async fn every_post_is_answered_again_without_a_second_effect(app: &TestApp) {
    let ann = app.user("ann").await;
    let anonymous = app.anonymous();
    for (person, path, body) in [
        (&ann, "/v1/snippets", json!({ "title": "T", "content": "C" })),
        (&ann, "/v1/tokens", json!({ "name": "a script", "scopes": ["read"] })),
        (&ann, "/v1/stream-tokens", json!({})),
        (&ann, "/v1/topics/custom:builds/events", json!({ "type": "built", "data": 1 })),
        (&anonymous, "/v1/users", json!({ "email": "b@example.org", "name": "b", "password": PASSWORD })),
        (&anonymous, "/v1/sessions", ann.right_credentials()),
    ] {
        let first = person.post(path, &body).once(path).await;
        assert!(first.status.is_success() && !replayed(&first), "{first}");
        app.clock.advance(Duration::from_secs(60));
        for _ in 0..2 {
            let again = person.post(path, &body).once(path).await;
            assert!(replayed(&again), "{again}");
            assert_eq!(essence(&again), essence(&first), "{path}");
        }
    }
}

async fn a_repeated_snippet_exists_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut feed = ann.subscribe("topics=snippets").await;
    let (first, second) = twice(&ann, "/v1/snippets", &json!({ "title": "T", "content": "C" })).await;
    assert_eq!(first.expect(201).id(), second.expect(201).id());
    assert_eq!(ann.get("/v1/snippets").await.json()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(feed.next().await.data["title"], "T");
    ann.has_snippet(json!({ "title": "Next" })).await;
    assert_eq!(feed.next().await.data["title"], "Next");
}

async fn a_replayed_session_works(app: &TestApp) {
    let ann = app.user("ann").await;
    let (_, second) = twice(&ann.signed_out(), "/v1/sessions", &ann.right_credentials()).await;
    assert!(replayed(&second), "{second}");
    let session = second.expect(201).json();
    let phone = ann.with_token(session["token"].as_str().expect("a token"));
    phone.get("/v1/me").await.expect(200);
}

async fn a_replayed_token_is_the_same_and_exists_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let (first, second) = twice(&ann, "/v1/tokens", &json!({ "name": "a script", "scopes": ["read"] })).await;
    assert_eq!(first.json()["token"], second.json()["token"]);
    let tokens = ann.get("/v1/tokens").await.json();
    assert_eq!(tokens["data"].as_array().map(Vec::len), Some(1));
}

async fn a_replayed_session_brings_its_cookie(app: &TestApp) {
    let ann = app.user("ann").await;
    let (first, second) = twice(&ann.signed_out(), "/v1/sessions", &ann.right_credentials()).await;
    assert_eq!(first.header("set-cookie"), second.header("set-cookie"));
}

async fn a_repeated_event_is_delivered_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut events = ann.subscribe("topics=custom:builds").await;
    for is_ephemeral in [false, true] {
        let event = json!({ "type": "built", "data": is_ephemeral, "ephemeral": is_ephemeral });
        for _ in 0..2 {
            let key = format!("key-{is_ephemeral}");
            ann.publish("custom:builds", &event).once(&key).await.expect(202);
        }
        ann.publish("custom:builds", &json!({ "type": "marker", "data": null })).await.expect(202);
        assert_eq!(events.next().await.data, is_ephemeral);
        assert_eq!(events.next().await.kind, "marker");
    }
}

async fn another_body_under_the_same_key_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.post_snippet(&json!({ "title": "T", "content": "C" })).once("key").await.expect(201);
    let other = ann.post_snippet(&json!({ "title": "T", "content": "D" })).once("key");
    other.await.problem(422, "idempotency_key_reused");
    let credentials = json!({ "email": ann.email, "password": "a wrong guess" });
    let anonymous = ann.signed_out();
    anonymous.post("/v1/sessions", &ann.right_credentials()).once("key").await.expect(201);
    let guess = anonymous.post("/v1/sessions", &credentials).once("key").await;
    assert!(!guess.status.is_success(), "{guess}");
}

async fn another_path_under_the_same_key_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let event = json!({ "type": "built", "data": 1 });
    ann.publish("custom:builds", &event).once("key").await.expect(202);
    let other = ann.publish("custom:other", &event).once("key").await;
    other.problem(422, "idempotency_key_reused");
}

async fn of_many_at_once_one_has_an_effect(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = json!({ "title": "T", "content": "C" });
    let create = async |_| ann.post_snippet(&snippet).once("key").await;
    let answers = join_all((0..8).map(create)).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.iter().filter(|answer| !replayed(answer)).count(), 1);
    for answer in refused {
        answer.problem(409, "idempotency_in_progress");
    }
    let path = path_of(&made[0].json());
    assert!(made.iter().all(|answer| path_of(&answer.json()) == path));
    assert_eq!(ann.get("/v1/snippets").await.json()["data"].as_array().map(Vec::len), Some(1));
}

async fn keys_belong_to_their_user(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let snippet = json!({ "title": "T", "content": "C", "visibility": "private" });
    let of_ann = ann.post_snippet(&snippet).once("key").await.expect(201);
    let of_bob = bob.post_snippet(&snippet).once("key").await.expect(201);
    assert!(!replayed(&of_bob), "{of_bob}");
    assert_ne!(of_ann.id(), of_bob.id());
    let on_phone = ann.sign_in().await.post_snippet(&snippet).once("key").await.expect(201);
    assert!(replayed(&on_phone), "{on_phone}");
    app.anonymous().post_snippet(&snippet).once("key").await.problem(401, "unauthenticated");
}

async fn a_key_is_forgotten_after_a_day(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = json!({ "title": "T", "content": "C" });
    let first = ann.post_snippet(&snippet).once("key").await.expect(201);
    app.clock.advance(DAY - Duration::from_secs(1));
    let second = ann.post_snippet(&snippet).once("key").await.expect(201);
    assert_eq!(second.id(), first.id());
    app.clock.advance(Duration::from_secs(2));
    let third = ann.post_snippet(&snippet).once("key").await.expect(201);
    assert!(!replayed(&third), "{third}");
    assert_ne!(third.id(), first.id());
    let fourth = ann.post_snippet(&snippet).once("key").await.expect(201);
    assert_eq!(fourth.id(), third.id());
}

async fn a_malformed_key_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = json!({ "title": "T", "content": "C" });
    for key in ["", "two words", "caf\u{e9}", "a\tb", &"k".repeat(256)] {
        let answer = ann.post_snippet(&snippet).once(key).await.expect(400);
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        answer.problem(400, &code);
    }
    let longest = "~".repeat(255);
    ann.post_snippet(&snippet).once(&longest).await.expect(201);
    assert!(replayed(&ann.post_snippet(&snippet).once(&longest).await));
}

async fn a_refusal_does_not_use_up_the_key(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = json!({ "title": "T", "content": "C" });
    app.anonymous().post_snippet(&snippet).once("key").await.problem(401, "unauthenticated");
    let reader = ann.with_scopes(&["read"]).await;
    reader.post_snippet(&snippet).once("key").await.problem(403, "insufficient_scope");
    ann.post_snippet(&json!({ "title": "T" })).once("key").await.problem(422, "validation_failed");
    let answer = ann.post_snippet(&snippet).once("key").await.expect(201);
    assert!(!replayed(&answer), "{answer}");
}

async fn a_replay_survives_a_restart(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = json!({ "title": "T", "content": "C" });
    let first = ann.post_snippet(&snippet).once("key").await.expect(201);
    app.restart_with(&[]).await;
    let second = ann.post_snippet(&snippet).once("key").await.expect(201);
    assert!(replayed(&second), "{second}");
    assert_eq!(essence(&second), essence(&first));
}

async fn strangers_with_the_same_key_never_meet(app: &TestApp) {
    let anonymous = app.anonymous();
    for email in ["a@example.org", "b@example.org"] {
        let account = json!({ "email": email, "name": "A", "password": PASSWORD });
        let user = anonymous.post("/v1/users", &account).once("1").await.expect(201).json();
        assert_eq!(user["email"], email);
        assert!(replayed(&anonymous.post("/v1/users", &account).once("1").await));
        let session = json!({ "email": email, "password": PASSWORD });
        let session = anonymous.post("/v1/sessions", &session).once("1").await.expect(201).json();
        assert_eq!(session["user"], user);
    }
}

/// The reader of a stolen database knows how the server computes, and that many clients choose simple keys.
async fn what_is_stored_of_a_password_cannot_be_guessed_fast(app: &TestApp) {
    let ann = app.user("ann").await;
    let account = json!({ "email": "b@example.org", "name": "b", "password": PASSWORD });
    let anonymous = app.anonymous();
    let calls = [("/v1/users", account), ("/v1/sessions", ann.right_credentials())];
    let mut guesses = Vec::new();
    for (path, body) in &calls {
        anonymous.post(path, body).once("1").await.expect(201);
        let request = digest(&[b"POST", path.as_bytes(), body.to_string().as_bytes()]);
        guesses.push(request);
        guesses.push(digest(&[b"idempotency fingerprint", b"1", &request, b""]));
        guesses.push(digest(&[b"idempotency lookup", &request, b"1"]));
    }
    let fingerprints = app.stored_bytes("SELECT fingerprint FROM idempotency_keys").await;
    let lookups = app.stored_bytes("SELECT lookup FROM idempotency_keys").await;
    assert_eq!((fingerprints.len(), lookups.len()), (calls.len(), calls.len()));
    for stored in fingerprints.iter().chain(&lookups) {
        assert!(guesses.iter().all(|guess| guess[..] != stored[..]), "guessed: {stored:?}");
    }
}

async fn an_event_is_answered_again_when_the_history_has_ended_before_it(app: &TestApp) {
    let ann = app.user("ann").await;
    let (path, event) = ("/v1/topics/custom:builds/events", json!({ "type": "built", "data": 1 }));
    let first = ann.post(path, &event).once("key").await.expect(202);
    app.execute("DELETE FROM events").await;
    let second = ann.post(path, &event).once("key").await.expect(202);
    assert!(replayed(&second), "{second}");
    assert_eq!(essence(&second), essence(&first));
}

async fn a_repetition_is_refused_while_the_first_is_running(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = json!({ "title": "T", "content": "C" });
    let hold = match app.database {
        Database::Sqlite => "SELECT id FROM users", // Nobody else writes meanwhile.
        Database::Postgres => "SELECT id FROM users FOR UPDATE",
    };
    let other = app.begin(&[hold]).await;
    let mut first = ann.post_snippet(&snippet).once("a-key").into_future();
    let early = tokio::time::timeout(Duration::from_secs(1), &mut first).await;
    assert!(early.is_err(), "the first one waits");
    ann.post_snippet(&snippet).once("a-key").await.problem(409, "idempotency_in_progress");
    other.commit().await;
    let first = first.await.expect(201);
    let third = ann.post_snippet(&snippet).once("a-key").await.expect(201);
    assert!(!replayed(&first) && replayed(&third), "{third}");
    assert_eq!(first.id(), third.id());
}
