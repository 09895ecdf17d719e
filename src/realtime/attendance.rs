//! What connections have to do with who is there: they come and go, and hear of the others.

use uuid::Uuid;

use super::{
    Realtime,
    connection::Connection,
    event::{Json, Key},
    frame::Frame,
    hub::Hub,
    queue::Waiting,
    roster::{Lease, Meta, Newcomer},
    subscription::{Presence, Viewer},
    typing,
};
use crate::error::Result;

impl Realtime {
    /// A client without a stream says that it is on a topic, whose right to it was looked at after the place
    /// `as_of` in the log. Answers with what others see of it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::error::Error::NotFound) when the right has ended since.
    pub fn lease(&self, key: &Key, newcomer: &Newcomer, lease: Lease, as_of: u64) -> Result<Meta> {
        let (device, guards) = (Key::clone(&lease.device), lease.guards.clone());
        let viewer = Viewer { user: Some(newcomer.user), sees_all: newcomer.sees_all };
        self.end_rights();
        let meta = self.roster.lease(key, newcomer, lease)?;
        let still = self.require_still(key, viewer, &guards, as_of);
        if still.is_err() {
            self.roster.end_lease(key, newcomer.user, &device);
        }
        still.map(|()| meta)
    }
}

impl Hub {
    /// A connection has begun to listen to a topic.
    pub(super) fn attend(&self, key: &Key, connection: &Connection, profile: Option<&Json>) {
        let presence = connection.state.borrow().presence;
        if presence == Presence::Off || !connection.gathers_on(key) {
            return;
        }
        let viewer = connection.viewer;
        if let (Presence::Track, Some(user), Some(profile)) = (presence, viewer.user, profile) {
            self.node.end_rights();
            let credential = connection.guards().into_iter().next();
            let newcomer = Newcomer { user, profile: profile.clone(), sees_all: viewer.sees_all, credential };
            self.node.roster.enter(key, &newcomer, connection.id);
        }
        connection.state.borrow_mut().enqueue(Waiting::Roster(Key::clone(key)), 0);
    }

    /// A connection leaves topics for good, while it still listens to them.
    pub(super) fn depart(&self, connection: &Connection, left: impl Fn(&Key) -> bool) {
        for (key, user) in connection.tracked().into_iter().filter(|(key, _)| left(key)) {
            self.node.roster.leave(&key, user, connection.id);
        }
    }

    /// A connection is gone, and perhaps comes back.
    pub(super) fn lose(&self, connection: &Connection) {
        self.node.close_typing(connection.id);
        if self.node.is_draining() {
            return; // Who goes because the server stops comes back to its next run, and has not left.
        }
        for (key, user) in connection.tracked() {
            self.node.roster.cut(&key, user, connection.id);
        }
    }

    /// Who is on a topic, for a connection that is ready to take it.
    pub(super) fn roster_for(&self, connection: &Connection, key: &Key) -> Option<Frame> {
        // The right may have ended while it waited.
        if !connection.gathers_on(key) {
            return None;
        }
        let state = connection.state.borrow();
        let told = self.node.roster.state(key, state.presence);
        match told {
            Ok((kind, frame)) => state.wants(kind).then_some(frame),
            Err(error) => {
                tracing::error!(%error, "who is there could not be told");
                None
            }
        }
    }

    /// Who is typing on a topic, for a connection that is ready to take it.
    pub(super) fn typing_for(&self, connection: &Connection, key: &Key) -> Option<Frame> {
        // The right may have ended while it waited.
        if !connection.listens_to(key) || !connection.state.borrow().wants(typing::KIND) {
            return None;
        }
        let told = self.node.typing.state(key);
        told.inspect_err(|error| tracing::error!(%error, "who is typing could not be told")).ok()
    }
}

impl Connection {
    fn gathers_on(&self, key: &Key) -> bool {
        self.state.borrow().subscriptions.iter().any(|s| s.gathers && s.key == *key)
    }

    /// The topics on which this connection's user is seen.
    fn tracked(&self) -> Vec<(Key, Uuid)> {
        let state = self.state.borrow();
        let user = self.viewer.user.filter(|_| state.presence == Presence::Track);
        let gathering = |user| {
            let keys = state.subscriptions.iter().filter(|s| s.gathers);
            keys.map(|s| (Key::clone(&s.key), user)).collect()
        };
        user.map(gathering).unwrap_or_default()
    }
}
