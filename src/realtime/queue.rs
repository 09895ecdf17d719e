//! What waits for one client, bounded by bytes and by number.

use std::{collections::VecDeque, sync::Arc};

use super::{
    event::{Event, Key},
    frame::Frame,
};

/// How many bytes of frames may wait for one connection; a single larger frame may wait alone.
pub(super) const QUEUE_BYTES: usize = 64 * 1024;
/// How many frames may wait for one connection.
const QUEUE_FRAMES: usize = 1_024;

/// Something that waits. When a right ends, what stands on it is taken out.
pub(super) enum Waiting {
    /// An event of the log, as those get it who listen to its own topic.
    Durable(Arc<Event>),
    /// An event of the log, as those get it who listen to its feed.
    Fed(Arc<Event>),
    /// An event of this kind on this topic that is not kept.
    Ephemeral(Key, Box<str>, Frame),
    /// Something about the stream itself.
    Control(Frame),
    /// Who is on a topic, to be looked up when the client takes it: a state that waits would be old and large.
    Roster(Key),
}

/// The queue of one connection. An empty one holds no memory.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<(Waiting, usize)>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_room(&self, size: usize) -> bool {
        let fits = self.bytes + size <= QUEUE_BYTES && self.waiting.len() < QUEUE_FRAMES;
        fits || self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, waiting: Waiting, size: usize) {
        self.bytes += size;
        self.waiting.push_back((waiting, size));
    }

    pub(super) fn pop(&mut self) -> Option<(Waiting, usize)> {
        let (waiting, size) = self.waiting.pop_front()?;
        self.bytes -= size;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some((waiting, size))
    }

    /// Puts back what was popped and could not be sent.
    pub(super) fn put_back(&mut self, waiting: Waiting, size: usize) {
        self.bytes += size;
        self.waiting.push_front((waiting, size));
    }

    pub(super) fn any(&self, is: impl Fn(&Waiting) -> bool) -> bool {
        self.waiting.iter().any(|(waiting, _)| is(waiting))
    }

    /// Takes out what is not to be kept.
    pub(super) fn sift(&mut self, keeps: impl Fn(&Waiting) -> bool) {
        self.waiting.retain(|(waiting, _)| keeps(waiting));
        self.bytes = self.waiting.iter().map(|(_, size)| size).sum();
    }

    /// The place of the first event of the log that waits.
    pub(super) fn first_place(&self) -> Option<u64> {
        self.waiting.iter().find_map(|(waiting, _)| match waiting {
            Waiting::Durable(event) | Waiting::Fed(event) => Some(event.seq),
            _ => None,
        })
    }

    /// Takes out everything of a topic.
    pub(super) fn forget(&mut self, topic: &Key) {
        self.sift(|waiting| match waiting {
            Waiting::Durable(event) | Waiting::Fed(event) => event.topic != *topic,
            Waiting::Ephemeral(key, ..) | Waiting::Roster(key) => key != topic,
            Waiting::Control(_) => true,
        });
    }

    /// Takes out the events of a topic that came before a place: all that came through its feed, and all others
    /// too unless they may still be seen.
    pub(super) fn withdraw(&mut self, topic: &Key, before: u64, seen: bool) {
        self.sift(|waiting| match waiting {
            Waiting::Durable(event) => seen || event.topic != *topic || event.seq >= before,
            Waiting::Fed(event) => event.topic != *topic || event.seq >= before,
            _ => true,
        });
    }

    /// Replaces the frame of the same kind on the same topic that waits; one that has no twin is lost.
    pub(super) fn replace(&mut self, topic: &Key, kind: &str, frame: &Frame) {
        let twin = self.waiting.iter_mut().rev().find_map(|(waiting, size)| match waiting {
            Waiting::Ephemeral(t, k, old) if t == topic && &**k == kind => Some((old, size)),
            _ => None,
        });
        if let Some((old, size)) = twin {
            *old = frame.clone();
            self.bytes = self.bytes + frame.size() - std::mem::replace(size, frame.size());
        }
    }
}
