//! The newest events of the log in memory, so that delivery and nearly all resumes never touch the database.

use std::{collections::VecDeque, sync::Arc};

use uuid::Uuid;

use super::event::{Effect, Event, Key};

/// A contiguous end of the log, bounded by the bytes it holds.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    head: u64,
    bytes: usize,
    limit: usize,
}

/// The bookkeeping of an event besides its frames, roughly.
const OVERHEAD: usize = 256;

impl Ring {
    pub(super) fn new(head: u64, limit: usize) -> Self {
        Self { events: VecDeque::new(), head, bytes: 0, limit }
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
            self.bytes = 0;
        }
        if event.effect == Some(Effect::Withdraw) {
            self.withdraw(&event.topic, event.audience);
        }
        self.head = event.seq;
        self.bytes += event.size() + OVERHEAD;
        self.events.push_back(event);
        while self.bytes > self.limit && self.events.len() > 1 {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.size() + OVERHEAD;
            }
        }
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
