//! What happens to a hub's connections besides events: their clients change them, time passes, the server stops.

use std::{collections::HashSet, rc::Rc, time::Duration};

use serde_json::json;
use tokio::sync::oneshot;

use super::{
    connection::{self, Connection, Mode},
    event::Key,
    frame::Frame,
    hub::{self, Hub, MAX_TOPICS, Renewal, TopicChange, too_many_topics},
    queue::QUEUE_BYTES,
    subscription::Subscription,
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// How long before the end of its credentials a connection is warned.
const WARNING: Duration = Duration::from_mins(1);
/// How many bytes may wait for a connection that is changed.
const BACKLOG: usize = 2 * QUEUE_BYTES;
/// In how many steps the streams are ended at shutdown.
const DRAIN_STEPS: u32 = 20;
/// How many connections that have gone may wait for a heartbeat, besides as many as there are.
const SPARE: usize = 1_024;
/// How often, and after which time each, one looks whether all streams have taken their last frames.
const LAST_LOOKS: u32 = 50;
const LAST_LOOK: Duration = Duration::from_millis(20);

/// A number of bytes as a figure.
#[expect(clippy::cast_precision_loss, reason = "a float is exact up to 8 PiB")]
fn precise(bytes: usize) -> f64 {
    bytes as f64
}

impl hub::State {
    /// Has a new connection, and sees to its deadlines from now on.
    pub(super) fn watch(&mut self, connection: &Rc<Connection>) {
        self.connections.insert(connection.id, Rc::clone(connection));
        if self.beats.len() > 2 * self.connections.len() + SPARE {
            self.beats.retain(|id| self.connections.contains_key(id));
        }
        self.beats.push_back(connection.id);
        self.expect(connection.state.borrow().credentials_due());
    }

    /// Sees to it that somebody's credentials are looked at in time.
    fn expect(&mut self, due: Option<Timestamp>) {
        self.credentials_due = self.credentials_due.into_iter().chain(due).min();
    }
}

impl connection::State {
    /// When the end of its credentials comes, or the warning of it.
    fn credentials_due(&self) -> Option<Timestamp> {
        self.expires_at.map(|end| if self.warned { end } else { end.minus(WARNING) })
    }
}

impl Hub {
    /// The connections of this moment.
    pub(super) fn connections(&self) -> Vec<Rc<Connection>> {
        self.state.borrow().connections.values().cloned().collect()
    }

    /// Changes a connection of this hub; nothing when it is not here, or not the asker's.
    pub(super) fn change(&self, change: TopicChange) -> Option<Result<Vec<String>>> {
        let connection = self.state.borrow().connections.get(&change.connection).cloned()?;
        if connection.viewer.user != change.user {
            return None;
        }
        if connection.backlog() > BACKLOG {
            return Some(Err(Error::Overloaded)); // Each change is told, and nobody takes it.
        }
        // A topic that was lost and is asked for anew is lost first, though this hub has not heard of it yet.
        let anew = |key: &Key| change.add.iter().any(|new| new.key == *key);
        if let Err(error) = self.make_up_for_some(self.head(), &connection, anew) {
            return Some(Err(error));
        }
        let add: Vec<Subscription> =
            change.add.into_iter().filter(|new| !connection.listens_to(&new.key)).collect();
        let leaves = |key: &&Key| connection.listens_to(key) && !connection.is_guarded_by(key);
        let remove: HashSet<&Key> = change.remove.iter().filter(leaves).collect();
        if connection.topics().len() + add.len() > MAX_TOPICS + remove.len() {
            return Some(Err(too_many_topics()));
        }
        for key in remove {
            self.depart(&connection, |left| left == key);
            connection.remove(key);
            self.unlisten(key, &connection);
        }
        let added: Vec<Key> = add.iter().map(|subscription| Key::clone(&subscription.key)).collect();
        for subscription in add {
            self.listen(Key::clone(&subscription.key), &connection);
            connection.add(subscription, change.as_of);
        }
        if let Some(renewal) = change.renew {
            self.renew(&connection, renewal, change.as_of);
        }
        if let Err(error) = self.make_up_for(change.as_of, &connection) {
            connection.end(self.notice("closing", &json!({ "reason": "overloaded" })));
            return Some(Err(error));
        }
        let topics = connection.topics();
        let cursor = self.node.log.id(self.head());
        connection.control(self.notice("topics", &json!({ "topics": topics, "cursor": cursor })));
        // The right to some of them may have ended a line before.
        for key in added.iter().filter(|key| connection.listens_to(key)) {
            self.show_board(key, &connection);
            self.attend(key, &connection, change.profile.as_ref());
        }
        self.send_to(&connection);
        Some(Ok(topics))
    }

    /// Puts fresh credentials in the place of those that the stream stands on. Others that let their user see more
    /// or less are no renewal: the stream goes on with its own.
    fn renew(&self, connection: &Rc<Connection>, renewal: Renewal, as_of: u64) {
        if renewal.viewer != connection.viewer {
            return;
        }
        for old in connection.guards() {
            connection.remove(&old);
            self.unlisten(&old, connection);
        }
        for guard in renewal.guards {
            self.listen(Key::clone(&guard.key), connection);
            connection.add(guard, as_of);
        }
        let mut state = connection.state.borrow_mut();
        state.expires_at = renewal.expires_at;
        state.warned = false;
        self.state.borrow_mut().expect(state.credentials_due());
    }

    /// Brings the figure of what waits for clients up to date; each hub adds its part.
    pub(super) fn report_backlog(&self) {
        let mut state = self.state.borrow_mut();
        let backlog: usize = state.connections.values().map(|connection| connection.backlog()).sum();
        let before = std::mem::replace(&mut state.backlog, backlog);
        let gauge = metrics::gauge!("snippetbox_stream_backlog_bytes");
        if backlog >= before {
            gauge.increment(precise(backlog - before));
        } else {
            gauge.decrement(precise(before - backlog));
        }
    }

    /// Heartbeats, warnings and ends that are due. Whoever is not due is not looked at: ten thousand idle connections
    /// are more than the processor's cache holds.
    pub(super) fn look_at_deadlines(&self) {
        let now = self.node.clock.now();
        if self.node.log.is_blind(&self.node.bus) {
            self.close_what_stands_on_rights();
        }
        if self.state.borrow().credentials_due.is_some_and(|due| due <= now) {
            self.look_at_credentials(now);
        }
        let beat = self.notice("heartbeat", &json!({ "cursor": self.node.log.id(self.head()) }));
        let most = self.state.borrow().beats.len();
        for connection in std::iter::from_fn(|| self.next_to_hear(now)).take(most) {
            connection.beat(&beat);
        }
    }

    /// Takes a connection whose heartbeat is due, and puts it at the end of those that wait for theirs.
    fn next_to_hear(&self, now: Timestamp) -> Option<Rc<Connection>> {
        let mut state = self.state.borrow_mut();
        let next = now.plus(self.node.tuning.heartbeat);
        while let Some(id) = state.beats.front().copied() {
            if let Some(connection) = state.connections.get(&id).cloned() {
                let due = connection.state.borrow().next_heartbeat;
                // One that lies further away was set before the clock was put back.
                if now < due && due <= next {
                    return None;
                }
                connection.state.borrow_mut().next_heartbeat = next;
                state.beats.rotate_left(1);
                return Some(connection);
            }
            state.beats.pop_front();
        }
        None
    }

    fn look_at_credentials(&self, now: Timestamp) {
        self.state.borrow_mut().credentials_due = None;
        for connection in self.connections() {
            let (expires_at, warned) = {
                let state = connection.state.borrow();
                (state.expires_at, state.warned)
            };
            if expires_at.is_some_and(|end| end <= now) {
                connection.end(self.notice("closing", &json!({ "reason": "credential_expired" })));
            } else if let Some(end) = expires_at.filter(|end| !warned && end.minus(WARNING) <= now) {
                connection.control(self.notice("auth_expiring", &json!({ "expires_at": end })));
                connection.state.borrow_mut().warned = true;
            }
            let due = connection.state.borrow().credentials_due();
            self.state.borrow_mut().expect(due.filter(|due| *due > now));
        }
    }

    /// Ends the streams of all who have credentials: they may have been revoked without this node knowing. Their
    /// clients go on at another node.
    fn close_what_stands_on_rights(&self) {
        let connections = self.connections();
        for connection in connections.iter().filter(|connection| !connection.guards().is_empty()) {
            if connection.state.borrow().mode != Mode::Ended {
                connection.cut(self.notice("closing", &json!({ "reason": "isolated" })));
            }
        }
    }

    /// Ends the streams in steps, each client with a time of its own to come back, so that they do not all come
    /// at once.
    pub(super) async fn drain(self: Rc<Self>, done: oneshot::Sender<()>) {
        let connections = self.connections();
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
        for _ in 0..LAST_LOOKS {
            if self.state.borrow().connections.is_empty() {
                break;
            }
            tokio::time::sleep(LAST_LOOK).await;
        }
        let _ = done.send(());
    }
}
