//! Who looked at what: views are counted in memory and written behind, many at once.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{SnippetId, store};
use crate::{accounts::UserId, app::App, clock::Timestamp, credentials::Caller, dashboard, error::Result};

/// How long somebody who looks again is not counted again.
const REST: Duration = Duration::from_hours(1);
/// How many snippets one transaction writes down, so that other writers wait for milliseconds at most.
const STEP: usize = 256;
/// How many looks are remembered at most.
const REMEMBERED: usize = 100_000;

/// Somebody who looks at snippets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Viewer {
    User(UserId),
    Address(IpAddr),
}

impl Viewer {
    /// The user, or where an unknown caller's request comes from.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        caller.user().map_or(Self::Address(caller.address), Self::User)
    }
}

/// The views that are not written yet, and who was counted lately.
#[derive(Default)]
pub struct Views(Mutex<State>);

#[derive(Default)]
struct State {
    seen: HashMap<(SnippetId, Viewer), Timestamp>,
    /// In the order of the ids, in which the rows are locked: two nodes that write cannot block each other.
    pending: BTreeMap<SnippetId, i64>,
    /// The same views by the minutes in which they happened, for the dashboard.
    minutes: BTreeMap<i64, i64>,
}

/// Views that are to be written.
#[derive(Default)]
struct Counts {
    snippets: BTreeMap<SnippetId, i64>,
    minutes: BTreeMap<i64, i64>,
}

impl Views {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a view, unless the viewer was counted for this snippet within the last hour; tells whether it did.
    pub fn count(&self, snippet: SnippetId, viewer: Viewer, now: Timestamp) -> bool {
        let mut state = self.state();
        let counts = state.remember(snippet, viewer, now);
        if counts {
            *state.pending.entry(snippet).or_default() += 1;
            *state.minutes.entry(dashboard::minute(now)).or_default() += 1;
        }
        counts
    }

    /// Remembers a view that another node has counted.
    pub fn counted_elsewhere(&self, snippet: SnippetId, viewer: Viewer, now: Timestamp) {
        self.state().remember(snippet, viewer, now);
    }

    /// How many views of a snippet are not written yet.
    #[must_use]
    pub fn pending(&self, snippet: SnippetId) -> i64 {
        self.state().pending.get(&snippet).copied().unwrap_or_default()
    }

    /// Some of what is pending.
    fn next(&self) -> Counts {
        let state = self.state();
        let snippets: BTreeMap<_, _> = state.pending.iter().take(STEP).map(|(id, n)| (*id, *n)).collect();
        let mut left: i64 = snippets.values().sum();
        let mut minutes = BTreeMap::new();
        for (minute, count) in &state.minutes {
            let taken = left.min(*count);
            left -= taken;
            if taken > 0 {
                minutes.insert(*minute, taken);
            }
        }
        Counts { snippets, minutes }
    }

    fn written(&self, counts: Counts) {
        let mut state = self.state();
        subtract(&mut state.pending, counts.snippets);
        subtract(&mut state.minutes, counts.minutes);
    }
}

impl State {
    /// Notes that a viewer is counted; false when they were within the last hour.
    fn remember(&mut self, snippet: SnippetId, viewer: Viewer, now: Timestamp) -> bool {
        let rested = now.minus(REST);
        if self.seen.get(&(snippet, viewer)).is_some_and(|at| *at > rested) {
            return false;
        }
        if self.seen.len() >= REMEMBERED {
            self.seen.retain(|_, at| *at > rested);
            // Making little room would mean to search through all of them at the next view again.
            if self.seen.len() > REMEMBERED / 2 {
                self.seen.clear();
            }
        }
        self.seen.insert((snippet, viewer), now);
        true
    }
}

fn subtract<K: Ord>(pending: &mut BTreeMap<K, i64>, counts: BTreeMap<K, i64>) {
    for (key, count) in counts {
        if let Some(left) = pending.get_mut(&key) {
            *left -= count;
            if *left <= 0 {
                pending.remove(&key);
            }
        }
    }
}

/// Writes the views down. One task of a node calls this: two at once would write the same views twice.
///
/// The counts stay pending until they are committed, so that a failure loses none and no reader sees fewer.
pub async fn flush_views(app: &App) -> Result<()> {
    loop {
        let counts = app.views.next();
        if counts.snippets.is_empty() {
            return Ok(());
        }
        let mut tx = app.db.write().await?;
        for (snippet, count) in &counts.snippets {
            store::add_views(tx.conn().await?, *snippet, *count).await?;
        }
        for (minute, count) in &counts.minutes {
            dashboard::count_views(&mut tx, *minute, *count).await?;
        }
        tx.commit().await?;
        let full = counts.snippets.len() == STEP;
        app.views.written(counts);
        if !full {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use chrono::DateTime;
    use uuid::Uuid;

    use super::{REMEMBERED, Viewer, Views};
    use crate::{accounts::UserId, clock::Clock, snippets::SnippetId};

    #[test]
    fn a_viewer_counts_once_an_hour() {
        let (clock, views) = (Clock::manual(DateTime::UNIX_EPOCH), Views::default());
        let (one, other) = (SnippetId(Uuid::from_u128(1)), SnippetId(Uuid::from_u128(2)));
        let (ann, someone) = (Viewer::User(UserId(Uuid::nil())), Viewer::Address(Ipv4Addr::LOCALHOST.into()));
        for (snippet, viewer) in [(one, ann), (one, ann), (one, someone), (other, ann)] {
            views.count(snippet, viewer, clock.now());
        }
        assert_eq!((views.pending(one), views.pending(other)), (2, 1));
        clock.advance(Duration::from_mins(59));
        views.count(one, ann, clock.now());
        assert_eq!(views.pending(one), 2);
        clock.advance(Duration::from_mins(1));
        views.count(one, ann, clock.now());
        assert_eq!(views.pending(one), 3);
    }

    #[test]
    fn what_came_while_writing_stays_pending() {
        let (clock, views) = (Clock::manual(DateTime::UNIX_EPOCH), Views::default());
        let snippet = SnippetId(Uuid::from_u128(1));
        views.count(snippet, Viewer::User(UserId(Uuid::from_u128(1))), clock.now());
        let counts = views.next();
        views.count(snippet, Viewer::User(UserId(Uuid::from_u128(2))), clock.now());
        views.written(counts);
        assert_eq!(views.pending(snippet), 1);
    }

    #[test]
    fn the_memory_is_bounded() {
        let (clock, views) = (Clock::manual(DateTime::UNIX_EPOCH), Views::default());
        let snippet = SnippetId(Uuid::nil());
        for viewer in 0..=REMEMBERED as u128 {
            views.count(snippet, Viewer::User(UserId(Uuid::from_u128(viewer))), clock.now());
        }
        assert!(views.state().seen.len() <= REMEMBERED);
        assert_eq!(usize::try_from(views.pending(snippet)).unwrap(), REMEMBERED + 1);
    }
}
