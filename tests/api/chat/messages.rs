//! Saying something, reading what was said, changing and deleting it.

use std::time::Duration;

use serde_json::json;
use snippetbox::db::{Conn, Db};
use uuid::Uuid;

use super::{add, contents, each, put, room_of, says, topic};
use crate::support::{TestApp, on_both_databases};

on_both_databases![
    a_message_is_what_was_said,
    history_goes_both_ways,
    a_message_is_edited_and_deleted,
    the_owner_of_the_room_may_change_what_others_said,
    only_the_version_that_is_meant_is_changed,
    whoever_is_mentioned_is_notified,
    a_repetition_says_it_once,
    sending_ends_typing,
    ids_grow_even_behind_a_node_whose_clock_was_ahead,
];

async fn a_message_is_what_was_said(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "private").await;
    app.settled().await;
    let mut stream = ann.subscribe(&format!("presence=off&topics={}", topic(&room))).await;
    let content = "Line one\r\nline\u{2028}two \u{0} 🦀 <b>";
    let body = json!({ "content": content, "client_id": "tmp-1", "mentions": [ann.id] });
    let answer = ann.post(&format!("{room}/messages"), &body).await.expect(201);
    let message = json!({
        "id": answer.id(), "room_id": &room["/v1/rooms/".len()..], "user": { "id": ann.id, "name": "ann" },
        "content": content, "client_id": "tmp-1", "mentions": [ann.id], "version": 1,
        "sent_at": app.now(), "edited_at": null,
    });
    let path = format!("{room}/messages/{}", answer.id());
    assert_eq!((answer.json(), answer.header("location")), (message.clone(), path.as_str()));
    let event = stream.next().await;
    assert_eq!((event.kind.as_str(), &event.data), ("message_created", &message));
    assert_eq!(event.topic.as_deref(), Some(topic(&room).as_str()));
    assert_eq!(ann.get(&path).await.expect(200).json(), message);
    let page = ann.get(&format!("{room}/messages")).await.expect(200).json();
    assert_eq!(page, json!({ "data": [message], "next_cursor": null }));
    // The same name for two messages is the client's own business.
    let again = ann.post(&format!("{room}/messages"), &body).await.expect(201);
    assert_ne!(again.id(), answer.id());
}

async fn history_goes_both_ways(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let mut ids = Vec::new();
    for number in 0..7 {
        ids.push(says(&ann, &room, &number.to_string()).await);
    }
    ann.delete(&format!("{room}/messages/{}", ids[3])).await.expect(204);
    let walk = async |query: String| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = ann.get(&format!("{room}/messages?limit=2{query}{cursor}")).await.expect(200);
            found.extend(each(&page, "/content"));
            let Some(next) = page.json()["next_cursor"].as_str().map(str::to_owned) else { return found };
            assert!(page.header("link").contains(&next));
            cursor = format!("&cursor={next}");
        }
    };
    assert_eq!(walk(String::new()).await, ["6", "5", "4", "2", "1", "0"]);
    assert_eq!(walk(format!("&before={}", ids[3])).await, ["2", "1", "0"], "a place outlives its message");
    assert_eq!(walk(format!("&after={}", ids[3])).await, ["4", "5", "6"]);
    assert_eq!(walk(format!("&after={}", ids[6])).await, [""; 0]);
    assert_eq!(walk("&after=00000000-0000-0000-0000-000000000000".to_owned()).await.len(), 6);
    let both = format!("{room}/messages?before={}&after={}", ids[5], ids[1]);
    assert_eq!(ann.get(&both).await.problem(400, "invalid_query").parameters(), ["after"]);
    let first = ann.get(&format!("{room}/messages?limit=2")).await.expect(200).json();
    let cursor = first["next_cursor"].as_str().expect("there is more").to_owned();
    let turned = format!("{room}/messages?after={}&cursor={cursor}", ids[0]);
    ann.get(&turned).await.problem(400, "invalid_query");
    let other = room_of(&ann, "public").await;
    ann.get(&format!("{other}/messages?cursor={cursor}")).await.problem(400, "invalid_query");
}

async fn a_message_is_edited_and_deleted(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    let id = says(&bob, &room, "Helo").await;
    let path = format!("{room}/messages/{id}");
    let mut expected = bob.get(&path).await.expect(200).json();
    app.settled().await;
    let mut stream = ann.subscribe(&format!("presence=off&topics={}", topic(&room))).await;
    app.clock.advance(Duration::from_secs(5));
    let answer = bob.patch(&path, &json!({ "content": "Hello" })).await.expect(200);
    expected["content"] = json!("Hello");
    expected["version"] = json!(2);
    expected["edited_at"] = json!(app.now());
    assert_eq!((answer.json(), answer.header("etag")), (expected.clone(), "\"2\""));
    let event = stream.next().await;
    assert_eq!((event.kind.as_str(), event.data), ("message_updated", expected));
    bob.delete(&path).await.expect(204);
    let event = stream.next().await;
    let gone = json!({ "id": id, "room_id": &room["/v1/rooms/".len()..] });
    assert_eq!((event.kind.as_str(), event.data), ("message_deleted", gone));
    assert_eq!(contents(&ann, &room, "").await, [""; 0]);
    for call in [bob.get(&path), bob.delete(&path), bob.patch(&path, &json!({ "content": "x" }))] {
        call.await.problem(404, "not_found");
    }
}

async fn the_owner_of_the_room_may_change_what_others_said(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let room = room_of(&ann, "private").await;
    for user in [&bob, &cid] {
        add(&ann, &room, user).await.expect(201);
    }
    let path = format!("{room}/messages/{}", says(&bob, &room, "Hello").await);
    let other = room_of(&bob, "private").await;
    let elsewhere = path.replace(&room, &other);
    for call in [bob.get(&elsewhere), bob.delete(&elsewhere), bob.patch(&elsewhere, &json!({}))] {
        call.await.problem(404, "not_found");
    }
    cid.patch(&path, &json!({ "content": "x" })).await.problem(403, "forbidden");
    cid.delete(&path).await.problem(403, "forbidden");
    let change = json!({ "content": "Moderated", "mentions": [ann.id, bob.id, cid.id] });
    let changed = ann.patch(&path, &change).await.expect(200).json();
    assert_eq!(changed["user"]["name"], "bob", "the author stays");
    for person in [&bob, &cid] {
        let list = person.get("/v1/notifications?limit=1").await.expect(200).json();
        assert_eq!(list["data"][0]["message"], "ann mentioned you in Den", "who did so, not who wrote it");
    }
    assert_eq!(ann.get("/v1/notifications").await.expect(200).json()["data"], json!([]), "nor oneself");
    ann.delete(&path).await.expect(204);
}

async fn only_the_version_that_is_meant_is_changed(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let path = format!("{room}/messages/{}", says(&ann, &room, "One").await);
    let edit = |etag: &str| ann.patch(&path, &json!({ "content": "Two" })).header("If-Match", etag);
    edit("\"1\"").await.expect(200);
    edit("\"1\"").await.problem(412, "precondition_failed");
    ann.get(&path).header("If-None-Match", "\"2\"").await.expect(304);
    ann.delete(&path).header("If-Match", "\"1\"").await.problem(412, "precondition_failed");
    ann.delete(&path).header("If-Match", "\"2\"").await.expect(204);
}

async fn whoever_is_mentioned_is_notified(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let room = room_of(&ann, "private").await;
    for user in [&bob, &cid] {
        add(&ann, &room, user).await.expect(201);
    }
    app.settled().await;
    let mut bobs = bob.subscribe("topics=notifications").await;
    let mut cids = cid.subscribe("topics=notifications").await;
    let mut anns = ann.subscribe("topics=notifications").await;
    let say = json!({ "content": "@ann @bob", "mentions": [bob.id, ann.id] });
    let path =
        format!("{room}/messages/{}", ann.post(&format!("{room}/messages"), &say).await.expect(201).id());
    let event = bobs.next().await;
    assert_eq!(event.data["kind"], "mention");
    assert_eq!(event.data["message"], "ann mentioned you in Den");
    assert_eq!((&event.data["link"], &event.data["unread_count"]), (&json!(path), &json!(2)));
    bob.get(&path).await.expect(200);
    // Whoever was mentioned before is not notified again, and the author never is.
    ann.patch(&path, &json!({ "mentions": [cid.id, bob.id, ann.id] })).await.expect(200);
    assert_eq!(cids.next().await.data["link"], json!(path));
    ann.patch(&path, &json!({ "mentions": null })).await.expect(200);
    let say = json!({ "content": "@all", "mentions": [ann.id, bob.id] });
    let next = cid.post(&format!("{room}/messages"), &say).await.expect(201).id();
    for stream in [&mut anns, &mut bobs] {
        assert_eq!(stream.next().await.data["link"], json!(format!("{room}/messages/{next}")));
    }
}

async fn a_repetition_says_it_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let route = format!("{room}/messages");
    let say = json!({ "content": "Once", "client_id": "c" });
    let first = ann.post(&route, &say).once("k").await.expect(201);
    let again = ann.post(&route, &say).once("k").await.expect(201);
    assert_eq!((first.json(), again.header("idempotent-replayed")), (again.json(), "true"));
    assert_eq!(contents(&ann, &room, "").await, ["Once"]);
}

async fn sending_ends_typing(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    app.settled().await;
    let mut stream =
        ann.subscribe(&format!("presence=off&topics={}&types=typing,message_created", topic(&room))).await;
    let typing = format!("{room}/typing");
    put(&bob, &typing, &json!({ "typing": true })).await.expect(204);
    assert_eq!(stream.next().await.data, json!({ "users": [{ "id": bob.id, "name": "bob" }] }));
    put(&bob, &typing, &json!({ "typing": false })).await.expect(204);
    assert_eq!(stream.next().await.data, json!({ "users": [] }));
    put(&bob, &typing, &json!({ "typing": true })).await.expect(204);
    assert_eq!(stream.next().await.data["users"][0]["name"], "bob");
    says(&bob, &room, "Done").await;
    let mut kinds = [stream.next().await, stream.next().await].map(|event| (event.kind, event.data));
    kinds.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(kinds[0].0, "message_created");
    assert_eq!(kinds[1], ("typing".to_owned(), json!({ "users": [] })));
}

async fn ids_grow_even_behind_a_node_whose_clock_was_ahead(app: &TestApp) {
    let ann = app.user("ann").await;
    let room = room_of(&ann, "public").await;
    let first = says(&ann, &room, "One").await;
    let ahead = Uuid::from_u128(0x0fff_ffff_ffff_7000_8000_0000_0000_0000);
    let room_id: Uuid = room["/v1/rooms/".len()..].parse().expect("an id");
    let sql = "UPDATE rooms SET last_message_id = $1 WHERE id = $2";
    let db = Db::open(&app.database_url(), 1).await.expect("the database");
    let mut tx = db.write().await.expect("a transaction");
    let changed = match tx.conn().await.expect("a connection") {
        Conn::Sqlite(conn) => {
            sqlx::query(sql).bind(ahead).bind(room_id).execute(conn).await.expect(sql).rows_affected()
        }
        Conn::Postgres(conn) => {
            sqlx::query(sql).bind(ahead).bind(room_id).execute(conn).await.expect(sql).rows_affected()
        }
    };
    assert_eq!(changed, 1);
    tx.commit().await.expect("committed");
    db.close().await;
    let (second, third) = (says(&ann, &room, "Two").await, says(&ann, &room, "Three").await);
    assert!(first < ahead.to_string() && ahead.to_string() < second && second < third);
    assert_eq!(contents(&ann, &room, "").await, ["Three", "Two", "One"]);
}
