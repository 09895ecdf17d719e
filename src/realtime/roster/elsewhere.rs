//! The entries of other nodes. An entry has one writer, the node that holds it; so the whole is the union of what the
//! nodes say. Who comes back at another node than the one that lost them is taken over there with the same entry, and
//! nobody notices.

use std::{collections::HashSet, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    super::event::{Json, Key},
    Entry, Holder, Meta, Person, Roster, Table,
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// How many entries of one user on one topic are told to the other nodes.
const ENTRIES: usize = 256;
/// What the rest of an entry takes besides what its user says, roughly.
const OVERHEAD: usize = 256;

/// A user on a topic, with the entries that one node holds: all of them.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Told {
    topic: Key,
    user: Uuid,
    /// Nothing where there are no entries any more.
    profile: Option<Json>,
    entries: Vec<ToldEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ToldEntry {
    meta: Meta,
    sees_all: bool,
    #[serde(default)]
    credential: Option<Key>,
    /// Whether its stream was cut, so that whoever comes back takes it over.
    gone: bool,
    /// The open stream.
    connection: Option<Uuid>,
    /// The device, of a client without a stream.
    device: Option<Key>,
    /// What such a client was promised.
    #[serde(default)]
    promise: Option<Promise>,
}

/// Until when a client without a stream is there unless it says so again, and with whose end it is there no longer: for
/// the time in which its node cannot say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Promise {
    pub(super) guards: Vec<Key>,
    pub(super) until: Timestamp,
}

impl Told {
    /// Of whom it tells.
    pub(in super::super) fn place(&self) -> (Key, Uuid) {
        (Key::clone(&self.topic), self.user)
    }

    /// How many bytes it takes, roughly.
    pub(in super::super) fn size(&self) -> usize {
        let fields = |entry: &ToldEntry| {
            entry
                .meta
                .fields
                .iter()
                .map(|(name, value)| name.len() + value.to_string().len() + 8)
                .sum::<usize>()
        };
        let entries: usize = self.entries.iter().map(|entry| OVERHEAD + fields(entry)).sum();
        OVERHEAD
            + self.topic.len()
            + self.profile.as_ref().map_or(0, |profile| profile.as_str().len())
            + entries
    }
}

impl Roster {
    /// Those whose entries of this node have changed since they were told last.
    pub(in super::super) fn changes(&self) -> Vec<Told> {
        let mut table = self.lock();
        let news = std::mem::take(&mut table.news);
        news.iter().map(|(key, user)| table.told(key, *user)).collect()
    }

    /// All who have entries of this node.
    pub(in super::super) fn own(&self) -> Vec<Told> {
        let table = self.lock();
        let people = table.topics.iter().flat_map(|(key, gathering)| {
            let own = |person: &Person| person.entries.iter().any(|entry| entry.holder.is_own());
            gathering.people.iter().filter(move |(_, person)| own(person)).map(move |(user, _)| (key, *user))
        });
        people.map(|(key, user)| table.told(key, user)).collect()
    }

    /// Takes up what another node says of one user on one topic.
    pub(in super::super) fn hear(&self, node: &Key, told: Told) -> Result<()> {
        let Told { topic: key, user, profile, entries } = told;
        let refs: HashSet<Box<str>> = entries.iter().map(|entry| entry.meta.phx_ref.clone()).collect();
        let mut table = self.lock();
        table.retain_of(&key, user, |entry| !entry.holder.is_of(node) || refs.contains(&entry.meta.phx_ref));
        for entry in entries {
            let profile = profile.as_ref().ok_or_else(|| Error::Internal("an entry of nobody".into()))?;
            table.place(&key, user, profile, node, entry);
        }
        self.touch(table, &key);
        Ok(())
    }

    /// A node is dead: nobody is there with it.
    pub(in super::super) fn forget_node(&self, node: &Key) {
        self.keep_only(node, &HashSet::new());
    }

    /// Of the entries of a node only those of the listed users are left.
    pub(in super::super) fn keep_only(&self, node: &Key, listed: &HashSet<(Key, Uuid)>) {
        let mut table = self.lock();
        for place in table.places_of(node).into_iter().filter(|place| !listed.contains(place)) {
            table.retain_of(&place.0, place.1, |entry| !entry.holder.is_of(node));
            table.dirty.insert(place.0);
        }
        drop(table);
        self.changed.notify_one();
    }

    /// A node stops: those who are there with it have a while to come back at another, and clients without a stream as
    /// long as they were promised.
    pub(in super::super) fn await_return(&self, node: &Key, span: Duration) {
        let back_by = self.clock.now().plus(span);
        let mut table = self.lock();
        for (key, user) in table.places_of(node) {
            let there = table.entries(&key, user).filter(|entry| entry.holder.is_of(node));
            let there: Vec<(u64, Holder)> = there.map(|entry| (entry.id, entry.holder.clone())).collect();
            for (id, mut holder) in there {
                if let Holder::Elsewhere { gone, connection, promise, until, .. } = &mut holder {
                    (*gone, *connection) = (true, None);
                    *until = Some(promise.as_ref().map_or(back_by, |promise| promise.until));
                }
                table.hold(&key, user, |entry| entry.id == id, &holder);
            }
        }
        drop(table);
        self.changed.notify_one();
    }
}

impl Table {
    /// What this node has of a user on a topic.
    pub(super) fn told(&self, key: &Key, user: Uuid) -> Told {
        let own = self.entries(key, user).filter(|entry| entry.holder.is_own()).take(ENTRIES);
        let entries: Vec<ToldEntry> = own
            .map(|entry| ToldEntry {
                meta: entry.meta.clone(),
                sees_all: entry.sees_all,
                credential: entry.credential.clone(),
                gone: matches!(entry.holder, Holder::Gone(_)),
                connection: entry.holder.connection(),
                device: entry.holder.device().cloned(),
                promise: entry.holder.promise(),
            })
            .collect();
        let person = self.topics.get(key).and_then(|gathering| gathering.people.get(&user));
        let profile = person.filter(|_| !entries.is_empty()).map(|person| person.profile.clone());
        Told { topic: Key::clone(key), user, profile, entries }
    }

    /// Puts an entry where its node has it. One that is known under its name may have moved here from another node, but
    /// one that waits for its user to come back never takes the place of one that has come back.
    fn place(&mut self, key: &Key, user: Uuid, profile: &Json, node: &Key, told: ToldEntry) {
        let ToldEntry { meta, sees_all, credential, gone, connection, device, promise } = told;
        let node_name = Key::clone(node);
        let holder = Holder::Elsewhere { node: node_name, gone, connection, device, promise, until: None };
        let known = self.entries(key, user).find(|entry| entry.meta.phx_ref == meta.phx_ref);
        if let Some(known) = known {
            let (id, moves) = (known.id, known.holder.gives_way(node, gone));
            if moves {
                self.hold(key, user, |entry| entry.id == id, &holder);
            }
            return;
        }
        // What waits here for whoever came back there by another name, or with the same device, which has one lease.
        let left = |entry: &Entry| {
            let (device, prev) = (entry.holder.device(), meta.phx_ref_prev.as_ref());
            let same = prev == Some(&entry.meta.phx_ref) || (device.is_some() && device == holder.device());
            entry.holder.is_waiting() && same
        };
        self.retain_of(key, user, |entry| !left(entry));
        self.serial += 1;
        let id = self.serial;
        let gathering = self.topics.entry(Key::clone(key)).or_default();
        let nobody = || Person { profile: profile.clone(), entries: Vec::new() };
        let person = gathering.people.entry(user).or_insert_with(nobody);
        person.profile = profile.clone();
        person.entries.push(Entry::new(id, holder, meta, sees_all, credential));
    }

    fn places_of(&self, node: &Key) -> Vec<(Key, Uuid)> {
        let of_node = |person: &Person| person.entries.iter().any(|entry| entry.holder.is_of(node));
        let places = self.topics.iter().flat_map(|(key, gathering)| {
            let people = gathering.people.iter().filter(move |(_, person)| of_node(person));
            people.map(move |(user, _)| (Key::clone(key), *user))
        });
        places.collect()
    }
}

impl Holder {
    /// Whether the entry belongs to this node.
    pub(super) fn is_own(&self) -> bool {
        !matches!(self, Self::Elsewhere { .. })
    }

    fn is_of(&self, node: &Key) -> bool {
        matches!(self, Self::Elsewhere { node: of, .. } if of == node)
    }

    /// The device of a client without a stream.
    pub(super) fn device(&self) -> Option<&Key> {
        match self {
            Self::Lease { device, .. } => Some(device),
            Self::Elsewhere { device, .. } => device.as_ref(),
            Self::Connection(_) | Self::Gone(_) => None,
        }
    }

    fn promise(&self) -> Option<Promise> {
        match self {
            Self::Lease { guards, until, .. } => Some(Promise { guards: guards.clone(), until: *until }),
            _ => None,
        }
    }

    /// With whose end a lease ends, as far as it is for this node to say.
    pub(super) fn guards(&self) -> Option<&[Key]> {
        match self {
            Self::Lease { guards, .. }
            | Self::Elsewhere { promise: Some(Promise { guards, .. }), until: Some(_), .. } => Some(guards),
            _ => None,
        }
    }

    /// Whether whoever comes back takes the entry over.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Elsewhere { gone: true, .. })
    }

    /// Whether an entry that a node says it has, waiting or not, is that node's from now on.
    fn gives_way(&self, to: &Key, waiting: bool) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Gone(_) | Self::Lease { .. } => !waiting,
            Self::Elsewhere { node, gone, .. } => node == to || *gone || !waiting,
        }
    }
}
