//! Who may do what in whose room: every route, everybody.

use reqwest::Method;
use serde_json::json;

use super::{NOWHERE, add, put, room_of, says, topic};
use crate::support::{Answer, Call, Persona, TestApp, on_both_databases};

on_both_databases![
    everybody_may_do_what_the_table_says,
    a_foreign_room_looks_exactly_like_a_missing_one,
    a_foreign_message_looks_exactly_like_a_missing_one,
    without_public_read_everything_needs_credentials with ["--public-read", "false"],
    tokens_do_what_their_scopes_say,
];

const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// Everything that can be asked of one room: what it is, how it is asked, and the status where it is allowed.
/// `message` is the last one in the room, by the person who asks where that person may write there.
fn calls(person: &Persona, room: &str, other: &Persona, message: &str) -> Vec<(&'static str, Call, u16)> {
    let (messages, message) = (format!("{room}/messages"), format!("{room}/messages/{message}"));
    let id = message.rsplit('/').next().expect("an id");
    let events = format!("/v1/events?topics={}", topic(room));
    vec![
        ("read", person.get(room), 200),
        ("read", person.call(Method::HEAD, room), 200),
        ("read", person.get(&format!("{room}/members")), 200),
        ("read", person.get(&messages), 200),
        ("read", person.get(&message), 200),
        ("read", person.get(&format!("{room}/events")), 200),
        ("read", person.get(&events), 200),
        ("read", person.get(&format!("{events}&since=earliest")), 200),
        ("read", person.get(&events).header("Accept", "application/json"), 200),
        ("type", put(person, &format!("{room}/typing"), &json!({ "typing": true })), 204),
        ("mark", put(person, &format!("{room}/read"), &json!({ "message_id": id })), 200),
        ("write", person.post(&messages, &json!({ "content": "x" })), 201),
        ("edit", person.patch(&message, &json!({ "content": "y" })), 200),
        ("edit", person.delete(&message), 204),
        ("own", person.patch(room, &json!({ "name": "Hall" })), 200),
        ("own", add(person, room, other), 201),
        ("own", person.delete(&format!("{room}/members/{}", other.id)), 204),
        ("own", person.delete(room), 204),
    ]
}

/// What each may do, in the order of the actions: yes, or why not.
const TABLE: [(&str, &str, [u16; 6]); 10] = [
    //                         read type mark write edit own
    ("anonymous", "public", [0, 401, 401, 401, 401, 401]),
    ("stranger", "public", [0, 0, 403, 0, 403, 403]),
    ("member", "public", [0, 0, 0, 0, 403, 403]),
    ("owner", "public", [0, 0, 0, 0, 0, 0]),
    ("admin", "public", [0, 0, 403, 0, 0, 0]),
    ("anonymous", "private", [404, 401, 401, 401, 401, 401]),
    ("stranger", "private", [404, 404, 404, 404, 404, 404]),
    ("member", "private", [0, 0, 0, 0, 403, 403]),
    ("owner", "private", [0, 0, 0, 0, 0, 0]),
    ("admin", "private", [0, 403, 403, 403, 0, 0]),
];

async fn everybody_may_do_what_the_table_says(app: &TestApp) {
    let (owner, member) = (app.user("owner").await, app.user("member").await);
    let (stranger, other) = (app.user("stranger").await, app.user("other").await);
    let (anonymous, admin) = (app.anonymous(), app.admin().await);
    for (who, visibility, row) in TABLE {
        let person = match who {
            "anonymous" => &anonymous,
            "stranger" => &stranger,
            "member" => &member,
            "owner" => &owner,
            _ => admin,
        };
        let room = room_of(&owner, visibility).await;
        add(&owner, &room, &member).await.expect(201);
        let message = says(&owner, &room, "Hello").await;
        for (action, call, allowed) in calls(person, &room, &other, &message) {
            let actions = ["read", "type", "mark", "write", "edit", "own"];
            let column = actions.iter().position(|known| *known == action).expect("a column");
            let expected = if row[column] == 0 { allowed } else { row[column] };
            let answer = call.await;
            assert_eq!(answer.status.as_u16(), expected, "{who}, {visibility}, {action}: {answer}");
        }
    }
    anonymous.post("/v1/rooms", &json!({ "name": "Den" })).await.problem(401, "unauthenticated");
}

/// What a refusal says, the id of the request aside. The answer to HEAD has no body.
fn refusal(answer: Answer) -> serde_json::Value {
    if answer.body.is_empty() {
        return json!(answer.status.as_u16());
    }
    let status = answer.status.as_u16();
    let code = answer.json()["code"].as_str().expect("a code").to_owned();
    answer.problem(status, &code).without_request()
}

async fn a_foreign_room_looks_exactly_like_a_missing_one(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "private").await;
    let message = says(&ann, &room, "Hello").await;
    for person in [&bob, &app.anonymous()] {
        let foreign = calls(person, &room, &ann, &message);
        let missing = calls(person, NOWHERE, &ann, &message);
        for ((action, foreign, _), (_, missing, _)) in foreign.into_iter().zip(missing) {
            assert_eq!(refusal(foreign.await), refusal(missing.await), "{action}");
        }
        // Nor can be told who exists, or who is in it.
        for method in [Method::PUT, Method::DELETE] {
            for user in [&ann.id, &bob.id, NOBODY] {
                let call = |room: &str| person.call(method.clone(), &format!("{room}/members/{user}"));
                assert_eq!(refusal(call(&room).await), refusal(call(NOWHERE).await));
            }
        }
    }
}

async fn a_foreign_message_looks_exactly_like_a_missing_one(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (secret, own) = (room_of(&ann, "private").await, room_of(&bob, "public").await);
    let foreign = says(&ann, &secret, "Hello").await;
    for (method, body) in
        [(Method::GET, None), (Method::PATCH, Some(json!({ "content": "x" }))), (Method::DELETE, None)]
    {
        let call = |message: &str| {
            let call = bob.call(method.clone(), &format!("{own}/messages/{message}"));
            if let Some(body) = &body { call.json(body) } else { call }
        };
        let refused = call(&foreign).await.problem(404, "not_found").without_request();
        assert_eq!(refused, call(NOBODY).await.problem(404, "not_found").without_request());
    }
}

async fn without_public_read_everything_needs_credentials(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let bob = app.user("bob").await;
    for path in [
        "/v1/rooms".to_owned(),
        room.clone(),
        format!("{room}/members"),
        format!("{room}/messages"),
        format!("{room}/events"),
    ] {
        app.anonymous().get(&path).await.problem(401, "unauthenticated");
        bob.get(&path).await.expect(200);
    }
}

async fn tokens_do_what_their_scopes_say(app: &TestApp) {
    let (ann, other) = (app.user("ann").await, app.user("other").await);
    let reader = ann.with_scopes(&["read"]).await;
    let room = room_of(&ann, "private").await;
    let message = says(&ann, &room, "Hello").await;
    for (action, call, allowed) in calls(&reader, &room, &other, &message) {
        match action {
            "read" => drop(call.await.expect(allowed)),
            _ => drop(call.await.problem(403, "insufficient_scope")),
        }
    }
    // An administrator's token without that scope is anybody's.
    let plain = app.admin().await.with_scopes(&["read", "write"]).await;
    for (action, call, _) in calls(&plain, &room, &other, &message) {
        assert_eq!(call.await.status.as_u16(), 404, "{action}");
    }
}
