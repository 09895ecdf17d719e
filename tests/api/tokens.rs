//! `/v1/tokens`: personal access tokens.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Database, PASSWORD, Persona, TestApp, eventually, on_both_databases, path_of};

on_both_databases![
    a_token_is_shown_once,
    tokens_are_listed_for_their_owner_only,
    tokens_are_paged,
    a_reading_token_cannot_write,
    a_writing_token_can_write,
    a_token_cannot_make_a_stronger_one,
    a_token_is_not_given_what_a_stronger_one_was_answered,
    a_token_ends_with_the_token_that_made_it,
    a_token_ends_no_later_than_the_token_that_made_it,
    an_admins_token_is_no_admin_without_the_scope,
    using_a_token_is_remembered,
    the_last_use_of_a_token_is_written_down_at_a_stop,
    a_revoked_token_is_refused,
    revoking_a_token_ends_its_streams,
    a_token_ends_when_it_was_told_to,
    the_end_of_a_token_lies_ahead,
    tokens_need_a_credential,
    only_the_owner_revokes,
    no_secret_is_in_the_database,
];

const HOUR: Duration = Duration::from_secs(3600);

async fn listed(person: &Persona) -> Vec<Value> {
    let page = person.get("/v1/tokens").await.expect(200).json();
    page["data"].as_array().expect("a page has data").clone()
}

async fn a_token_is_shown_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let wish = json!({ "name": "a script", "scopes": ["read", "write"], "expires_at": app.in_future(HOUR) });
    let answer = ann.post("/v1/tokens", &wish).await.expect(201);
    let mut token = answer.json();
    let secret = token["token"].take();
    let secret = secret.as_str().expect("the token is shown");
    assert!(secret.starts_with("sbx_"), "{answer}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let expected = json!({
        "id": answer.id(),
        "name": "a script",
        "scopes": ["read", "write"],
        "created_at": app.now(),
        "expires_at": app.in_future(HOUR),
        "last_used_at": null,
        "token": null,
    });
    assert_eq!(token, expected);
    let list = ann.get("/v1/tokens").await.expect(200).text();
    assert!(list.contains(&answer.id()) && !list.contains(secret), "{list}");
}

async fn tokens_are_listed_for_their_owner_only(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    ann.with_scopes(&["read"]).await;
    ann.with_scopes(&["write"]).await;
    assert_eq!(listed(&ann).await.len(), 2);
    assert_eq!(listed(&bob).await, Vec::<Value>::new());
}

async fn tokens_are_paged(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..3 {
        ann.with_scopes(&["read"]).await;
    }
    let first = ann.get("/v1/tokens?limit=2").await.expect(200).json();
    assert_eq!(first["data"].as_array().map(Vec::len), Some(2));
    let cursor = first["next_cursor"].as_str().expect("there is a second page");
    let second = ann.get(&format!("/v1/tokens?limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!(second["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["next_cursor"], Value::Null);
}

async fn a_reading_token_cannot_write(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet = path_of(&ann.has_snippet(json!({})).await);
    let script = ann.with_scopes(&["read"]).await;
    script.get("/v1/me").await.expect(200);
    script.get(&snippet).await.expect(200);
    script.subscribe("topics=snippets,custom:mine").await.disconnect();
    let new = json!({ "title": "T", "content": "C" });
    for call in [
        script.post("/v1/snippets", &new),
        script.patch(&snippet, &new),
        script.delete(&snippet),
        script.patch("/v1/me", &json!({ "name": "Mallory" })),
        script.delete("/v1/me"),
        script.post("/v1/tokens", &json!({ "name": "more", "scopes": ["write"] })),
        script.publish("custom:builds", &json!({ "type": "built", "data": 1 })),
    ] {
        call.await.problem(403, "insufficient_scope");
    }
    assert_eq!(ann.get(&snippet).await.expect(200).json()["version"], 1);
}

async fn a_writing_token_can_write(app: &TestApp) {
    let ann = app.user("ann").await;
    let script = ann.with_scopes(&["read", "write"]).await;
    let snippet = path_of(&script.has_snippet(json!({ "visibility": "private" })).await);
    script.patch(&snippet, &json!({ "title": "T" })).await.expect(200);
    script.delete(&snippet).await.expect(204);
}

async fn a_token_cannot_make_a_stronger_one(app: &TestApp) {
    let admin = app.admin().await.with_scopes(&["read", "write"]).await;
    let stronger = json!({ "name": "more", "scopes": ["read", "write", "admin"] });
    admin.post("/v1/tokens", &stronger).await.problem(403, "insufficient_scope");
}

async fn a_token_is_not_given_what_a_stronger_one_was_answered(app: &TestApp) {
    let session = app.admin().await;
    let token = json!({ "name": "more", "scopes": ["read", "write", "notify", "admin"] });
    for (path, wish) in [("/v1/tokens", &token), ("/v1/stream-tokens", &json!({}))] {
        session.post(path, wish).once(path).await.expect(201);
        let same = session.sign_in().await.post(path, wish).once(path).await.expect(201);
        assert_eq!(same.header("idempotent-replayed"), "true");
        // The last one may do the same, but ends what it makes with itself.
        for scopes in [&["read", "write"][..], &["read", "write", "notify", "admin"]] {
            let weaker = session.with_scopes(scopes).await;
            weaker.post(path, wish).once(path).await.problem(422, "idempotency_key_reused");
        }
    }
}

async fn a_token_ends_with_the_token_that_made_it(app: &TestApp) {
    let ann = app.user("ann").await;
    let first = ann.with_scopes(&["read", "write"]).await;
    let path = format!("/v1/tokens/{}", id_of_token(&ann).await);
    let second = first.with_scopes(&["read", "write"]).await;
    let third = second.with_scopes(&["read"]).await;
    let mut stream = third.subscribe("topics=snippets").await;
    ann.delete(&path).await.expect(204);
    for token in [&first, &second, &third] {
        token.get("/v1/me").await.problem(401, "unauthenticated");
    }
    stream.until("closing").await;
    stream.ended().await;
    assert_eq!(listed(&ann).await, Vec::<Value>::new());
}

async fn a_token_ends_no_later_than_the_token_that_made_it(app: &TestApp) {
    let ann = app.user("ann").await;
    let end = app.in_future(HOUR);
    let wish = json!({ "name": "first", "scopes": ["read", "write"], "expires_at": end });
    let first = ann.post("/v1/tokens", &wish).await.expect(201).json();
    let first = ann.with_token(first["token"].as_str().expect("the token is shown"));
    let sooner = app.in_future(HOUR / 2);
    for (wished, granted) in
        [(json!(null), &end), (json!(app.in_future(2 * HOUR)), &end), (json!(sooner), &sooner)]
    {
        let wish = json!({ "name": "second", "scopes": ["read"], "expires_at": wished });
        assert_eq!(first.post("/v1/tokens", &wish).await.expect(201).json()["expires_at"], **granted);
    }
}

async fn an_admins_token_is_no_admin_without_the_scope(app: &TestApp) {
    let (ann, admin) = (app.user("ann").await, app.admin().await);
    let snippet = ann.has_snippet_that_is("private").await;
    admin.get(&snippet).await.expect(200);
    admin.with_scopes(&["read"]).await.get(&snippet).await.problem(404, "not_found");
    admin.with_scopes(&["read", "admin"]).await.get(&snippet).await.expect(200);
}

async fn using_a_token_is_remembered(app: &TestApp) {
    let ann = app.user("ann").await;
    let script = ann.with_scopes(&["read"]).await;
    assert_eq!(listed(&ann).await[0]["last_used_at"], Value::Null);
    app.clock.advance(HOUR);
    script.get("/v1/me").await.expect(200);
    eventually("the token was used", async || {
        let tokens = listed(&ann).await;
        (tokens[0]["last_used_at"] == app.now()).then_some(())
    })
    .await;
}

async fn the_last_use_of_a_token_is_written_down_at_a_stop(app: &TestApp) {
    let ann = app.user("ann").await;
    let script = ann.with_scopes(&["read"]).await;
    script.get("/v1/me").await.expect(200);
    app.restart_with(&[]).await;
    assert_eq!(listed(&ann).await[0]["last_used_at"], app.now());
}

/// The id of the one token this person has.
async fn id_of_token(person: &Persona) -> String {
    listed(person).await[0]["id"].as_str().expect("a token has an id").to_owned()
}

async fn a_revoked_token_is_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let script = ann.with_scopes(&["read"]).await;
    let path = format!("/v1/tokens/{}", id_of_token(&ann).await);
    script.get("/v1/me").await.expect(200);
    ann.delete(&path).await.expect(204);
    script.get("/v1/me").await.problem(401, "unauthenticated");
    ann.delete(&path).await.problem(404, "not_found");
    assert_eq!(listed(&ann).await, Vec::<Value>::new());
}

async fn revoking_a_token_ends_its_streams(app: &TestApp) {
    let ann = app.user("ann").await;
    let script = ann.with_scopes(&["read"]).await;
    let mut stream = script.subscribe("topics=snippets").await;
    ann.delete(&format!("/v1/tokens/{}", id_of_token(&ann).await)).await.expect(204);
    stream.until("closing").await;
    stream.ended().await;
}

async fn a_token_ends_when_it_was_told_to(app: &TestApp) {
    let ann = app.user("ann").await;
    let wish = json!({ "name": "a script", "scopes": ["read"], "expires_at": app.in_future(HOUR) });
    let token = ann.post("/v1/tokens", &wish).await.expect(201).json();
    let script = ann.with_token(token["token"].as_str().expect("the token is shown"));
    app.clock.advance(HOUR - Duration::from_secs(1));
    script.get("/v1/me").await.expect(200);
    app.clock.advance(Duration::from_secs(2));
    script.get("/v1/me").await.problem(401, "unauthenticated");
}

async fn the_end_of_a_token_lies_ahead(app: &TestApp) {
    let ann = app.user("ann").await;
    let moments = [
        "2020-01-01T00:00:00Z",
        "soon",
        "2027-02-30T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "+262142-01-01T00:00:00Z",
    ];
    for moment in moments.map(str::to_owned).into_iter().chain([app.now()]) {
        let wish = json!({ "name": "a script", "scopes": ["read"], "expires_at": moment });
        let problem = ann.post("/v1/tokens", &wish).await.problem(422, "validation_failed");
        assert_eq!(problem.pointers(), ["/expires_at"], "{moment}");
    }
    let last = json!({ "name": "a script", "scopes": ["read"], "expires_at": "9999-12-31T23:59:59.999Z" });
    assert_eq!(ann.post("/v1/tokens", &last).await.expect(201).json()["expires_at"], last["expires_at"]);
    let endless = json!({ "name": "a script", "scopes": ["read"], "expires_at": null });
    assert_eq!(ann.post("/v1/tokens", &endless).await.expect(201).json()["expires_at"], Value::Null);
    let aimless = json!({ "name": "a script", "scopes": [] });
    let problem = ann.post("/v1/tokens", &aimless).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/scopes"]);
}

async fn tokens_need_a_credential(app: &TestApp) {
    let anonymous = app.anonymous();
    anonymous.get("/v1/tokens").await.problem(401, "unauthenticated");
    let wish = json!({ "name": "a script", "scopes": ["read"] });
    anonymous.post("/v1/tokens", &wish).await.problem(401, "unauthenticated");
    let path = "/v1/tokens/01890000-0000-7000-8000-000000000000";
    anonymous.delete(path).await.problem(401, "unauthenticated");
}

async fn only_the_owner_revokes(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let script = ann.with_scopes(&["read"]).await;
    bob.delete(&format!("/v1/tokens/{}", id_of_token(&ann).await)).await.problem(404, "not_found");
    script.get("/v1/me").await.expect(200);
}

/// Everything that is stored: the bytes of SQLite's files, or the rows of PostgreSQL, where bytes are shown in hex.
async fn stored(app: &TestApp) -> Vec<u8> {
    match app.database {
        Database::Sqlite => {
            let files =
                ["snippetbox.db", "snippetbox.db-wal"].map(|name| format!("{}/{name}", app.data_dir()));
            files.iter().flat_map(|file| std::fs::read(file).expect("a file of the database")).collect()
        }
        Database::Postgres => {
            let rows = app.stored_bytes(
                "SELECT convert_to(CAST(t AS TEXT), 'UTF8') FROM users t
                 UNION ALL SELECT convert_to(CAST(t AS TEXT), 'UTF8') FROM credentials t
                 UNION ALL SELECT convert_to(CAST(t AS TEXT), 'UTF8') FROM idempotency_keys t
                 UNION ALL SELECT convert_to(CAST(t AS TEXT), 'UTF8') FROM events t",
            );
            rows.await.concat()
        }
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

async fn no_secret_is_in_the_database(app: &TestApp) {
    let ann = app.user("ann").await;
    let wishes = [
        ("/v1/sessions", ann.signed_out(), ann.right_credentials()),
        ("/v1/tokens", ann.clone(), json!({ "name": "a script", "scopes": ["read"] })),
        ("/v1/stream-tokens", ann.clone(), json!({})),
    ];
    let mut secrets = vec![PASSWORD.to_owned(), ann.token().to_owned(), "a-secret-key".to_owned()];
    for (path, person, wish) in wishes {
        for _ in 0..2 {
            let key = format!("a-secret-key{path}");
            let answer = person.post(path, &wish).once(&key).await.expect(201).json();
            secrets.push(answer["token"].as_str().expect("a token").to_owned());
        }
    }
    let stored = stored(app).await;
    let holds = |text: &str| stored.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("ann@example.org") && holds("a script"), "these are the data");
    for secret in secrets {
        let secret = secret.splitn(3, '_').last().expect("the part behind the prefix");
        assert!(secret.len() >= 10, "{secret}");
        assert!(!holds(secret) && !holds(&hex(secret)), "{secret} is stored");
    }
    let hashes = match app.database {
        Database::Sqlite => "SELECT CAST(password_hash AS BLOB) FROM users",
        Database::Postgres => "SELECT convert_to(password_hash, 'UTF8') FROM users",
    };
    for hash in app.stored_bytes(hashes).await {
        let hash = String::from_utf8(hash).expect("text");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }
}
