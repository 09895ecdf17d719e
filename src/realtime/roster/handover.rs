//! From one run of the server to the next: those who were there are there again, until they have had time to come
//! back. Their entries keep their names, so a client that reconnects sees that nothing has changed.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    super::event::{Json, Key},
    Entry, Gathering, Holder, Person, Roster,
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// Somebody on a topic.
#[derive(Serialize, Deserialize)]
struct Handed {
    topic: Box<str>,
    user: Uuid,
    profile: Box<RawValue>,
    entries: Vec<Entry>,
}

/// The same, as it is written.
#[derive(Serialize)]
struct Handing<'a> {
    topic: &'a str,
    user: Uuid,
    profile: &'a Json,
    entries: Vec<&'a Entry>,
}

impl Roster {
    /// Everybody who is there, in words for [`take_over`](Self::take_over); nothing where there is nobody.
    ///
    /// # Errors
    /// When what is there has no JSON form.
    pub fn hand_over(&self) -> Result<Option<Json>> {
        // Those who wait for their users are kept wherever they were: the other nodes may stop as well.
        let kept = |entry: &Entry| entry.holder.is_own() || entry.holder.is_waiting();
        let table = self.lock();
        let people = table.topics.iter().flat_map(|(topic, gathering)| {
            gathering.people.iter().map(|(user, person)| Handing {
                topic,
                user: *user,
                profile: &person.profile,
                entries: person.entries.iter().filter(|entry| kept(entry)).collect(),
            })
        });
        let all: Vec<Handing<'_>> = people.filter(|handing| !handing.entries.is_empty()).collect();
        (!all.is_empty()).then(|| Json::of(&all)).transpose()
    }

    /// Takes up those who were there. Whoever had a stream has until `back_by` to come back.
    ///
    /// # Errors
    /// When the words are not those of [`hand_over`](Self::hand_over).
    pub fn take_over(&self, words: &str, back_by: Timestamp) -> Result<()> {
        let unreadable = |error: serde_json::Error| Error::Internal(error.to_string());
        let all: Vec<Handed> = serde_json::from_str(words).map_err(unreadable)?;
        let mut table = self.lock();
        for Handed { topic, user, profile, entries } in all {
            let (key, profile) = (Key::from(topic), Json::stored(profile.get().to_owned())?);
            for entry in entries {
                let holder = match entry.holder {
                    lease @ Holder::Lease { .. } => lease,
                    Holder::Elsewhere { device: Some(device), promise: Some(promise), .. } => {
                        Holder::Lease { device, guards: promise.guards, until: promise.until }
                    }
                    _ => Holder::Gone(back_by),
                };
                // Nodes that stop at once hand over each other's as well; a lease is known as one to its own node alone.
                let same = |known: &Entry| known.meta.phx_ref == entry.meta.phx_ref;
                if table.entries(&key, user).any(same) {
                    if matches!(holder, Holder::Lease { .. }) {
                        table.hold(&key, user, same, &holder);
                    }
                    continue;
                }
                table.serial += 1;
                let id = table.serial;
                table.arm(&key, user, &holder, id);
                table.news.insert((Key::clone(&key), user));
                let gathering: &mut Gathering = table.topics.entry(Key::clone(&key)).or_default();
                let nobody = || Person { profile: profile.clone(), entries: Vec::new() };
                let person = gathering.people.entry(user).or_insert_with(nobody);
                person.entries.push(Entry::new(id, holder, entry.meta, entry.sees_all, entry.credential));
            }
            table.dirty.insert(key);
        }
        drop(table);
        self.changed.notify_one();
        Ok(())
    }
}
