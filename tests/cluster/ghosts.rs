//! Whoever has left is gone for everybody, and whoever is there is there for everybody, whatever breaks while people come
//! and go.
//!
//! `PRESENCE_ROUNDS=100` makes it long; `PRESENCE_SEED` repeats one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::presence::{Watcher, enter, room};
use crate::support::{Cluster, EventStream, NODES, Persona, Random, run, setting};

const PEOPLE: u32 = 30;
/// Longer than a node may be silent: the others take it for dead.
const LONG: Duration = Duration::from_secs(6);
const SHORT: Duration = Duration::from_secs(2);
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Stop,
    Pause,
    KillNats,
    CutNats,
}

const FAULTS: [Fault; 5] = [Fault::Kill, Fault::Stop, Fault::Pause, Fault::KillNats, Fault::CutNats];

/// Somebody, and the node and the stream that make them be there.
struct Visitor {
    who: Persona,
    place: Option<(usize, EventStream)>,
}

struct Crowd {
    topic: String,
    visitors: Vec<Visitor>,
    random: Random,
}

impl Crowd {
    /// Some leave, some come, and some change to another node; all nodes where they come are among those given.
    async fn come_and_go(&mut self, cluster: &Cluster, nodes: &[usize]) {
        for visitor in &mut self.visitors {
            match self.random.below(3) {
                0 => drop(visitor.place.take()),
                1 => visitor.enter(cluster, *self.random.one(nodes), &self.topic).await,
                _ => {}
            }
        }
    }

    /// Those at a node are cut, and come back at another, as far as they do.
    async fn cut(&mut self, cluster: &Cluster, node: usize, all_come_back: bool) {
        for visitor in &mut self.visitors {
            if visitor.place.take_if(|(place, _)| *place == node).is_some()
                && (all_come_back || self.random.below(2) == 0)
            {
                visitor.enter(cluster, *self.random.one(&others(node)), &self.topic).await;
            }
        }
    }

    fn present(&self) -> BTreeSet<&str> {
        let there = self.visitors.iter().filter(|visitor| visitor.place.is_some());
        there.map(|visitor| &*visitor.who.id).collect()
    }
}

impl Visitor {
    async fn enter(&mut self, cluster: &Cluster, node: usize, topic: &str) {
        self.place = Some((node, enter(cluster, node, &self.who, topic).await));
    }
}

fn others(node: usize) -> Vec<usize> {
    (0..NODES).filter(|other| *other != node).collect()
}

impl Fault {
    /// How long after its end all nodes may take to agree.
    fn patience(self) -> Duration {
        match self {
            // Who had left just before the node stopped is taken for one of those whom it told to come back within 10 s.
            Self::Stop => Duration::from_secs(12),
            _ => Duration::from_secs(8),
        }
    }

    /// Lets it happen while people come and go, and mends it. Answers with the node whose clients were cut.
    async fn strike(self, cluster: &mut Cluster, crowd: &mut Crowd) -> Option<usize> {
        let node = crowd.random.index(NODES);
        match self {
            Self::Kill => {
                cluster.kill(node);
                crowd.cut(cluster, node, false).await;
                crowd.come_and_go(cluster, &others(node)).await;
                cluster.start_node(node).await;
                return Some(node);
            }
            Self::Stop => {
                cluster.stop(node).await;
                crowd.cut(cluster, node, true).await;
                cluster.start_node(node).await;
                return Some(node);
            }
            Self::Pause => {
                cluster.send(node, "STOP");
                crowd.come_and_go(cluster, &others(node)).await;
                tokio::time::sleep(LONG).await;
                cluster.send(node, "CONT");
            }
            Self::KillNats => {
                cluster.nats.kill();
                crowd.come_and_go(cluster, &[0, 1, 2]).await;
                tokio::time::sleep(SHORT).await;
                cluster.nats.restart();
            }
            Self::CutNats => {
                cluster.node(node).to_nats.cut();
                crowd.come_and_go(cluster, &[0, 1, 2]).await;
                tokio::time::sleep(SHORT).await;
                cluster.node(node).to_nats.mend();
            }
        }
        None
    }
}

#[test]
#[ignore = "needs PostgreSQL and NATS: tests/run starts them"]
fn nobody_is_there_who_has_left_whatever_breaks() {
    run(&["--presence-grace", "1s", "--drain", "200ms"], async |cluster| {
        let seed = setting("PRESENCE_SEED", u64::from(std::process::id()));
        println!("PRESENCE_SEED={seed}");
        let (ann, bob) = (cluster.user(0).await, cluster.user(0).await);
        let visitors = cluster.crowd(PEOPLE).await.into_iter().map(|who| Visitor { who, place: None });
        let mut crowd = Crowd { topic: room(&ann).await, visitors: visitors.collect(), random: Random(seed) };
        let mut watchers = Vec::new();
        for index in 0..NODES {
            watchers.push(Watcher::of(&cluster.at(index, &bob), &crowd.topic).await);
        }
        let mut left = Vec::new();
        for round in 0..setting("PRESENCE_ROUNDS", FAULTS.len() as u64) {
            if left.is_empty() {
                left = FAULTS.to_vec();
            }
            let fault = left.swap_remove(crowd.random.index(left.len()));
            crowd.come_and_go(cluster, &[0, 1, 2]).await;
            if let Some(node) = fault.strike(cluster, &mut crowd).await {
                watchers[node] = Watcher::of(&cluster.at(node, &bob), &crowd.topic).await;
            }
            let (mended, present) = (Instant::now(), crowd.present());
            for watcher in &mut watchers {
                watcher
                    .until(|watcher| watcher.known.keys().map(|id| &**id).eq(present.iter().copied()))
                    .await;
            }
            let took = mended.elapsed();
            println!(
                "round {round}, {fault:?}: all nodes know the {} who are there, {took:?} later",
                present.len()
            );
            assert!(took < fault.patience(), "too late");
            for (index, watcher) in watchers.iter().enumerate() {
                let path = format!("/v1/presence/{}", crowd.topic);
                let shown = cluster.at(index, &bob).get(&path).await.expect(200).json();
                let shown = shown["presences"].as_object().expect("presences").keys();
                assert!(shown.eq(watcher.known.keys()), "who asks is told the same");
            }
        }
    });
}
