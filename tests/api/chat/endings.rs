//! Rights that end: live for streams and for who is typing, and when history is replayed.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{add, put, remove, room_of, says, topic};
use crate::support::{EventStream, Persona, TestApp, eventually, on_both_databases};

on_both_databases![
    whoever_is_removed_from_a_private_room_loses_it,
    whoever_leaves_a_private_room_loses_it,
    an_administrator_who_is_removed_still_sees_it,
    who_resumes_is_told_that_nobody_types_any_more,
    disconnecting_ends_typing,
    whoever_is_removed_from_a_public_room_may_still_read_it,
    a_room_made_private_is_lost_to_all_but_its_members,
    what_changes_with_that_is_not_told_to_those_who_lose_it,
    a_deleted_room_ends_for_everybody,
    a_room_made_public_is_open_with_its_history,
    presence_ends_with_the_right,
];

/// A right must have ended on every device within this time.
const SOON: Duration = Duration::from_secs(1);

async fn follow(app: &TestApp, person: &Persona, room: &str) -> EventStream {
    app.settled().await;
    person.subscribe(&format!("presence=off&topics={},custom:x", topic(room))).await
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
        let stream = person.subscribe(&format!("presence=off&topics={},snippets{since}", topic(room))).await;
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
    let mut lost = [follow(app, &bob, &room).await, follow(app, &bob.sign_in().await, &room).await];
    let mut kept = follow(app, &cid, &room).await;
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
    let (mut lost, mut kept) = ([follow(app, &bob, &room).await], follow(app, &ann, &room).await);
    types(&bob, &room).await;
    assert_eq!(kept.until("typing").await.data["users"][0]["name"], "bob");
    let since = Instant::now();
    remove(&bob, &room, &bob).await.expect(204);
    assert_closed(&mut lost[0], &room, "not_permitted", since).await;
    assert_eq!(kept.until("typing").await.data, json!({ "users": [] }));
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    assert_silent(app, &ann, &room, &mut lost).await;
    assert_denied(&bob, &room).await;
    // Whoever comes back has the whole history again.
    add(&ann, &room, &bob).await.expect(201);
    app.settled().await;
    let mut replay = bob.subscribe(&format!("presence=off&topics={}&since=earliest", topic(&room))).await;
    assert_eq!(replay.until("message_created").await.data["content"], "A secret");
}

async fn whoever_is_removed_from_a_public_room_may_still_read_it(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    add(&bob, &room, &bob).await.expect(201);
    let mut stream = follow(app, &bob, &room).await;
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
    app.settled().await;
    let mut nameless = anonymous.subscribe(&format!("presence=off&topics={},snippets", topic(&room))).await;
    let mut lost = [follow(app, &cid, &room).await];
    let mut kept = [
        follow(app, &bob, &room).await,
        follow(app, &ann, &room).await,
        follow(app, app.admin().await, &room).await,
    ];
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
    let (mut stranger, mut owner) = (follow(app, &cid, &room).await, follow(app, &ann, &room).await);
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
        streams.push(follow(app, person, &room).await);
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
    app.settled().await;
    let mut replay =
        app.anonymous().subscribe(&format!("presence=off&topics={}&since=earliest", topic(&room))).await;
    for kind in ["room_created", "member_added", "message_created", "room_updated"] {
        assert_eq!(replay.next().await.kind, kind);
    }
}

/// Neither the stream nor the lease of somebody who has lost the room keeps them in sight.
async fn presence_ends_with_the_right(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let dan = app.user("dan").await;
    let room = room_of(&ann, "public").await;
    for person in [&bob, &dan] {
        add(person, &room, person).await.expect(201);
    }
    app.settled().await;
    let present = format!("/v1/presence/{}", topic(&room));
    let mut watcher = ann.subscribe(&format!("topics={}&presence=observe", topic(&room))).await;
    watcher.until("presence_state").await;
    let mut streams = Vec::new();
    for person in [&bob, &cid, &dan] {
        streams.push(person.subscribe(&format!("topics={}", topic(&room))).await);
        put(person, &present, &json!({ "ttl_s": 60 })).await.expect(200);
    }
    eventually("all are there", async || {
        (ann.get(&present).await.expect(200).json()["count"] == 3).then_some(())
    })
    .await;
    for (change, gone) in [
        (ann.patch(&room, &json!({ "visibility": "private" })), &cid),
        (remove(&ann, &room, &bob), &bob),
        (remove(&dan, &room, &dan), &dan),
    ] {
        let since = Instant::now();
        assert!(change.await.status.is_success());
        while watcher.until("presence_diff").await.data["leaves"].get(&gone.id).is_none() {}
        assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
        let left = ann.get(&present).await.expect(200).json();
        assert!(left["presences"].get(&gone.id).is_none(), "{left}");
    }
}

/// An administrator may read each room: to be removed from one takes nothing but the say of a member.
async fn an_administrator_who_is_removed_still_sees_it(app: &TestApp) {
    let (ann, admin) = (app.user("ann").await, app.admin().await);
    let plain = admin.with_scopes(&["read", "write"]).await;
    let room = room_of(&ann, "private").await;
    add(&ann, &room, admin).await.expect(201);
    app.settled().await;
    let query = format!("topics={}", topic(&room));
    let (mut kept, mut lost) = (admin.subscribe(&query).await, plain.subscribe(&query).await);
    let present = format!("/v1/presence/{}", topic(&room));
    let metas = async || {
        let now = ann.get(&present).await.expect(200).json();
        now["presences"][&admin.id]["metas"].as_array().map(Vec::len)
    };
    eventually("both are there", async || (metas().await == Some(2)).then_some(())).await;
    remove(&ann, &room, admin).await.expect(204);
    assert_closed(&mut lost, &room, "not_permitted", Instant::now()).await;
    kept.until("member_removed").await;
    says(&ann, &room, "Still here?").await;
    kept.until("message_created").await;
    assert_eq!(metas().await, Some(1), "the one with the plain token has left");
    admin.get(&room).await.expect(200);
}

/// A client that was cut while somebody was typing shows them until it is told otherwise.
async fn who_resumes_is_told_that_nobody_types_any_more(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    let said = says(&ann, &room, "Hello").await;
    let mut stream = follow(app, &bob, &room).await;
    let cursor = stream.ready["cursor"].as_str().expect("a cursor").to_owned();
    types(&ann, &room).await;
    assert_eq!(stream.until("typing").await.data["users"][0]["name"], "ann");
    stream.disconnect();
    let mut watcher = follow(app, &ann, &room).await;
    put(&ann, &format!("{room}/typing"), &json!({ "typing": false })).await.expect(204);
    while watcher.until("typing").await.data != json!({ "users": [] }) {}
    let query = format!("presence=off&topics={},custom:x", topic(&room));
    for (since, verdict) in [(cursor.as_str(), "resumed"), ("nothing.1", "gap")] {
        let mut stream = bob.subscribe_with(&query, &[("Last-Event-ID", since)]).await;
        assert_eq!(stream.ready["resume"], verdict);
        assert_eq!(stream.until("typing").await.data, json!({ "users": [] }));
    }
    // Who comes for the first time knows nothing that could be wrong. Another worker may tell the end later.
    for since in ["", "&since=earliest"] {
        eventually("nothing is told of who types", async || {
            let mut stream = bob.subscribe(&format!("{query}{since}&types=typing,done")).await;
            app.admin().await.publish("custom:x", &json!({ "type": "done", "data": said })).await.expect(202);
            (stream.next().await.kind == "done").then_some(())
        })
        .await;
    }
}

async fn disconnecting_ends_typing(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    let (mut watcher, anns) = (follow(app, &bob, &room).await, follow(app, &ann, &room).await);
    let typing = put(&ann, &format!("{room}/typing"), &json!({ "typing": true }));
    typing.header("Snippetbox-Connection-Id", anns.connection()).await.expect(204);
    assert_eq!(watcher.until("typing").await.data["users"][0]["name"], "ann");
    // The clock stands still: it does not end by time.
    anns.disconnect();
    assert_eq!(watcher.until("typing").await.data, json!({ "users": [] }));
}
