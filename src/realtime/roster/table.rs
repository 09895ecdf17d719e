//! All gatherings of a node, and the times at which entries end.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::{
    super::event::Key,
    Newcomer,
    gathering::{Entry, Gathering, Holder},
};
use crate::clock::Timestamp;

#[derive(Default)]
pub(super) struct Table {
    pub(super) topics: HashMap<Key, Gathering>,
    /// The entries that end by time, the next one first.
    pub(super) deadlines: BTreeMap<(Timestamp, u64), (Key, Uuid)>,
    /// The topics of which something may have to be told.
    pub(super) dirty: HashSet<Key>,
    /// Those whose entries of this node have changed since the other nodes were told.
    pub(super) news: HashSet<(Key, Uuid)>,
    pub(super) serial: u64,
}

impl Table {
    pub(super) fn entries(&self, key: &Key, user: Uuid) -> impl Iterator<Item = &Entry> {
        let person = self.topics.get(key).and_then(|gathering| gathering.people.get(&user));
        person.into_iter().flat_map(|person| &person.entries)
    }

    /// The entry that waits for whoever comes now; that of a client without a stream waits for that client.
    pub(super) fn waiting_for(&self, key: &Key, newcomer: &Newcomer) -> Option<u64> {
        let waits = |entry: &&Entry| entry.holder.is_waiting() && entry.holder.device().is_none();
        let waiting = || self.entries(key, newcomer.user).filter(waits);
        let same = waiting().find(|entry| entry.credential == newcomer.credential);
        same.or_else(|| waiting().next()).map(|entry| entry.id)
    }

    /// Puts the first entry of a user that is meant under another holder, and answers with its id.
    pub(super) fn hold(
        &mut self,
        key: &Key,
        user: Uuid,
        meant: impl Fn(&Entry) -> bool,
        holder: &Holder,
    ) -> Option<u64> {
        let person = self.topics.get_mut(key)?.people.get_mut(&user)?;
        let entry = person.entries.iter_mut().find(|entry| meant(entry))?;
        let id = entry.id;
        let before = std::mem::replace(&mut entry.holder, holder.clone());
        self.disarm(&[(before, id)]);
        self.arm(key, user, holder, id);
        if holder.is_own() {
            self.news.insert((Key::clone(key), user));
        }
        Some(id)
    }

    pub(super) fn retain_of(&mut self, key: &Key, user: Uuid, keeps: impl Fn(&Entry) -> bool) {
        let Some(gathering) = self.topics.get_mut(key) else { return };
        let removed = gathering.retain_of(user, keeps);
        self.disarm(&removed);
        if removed.iter().any(|(holder, _)| holder.is_own()) {
            self.news.insert((Key::clone(key), user));
        }
    }

    /// Ends the leases whose guards are among those meant.
    pub(super) fn end_leases(&mut self, meant: impl Fn(&[Key]) -> bool) {
        let meant = |entry: &Entry| entry.holder.guards().is_some_and(&meant);
        let places: HashSet<(Key, Uuid)> = self.deadlines.values().cloned().collect();
        for (key, user) in places {
            if self.entries(&key, user).any(&meant) {
                self.retain_of(&key, user, |entry| !meant(entry));
                self.dirty.insert(key);
            }
        }
    }

    /// Ends the entries whose time has come.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some(((until, id), _)) = self.deadlines.first_key_value() {
            if *until > now {
                return;
            }
            let id = *id;
            let Some((_, (key, user))) = self.deadlines.pop_first() else { return };
            self.retain_of(&key, user, |entry| entry.id != id);
            self.dirty.insert(key);
        }
    }

    pub(super) fn arm(&mut self, key: &Key, user: Uuid, holder: &Holder, id: u64) {
        if let Some(until) = holder.until() {
            self.deadlines.insert((until, id), (Key::clone(key), user));
        }
    }

    pub(super) fn disarm(&mut self, removed: &[(Holder, u64)]) {
        for (holder, id) in removed {
            if let Some(until) = holder.until() {
                self.deadlines.remove(&(until, *id));
            }
        }
    }
}
