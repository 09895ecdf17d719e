//! A storm: many subscribers that move between the nodes all the time, writers on all of them, and one fault after the
//! other. At the end every subscriber must have had every event of its topics once, in the one order of the log.
//!
//! `STORM_SECONDS=600 STORM_SUBSCRIBERS=2000 STORM_MOVES=200` makes it long; `STORM_SEED` repeats one.

mod faults;
mod reader;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use self::faults::Fault;
use self::reader::Reader;
use crate::support::{Cluster, NODES, Persona, Postgres, Random, eventually, run_with, setting};

const TOPICS: u64 = 20;
const TOPICS_EACH: u64 = 3;
const WRITERS: usize = 6;
/// How long after a fault has healed everybody may still lack something.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What all who take part know.
struct Storm {
    ann: Persona,
    /// Where the nodes are that run.
    nodes: RefCell<Vec<String>>,
    /// How often a subscriber moves: once in so many milliseconds on average.
    stay_ms: u64,
    writing: Cell<bool>,
    listening: Cell<bool>,
    /// The acknowledged writes, by their places.
    acknowledged: RefCell<BTreeMap<u64, Written>>,
}

/// What an event says: who wrote it, and which of the writer's events it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    topic: String,
    writer: u64,
    number: u64,
}

impl Storm {
    /// The same person at any node that runs.
    fn anywhere(&self, random: &mut Random) -> Persona {
        Persona { server: random.one(&self.nodes.borrow()).clone(), ..self.ann.clone() }
    }
}

fn place(id: &str) -> u64 {
    id.rsplit('.').next().and_then(|place| place.parse().ok()).expect("a place")
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn nothing_is_lost_doubled_or_out_of_order_whatever_breaks() {
    let settings = ["--presence-grace", "1s", "--database-connections", "16"];
    run_with(NODES, &settings, Some(Postgres::start()), storm);
}

async fn storm(cluster: &mut Cluster) {
    let (subscribers, moves) = (setting("STORM_SUBSCRIBERS", 200), setting("STORM_MOVES", 20));
    let seed = setting("STORM_SEED", u64::from(std::process::id()));
    println!("STORM_SEED={seed}");
    let storm = Rc::new(Storm {
        ann: cluster.user(0).await,
        nodes: RefCell::new(cluster.urls()),
        stay_ms: subscribers * 1_000 / moves.max(1),
        writing: Cell::new(true),
        listening: Cell::new(true),
        acknowledged: RefCell::default(),
    });
    let readers: Vec<Rc<Reader>> =
        (0..subscribers).map(|number| Rc::new(Reader::new(number, seed))).collect();
    let reading: Vec<_> = readers
        .iter()
        .map(|reader| tokio::task::spawn_local(Rc::clone(reader).read(Rc::clone(&storm))))
        .collect();
    let writing: Vec<_> = (0..WRITERS as u64)
        .map(|writer| {
            tokio::task::spawn_local(writer::write(Rc::clone(&storm), writer, Random(seed + writer)))
        })
        .collect();
    rage(cluster, &storm, &readers, Random(seed)).await;
    storm.writing.set(false);
    join_all(writing).await.into_iter().for_each(|ended| ended.expect("the writer has ended"));
    let log = whole_log(&storm).await;
    for (place, written) in storm.acknowledged.borrow().iter() {
        assert_eq!(log.get(place), Some(written), "acknowledged at {place}");
    }
    eventually("all have everything", async || readers.iter().all(|reader| reader.has(&log)).then_some(()))
        .await;
    storm.listening.set(false);
    join_all(reading).await.into_iter().for_each(|ended| ended.expect("the reader has ended"));
    for reader in &readers {
        reader.check(&log);
    }
    let connections: usize = readers.iter().map(|reader| reader.connections()).sum();
    let (written, acknowledged) = (log.len(), storm.acknowledged.borrow().len());
    println!(
        "{written} events, {acknowledged} acknowledged, {subscribers} subscribers in {connections} streams"
    );
    assert!(written > 100 && connections > readers.len(), "a storm");
}

/// One fault after the other, each kind at least once. After each, everybody must have caught up in time: they have all
/// that was acknowledged, and as many writes that were acknowledged since as there are writers.
async fn rage(cluster: &mut Cluster, storm: &Storm, readers: &[Rc<Reader>], mut random: Random) {
    let end = Instant::now() + Duration::from_secs(setting("STORM_SECONDS", 30));
    let (mut left, mut struck) = (Vec::new(), 0);
    while Instant::now() < end || struck < Fault::ALL.len() {
        if left.is_empty() {
            left = Fault::ALL.to_vec();
        }
        let fault = left.swap_remove(random.index(left.len()));
        let node = fault.strike(cluster, storm, &mut random).await;
        let healed = Instant::now();
        struck += 1;
        let before = storm.acknowledged.borrow().len();
        let is_written = || storm.acknowledged.borrow().len() >= before + WRITERS;
        let is_over = || healed.elapsed() > 6 * CATCH_UP;
        while !is_written() && !is_over() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let written = healed.elapsed();
        let last = storm.acknowledged.borrow().keys().next_back().copied().unwrap_or_default();
        let caught_up = || readers.iter().all(|reader| reader.has_until(storm, last));
        while !caught_up() && !is_over() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = healed.elapsed();
        println!(
            "{fault:?} at node {node}: healed, written after {written:?}, at all after {took:?}, at {last}"
        );
        let late: Vec<_> = readers.iter().filter(|reader| !reader.has_until(storm, last)).collect();
        assert!(late.is_empty(), "{} readers lack something of {last}: {:?}", late.len(), late[0]);
        assert!(took < CATCH_UP, "too late");
    }
}

/// Everything that is in the log, as one who comes late reads it.
async fn whole_log(storm: &Storm) -> BTreeMap<u64, Written> {
    let topics: Vec<String> = (0..TOPICS).map(topic).collect();
    let (mut log, mut since) = (BTreeMap::new(), "earliest".to_owned());
    loop {
        let person = storm.anywhere(&mut Random(0));
        let path = format!("/v1/events?topics={}&since={since}", topics.join(","));
        let page = person.get(&path).header("Accept", "application/json").await.expect(200).json();
        let events = page["data"].as_array().expect("events");
        if events.is_empty() && log.len() >= storm.acknowledged.borrow().len() {
            let mut writes: Vec<&Written> = log.values().collect();
            writes.sort_unstable();
            assert!(
                writes.windows(2).all(|pair| pair[0] != pair[1]),
                "a write that was tried again is there once"
            );
            return log;
        }
        for event in events {
            log.insert(place(event["id"].as_str().expect("an id")), reader::written(event));
        }
        page["next_cursor"].as_str().expect("a cursor").clone_into(&mut since);
    }
}

fn topic(number: u64) -> String {
    format!("custom:storm{number}")
}

fn event(writer: u64, number: u64) -> serde_json::Value {
    json!({ "type": "storm", "data": { "writer": writer, "number": number } })
}
