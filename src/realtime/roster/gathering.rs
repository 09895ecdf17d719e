//! Who is on one topic, and what its watchers have not been told yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    super::{
        effect::Ending,
        event::{Json, Key},
        subscription::Viewer,
    },
    Newcomer,
    elsewhere::Promise,
};
use crate::{clock::Timestamp, error::Result};

/// How many entries a user may have on average before a topic counts as crowded: what is told of a topic must stay
/// small even where a few users open many connections.
const ENTRIES_PER_USER: usize = 4;

/// What watchers see of one entry. A reference names one version of it and never comes again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// This version.
    pub phx_ref: Box<str>,
    /// The version that this one took the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phx_ref_prev: Option<Box<str>>,
    /// When the entry began.
    pub joined_at: Timestamp,
    /// What its user says of it.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// What an entry stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Holder {
    /// An open stream.
    Connection(Uuid),
    /// A stream that was cut, which may come back until then.
    Gone(Timestamp),
    /// A promise of a client without a stream, which is renewed or ends. It ends too when one of its guards does.
    Lease { device: Key, guards: Vec<Key>, until: Timestamp },
    /// Another node, which says whether it waits there for its user to come back.
    Elsewhere {
        node: Key,
        gone: bool,
        connection: Option<Uuid>,
        device: Option<Key>,
        promise: Option<Promise>,
        until: Option<Timestamp>,
    },
}

impl Holder {
    pub(super) fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Connection(_) => None,
            Self::Gone(until) | Self::Lease { until, .. } => Some(*until),
            Self::Elsewhere { until, .. } => *until,
        }
    }
}

/// Who has been told of an entry's present version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Told {
    /// Nobody.
    #[default]
    Nobody,
    /// Those who have asked for the state since.
    Newcomers,
    /// Everybody.
    Everybody,
}

/// One presence of a user on a topic: of a connection, or of a lease. Nobody but the node that made it changes it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) holder: Holder,
    pub(super) meta: Meta,
    pub(super) sees_all: bool,
    /// What its user came with.
    #[serde(default)]
    pub(super) credential: Option<Key>,
    #[serde(skip)]
    told: Told,
}

impl Entry {
    pub(super) fn new(id: u64, holder: Holder, meta: Meta, sees_all: bool, credential: Option<Key>) -> Self {
        Self { id, holder, meta, sees_all, credential, told: Told::Nobody }
    }
}

#[derive(Debug)]
pub(super) struct Person {
    pub(super) profile: Json,
    /// In the order in which they began.
    pub(super) entries: Vec<Entry>,
}

/// A user and some of their entries, as watchers see them.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    user: &'a Json,
    metas: Vec<&'a Meta>,
}

#[derive(Debug, Serialize)]
struct Diff<'a> {
    joins: BTreeMap<Uuid, Shown<'a>>,
    leaves: BTreeMap<Uuid, Shown<'a>>,
}

/// Who is on one topic, at whatever node.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    pub(super) people: BTreeMap<Uuid, Person>,
    /// Versions that somebody has been told of and that are no more.
    left: Vec<(Uuid, Json, Meta)>,
    /// Whether there are so many that only their number is told.
    pub(super) crowded: bool,
    /// Whether the watchers need the whole state, because a diff would not do.
    pub(super) whole: bool,
    /// The number that was told last.
    pub(super) counted: Option<usize>,
}

impl Gathering {
    pub(super) fn count(&self) -> usize {
        self.people.len()
    }

    /// Keeps the entries that pass, of one user; tells what the others stood on.
    pub(super) fn retain_of(&mut self, user: Uuid, keeps: impl Fn(&Entry) -> bool) -> Vec<(Holder, u64)> {
        let Some(person) = self.people.get_mut(&user) else { return Vec::new() };
        let gone: Vec<Entry> = person.entries.extract_if(.., |entry| !keeps(entry)).collect();
        let profile = person.profile.clone();
        if person.entries.is_empty() {
            self.people.remove(&user);
        }
        let mut removed = Vec::new();
        for entry in gone {
            removed.push((entry.holder, entry.id));
            self.forget(user, &profile, entry.meta, entry.told);
        }
        removed
    }

    /// The users who lose entries by an ending.
    pub(super) fn losing(&self, ending: &Ending) -> Vec<Uuid> {
        let loses =
            |user: Uuid, entry: &Entry| !ending.keeps(Viewer { user: Some(user), sees_all: entry.sees_all });
        let losing =
            |(user, person): &(&Uuid, &Person)| person.entries.iter().any(|entry| loses(**user, entry));
        self.people.iter().filter(losing).map(|(user, _)| *user).collect()
    }

    /// Ends the entries of users who have lost the topic.
    pub(super) fn take_effect(&mut self, ending: &Ending) -> Vec<(Holder, u64)> {
        let users: Vec<Uuid> = self.people.keys().copied().collect();
        let ends = |user: Uuid| {
            move |entry: &Entry| ending.keeps(Viewer { user: Some(user), sees_all: entry.sees_all })
        };
        users.into_iter().flat_map(|user| self.retain_of(user, ends(user))).collect()
    }

    /// Gives an entry other fields, as a new version of it.
    pub(super) fn update(&mut self, user: Uuid, id: u64, fields: Map<String, Value>, phx_ref: Box<str>) {
        let Some(person) = self.people.get_mut(&user) else { return };
        let Some(entry) = person.entries.iter_mut().find(|entry| entry.id == id) else { return };
        if entry.told == Told::Nobody {
            // No watcher here knows it, but another node or whoever asked may: what has changed has another name.
            entry.meta.phx_ref_prev = Some(std::mem::replace(&mut entry.meta.phx_ref, phx_ref));
            entry.meta.fields = fields;
            return;
        }
        let phx_ref_prev = Some(entry.meta.phx_ref.clone());
        let new = Meta { phx_ref, phx_ref_prev, joined_at: entry.meta.joined_at, fields };
        let (old, told) = (std::mem::replace(&mut entry.meta, new), std::mem::take(&mut entry.told));
        let profile = person.profile.clone();
        self.forget(user, &profile, old, told);
    }

    /// An entry goes on with whoever has come back to it, and with what they may see and are called by now: another
    /// name is another version.
    pub(super) fn give_back(&mut self, to: &Newcomer, id: u64, phx_ref: Box<str>) {
        let Some(person) = self.people.get_mut(&to.user) else { return };
        let Some(entry) = person.entries.iter_mut().find(|entry| entry.id == id) else { return };
        (entry.sees_all, entry.credential) = (to.sees_all, to.credential.clone());
        if person.profile.as_str() != to.profile.as_str() {
            person.profile = to.profile.clone();
            let fields = entry.meta.fields.clone();
            self.update(to.user, id, fields, phx_ref);
        }
    }

    /// A version is no more. Where nobody has been told of it, nobody is told of its end: a join and a leave within
    /// one window are nothing.
    fn forget(&mut self, user: Uuid, profile: &Json, meta: Meta, told: Told) {
        if told != Told::Nobody && !self.crowded {
            self.left.push((user, profile.clone(), meta));
        }
    }

    /// Turns to numbers where there are too many, and back where there are clearly fewer.
    pub(super) fn weigh(&mut self, limit: usize) {
        let entries: usize = self.people.values().map(|person| person.entries.len()).sum();
        let load = self.count().max(entries.div_ceil(ENTRIES_PER_USER));
        if !self.crowded && load > limit {
            (self.crowded, self.counted) = (true, None);
            self.left.clear();
        } else if self.crowded && load <= limit * 4 / 5 {
            (self.crowded, self.whole) = (false, true);
        }
    }

    /// Everybody, for one who asks. They are told the present versions before all others are.
    pub(super) fn state(&mut self) -> Result<Json> {
        for entry in self.people.values_mut().flat_map(|person| &mut person.entries) {
            entry.told = entry.told.max(Told::Newcomers);
        }
        self.everybody()
    }

    /// Everybody, for all watchers: nothing is left to be told after it.
    pub(super) fn whole_state(&mut self) -> Result<Json> {
        self.settle();
        self.everybody()
    }

    pub(super) fn everybody(&self) -> Result<Json> {
        let all = self.people.iter().map(|(user, person)| (*user, person.shown(|_| true)));
        Json::of(&all.collect::<BTreeMap<_, _>>())
    }

    /// One user, as watchers see them.
    pub(super) fn one(&self, user: Uuid) -> Result<Option<Json>> {
        self.people.get(&user).map(|person| Json::of(&person.shown(|_| true))).transpose()
    }

    /// What has changed since all watchers were told last, if anything.
    pub(super) fn diff(&mut self) -> Result<Option<Json>> {
        let new = |person: &Person| person.entries.iter().any(|entry| entry.told != Told::Everybody);
        let joined = self.people.iter().filter(|(_, person)| new(person));
        let joins = joined.map(|(user, person)| (*user, person.shown(|entry| entry.told != Told::Everybody)));
        let mut diff = Diff { joins: joins.collect(), leaves: BTreeMap::new() };
        for (user, profile, meta) in &self.left {
            let shown = || Shown { user: profile, metas: Vec::new() };
            diff.leaves.entry(*user).or_insert_with(shown).metas.push(meta);
        }
        let some = !(diff.joins.is_empty() && diff.leaves.is_empty());
        let json = some.then(|| Json::of(&diff)).transpose()?;
        self.settle();
        Ok(json)
    }

    /// Everybody has been told everything.
    fn settle(&mut self) {
        self.left.clear();
        self.whole = false;
        for entry in self.people.values_mut().flat_map(|person| &mut person.entries) {
            entry.told = Told::Everybody;
        }
    }

    /// Whether nothing of it needs to be kept.
    pub(super) fn is_over(&self) -> bool {
        self.people.is_empty() && self.left.is_empty() && self.counted == Some(0)
    }
}

impl Person {
    fn shown(&self, which: impl Fn(&Entry) -> bool) -> Shown<'_> {
        let metas = self.entries.iter().filter(|entry| which(entry)).map(|entry| &entry.meta);
        Shown { user: &self.profile, metas: metas.collect() }
    }
}
