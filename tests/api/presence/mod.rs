//! Who is on a topic.

mod devices;
mod leases;
mod node;
mod phoenix;
pub mod rights;
mod shape;

use serde_json::{Value, json};

use crate::support::{Call, EventStream, Persona, eventually};
use reqwest::Method;

/// A snippet, as the name of its topic.
async fn topic_of(owner: &Persona, visibility: &str) -> String {
    let path = owner.has_snippet_that_is(visibility).await;
    let topic = format!("snippets:{}", path.trim_start_matches("/v1/snippets/"));
    // On PostgreSQL an event has its place some milliseconds after it was acknowledged: it must not come among those
    // of presence.
    eventually("the snippet is in the log", async || {
        let history = format!("/v1/events?topics={topic}&since=earliest");
        let page = owner.get(&history).header("Accept", "application/json").await.expect(200).json();
        (page["data"] != json!([])).then_some(())
    })
    .await;
    topic
}

fn hold(person: &Persona, topic: &str, body: &Value) -> Call {
    person.call(Method::PUT, &format!("/v1/presence/{topic}")).json(body)
}

async fn present(person: &Persona, topic: &str) -> Value {
    person.get(&format!("/v1/presence/{topic}")).await.expect(200).json()
}

/// Opens a stream and reads the state that it begins with.
async fn watch(person: &Persona, topic: &str, parameters: &str) -> (EventStream, Value) {
    let mut stream = person.subscribe(&format!("topics={topic}{parameters}")).await;
    let state = stream.next().await;
    assert_eq!((state.kind.as_str(), state.topic.as_deref()), ("presence_state", Some(topic)));
    assert_eq!((state.id, &state.envelope["actor"]), (None, &Value::Null), "it is no durable event");
    (stream, state.data)
}

/// Waits for a change of the snippet; who leaves with it may be told before.
async fn until_updated(stream: &mut EventStream, known: &mut Known) {
    loop {
        let event = stream.next().await;
        match event.kind.as_str() {
            "snippet_updated" => return,
            "presence_diff" => known.apply(&event.data),
            kind => panic!("{kind} before the change: {}", event.envelope),
        }
    }
}

/// What a watcher knows, as the reducer of Phoenix Presence would have it.
#[derive(Debug, Default, PartialEq)]
struct Known(Value);

impl Known {
    fn of(state: &Value) -> Self {
        Self(state.clone())
    }

    fn apply(&mut self, diff: &Value) {
        let known = self.0.as_object_mut().expect("an object");
        for (user, join) in diff["joins"].as_object().expect("joins") {
            let joined = join["metas"].as_array().expect("metas").clone();
            let entry = known.entry(user).or_insert_with(|| json!({ "metas": [] }));
            let mut metas = entry["metas"].as_array().expect("metas").clone();
            metas.retain(|old| joined.iter().all(|new| new["phx_ref"] != old["phx_ref"]));
            metas.extend(joined);
            *entry = json!({ "user": join["user"], "metas": metas });
        }
        for (user, leave) in diff["leaves"].as_object().expect("leaves") {
            let Some(entry) = known.get_mut(user) else { continue };
            let left = leave["metas"].as_array().expect("metas");
            let metas = entry["metas"].as_array_mut().expect("metas");
            metas.retain(|meta| left.iter().all(|left| left["phx_ref"] != meta["phx_ref"]));
            if metas.is_empty() {
                known.remove(user);
            }
        }
    }

    fn users(&self) -> Vec<&str> {
        self.0.as_object().expect("an object").keys().map(String::as_str).collect()
    }
}

/// Reads diffs until the watcher knows what is wanted.
async fn until(stream: &mut EventStream, known: &mut Known, wanted: impl Fn(&Known) -> bool) {
    while !wanted(known) {
        let event = stream.next().await;
        match event.kind.as_str() {
            "presence_diff" => known.apply(&event.data),
            "presence_state" => *known = Known::of(&event.data),
            kind => panic!("{kind} among the diffs: {}", event.envelope),
        }
    }
}
