//! Where a stream that was cut goes on, and what it says where it cannot.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::place;
use crate::support::{EventStream, Persona, TestApp, on_both_databases};

on_both_databases![
    what_is_trimmed_meanwhile_is_told_as_a_gap_and_nothing_else_is_lost with ["--history-memory", "1"],
    history_that_is_gone_is_told_as_a_gap with ["--history-events", "10", "--history-memory", "1"],
    a_cursor_of_another_installation_is_a_gap,
    the_header_names_the_place_before_the_query_does,
    following_from_the_cursor_of_a_read_misses_nothing,
    a_list_and_what_follows_from_its_cursor_are_everything,
    what_is_too_old_is_told_as_a_gap with ["--history-age", "1d", "--history-memory", "1"],
    resuming_works_from_the_table_as_from_memory with ["--history-memory", "1"],
];

const WRITERS: usize = 16;
const EACH: usize = 25;

/// What one reader was told: events by their places, and the spans of places that were gone.
#[derive(Default)]
struct Told {
    events: Vec<(u64, Value)>,
    gaps: Vec<(u64, u64)>,
}

/// Reads until the event `end`, hanging up after a random number of events.
async fn read_while_trimmed(ann: &Persona, seed: u64, from: &str) -> Told {
    let (mut random, mut told, mut last) = (seed, Told::default(), from.to_owned());
    loop {
        let mut stream: EventStream = ann.subscribe(&format!("topics=custom:storm&since={last}")).await;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407); // Knuth
        for _ in 0..=(random >> 33) % 60 {
            let event = stream.next().await;
            let before = place(&last);
            match event.kind.as_str() {
                "told" => {
                    last = event.id.expect("durable events have ids");
                    told.events.push((place(&last), event.data));
                }
                "reset" => {
                    event.data["cursor"].as_str().expect("a cursor").clone_into(&mut last);
                    told.gaps.push((before + 1, place(&last)));
                }
                "end" => return told,
                "closing" => break, // The memory of this node is too short to tell whose rights have ended.
                other => assert_eq!(other, "lagged"),
            }
        }
    }
}

pub(super) async fn what_is_trimmed_meanwhile_is_told_as_a_gap_and_nothing_else_is_lost(app: &TestApp) {
    const KEPT: &str = "DELETE FROM events WHERE seq <= (SELECT max(seq) - 40 FROM events)";
    let ann = app.user("ann").await;
    let from = ann.get("/v1/snippets").await.expect(200).header("snippetbox-cursor").to_owned();
    let half_way = tokio::sync::Notify::new();
    let write = async |writer| {
        let mut written = Vec::new();
        for number in 0..EACH {
            let event = json!({ "type": "told", "data": [writer, number] });
            let answer = ann.publish("custom:storm", &event).await.expect(202);
            written.push((place(&answer.id()), event["data"].clone()));
            if number == EACH / 2 {
                half_way.notify_one();
            }
            if number % 5 == 0 {
                app.execute(KEPT).await; // What the retention does, at a moment of the test's choice.
            }
        }
        written
    };
    let all_ended = Cell::new(false);
    let writing = async {
        let written = join_all((0..WRITERS).map(write)).await;
        while !all_ended.get() {
            // Again and again: a reader in a gap goes on behind an end that was told before.
            ann.publish("custom:storm", &json!({ "type": "end", "data": null })).await.expect(202);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        written
    };
    let reading = async {
        let late = async {
            half_way.notified().await;
            read_while_trimmed(&ann, 8, &from).await // From a place that is gone by now.
        };
        let prompt = join_all((0..8).map(|seed| read_while_trimmed(&ann, seed, &from)));
        let (mut told, late) = tokio::join!(prompt, late);
        all_ended.set(true);
        told.push(late);
        told
    };
    let (written, told) = tokio::join!(writing, reading);
    assert!(told.iter().any(|told| !told.gaps.is_empty()), "nothing was trimmed under a reader");
    let mut written = written.concat();
    written.sort_by_key(|(place, _)| *place);
    for Told { events, gaps } in told {
        assert!(events.is_sorted_by_key(|(place, _)| *place), "in order");
        let gone = |place: u64| gaps.iter().any(|(first, last)| (*first..=*last).contains(&place));
        let seen: HashSet<u64> = events.iter().map(|(place, _)| *place).collect();
        assert_eq!(seen.len(), events.len(), "none twice");
        let due: Vec<_> = written.iter().filter(|(at, _)| seen.contains(at) || !gone(*at)).cloned().collect();
        assert_eq!(events, due, "all but what is in the gaps, as it was written");
    }
}

pub(super) async fn history_that_is_gone_is_told_as_a_gap(app: &TestApp) {
    let ann = app.user("ann").await;
    let first = ann.publish("custom:x", &json!({ "type": "first", "data": 1 })).await.expect(202).json();
    let first = first["id"].as_str().expect("an id").to_owned();
    for number in 0..30 {
        ann.publish("custom:x", &json!({ "type": "more", "data": number })).await.expect(202);
    }
    // The clean-up runs every few seconds; until then the history is longer than it must be.
    crate::support::eventually("the history is trimmed", async || {
        let stream = ann.subscribe(&format!("topics=custom:x&since={first}")).await;
        (stream.ready["resume"] == "gap").then_some(())
    })
    .await;
    let mut stream = ann.subscribe(&format!("topics=custom:x&since={first}")).await;
    let reset = stream.next().await;
    assert_eq!(reset.kind, "reset");
    assert_eq!(reset.data["cursor"], stream.ready["cursor"]);
    ann.publish("custom:x", &json!({ "type": "after", "data": 1 })).await.expect(202);
    assert_eq!(stream.next().await.kind, "after");
    let earliest = ann.subscribe("topics=custom:x&since=earliest").await;
    assert_eq!(earliest.ready["resume"], "resumed");
}

pub(super) async fn a_cursor_of_another_installation_is_a_gap(app: &TestApp) {
    let anonymous = app.anonymous();
    for foreign in ["zzzzzz.1", "nonsense", "zzzzzz.99999999999999999999"] {
        let mut stream = anonymous.subscribe(&format!("topics=snippets&since={foreign}")).await;
        assert_eq!(stream.ready["resume"], "gap", "{foreign}");
        assert_eq!(stream.next().await.kind, "reset");
    }
    let own =
        anonymous.subscribe("topics=snippets").await.ready["cursor"].as_str().expect("a cursor").to_owned();
    let future = format!("{}.999", own.split_once('.').expect("<epoch>.<place>").0);
    let headers = [("Last-Event-ID", future.as_str())];
    let stream = anonymous.subscribe_with(&format!("topics=snippets&since={own}"), &headers).await;
    assert_eq!(stream.ready["resume"], "gap", "the header wins, and the future is a gap");
}

pub(super) async fn the_header_names_the_place_before_the_query_does(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(ann.publish("custom:x", &json!({ "type": "told", "data": number })).await.expect(202).id());
    }
    let (last, since) = (format!("&last_event_id={}", ids[1]), format!("&since={}", ids[2]));
    let both = format!("{last}{since}");
    // An `EventSource` that was made anew sends no header, and some clients an empty one.
    for (query, header, place) in [
        (&both, Some(ids[0].as_str()), 0),
        (&both, None, 1),
        (&both, Some(""), 1),
        (&format!("&last_event_id={since}"), Some(""), 2),
    ] {
        let headers: Vec<_> = header.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        let mut stream = ann.subscribe_with(&format!("topics=custom:x{query}"), &headers).await;
        for number in place + 1..4 {
            assert_eq!(stream.next().await.data, number, "{query} {header:?}");
        }
    }
}

pub(super) async fn following_from_the_cursor_of_a_read_misses_nothing(app: &TestApp) {
    let ann = app.user("ann").await;
    let answer = ann.get("/v1/snippets").await.expect(200);
    let cursor = answer.header("snippetbox-cursor").to_owned();
    ann.has_snippet(json!({ "title": "Meanwhile" })).await;
    let mut stream = ann.subscribe(&format!("topics=snippets&since={cursor}")).await;
    assert_eq!(stream.next().await.data["title"], "Meanwhile");
}

pub(super) async fn resuming_works_from_the_table_as_from_memory(app: &TestApp) {
    let ann = app.user("ann").await;
    for number in 0..600 {
        let topic = if number % 2 == 0 { "custom:even" } else { "custom:odd" };
        ann.publish(topic, &json!({ "type": "counted", "data": number })).await.expect(202);
    }
    // On PostgreSQL an event has its place some milliseconds after it was acknowledged.
    let mut stream = crate::support::eventually("all are numbered", async || {
        let stream = ann.subscribe("topics=custom:even,custom:odd&since=earliest").await;
        (stream.ready["replayed"] == 600).then_some(stream)
    })
    .await;
    for number in 0..600 {
        assert_eq!(stream.next().await.data, number);
    }
}

/// The cursor is the place before the read: what is committed while the list is read comes again rather than never.
async fn a_list_and_what_follows_from_its_cursor_are_everything(app: &TestApp) {
    let ann = app.user("ann").await;
    let written = Cell::new(0);
    let write = async |_| {
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(ann.has_snippet(json!({})).await["id"].clone());
            written.set(written.get() + 1);
        }
        ids
    };
    let read = async {
        let mut reads = Vec::new();
        while written.get() < 96 {
            let answer = ann.get("/v1/snippets?limit=100").await.expect(200);
            let ids = |page: &Value| {
                page["data"].as_array().expect("a list").iter().map(|it| it["id"].to_string()).collect()
            };
            let listed: HashSet<String> = ids(&answer.json());
            reads.push((listed, answer.header("snippetbox-cursor").to_owned()));
        }
        reads
    };
    let (ids, reads) = tokio::join!(join_all((0..16).map(write)), read);
    app.settled().await;
    let all: HashSet<String> = ids.concat().iter().map(Value::to_string).collect();
    let stream = ann.subscribe("topics=snippets&since=earliest").await;
    let (mut history, mut stream) = (Vec::new(), stream);
    while history.len() < all.len() {
        let event = stream.next().await;
        history.push((place(&event.id.expect("an id")), event.data["id"].to_string()));
    }
    for (mut seen, cursor) in reads {
        let follows = history.iter().filter(|(at, _)| *at > place(&cursor));
        seen.extend(follows.map(|(_, id)| id.clone()));
        assert_eq!(seen, all, "a snippet is neither in a list nor behind its cursor {cursor}");
    }
}

async fn what_is_too_old_is_told_as_a_gap(app: &TestApp) {
    let ann = app.user("ann").await;
    let publish = async |data: u64| {
        ann.publish("custom:x", &json!({ "type": "told", "data": data })).await.expect(202).id()
    };
    let (first, second) = (publish(1).await, publish(2).await);
    app.clock.advance(Duration::from_secs(86_399));
    publish(3).await;
    app.clock.advance(Duration::from_secs(2));
    crate::support::eventually("what is older than a day is gone", async || {
        let stream = ann.subscribe(&format!("topics=custom:x&since={first}")).await;
        (stream.ready["resume"] == "gap").then_some(())
    })
    .await;
    let mut stream = ann.subscribe(&format!("topics=custom:x&since={second}")).await;
    assert_eq!(stream.ready["resume"], "resumed");
    assert_eq!(stream.next().await.data, 3);
}
