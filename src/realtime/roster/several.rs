//! Several nodes, which tell one another as they are made to.

use std::time::Duration;

use chrono::DateTime;
use uuid::Uuid;

use super::{
    super::{
        effect::{Effect, Ending},
        event::{Json, Key},
    },
    Lease, Newcomer, Roster, Rules,
};
use crate::clock::Clock;

const ANN: Uuid = Uuid::from_u128(1);
const COMING_BACK: Duration = Duration::from_secs(10);

struct World {
    clock: Clock,
    topic: Key,
}

impl World {
    fn new() -> Self {
        Self { clock: Clock::manual(DateTime::default()), topic: "chat:1".into() }
    }

    fn node(&self, name: &str) -> Roster {
        let rules = Rules { grace: Duration::from_secs(5), limit: 100 };
        Roster::new(self.clock.clone(), rules, name.to_owned())
    }

    fn enter(&self, node: &Roster, name: &str, connection: u128) {
        node.enter(&self.topic, &ann(name), Uuid::from_u128(connection));
    }

    fn hold(&self, node: &Roster, ttl: Duration) {
        let (device, guards) = ("credential@1".into(), vec!["credential@1".into(), "account@1".into()]);
        let lease = Lease { device, guards, until: self.clock.now().plus(ttl), fields: None };
        node.lease(&self.topic, &ann("ann"), lease).unwrap();
    }

    /// The names of ann's entries.
    fn refs(&self, node: &Roster) -> Vec<String> {
        let table = node.lock();
        table.entries(&self.topic, ANN).map(|entry| entry.meta.phx_ref.to_string()).collect()
    }

    /// How many of ann's entries stand on what.
    fn count(&self, node: &Roster) -> (usize, usize) {
        let table = node.lock();
        let leases = table.entries(&self.topic, ANN).filter(|entry| entry.holder.device().is_some()).count();
        (table.entries(&self.topic, ANN).count() - leases, leases)
    }
}

fn ann(name: &str) -> Newcomer {
    let profile = Json::of(&name).unwrap();
    Newcomer { user: ANN, profile, sees_all: false, credential: Some("credential@1".into()) }
}

/// What one node tells comes to another, in the words that go over the bus.
fn tell(from: &Roster, name: &str, to: &Roster) {
    for told in from.changes() {
        let words = serde_json::to_string(&told).unwrap();
        to.hear(&name.into(), serde_json::from_str(&words).unwrap()).unwrap();
    }
}

#[test]
fn who_was_at_one_of_two_nodes_that_stop_at_once_is_there_once() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.node(name));
    world.enter(&a, "ann", 1);
    world.hold(&a, Duration::from_secs(60));
    tell(&a, "a", &b);
    b.await_return(&"a".into(), COMING_BACK);
    let mut rows = [a, b].map(|node| node.hand_over().unwrap().unwrap());
    for _ in 0..2 {
        rows.reverse();
        let node = world.node("c");
        for row in &rows {
            node.take_over(row.as_str(), world.clock.now().plus(COMING_BACK)).unwrap();
        }
        assert_eq!(world.count(&node), (1, 1), "{:?}", world.refs(&node));
        world.enter(&node, "ann", 2);
        let refs = world.refs(&node);
        node.window(false);
        world.clock.advance(COMING_BACK);
        assert_eq!(world.refs(&node), refs);
        assert!(node.window(false).is_empty(), "she was told to have left");
    }
}

#[test]
fn a_lease_waits_for_its_own_client_for_as_long_as_it_was_promised() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.node(name));
    world.hold(&a, Duration::from_secs(60));
    let lease = world.refs(&a);
    tell(&a, "a", &b);
    b.await_return(&"a".into(), COMING_BACK);
    // All stop one after the other.
    let c = world.node("c");
    c.take_over(b.hand_over().unwrap().unwrap().as_str(), world.clock.now().plus(COMING_BACK)).unwrap();
    for node in [b, c] {
        world.enter(&node, "ann", 1);
        assert_eq!(world.count(&node), (1, 1), "a stream took the lease");
        world.clock.advance(COMING_BACK);
        assert_eq!(world.refs(&node)[0], lease[0], "the promise was not kept");
        world.hold(&node, Duration::from_secs(40));
        assert_eq!((world.count(&node), &world.refs(&node)[0]), ((1, 1), &lease[0]), "another was added");
        world.clock.advance(Duration::from_secs(20));
    }
}

#[test]
fn a_lease_that_waits_ends_with_its_time_or_its_guards() {
    for signed_out in [false, true] {
        let world = World::new();
        let [a, b] = ["a", "b"].map(|name| world.node(name));
        world.hold(&a, Duration::from_secs(60));
        tell(&a, "a", &b);
        b.await_return(&"a".into(), COMING_BACK);
        world.clock.advance(Duration::from_millis(59_999));
        assert_eq!(world.count(&b), (0, 1));
        if signed_out {
            let (kind, topic) = ("account_deleted".into(), "account@1".into());
            let ending = Ending { seq: 1, kind, topic, fed: false, audience: None, effect: Effect::End };
            b.take_effect(&ending);
        } else {
            world.clock.advance(Duration::from_millis(1));
        }
        assert_eq!(world.count(&b), (0, 0), "signed out: {signed_out}");
    }
}

#[test]
fn a_lease_that_waits_ends_where_its_client_has_come_to_a_node_that_never_heard_of_it() {
    let world = World::new();
    let [a, b, new] = ["a", "b", "c"].map(|name| world.node(name));
    world.hold(&a, Duration::from_secs(60));
    tell(&a, "a", &b);
    b.await_return(&"a".into(), COMING_BACK);
    world.hold(&new, Duration::from_secs(60));
    tell(&new, "c", &b);
    assert_eq!(world.refs(&b), world.refs(&new));
}

#[test]
fn who_comes_back_at_another_node_by_another_name_is_there_once() {
    // Where the watchers have been told of the entry, and where they have not.
    for told in [false, true] {
        let world = World::new();
        let [a, b, c] = ["a", "b", "c"].map(|name| world.node(name));
        world.enter(&a, "ann", 1);
        a.cut(&world.topic, ANN, Uuid::from_u128(1));
        let before = world.refs(&a);
        for told in a.changes() {
            let words = serde_json::to_string(&told).unwrap();
            for node in [&b, &c] {
                node.hear(&"a".into(), serde_json::from_str(&words).unwrap()).unwrap();
            }
        }
        if told {
            for node in [&a, &b, &c] {
                node.window(false);
            }
        }
        world.enter(&b, "anna", 2);
        let words: Vec<String> = b.changes().iter().map(|it| serde_json::to_string(it).unwrap()).collect();
        for node in [&a, &c] {
            for words in &words {
                node.hear(&"b".into(), serde_json::from_str(words).unwrap()).unwrap();
            }
            assert_eq!(world.refs(node), world.refs(&b), "told: {told}");
            assert_ne!(world.refs(node), before);
        }
        // What the first node tells of it ends there as well.
        tell(&a, "a", &c);
        assert_eq!(world.refs(&c), world.refs(&b), "told: {told}");
    }
}
