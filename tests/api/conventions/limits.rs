//! How much a client may ask.

use serde_json::json;

use crate::support::{Answer, Call, Persona, Problem, TestApp, on_both_databases};

on_both_databases![
    too_many_requests_are_refused_with_the_time_to_wait with ["--rate-limit", "20"],
    every_answer_tells_what_is_left with ["--rate-limit", "6"],
    one_users_limit_leaves_others_alone with ["--rate-limit", "20"],
    passwords_cannot_be_guessed_without_end with ["--sign-in-limit", "5"],
    signing_in_is_limited_whatever_the_general_limit_is with ["--sign-in-limit", "5", "--rate-limit", "0"],
    a_limit_is_told_by_its_name with ["--sign-in-limit", "5", "--rate-limit", "20"],
    guesses_at_tokens_are_counted with ["--rate-limit", "20"],
    a_client_cannot_choose_its_address with ["--rate-limit", "20", "--trust-proxy", "true"],
    behind_a_proxy_each_client_has_its_own_limit with ["--rate-limit", "20", "--trust-proxy", "true"],
];

/// Repeats a request until it is refused; what it answered before is given to `check`.
async fn limited(request: impl Fn() -> Call, check: impl Fn(Answer)) -> Problem {
    for _ in 0..60 {
        let answer = request().await;
        if answer.status == 429 {
            return answer.problem(429, "rate_limited");
        }
        check(answer);
    }
    panic!("60 requests were not too many");
}

fn assert_says_when_to_come_back(problem: &Problem) {
    let header = |name: &str| problem.headers.get(name).and_then(|value| value.to_str().ok());
    let seconds: u64 = header("retry-after").expect("Retry-After").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds), "{problem:?}");
    assert!(header("ratelimit").is_some_and(|value| value.contains("r=0")), "{problem:?}");
    assert!(header("ratelimit-policy").is_some_and(|value| value.contains("q=")), "{problem:?}");
}

async fn too_many_requests_are_refused_with_the_time_to_wait(app: &TestApp) {
    let anonymous = app.anonymous();
    let problem = limited(|| anonymous.get("/v1/snippets"), |answer| drop(answer.expect(200))).await;
    assert_says_when_to_come_back(&problem);
}

async fn every_answer_tells_what_is_left(app: &TestApp) {
    let ann = app.user("ann").await;
    let missing = "/v1/snippets/00000000-0000-0000-0000-000000000000";
    let stale = ann.patch("/v1/me", &json!({ "name": "Anna" })).header("If-Match", "\"9\"");
    // One request of the six comes back in ten seconds.
    for (call, status, left) in
        [(ann.get("/v1/me"), 200, "r=5;t=10"), (ann.get(missing), 404, "r=4;t=20"), (stale, 412, "r=3;t=30")]
    {
        let answer = call.await.expect(status);
        assert_eq!(answer.header("ratelimit-policy"), "\"default\";q=6;w=60");
        assert_eq!(answer.header("ratelimit"), format!("\"default\";{left}"));
    }
}

async fn one_users_limit_leaves_others_alone(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    limited(|| ann.get("/v1/me"), |answer| drop(answer.expect(200))).await;
    bob.get("/v1/me").await.expect(200);
}

fn guess(ann: &Persona, password: &str) -> Call {
    ann.signed_out().post("/v1/sessions", &json!({ "email": ann.email, "password": password }))
}

async fn passwords_cannot_be_guessed_without_end(app: &TestApp) {
    let admin = app.admin().await;
    let wrong = || guess(admin, "a wrong guess");
    let problem = limited(wrong, |answer| drop(answer.problem(401, "invalid_credentials"))).await;
    assert_says_when_to_come_back(&problem);
}

async fn signing_in_is_limited_whatever_the_general_limit_is(app: &TestApp) {
    let admin = app.admin().await;
    limited(|| guess(admin, "a wrong guess"), drop).await;
    let right = app.anonymous().post("/v1/sessions", &admin.right_credentials());
    right.await.problem(429, "rate_limited");
    admin.get("/v1/me").await.expect(200);
}

async fn a_limit_is_told_by_its_name(app: &TestApp) {
    let (anonymous, nobody) = (app.anonymous(), json!({ "email": "a@example.org", "password": "a guess" }));
    let sign_in = limited(|| anonymous.post("/v1/sessions", &nobody), drop).await;
    let request = limited(|| anonymous.get("/v1/snippets"), drop).await;
    for (problem, name) in [(sign_in, "sign-in"), (request, "default")] {
        let header = |header: &str| problem.headers[header].to_str().expect("text").to_owned();
        for header in [header("ratelimit"), header("ratelimit-policy")] {
            assert!(header.starts_with(&format!("\"{name}\";")), "{header}");
        }
        let wait = format!("wait {} s", header("retry-after"));
        assert!(problem.detail().contains(&wait), "`{wait}` is not in {}", problem.detail());
    }
}

async fn guesses_at_tokens_are_counted(app: &TestApp) {
    let guesser = app.anonymous().with_token("sbx_token_AAAA");
    let check = |answer: Answer| {
        assert!(answer.find_header("ratelimit").is_some(), "{answer}");
        answer.problem(401, "unauthenticated");
    };
    let problem = limited(|| guesser.get("/v1/me"), check).await;
    assert_says_when_to_come_back(&problem);
    // The others at this address have a limit of their own once they say who they are; strangers share it.
    app.anonymous().get("/v1/snippets").await.problem(429, "rate_limited");
}

async fn a_client_cannot_choose_its_address(app: &TestApp) {
    let (anonymous, number) = (app.anonymous(), std::cell::Cell::new(0));
    let forging = || {
        number.set(number.get() + 1);
        let made_up = format!("198.51.100.{}", number.get());
        let call = anonymous.get("/v1/snippets").header("Forwarded", format!("for={made_up}"));
        call.header("X-Forwarded-For", format!("{made_up}, 203.0.113.7"))
    };
    limited(forging, |answer| drop(answer.expect(200))).await;
}

async fn behind_a_proxy_each_client_has_its_own_limit(app: &TestApp) {
    let anonymous = app.anonymous();
    let from = |address: &str| anonymous.get("/v1/snippets").header("X-Forwarded-For", address);
    limited(|| from("203.0.113.7"), |answer| drop(answer.expect(200))).await;
    from("203.0.113.8").await.expect(200);
}
