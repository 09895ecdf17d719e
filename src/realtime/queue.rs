//! What waits for one client, bounded by bytes and by number.

use std::{collections::VecDeque, sync::Arc};

use super::{
    ephemeral::Ephemeral,
    event::{Event, Key, Way},
    frame::Frame,
};

/// How many bytes of frames may wait for one connection; a single larger frame may wait alone. With all that a connection
/// needs besides, one that takes nothing stays below 64 KiB.
pub(super) const QUEUE_BYTES: usize = 56 * 1024;
/// How many frames may wait for one connection.
const QUEUE_FRAMES: usize = 1_024;

/// Something that waits. When a right ends, what stands on it is taken out.
pub(super) enum Waiting {
    /// An event of the log.
    Durable(Arc<Event>, Way),
    /// An event that is not kept.
    Ephemeral(Arc<Ephemeral>),
    /// Something about the stream itself.
    Control(Frame),
    /// Who is on a topic, to be looked up when the client takes it: a state that waits would be old and large.
    Roster(Key),
    /// Who is typing on a topic, to be looked up too: of what the queue has no room for, or what is over.
    Typing(Key),
}

/// The queue of one connection. One that is empty, or holds a single frame, needs no memory of its own: nearly all
/// frames come into an empty queue and are sent at once.
#[derive(Default)]
pub(super) struct Queue {
    first: Option<(Waiting, usize)>,
    /// What waits behind the first.
    rest: VecDeque<(Waiting, usize)>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &(Waiting, usize)> {
        self.first.iter().chain(&self.rest)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_room(&self, size: usize) -> bool {
        let fits = self.bytes + size <= QUEUE_BYTES && self.rest.len() < QUEUE_FRAMES - 1;
        fits || self.is_empty()
    }

    pub(super) fn push(&mut self, waiting: Waiting, size: usize) {
        self.bytes += size;
        if self.first.is_none() {
            self.first = Some((waiting, size));
        } else {
            self.rest.push_back((waiting, size));
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Waiting, usize)> {
        let (waiting, size) = self.first.take()?;
        self.bytes -= size;
        self.first = self.rest.pop_front();
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        Some((waiting, size))
    }

    /// Puts back what was popped and could not be sent.
    pub(super) fn put_back(&mut self, waiting: Waiting, size: usize) {
        self.bytes += size;
        if let Some(second) = self.first.replace((waiting, size)) {
            self.rest.push_front(second);
        }
    }

    pub(super) fn any(&self, is: impl Fn(&Waiting) -> bool) -> bool {
        self.iter().any(|(waiting, _)| is(waiting))
    }

    /// Takes out what is not to be kept.
    pub(super) fn sift(&mut self, keeps: impl Fn(&Waiting) -> bool) {
        self.rest.retain(|(waiting, _)| keeps(waiting));
        if self.first.as_ref().is_some_and(|(waiting, _)| !keeps(waiting)) {
            self.first = self.rest.pop_front();
        }
        self.bytes = self.iter().map(|(_, size)| size).sum();
    }

    /// The place of the first event of the log that waits.
    pub(super) fn first_place(&self) -> Option<u64> {
        self.iter().find_map(|(waiting, _)| match waiting {
            Waiting::Durable(event, _) => Some(event.seq),
            _ => None,
        })
    }

    /// Takes out everything of a topic that came before a place: the event there may tell why.
    pub(super) fn forget(&mut self, topic: &Key, before: u64) {
        self.sift(|waiting| match waiting {
            Waiting::Durable(event, _) => event.topic != *topic || event.seq >= before,
            Waiting::Ephemeral(it) => it.topic != *topic,
            Waiting::Roster(key) | Waiting::Typing(key) => key != topic,
            Waiting::Control(_) => true,
        });
    }

    /// Takes out the events of a topic that came before a place: all that came through its feed, and all others
    /// too unless they may still be seen.
    pub(super) fn withdraw(&mut self, topic: &Key, before: u64, seen: bool) {
        self.sift(|waiting| match waiting {
            Waiting::Durable(event, way) => {
                (seen && *way == Way::Topic) || event.topic != *topic || event.seq >= before
            }
            _ => true,
        });
    }

    /// Replaces the frame of the same kind on the same topic that waits; tells whether there is one.
    pub(super) fn replace(&mut self, new: &Arc<Ephemeral>) -> bool {
        let all = self.first.iter_mut().chain(&mut self.rest);
        let twin = all.rev().find_map(|(waiting, size)| match waiting {
            Waiting::Ephemeral(old) if old.topic == new.topic && old.kind == new.kind => Some((old, size)),
            _ => None,
        });
        let Some((old, size)) = twin else { return false };
        *old = Arc::clone(new);
        self.bytes = self.bytes + new.frame.size() - std::mem::replace(size, new.frame.size());
        true
    }
}
