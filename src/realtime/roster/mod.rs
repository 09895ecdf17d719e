//! The roster of a node: who is on which topic, with which entries, and until when.
//!
//! It knows neither connections nor HTTP: it is told who comes and goes, and by [`Roster::run`] tells the hubs what
//! the watchers of a topic must hear. What is told is in order for each topic, and it does not matter whether a
//! watcher hears something twice: an entry's versions have names of their own that never come again.

mod elsewhere;
mod gathering;
mod handover;
#[cfg(test)]
mod model;
mod saying;
#[cfg(test)]
mod several;
mod table;
mod telling;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::gathering::Meta;
pub(super) use self::{
    elsewhere::Told,
    saying::Order,
    telling::{Announcement, Audience},
};
use self::{
    gathering::{Entry, Gathering, Holder, Person},
    table::Table,
};
use super::{
    effect::{Effect, Ending},
    event::{Json, Key, is_own},
};
use crate::{
    clock::{Clock, Timestamp},
    error::{Error, Result},
};

/// The rules that a roster works by.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long somebody whose stream was cut is still there.
    pub grace: Duration,
    /// With more users than this on a topic, only their number is told.
    pub limit: usize,
}

/// Who is on which topic of this node.
pub struct Roster {
    clock: Clock,
    rules: Rules,
    /// What the names of this node's versions begin with: no other node or run has it.
    prefix: Box<str>,
    // A lock of the standard library, because nothing waits while it is held.
    table: Mutex<Table>,
    changed: Notify,
}

/// Somebody who is about to be on a topic.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The user.
    pub user: Uuid,
    /// What others see of the user.
    pub profile: Json,
    /// Whether the user keeps topics that are restricted to others.
    pub sees_all: bool,
    /// What stands for the credential with which the user comes: by it a device is known again.
    pub credential: Option<Key>,
}

/// A promise of a client without a stream to say again that it is there.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The device: one lease each on a topic.
    pub device: Key,
    /// The topics with whose end the lease ends.
    pub guards: Vec<Key>,
    /// When it ends unless it is renewed.
    pub until: Timestamp,
    /// What the user says of the entry; what was said before stays where nothing is given.
    pub fields: Option<Map<String, Value>>,
}

/// Who is on a topic.
#[derive(Debug)]
pub struct Present {
    /// How many users.
    pub count: usize,
    /// All of them with their entries, by user; nothing where there are too many.
    pub presences: Option<Json>,
}

impl Roster {
    /// An empty roster.
    pub(super) fn new(clock: Clock, rules: Rules, prefix: String) -> Self {
        Self { clock, rules, prefix: prefix.into(), table: Mutex::default(), changed: Notify::new() }
    }

    /// A connection begins to be on a topic. An entry of the same user that waits for a cut stream to come back becomes
    /// this connection's, as it is, and nobody notices: the oldest of the same device, else the oldest.
    pub(super) fn enter(&self, key: &Key, newcomer: &Newcomer, connection: Uuid) {
        let mut table = self.lock();
        let (holder, phx_ref) = (Holder::Connection(connection), self.next_ref(&mut table));
        if let Some(id) = table.waiting_for(key, newcomer) {
            table.hold(key, newcomer.user, |entry| entry.id == id, &holder);
            if let Some(gathering) = table.topics.get_mut(key) {
                gathering.give_back(newcomer, id, phx_ref);
            }
        } else {
            self.add(&mut table, key, newcomer, holder, Map::new());
        }
        self.touch(table, key);
    }

    /// A connection was cut: its user is there for the grace that a reconnect may take.
    pub(super) fn cut(&self, key: &Key, user: Uuid, connection: Uuid) {
        if self.rules.grace.is_zero() {
            return self.leave(key, user, connection);
        }
        let until = self.clock.now().plus(self.rules.grace);
        let mut table = self.lock();
        let own = |entry: &Entry| entry.holder == Holder::Connection(connection);
        table.hold(key, user, own, &Holder::Gone(until));
        self.touch(table, key);
    }

    /// A connection is on a topic no longer, by its user's will or because the right has ended.
    pub(super) fn leave(&self, key: &Key, user: Uuid, connection: Uuid) {
        let mut table = self.lock();
        table.retain_of(key, user, |entry| entry.holder != Holder::Connection(connection));
        self.touch(table, key);
    }

    /// A client without a stream says that it is there. Answers with what others see of it.
    pub(super) fn lease(&self, key: &Key, newcomer: &Newcomer, lease: Lease) -> Result<Meta> {
        let Lease { device, guards, until, fields } = lease;
        let mut table = self.lock();
        let same = |entry: &Entry| entry.holder.device() == Some(&device);
        let holder = Holder::Lease { device: Key::clone(&device), guards, until };
        let id = match table.hold(key, newcomer.user, same, &holder) {
            None => self.add(&mut table, key, newcomer, holder, fields.unwrap_or_default()),
            Some(id) => {
                if let Some(fields) = fields {
                    self.change(&mut table, key, newcomer.user, id, fields);
                }
                id
            }
        };
        let meta = table.entries(key, newcomer.user).find(|entry| entry.id == id).map(|e| e.meta.clone());
        self.touch(table, key);
        meta.ok_or_else(|| Error::Internal("a lease is gone that was made under the same lock".into()))
    }

    /// Ends the lease of a device, if there is one.
    pub(super) fn end_lease(&self, key: &Key, user: Uuid, device: &Key) {
        let mut table = self.lock();
        let other = |entry: &Entry| entry.holder.device() != Some(device);
        table.retain_of(key, user, other);
        self.touch(table, key);
    }

    /// Who is on a topic now.
    ///
    /// # Errors
    /// When what is there has no JSON form.
    pub fn present(&self, key: &Key) -> Result<Present> {
        let mut table = self.lock();
        let mut nobody = Gathering::default();
        let gathering = table.topics.get_mut(key).unwrap_or(&mut nobody);
        gathering.weigh(self.rules.limit);
        let presences = if gathering.crowded { None } else { Some(gathering.everybody()?) };
        Ok(Present { count: gathering.count(), presences })
    }

    /// Ends the entries of those who have lost a topic, and the leases that stand on it.
    pub(super) fn take_effect(&self, ending: &Ending) {
        let mut table = self.lock();
        if let Some(gathering) = table.topics.get_mut(&ending.topic) {
            let losing = gathering.losing(ending);
            let removed = gathering.take_effect(ending);
            table.news.extend(losing.into_iter().map(|user| (Key::clone(&ending.topic), user)));
            table.disarm(&removed);
            table.dirty.insert(Key::clone(&ending.topic));
        }
        // What a lease stands on is somebody's own.
        if ending.effect == Effect::End && is_own(&ending.topic) {
            table.end_leases(|guards| guards.contains(&ending.topic));
        }
        self.changed.notify_one();
    }

    /// Ends all leases.
    pub(super) fn forget_leases(&self) {
        self.lock().end_leases(|_| true);
        self.changed.notify_one();
    }

    fn add(
        &self,
        table: &mut Table,
        key: &Key,
        newcomer: &Newcomer,
        holder: Holder,
        fields: Map<String, Value>,
    ) -> u64 {
        let phx_ref = self.next_ref(table);
        let (id, joined_at) = (table.serial, self.clock.now());
        table.arm(key, newcomer.user, &holder, id);
        table.news.insert((Key::clone(key), newcomer.user));
        let meta = Meta { phx_ref, phx_ref_prev: None, joined_at, fields };
        let gathering = table.topics.entry(Key::clone(key)).or_default();
        let nobody = || Person { profile: newcomer.profile.clone(), entries: Vec::new() };
        let person = gathering.people.entry(newcomer.user).or_insert_with(nobody);
        person.profile = newcomer.profile.clone();
        person.entries.push(Entry::new(id, holder, meta, newcomer.sees_all, newcomer.credential.clone()));
        id
    }

    fn change(&self, table: &mut Table, key: &Key, user: Uuid, id: u64, fields: Map<String, Value>) {
        let same = table.entries(key, user).any(|entry| entry.id == id && entry.meta.fields == fields);
        let phx_ref = self.next_ref(table);
        if let Some(gathering) = table.topics.get_mut(key).filter(|_| !same) {
            gathering.update(user, id, fields, phx_ref);
            table.news.insert((Key::clone(key), user));
        }
    }

    fn next_ref(&self, table: &mut Table) -> Box<str> {
        table.serial += 1;
        format!("{}{:x}", self.prefix, table.serial).into()
    }

    /// Has the task look at a topic.
    fn touch(&self, mut table: MutexGuard<'_, Table>, key: &Key) {
        if table.topics.contains_key(key) {
            table.dirty.insert(Key::clone(key));
            drop(table);
            self.changed.notify_one();
        }
    }

    /// The table as it is now: whatever has ended by time is not in it.
    fn lock(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(self.clock.now());
        table
    }
}
