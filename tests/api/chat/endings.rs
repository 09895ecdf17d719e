//! Rights that end: live for streams and for who is typing, and when history is replayed.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{add, put, remove, room_of, says, topic};
use crate::support::{EventStream, Persona, TestApp, on_both_databases};

on_both_databases![
    whoever_is_removed_from_a_private_room_loses_it,
    whoever_leaves_a_private_room_loses_it,
    whoever_is_removed_from_a_public_room_may_still_read_it,
    a_room_made_private_is_lost_to_all_but_its_members,
    what_changes_with_that_is_not_told_to_those_who_lose_it,
    a_deleted_room_ends_for_everybody,
    a_room_made_public_is_open_with_its_history,
];

/// A right must have ended on every device within this time.
const SOON: Duration = Duration::from_secs(1);

async fn follow(person: &Persona, room: &str) -> EventStream {
    person.subscribe(&format!("topics={},custom:x", topic(room))).await
}

async fn types(person: &Persona, room: &str) {
    put(person, &format!("{room}/typing"), &json!({ "typing": true })).await.expect(204);
}

/// The stream hears of the end of its topic, with this reason, and of nothing in the room after it.
async fn assert_closed(stream: &mut EventStream, room: &str, reason: &str, since: Instant) {
    let closed = stream.until("topic_closed").await;
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    assert_eq!(closed.data, json!({ "topic": topic(room), "reason": reason }));
}

/// A new stream of the same person cannot have the topic, with or without history.
async fn assert_denied(person: &Persona, room: &str) {
    for since in ["", "&since=earliest"] {
        let stream = person.subscribe(&format!("topics={},snippets{since}", topic(room))).await;
        assert_eq!(stream.ready["denied"], json!([{ "topic": topic(room), "code": "not_found" }]));
        assert_eq!(stream.ready["replayed"], 0);
    }
}

/// What is said now reaches those who keep the topic, and not the others, who hear the custom event next.
async fn assert_silent(app: &TestApp, owner: &Persona, room: &str, lost: &mut [EventStream]) {
    says(owner, room, "A secret").await;
    let admin = app.admin().await;
    admin.publish("custom:x", &json!({ "type": "done", "data": null })).await.expect(202);
    for stream in lost {
        assert_eq!(stream.next().await.kind, "done");
    }
}

async fn whoever_is_removed_from_a_private_room_loses_it(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let room = room_of(&ann, "private").await;
    for user in [&bob, &cid] {
        add(&ann, &room, user).await.expect(201);
    }
    let mut lost = [follow(&bob, &room).await, follow(&bob.sign_in().await, &room).await];
    let mut kept = follow(&cid, &room).await;
    types(&bob, &room).await;
    types(&ann, &room).await;
    while kept.until("typing").await.data["users"].as_array().map(Vec::len) != Some(2) {}
    let since = Instant::now();
    remove(&ann, &room, &bob).await.expect(204);
    for stream in &mut lost {
        assert_closed(stream, &room, "not_permitted", since).await;
    }
    let typing = kept.until("typing").await;
    assert_eq!(typing.data, json!({ "users": [{ "id": ann.id, "name": "ann" }] }));
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    assert_silent(app, &ann, &room, &mut lost).await;
    kept.until("message_created").await;
    assert_denied(&bob, &room).await;
    put(&bob, &format!("{room}/typing"), &json!({ "typing": true })).await.problem(404, "not_found");
}

async fn whoever_leaves_a_private_room_loses_it(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "private").await;
    add(&ann, &room, &bob).await.expect(201);
    let mut lost = [follow(&bob, &room).await];
    let since = Instant::now();
    remove(&bob, &room, &bob).await.expect(204);
    assert_closed(&mut lost[0], &room, "not_permitted", since).await;
    assert_silent(app, &ann, &room, &mut lost).await;
    assert_denied(&bob, &room).await;
    // Whoever comes back has the whole history again.
    add(&ann, &room, &bob).await.expect(201);
    let mut replay = bob.subscribe(&format!("topics={}&since=earliest", topic(&room))).await;
    assert_eq!(replay.until("message_created").await.data["content"], "A secret");
}

async fn whoever_is_removed_from_a_public_room_may_still_read_it(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    add(&bob, &room, &bob).await.expect(201);
    let mut stream = follow(&bob, &room).await;
    remove(&ann, &room, &bob).await.expect(204);
    says(&ann, &room, "Still here?").await;
    assert_eq!(stream.next().await.kind, "member_removed");
    assert_eq!(stream.next().await.kind, "message_created");
}

async fn a_room_made_private_is_lost_to_all_but_its_members(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let room = room_of(&ann, "public").await;
    add(&bob, &room, &bob).await.expect(201);
    let anonymous = app.anonymous();
    let mut nameless = anonymous.subscribe(&format!("topics={},snippets", topic(&room))).await;
    let mut lost = [follow(&cid, &room).await];
    let mut kept =
        [follow(&bob, &room).await, follow(&ann, &room).await, follow(app.admin().await, &room).await];
    types(&cid, &room).await;
    types(&bob, &room).await;
    while kept[0].until("typing").await.data["users"].as_array().map(Vec::len) != Some(2) {}
    let since = Instant::now();
    ann.patch(&room, &json!({ "visibility": "private" })).await.expect(200);
    assert_closed(&mut lost[0], &room, "not_permitted", since).await;
    assert_closed(&mut nameless, &room, "not_permitted", since).await;
    let typing = kept[0].until("typing").await;
    assert_eq!(typing.data, json!({ "users": [{ "id": bob.id, "name": "bob" }] }));
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    assert_silent(app, &ann, &room, &mut lost).await;
    for stream in &mut kept {
        stream.until("message_created").await;
    }
    assert_denied(&cid, &room).await;
    ann.has_snippet(json!({})).await;
    assert_eq!(nameless.next().await.kind, "snippet_created");
}

async fn what_changes_with_that_is_not_told_to_those_who_lose_it(app: &TestApp) {
    let (ann, cid) = (app.user("ann").await, app.user("cid").await);
    let room = room_of(&ann, "public").await;
    let (mut stranger, mut owner) = (follow(&cid, &room).await, follow(&ann, &room).await);
    let change = json!({ "visibility": "private", "name": "A secret name" });
    let changed = ann.patch(&room, &change).await.expect(200).json();
    let told = stranger.next().await;
    assert_eq!((told.kind.as_str(), &told.data["name"]), ("room_updated", &json!("Den")));
    assert_eq!(stranger.next().await.kind, "topic_closed");
    owner.next().await;
    assert_eq!(owner.next().await.data, changed);
}

async fn a_deleted_room_ends_for_everybody(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    add(&bob, &room, &bob).await.expect(201);
    let mut streams = Vec::new();
    for person in [&ann, &bob, app.admin().await] {
        streams.push(follow(person, &room).await);
    }
    types(&bob, &room).await;
    streams[0].until("typing").await;
    let since = Instant::now();
    ann.delete(&room).await.expect(204);
    for stream in &mut streams {
        let deleted = stream.until("room_deleted").await;
        assert_eq!(deleted.data, json!({ "id": &room["/v1/rooms/".len()..] }));
        assert_closed(stream, &room, "deleted", since).await;
    }
    for person in [&ann, &bob, app.admin().await] {
        assert_denied(person, &room).await;
    }
}

async fn a_room_made_public_is_open_with_its_history(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "private").await;
    says(&ann, &room, "Hello").await;
    ann.patch(&room, &json!({ "visibility": "public" })).await.expect(200);
    let mut replay = app.anonymous().subscribe(&format!("topics={}&since=earliest", topic(&room))).await;
    for kind in ["room_created", "member_added", "message_created", "room_updated"] {
        assert_eq!(replay.next().await.kind, kind);
    }
}
