//! What the bus or the database costs while it is away, or slow, and others write and read all the time: memory has a
//! bound, whoever cannot be served is told so soon, and afterwards all goes on.
//!
//! `AWAY_SECONDS=60` makes it long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinHandle, spawn_local};

use crate::streams::{TOPIC, place};
use crate::support::{Cluster, EventStream, NODES, Persona, eventually, run, setting};

/// How many write at once at each node, and how many read there.
const WRITERS: usize = 4;
const READERS: usize = 5;
const EVENT_BYTES: usize = 16 * 1024;
/// The history that a node keeps in memory.
const HISTORY: &str = "4194304";
const SETTINGS: [&str; 4] = ["--history-memory", HISTORY, "--stall-timeout", "60s"];
/// How many events fill it twice: from then on it grows no more.
const FULL: usize = 512;
/// How many connections to the database a node has: as many requests may wait for one that is slow.
const CONNECTIONS: usize = 8;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// By how much a node may grow while something is away.
const GROWTH: usize = 24 * 1024 * 1024;
/// How long a refusal may take on a busy machine: a sign of life is waited for for two seconds.
const REFUSAL: Duration = Duration::from_secs(6);

/// What those who write and read have in common.
#[derive(Default)]
struct Load {
    over: Cell<bool>,
    /// Whether those read too who are so late that the memory of their node does not reach back to them.
    late: Cell<bool>,
    /// Whether all wait for those who are late: writers that do not may be faster than this process can read.
    gently: Cell<bool>,
    accepted: Cell<usize>,
    refused: Cell<usize>,
    unanswered: Cell<usize>,
    slowest_refusal: Cell<Duration>,
    /// The place of the last event that was accepted.
    last: Cell<u64>,
    /// The place of the last event that each reader has had.
    read: RefCell<Vec<u64>>,
}

impl Load {
    /// Writes until the end and once after it, so that whoever reads has something to come.
    async fn write(self: Rc<Self>, writer: Persona) {
        let event = json!({ "type": "news", "data": "x".repeat(EVENT_BYTES) });
        let mut is_last = false;
        while !is_last {
            is_last = self.over.get();
            let begun = Instant::now();
            let publishing = writer.publish(TOPIC, &event).into_future();
            let Ok(answer) = tokio::time::timeout(PATIENCE, publishing).await else {
                self.unanswered.set(self.unanswered.get() + 1);
                continue;
            };
            if answer.status == 202 {
                self.accepted.set(self.accepted.get() + 1);
                self.last.set(self.last.get().max(place(&answer.id())));
                if self.gently.get() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                continue;
            }
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            assert!(["unavailable", "overloaded"].contains(&&*code), "{answer}");
            answer.problem(503, &code).headers.get("retry-after").expect("when to try again");
            self.refused.set(self.refused.get() + 1);
            self.slowest_refusal.set(self.slowest_refusal.get().max(begun.elapsed()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads until everything that was accepted has come, each event once.
    async fn read(self: Rc<Self>, index: usize, mut stream: EventStream) {
        while index.is_multiple_of(READERS) && !self.late.get() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut before = 0;
        while !self.over.get() || before < self.last.get() {
            let here = place(&stream.until("news").await.id.expect("durable events have ids"));
            assert!(before == 0 || here == before + 1, "{here} after {before}");
            before = here;
            self.read.borrow_mut()[index] = here;
        }
    }
}

/// A cluster under load, and what its nodes took when nothing was away.
struct Busy {
    load: Rc<Load>,
    tasks: Vec<JoinHandle<()>>,
    usual: Vec<usize>,
}

impl Busy {
    async fn start(cluster: &Cluster) -> Self {
        let (ann, load) = (cluster.user(0).await, Rc::new(Load::default()));
        load.read.replace(vec![0; NODES * READERS]);
        let mut tasks = Vec::new();
        for index in 0..NODES * READERS {
            let stream = cluster.at(index, &ann).subscribe(&format!("topics={TOPIC}")).await;
            tasks.push(spawn_local(Rc::clone(&load).read(index, stream)));
        }
        tasks.extend((0..NODES * WRITERS).map(|index| {
            let writer = cluster.at(index, &ann);
            spawn_local(Rc::clone(&load).write(writer))
        }));
        eventually("the memory is full", async || (load.accepted.get() > FULL).then_some(())).await;
        let usual = (0..NODES).map(|index| cluster.resident_bytes(index)).collect();
        Self { load, tasks, usual }
    }

    /// Looks at the nodes for as long as something is away.
    async fn watch(&self, cluster: &Cluster, what: &str) {
        let (accepted, refused) = (self.load.accepted.get(), self.load.refused.get());
        let (begun, mut most) = (Instant::now(), vec![0; NODES]);
        self.load.slowest_refusal.take();
        self.load.late.set(true);
        while begun.elapsed() < Duration::from_secs(setting("AWAY_SECONDS", 6)) {
            for (index, most) in most.iter_mut().enumerate() {
                *most = cluster.resident_bytes(index).max(*most);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (accepted, refused) = (self.load.accepted.get() - accepted, self.load.refused.get() - refused);
        let slowest = self.load.slowest_refusal.get();
        let mib = |bytes: &[usize]| bytes.iter().map(|bytes| bytes / 1024 / 1024).collect::<Vec<_>>();
        println!(
            "{what}: {accepted} accepted, {refused} refused after {slowest:?} at most; MiB {:?}, before {:?}",
            mib(&most),
            mib(&self.usual)
        );
        for (most, usual) in most.iter().zip(&self.usual) {
            assert!(*most < usual + GROWTH, "a node has grown");
        }
        assert!(slowest < REFUSAL, "whoever cannot be served is told so soon");
    }

    /// Waits until new events are accepted again, and all readers have them.
    async fn recover(&self, what: &str) {
        let (mended, accepted) = (Instant::now(), self.load.accepted.get());
        self.load.gently.set(true);
        eventually("all goes on", async || {
            let read = self.load.read.borrow().iter().min().copied();
            let goes_on = self.load.accepted.get() > accepted + NODES * WRITERS;
            (goes_on && read.is_some_and(|read| read + FULL as u64 > self.load.last.get())).then_some(())
        })
        .await;
        self.load.gently.set(false);
        println!("{what}: over, and all go on after {:?}", mended.elapsed());
    }

    async fn end(self) {
        self.load.over.set(true);
        for task in self.tasks {
            task.await.expect("it has ended");
        }
        let (accepted, unanswered) = (self.load.accepted.get(), self.load.unanswered.get());
        println!("{accepted} accepted, and all of them read; {unanswered} never answered");
        assert!(
            unanswered <= NODES * CONNECTIONS,
            "those who do not wait for an answer of the database are told"
        );
    }
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn memory_is_bounded_while_the_bus_is_away_or_slow() {
    run(&SETTINGS, async |cluster| {
        let busy = Busy::start(cluster).await;
        cluster.nats.kill();
        busy.watch(cluster, "the bus is away").await;
        cluster.nats.restart();
        busy.recover("the bus is away").await;
        for index in 0..NODES {
            cluster.connected(index, true).await;
        }
        cluster.nats.send("STOP");
        busy.watch(cluster, "the bus is slow").await;
        cluster.nats.send("CONT");
        busy.recover("the bus is slow").await;
        assert_eq!(busy.load.refused.get(), 0, "nobody needs the bus");
        busy.end().await;
    });
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn memory_is_bounded_while_the_database_is_away_or_slow() {
    run(&SETTINGS, async |cluster| {
        let busy = Busy::start(cluster).await;
        (0..NODES).for_each(|index| cluster.node(index).to_database.cut());
        busy.watch(cluster, "the database is away").await;
        (0..NODES).for_each(|index| cluster.node(index).to_database.mend());
        busy.recover("the database is away").await;
        (0..NODES).for_each(|index| cluster.node(index).to_database.hold_up());
        busy.watch(cluster, "the database is slow").await;
        (0..NODES).for_each(|index| cluster.node(index).to_database.mend());
        busy.recover("the database is slow").await;
        assert!(busy.load.refused.get() > 0, "nothing was written without the database");
        busy.end().await;
    });
}
