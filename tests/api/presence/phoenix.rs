//! The judge of the shape: the unchanged `Presence` of the npm package `phoenix`, in node, over frames of a real run.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Known, hold, present, topic_of, watch};
use crate::support::{Database, EventStream, TestApp, run};

#[test]
#[ignore = "needs node and the npm package phoenix: tests/run installs it"]
fn sqlite() {
    run(Database::Sqlite, &[], the_client_of_phoenix_ends_in_the_state_of_the_server);
}

#[test]
#[ignore = "needs node and PostgreSQL: tests/run brings both"]
fn postgres() {
    run(Database::Postgres, &[], the_client_of_phoenix_ends_in_the_state_of_the_server);
}

/// Somebody who watches, with all they were told.
struct Watcher {
    stream: EventStream,
    known: Known,
    frames: Vec<Value>,
}

impl Watcher {
    async fn open(app: &TestApp, topic: &str) -> Self {
        let (stream, state) = watch(&app.anonymous(), topic, "").await;
        let frames = vec![json!({ "type": "presence_state", "data": state })];
        Self { stream, known: Known::of(&state), frames }
    }

    /// Follows until everything is known that the server would answer now.
    async fn catch_up(&mut self, app: &TestApp, topic: &str) {
        let now = present(&app.anonymous(), topic).await["presences"].clone();
        while sorted(&self.known.0) != sorted(&now) {
            let event = self.stream.next().await;
            assert_eq!(event.kind, "presence_diff");
            self.frames.push(json!({ "type": event.kind, "data": event.data }));
            self.known.apply(&event.data);
        }
    }
}

/// A state in which the order of a user's entries does not matter.
fn sorted(state: &Value) -> Value {
    let mut state = state.clone();
    for user in state.as_object_mut().expect("an object").values_mut() {
        let metas = user["metas"].as_array_mut().expect("metas");
        metas.sort_by_key(|meta| meta["phx_ref"].as_str().expect("a reference").to_owned());
    }
    state
}

fn judge(recordings: &[Vec<Value>]) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/phoenix");
    let mut command = Command::new("node");
    let command = command.arg("sync.mjs").current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = command.spawn().expect("node starts");
    let input = serde_json::to_vec(recordings).expect("JSON");
    node.stdin.take().expect("a pipe").write_all(&input).expect("node reads");
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed; is the package installed? npm ci --prefix tests/phoenix");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn the_client_of_phoenix_ends_in_the_state_of_the_server(app: &TestApp) {
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let topic = topic_of(&ann, "public").await;
    let path = format!("/v1/presence/{topic}");
    let mut watchers = vec![Watcher::open(app, &topic).await];

    // Joins, a second device, something said.
    let (anns, _) = watch(&ann, &topic, "").await;
    let (desk, _) = watch(&bob, &topic, "").await;
    watchers[0].catch_up(app, &topic).await;
    let (phone, _) = watch(&bob.sign_in().await, &topic, "").await;
    ann.patch(&path, &json!({ "status": "active", "color": "\u{2028}teal" })).await.expect(200);
    watchers.push(Watcher::open(app, &topic).await);
    for watcher in &mut watchers {
        watcher.catch_up(app, &topic).await;
    }

    // Updates of one device and of all, twice in one window too; a lease; a device that leaves for good.
    let update = bob.patch(&path, &json!({ "status": "idle" }));
    update.header("Snippetbox-Connection-Id", phone.connection()).await.expect(200);
    bob.patch(&path, &json!({ "status": "away" })).await.expect(200);
    hold(&cid, &topic, &json!({ "ttl_s": 30, "meta": { "status": "idle" } })).await.expect(200);
    watchers.push(Watcher::open(app, &topic).await);
    let leave = json!({ "remove": [topic], "add": ["snippets"] });
    bob.patch(&format!("/v1/events/{}", desk.connection()), &leave).await.expect(200);
    for watcher in &mut watchers {
        watcher.catch_up(app, &topic).await;
    }

    // A cut that is made up for within the grace, and one that is not; the lease runs out.
    let connection = anns.connection().to_owned();
    anns.disconnect();
    crate::support::eventually("the cut is noticed", async || {
        let call = ann.patch(&path, &json!({})).header("Snippetbox-Connection-Id", &connection);
        (call.await.status == 404).then_some(())
    })
    .await;
    let (_anns, _) = watch(&ann, &topic, "").await;
    phone.disconnect();
    crate::support::eventually("bob and cid are gone", async || {
        app.clock.advance(Duration::from_secs(6));
        (present(&ann, &topic).await["count"] == 1).then_some(())
    })
    .await;
    let (_again, _) = watch(&bob, &topic, "").await;
    for watcher in &mut watchers {
        watcher.catch_up(app, &topic).await;
    }

    let now = present(&ann, &topic).await["presences"].clone();
    assert_eq!(now.as_object().map(serde_json::Map::len), Some(2));
    let recordings: Vec<Vec<Value>> = watchers.into_iter().map(|watcher| watcher.frames).collect();
    let n_frames: usize = recordings.iter().map(Vec::len).sum();
    assert!(n_frames >= 10, "only {n_frames} frames were recorded");
    for verdict in judge(&recordings) {
        assert_eq!(sorted(&verdict["state"]), sorted(&now));
        let seen = |passage: String| {
            let passages = verdict["passages"].as_array().expect("a list");
            passages.iter().filter(|seen| **seen == passage).count()
        };
        assert_eq!((seen(format!("+{}", ann.id)), seen(format!("-{}", ann.id))), (1, 0), "no flicker");
        assert_eq!((seen(format!("+{}", bob.id)), seen(format!("-{}", bob.id))), (2, 1));
        assert_eq!((seen(format!("+{}", cid.id)), seen(format!("-{}", cid.id))), (1, 1));
    }
}
