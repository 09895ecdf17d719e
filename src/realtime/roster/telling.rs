//! What the watchers of a topic are told: the state once, and then what changed, gathered in windows.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    super::{
        Realtime,
        event::{Json, Key, visible},
        frame::{Envelope, Frame},
        subscription::Presence,
    },
    Gathering, Roster, Table,
};
use crate::error::Result;

/// How long joins and leaves are gathered into one diff.
const WINDOW: Duration = Duration::from_millis(100);
/// The shortest time between two numbers that are told of one topic.
const COUNTS: Duration = Duration::from_millis(500);

/// Who of the watchers of a topic is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Audience {
    /// Those who watch everybody.
    Watchers,
    /// Those who watch the number alone.
    Counters,
    /// Both.
    All,
}

/// Something about who is on a topic, for those who listen to it.
#[derive(Debug)]
pub(in super::super) struct Announcement {
    pub(in super::super) topic: Key,
    pub(in super::super) audience: Audience,
    pub(in super::super) kind: &'static str,
    pub(in super::super) frame: Frame,
}

impl Roster {
    /// What somebody who comes to a topic must know first, and its name. All that changes afterwards they are told
    /// like everybody else.
    pub(in super::super) fn state(&self, key: &Key, presence: Presence) -> Result<(&'static str, Frame)> {
        let mut table = self.lock();
        let mut nobody = Gathering::default();
        let gathering = table.topics.get_mut(key).unwrap_or(&mut nobody);
        gathering.weigh(self.rules.limit);
        let (kind, data) = if gathering.crowded || presence == Presence::Count {
            ("presence_count", count(gathering)?)
        } else {
            ("presence_state", gathering.state()?)
        };
        drop(table);
        Ok((kind, self.frame(key, kind, &data)?))
    }

    /// Tells the hubs what has changed, window by window, for as long as the server runs; with nothing to tell and
    /// nobody's time to come it sleeps.
    pub(in super::super) async fn run(&self, node: &Realtime) {
        let mut counted = tokio::time::Instant::now();
        loop {
            self.changed.notified().await;
            while !self.is_idle() {
                // At once, because whoever was cut may be back at another node before the window ends.
                node.nodes.tell_changes(&node.bus, self);
                tokio::time::sleep(WINDOW).await;
                let counts = counted.elapsed() >= COUNTS;
                if counts {
                    counted = tokio::time::Instant::now();
                }
                node.nodes.tell_changes(&node.bus, self);
                let announcements = Arc::new(self.window(counts));
                if !announcements.is_empty() && !node.announce(&announcements) {
                    announcements.iter().for_each(|missed| self.tell_whole(&missed.topic));
                }
            }
        }
    }

    /// Closes a window: everything that has changed in it, and the numbers too if it is time for them.
    pub(super) fn window(&self, counts: bool) -> Vec<Announcement> {
        let dirty = std::mem::take(&mut self.lock().dirty);
        let mut announcements = Vec::new();
        for key in dirty {
            // Locked for each topic anew: many topics must not keep those waiting who come meanwhile.
            if let Err(error) = self.close(&mut self.lock(), &key, counts, &mut announcements) {
                tracing::error!(%error, "who is there could not be told");
            }
        }
        announcements
    }

    fn close(&self, table: &mut Table, key: &Key, counts: bool, out: &mut Vec<Announcement>) -> Result<()> {
        let Some(gathering) = table.topics.get_mut(key) else { return Ok(()) };
        let mut tell = |audience, kind, data: &Json| -> Result<()> {
            let (topic, frame) = (Key::clone(key), self.frame(key, kind, data)?);
            out.push(Announcement { topic, audience, kind, frame });
            Ok(())
        };
        gathering.weigh(self.rules.limit);
        if !gathering.crowded && gathering.whole {
            tell(Audience::Watchers, "presence_state", &gathering.whole_state()?)?;
        } else if !gathering.crowded
            && let Some(diff) = gathering.diff()?
        {
            tell(Audience::Watchers, "presence_diff", &diff)?;
        }
        let counted = gathering.counted == Some(gathering.count());
        if !counted && counts {
            let audience = if gathering.crowded { Audience::All } else { Audience::Counters };
            tell(audience, "presence_count", &count(gathering)?)?;
            gathering.counted = Some(gathering.count());
        }
        if gathering.is_over() {
            table.topics.remove(key);
        } else if !counted && !counts {
            table.dirty.insert(Key::clone(key));
        }
        Ok(())
    }

    /// Somebody has missed something of a topic: with the next window, all its watchers get the whole.
    pub(super) fn tell_whole(&self, key: &Key) {
        let mut table = self.lock();
        let gathering = table.topics.entry(Key::clone(key)).or_default();
        (gathering.whole, gathering.counted) = (true, None);
        table.dirty.insert(Key::clone(key));
    }

    fn is_idle(&self) -> bool {
        let table = self.lock();
        table.dirty.is_empty() && table.deadlines.is_empty()
    }

    fn frame(&self, key: &Key, kind: &'static str, data: &Json) -> Result<Frame> {
        let topic = Some(visible(key));
        Frame::encode(&Envelope { id: None, kind, topic, at: self.clock.now(), actor: None, data }, None)
    }
}

fn count(gathering: &Gathering) -> Result<Json> {
    Json::of(&json!({ "count": gathering.count() }))
}
