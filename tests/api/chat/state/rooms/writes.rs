//! Random writes of everything that there is in rooms.

use reqwest::Method;
use serde_json::json;

use crate::chat::state::{Dice, all, text};
use crate::support::{Answer, Persona};

/// All that there has been, of which some may be gone.
#[derive(Default)]
pub struct Made {
    pub rooms: Vec<String>,
    /// By their paths.
    messages: Vec<String>,
}

/// One random write; whether it is allowed is another matter, but it must not break anything.
async fn write(dice: &mut Dice, people: &[Persona], made: &mut Made) -> Answer {
    let (person, other) = (dice.pick(people), dice.pick(people));
    if made.rooms.len() < 2 || dice.roll(12) == 0 {
        let room = json!({ "name": "Den", "visibility": dice.pick(&["public", "private"]) });
        let answer = person.post("/v1/rooms", &room).await.expect(201);
        made.rooms.push(answer.id());
        return answer;
    }
    let room = format!("/v1/rooms/{}", dice.pick(&made.rooms));
    if made.messages.is_empty() || dice.roll(3) == 0 {
        let mentions: Vec<&str> = if dice.roll(3) == 0 { vec![&other.id] } else { Vec::new() };
        let body = json!({ "content": format!("{}", dice.roll(1_000)), "mentions": mentions });
        let answer = person.post(&format!("{room}/messages"), &body).await;
        made.messages.extend(answer.find_header("location").map(str::to_owned));
        return answer;
    }
    let message = dice.pick(&made.messages).clone();
    match dice.roll(14) {
        0 | 1 => person.patch(&message, &json!({ "content": "edited", "mentions": [other.id] })).await,
        2 => person.delete(&message).await,
        3 => person.call(Method::PUT, &format!("{room}/members/{}", other.id)).await,
        4 => person.delete(&format!("{room}/members/{}", other.id)).await,
        5 => person.call(Method::PUT, &format!("{room}/members/{}", person.id)).await,
        6 => person.delete(&format!("{room}/members/{}", person.id)).await,
        7 => {
            let change = [
                json!({ "name": format!("Room {}", dice.roll(100)) }),
                json!({ "visibility": "private", "name": "Closed" }),
                json!({ "visibility": "public" }),
                json!({ "owner_id": other.id }),
            ];
            person.patch(&room, dice.pick(&change)).await
        }
        8 | 9 => {
            let (room, id) = message.split_once("/messages/").expect("a message in a room");
            person.call(Method::PUT, &format!("{room}/read")).json(&json!({ "message_id": id })).await
        }
        10 => {
            let notice = json!({ "kind": "note", "message": "Hello" });
            person.post(&format!("/v1/users/{}/notifications", other.id), &notice).await
        }
        11 => person.delete(&room).await,
        _ => notification(dice, person).await,
    }
}

/// Tries random writes up to the first one that is allowed, and tells how many: how many are refused before is chance
/// as well.
pub async fn write_what_is_allowed(dice: &mut Dice, people: &[Persona], made: &mut Made) -> usize {
    let mut tried = 0;
    loop {
        let answer = write(dice, people, made).await;
        assert!(answer.status.as_u16() < 500, "{answer}");
        tried += 1;
        if answer.status.is_success() {
            return tried;
        }
    }
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
