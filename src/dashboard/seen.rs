//! Who was seen in which hour: noted in memory, and written behind.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Mutex, PoisonError},
};

use super::{figures::hour, store};
use crate::{accounts::UserId, app::App, clock::Timestamp, error::Result};

/// How many users are remembered; the database knows the rest.
const REMEMBERED: usize = 100_000;
/// How many users one transaction writes down, so that other writers wait for milliseconds at most.
const STEP: usize = 256;

/// Those who were seen in the present hour, and those of them who are not written down yet.
#[derive(Default)]
pub(super) struct Seen(Mutex<State>);

#[derive(Default)]
struct State {
    hour: i64,
    noted: HashSet<UserId>,
    /// In the order of the ids, in which rows are locked: two nodes that write cannot block each other.
    pending: BTreeSet<(UserId, i64)>,
}

impl Seen {
    pub(super) fn note(&self, user: UserId, now: Timestamp) {
        let mut state = self.state();
        let hour = hour(now);
        if state.hour != hour || state.noted.len() >= REMEMBERED {
            state.noted.clear();
            state.hour = hour;
        }
        if state.noted.insert(user) {
            state.pending.insert((user, hour));
        }
    }

    fn next(&self) -> Vec<(UserId, i64)> {
        self.state().pending.iter().take(STEP).copied().collect()
    }

    fn written(&self, some: &[(UserId, i64)]) {
        let mut state = self.state();
        for sighting in some {
            state.pending.remove(sighting);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down who was seen. What cannot be written stays for the next time.
pub async fn flush_seen(app: &App) -> Result<()> {
    let now = app.clock.now();
    // Whoever has a stream open is here, without asking for anything.
    for user in app.realtime.users_online() {
        app.dashboard.see(UserId(user), now);
    }
    loop {
        let some = app.dashboard.seen.next();
        if some.is_empty() {
            return Ok(());
        }
        let mut tx = app.db.write().await?;
        let mut sightings: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        for (user, hour) in &some {
            if let Some(before) = store::see(tx.conn().await?, *user, *hour).await? {
                *sightings.entry((*hour, before)).or_default() += 1;
            }
        }
        for ((hour, before), users) in sightings {
            store::count_sightings(tx.conn().await?, hour, before, users).await?;
        }
        tx.commit().await?;
        app.dashboard.seen.written(&some);
        if some.len() < STEP {
            return Ok(());
        }
    }
}
