//! How far each has read, and what is unread.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{add, put, room_of, says};
use crate::support::{Call, Persona, TestApp, on_both_databases};

on_both_databases![
    what_others_say_is_unread_until_it_is_read,
    a_mark_moves_forward_only,
    a_mark_is_told_to_the_users_own_devices,
    whoever_joins_has_read_what_was_said_before,
    the_count_is_exact_under_many_writers_and_readers,
];

/// How the caller's list describes a room.
async fn summary(person: &Persona, room: &str) -> Value {
    let list = person.get("/v1/rooms?limit=100").await.expect(200).json();
    let mut rooms = list["data"].as_array().expect("a list").iter();
    rooms.find(|it| room.ends_with(it["id"].as_str().expect("an id"))).cloned().expect("the room")
}

async fn unread(person: &Persona, room: &str) -> i64 {
    summary(person, room).await["unread_count"].as_i64().expect("a count")
}

fn read(person: &Persona, room: &str, message: &str) -> Call {
    put(person, &format!("{room}/read"), &json!({ "message_id": message }))
}

async fn what_others_say_is_unread_until_it_is_read(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (room, other) = (room_of(&ann, "private").await, room_of(&ann, "private").await);
    add(&ann, &room, &bob).await.expect(201);
    let mut ids = Vec::new();
    for (person, content) in [(&ann, "a"), (&bob, "b"), (&ann, "c"), (&ann, "d")] {
        ids.push(says(person, &room, content).await);
    }
    says(&ann, &other, "elsewhere").await;
    assert_eq!((unread(&bob, &room).await, unread(&ann, &room).await), (3, 1));
    let answer = read(&bob, &room, &ids[2]).await.expect(200).json();
    assert_eq!((&answer["unread_count"], &answer["last_read_id"]), (&json!(1), &json!(ids[2])));
    assert_eq!(unread(&bob, &room).await, 1);
    ann.delete(&format!("{room}/messages/{}", ids[3])).await.expect(204);
    assert_eq!(unread(&bob, &room).await, 0, "what is gone is not unread");
    assert_eq!(read(&bob, &room, &ids[3]).await.expect(200).json()["unread_count"], 0);
    assert_eq!(unread(&ann, &room).await, 1);
}

async fn a_mark_moves_forward_only(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    add(&bob, &room, &bob).await.expect(201);
    let (first, second) = (says(&ann, &room, "a").await, says(&ann, &room, "b").await);
    read(&bob, &room, &second).await.expect(200);
    let answer = read(&bob, &room, &first).await.expect(200).json();
    assert_eq!((&answer["last_read_id"], &answer["unread_count"]), (&json!(second), &json!(0)));
    let future = "ffffffff-0000-7000-8000-000000000000";
    let problem = read(&bob, &room, future).await.problem(422, "validation_failed");
    assert_eq!(problem.pointers(), ["/message_id"]);
    let summary = summary(&bob, &room).await;
    assert_eq!((&summary["last_read_id"], &summary["unread_count"]), (&json!(second), &json!(0)));
}

async fn a_mark_is_told_to_the_users_own_devices(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    add(&bob, &room, &bob).await.expect(201);
    let (first, second) = (says(&ann, &room, "a").await, says(&ann, &room, "b").await);
    app.settled().await;
    let mut phone = bob.sign_in().await.subscribe("topics=notifications").await;
    app.settled().await;
    let mut others =
        ann.subscribe(&format!("presence=off&topics=notifications,{}", super::topic(&room))).await;
    for id in [&first, &first, &second] {
        read(&bob, &room, id).await.expect(200);
    }
    // A mark that does not move is not told.
    for (id, left) in [(&first, 1), (&second, 0)] {
        let event = phone.next().await;
        let data =
            json!({ "room_id": &room["/v1/rooms/".len()..], "last_read_id": id, "unread_count": left });
        assert_eq!((event.kind.as_str(), event.data), ("room_read", data));
    }
    says(&ann, &room, "c").await;
    assert_eq!(others.next().await.kind, "message_created", "it is nobody else's business");
}

async fn whoever_joins_has_read_what_was_said_before(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "public").await;
    let before = says(&ann, &room, "a").await;
    read(&bob, &room, &before).await.problem(403, "forbidden");
    add(&bob, &room, &bob).await.expect(201);
    assert_eq!(summary(&bob, &room).await["last_read_id"], json!(before));
    says(&ann, &room, "b").await;
    assert_eq!(unread(&bob, &room).await, 1);
}

/// Four write, delete and read while four read: each event of a mark must carry the count that was true there, by
/// the events of the room before it.
async fn the_count_is_exact_under_many_writers_and_readers(app: &TestApp) {
    const ROUNDS: usize = 12;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let room = room_of(&ann, "private").await;
    add(&ann, &room, &bob).await.expect(201);
    app.settled().await;
    let mut stream =
        bob.subscribe(&format!("presence=off&topics=notifications,{}", super::topic(&room))).await;
    join_all((0..8).map(|device| {
        let (ann, bob, room) = (&ann, &bob, &room);
        async move {
            for round in 0..ROUNDS {
                let author = if (device + round) % 3 == 0 { bob } else { ann };
                let id = says(author, room, "Hello").await;
                match (device + round) % 4 {
                    0 | 1 => drop(read(bob, room, &id).await.expect(200)),
                    2 => drop(author.delete(&format!("{room}/messages/{id}")).await.expect(204)),
                    _ => assert!(unread(bob, room).await >= 0),
                }
            }
        }
    }))
    .await;
    let end = says(&bob, &room, "The end").await;
    read(&bob, &room, &end).await.expect(200);
    let (mut messages, mut marks) = (Vec::<String>::new(), 0);
    loop {
        let event = stream.next().await;
        let data = &event.data;
        let id = data["id"].as_str().unwrap_or_default().to_owned();
        match event.kind.as_str() {
            "message_created" if data["user"]["id"] == json!(bob.id) => {}
            "message_created" => messages.push(id),
            "message_deleted" => messages.retain(|known| *known != id),
            "room_read" => {
                let mark = data["last_read_id"].as_str().expect("a mark");
                let behind = messages.iter().filter(|id| id.as_str() > mark).count();
                assert_eq!(data["unread_count"], behind, "{}", event.envelope);
                marks += 1;
                if mark == end {
                    break;
                }
            }
            kind => assert_eq!(kind, "notification_created"),
        }
    }
    assert!(marks > 1, "the marks moved while others wrote");
    assert_eq!(unread(&bob, &room).await, 0);
}
