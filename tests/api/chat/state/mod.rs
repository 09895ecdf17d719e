//! State and events agree: what was read at some moment, with the events since its cursor applied to it, is what is
//! read in the end. Random histories over every route that writes.
//!
//! How many they are is set by `STATE_HISTORIES`; `STATE_SEED` repeats those of a run that failed.

mod rooms;
mod snippets;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use serde_json::{Value, json};

use crate::support::{EventStream, Persona};

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

/// The seeds of the histories: other ones in each run, which are printed, so that they can be had again.
fn seeds() -> impl Iterator<Item = u64> {
    let setting = |name| std::env::var(name).ok().map(|text: String| text.parse().expect("a number"));
    let chance = || RandomState::new().build_hasher().finish() >> 32;
    let (first, count) =
        (setting("STATE_SEED").unwrap_or_else(chance), setting("STATE_HISTORIES").unwrap_or(12));
    (first..first + count).inspect(|seed| println!("STATE_SEED={seed} STATE_HISTORIES=1"))
}

/// What a client knows: things by their ids.
type Things = BTreeMap<String, Value>;

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

/// What was read at some moment, the cursor from before it, and a stream that has been open since.
struct Snapshot<S> {
    state: S,
    cursor: String,
    stream: EventStream,
}

impl<S> Snapshot<S> {
    async fn new(person: &Persona, (state, cursor): (S, String), topics: &[String]) -> Self {
        let query = format!("presence=off&since={cursor}&topics=custom:end,{}", topics.join(","));
        let stream = person.subscribe(query.trim_end_matches(',')).await;
        Self { state, cursor, stream }
    }
}

/// Says that this is the end, to every stream and in every history.
async fn mark_the_end(person: &Persona) -> String {
    person.publish("custom:end", &json!({ "type": "marked", "data": null })).await.expect(202).id()
}

/// All events on these topics after a cursor, up to the end: what those can follow who may still read them.
async fn events_since(person: &Persona, topics: &[String], cursor: &str, end: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), cursor.to_owned());
    loop {
        let topics = topics.join(",");
        let path = format!("/v1/events?topics=custom:end,{topics}&since={cursor}&wait=5");
        let path = path.replace(",&", "&");
        let page = person.get(&path).header("Accept", "application/json").await.expect(200).json();
        assert_eq!(page["resume"], "resumed");
        for event in page["data"].as_array().expect("events") {
            if event["id"] == *end {
                return found;
            }
            found.extend(Some(event.clone()).filter(|event| event["type"] != "marked"));
        }
        cursor = text(&page, "/next_cursor");
    }
}

/// All that a stream was told of these topics up to the end, `topic_closed` among it: how those hear of the end of a
/// topic who may read it no longer.
async fn heard(mut stream: EventStream, topics: &[String], end: &str) -> Vec<Value> {
    let mut found = Vec::new();
    loop {
        let event = stream.next().await;
        if event.id.as_deref() == Some(end) {
            return found;
        }
        let closed = event.kind == "topic_closed";
        let about = event.topic.unwrap_or_else(|| text(&event.data, "/topic"));
        if topics.contains(&about) && (closed || event.id.is_some()) {
            found.push(event.envelope);
        }
    }
}
