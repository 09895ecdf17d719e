//! Rights that end while a stream is open, or while it opens.

use std::rc::Rc;

use serde_json::json;

use super::{
    connection::Connection,
    effect::{Effect, Ending},
    event::{Key, visible},
    hub::Hub,
};
use crate::error::{Error, Result};

impl Hub {
    /// Applies what has ended rights since they were looked at, while the connection was not yet listening.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when that is longer ago than the memory reaches.
    pub(super) fn make_up_for(&self, as_of: u64, connection: &Rc<Connection>) -> Result<()> {
        for ending in self.log().endings(as_of).ok_or(Error::Overloaded)? {
            if connection.listens_to(&ending.topic) {
                self.take_effect(&ending, connection);
            }
        }
        Ok(())
    }

    pub(super) fn take_effect(&self, ending: &Ending, connection: &Rc<Connection>) {
        let viewer = connection.viewer;
        let keeps = match &ending.effect {
            Effect::Withdraw => viewer.may_see(ending.audience),
            Effect::Expel(user) => viewer.user != Some(*user),
            Effect::Restrict(users) => {
                viewer.sees_all || viewer.user.is_some_and(|user| users.contains(&user))
            }
            Effect::End if connection.is_guarded_by(&ending.topic) => {
                return connection.end(self.notice("closing", &json!({ "reason": &*ending.kind })));
            }
            Effect::End => return self.close_topic(connection, &ending.topic, "deleted"),
        };
        if !keeps {
            self.close_topic(connection, &ending.topic, "not_permitted");
        }
    }

    fn close_topic(&self, connection: &Rc<Connection>, key: &Key, reason: &str) {
        connection.remove(key);
        self.unlisten(key, connection);
        let data = json!({ "topic": visible(key), "reason": reason });
        connection.control(self.notice("topic_closed", &data));
    }
}
