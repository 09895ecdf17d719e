//! `/v1/sessions`, by token and by cookie.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Persona, TestApp, on_both_databases, path_of};

on_both_databases![
    a_session_is_a_token_and_a_cookie,
    the_cookie_of_a_public_server_is_secure with ["--public-url", "https://snippets.example"],
    the_cookie_is_a_credential,
    addresses_do_not_mind_their_case,
    a_wrong_address_and_a_wrong_password_look_the_same,
    a_wrong_credential_is_not_taken_for_none,
    a_session_ends_after_its_time,
    signing_out_ends_this_session_only,
    signing_out_by_cookie_takes_the_cookie_away,
    signing_out_ends_the_streams_of_the_session,
    changes_by_cookie_must_come_from_this_site,
    changes_by_cookie_may_come_from_an_allowed_origin with ["--cors-origins", "https://app.example"],
    reading_by_cookie_may_come_from_anywhere,
    a_token_proves_itself_from_anywhere,
    the_cookie_behind_a_proxy_is_as_secure_as_the_client with ["--trust-proxy", "true"],
    a_proxy_that_is_not_trusted_says_nothing,
    a_trusted_proxy_names_the_site with ["--trust-proxy", "true"],
];

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn open_session(person: &Persona) -> Answer {
    person.signed_out().post("/v1/sessions", &person.right_credentials()).await.expect(201)
}

async fn in_browser(person: &Persona) -> Persona {
    let answer = open_session(person).await;
    let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default();
    let (name, value) = cookie.split_once('=').expect("a cookie has a value");
    assert_eq!(name, "session");
    person.with_cookie(value)
}

async fn a_session_is_a_token_and_a_cookie(app: &TestApp) {
    let ann = app.user("ann").await;
    let answer = open_session(&ann).await;
    let session = answer.json();
    assert!(session["token"].as_str().is_some_and(|token| token.starts_with("sbx_")), "{answer}");
    assert_eq!(session["expires_at"], app.in_future(30 * DAY));
    assert_eq!(session["user"], ann.get("/v1/me").await.json());
    assert_eq!(session.as_object().map(serde_json::Map::len), Some(3), "{answer}");
    let attributes: Vec<_> = answer.header("set-cookie").split("; ").skip(1).collect();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(attributes.contains(&attribute), "{answer}");
    }
    assert!(!attributes.contains(&"Secure"), "{answer}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn the_cookie_of_a_public_server_is_secure(app: &TestApp) {
    let answer = open_session(app.admin().await).await;
    assert!(answer.header("set-cookie").split("; ").any(|attribute| attribute == "Secure"), "{answer}");
}

async fn the_cookie_is_a_credential(app: &TestApp) {
    let ann = in_browser(&app.user("ann").await).await;
    assert_eq!(ann.get("/v1/me").await.expect(200).id(), ann.id);
    ann.subscribe("topics=custom:mine").await.disconnect();
}

async fn addresses_do_not_mind_their_case(app: &TestApp) {
    let ann = app.user("ann").await;
    let wish = json!({ "email": "Ann@EXAMPLE.org", "password": PASSWORD });
    let session = app.anonymous().post("/v1/sessions", &wish).await.expect(201).json();
    assert_eq!(session["user"]["id"], ann.id.as_str());
}

async fn a_wrong_address_and_a_wrong_password_look_the_same(app: &TestApp) {
    app.user("ann").await;
    let refuse = async |email: &str, password: &str| {
        let wish = json!({ "email": email, "password": password });
        let answer = app.anonymous().post("/v1/sessions", &wish).await;
        assert_eq!(answer.find_header("set-cookie"), None);
        answer.problem(401, "invalid_credentials").without_request()
    };
    let wrong_password = refuse("ann@example.org", "a wrong guess").await;
    assert_eq!(refuse("nobody@example.org", PASSWORD).await, wrong_password);
    assert_eq!(refuse("not even an address", "x").await, wrong_password);
}

async fn a_wrong_credential_is_not_taken_for_none(app: &TestApp) {
    let ann = app.user("ann").await;
    let almost = format!("{}x", ann.token());
    for token in ["nonsense", "sbx_AAAA", "", &almost, &ann.token().to_uppercase()] {
        for path in ["/v1/me", "/v1/snippets", "/v1/events?topics=snippets"] {
            ann.with_token(token).get(path).await.problem(401, "unauthenticated");
        }
    }
    let basic = app.anonymous().get("/v1/snippets").header("Authorization", "Basic YW5uOnNlY3JldA==");
    basic.await.problem(401, "unauthenticated");
}

async fn a_session_ends_after_its_time(app: &TestApp) {
    let ann = app.user("ann").await;
    app.clock.advance(30 * DAY - Duration::from_secs(1));
    ann.get("/v1/me").await.expect(200);
    app.clock.advance(Duration::from_secs(2));
    ann.get("/v1/me").await.problem(401, "unauthenticated");
}

async fn signing_out_ends_this_session_only(app: &TestApp) {
    let ann = app.user("ann").await;
    let phone = ann.sign_in().await;
    phone.delete("/v1/sessions/current").await.expect(204);
    phone.get("/v1/me").await.problem(401, "unauthenticated");
    phone.delete("/v1/sessions/current").await.problem(401, "unauthenticated");
    ann.get("/v1/me").await.expect(200);
    app.anonymous().delete("/v1/sessions/current").await.problem(401, "unauthenticated");
}

async fn signing_out_by_cookie_takes_the_cookie_away(app: &TestApp) {
    let ann = in_browser(&app.user("ann").await).await;
    let call = ann.delete("/v1/sessions/current").header("Sec-Fetch-Site", "same-origin");
    let answer = call.await.expect(204);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("session=;") && cookie.contains("Max-Age=0"), "{answer}");
    ann.get("/v1/me").await.problem(401, "unauthenticated");
}

async fn signing_out_ends_the_streams_of_the_session(app: &TestApp) {
    let ann = app.user("ann").await;
    let phone = ann.sign_in().await;
    let mut on_phone = phone.subscribe("topics=snippets").await;
    let mut here = ann.subscribe("topics=snippets").await;
    phone.delete("/v1/sessions/current").await.expect(204);
    let closing = on_phone.until("closing").await;
    assert!(closing.data["reason"].is_string(), "{closing:?}");
    on_phone.ended().await;
    ann.has_snippet(json!({})).await;
    assert_eq!(here.next().await.kind, "snippet_created");
}

const SNIPPET: &str = "{\"title\": \"T\", \"content\": \"C\"}";

/// Every kind of change, with the headers by which a browser says where it comes from.
async fn change_from(person: &Persona, path: &str, headers: &[(&str, &str)]) -> Vec<Answer> {
    let calls = [(Method::POST, "/v1/snippets"), (Method::PATCH, path), (Method::DELETE, path)];
    let mut answers = Vec::new();
    for (method, path) in calls {
        let mut call = person.call(method, path).body("application/json", SNIPPET);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        answers.push(call.await);
    }
    answers
}

async fn changes_by_cookie_must_come_from_this_site(app: &TestApp) {
    let ann = in_browser(&app.user("ann").await).await;
    let here = app.url();
    let new =
        ann.call(Method::POST, "/v1/snippets").body("application/json", SNIPPET).header("Origin", &here);
    let snippet = path_of(&new.await.expect(201).json());
    for headers in [
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")][..],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", "https://evil.example")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://127.0.0.1:1")],
    ] {
        for answer in change_from(&ann, &snippet, headers).await {
            answer.problem(403, "csrf");
        }
    }
    for headers in [&[("Sec-Fetch-Site", "same-origin")][..], &[("Origin", &*here)]] {
        let snippet = ann.call(Method::POST, "/v1/snippets").body("application/json", SNIPPET);
        let snippet = path_of(&snippet.header("Sec-Fetch-Site", "same-origin").await.expect(201).json());
        for answer in change_from(&ann, &snippet, headers).await {
            assert!(answer.status.is_success(), "{answer}");
        }
    }
}

async fn changes_by_cookie_may_come_from_an_allowed_origin(app: &TestApp) {
    let ann = in_browser(&app.user("ann").await).await;
    for (origin, is_allowed) in [("https://app.example", true), ("https://evil.example", false)] {
        let call = ann.call(Method::POST, "/v1/snippets").body("application/json", SNIPPET);
        let answer = call.header("Sec-Fetch-Site", "cross-site").header("Origin", origin).await;
        if is_allowed { drop(answer.expect(201)) } else { drop(answer.problem(403, "csrf")) }
    }
}

async fn reading_by_cookie_may_come_from_anywhere(app: &TestApp) {
    let ann = in_browser(&app.user("ann").await).await;
    let call =
        ann.get("/v1/me").header("Sec-Fetch-Site", "cross-site").header("Origin", "https://evil.example");
    call.await.expect(200);
}

async fn a_token_proves_itself_from_anywhere(app: &TestApp) {
    let ann = app.user("ann").await;
    let snippet: Value = serde_json::from_str(SNIPPET).expect("JSON");
    let call = ann.post_snippet(&snippet).header("Sec-Fetch-Site", "cross-site");
    call.header("Origin", "https://evil.example").await.expect(201);
}

/// Signs in as a proxy on this machine hands it on, and tells whether the cookie is for TLS alone.
async fn is_secure(person: &Persona, headers: &[(&str, &str)]) -> bool {
    let mut call = person.signed_out().post("/v1/sessions", &person.right_credentials());
    for (name, value) in headers {
        call = call.header(name, value);
    }
    let answer = call.await.expect(201);
    answer.header("set-cookie").split("; ").any(|attribute| attribute == "Secure")
}

async fn the_cookie_behind_a_proxy_is_as_secure_as_the_client(app: &TestApp) {
    let admin = app.admin().await;
    assert!(is_secure(admin, &[("X-Forwarded-Proto", "https")]).await);
    assert!(is_secure(admin, &[("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "127.0.0.1")]).await);
    assert!(is_secure(admin, &[("X-Forwarded-Proto", "http"), ("X-Forwarded-For", "203.0.113.7")]).await);
    assert!(!is_secure(admin, &[("X-Forwarded-Proto", "http"), ("X-Forwarded-For", "127.0.0.1")]).await);
}

const FROM_EVIL: [(&str, &str); 2] =
    [("Origin", "https://evil.example"), ("X-Forwarded-Host", "evil.example")];

async fn a_proxy_that_is_not_trusted_says_nothing(app: &TestApp) {
    assert!(!is_secure(app.admin().await, &[("X-Forwarded-Proto", "https")]).await);
    let ann = in_browser(&app.user("ann").await).await;
    let call = ann.call(Method::POST, "/v1/snippets").body("application/json", SNIPPET);
    let call = FROM_EVIL.iter().fold(call, |call, (name, value)| call.header(name, value));
    call.await.problem(403, "csrf");
}

async fn a_trusted_proxy_names_the_site(app: &TestApp) {
    let ann = in_browser(&app.user("ann").await).await;
    for (host, status) in [("app.example", 201), ("evil.example, app.example", 201), ("other.example", 403)] {
        let call = ann.call(Method::POST, "/v1/snippets").body("application/json", SNIPPET);
        let call = call.header("Origin", "https://app.example").header("X-Forwarded-Host", host);
        call.await.expect(status);
    }
}
