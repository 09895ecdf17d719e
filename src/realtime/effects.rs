//! Rights that end: what an event does to the connections that listen to its topic.

use std::rc::Rc;

use serde_json::json;

use super::{
    connection::Connection,
    event::{Effect, Event, Key, visible},
    hub::Hub,
};
use crate::error::{Error, Result};

impl Hub {
    /// Applies what has ended rights since they were looked at, while the connection was not yet listening.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when that is longer ago than the memory reaches.
    pub(super) fn make_up_for(&self, as_of: u64, connection: &Rc<Connection>) -> Result<()> {
        let head = self.head();
        let missed = self.log().recent(as_of, usize::MAX).ok_or(Error::Overloaded)?;
        for event in missed.iter().take_while(|event| event.seq <= head) {
            if let Some(effect) = event.effect.as_ref().filter(|_| connection.listens_to(&event.topic)) {
                self.take_effect(effect, event, connection);
            }
        }
        Ok(())
    }

    pub(super) fn take_effect(&self, effect: &Effect, event: &Event, connection: &Rc<Connection>) {
        if *effect == Effect::End && connection.is_guarded_by(&event.topic) {
            return connection.end(self.notice("closing", &json!({ "reason": &*event.kind })));
        }
        if *effect == Effect::End {
            self.close_topic(connection, &event.topic, "deleted");
        } else if !effect.keeps(connection.viewer, event.audience) {
            self.close_topic(connection, &event.topic, "not_permitted");
        }
    }

    fn close_topic(&self, connection: &Rc<Connection>, key: &Key, reason: &str) {
        connection.remove(key);
        self.unlisten(key, connection);
        let data = json!({ "topic": visible(key), "reason": reason });
        connection.control(self.notice("topic_closed", &data));
    }
}
