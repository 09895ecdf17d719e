//! Making, finding, changing and deleting rooms.

use serde_json::json;

use super::{add, each, members, room_of, topic};
use crate::support::{TestApp, on_both_databases};

on_both_databases![
    a_room_is_what_was_asked_for,
    a_list_holds_public_rooms_and_ones_own,
    a_list_goes_on_where_the_page_ended,
    a_room_is_changed_by_a_merge_patch,
    a_room_is_handed_over_to_a_member,
    only_the_version_that_is_meant_is_changed,
    the_topic_tells_the_whole_history_of_a_room,
    a_repetition_makes_one_room,
];

async fn a_room_is_what_was_asked_for(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut room = json!({
        "name": "Den", "visibility": "private", "owner": { "id": ann.id, "name": "ann" },
        "created_at": app.now(), "version": 1,
    });
    let answer = ann.post("/v1/rooms", &json!({ "name": "Den", "visibility": "private" })).await.expect(201);
    room["id"] = json!(answer.id());
    let path = format!("/v1/rooms/{}", answer.id());
    assert_eq!((answer.json(), answer.header("location")), (room.clone(), path.as_str()));
    assert_eq!(answer.header("etag"), "\"1\"");
    let found = ann.get(&path).await.expect(200);
    assert_eq!((found.json(), found.header("etag")), (room, "\"1\""));
    ann.get(&path).header("If-None-Match", "\"1\"").await.expect(304);
    assert_eq!(members(&ann, &path).await, ["ann"], "the owner is a member");
    let public = ann.post("/v1/rooms", &json!({ "name": "🦀\u{0}" })).await.expect(201).json();
    assert_eq!((&public["visibility"], &public["name"]), (&json!("public"), &json!("🦀\u{0}")));
}

async fn a_list_holds_public_rooms_and_ones_own(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let make = async |name: &str, visibility: &str| {
        let room = json!({ "name": name, "visibility": visibility });
        format!("/v1/rooms/{}", ann.post("/v1/rooms", &room).await.expect(201).id())
    };
    make("open", "public").await;
    let joined = make("joined", "private").await;
    make("closed", "private").await;
    add(&ann, &joined, &bob).await.expect(201);
    for (person, query, names) in [
        (&ann, "", &["closed", "joined", "open"][..]),
        (&bob, "", &["joined", "open"]),
        (&bob, "?joined=true", &["joined"]),
        (&bob, "?joined=false", &["joined", "open"]),
        (&app.anonymous(), "", &["open"]),
        (app.admin().await, "", &["open"]),
    ] {
        let list = person.get(&format!("/v1/rooms{query}")).await.expect(200);
        assert_eq!(each(&list, "/name"), names);
        for room in list.json()["data"].as_array().expect("a list") {
            let is_member = person.id == ann.id || room["name"] == "joined";
            assert_eq!(room["unread_count"], if is_member { json!(0) } else { json!(null) });
        }
    }
    app.anonymous().get("/v1/rooms?joined=true").await.problem(401, "unauthenticated");
}

async fn a_list_goes_on_where_the_page_ended(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for (number, visibility) in ["public", "private", "private", "public", "private"].iter().enumerate() {
        let owner = if number == 2 { &bob } else { &ann };
        let room = json!({ "name": number.to_string(), "visibility": visibility });
        owner.post("/v1/rooms", &room).await.expect(201);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ann.get(&format!("/v1/rooms?limit=1{cursor}")).await.expect(200);
        names.extend(each(&page, "/name"));
        let Some(next) = page.json()["next_cursor"].as_str().map(str::to_owned) else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["4", "3", "1", "0"]);
    ann.get(&format!("/v1/rooms?joined=true{cursor}")).await.problem(400, "invalid_query");
}

async fn a_room_is_changed_by_a_merge_patch(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "private").await;
    let mut expected = ann.get(&room).await.expect(200).json();
    app.settled().await;
    let mut stream = ann.subscribe(&format!("presence=off&topics={}", topic(&room))).await;
    for (version, field, patch, value) in [
        (2, "name", json!("Hall"), json!("Hall")),
        (3, "visibility", json!(null), json!("public")),
        (4, "name", json!("Hall"), json!("Hall")),
    ] {
        let answer = ann.patch(&room, &json!({ field: patch })).await.expect(200);
        expected[field] = value;
        expected["version"] = json!(version);
        assert_eq!(answer.json(), expected);
        assert_eq!(answer.header("etag"), format!("\"{version}\""));
        let event = stream.next().await;
        assert_eq!((event.kind.as_str(), event.data), ("room_updated", expected.clone()));
    }
    assert_eq!(ann.get(&room).await.expect(200).json(), expected);
}

async fn a_room_is_handed_over_to_a_member(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let room = room_of(&ann, "public").await;
    add(&ann, &room, &bob).await.expect(201);
    for stranger in [&cid.id, "01890000-0000-7000-8000-000000000000"] {
        let problem = ann.patch(&room, &json!({ "owner_id": stranger })).await;
        assert_eq!(problem.problem(422, "validation_failed").pointers(), ["/owner_id"]);
    }
    bob.patch(&room, &json!({ "owner_id": bob.id })).await.problem(403, "forbidden");
    let changed = ann.patch(&room, &json!({ "owner_id": bob.id })).await.expect(200).json();
    assert_eq!(changed["owner"], json!({ "id": bob.id, "name": "bob" }));
    ann.patch(&room, &json!({ "name": "Mine" })).await.problem(403, "forbidden");
    ann.delete(&format!("{room}/members/{}", ann.id)).await.expect(204);
    bob.delete(&format!("{room}/members/{}", bob.id)).await.problem(409, "conflict");
    bob.delete(&room).await.expect(204);
}

async fn only_the_version_that_is_meant_is_changed(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let patch = |etag: &str| ann.patch(&room, &json!({ "name": "Hall" })).header("If-Match", etag);
    patch("\"2\"").await.problem(412, "precondition_failed");
    patch("\"1\"").await.expect(200);
    patch("\"1\"").await.problem(412, "precondition_failed");
    ann.delete(&room).header("If-Match", "\"1\"").await.problem(412, "precondition_failed");
    ann.delete(&room).header("If-Match", "\"2\"").await.expect(204);
    ann.get(&room).await.problem(404, "not_found");
}

async fn the_topic_tells_the_whole_history_of_a_room(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "private").await;
    add(&ann, &room, &bob).await.expect(201);
    super::says(&bob, &room, "Hello").await;
    app.settled().await;
    for path in [format!("/v1/events?topics={}", topic(&room)), format!("{room}/events?")] {
        let page =
            bob.get(&format!("{path}&since=earliest&wait=30")).header("Accept", "application/json").await;
        let page = page.expect(200).json();
        let kinds: Vec<_> = page["data"].as_array().expect("events").iter().map(|e| &e["type"]).collect();
        assert_eq!(kinds, ["room_created", "member_added", "member_added", "message_created"]);
    }
}

async fn a_repetition_makes_one_room(app: &TestApp) {
    let ann = app.user("ann").await;
    let first = ann.post("/v1/rooms", &json!({ "name": "Den" })).once("k").await.expect(201);
    let again = ann.post("/v1/rooms", &json!({ "name": "Den" })).once("k").await.expect(201);
    assert_eq!((first.json(), again.header("idempotent-replayed")), (again.json(), "true"));
    ann.post("/v1/rooms", &json!({ "name": "Other" })).once("k").await.problem(422, "idempotency_key_reused");
    assert_eq!(each(&ann.get("/v1/rooms").await.expect(200), "/name"), ["Den"]);
}
