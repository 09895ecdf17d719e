//! The hub of one worker: which of its connections listen to what, and the task that brings them the events.
//!
//! A hub lives on one thread with its connections, so nothing here is locked. It reads the log like any other
//! reader, from its own position on, and needs no inbox for events: what it has not delivered yet is in the log.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{
    Lines, Realtime,
    connection::Connection,
    delivery::BATCH,
    event::{Json, Key},
    frame::Frame,
    history::{Page, Start},
    log::Log,
    queue::Waiting,
    socket::Sending,
    stream::ConnectionStream,
    subscription::{Subscription, Viewer, Wishes},
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// How often deadlines of connections are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often the figures are brought up to date.
const FIGURES: Duration = Duration::from_secs(4);
/// How long a connection waits for a database that is away before it asks again.
const RETRY: Duration = Duration::from_secs(1);
/// How many topics one connection may listen to.
pub const MAX_TOPICS: usize = 100;

/// What is said of a connection that wants to listen to more.
pub(super) fn too_many_topics() -> Error {
    Error::invalid("/add", format!("at most {MAX_TOPICS} topics on one connection"))
}

type Listeners = Rc<Vec<Rc<Connection>>>;

/// The connections of one worker.
pub struct Hub {
    pub(super) node: Arc<Realtime>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) head: u64,
    /// The backlog of all connections, as the figures last said it.
    pub(super) backlog: usize,
    pub(super) connections: HashMap<Uuid, Rc<Connection>>,
    /// All connections, and some that have gone, in the order of their next heartbeats.
    pub(super) beats: VecDeque<Uuid>,
    /// Before this moment nobody's credentials end, and nobody has to be warned that they will.
    pub(super) credentials_due: Option<Timestamp>,
    /// Room for what goes out in one system call, kept because making it would cost more than filling it.
    pub(super) sending: Vec<Sending>,
    /// Copied on write, so that a delivery in slices goes over the listeners of its beginning.
    topics: HashMap<Key, Listeners>,
}

/// A connection that is about to begin.
pub struct Opening {
    /// Who reads.
    pub viewer: Viewer,
    /// What it listens to, guards included.
    pub subscriptions: Vec<Subscription>,
    /// What it wants to hear.
    pub wishes: Wishes,
    /// What others see of the user.
    pub profile: Option<Json>,
    /// Where it begins.
    pub start: Start,
    /// The place in the log before the viewer's rights were looked at.
    pub as_of: u64,
    /// Topics of which its client may know from before who is typing: it is told who is now, even where nobody is.
    pub recalled: Vec<Key>,
    /// When its credentials end.
    pub expires_at: Option<Timestamp>,
}

/// A change of an open connection, asked for by its user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopicChange {
    /// The connection.
    pub connection: Uuid,
    /// Who asks; only the connection's own user may.
    pub user: Option<Uuid>,
    /// The place in the log before the user's rights were looked at.
    pub as_of: u64,
    /// What it will listen to as well.
    pub add: Vec<Subscription>,
    /// What others see of the user.
    pub profile: Option<Json>,
    /// What it will no longer listen to.
    pub remove: Vec<Key>,
    /// The fresh credentials with which the request came, if they are good for the stream.
    pub renew: Option<Renewal>,
}

/// Credentials that take the place of those with which a stream was opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Renewal {
    /// What they let their user see.
    pub viewer: Viewer,
    /// What they stand on.
    pub guards: Vec<Subscription>,
    /// When they end.
    pub expires_at: Option<Timestamp>,
}

impl Hub {
    /// Starts the hub of this thread.
    #[must_use]
    pub fn start(node: &Arc<Realtime>) -> Rc<Self> {
        let lines = node.attach();
        let state = State {
            head: node.log.head(),
            backlog: 0,
            connections: HashMap::new(),
            beats: VecDeque::new(),
            credentials_due: None,
            sending: Vec::new(),
            topics: HashMap::new(),
        };
        let hub = Rc::new(Self { node: Arc::clone(node), state: RefCell::new(state) });
        tokio::task::spawn_local(Rc::clone(&hub).run(lines));
        hub
    }

    /// Opens a connection. Its first frame is the one that `ready` makes of its id and the place from which on it
    /// gets what is new; from this call on it misses nothing.
    ///
    /// # Errors
    /// When the server is about to stop.
    pub fn open(
        self: &Rc<Self>,
        mut opening: Opening,
        ready: impl FnOnce(Uuid, u64) -> Frame,
    ) -> Result<ConnectionStream> {
        self.node.admit()?;
        let head = self.head();
        let position = match opening.start {
            Start::After(place) => place,
            // What is committed already is not new, even where this hub has not heard of it yet.
            Start::Fresh(place) => place.max(head),
            Start::Gap => head,
        };
        for subscription in &mut opening.subscriptions {
            subscription.key = self.common(&subscription.key);
        }
        let id = self.node.ids.next();
        let first = ready(id, head.max(position));
        let (now, heartbeat) = (self.node.clock.now(), self.node.tuning.heartbeat);
        let (gap, as_of, profile) = (opening.start == Start::Gap, opening.as_of, opening.profile.clone());
        let keys: Vec<Key> = opening.subscriptions.iter().map(|s| Key::clone(&s.key)).collect();
        let recalled = std::mem::take(&mut opening.recalled);
        let connection = Rc::new(Connection::new(id, opening, position, now, heartbeat));
        connection.control(first);
        if gap {
            self.skip_gap(&connection);
        }
        for key in recalled {
            connection.state.borrow_mut().enqueue(Waiting::Typing(key), 0);
        }
        for key in keys {
            self.listen(Key::clone(&key), &connection);
            self.show_board(&key, &connection);
            self.attend(&key, &connection, profile.as_ref());
        }
        self.state.borrow_mut().watch(&connection);
        self.node.online.opened(connection.viewer.user);
        let stream = ConnectionStream::new(Rc::clone(self), Rc::clone(&connection));
        if let Err(error) = self.make_up_for(as_of, &connection) {
            // Whoever was not let in has not been there: no grace.
            self.depart(&connection, |_| true);
            return Err(error);
        }
        Ok(stream)
    }

    /// The same key as the other listeners have it, so that a delivery finds it in the processor's cache.
    fn common(&self, key: &Key) -> Key {
        let state = self.state.borrow();
        Key::clone(state.topics.get_key_value(key).map_or(key, |(common, _)| common))
    }

    /// Hands over what holds now on a topic.
    pub(super) fn show_board(&self, key: &Key, connection: &Connection) {
        for (kind, frame) in self.node.board.of(key) {
            connection.show(key, &kind, &frame);
        }
    }

    /// The place up to which this hub has delivered.
    pub(super) fn head(&self) -> u64 {
        self.state.borrow().head
    }

    pub(super) fn log(&self) -> &Log {
        &self.node.log
    }

    /// Reads a part of the log for a connection. While the database is away it waits, and its stream stays.
    pub(super) async fn read(
        self: Rc<Self>,
        keys: Vec<Key>,
        after: u64,
        through: u64,
    ) -> Result<Option<Page>> {
        loop {
            match self.node.log.page(&keys, after, through).await {
                Err(error @ (Error::Database(_) | Error::Unreachable(_) | Error::Overloaded)) => {
                    tracing::debug!(%error, "a stream cannot read the log; trying again");
                    tokio::time::sleep(RETRY).await;
                }
                read => return read,
            }
        }
    }

    /// Lets a connection go on at the present, because the history it needs is gone, and tells it so.
    pub(super) fn skip_gap(&self, connection: &Connection) {
        let head = self.head();
        connection.control(self.notice("reset", &json!({ "cursor": self.node.log.id(head) })));
        connection.go_on_at(head);
    }

    pub(super) fn close(&self, connection: &Rc<Connection>) {
        self.lose(connection);
        let keys: Vec<Key> =
            connection.state.borrow().subscriptions.iter().map(|s| Key::clone(&s.key)).collect();
        for key in keys {
            self.unlisten(&key, connection);
        }
        if self.state.borrow_mut().connections.remove(&connection.id).is_some() {
            self.node.dismiss(connection);
            self.node.online.closed(connection.viewer.user);
        }
    }

    pub(super) fn listen(&self, key: Key, connection: &Rc<Connection>) {
        let mut state = self.state.borrow_mut();
        Rc::make_mut(state.topics.entry(key).or_default()).push(Rc::clone(connection));
    }

    pub(super) fn unlisten(&self, key: &Key, connection: &Rc<Connection>) {
        let mut state = self.state.borrow_mut();
        let Some(listeners) = state.topics.get_mut(key) else { return };
        let list = Rc::make_mut(listeners);
        if let Some(place) = list.iter().position(|listener| Rc::ptr_eq(listener, connection)) {
            list.swap_remove(place);
        }
        if list.is_empty() {
            state.topics.remove(key);
        }
    }

    pub(super) fn listeners(&self, key: &Key) -> Option<Listeners> {
        self.state.borrow().topics.get(key).map(Rc::clone)
    }

    async fn run(self: Rc<Self>, mut lines: Lines) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut figures = tokio::time::interval(FIGURES);
        let mut commands = Vec::new();
        loop {
            tokio::select! {
                () = lines.events.notified() => self.deliver_new().await,
                count = lines.commands.recv_many(&mut commands, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.obey(&mut commands).await;
                }
                _ = tick.tick() => self.look_at_deadlines(),
                _ = figures.tick() => self.report_backlog(),
            }
        }
    }

    /// A frame about the stream itself.
    pub(super) fn notice(&self, kind: &str, data: &serde_json::Value) -> Frame {
        Frame::notice(kind, self.node.clock.now(), data, None)
    }
}
