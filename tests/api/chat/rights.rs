//! Who may do what in whose room: every route, everybody.

use reqwest::Method;
use serde_json::json;

use super::{NOWHERE, add, put, remove, room_of, says, topic};
use crate::support::{Answer, Call, Persona, TestApp, on_both_databases};

on_both_databases![
    everybody_may_do_what_the_table_says,
    a_message_is_its_authors_and_the_rooms_owners,
    everybody_enters_and_leaves_as_the_table_says,
    everybody_follows_the_rooms_that_they_may_read,
    everybody_lists_rooms_and_who_is_signed_in_makes_them,
    the_tables_leave_nothing_out,
    a_foreign_room_looks_exactly_like_a_missing_one,
    a_foreign_message_looks_exactly_like_a_missing_one,
    without_public_read_everything_needs_credentials with ["--public-read", "false"],
    tokens_do_what_their_scopes_say,
];

const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// What anybody can be refused for a reason of their own, whatever they ask.
const REASONS: [(u16, &str); 3] = [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found")];

/// Everything that can be asked of one room: what it is, how it is asked, and the status where it is allowed.
/// `message` is one of its owner's.
fn calls(person: &Persona, room: &str, other: &Persona, message: &str) -> Vec<(&'static str, Call, u16)> {
    let (messages, message) = (format!("{room}/messages"), format!("{room}/messages/{message}"));
    let id = message.rsplit('/').next().expect("an id");
    let events = format!("/v1/events?topics={}", topic(room));
    let presence = format!("/v1/presence/{}", topic(room));
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
        ("read", person.get(&presence), 200),
        ("be", put(person, &presence, &json!({ "ttl_s": 60 })), 200),
        ("be", person.patch(&presence, &json!({ "status": "away" })), 200),
        ("be", person.delete(&presence), 204),
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

const ACTIONS: [&str; 7] = ["read", "be", "type", "mark", "write", "edit", "own"];

/// What each may do, in the order of the actions: yes, or why not.
const TABLE: [(&str, &str, [u16; 7]); 10] = [
    //                         read be type mark write edit own
    ("anonymous", "public", [0, 401, 401, 401, 401, 401, 401]),
    ("stranger", "public", [0, 0, 0, 403, 0, 403, 403]),
    ("member", "public", [0, 0, 0, 0, 0, 403, 403]),
    ("owner", "public", [0, 0, 0, 0, 0, 0, 0]),
    ("admin", "public", [0, 0, 0, 403, 0, 0, 0]),
    ("anonymous", "private", [404, 401, 401, 401, 401, 401, 401]),
    ("stranger", "private", [404, 404, 404, 404, 404, 404, 404]),
    ("member", "private", [0, 0, 0, 0, 0, 403, 403]),
    ("owner", "private", [0, 0, 0, 0, 0, 0, 0]),
    ("admin", "private", [0, 0, 403, 403, 403, 0, 0]),
];

/// Asserts that a call is allowed, or refused in the one form of its reason.
fn assert_answers(answer: Answer, (refused, allowed): (u16, u16), what: &str) {
    let expected = if refused == 0 { allowed } else { refused };
    assert_eq!(answer.status.as_u16(), expected, "{what}: {answer}");
    // The answer to HEAD has no body.
    if let Some((status, code)) = REASONS.iter().find(|(status, _)| *status == refused)
        && !answer.body.is_empty()
    {
        answer.problem(*status, code);
    }
}

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
            let column = ACTIONS.iter().position(|known| *known == action).expect("a column");
            assert_answers(call.await, (row[column], allowed), &format!("{who}, {visibility}, {action}"));
        }
    }
}

/// What becomes of a stream that is to follow one more room: a foreign and a missing one look the same.
async fn everybody_follows_the_rooms_that_they_may_read(app: &TestApp) {
    let (owner, member) = (app.user("owner").await, app.user("member").await);
    let (stranger, anonymous, admin) = (app.user("stranger").await, app.anonymous(), app.admin().await);
    let (public, private) = (room_of(&owner, "public").await, room_of(&owner, "private").await);
    add(&owner, &private, &member).await.expect(201);
    for (person, reads_private) in
        [(&anonymous, false), (&stranger, false), (&member, true), (&owner, true), (admin, true)]
    {
        let stream = person.subscribe("topics=snippets").await;
        for (room, may) in [(public.as_str(), true), (private.as_str(), reads_private), (NOWHERE, false)] {
            let path = format!("/v1/events/{}", stream.connection());
            let answer = person.patch(&path, &json!({ "add": [topic(room)] })).await.expect(200).json();
            let denied = json!([{ "topic": topic(room), "code": "not_found" }]);
            assert_eq!(answer["denied"], if may { json!([]) } else { denied }, "{}: {answer}", person.name);
            let topics = answer["topics"].as_array().expect("topics");
            assert_eq!(topics.contains(&json!(topic(room))), may, "{}: {answer}", person.name);
        }
    }
}

/// A member writes; and then: who may change that.
async fn a_message_is_its_authors_and_the_rooms_owners(app: &TestApp) {
    let (owner, author, member) =
        (app.user("owner").await, app.user("author").await, app.user("member").await);
    let (stranger, anonymous, admin) = (app.user("stranger").await, app.anonymous(), app.admin().await);
    for (visibility, hidden) in [("public", 403), ("private", 404)] {
        let room = room_of(&owner, visibility).await;
        add(&owner, &room, &author).await.expect(201);
        add(&owner, &room, &member).await.expect(201);
        for (person, refused) in
            [(&anonymous, 401), (&stranger, hidden), (&member, 403), (&author, 0), (&owner, 0), (admin, 0)]
        {
            let message = format!("{room}/messages/{}", says(&author, &room, "Hello").await);
            let what = format!("{} in a {visibility} room", person.name);
            let edit = person.patch(&message, &json!({ "content": "x" }));
            assert_answers(edit.await, (refused, 200), &what);
            assert_answers(person.delete(&message).await, (refused, 204), &what);
        }
    }
}

async fn everybody_enters_and_leaves_as_the_table_says(app: &TestApp) {
    let (owner, member) = (app.user("owner").await, app.user("member").await);
    let (stranger, anonymous, admin) = (app.user("stranger").await, app.anonymous(), app.admin().await);
    for (who, person, visibility, [enter, leave]) in [
        ("anonymous", &anonymous, "public", [401, 401]),
        ("stranger", &stranger, "public", [201, 204]),
        ("member", &member, "public", [200, 204]),
        ("owner", &owner, "public", [200, 409]),
        ("admin", admin, "public", [201, 204]),
        ("anonymous", &anonymous, "private", [401, 401]),
        ("stranger", &stranger, "private", [404, 404]),
        ("member", &member, "private", [200, 204]),
        ("owner", &owner, "private", [200, 409]),
        ("admin", admin, "private", [201, 204]),
    ] {
        let room = room_of(&owner, visibility).await;
        add(&owner, &room, &member).await.expect(201);
        // Whoever has no account has no place in any room either: any id does.
        let oneself = if person.id.is_empty() { &member } else { person };
        for (call, expected) in
            [(add(person, &room, oneself), enter), (remove(person, &room, oneself), leave)]
        {
            assert_answers(call.await, (expected, expected), &format!("{who}, {visibility}"));
        }
    }
}

/// Rooms as such: who may list them, and make one.
fn calls_on_all_rooms(person: &Persona) -> [(Call, u16); 3] {
    [
        (person.get("/v1/rooms"), 0),
        (person.get("/v1/rooms?joined=true"), 401),
        (person.post("/v1/rooms", &json!({ "name": "Den" })), 401),
    ]
}

async fn everybody_lists_rooms_and_who_is_signed_in_makes_them(app: &TestApp) {
    for (call, refused) in calls_on_all_rooms(&app.anonymous()) {
        assert_answers(call.await, (refused, 200), "anonymous");
    }
    for person in [&app.user("stranger").await, app.admin().await] {
        for (call, _) in calls_on_all_rooms(person) {
            let answer = call.await;
            assert!(answer.status.is_success(), "{answer}");
        }
    }
}

/// Every operation of this feature and its neighbours stands in one of the tables.
async fn the_tables_leave_nothing_out(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let notice = "/v1/notifications/01890000-0000-7000-8000-000000000000";
    let mut asked: Vec<Call> = calls(&ann, &room, &ann, NOBODY).into_iter().map(|it| it.1).collect();
    asked.extend(calls_on_all_rooms(&ann).into_iter().map(|it| it.0));
    asked.extend(crate::notifications::calls(&ann, notice, &ann));
    asked.extend(crate::presence::rights::calls(&ann, &topic(&room)));
    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    let mut n_found = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let tag = operation["tags"][0].as_str().expect("a tag");
            if ["chat", "notifications", "presence"].contains(&tag) {
                let is_asked = asked.iter().any(|call| call.is_of(method, path));
                assert!(is_asked, "{method} {path} is in no table of refusals");
                n_found += 1;
            }
        }
    }
    assert!(n_found > 20, "only {n_found} operations");
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
        assert_answers(call.await, (404, 404), action);
    }
}
