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
    /// Whether nothing earlier is taken up any more: there was no room for some, or there are none.
    closed: bool,
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
        let fed = HashMap::new();
        Self { events, fed, head, bytes: 0, limit, closed: false, endings, endings_after: head }
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
        self.closed = true;
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

    /// Before which place events are missing that come after the place `after`; nothing when none are, or when they
    /// would not be taken up.
    pub(super) fn lacks(&self, after: u64) -> Option<u64> {
        let oldest = self.events.front().map_or(self.head + 1, |event| event.seq);
        (!self.closed && after + 1 < oldest).then_some(oldest)
    }

    /// Leaves everything earlier to the database.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Takes up events that come before all others, the newest first, as far as there is room for them. They were read
    /// when the newest event was that at the place `read_at`: if a topic has been withdrawn since, what was read may not
    /// show it, and nothing is taken up. Tells whether anything was.
    pub(super) fn prepend(&mut self, earlier: Vec<Arc<Event>>, read_at: u64) -> bool {
        let before = self.events.len();
        let withdrawn = |endings: Vec<Arc<Ending>>| endings.iter().any(|ending| ending.withdraws());
        let changed = self.endings(read_at).is_none_or(withdrawn);
        for event in earlier {
            let size = event.size() + OVERHEAD;
            if changed || self.lacks(event.seq - 1) != Some(event.seq + 1) {
                break;
            }
            if self.bytes + size > self.limit {
                self.closed = true;
                break;
            }
            self.bytes += size;
            if event.feed.is_some() {
                self.fed.entry(Key::clone(&event.topic)).or_default().push_front(event.seq);
            }
            self.events.push_front(event);
        }
        self.events.len() > before
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{OVERHEAD, Ring};
    use crate::{
        clock::Clock,
        realtime::{
            effect::EffectName,
            event::{Event, EventRow, Key},
        },
    };

    fn event(seq: u64, effect: Option<EffectName>) -> Arc<Event> {
        let row = EventRow {
            seq: i64::try_from(seq).unwrap(),
            r#type: "told".into(),
            topic: "topic".into(),
            feed: Some("feed".into()),
            audience: None,
            effect,
            subjects: None,
            actor: None,
            origin: None,
            payload: "{}".into(),
            at: Clock::system().now(),
        };
        Arc::new(Event::from_row("epoch", row).unwrap())
    }

    /// Events as they are read, the newest first.
    fn read(seqs: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
        seqs.rev().map(|seq| event(seq, None)).collect()
    }

    fn places(ring: &Ring, after: u64) -> Option<Vec<u64>> {
        Some(ring.after(after, 100)?.iter().map(|event| event.seq).collect())
    }

    #[test]
    fn earlier_events_come_before_the_others_without_a_hole() {
        let mut ring = Ring::new(10, 1 << 20);
        ring.push(event(11, None));
        assert_eq!((ring.lacks(3), places(&ring, 3)), (Some(11), None));
        assert!(!ring.prepend(read(5..=9), 11), "there is a hole");
        assert!(ring.prepend(read(7..=10), 11));
        assert_eq!((ring.lacks(3), places(&ring, 3)), (Some(7), None));
        assert!(ring.prepend(read(4..=6), 11));
        assert_eq!((ring.lacks(3), places(&ring, 3)), (None, Some((4..=11).collect())));
    }

    #[test]
    fn earlier_events_take_no_more_room_than_there_is() {
        let size = event(11, None).size() + OVERHEAD;
        let mut ring = Ring::new(10, 3 * size + size / 2);
        ring.push(event(11, None));
        assert!(ring.prepend(read(5..=10), 11));
        assert_eq!((ring.lacks(4), places(&ring, 8)), (None, Some(vec![9, 10, 11])));
        for seq in 12..=20 {
            ring.push(event(seq, None));
        }
        assert!(!ring.prepend(read(17..=17), 20), "it has forgotten that one");
        assert_eq!(places(&ring, 17), Some(vec![18, 19, 20]));
    }

    #[test]
    fn what_was_read_before_rights_ended_is_not_taken_up() {
        let mut ring = Ring::new(10, 1 << 20);
        let earlier = read(7..=10);
        ring.push(event(11, Some(EffectName::Withdraw)));
        assert!(!ring.prepend(earlier.clone(), 10), "it was read before the withdrawal");
        assert!(!ring.prepend(earlier.clone(), 9), "what happened behind that place is not known");
        assert!(ring.prepend(earlier, 11));
        assert!(ring.after(6, 1).unwrap()[0].feed.is_some(), "what was read since is as it was read");
        ring.push(event(12, Some(EffectName::Withdraw)));
        let on_the_feed = |event: &Arc<Event>| event.seq < 12 && event.feed == Some(Key::from("feed"));
        assert!(!ring.after(6, 100).unwrap().iter().any(on_the_feed), "a later withdrawal reaches them");
        let mut ring = Ring::new(10, 1 << 20);
        ring.prepend(read(7..=10), 10);
        ring.push(event(11, Some(EffectName::End)));
        assert!(!ring.after(6, 100).unwrap().iter().any(|event| event.seq < 11 && event.feed.is_some()));
    }
}
