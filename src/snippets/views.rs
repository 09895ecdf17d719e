//! Who looked at what: views are counted in memory and written behind, many at once.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{SnippetId, store};
use crate::{
    accounts::UserId, app::App, clock::Timestamp, credentials::Caller, dashboard, error::Result, limits,
};

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
    /// The user, or where an unknown caller's request comes from: of IPv6 the network, in which one subscriber has any
    /// number of addresses.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        caller.user().map_or(Self::Address(limits::subscriber(caller.address)), Self::User)
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
    /// What the rows say, or will say in a moment, of the snippets whose views are or were just written.
    written: HashMap<SnippetId, i64>,
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

    /// How many views a snippet has of which somebody has read a number in its row. Whether that was before or after
    /// the row was last written, the answer is the same.
    #[must_use]
    pub fn total(&self, snippet: SnippetId, read: i64) -> i64 {
        let state = self.state();
        let pending = state.pending.get(&snippet).copied().unwrap_or_default();
        read.max(state.written.get(&snippet).copied().unwrap_or_default()) + pending
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

    /// Takes what is about to be committed for written: from here on the rows say these numbers, or soon will.
    fn write(&self, counts: Counts, rows: HashMap<SnippetId, i64>) -> Writing<'_> {
        let mut state = self.state();
        for (snippet, count) in &counts.snippets {
            add(&mut state.pending, *snippet, -count);
        }
        for (minute, count) in &counts.minutes {
            add(&mut state.minutes, *minute, -count);
        }
        state.written.extend(rows);
        Writing { views: self, counts }
    }

    /// Forgets what the rows were last made to say: nobody has an older number in hand any more.
    fn settle(&self) {
        self.state().written.clear();
    }
}

/// Views on their way to the database. Whatever ends the way early, they are pending again.
struct Writing<'a> {
    views: &'a Views,
    counts: Counts,
}

impl Writing<'_> {
    fn done(mut self) {
        self.counts = Counts::default();
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut state = self.views.state();
        for (snippet, count) in std::mem::take(&mut self.counts.snippets) {
            add(&mut state.pending, snippet, count);
            state.written.remove(&snippet);
        }
        for (minute, count) in std::mem::take(&mut self.counts.minutes) {
            add(&mut state.minutes, minute, count);
        }
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

fn add<K: Ord + Copy>(pending: &mut BTreeMap<K, i64>, key: K, count: i64) {
    let sum = pending.entry(key).or_default();
    *sum += count;
    if *sum <= 0 {
        pending.remove(&key);
    }
}

/// Writes the views down. One task of a node calls this: two at once would write the same views twice.
///
/// A failure loses none, and no reader sees a number that is too high or goes down.
pub async fn flush_views(app: &App) -> Result<()> {
    app.views.settle();
    loop {
        let counts = app.views.next();
        if counts.snippets.is_empty() {
            return Ok(());
        }
        let (mut tx, mut rows) = (app.db.write().await?, HashMap::new());
        for (snippet, count) in &counts.snippets {
            let total = store::add_views(tx.conn().await?, *snippet, *count).await?;
            rows.extend(total.map(|total| (*snippet, total)));
        }
        for (minute, count) in &counts.minutes {
            dashboard::count_views(&mut tx, *minute, *count).await?;
        }
        let full = counts.snippets.len() == STEP;
        let writing = app.views.write(counts, rows);
        tx.commit().await?;
        writing.done();
        if !full {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

    use chrono::DateTime;
    use uuid::Uuid;

    use super::{REMEMBERED, Viewer, Views};
    use crate::{accounts::UserId, clock::Clock, credentials::Caller, snippets::SnippetId};

    #[test]
    fn a_viewer_counts_once_an_hour() {
        let (clock, views) = (Clock::manual(DateTime::UNIX_EPOCH), Views::default());
        let (one, other) = (SnippetId(Uuid::from_u128(1)), SnippetId(Uuid::from_u128(2)));
        let (ann, someone) = (Viewer::User(UserId(Uuid::nil())), Viewer::Address(Ipv4Addr::LOCALHOST.into()));
        for (snippet, viewer) in [(one, ann), (one, ann), (one, someone), (other, ann)] {
            views.count(snippet, viewer, clock.now());
        }
        assert_eq!((views.total(one, 0), views.total(other, 0)), (2, 1));
        clock.advance(Duration::from_mins(59));
        views.count(one, ann, clock.now());
        assert_eq!(views.total(one, 0), 2);
        clock.advance(Duration::from_mins(1));
        views.count(one, ann, clock.now());
        assert_eq!(views.total(one, 0), 3);
    }

    #[test]
    fn a_number_is_the_same_before_and_after_it_is_written() {
        let (clock, views) = (Clock::manual(DateTime::UNIX_EPOCH), Views::default());
        let snippet = SnippetId(Uuid::from_u128(1));
        let look = |user| views.count(snippet, Viewer::User(UserId(Uuid::from_u128(user))), clock.now());
        look(1);
        look(2);
        assert_eq!(views.total(snippet, 5), 7);
        let counts = views.next();
        look(3); // While the others are written.
        let writing = views.write(counts, HashMap::from([(snippet, 7)]));
        assert_eq!((views.total(snippet, 5), views.total(snippet, 7)), (8, 8));
        writing.done();
        assert_eq!(
            (views.total(snippet, 5), views.total(snippet, 7)),
            (8, 8),
            "5 was read before the commit"
        );
        views.settle();
        drop(views.write(views.next(), HashMap::from([(snippet, 8)]))); // The database refuses.
        assert_eq!(views.total(snippet, 7), 8);
        assert_eq!(views.next().snippets[&snippet], 1, "it is tried again");
    }

    #[test]
    fn the_addresses_of_one_network_are_one_viewer() {
        let of = |address: &str| {
            Viewer::of(&Caller {
                identity: None,
                address: address.parse().unwrap(),
                as_of: 0,
                connection: None,
            })
        };
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (clock, views) = (Clock::manual(DateTime::UNIX_EPOCH), Views::default());
        let snippet = SnippetId(Uuid::nil());
        for viewer in 0..=REMEMBERED as u128 {
            views.count(snippet, Viewer::User(UserId(Uuid::from_u128(viewer))), clock.now());
        }
        assert!(views.state().seen.len() <= REMEMBERED);
        assert_eq!(usize::try_from(views.total(snippet, 0)).unwrap(), REMEMBERED + 1);
    }
}
