//! What happens to a hub's connections besides events: their clients change them, time passes, the server stops.

use std::{rc::Rc, time::Duration};

use serde_json::json;
use tokio::sync::oneshot;

use super::{
    connection::Connection,
    event::{Frame, Key},
    hub::{Hub, MAX_TOPICS, TopicChange},
    subscription::Subscription,
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// How long before the end of its credentials a connection is warned.
const WARNING: Duration = Duration::from_mins(1);
/// In how many steps the streams are ended at shutdown.
const DRAIN_STEPS: u32 = 20;
impl Hub {
    /// Changes a connection of this hub; nothing when it is not here, or not the asker's.
    pub(super) fn change(&self, change: TopicChange) -> Option<Result<Vec<String>>> {
        let connection = self.state.borrow().connections.get(&change.connection).cloned()?;
        if connection.viewer.user != change.user {
            return None;
        }
        let add: Vec<Subscription> =
            change.add.into_iter().filter(|new| !connection.listens_to(&new.key)).collect();
        let staying = connection.topics().len();
        if staying + add.len() > MAX_TOPICS + change.remove.len() {
            return Some(Err(Error::invalid(
                "/add",
                format!("at most {MAX_TOPICS} topics on one connection"),
            )));
        }
        for key in change.remove.iter().filter(|key| !connection.is_guarded_by(key)) {
            self.depart(&connection, |left| left == key);
            connection.remove(key);
            self.unlisten(key, &connection);
        }
        let added: Vec<Key> = add.iter().map(|subscription| Key::clone(&subscription.key)).collect();
        for subscription in add {
            self.listen(Key::clone(&subscription.key), &connection);
            connection.add(subscription);
        }
        if let Some((guards, expires_at)) = change.renew {
            self.renew(&connection, guards, expires_at);
        }
        if let Err(error) = self.make_up_for(change.as_of, &connection) {
            connection.end(self.notice("closing", &json!({ "reason": "overloaded" })));
            return Some(Err(error));
        }
        let topics = connection.topics();
        let cursor = self.node.log.id(self.head());
        connection.control(self.notice("topics", &json!({ "topics": topics, "cursor": cursor })));
        for key in &added {
            self.show_board(key, &connection);
            self.attend(key, &connection, change.profile.as_ref());
        }
        Some(Ok(topics))
    }

    fn renew(&self, connection: &Rc<Connection>, guards: Vec<Subscription>, expires_at: Option<Timestamp>) {
        for old in connection.guards() {
            connection.remove(&old);
            self.unlisten(&old, connection);
        }
        for guard in guards {
            self.listen(Key::clone(&guard.key), connection);
            connection.add(guard);
        }
        let mut state = connection.state.borrow_mut();
        state.expires_at = expires_at;
        state.warned = false;
    }

    /// Heartbeats, warnings and ends that are due.
    pub(super) fn look_at_deadlines(&self) {
        let now = self.node.clock.now();
        let beat = self.notice("heartbeat", &json!({ "cursor": self.node.log.id(self.head()) }));
        for connection in self.state.borrow().connections.values() {
            let (expires_at, warned, next_heartbeat) = {
                let state = connection.state.borrow();
                (state.expires_at, state.warned, state.next_heartbeat)
            };
            if expires_at.is_some_and(|end| end <= now) {
                connection.end(self.notice("closing", &json!({ "reason": "credential_expired" })));
            } else if let Some(end) = expires_at.filter(|end| !warned && end.minus(WARNING) <= now) {
                connection.control(self.notice("auth_expiring", &json!({ "expires_at": end })));
                connection.state.borrow_mut().warned = true;
            }
            if next_heartbeat <= now {
                connection.beat(&beat);
                connection.state.borrow_mut().next_heartbeat = now.plus(self.node.tuning.heartbeat);
            }
        }
    }

    /// Ends the streams in steps, each client with a time of its own to come back, so that they do not all come
    /// at once.
    pub(super) async fn drain(self: Rc<Self>, done: oneshot::Sender<()>) {
        let connections: Vec<_> = self.state.borrow().connections.values().cloned().collect();
        let step = connections.len().div_ceil(DRAIN_STEPS as usize).max(1);
        for some in connections.chunks(step) {
            for connection in some {
                let retry = 1_000 + self.node.ids.next().as_u128() % 4_000;
                let data = json!({ "reason": "shutdown" });
                let retry = u64::try_from(retry).unwrap_or(1_000);
                connection.end(Frame::notice("closing", self.node.clock.now(), &data, Some(retry)));
            }
            tokio::time::sleep(self.node.tuning.drain / DRAIN_STEPS).await;
        }
        let _ = done.send(());
    }
}
