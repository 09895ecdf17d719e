//! The newest events of the log in memory, so that delivery and nearly all resumes never touch the database.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    effect::{Effect, Ending},
    event::{Event, Key},
};

/// A contiguous end of the log, bounded by the bytes it holds.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The places of those that are told on a feed, by topic: where a topic ends, nobody looks through all of them.
    fed: HashMap<Key, VecDeque<u64>>,
    head: u64,
    bytes: usize,
    limit: usize,
    /// What ended rights lately, complete for all places behind `endings_after`.
    endings: VecDeque<Arc<Ending>>,
    endings_after: u64,
}

/// The bookkeeping of an event besides its frames, roughly.
const OVERHEAD: usize = 256;
/// How many endings of rights are remembered: far more than come while one stream is opened.
const ENDINGS: usize = 4_096;

impl Ring {
    pub(super) fn new(head: u64, limit: usize) -> Self {
        let (events, endings) = (VecDeque::new(), VecDeque::new());
        Self { events, fed: HashMap::new(), head, bytes: 0, limit, endings, endings_after: head }
    }

    /// The place of the newest event.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Takes up the next event of the log. One that is known already is left alone; behind a hole (events that
    /// were trimmed before this node saw them) the ring starts anew, and readers of the hole go to the database.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        if event.seq <= self.head {
            return;
        }
        if event.seq > self.head + 1 {
            self.events.clear();
            self.fed.clear();
            self.bytes = 0;
            self.endings.clear();
            self.endings_after = event.seq - 1;
        }
        if let Some(ending) = &event.ending {
            self.remember(ending);
        }
        self.head = event.seq;
        self.bytes += event.size() + OVERHEAD;
        if event.feed.is_some() {
            self.fed.entry(Key::clone(&event.topic)).or_default().push_back(event.seq);
        }
        self.events.push_back(event);
        while self.bytes > self.limit && self.events.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.events.pop_front() else { return };
        self.bytes -= oldest.size() + OVERHEAD;
        if oldest.feed.is_some()
            && let Some(places) = self.fed.get_mut(&oldest.topic)
        {
            places.pop_front();
            if places.is_empty() {
                self.fed.remove(&oldest.topic);
            }
        }
    }

    /// Takes up an event if it comes in its turn, or is known; false when others are missing before it.
    pub(super) fn push_next(&mut self, event: Arc<Event>) -> bool {
        let in_turn = event.seq <= self.head + 1;
        if in_turn {
            self.push(event);
        }
        in_turn
    }

    /// At most `limit` events after the place `after`, or nothing when the ring no longer reaches back to it.
    pub(super) fn after(&self, after: u64, limit: usize) -> Option<Vec<Arc<Event>>> {
        if after >= self.head {
            return Some(Vec::new());
        }
        let oldest = self.events.front()?.seq;
        let skip = usize::try_from((after + 1).checked_sub(oldest)?).ok()?;
        Some(self.events.range(skip..).take(limit).cloned().collect())
    }

    /// How many events after the place `after` pass the filter, or nothing when the ring does not reach back.
    pub(super) fn count(&self, after: u64, filter: impl Fn(&Event) -> bool) -> Option<u64> {
        if after >= self.head {
            return Some(0);
        }
        let skip = usize::try_from((after + 1).checked_sub(self.events.front()?.seq)?).ok()?;
        u64::try_from(self.events.range(skip..).filter(|event| filter(event)).count()).ok()
    }

    /// What has ended rights after a place, or nothing when that is not known any more.
    pub(super) fn endings(&self, after: u64) -> Option<Vec<Arc<Ending>>> {
        let known = after >= self.endings_after;
        known.then(|| self.endings.iter().filter(|ending| ending.seq > after).cloned().collect())
    }

    fn remember(&mut self, ending: &Arc<Ending>) {
        let fed = if ending.withdraws() { self.fed.remove(&ending.topic) } else { None };
        match ending.effect {
            Effect::Withdraw => self.withdraw(&ending.topic, ending.audience),
            _ => self.take_from_feed(fed.unwrap_or_default()),
        }
        self.endings.push_back(Arc::clone(ending));
        if self.endings.len() > ENDINGS
            && let Some(oldest) = self.endings.pop_front()
        {
            self.endings_after = oldest.seq;
        }
    }

    fn take_from_feed(&mut self, places: VecDeque<u64>) {
        let Some(oldest) = self.events.front().map(|event| event.seq) else { return };
        for place in places {
            let index = place.checked_sub(oldest).and_then(|index| usize::try_from(index).ok());
            if let Some(event) = index.and_then(|index| self.events.get_mut(index)) {
                let withdrawn = event.withdrawn(None);
                self.bytes -= event.size() - withdrawn.size();
                *event = Arc::new(withdrawn);
            }
        }
    }

    fn withdraw(&mut self, topic: &Key, audience: Option<Uuid>) {
        for event in &mut self.events {
            if event.topic == *topic {
                let withdrawn = event.withdrawn(audience);
                self.bytes -= event.size() - withdrawn.size();
                *event = Arc::new(withdrawn);
            }
        }
    }
}
