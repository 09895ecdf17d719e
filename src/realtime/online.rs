//! Who has a stream open on this node.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

/// How many open streams each user has, and how many there are of nobody in particular.
#[derive(Default)]
pub(super) struct Online(Mutex<State>);

#[derive(Default)]
struct State {
    users: HashMap<Uuid, u64>,
    unknown: u64,
}

impl Online {
    pub(super) fn opened(&self, user: Option<Uuid>) {
        let mut state = self.state();
        match user {
            Some(user) => *state.users.entry(user).or_default() += 1,
            None => state.unknown += 1,
        }
    }

    pub(super) fn closed(&self, user: Option<Uuid>) {
        let mut state = self.state();
        let Some(user) = user else {
            state.unknown = state.unknown.saturating_sub(1);
            return;
        };
        if let Some(count) = state.users.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                state.users.remove(&user);
            }
        }
    }

    pub(super) fn users(&self) -> Vec<Uuid> {
        self.state().users.keys().copied().collect()
    }

    pub(super) fn count(&self) -> u64 {
        let state = self.state();
        state.users.len() as u64 + state.unknown
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
