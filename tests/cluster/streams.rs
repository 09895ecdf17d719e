//! What clients are promised, whatever node they come to.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Cluster, EventStream, NODES, Persona, run};

pub const TOPIC: &str = "custom:news";

/// Publishes `count` events at one node, each after the answer to the one before; answers with their ids.
pub async fn write(writer: &Persona, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let event = json!({ "type": "news", "data": { "number": number } });
        ids.push(writer.publish(TOPIC, &event).await.expect(202).id());
    }
    ids
}

pub fn place(id: &str) -> u64 {
    id.rsplit('.').next().and_then(|place| place.parse().ok()).expect("a place")
}

pub async fn read(stream: &mut EventStream, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(stream.until("news").await.id.expect("durable events have ids"));
    }
    ids
}

pub async fn subscribe_everywhere(cluster: &Cluster, reader: &Persona) -> Vec<EventStream> {
    let subscribe = async |index| {
        let reader = cluster.at(index, reader);
        reader.subscribe(&format!("topics={TOPIC}")).await
    };
    join_all((0..NODES).map(subscribe)).await
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn an_event_reaches_the_subscribers_of_all_nodes_once_and_in_one_order() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let mut streams = subscribe_everywhere(cluster, &ann).await;
        let writers: Vec<Persona> = (0..NODES).map(|index| cluster.at(index, &ann)).collect();
        let mut written = join_all(writers.iter().map(|writer| write(writer, 50))).await.concat();
        written.sort_by_key(|id| place(id));
        for stream in &mut streams {
            assert_eq!(read(stream, written.len()).await, written);
        }
        let leader = cluster.sequencer().await;
        for index in (0..NODES).filter(|index| *index != leader) {
            let heard = cluster.figure(index, "snippetbox_log_heard_total").await;
            let read = cluster.figure(index, "snippetbox_log_holes_filled_total").await;
            assert!(heard > read, "the bus brings the events: {heard} heard, {read} read from the database");
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_stream_that_was_cut_resumes_at_another_node() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let mut stream = cluster.at(0, &ann).subscribe(&format!("topics={TOPIC}")).await;
        let mut written = write(&cluster.at(1, &ann), 3).await;
        let mut seen = read(&mut stream, 3).await;
        stream.disconnect();
        for round in 0..10 {
            written.extend(write(&cluster.at(round, &ann), 2).await);
            // Right behind the answer: the node that is asked may not have heard of the events yet.
            let last = seen.last().expect("some").clone();
            let next = cluster.at(round + 1, &ann);
            let query = format!("topics={TOPIC}&last_event_id={last}");
            let mut stream = next.subscribe(&query).await;
            assert_eq!(stream.ready["resume"], "resumed");
            seen.extend(read(&mut stream, 2).await);
            stream.disconnect();
        }
        assert_eq!(seen, written);
    });
}

/// How many credentials are revoked, one after the other.
const REVOKED: usize = 10;
/// How long the end of a right may take.
const SECOND: Duration = Duration::from_secs(1);
/// The same where nothing else could bring it, on however busy a machine.
pub const BY_THE_BUS: Duration = Duration::from_secs(5);

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_credential_that_is_revoked_at_one_node_ends_the_streams_of_all_within_a_second() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let mut took = Vec::new();
        for index in 0..REVOKED {
            let session = cluster.at(index, &ann).sign_in().await;
            let streams = subscribe_everywhere(cluster, &session).await;
            session.delete("/v1/sessions/current").await.expect(204);
            took.push(revoked_within(SECOND, streams).await);
        }
        took.sort_unstable();
        println!("ended after {took:?}");
        // Those who look at the database each second find out too, but rarely as soon.
        assert!(took[REVOKED / 2] < SECOND / 2, "the bus has brought it");
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn the_bus_alone_brings_the_end_of_credentials_to_those_who_cannot_read_the_database() {
    run(&[], async |cluster| {
        let ann = cluster.user(0).await;
        let leader = cluster.sequencer().await;
        let mut sessions = Vec::new();
        for _ in 0..REVOKED {
            let session = cluster.at(leader, &ann).sign_in().await;
            let streams = subscribe_everywhere(cluster, &session).await;
            sessions.push((session, streams));
        }
        let others = || (0..NODES).filter(|index| *index != leader).map(|index| cluster.node(index));
        others().for_each(|node| node.to_database.cut());
        for (session, streams) in sessions {
            session.delete("/v1/sessions/current").await.expect(204);
            revoked_within(BY_THE_BUS, streams).await;
        }
        others().for_each(|node| node.to_database.mend());
    });
}

/// Waits for the end of all streams, which must come in time from now on, and tells how long it took.
pub async fn revoked_within(limit: Duration, streams: Vec<EventStream>) -> Duration {
    let begun = Instant::now();
    for mut stream in streams {
        assert_eq!(stream.until("closing").await.data, json!({ "reason": "credential_revoked" }));
        stream.ended().await;
    }
    let took = begun.elapsed();
    assert!(took < limit, "ended after {took:?}");
    took
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn a_room_that_becomes_private_is_lost_on_all_nodes() {
    run(&[], async |cluster| {
        let (ann, bob) = (cluster.user(0).await, cluster.user(1).await);
        let room = ann.post("/v1/rooms", &json!({ "name": "General" })).await.expect(201).id();
        let mut streams = Vec::new();
        for index in 0..NODES {
            streams.push(cluster.at(index, &bob).subscribe(&format!("topics=chat:{room}")).await);
        }
        let private = json!({ "visibility": "private" });
        ann.patch(&format!("/v1/rooms/{room}"), &private).await.expect(200);
        for stream in &mut streams {
            let closed = stream.until("topic_closed").await.data;
            assert_eq!(closed["reason"], "not_permitted", "{closed}");
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn who_guesses_passwords_is_stopped_whatever_node_they_ask() {
    run(&["--sign-in-limit", "20"], async |cluster| {
        let guess = json!({ "email": "nobody@example.org", "password": "guessed for the first time" });
        let mut refused = None;
        // A node hears of the others' attempts a moment later.
        for attempt in 0..20 + 2 * NODES {
            let answer = cluster.anonymous(attempt).post("/v1/sessions", &guess).await;
            refused = (answer.status == 429).then_some(answer);
            if refused.is_some() {
                break;
            }
        }
        refused.expect("somebody stops the guessing").problem(429, "rate_limited");
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn what_is_too_much_for_the_bus_comes_from_the_database() {
    // The streams are read one after the other.
    run(&["--stall-timeout", "60s"], async |cluster| {
        let ann = cluster.user(0).await;
        let mut streams = Vec::new();
        for index in 0..NODES {
            let topics = format!("topics=snippets,{TOPIC}");
            streams.push(cluster.at(index, &ann).subscribe(&topics).await);
        }
        let large = "x".repeat(300_000);
        ann.has_snippet(json!({ "title": "Large", "content": large })).await;
        cluster.fill_outbox(TOPIC, 3_000).await;
        ann.has_snippet(json!({ "title": "Small" })).await;
        for stream in &mut streams {
            let first = stream.until("snippet_created").await;
            assert_eq!(first.data["content"], *large);
            let before = place(&first.id.expect("an id"));
            for number in 1..=3_000 {
                let event = stream.until("filled").await;
                assert_eq!((place(&event.id.expect("an id")), event.data), (before + number, json!(number)));
            }
            assert_eq!(stream.until("snippet_created").await.data["title"], "Small");
        }
    });
}
