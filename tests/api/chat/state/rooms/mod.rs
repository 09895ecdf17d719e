//! Rooms, all that is in them, and notifications.

mod writes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::writes::{Made, write_what_is_allowed};
use super::{Dice, Snapshot, Things, all, events_since, heard, mark_the_end, seeds, text};
use crate::support::{Persona, TestApp, on_both_databases};

on_both_databases![rooms_follow_from_their_events];

/// How many writes of each history are allowed, of about twice as many that are tried, and after how many of them the
/// state is read once more.
const ALLOWED_WRITES: usize = 27;
const PAUSE: usize = 3;

/// What one user knows of the rooms that they may read, and of their own notifications.
#[derive(Debug, Clone, PartialEq, Default)]
struct State {
    rooms: Things,
    /// By the room and the user.
    members: Things,
    messages: Things,
    notifications: Things,
    unread_notifications: i64,
    /// The user's marks, in the rooms where they are a member.
    marks: BTreeMap<String, String>,
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
        for mut room in all(person, "/v1/rooms").await {
            let id = text(&room, "/id");
            let fields = room.as_object_mut().expect("a room");
            let unread = fields.remove("unread_count").expect("a count");
            let mark = fields.remove("last_read_id").expect("a mark");
            state.rooms.insert(id.clone(), room);
            for member in all(person, &format!("/v1/rooms/{id}/members")).await {
                state.members.insert(format!("{id} {}", text(&member, "/user/id")), member);
            }
            for message in all(person, &format!("/v1/rooms/{id}/messages")).await {
                state.messages.insert(text(&message, "/id"), message);
            }
            let is_member = state.members.contains_key(&format!("{id} {}", person.id));
            assert_eq!(is_member, unread.is_number(), "room {id}");
            if is_member {
                state.marks.insert(id.clone(), text(&mark, ""));
                assert_eq!(unread, state.unread(&person.id, &id), "room {id}");
            }
        }
        let unread = state.notifications.values().filter(|it| it["read"] == false).count();
        assert_eq!(state.unread_notifications, i64::try_from(unread).expect("few"), "as the list has it");
        (state, cursor)
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

    /// What is known of these rooms.
    fn only(mut self, rooms: &BTreeSet<String>) -> Self {
        let others: Vec<String> = self.rooms.keys().filter(|id| !rooms.contains(*id)).cloned().collect();
        for room in &others {
            self.forget(room);
        }
        self
    }

    /// What is known, with what is unread in place of the marks: whoever joins has read what was said before, also
    /// what is gone and known to nobody any more.
    fn known_to(mut self, user: &str) -> (Self, BTreeMap<String, usize>) {
        let unread = self.marks.keys().map(|room| (room.clone(), self.unread(user, room))).collect();
        self.marks.clear();
        (self, unread)
    }

    /// The reducer of a client of this user's.
    fn apply(&mut self, user: &str, event: &Value) {
        let (data, id) = (event["data"].clone(), text(event, "/data/id"));
        let room = text(event, "/topic").trim_start_matches("chat:").to_owned();
        let kind = event["type"].as_str().expect("a type");
        if kind.starts_with("notification") {
            self.unread_notifications = data["unread_count"].as_i64().expect("a count");
        }
        match kind {
            "room_created" | "room_updated" => drop(self.rooms.insert(id, data)),
            "room_deleted" => self.forget(&id),
            "topic_closed" => self.forget(text(&data, "/topic").trim_start_matches("chat:")),
            "member_added" => {
                if text(&data, "/user/id") == user {
                    let last = self.messages.values().rfind(|it| text(it, "/room_id") == room);
                    self.marks.insert(room.clone(), last.map(|it| text(it, "/id")).unwrap_or_default());
                }
                self.members.insert(format!("{room} {}", text(&data, "/user/id")), data);
            }
            "member_removed" => {
                let gone = text(&data, "/user_id");
                self.members.remove(&format!("{room} {gone}"));
                self.marks.retain(|known, _| gone != user || *known != room);
            }
            "message_created" | "message_updated" => drop(self.messages.insert(id, data)),
            "message_deleted" => drop(self.messages.remove(&id)),
            "messages_deleted" => {
                let gone = |it: &Value| {
                    text(it, "/room_id") == room && it.pointer("/user/id") == Some(&data["user_id"])
                };
                self.messages.retain(|_, it| !gone(it));
            }
            "room_read" => self.read_up_to(user, &data),
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

    fn read_up_to(&mut self, user: &str, data: &Value) {
        let room = text(data, "/room_id");
        // What has happened in a room that is lost by now is not known.
        if self.rooms.contains_key(&room) {
            self.marks.insert(room.clone(), text(data, "/last_read_id"));
            assert_eq!(
                data["unread_count"],
                self.unread(user, &room),
                "the count is that of its place: {data}"
            );
        }
    }

    fn forget(&mut self, room: &str) {
        self.rooms.remove(room);
        self.marks.remove(room);
        self.members.retain(|key, _| !key.starts_with(room));
        self.messages.retain(|_, it| text(it, "/room_id") != room);
    }
}

async fn rooms_follow_from_their_events(app: &TestApp) {
    let (ann, cid, eve) = (app.user("ann").await, app.user("cid").await, app.user("eve").await);
    for seed in seeds() {
        let mut dice = Dice(seed);
        // Eve is the one who looks, and takes part like the others. Bob's account ends.
        let bob = app.user(&format!("bob{seed}")).await;
        let people = [ann.clone(), bob.clone(), cid.clone(), eve.clone()];
        let (mut made, mut snapshots, mut tried) = (Made::default(), Vec::new(), 0);
        for step in 0..ALLOWED_WRITES {
            if step % PAUSE == 0 {
                snapshots.push((look(app, &eve).await, made.rooms.len()));
            }
            tried += write_what_is_allowed(&mut dice, &people, &mut made).await;
        }
        // If nothing but new rooms were allowed, they would be some 320; as it is, they are 52 give or take 12.
        assert!(tried <= 200, "seed {seed}: {tried} writes were tried");
        bob.delete("/v1/me").await.expect(204);
        let (end, mark) = (State::read(&eve).await.0, mark_the_end(&eve).await);
        for (snapshot, made_before) in snapshots {
            // What was known then, and what was made since: nobody is told that there was something else.
            let known = snapshot.state.rooms.keys();
            let followed: BTreeSet<String> = known.chain(&made.rooms[made_before..]).cloned().collect();
            let found = follow(&eve, snapshot, &followed, &end, &mark).await.known_to(&eve.id);
            assert_eq!(
                found,
                end.clone().only(&followed).known_to(&eve.id),
                "seed {seed}, with {made_before} rooms"
            );
        }
        for room in &made.rooms {
            app.admin().await.delete(&format!("/v1/rooms/{room}")).await;
        }
    }
}

async fn look(app: &TestApp, person: &Persona) -> Snapshot<State> {
    app.settled().await;
    let found = State::read(person).await;
    let topics: Vec<String> = found.0.rooms.keys().map(|id| format!("chat:{id}")).collect();
    Snapshot::new(person, found, &topics).await
}

/// What is known in the end to who read the state once, and has followed it since.
async fn follow(
    person: &Persona,
    from: Snapshot<State>,
    rooms: &BTreeSet<String>,
    end: &State,
    mark: &str,
) -> State {
    let mut state = from.state;
    let (kept, lost): (Vec<&String>, Vec<&String>) = rooms.iter().partition(|id| end.rooms.contains_key(*id));
    let topic = |id: &String| format!("chat:{id}");
    let lost: Vec<String> = lost.into_iter().map(topic).collect();
    for event in heard(from.stream, &lost, mark).await {
        state.apply(&person.id, &event);
    }
    let mut topics: Vec<String> = kept.into_iter().map(topic).collect();
    topics.push("notifications".to_owned());
    for event in events_since(person, &topics, &from.cursor, mark).await {
        state.apply(&person.id, &event);
    }
    state
}
