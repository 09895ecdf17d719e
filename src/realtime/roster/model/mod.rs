//! Random histories against a model that is too simple to be wrong: a list of entries and the times they end.

mod client;
mod expected;
mod step;
mod watching;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::{
    client::Known,
    expected::{Expected, Stands},
    step::{DEVICES, Step, USERS, step},
};
use super::{
    super::{
        effect::{Effect, Ending},
        event::{Json, Key},
    },
    Holder, Lease, Newcomer, Roster, Rules,
};
use crate::clock::Clock;

/// So many watch at most; the oldest gives way.
const WATCHERS: usize = 2;
const GRACE: Duration = Duration::from_secs(5);
/// The user who keeps topics that are restricted to others.
const SEES_ALL: usize = 0;

struct World {
    clock: Clock,
    roster: Roster,
    key: Key,
    expected: Vec<Expected>,
    n_entries: usize,
    n_connections: u128,
    watchers: Vec<Known>,
    counted: Option<Value>,
    /// Which version of which entry a reference names.
    names: BTreeMap<String, (usize, usize)>,
    named: BTreeSet<(usize, usize)>,
    /// What all watchers were told of last, and whether one has come since.
    settled: Option<BTreeSet<(usize, usize)>>,
}

impl World {
    fn new(limit: usize) -> Self {
        let clock = Clock::manual(DateTime::default());
        let roster = Roster::new(clock.clone(), Rules { grace: GRACE, limit }, "n".to_owned());
        Self {
            clock,
            roster,
            key: "chat:1".into(),
            expected: Vec::new(),
            n_entries: 0,
            n_connections: 0,
            watchers: Vec::new(),
            counted: None,
            names: BTreeMap::new(),
            named: BTreeSet::new(),
            settled: Some(BTreeSet::new()),
        }
    }

    fn newcomer(user: usize, device: usize) -> Newcomer {
        let (profile, credential) = (Json::of(&user).unwrap(), Some(device_key(device)));
        Newcomer { user: id(user), profile, sees_all: user == SEES_ALL, credential }
    }

    /// The connection of a device, if it is open: the model numbers connections so that it can be told.
    fn connection(&self, user: usize, device: usize) -> Option<Uuid> {
        self.expected.iter().find_map(|it| match it.stands {
            Stands::Open(id) if it.user == user && id.as_u128() % DEVICES as u128 == device as u128 => {
                Some(id)
            }
            _ => None,
        })
    }

    fn expect(&mut self, (user, device): (usize, usize), stands: Stands, status: Value) {
        self.n_entries += 1;
        let (number, joined_at) = (self.n_entries, self.clock.now());
        self.expected.push(Expected { number, version: 0, user, device, stands, joined_at, status });
    }

    fn expire(&mut self) {
        let now = self.clock.now();
        self.expected.retain(|it| match it.stands {
            Stands::Open(_) => true,
            Stands::Gone(until) | Stands::Lease(_, until) => until > now,
        });
    }

    fn take(&mut self, step: &Step) {
        // So that no two entries begin at the same moment, and each can be told by it.
        self.clock.advance(Duration::from_millis(1));
        self.expire();
        match *step {
            Step::Open { user, device } => self.open(user, device),
            Step::Cut { user, device } => {
                let Some(connection) = self.connection(user, device) else { return };
                self.roster.cut(&self.key, id(user), connection);
                let until = self.clock.now().plus(GRACE);
                let it = self.expected.iter_mut().find(|it| it.stands == Stands::Open(connection));
                it.unwrap().stands = Stands::Gone(until);
            }
            Step::Leave { user, device } => {
                let Some(connection) = self.connection(user, device) else { return };
                self.roster.leave(&self.key, id(user), connection);
                self.expected.retain(|it| it.stands != Stands::Open(connection));
            }
            Step::Hold { user, device, seconds, status } => self.hold(user, device, seconds, status),
            Step::Release { user, device } => {
                self.roster.end_lease(&self.key, id(user), &device_key(device));
                self.expected.retain(|it| it.user != user || !it.is_lease_of(device));
            }
            Step::Update { user, device, status } => self.update(user, device, status),
            Step::Expel { user } => self.end(Effect::Expel(id(user)), None, |it| it != user),
            Step::Restrict { kept } => {
                let users = (0..USERS).filter(|user| kept[*user]).map(id).collect();
                self.end(Effect::Restrict(users), None, |user| kept[user]);
            }
            Step::Withdraw { user } => self.end(Effect::Withdraw, Some(id(user)), |it| it == user),
            Step::End => {
                self.take_effect(&self.key.clone(), Effect::End, None);
                self.expected.clear();
            }
            Step::SignOut { device } => {
                self.take_effect(&device_key(device), Effect::End, None);
                self.expected.retain(|it| !it.is_lease_of(device));
            }
            Step::Silence { millis } => {
                self.clock.advance(Duration::from_millis(millis));
                self.expire();
            }
            Step::Window { counts } => self.window(counts),
            Step::Watch => self.watch(),
            Step::Miss => {
                self.roster.tell_whole(&self.key);
                self.settled = None;
            }
        }
    }

    /// A right to the topic ends for all whom it is not kept for; who sees all keeps it.
    fn end(&mut self, effect: Effect, audience: Option<Uuid>, keeps: impl Fn(usize) -> bool) {
        self.take_effect(&self.key.clone(), effect, audience);
        self.expected.retain(|it| it.user == SEES_ALL || keeps(it.user));
    }

    fn take_effect(&self, topic: &Key, effect: Effect, audience: Option<Uuid>) {
        let (kind, topic) = ("ended".into(), Key::clone(topic));
        self.roster.take_effect(&Ending { seq: 1, kind, topic, fed: false, audience, effect });
    }

    fn open(&mut self, user: usize, device: usize) {
        if self.connection(user, device).is_some() {
            return;
        }
        self.n_connections += 1;
        let connection = Uuid::from_u128(self.n_connections * DEVICES as u128 + device as u128);
        self.roster.enter(&self.key, &Self::newcomer(user, device), connection);
        let mut waiting: Vec<&mut Expected> = self.expected.iter_mut().collect();
        waiting.retain(|it| it.user == user && matches!(it.stands, Stands::Gone(_)));
        // Its own before those of other devices, and then the oldest.
        waiting.sort_by_key(|it| it.device != device);
        match waiting.into_iter().next() {
            Some(old) => (old.stands, old.device) = (Stands::Open(connection), device),
            None => self.expect((user, device), Stands::Open(connection), Value::Null),
        }
        let table = self.roster.lock();
        let held = table.entries(&self.key, id(user)).find(|it| it.holder == Holder::Connection(connection));
        let expected = self.expected.iter().find(|it| it.stands == Stands::Open(connection));
        assert_eq!(held.unwrap().meta.joined_at, expected.unwrap().joined_at, "its own, else the oldest");
    }

    fn hold(&mut self, user: usize, device: usize, seconds: u64, status: Option<u8>) {
        let until = self.clock.now().plus(Duration::from_secs(seconds));
        let (key, guards) = (device_key(device), vec![device_key(device)]);
        let lease = Lease { device: key, guards, until, fields: status.map(fields) };
        self.roster.lease(&self.key, &Self::newcomer(user, device), lease).unwrap();
        let stands = Stands::Lease(device, until);
        match self.expected.iter_mut().find(|it| it.user == user && it.is_lease_of(device)) {
            Some(old) => {
                old.stands = stands;
                status.inspect(|status| old.say(*status));
            }
            None => self.expect((user, device), stands, status.map_or(Value::Null, Value::from)),
        }
    }

    fn update(&mut self, user: usize, device: Option<usize>, status: u8) {
        let connection = device.map(|device| self.connection(user, device));
        if connection == Some(None) {
            return;
        }
        let connection = connection.flatten();
        let answer = self.roster.update(&self.key, id(user), connection, |_| Ok(fields(status)));
        let meant =
            |it: &&mut Expected| it.user == user && connection.is_none_or(|id| it.stands == Stands::Open(id));
        let n_meant = self.expected.iter_mut().filter(meant).map(|it| it.say(status)).count();
        assert_eq!(answer.is_ok(), n_meant > 0);
    }
}

fn id(user: usize) -> Uuid {
    Uuid::from_u128(user as u128 + 1)
}

fn device_key(device: usize) -> Key {
    format!("device@{device}").into()
}

fn fields(status: u8) -> Map<String, Value> {
    Map::from_iter([("status".to_owned(), json!(status))])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

    #[test]
    fn histories_equal_the_model(steps in proptest::collection::vec(step(), 1..32), small in any::<bool>()) {
        let mut world = World::new(if small { 3 } else { 100 });
        for step in &steps {
            world.take(step);
        }
        // Everybody is cut and nobody comes back: nothing may be left.
        for (user, device) in (0..USERS).flat_map(|user| (0..DEVICES).map(move |device| (user, device))) {
            while world.connection(user, device).is_some() {
                world.take(&Step::Cut { user, device });
            }
        }
        world.take(&Step::Silence { millis: 120_000 });
        world.take(&Step::Window { counts: true });
        prop_assert!(world.watchers.iter().all(BTreeMap::is_empty), "a ghost");
        let table = world.roster.lock();
        prop_assert!(table.topics.is_empty() && table.deadlines.is_empty() && table.dirty.is_empty());
    }
}
