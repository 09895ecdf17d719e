//! Bodies that break a rule, and what they leave behind: nothing.

use reqwest::Method;
use serde_json::{Value, json};

use super::{NOWHERE, add, contents, put, room_of, says, topic};
use crate::support::{Persona, TestApp, on_both_databases};

on_both_databases![
    wrong_rooms_are_refused,
    wrong_messages_are_refused,
    strangers_cannot_be_mentioned,
    a_refused_message_makes_nobody_a_member,
    what_goes_to_a_deleted_room_is_not_found,
    wrong_marks_and_typing_are_refused,
    unknown_members_are_not_found,
];

async fn broken(person: &Persona, method: Method, path: &str, body: &Value) -> Vec<String> {
    let problem = person.call(method, path).json(body).await.problem(422, "validation_failed");
    problem.pointers().into_iter().map(str::to_owned).collect()
}

async fn wrong_rooms_are_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let before = ann.get(&room).await.expect(200).json();
    for (body, pointers) in [
        (json!({ "name": "" }), &["/name"][..]),
        (json!({ "name": " \n" }), &["/name"]),
        (json!({ "name": "a".repeat(101) }), &["/name"]),
        (json!({ "name": 5, "visibility": "secret" }), &["/name", "/visibility"]),
    ] {
        assert_eq!(broken(&ann, Method::POST, "/v1/rooms", &body).await, pointers);
        assert_eq!(broken(&ann, Method::PATCH, &room, &body).await, pointers);
    }
    assert_eq!(broken(&ann, Method::POST, "/v1/rooms", &json!({})).await, ["/name"]);
    let nothing = json!({ "name": null, "owner_id": null });
    assert_eq!(broken(&ann, Method::PATCH, &room, &nothing).await, ["/name", "/owner_id"]);
    ann.patch(&room, &json!({ "version": 7 })).await.problem(400, "unknown_field");
    assert_eq!(ann.get(&room).await.expect(200).json(), before);
    let list = ann.get("/v1/rooms").await.expect(200).json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "nothing was made");
    for query in ["joined=yes", "limit=0", "cursor=x", "visibility=public"] {
        ann.get(&format!("/v1/rooms?{query}")).await.problem(400, "invalid_query");
    }
}

async fn wrong_messages_are_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let route = format!("{room}/messages");
    let one = format!("{route}/{}", says(&ann, &room, "Good").await);
    let many: Vec<String> = (0..51).map(|n| format!("01890000-0000-7000-8000-0000000000{n:02}")).collect();
    for (body, pointers) in [
        (json!({ "content": "" }), &["/content"][..]),
        (json!({ "content": "a".repeat(4_001) }), &["/content"]),
        (json!({ "content": "x", "mentions": ["nobody"] }), &["/mentions/0"]),
        (json!({ "content": "x", "mentions": [ann.id, ann.id] }), &["/mentions"]),
        (json!({ "content": "x", "mentions": many }), &["/mentions"]),
    ] {
        assert_eq!(broken(&ann, Method::POST, &route, &body).await, pointers);
        assert_eq!(broken(&ann, Method::PATCH, &one, &body).await, pointers);
    }
    for client_id in ["", &"a".repeat(65)] {
        let body = json!({ "content": "x", "client_id": client_id });
        assert_eq!(broken(&ann, Method::POST, &route, &body).await, ["/client_id"]);
    }
    assert_eq!(broken(&ann, Method::POST, &route, &json!({})).await, ["/content"]);
    ann.post(&route, &json!({ "content": "x", "sent_at": "now" })).await.problem(400, "unknown_field");
    ann.patch(&one, &json!({ "client_id": "x" })).await.problem(400, "unknown_field");
    for query in ["before=x", "after=1", "limit=101", "offset=3"] {
        ann.get(&format!("{route}?{query}")).await.problem(400, "invalid_query");
    }
    assert_eq!(contents(&ann, &room, "").await, ["Good"]);
    let long = "🦀".repeat(4_000);
    says(&ann, &room, &long).await;
    assert_eq!(contents(&ann, &room, "limit=1").await, [long]);
}

async fn strangers_cannot_be_mentioned(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let admin = app.admin().await;
    let missing = "01890000-0000-7000-8000-000000000000";
    let room = room_of(&ann, "private").await;
    add(&ann, &room, &bob).await.expect(201);
    let route = format!("{room}/messages");
    let one = format!("{route}/{}", says(&ann, &room, "Good").await);
    let body = json!({ "content": "x", "mentions": [cid.id, bob.id, missing] });
    for (method, path) in [(Method::POST, &route), (Method::PATCH, &one)] {
        assert_eq!(broken(&ann, method, path, &body).await, ["/mentions/0", "/mentions/2"]);
    }
    // What cannot be told apart: a stranger and nobody.
    let refusal = async |id: &str| {
        let body = json!({ "content": "x", "mentions": [id] });
        ann.post(&route, &body).await.problem(422, "validation_failed").without_request()
    };
    assert_eq!(refusal(&cid.id).await, refusal(missing).await);
    // Not even who may read the room: everybody a public one, and an administrator each.
    assert_eq!(refusal(&admin.id).await, refusal(missing).await);
    let public = format!("{}/messages", room_of(&ann, "public").await);
    let body = json!({ "content": "x", "mentions": [cid.id, ann.id, missing, admin.id] });
    let refused = broken(&ann, Method::POST, &public, &body).await;
    assert_eq!(refused, ["/mentions/0", "/mentions/2", "/mentions/3"]);
    let unread = async |person: &Persona| {
        person.get("/v1/notifications").await.expect(200).json()["unread_count"].clone()
    };
    assert_eq!(unread(&bob).await, 1, "the invitation alone");
    assert_eq!((unread(&cid).await, unread(admin).await), (json!(0), json!(0)));
    assert_eq!(contents(&ann, &room, "").await, ["Good"]);
    // Who has joined, if only by writing, can be.
    cid.post(&public, &json!({ "content": "Hello" })).await.expect(201);
    ann.post(&public, &json!({ "content": "x", "mentions": [cid.id] })).await.expect(201);
    assert_eq!(unread(&cid).await, 1);
}

/// Whoever writes in a public room becomes a member before the mentions are looked at.
async fn a_refused_message_makes_nobody_a_member(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    let (route, present) = (format!("{room}/messages"), super::members(&ann, &room).await);
    let body = json!({ "content": "x", "mentions": [bob.id, ann.id, app.admin().await.id] });
    assert_eq!(broken(&bob, Method::POST, &route, &body).await, ["/mentions/2"]);
    assert_eq!(super::members(&ann, &room).await, present);
    assert!(contents(&ann, &room, "").await.is_empty());
    let notices = ann.get("/v1/notifications").await.expect(200).json();
    assert_eq!(notices["unread_count"], 0);
    // Nor is anything in the log.
    says(&ann, &room, "First").await;
    app.settled().await;
    let query = format!("presence=off&topics={}&since=earliest", topic(&room));
    let mut log = ann.subscribe(&query).await;
    for kind in ["room_created", "member_added", "message_created"] {
        assert_eq!(log.next().await.kind, kind);
    }
}

async fn what_goes_to_a_deleted_room_is_not_found(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let id = says(&ann, &room, "Good").await;
    let message = format!("{room}/messages/{id}");
    ann.delete(&room).await.expect(204);
    for call in [
        ann.post(&format!("{room}/messages"), &json!({ "content": "x" })),
        ann.get(&format!("{room}/messages")),
        ann.get(&message),
        ann.patch(&message, &json!({ "content": "x" })),
        ann.delete(&message),
        ann.get(&format!("{room}/members")),
        add(&ann, &room, &ann),
        put(&ann, &format!("{room}/read"), &json!({ "message_id": id })),
        put(&ann, &format!("{room}/typing"), &json!({ "typing": true })),
        ann.get(&format!("/v1/events?topics={}&since=earliest", topic(&room))),
        ann.get(&format!("{NOWHERE}/messages")),
        ann.delete(&room),
    ] {
        call.await.problem(404, "not_found");
    }
}

async fn wrong_marks_and_typing_are_refused(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let (read, typing) = (format!("{room}/read"), format!("{room}/typing"));
    for body in [json!({}), json!({ "message_id": null }), json!({ "message_id": "last" })] {
        assert_eq!(broken(&ann, Method::PUT, &read, &body).await, ["/message_id"]);
    }
    for body in [json!({}), json!({ "typing": null }), json!({ "typing": "yes" })] {
        assert_eq!(broken(&ann, Method::PUT, &typing, &body).await, ["/typing"]);
    }
    put(&ann, &typing, &json!({ "typing": true, "ttl_s": 5 })).await.problem(400, "unknown_field");
}

async fn unknown_members_are_not_found(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "private").await;
    for id in ["01890000-0000-7000-8000-000000000000", "nobody"] {
        let path = format!("{room}/members/{id}");
        ann.call(Method::PUT, &path).await.problem(404, "not_found");
        ann.delete(&path).await.problem(404, "not_found");
    }
    assert_eq!(super::members(&ann, &room).await, ["ann"]);
}
