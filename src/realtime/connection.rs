//! One open stream: what it listens to, what waits for it, and how far it has read.
//!
//! A connection belongs to one worker thread and is never locked. It is *live* when the hub hands it every new
//! event; else it is *catching up*: it reads the log after its own position, at the pace at which its client
//! takes the bytes, and becomes live at the moment it has reached the hub's position. Opening, resuming and
//! recovering from a full queue are all that same reading.

use std::{cell::RefCell, rc::Rc, sync::Arc, task::Waker, time::Duration};

use uuid::Uuid;

use super::{
    effect::Ending,
    event::{Event, Key, Way, visible},
    frame::Frame,
    history::Page,
    hub::Opening,
    queue::{Queue, Waiting},
    socket::Socket,
    subscription::{Presence, Subscription, Viewer},
};
use crate::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Live,
    CatchingUp,
    Ended,
}

/// The state of one stream, shared by its hub and its response body on the same thread.
pub(super) struct Connection {
    pub(super) id: Uuid,
    pub(super) viewer: Viewer,
    pub(super) opened_at: Timestamp,
    pub(super) state: RefCell<State>,
}

/// A topic that a connection listens to.
pub(super) struct Listening {
    pub(super) key: Key,
    pub(super) guard: bool,
    pub(super) gathers: bool,
    /// The place in the log before the right to it was looked at.
    as_of: u64,
}

impl Listening {
    fn new(subscription: Subscription, as_of: u64) -> Self {
        let Subscription { key, guard, gathers } = subscription;
        Self { key, guard, gathers, as_of }
    }
}

pub(super) struct State {
    pub(super) subscriptions: Vec<Listening>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) warned: bool,
    pub(super) next_heartbeat: Timestamp,
    types: Option<Box<[Box<str>]>>,
    pub(super) echo: bool,
    pub(super) presence: Presence,
    pub(super) mode: Mode,
    /// All durable events up to here have been queued or do not concern this connection.
    pub(super) position: u64,
    /// All durable events up to here have been taken by the client's side.
    pub(super) taken: u64,
    pub(super) queue: Queue,
    pub(super) waker: Option<Waker>,
    /// The client's socket, where it was taken over: then the hub itself writes to it.
    pub(super) socket: Option<Rc<Socket>>,
    /// Whether the hub has handed over something and will send it, or wake the client's side, before it rests.
    pub(super) touched: bool,
    /// Counts the changes of topics and of what may be seen of them, so that a page that was asked for before is
    /// thrown away.
    pub(super) generation: u64,
}

impl Connection {
    pub(super) fn new(
        id: Uuid,
        opening: Opening,
        position: u64,
        opened_at: Timestamp,
        heartbeat: Duration,
    ) -> Self {
        let types = opening.wishes.types;
        let subscriptions = opening.subscriptions.into_iter();
        let state = State {
            subscriptions: subscriptions.map(|it| Listening::new(it, opening.as_of)).collect(),
            expires_at: opening.expires_at,
            warned: false,
            next_heartbeat: opened_at.plus(heartbeat),
            types: types.map(|types| types.into_iter().map(Into::into).collect()),
            echo: opening.wishes.echo,
            presence: opening.wishes.presence,
            mode: Mode::CatchingUp,
            position,
            taken: position,
            queue: Queue::default(),
            waker: None,
            socket: None,
            touched: false,
            generation: 0,
        };
        Self { id, viewer: opening.viewer, opened_at, state: RefCell::new(state) }
    }

    /// Queues a frame about the stream itself; there are few of them, and they are always taken.
    pub(super) fn control(&self, frame: Frame) {
        let mut state = self.state.borrow_mut();
        let size = frame.size();
        state.enqueue(Waiting::Control(frame), size);
        state.wake();
    }

    /// Ends the stream with one last frame, after what is queued.
    pub(super) fn end(&self, last: Frame) {
        self.control(last);
        self.state.borrow_mut().mode = Mode::Ended;
    }

    /// Ends the stream with one last frame, because the right to all of it has ended: what is queued is not sent.
    pub(super) fn cut(&self, last: Frame) {
        self.state.borrow_mut().queue.sift(|waiting| matches!(waiting, Waiting::Control(_)));
        self.end(last);
    }

    /// Reads on from the log instead of waiting for the hub, because the hub has skipped what came after a place.
    pub(super) fn catch_up_from(&self, delivered: u64) {
        let mut state = self.state.borrow_mut();
        if state.mode == Mode::Live {
            state.position = state.position.max(delivered);
            state.mode = Mode::CatchingUp;
            state.wake();
        }
    }

    /// Goes on at a place, without what lies before it.
    pub(super) fn go_on_at(&self, place: u64) {
        let mut state = self.state.borrow_mut();
        state.position = state.position.max(place);
        state.taken = state.taken.max(place);
    }

    /// Queues a heartbeat, unless something waits already: then the client hears of the server without it.
    pub(super) fn beat(&self, frame: &Frame) {
        if self.state.borrow().queue.is_empty() {
            self.control(frame.clone());
        }
    }

    pub(super) fn is_guarded_by(&self, key: &Key) -> bool {
        self.state.borrow().subscriptions.iter().any(|s| s.guard && s.key == *key)
    }

    pub(super) fn guards(&self) -> Vec<Key> {
        let state = self.state.borrow();
        state.subscriptions.iter().filter(|s| s.guard).map(|s| Key::clone(&s.key)).collect()
    }

    pub(super) fn listens_to(&self, key: &Key) -> bool {
        self.state.borrow().subscriptions.iter().any(|subscription| subscription.key == *key)
    }

    /// Whether the right to a topic was looked at after an ending of it, which a hub may hear of later: who was let
    /// in again stays.
    pub(super) fn came_after(&self, ending: &Ending) -> bool {
        let state = self.state.borrow();
        state.subscriptions.iter().any(|it| it.key == ending.topic && ending.seq <= it.as_of)
    }

    /// Listens to one more topic, the right to which was looked at after the place `as_of`.
    pub(super) fn add(&self, subscription: Subscription, as_of: u64) {
        let mut state = self.state.borrow_mut();
        state.subscriptions.push(Listening::new(subscription, as_of));
        state.generation += 1;
    }

    pub(super) fn remove(&self, key: &Key) {
        let mut state = self.state.borrow_mut();
        state.subscriptions.retain(|subscription| subscription.key != *key);
        state.generation += 1;
    }

    /// The events of a topic that an ending takes away are not sent any more, even those that wait already.
    pub(super) fn withdraw(&self, ending: &Ending) {
        let seen = self.viewer.may_see(ending.audience);
        let mut state = self.state.borrow_mut();
        state.queue.withdraw(&ending.topic, ending.seq, seen);
        state.generation += 1;
    }

    /// The topics as the client named them.
    pub(super) fn topics(&self) -> Vec<String> {
        let state = self.state.borrow();
        let shown = state.subscriptions.iter().filter(|subscription| !subscription.guard);
        shown.map(|subscription| visible(&subscription.key).to_owned()).collect()
    }

    /// How many bytes wait for the client.
    pub(super) fn backlog(&self) -> usize {
        self.state.borrow().queue.bytes()
    }

    /// The one place where it is decided whether a connection gets an event, live or replayed, and in which form:
    /// by its topics and rights of this moment. Answers with how many bytes that are, too.
    pub(super) fn selects(&self, state: &State, event: &Event) -> Option<(Way, usize)> {
        if !self.viewer.may_see(event.audience) || !state.wants(&event.kind) {
            return None;
        }
        if !state.echo && event.origin == Some(self.id) {
            return None;
        }
        let listens = |key: &Key| state.subscriptions.iter().any(|s| s.key == *key && !s.guard);
        if listens(&event.topic) {
            return Some((Way::Topic, event.frame().size()));
        }
        let frame = event.feed_frame().filter(|_| event.feed.as_ref().is_some_and(listens))?;
        Some((Way::Feed, frame.size()))
    }

    /// Takes up a part of the log, as far as the queue has room.
    pub(super) fn take_up(&self, page: &Page) {
        let mut state = self.state.borrow_mut();
        for event in &page.events {
            if event.seq <= state.position {
                continue;
            }
            if let Some((way, size)) = self.selects(&state, event) {
                if !state.queue.has_room(size) {
                    return;
                }
                state.enqueue(Waiting::Durable(Arc::clone(event), way), size);
            }
            state.position = event.seq;
        }
        state.position = state.position.max(page.through);
    }
}

/// What is to be done after something was handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// Nothing, or it is known already.
    Done,
    /// The hub has to send what waits.
    Send,
    /// The client has to be told that it fell behind.
    FellBehind,
}

impl State {
    pub(super) fn wants(&self, kind: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|wanted| &**wanted == kind))
    }

    pub(super) fn enqueue(&mut self, waiting: Waiting, size: usize) {
        if self.mode != Mode::Ended {
            self.queue.push(waiting, size);
        }
    }

    /// What is to be done for what waits now: known already, if it was to be sent before.
    pub(super) fn offered(&mut self) -> Offer {
        let nothing = self.queue.is_empty() && self.socket.as_ref().is_none_or(|socket| !socket.has_rest());
        if nothing || std::mem::replace(&mut self.touched, true) { Offer::Done } else { Offer::Send }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Forgets the events that wait, up to the one at a place: the connection reads them from the log when it has
    /// taken what it was sent.
    pub(super) fn fall_behind(&mut self, place: u64) {
        let first = self.queue.first_place().unwrap_or(place);
        self.queue.sift(|waiting| !matches!(waiting, Waiting::Durable(..)));
        self.position = first - 1;
        self.mode = Mode::CatchingUp;
    }
}
