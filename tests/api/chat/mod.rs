//! `/v1/rooms` and everything below it.

mod accounts;

mod crowd;
mod endings;
mod members;
mod messages;
mod reads;
mod rights;
mod rooms;

mod state;
mod wrong;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Call, Persona};

const NOWHERE: &str = "/v1/rooms/01890000-0000-7000-8000-000000000000";

/// Makes a room of one's own, and returns its path.
async fn room_of(owner: &Persona, visibility: &str) -> String {
    let room = json!({ "name": "Den", "visibility": visibility });
    format!("/v1/rooms/{}", owner.post("/v1/rooms", &room).await.expect(201).id())
}

/// The topic of a room.
fn topic(room: &str) -> String {
    room.replace("/v1/rooms/", "chat:")
}

fn put(person: &Persona, path: &str, body: &Value) -> Call {
    person.call(Method::PUT, path).json(body)
}

fn add(owner: &Persona, room: &str, user: &Persona) -> Call {
    owner.call(Method::PUT, &format!("{room}/members/{}", user.id))
}

fn remove(owner: &Persona, room: &str, user: &Persona) -> Call {
    owner.delete(&format!("{room}/members/{}", user.id))
}

async fn says(person: &Persona, room: &str, content: &str) -> String {
    person.post(&format!("{room}/messages"), &json!({ "content": content })).await.expect(201).id()
}

/// One field of all items of a list, in its order.
fn each(answer: &Answer, pointer: &str) -> Vec<String> {
    let page = answer.json();
    let items = page["data"].as_array().expect("a page has data").iter();
    let field = |item: &Value| item.pointer(pointer).and_then(Value::as_str).expect("the field").to_owned();
    items.map(field).collect()
}

async fn members(person: &Persona, room: &str) -> Vec<String> {
    each(&person.get(&format!("{room}/members?limit=100")).await.expect(200), "/user/name")
}

async fn contents(person: &Persona, room: &str, query: &str) -> Vec<String> {
    each(&person.get(&format!("{room}/messages?{query}")).await.expect(200), "/content")
}
