//! Rights that end while a stream is open, or while it opens.

use std::{rc::Rc, sync::PoisonError};

use serde_json::json;

use super::{
    Realtime,
    connection::Connection,
    effect::{Effect, Ending},
    event::{Key, visible},
    hub::Hub,
    subscription::Viewer,
};
use crate::error::{Error, Result};

impl Realtime {
    /// Ends what stands on rights that have ended, besides connections: in order, and each ending once, whichever
    /// hub comes first.
    pub(super) fn end_rights(&self) {
        let mut through = self.rights_through.lock().unwrap_or_else(PoisonError::into_inner);
        let head = self.log.head();
        let Some(endings) = self.log.endings(*through) else {
            // Nobody knows any more whose rights have ended, so nobody keeps any; who has some says so again.
            self.typing.forget_all();
            self.roster.forget_leases();
            *through = head;
            return;
        };
        for ending in endings {
            self.typing.take_effect(&ending);
            self.roster.take_effect(&ending);
            *through = ending.seq;
        }
    }
}

impl Realtime {
    /// Refuses what was begun on a topic if the right to it, which was looked at after the place `as_of`, or one of
    /// the `guards` has ended since: what ended before the thing had begun could not end it.
    pub(super) fn require_still(&self, key: &Key, viewer: Viewer, guards: &[Key], as_of: u64) -> Result<()> {
        let endings = self.log.endings(as_of).ok_or(Error::Overloaded)?;
        let ended = endings.iter().any(|ending| ending.takes(key, viewer, guards));
        if ended { Err(Error::NotFound("topic")) } else { Ok(()) }
    }
}

impl Hub {
    /// Applies what has ended rights since they were looked at, while the connection was not yet listening.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when that is longer ago than the memory reaches.
    pub(super) fn make_up_for(&self, as_of: u64, connection: &Rc<Connection>) -> Result<()> {
        self.make_up_for_some(as_of, connection, |_| true)
    }

    /// The same for some topics.
    ///
    /// # Errors
    /// As above.
    pub(super) fn make_up_for_some(
        &self,
        as_of: u64,
        connection: &Rc<Connection>,
        concerned: impl Fn(&Key) -> bool,
    ) -> Result<()> {
        let endings = self.log().endings(as_of).ok_or(Error::Overloaded)?;
        for ending in endings.into_iter().filter(|ending| concerned(&ending.topic)) {
            if ending.withdraws() {
                connection.withdraw(&ending);
            }
            if connection.listens_to(&ending.topic) {
                self.take_effect(&ending, connection);
            }
        }
        Ok(())
    }

    /// The log has moved on by more than it keeps in memory: every connection reads the part from the database.
    pub(super) fn skip_to_present(&self) {
        let delivered = self.head();
        self.state.borrow_mut().head = self.node.log.head();
        self.node.end_rights();
        for connection in &self.connections() {
            connection.catch_up_from(delivered);
            // The events can be read later, but rights that ended must end now.
            if self.make_up_for(delivered, connection).is_err() {
                connection.cut(self.notice("closing", &json!({ "reason": "overloaded" })));
            }
        }
    }

    /// Ends the rights that an event takes away, of those who listen to its topic and of those who have got earlier
    /// events of it through its feed: some of its followers, unless it has left the feed before.
    pub(super) fn end_rights(
        &self,
        ending: &Ending,
        listeners: &[Rc<Connection>],
        followers: &[Rc<Connection>],
    ) {
        self.node.end_rights();
        let all = if ending.effect == Effect::Withdraw { self.connections() } else { Vec::new() };
        for connection in all.iter().chain(followers) {
            connection.withdraw(ending);
        }
        for connection in listeners {
            self.take_effect(ending, connection);
        }
    }

    fn take_effect(&self, ending: &Ending, connection: &Rc<Connection>) {
        if connection.came_after(ending) {
            return;
        }
        if ending.effect == Effect::End && connection.is_guarded_by(&ending.topic) {
            // Who was signed out has left, unlike one whose stream was cut.
            self.depart(connection, |_| true);
            connection.cut(self.notice("closing", &json!({ "reason": &*ending.kind })));
        } else if ending.effect == Effect::End {
            self.close_topic(connection, &ending.topic, "deleted");
        } else if !ending.keeps(connection.viewer) {
            connection.state.borrow_mut().queue.forget(&ending.topic, ending.seq);
            self.close_topic(connection, &ending.topic, "not_permitted");
        }
    }

    fn close_topic(&self, connection: &Rc<Connection>, key: &Key, reason: &str) {
        self.depart(connection, |left| left == key);
        connection.remove(key);
        self.unlisten(key, connection);
        let data = json!({ "topic": visible(key), "reason": reason });
        connection.control(self.notice("topic_closed", &data));
    }
}
