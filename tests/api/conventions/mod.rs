//! What holds on every route.

mod bodies;
mod headers;
mod limits;
mod methods;
mod origins;
mod paths;
mod queries;

use crate::support::{Persona, path_of};
use serde_json::json;

/// The path of a room of this person's own.
async fn path_of_room(person: &Persona) -> String {
    format!("/v1/rooms/{}", person.post("/v1/rooms", &json!({ "name": "Den" })).await.expect(201).id())
}

/// Every path that answers `GET`, with a snippet of this person among them.
async fn paths_with_get(person: &Persona) -> Vec<String> {
    let snippet = person.has_snippet(json!({})).await;
    let mut paths: Vec<String> = [
        "/v1/me",
        "/v1/tokens",
        "/v1/snippets",
        "/v1/snippets/events",
        "/v1/events?topics=snippets",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs/",
        "/problems/not_found",
    ]
    .map(str::to_owned)
    .into();
    for suffix in ["", "/raw", "/events"] {
        paths.push(format!("{}{suffix}", path_of(&snippet)));
    }
    paths.push(format!("/v1/users/{}", person.id));
    let room = path_of_room(person).await;
    paths.extend(["", "/members", "/messages", "/events"].map(|suffix| format!("{room}{suffix}")));
    let message = person.post(&format!("{room}/messages"), &json!({ "content": "x" })).await.expect(201);
    paths.push(message.header("location").to_owned());
    paths.extend([room.replace("/v1/rooms/", "/v1/presence/chat:")]);
    paths.extend(["/v1/rooms", "/v1/notifications", "/v1/notifications/events"].map(str::to_owned));
    paths
}
