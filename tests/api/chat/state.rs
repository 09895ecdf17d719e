//! State and events agree: what was read at some moment, with the events since its cursor applied to it, is what is
//! read in the end. Random histories over every route that writes.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Persona, TestApp, on_both_databases};

on_both_databases![rooms_follow_from_their_events, snippets_follow_from_their_events];

/// How many histories, and how many writes in each.
const HISTORIES: u64 = 3;
const WRITES: usize = 70;

/// Chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

/// What a client knows: things by their ids.
type Things = BTreeMap<String, Value>;

/// What one user knows of some rooms, and of their own notifications.
#[derive(Debug, Clone, PartialEq, Default)]
struct State {
    rooms: Things,
    /// By the room and the user.
    members: Things,
    messages: Things,
    notifications: Things,
    unread_notifications: i64,
    /// The user's marks by room.
    marks: BTreeMap<String, String>,
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// All items of a list.
async fn all(person: &Persona, path: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = person.get(&format!("{path}{separator}limit=100{cursor}")).await.expect(200).json();
        found.extend(page["data"].as_array().expect("a list").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

impl State {
    /// Reads everything, and the cursor from before it.
    async fn read(person: &Persona) -> (Self, String) {
        let answer = person.get("/v1/notifications?limit=1").await.expect(200);
        let cursor = answer.header("snippetbox-cursor").to_owned();
        let mut state = Self {
            unread_notifications: answer.json()["unread_count"].as_i64().expect("a count"),
            ..Self::default()
        };
        for it in all(person, "/v1/notifications").await {
            state.notifications.insert(text(&it, "/id"), it);
        }
        for mut room in all(person, "/v1/rooms?joined=true").await {
            let id = text(&room, "/id");
            let fields = room.as_object_mut().expect("a room");
            let (unread, mark) = (fields.remove("unread_count"), fields.remove("last_read_id"));
            state.marks.insert(id.clone(), text(&mark.expect("a mark"), ""));
            state.rooms.insert(id.clone(), room);
            for member in all(person, &format!("/v1/rooms/{id}/members")).await {
                state.members.insert(format!("{id} {}", text(&member, "/user/id")), member);
            }
            for message in all(person, &format!("/v1/rooms/{id}/messages")).await {
                state.messages.insert(text(&message, "/id"), message);
            }
            assert_eq!(unread.expect("a count"), state.unread(&person.id, &id), "room {id}");
        }
        assert_eq!(state.unread_notifications, state.count_unread(), "the count is that of the list");
        (state, cursor)
    }

    fn count_unread(&self) -> i64 {
        let unread = self.notifications.values().filter(|it| it["read"] == false).count();
        i64::try_from(unread).expect("few")
    }

    fn unread(&self, user: &str, room: &str) -> usize {
        let mark = self.marks.get(room).map_or("", String::as_str);
        let counts = |message: &&Value| {
            text(message, "/room_id") == room
                && text(message, "/user/id") != user
                && text(message, "/id").as_str() > mark
        };
        self.messages.values().filter(counts).count()
    }

    /// The reducer of a client.
    fn apply(&mut self, event: &Value) {
        let (data, id) = (event["data"].clone(), text(event, "/data/id"));
        let room = text(event, "/topic").trim_start_matches("chat:").to_owned();
        let kind = event["type"].as_str().expect("a type");
        if kind.starts_with("notification") {
            self.unread_notifications = data["unread_count"].as_i64().expect("a count");
        }
        match kind {
            "room_created" | "room_updated" => drop(self.rooms.insert(id, data)),
            "room_deleted" => self.forget(&id),
            "member_added" => drop(self.members.insert(format!("{room} {}", text(&data, "/user/id")), data)),
            "member_removed" => drop(self.members.remove(&format!("{room} {}", text(&data, "/user_id")))),
            "message_created" | "message_updated" => drop(self.messages.insert(id, data)),
            "message_deleted" => drop(self.messages.remove(&id)),
            "messages_deleted" => {
                let gone = |it: &Value| {
                    text(it, "/room_id") == room && it.pointer("/user/id") == Some(&data["user_id"])
                };
                self.messages.retain(|_, it| !gone(it));
            }
            "room_read" => drop(self.marks.insert(text(&data, "/room_id"), text(&data, "/last_read_id"))),
            "notification_created" => {
                let mut it = data.clone();
                it.as_object_mut().expect("a notification").remove("unread_count");
                self.notifications.insert(id, it);
            }
            "notification_read" => {
                let up_to = text(&data, "/up_to");
                for (known, it) in &mut self.notifications {
                    if *known == id || *known <= up_to {
                        it["read"] = data["read"].clone();
                    }
                }
            }
            "notification_deleted" => drop(self.notifications.remove(&id)),
            kind => panic!("{kind} is not known: {event}"),
        }
    }

    fn forget(&mut self, room: &str) {
        self.rooms.remove(room);
        self.marks.remove(room);
        self.members.retain(|key, _| !key.starts_with(room));
        self.messages.retain(|_, it| text(it, "/room_id") != room);
    }
}

/// All events on these topics after a cursor, up to now.
async fn events_since(person: &Persona, topics: &str, cursor: &str) -> Vec<Value> {
    let mark = json!({ "type": "marked", "data": null });
    let end = person.publish("custom:end", &mark).await.expect(202).id();
    let (mut found, mut cursor) = (Vec::new(), cursor.to_owned());
    loop {
        let path = format!("/v1/events?topics={topics},custom:end&since={cursor}&wait=5");
        let page = person.get(&path).header("Accept", "application/json").await.expect(200).json();
        assert_eq!(page["resume"], "resumed");
        for event in page["data"].as_array().expect("events") {
            if event["id"] == json!(end) {
                return found;
            }
            found.extend(Some(event.clone()).filter(|event| event["type"] != "marked"));
        }
        cursor = text(&page, "/next_cursor");
    }
}

/// One random write; whether it is allowed is another matter, but it must not break anything.
async fn write(dice: &mut Dice, people: &[Persona], rooms: &[String], messages: &mut Vec<String>) -> Answer {
    let (person, other) = (dice.pick(people), dice.pick(people));
    let room = format!("/v1/rooms/{}", dice.pick(rooms));
    let path = |message: &str| format!("{room}/messages/{message}");
    let answer = match dice.roll(14) {
        0..=4 => {
            let mentions: Vec<&str> = if dice.roll(3) == 0 { vec![&other.id] } else { Vec::new() };
            let body = json!({ "content": format!("{}", dice.roll(1_000)), "mentions": mentions });
            person.post(&format!("{room}/messages"), &body).await
        }
        5 => {
            person
                .patch(
                    &path(dice.pick::<String>(messages)),
                    &json!({ "content": "edited", "mentions": [other.id] }),
                )
                .await
        }
        6 => person.delete(&path(dice.pick::<String>(messages))).await,
        7 => person.call(Method::PUT, &format!("{room}/members/{}", other.id)).await,
        8 => person.delete(&format!("{room}/members/{}", other.id)).await,
        9 => {
            let change = [
                json!({ "name": format!("Room {}", dice.roll(100)) }),
                json!({ "visibility": "private", "name": "Closed" }),
                json!({ "visibility": "public" }),
                json!({ "owner_id": other.id }),
            ];
            person.patch(&room, dice.pick(&change)).await
        }
        10 | 11 => {
            let mark = json!({ "message_id": dice.pick::<String>(messages) });
            person.call(Method::PUT, &format!("{room}/read")).json(&mark).await
        }
        12 => {
            let notice = json!({ "kind": "note", "message": "Hello" });
            person.post(&format!("/v1/users/{}/notifications", other.id), &notice).await
        }
        _ => notification(dice, person).await,
    };
    if answer.status == 201 && answer.json()["room_id"].is_string() {
        messages.push(answer.id());
    }
    answer
}

/// One random write about somebody's own notifications.
async fn notification(dice: &mut Dice, person: &Persona) -> Answer {
    let known = all(person, "/v1/notifications").await;
    if known.is_empty() {
        return person.post("/v1/notifications/read", &json!({})).await;
    }
    let id = text(dice.pick(&known), "/id");
    match dice.roll(3) {
        0 => person.patch(&format!("/v1/notifications/{id}"), &json!({ "read": dice.roll(2) == 0 })).await,
        1 => person.post("/v1/notifications/read", &json!({ "up_to": id })).await,
        _ => person.delete(&format!("/v1/notifications/{id}")).await,
    }
}

async fn rooms_follow_from_their_events(app: &TestApp) {
    for seed in 0..HISTORIES {
        let mut dice = Dice(seed * 7_919 + 1);
        let mut people = Vec::new();
        for name in ["ann", "bob", "cid"] {
            people.push(app.user(&format!("{name}{seed}")).await);
        }
        // The one who looks is in every room, sees them all to the end, and can be removed from none.
        let eve = app.user(&format!("eve{seed}")).await;
        let mut rooms = Vec::new();
        for person in &people {
            let id = person.post("/v1/rooms", &json!({ "name": "Den" })).await.expect(201).id();
            eve.call(Method::PUT, &format!("/v1/rooms/{id}/members/{}", eve.id)).await.expect(201);
            rooms.push(id);
        }
        let mut messages = vec![super::says(&eve, &format!("/v1/rooms/{}", rooms[0]), "First").await];
        let (mut snapshots, mut effects) = (vec![State::read(&eve).await], 0);
        for step in 0..WRITES {
            let answer = write(&mut dice, &people, &rooms, &mut messages).await;
            assert!(answer.status.as_u16() < 500, "seed {seed}, step {step}: {answer}");
            effects += usize::from(answer.status.is_success());
            if step % 9 == 0 {
                let text = notification(&mut dice, &eve).await;
                assert!(text.status.is_success(), "{text}");
                let mark = json!({ "message_id": dice.pick(&messages) });
                eve.call(Method::PUT, &format!("/v1/rooms/{}/read", dice.pick(&rooms))).json(&mark).await;
                let notice = json!({ "kind": "note", "message": "Hello" });
                people[0].post(&format!("/v1/users/{}/notifications", eve.id), &notice).await.expect(201);
                snapshots.push(State::read(&eve).await);
            }
        }
        assert!(effects > WRITES / 4, "seed {seed}: only {effects} writes were allowed");
        // An account and a room end as well.
        people[1].delete("/v1/me").await.expect(204);
        app.admin().await.delete(&format!("/v1/rooms/{}", rooms[2])).await.expect(204);
        assert_follows(&eve, snapshots, seed).await;
    }
}

async fn assert_follows(eve: &Persona, snapshots: Vec<(State, String)>, seed: u64) {
    let (end, _) = State::read(eve).await;
    let topics: Vec<String> = end.rooms.keys().map(|id| format!("chat:{id}")).collect();
    let topics = format!("notifications,{}", topics.join(","));
    for (number, (mut state, cursor)) in snapshots.into_iter().enumerate() {
        // A topic that has ended cannot be followed any more: that is what tells of the end.
        let ended: Vec<String> =
            state.rooms.keys().filter(|id| !end.rooms.contains_key(*id)).cloned().collect();
        for room in &ended {
            state.forget(room);
        }
        for event in events_since(eve, &topics, &cursor).await {
            state.apply(&event);
        }
        state.marks.retain(|room, _| end.rooms.contains_key(room));
        assert_eq!(state, end, "seed {seed}, snapshot {number}");
    }
}

async fn snippets_follow_from_their_events(app: &TestApp) {
    for seed in 0..HISTORIES {
        let mut dice = Dice(seed * 104_729 + 7);
        let mut people = Vec::new();
        for name in ["ann", "bob", "cid"] {
            people.push(app.user(&format!("{name}{seed}")).await);
        }
        let (eve, mut ids) = (app.user(&format!("eve{seed}")).await, Vec::new());
        let mut snapshots = vec![feed(&eve).await];
        for step in 0..WRITES {
            let answer = write_snippet(&mut dice, &people, &mut ids).await;
            assert!(answer.status.as_u16() < 500, "seed {seed}, step {step}: {answer}");
            if step % 9 == 0 {
                snapshots.push(feed(&eve).await);
            }
        }
        people[1].delete("/v1/me").await.expect(204);
        let (end, _) = feed(&eve).await;
        for (number, (mut state, cursor)) in snapshots.into_iter().enumerate() {
            for event in events_since(&eve, "snippets", &cursor).await {
                let id = text(&event, "/data/id");
                match event["type"].as_str().expect("a type") {
                    "snippet_deleted" => drop(state.remove(&id)),
                    _ => drop(state.insert(id, event["data"].clone())),
                }
            }
            assert_eq!(state, end, "seed {seed}, snapshot {number}");
        }
    }
}

/// All public snippets, and the cursor from before.
async fn feed(person: &Persona) -> (Things, String) {
    let cursor = person.get("/v1/snippets?limit=1").await.expect(200).header("snippetbox-cursor").to_owned();
    let found = all(person, "/v1/snippets?include=content").await;
    (found.into_iter().map(|it| (text(&it, "/id"), it)).collect(), cursor)
}

async fn write_snippet(dice: &mut Dice, people: &[Persona], ids: &mut Vec<String>) -> Answer {
    let person = dice.pick(people);
    let visibility = *dice.pick(&["public", "public", "unlisted", "private"]);
    if ids.len() < 3 || dice.roll(3) == 0 {
        let body = json!({ "title": "New", "content": "x", "visibility": visibility });
        let answer = person.post_snippet(&body).await.expect(201);
        ids.push(answer.id());
        return answer;
    }
    let path = format!("/v1/snippets/{}", dice.pick(ids));
    match dice.roll(6) {
        0 => person.delete(&path).await,
        1 | 2 => person.patch(&path, &json!({ "visibility": visibility, "content": "y" })).await,
        _ => person.patch(&path, &json!({ "title": format!("{}", dice.roll(1_000)), "tags": ["a"] })).await,
    }
}
