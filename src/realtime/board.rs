//! What holds now: the newest value of everything that is state and not history, who types for instance.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use super::{event::Key, frame::Frame};

/// For each topic and each kind of state on it, the frame that tells it. What is empty is not kept.
#[derive(Default)]
pub(super) struct Board(Mutex<HashMap<Key, BTreeMap<Box<str>, Frame>>>);

impl Board {
    /// Replaces the value of one kind; nothing takes it down.
    pub(super) fn post(&self, topic: &Key, kind: &str, frame: Option<Frame>) {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(frame) = frame {
            topics.entry(Key::clone(topic)).or_default().insert(kind.into(), frame);
        } else if let Some(kinds) = topics.get_mut(topic) {
            kinds.remove(kind);
            if kinds.is_empty() {
                topics.remove(topic);
            }
        }
    }

    /// Everything that holds on a topic.
    pub(super) fn of(&self, topic: &Key) -> Vec<(Box<str>, Frame)> {
        let topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = topics.get(topic).into_iter().flatten();
        kinds.map(|(kind, frame)| (kind.clone(), frame.clone())).collect()
    }
}
