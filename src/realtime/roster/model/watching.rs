//! What those who watch know, held against what must be there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    WATCHERS, World,
    client::{Known, data, state, sync_diff},
    expected::Expected,
    id,
};
use crate::realtime::subscription::Presence;

impl World {
    pub(super) fn watch(&mut self) {
        if self.watchers.len() == WATCHERS {
            self.watchers.remove(0);
        }
        let (kind, frame) = self.roster.state(&self.key, Presence::Observe).unwrap();
        let mut known = Known::new();
        if kind == "presence_state" {
            known = state(&data(frame.envelope()));
            assert_eq!(self.versions(&known), self.now(), "a state is of the moment in which it is taken");
        }
        self.watchers.push(known);
        self.settled = None;
    }

    pub(super) fn window(&mut self, counts: bool) {
        let mut told = false;
        for announcement in self.roster.window(counts) {
            let data = data(announcement.frame.envelope());
            match announcement.kind {
                "presence_count" => self.counted = Some(data["count"].clone()),
                "presence_state" => self.watchers.iter_mut().for_each(|known| *known = state(&data)),
                _ => self.watchers.iter_mut().for_each(|known| sync_diff(known, &data)),
            }
            told |= announcement.kind != "presence_count";
        }
        let now = self.now();
        let users: BTreeSet<usize> = self.expected.iter().map(|it| it.user).collect();
        if counts && self.n_entries > 0 {
            assert_eq!(self.counted, Some(json!(users.len())), "the last number goes out");
        }
        if self.crowded() {
            self.settled = None;
            return;
        }
        if self.settled.as_ref() == Some(&now) {
            assert!(!told, "nothing has changed, and something was told");
        }
        let watchers = std::mem::take(&mut self.watchers);
        for known in &watchers {
            assert_eq!(self.versions(known), now, "a watcher knows who is there");
        }
        self.watchers = watchers;
        self.settled = Some(now);
    }

    fn crowded(&self) -> bool {
        self.roster.lock().topics.get(&self.key).is_some_and(|gathering| gathering.crowded)
    }

    /// The versions of entries that must be there.
    fn now(&self) -> BTreeSet<(usize, usize)> {
        self.expected.iter().map(|it| (it.number, it.version)).collect()
    }

    /// Which versions of entries a watcher knows. A reference is given to one version, and once; so an entry whose
    /// stream has come back has the same one as before.
    fn versions(&mut self, known: &Known) -> BTreeSet<(usize, usize)> {
        let mut versions = BTreeSet::new();
        for (user, metas) in known {
            for (phx_ref, meta) in metas {
                let found = self.names.get(phx_ref).copied().or_else(|| self.name(user, phx_ref, meta));
                versions.insert(found.unwrap_or_else(|| panic!("a ghost: {user} {meta}")));
            }
        }
        versions
    }

    fn name(&mut self, user: &str, phx_ref: &str, meta: &Value) -> Option<(usize, usize)> {
        let is_it = |it: &&Expected| {
            id(it.user).to_string() == user
                && meta["joined_at"] == it.joined_at.to_string()
                && meta["status"] == it.status
                && !self.named.contains(&(it.number, it.version))
        };
        let it = self.expected.iter().find(is_it)?;
        let version = (it.number, it.version);
        self.named.insert(version);
        self.names.insert(phx_ref.to_owned(), version);
        Some(version)
    }
}
