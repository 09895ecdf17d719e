//! Snippets: the feed of all public ones, and each by itself.

use serde_json::{Value, json};

use super::{Dice, Snapshot, Things, all, events_since, heard, mark_the_end, seeds, text};
use crate::support::{Answer, Persona, TestApp, on_both_databases};

on_both_databases![the_feed_follows_from_its_events, each_snippet_follows_from_its_events];

/// How many writes are in each history, and after how many of them the state is read once more.
const WRITES: usize = 70;
const PAUSE: usize = 9;

async fn the_feed_follows_from_its_events(app: &TestApp) {
    follow_histories(app, async |person, _| feed(person).await, |_| vec!["snippets".to_owned()]).await;
}

async fn each_snippet_follows_from_its_events(app: &TestApp) {
    follow_histories(app, each, |state| state.keys().map(|id| format!("snippets:{id}")).collect()).await;
}

/// What follows from events: all but the views, of which none tells.
fn told(mut snippet: Value) -> Value {
    snippet.as_object_mut().expect("a snippet").remove("views");
    snippet
}

/// All public snippets, and the cursor from before.
async fn feed(person: &Persona) -> (Things, String) {
    let cursor = person.get("/v1/snippets?limit=1").await.expect(200).header("snippetbox-cursor").to_owned();
    let found = all(person, "/v1/snippets?include=content").await;
    (found.into_iter().map(|it| (text(&it, "/id"), told(it))).collect(), cursor)
}

/// Those of the snippets that somebody may read, and the cursor from before.
async fn each(person: &Persona, ids: &[String]) -> (Things, String) {
    let cursor = person.get("/v1/snippets?limit=1").await.expect(200).header("snippetbox-cursor").to_owned();
    let mut found = Things::new();
    for id in ids {
        let answer = person.get(&format!("/v1/snippets/{id}")).await;
        if answer.status != 404 {
            found.insert(id.clone(), told(answer.expect(200).json()));
        }
    }
    (found, cursor)
}

async fn write(dice: &mut Dice, people: &[Persona], ids: &mut Vec<String>) -> Answer {
    let person = dice.pick(people);
    let visibility = *dice.pick(&["public", "public", "unlisted", "private"]);
    if ids.len() < 3 || dice.roll(4) == 0 {
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

/// Lets things happen, reads now and then, and compares what was read with what the events since make of it.
async fn follow_histories(
    app: &TestApp,
    read: impl AsyncFn(&Persona, &[String]) -> (Things, String),
    topics: impl Fn(&Things) -> Vec<String>,
) {
    let (ann, eve) = (app.user("ann").await, app.user("eve").await);
    for seed in seeds() {
        let (mut dice, bob) = (Dice(seed), app.user(&format!("bob{seed}")).await);
        let people = [ann.clone(), bob.clone(), eve.clone()];
        let (mut ids, mut snapshots) = (Vec::new(), Vec::new());
        for step in 0..WRITES {
            if step % PAUSE == 0 {
                app.settled().await;
                let found = read(&eve, &ids).await;
                let topics = topics(&found.0);
                snapshots.push(Snapshot::new(&eve, found, &topics).await);
            }
            let answer = write(&mut dice, &people, &mut ids).await;
            assert!(answer.status.as_u16() < 500, "seed {seed}, step {step}: {answer}");
        }
        bob.delete("/v1/me").await.expect(204);
        let (end, mark) = (read(&eve, &ids).await.0, mark_the_end(&eve).await);
        let followed = topics(&end);
        for (number, mut it) in snapshots.into_iter().enumerate() {
            let mut lost = topics(&it.state);
            lost.retain(|topic| !followed.contains(topic));
            let ended = heard(it.stream, &lost, &mark).await;
            let events = events_since(&eve, &followed, &it.cursor, &mark).await;
            for event in ended.into_iter().chain(events) {
                let (id, topic) = (text(&event, "/data/id"), text(&event, "/data/topic"));
                match event["type"].as_str().expect("a type") {
                    "snippet_deleted" => drop(it.state.remove(&id)),
                    "topic_closed" => drop(it.state.remove(topic.trim_start_matches("snippets:"))),
                    _ => drop(it.state.insert(id, told(event["data"].clone()))),
                }
            }
            assert_eq!(it.state, end, "seed {seed}, snapshot {number}");
        }
    }
}
