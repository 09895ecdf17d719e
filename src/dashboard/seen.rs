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
    /// By their hours.
    pending: BTreeMap<i64, BTreeSet<UserId>>,
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
            state.pending.entry(hour).or_default().insert(user);
        }
    }

    fn next(&self) -> Option<(i64, Vec<UserId>)> {
        let state = self.state();
        let (hour, users) = state.pending.first_key_value()?;
        Some((*hour, users.iter().take(STEP).copied().collect()))
    }

    fn written(&self, hour: i64, some: &[UserId]) {
        let mut state = self.state();
        let Some(users) = state.pending.get_mut(&hour) else { return };
        for user in some {
            users.remove(user);
        }
        if users.is_empty() {
            state.pending.remove(&hour);
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
    while let Some((hour, users)) = app.dashboard.seen.next() {
        let mut tx = app.db.write().await?;
        let mut sightings: BTreeMap<i64, i64> = BTreeMap::new();
        for before in store::see(tx.conn().await?, &users, hour).await? {
            *sightings.entry(before).or_default() += 1;
        }
        for (before, users) in sightings {
            store::count_sightings(tx.conn().await?, hour, before, users).await?;
        }
        tx.commit().await?;
        app.dashboard.seen.written(hour, &users);
    }
    Ok(())
}
