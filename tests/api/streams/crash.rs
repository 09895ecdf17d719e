//! The process is killed while many write: whatever was acknowledged is there after the restart, in table and log
//! alike, and of what was not, both or neither.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{Persona, Process, TestApp, on_both_databases};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![what_was_acknowledged_survives_kill_9_and_nothing_is_half_there with ["--session-ttl", "3650d"]];

const KILLS: u64 = 50;
const WRITERS: usize = 8;

/// What became of the writes of one round.
#[derive(Default)]
struct Writes {
    acknowledged: RefCell<BTreeSet<String>>,
    cut_off: Cell<usize>,
    first: Notify,
}

/// Writes until the server is gone.
async fn write_until_killed(ann: &Persona, writes: &Writes) {
    loop {
        let snippet = json!({ "title": "In flight", "content": "x" });
        let request =
            ann.client.post(format!("{}/v1/snippets", ann.server)).bearer_auth(ann.token()).json(&snippet);
        let answered = async { request.send().await?.error_for_status()?.json::<Value>().await };
        let Ok(snippet) = answered.await else {
            writes.cut_off.set(writes.cut_off.get() + 1);
            return;
        };
        writes.acknowledged.borrow_mut().insert(id(&snippet));
        writes.first.notify_one();
    }
}

fn id(snippet: &Value) -> String {
    snippet["id"].as_str().expect("an id").to_owned()
}

/// The snippets whose creation is told behind a place, up to one that is made now, and the place of that one.
async fn created_since(ann: &Persona, since: &str) -> (BTreeSet<String>, String) {
    let marker = id(&ann.has_snippet(json!({ "title": "Marker" })).await);
    let mut stream = ann.subscribe(&format!("topics=snippets&since={since}")).await;
    let mut created = BTreeSet::new();
    loop {
        let event = stream.until("snippet_created").await;
        assert!(created.insert(id(&event.data)), "told twice: {}", event.envelope);
        if event.data["id"] == *marker {
            return (created, event.id.expect("durable events have ids"));
        }
    }
}

async fn all_in_the_table(ann: &Persona) -> BTreeSet<String> {
    let (mut all, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = ann.get(&format!("/v1/snippets?limit=100{cursor}")).await.expect(200).json();
        all.extend(page["data"].as_array().expect("a page").iter().map(id));
        let Some(next) = page["next_cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

async fn what_was_acknowledged_survives_kill_9_and_nothing_is_half_there(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    let (mut told, mut cursor) = (BTreeSet::new(), "earliest".to_owned());
    let (mut acknowledged, mut cut_off) = (0, 0);
    let mut last = Writes::default();
    for round in 0..=KILLS {
        let process = Process::start(&app.database_url());
        let ann = Persona { server: process.url.clone(), ..ann.clone() };
        let (created, place) = created_since(&ann, &cursor).await;
        let lost: Vec<&String> = last.acknowledged.get_mut().difference(&created).collect();
        assert!(lost.is_empty(), "acknowledged before kill {round} and not told after it: {lost:?}");
        told.extend(created);
        cursor = place;
        acknowledged += last.acknowledged.get_mut().len();
        cut_off += last.cut_off.get();
        if round == KILLS {
            assert_eq!(told, all_in_the_table(&ann).await, "row and event are there together");
            process.kill();
            break;
        }
        last = Writes::default();
        let writing = join_all((0..WRITERS).map(|_| write_until_killed(&ann, &last)));
        let killing = async {
            // Right behind an acknowledgement, or at any moment.
            if round % 2 == 0 {
                last.first.notified().await;
            } else {
                tokio::time::sleep(Duration::from_micros(round * 7_919 % 60_000)).await;
            }
            process.kill();
        };
        tokio::join!(writing, killing);
    }
    assert!(acknowledged >= 25, "only {acknowledged} writes were acknowledged");
    assert!(cut_off >= 25, "only {cut_off} writes were cut off");
}
