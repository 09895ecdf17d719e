//! Who is there, at whatever node, and what is not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Cluster, EventStream, NODES, Persona, eventually, run, setting};

/// Somebody who watches a topic, and what they know.
pub struct Watcher {
    stream: EventStream,
    /// The names of each user's entries.
    pub known: BTreeMap<String, BTreeSet<String>>,
    /// Users of whom something new was told.
    told: Vec<String>,
    /// Users of whom nothing was left.
    left: Vec<String>,
}

fn entries(all: &Value) -> impl Iterator<Item = (&String, BTreeSet<String>)> {
    all.as_object().expect("users").iter().map(|(user, person)| {
        let metas = person["metas"].as_array().expect("metas").iter();
        (user, metas.map(|meta| meta["phx_ref"].as_str().expect("a name").to_owned()).collect())
    })
}

impl Watcher {
    pub async fn of(person: &Persona, topic: &str) -> Self {
        // The room itself may have been told late.
        let types = "presence_state,presence_diff,presence_count";
        let query = format!("topics={topic}&presence=observe&types={types}");
        let mut stream = person.subscribe(&query).await;
        let state = stream.until("presence_state").await.data;
        let known = entries(&state).map(|(user, refs)| (user.clone(), refs)).collect();
        Self { stream, known, told: Vec::new(), left: Vec::new() }
    }

    /// Reads what is told until the watcher knows what is wanted.
    pub async fn until(&mut self, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            let event = self.stream.next().await;
            if event.kind == "presence_state" {
                // Something may have been missed, so the whole is told anew.
                self.known = entries(&event.data).map(|(user, refs)| (user.clone(), refs)).collect();
                continue;
            }
            assert_eq!(event.kind, "presence_diff", "{}", event.envelope);
            for (user, refs) in entries(&event.data["joins"]) {
                // Whoever has just been told the state may hear the same once more.
                let known = self.known.entry(user.clone()).or_default();
                if !refs.is_subset(known) {
                    self.told.push(user.clone());
                    known.extend(refs);
                }
            }
            for (user, refs) in entries(&event.data["leaves"]) {
                self.told.push(user.clone());
                let known = self.known.entry(user.clone()).or_default();
                known.retain(|name| !refs.contains(name));
                if known.is_empty() {
                    self.known.remove(user);
                    self.left.push(user.clone());
                }
            }
        }
    }

    fn knows(&self, person: &Persona) -> bool {
        self.known.contains_key(&person.id)
    }
}

pub async fn room(owner: &Persona) -> String {
    let room = owner.post("/v1/rooms", &json!({ "name": "General" })).await.expect(201).id();
    format!("chat:{room}")
}

pub async fn enter(cluster: &Cluster, index: usize, person: &Persona, topic: &str) -> EventStream {
    cluster.at(index, person).subscribe(&format!("topics={topic}&types=message_created")).await
}

/// Waits until a node has noticed that a connection is gone: then nobody can name it any more.
async fn noticed(person: &Persona, topic: &str, connection: &str) {
    eventually("the cut is noticed", async || {
        let call = person.patch(&format!("/v1/presence/{topic}"), &json!({}));
        (call.header("Snippetbox-Connection-Id", connection).await.status == 404).then_some(())
    })
    .await;
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn who_is_there_is_known_at_all_nodes() {
    run(&["--presence-grace", "0s"], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let topic = room(&ann).await;
        let here = enter(cluster, 0, &ann, &topic).await;
        let mut watcher = Watcher::of(&cluster.at(1, &bob), &topic).await;
        watcher.until(|watcher| watcher.knows(&ann)).await;
        for index in 0..NODES {
            eventually("asked, each node says the same", async || {
                let path = format!("/v1/presence/{topic}");
                let present = cluster.at(index, &bob).get(&path).await.expect(200).json();
                (present["count"] == 1).then_some(())
            })
            .await;
        }
        // A node that comes later is told of all who are there.
        cluster.kill(2);
        cluster.start_node(2).await;
        let mut late = Watcher::of(&cluster.at(2, &bob), &topic).await;
        late.until(|watcher| watcher.knows(&ann)).await;
        assert_eq!(late.known, watcher.known, "under the same names");
        here.disconnect();
        watcher.until(|watcher| !watcher.knows(&ann)).await;
        late.until(|watcher| !watcher.knows(&ann)).await;
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn who_comes_back_at_another_node_was_never_away() {
    run(&["--presence-grace", "6s"], async |cluster| {
        let (ann, bob, eve) = (cluster.user(0).await, cluster.user(1).await, cluster.user(2).await);
        let topic = room(&ann).await;
        let here = enter(cluster, 0, &ann, &topic).await;
        let mut watcher = Watcher::of(&cluster.at(2, &bob), &topic).await;
        watcher.until(|watcher| watcher.knows(&ann)).await;
        let known = watcher.known.clone();
        watcher.told.clear();
        let connection = here.connection().to_owned();
        here.disconnect();
        let cut = Instant::now();
        noticed(&cluster.at(0, &ann), &topic, &connection).await;
        // What a node tells comes in order: whoever knows of the next one knows of the cut.
        let mut next = Watcher::of(&cluster.at(1, &bob), &topic).await;
        let mark = enter(cluster, 0, &eve, &topic).await;
        next.until(|watcher| watcher.knows(&eve)).await;
        let _back = enter(cluster, 1, &ann, &topic).await;
        mark.disconnect();
        watcher.until(|watcher| watcher.left.contains(&eve.id)).await;
        eventually("the grace is over", async || (cut.elapsed() > Duration::from_secs(7)).then_some(()))
            .await;
        let _mark = enter(cluster, 0, &eve, &topic).await;
        watcher.until(|watcher| watcher.knows(&eve)).await;
        assert!(!watcher.told.contains(&ann.id), "ann was told of, who came back in time");
        watcher.known.remove(&eve.id);
        assert_eq!(watcher.known, known);
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn five_hundred_at_a_node_that_is_killed_are_gone_within_eight_seconds() {
    run(&["--presence-limit", "1000"], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let topic = room(&ann).await;
        let crowd = cluster.crowd(500).await;
        let mut streams = Vec::new();
        for some in crowd.chunks(50) {
            streams.extend(join_all(some.iter().map(|user| enter(cluster, 0, user, &topic))).await);
        }
        let mut watchers = Vec::new();
        for index in 1..NODES {
            let mut watcher = Watcher::of(&cluster.at(index, &bob), &topic).await;
            watcher.until(|watcher| watcher.known.len() == crowd.len()).await;
            watchers.push(watcher);
        }
        cluster.kill(0);
        let killed = Instant::now();
        for watcher in &mut watchers {
            watcher.until(|watcher| watcher.known.is_empty()).await;
            let took = killed.elapsed();
            println!("gone after {took:?}");
            assert!(took < Duration::from_secs(8), "gone after {took:?}");
            assert_eq!(watcher.left.len(), crowd.len(), "each left once");
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_node_that_stops_makes_nobody_leave_who_comes_to_another() {
    run(&["--drain", "200ms"], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let topic = room(&ann).await;
        let mut here = 0;
        let mut stream = enter(cluster, here, &ann, &topic).await;
        let mut watcher = Watcher::of(&cluster.at(2, &bob), &topic).await;
        watcher.until(|watcher| watcher.knows(&ann)).await;
        watcher.told.clear();
        for _ in 0..setting("PRESENCE_ROUNDS", 4) {
            let closing = async {
                assert_eq!(stream.until("closing").await.data["reason"], "shutdown");
            };
            let node = here;
            tokio::join!(cluster.stop(node), closing);
            here = 1 - here;
            stream = enter(cluster, here, &ann, &topic).await;
            cluster.start_node(node).await;
            cluster.connected(node, true).await;
            cluster.acquainted(NODES).await;
        }
        stream.disconnect();
        watcher.until(|watcher| !watcher.knows(&ann)).await;
        assert_eq!(
            watcher.told,
            std::slice::from_ref(&ann.id),
            "nothing was told of ann but her leave at the end"
        );
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn presence_heals_when_the_bus_is_back() {
    run(&["--presence-grace", "0s"], async |cluster| {
        let (ann, bob, eve) = (cluster.user(0).await, cluster.user(1).await, cluster.user(2).await);
        let topic = room(&ann).await;
        let here = enter(cluster, 0, &ann, &topic).await;
        let mut watcher = Watcher::of(&cluster.at(1, &bob), &topic).await;
        watcher.until(|watcher| watcher.knows(&ann)).await;
        let away = Instant::now();
        cluster.nats.kill();
        for index in 0..NODES {
            cluster.connected(index, false).await;
        }
        let connection = here.connection().to_owned();
        here.disconnect();
        noticed(&cluster.at(0, &ann), &topic, &connection).await;
        let _eve = enter(cluster, 0, &eve, &topic).await;
        // Longer than a node may be silent.
        eventually("a while", async || (away.elapsed() > Duration::from_secs(7)).then_some(())).await;
        cluster.nats.restart();
        watcher.until(|watcher| watcher.knows(&eve) && !watcher.knows(&ann)).await;
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn what_is_not_kept_reaches_the_clients_of_all_nodes() {
    run(&[], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let topic = room(&ann).await;
        let at_a = cluster.at(0, &ann).subscribe("topics=custom:cursors").await;
        let mut cursors = cluster.at(1, &bob).subscribe("topics=custom:cursors").await;
        let mut typing = cluster.at(1, &bob).subscribe(&format!("topics={topic}&types=typing")).await;
        let moved = json!({ "type": "moved", "data": { "line": 3 }, "ephemeral": true });
        cluster.at(0, &ann).publish("custom:cursors", &moved).await.expect(202);
        let event = cursors.until("moved").await;
        assert_eq!((event.id, event.data), (None, json!({ "line": 3 })));
        assert_eq!(event.envelope["actor"]["id"], *ann.id);
        let put = |connection: &str, types: bool| {
            let path = format!("/v1/rooms/{}/typing", topic.trim_start_matches("chat:"));
            let call = cluster.at(0, &ann).call(Method::PUT, &path).json(&json!({ "typing": types }));
            call.header("Snippetbox-Connection-Id", connection)
        };
        let users = async |typing: &mut EventStream| typing.until("typing").await.data["users"].clone();
        for end in ["word", "connection"] {
            put(at_a.connection(), true).await.expect(204);
            assert_eq!(users(&mut typing).await[0]["id"], *ann.id);
            if end == "word" {
                put(at_a.connection(), false).await.expect(204);
                assert_eq!(users(&mut typing).await, json!([]));
            }
        }
        at_a.disconnect();
        let begun = Instant::now();
        assert_eq!(users(&mut typing).await, json!([]));
        assert!(begun.elapsed() < Duration::from_secs(5), "with the connection, and not by time");
        // The stream at one node, what is said at another: so a balancer spreads them.
        let at_c = cluster.at(2, &ann).subscribe("topics=custom:cursors").await;
        put(at_c.connection(), true).await.expect(204);
        assert_eq!(users(&mut typing).await[0]["id"], *ann.id);
        at_c.disconnect();
        let begun = Instant::now();
        assert_eq!(users(&mut typing).await, json!([]));
        assert!(begun.elapsed() < Duration::from_secs(5), "with the connection, and not by time");
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_stream_is_changed_by_a_request_to_any_node() {
    run(&[], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let mut stream = cluster.at(0, &ann).subscribe("topics=custom:a").await;
        let path = format!("/v1/events/{}", stream.connection());
        for index in 0..NODES {
            let topic = format!("custom:from{index}");
            let change = json!({ "add": [topic] });
            let answer = cluster.at(index, &ann).patch(&path, &change).await.expect(200).json();
            let topics = answer["topics"].as_array().expect("topics");
            assert_eq!(topics.len(), index + 2, "{answer}");
            assert_eq!(stream.until("topics").await.data["topics"], answer["topics"]);
            let event = json!({ "type": "news", "data": index });
            cluster.at(2, &ann).publish(&topic, &event).await.expect(202);
            assert_eq!(stream.until("news").await.data, json!(index));
        }
        let change = json!({ "add": ["custom:b"] });
        cluster.at(1, &bob).patch(&path, &change).await.problem(404, "not_found");
        let nobody = "/v1/events/0190a000-0000-7000-8000-000000000000";
        cluster.at(1, &ann).patch(nobody, &change).await.problem(404, "not_found");
        let many: Vec<String> = (0..98).map(|number| format!("custom:{number}")).collect();
        let change = json!({ "add": many });
        cluster.at(1, &ann).patch(&path, &change).await.problem(422, "validation_failed");
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn what_users_say_of_themselves_is_changed_by_a_request_to_any_node() {
    run(&[], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let topic = room(&ann).await;
        let path = format!("/v1/presence/{topic}");
        let phone = enter(cluster, 0, &ann, &topic).await;
        let _desk = enter(cluster, 1, &ann, &topic).await;
        let mut watcher = Watcher::of(&cluster.at(2, &bob), &topic).await;
        watcher.until(|watcher| watcher.known.get(&ann.id).is_some_and(|refs| refs.len() == 2)).await;
        let statuses = |person: &Value| -> Vec<Value> {
            person["metas"].as_array().expect("metas").iter().map(|meta| meta["status"].clone()).collect()
        };
        let at_c = cluster.at(2, &ann);
        let one = at_c.patch(&path, &json!({ "status": "idle" }));
        let one = one.header("Snippetbox-Connection-Id", phone.connection()).await.expect(200).json();
        assert!(statuses(&one).contains(&json!("idle")) && statuses(&one).contains(&Value::Null), "{one}");
        let all = at_c.patch(&path, &json!({ "status": "away" })).await.expect(200).json();
        assert_eq!(statuses(&all), ["away", "away"], "{all}");
        for index in 0..NODES {
            eventually("all nodes know", async || {
                let present = cluster.at(index, &bob).get(&path).await.expect(200).json();
                (statuses(&present["presences"][&ann.id]) == ["away", "away"]).then_some(())
            })
            .await;
        }
        cluster.at(2, &bob).patch(&path, &json!({})).await.problem(404, "not_found");
        let wrong = at_c.patch(&path, &json!({ "status": "asleep" })).await;
        assert_eq!(wrong.problem(422, "validation_failed").pointers(), ["/status"]);
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_lease_is_renewed_and_ended_at_any_node() {
    run(&[], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let topic = room(&ann).await;
        let path = format!("/v1/presence/{topic}");
        let mut watcher = Watcher::of(&cluster.at(2, &bob), &topic).await;
        let lease = json!({ "ttl_s": 60 });
        let hold = |index| cluster.at(index, &ann).call(Method::PUT, &path).json(&lease);
        let first = hold(0).await.expect(200).json();
        watcher.until(|watcher| watcher.knows(&ann)).await;
        for index in 0..NODES {
            eventually("each node knows of it", async || {
                let present = cluster.at(index, &bob).get(&path).await.expect(200).json();
                (present["count"] == 1).then_some(())
            })
            .await;
            let renewed = hold(index).await.expect(200).json();
            assert_eq!(renewed["meta"]["phx_ref"], first["meta"]["phx_ref"], "it is the same");
        }
        cluster.at(0, &ann).delete(&path).await.expect(204);
        watcher.until(|watcher| !watcher.knows(&ann)).await;
        assert_eq!(watcher.told, [ann.id.clone(), ann.id.clone()], "one join and one leave");
    });
}
