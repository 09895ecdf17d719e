//! How fast a cluster is: `tests/postgres cargo bench --bench cluster`, with `RATE=500` events a second where the machine
//! has room for the writers too, and `NODES=1`, `2` or `3`. It needs NATS as the tests of the cluster do.

#[path = "../tests/cluster/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use self::support::{Cluster, NODES, Persona, eventually, run_with, setting};

/// How long events are written.
const SPAN: Duration = Duration::from_secs(4);
const WRITERS: u32 = 8;
/// How many write at once, all nodes together, where as much is written as can be.
const EAGER: usize = 256;
/// How many events wait for their places at once.
const OUTBOX: u64 = 20_000;

/// When something happened to each snippet, by its id.
type Moments = Rc<RefCell<HashMap<String, Instant>>>;

async fn write(writer: Persona, pause: Duration, acknowledged: Moments) {
    let begun = Instant::now();
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < SPAN {
        ticks.tick().await;
        let id = writer.post_snippet(&json!({ "title": "Fast", "content": "x" })).await.expect(201).id();
        acknowledged.borrow_mut().insert(id, Instant::now());
    }
}

/// What passes between the acknowledgement of a change at one node and its arrival at a subscriber of another. (An
/// event may come before the answer to its writer: that is no time at all.)
async fn latency(cluster: &Cluster, ann: &Persona, nodes: usize, rate: u32) {
    let leader = cluster.sequencer().await;
    let ways = [
        ("at one node", leader, leader),
        ("from the sequencer's node to another", leader, leader + 1),
        ("from another node to the sequencer's", leader + 1, leader),
        ("between two others", leader + 1, leader + 2),
    ];
    let ways = match nodes {
        1 => &ways[..1],
        2 => &ways[1..3],
        _ => &ways[1..],
    };
    for &(kind, from, to) in ways {
        let mut stream = cluster.at(to, ann).subscribe("topics=snippets").await;
        let (acknowledged, arrived) = (Moments::default(), Moments::default());
        let came = Rc::clone(&arrived);
        let reading = tokio::task::spawn_local(async move {
            loop {
                let event = stream.until("snippet_created").await;
                let id = event.data["id"].as_str().expect("an id").to_owned();
                came.borrow_mut().insert(id, Instant::now());
            }
        });
        let pause = Duration::from_secs(1) * WRITERS / rate;
        let writer = || write(cluster.at(from, ann), pause, Rc::clone(&acknowledged));
        join_all((0..WRITERS).map(|_| writer())).await;
        eventually("all have arrived", async || {
            let arrived = arrived.borrow();
            acknowledged.borrow().keys().all(|id| arrived.contains_key(id)).then_some(())
        })
        .await;
        reading.abort();
        let (acknowledged, arrived) = (acknowledged.borrow(), arrived.borrow());
        let took = |(id, at): (&String, &Instant)| arrived[id].saturating_duration_since(*at);
        let mut took: Vec<Duration> = acknowledged.iter().map(took).collect();
        took.sort_unstable();
        let at = |share: usize| took[(took.len() - 1) * share / 1_000];
        let per_second = took.len() as u64 / SPAN.as_secs();
        println!("{kind}: {per_second}/s, p50 {:?}, p99 {:?}, most {:?}", at(500), at(990), at(1_000));
    }
}

/// How many events a second are published at all nodes, numbered, and brought to a subscriber of each node.
async fn throughput(cluster: &Cluster, ann: &Persona, nodes: usize) {
    let written = Rc::new(Cell::new(0_u32));
    let mut streams = Vec::new();
    for index in 0..nodes {
        streams.push(cluster.at(index, ann).subscribe("topics=custom:speed").await);
    }
    let begun = Instant::now();
    let readers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            tokio::task::spawn_local(async move {
                let mut count = 0;
                while stream.until("fast").await.data != json!("last") {
                    count += 1;
                }
                count
            })
        })
        .collect();
    join_all((0..EAGER).map(|index| publish(cluster.at(index, ann), Rc::clone(&written)))).await;
    cluster.at(0, ann).publish("custom:speed", &json!({ "type": "fast", "data": "last" })).await.expect(202);
    for reader in readers {
        assert_eq!(reader.await.expect("it has read to the end"), written.get());
    }
    let per_second = f64::from(written.get()) / begun.elapsed().as_secs_f64();
    println!("end to end: {per_second:.0}/s, published at {nodes} nodes and read at each");
}

async fn publish(writer: Persona, written: Rc<Cell<u32>>) {
    let (begun, event) = (Instant::now(), json!({ "type": "fast", "data": 1 }));
    while begun.elapsed() < SPAN {
        writer.publish("custom:speed", &event).await.expect(202);
        written.set(written.get() + 1);
    }
}

/// How many events a second get their places and reach a subscriber of each node.
async fn outbox(cluster: &Cluster, ann: &Persona, nodes: usize) {
    let mut streams = Vec::new();
    for index in 0..nodes {
        streams.push(cluster.at(index, ann).subscribe("topics=custom:outbox").await);
    }
    let begun = Instant::now();
    cluster.fill_outbox("custom:outbox", OUTBOX).await;
    let filled = begun.elapsed();
    let mut reading = join_all(streams.iter_mut().map(async |stream| {
        let mut first = None;
        for _ in 0..OUTBOX {
            stream.until("filled").await;
            first.get_or_insert_with(Instant::now);
        }
        first.expect("some").elapsed()
    }))
    .await;
    reading.sort_unstable();
    let slowest = reading.pop().expect("some");
    let per_second = u128::from(OUTBOX) * 1_000 / slowest.as_millis().max(1);
    println!(
        "{OUTBOX} events (written in {filled:?}) were at the readers of {nodes} nodes in {slowest:?}: {per_second}/s"
    );
}

fn main() {
    let rate = u32::try_from(setting("RATE", 100)).expect("RATE is a small number");
    let nodes = usize::try_from(setting("NODES", NODES as u64)).expect("NODES is a small number");
    run_with(nodes, &[], None, async |cluster| {
        let ann = cluster.user(0).await;
        latency(cluster, &ann, nodes, rate).await;
        throughput(cluster, &ann, nodes).await;
        outbox(cluster, &ann, nodes).await;
    });
}
