//! How much a client may ask.

use serde_json::json;

use crate::support::{Answer, Call, Persona, Problem, TestApp, on_both_databases};

on_both_databases![
    too_many_requests_are_refused_with_the_time_to_wait with ["--rate-limit", "20"],
    one_users_limit_leaves_others_alone with ["--rate-limit", "20"],
    passwords_cannot_be_guessed_without_end with ["--sign-in-limit", "5"],
    signing_in_is_limited_whatever_the_general_limit_is with ["--sign-in-limit", "5", "--rate-limit", "0"],
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
