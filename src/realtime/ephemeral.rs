//! What is not kept: it reaches who is there, and of what waits for a slow reader the newest is enough.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Command, Realtime,
    connection::{Connection, Waiting},
    event::{Frame, Key},
    hub::{Hub, SLICE},
    roster::{Announcement, Audience},
    subscription::Presence,
};

/// An event that is not kept: it reaches who is there.
#[derive(Debug, Clone)]
pub struct Ephemeral {
    /// The topic.
    pub topic: Key,
    /// The name.
    pub kind: Box<str>,
    /// The connection that caused it.
    pub origin: Option<Uuid>,
    /// The encoded event.
    pub frame: Frame,
}

impl Realtime {
    /// Tells those who are connected now. A hub that has thousands of commands waiting misses it: what is not kept
    /// may be lost, and must not hold up the caller.
    pub fn tell(&self, ephemeral: Ephemeral) {
        let ephemeral = Arc::new(ephemeral);
        for hub in self.hubs() {
            if hub.try_send(Command::Tell(Arc::clone(&ephemeral))).is_err() {
                metrics::counter!("snippetbox_ephemeral_dropped_total").increment(1);
            }
        }
    }

    /// Tells the present state of something on a topic, as [`tell`](Self::tell) does. While it `holds`, whoever
    /// comes later is told right after `ready`; a state that is told as over (nobody types) does not hold.
    pub fn show(&self, ephemeral: Ephemeral, holds: bool) {
        let kept = holds.then(|| ephemeral.frame.clone());
        self.board.post(&ephemeral.topic, &ephemeral.kind, kept);
        self.tell(ephemeral);
    }

    /// Hands something about who is there to the hubs; tells whether all of them have taken it.
    pub(super) fn announce(&self, announcement: &Arc<Announcement>) -> bool {
        let missed =
            |hub: &&mpsc::Sender<Command>| hub.try_send(Command::Announce(Arc::clone(announcement))).is_err();
        // All of them are tried: one that has no room must not keep it from the others.
        let n_missed = self.hubs().iter().filter(missed).count();
        metrics::counter!("snippetbox_ephemeral_dropped_total").increment(n_missed as u64);
        n_missed == 0
    }
}

impl Hub {
    pub(super) async fn tell(&self, ephemeral: &Ephemeral) {
        let Some(listeners) = self.listeners(&ephemeral.topic) else { return };
        for slice in listeners.chunks(SLICE) {
            for connection in slice {
                connection.tell(&ephemeral.topic, &ephemeral.kind, ephemeral.origin, &ephemeral.frame);
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn announce(&self, announcement: &Announcement) {
        let Some(listeners) = self.listeners(&announcement.topic) else { return };
        for slice in listeners.chunks(SLICE) {
            for connection in slice {
                connection.hear(announcement);
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Connection {
    /// Hands over something about who is there. Where the queue is full, the whole state takes the place of what
    /// waits: nothing is missed, and what waits does not grow.
    fn hear(&self, announcement: &Announcement) {
        let Announcement { topic, audience, kind, frame } = announcement;
        let mut state = self.state.borrow_mut();
        let concerned = match state.presence {
            Presence::Track | Presence::Observe => *audience != Audience::Counters,
            Presence::Count => *audience != Audience::Watchers,
            Presence::Off => false,
        };
        if !concerned || !state.wants(kind) {
            return;
        }
        let whole_waits = |waiting: &Waiting| matches!(waiting, Waiting::Roster(key) if key == topic);
        if state.queue.iter().any(whole_waits) {
            return;
        }
        if state.has_room(frame) {
            state.push(Waiting::Ephemeral(Key::clone(topic), (*kind).into(), frame.clone()));
            return;
        }
        let about_it = |waiting: &Waiting| matches!(waiting, Waiting::Ephemeral(key, kind, _) if key == topic && kind.starts_with("presence_"));
        state.sift(|waiting| !about_it(waiting));
        state.push(Waiting::Roster(Key::clone(topic)));
    }

    /// Hands over an event that is not kept. Where the queue is full, it replaces the one of its kind or is lost.
    pub(super) fn tell(&self, topic: &Key, kind: &str, origin: Option<Uuid>, frame: &Frame) {
        let mut state = self.state.borrow_mut();
        if !state.wants(kind) || (!state.echo && origin == Some(self.id)) {
            return;
        }
        if state.has_room(frame) {
            state.push(Waiting::Ephemeral(Key::clone(topic), kind.into(), frame.clone()));
            return;
        }
        let twin = state.queue.iter_mut().rev().find_map(|waiting| match waiting {
            Waiting::Ephemeral(t, k, old) if t == topic && &**k == kind => Some(old),
            _ => None,
        });
        if let Some(old) = twin {
            let old_size = std::mem::replace(old, frame.clone()).size();
            state.queued_bytes = state.queued_bytes + frame.size() - old_size;
        }
    }
}
