//! One open stream: what it listens to, what waits for it, and how far it has read.
//!
//! A connection belongs to one worker thread and is never locked. It is *live* when the hub hands it every new
//! event; else it is *catching up*: it reads the log after its own position, at the pace at which its client
//! takes the bytes, and becomes live at the moment it has reached the hub's position. Opening, resuming and
//! recovering from a full queue are all that same reading.

use std::{cell::RefCell, collections::VecDeque, task::Waker};

use uuid::Uuid;

use super::{
    event::{Event, Frame, Key, visible},
    history::Page,
    subscription::{Presence, Subscription, Viewer, Wishes},
};
use crate::clock::Timestamp;

/// How many bytes of frames may wait for one connection; a single larger frame may wait alone.
const QUEUE_BYTES: usize = 64 * 1024;
/// How many frames may wait for one connection.
const QUEUE_FRAMES: usize = 1_024;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Live,
    CatchingUp,
    Ended,
}

pub(super) enum Waiting {
    Durable(u64, Frame),
    Ephemeral(Key, Box<str>, Frame),
    Control(Frame),
    /// Who is on a topic, to be looked up when the client takes it: a state that waits would be old and large.
    Roster(Key),
}

impl Waiting {
    fn size(&self) -> usize {
        match self {
            Self::Durable(_, frame) | Self::Ephemeral(_, _, frame) | Self::Control(frame) => frame.size(),
            Self::Roster(_) => 0,
        }
    }
}

/// The state of one stream, shared by its hub and its response body on the same thread.
pub(super) struct Connection {
    pub(super) id: Uuid,
    pub(super) viewer: Viewer,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) warned: bool,
    pub(super) next_heartbeat: Timestamp,
    types: Option<Vec<Box<str>>>,
    pub(super) echo: bool,
    pub(super) presence: Presence,
    pub(super) mode: Mode,
    /// All durable events up to here have been queued or do not concern this connection.
    pub(super) position: u64,
    /// All durable events up to here have been taken by the client's side.
    pub(super) taken: u64,
    pub(super) queue: VecDeque<Waiting>,
    pub(super) queued_bytes: usize,
    pub(super) waker: Option<Waker>,
    /// Counts the changes of topics, so that a page that was asked for with the old ones is thrown away.
    pub(super) generation: u64,
}

impl Connection {
    pub(super) fn new(
        (id, viewer): (Uuid, Viewer),
        subscriptions: Vec<Subscription>,
        wishes: Wishes,
        position: u64,
        next_heartbeat: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Self {
        let state = State {
            subscriptions,
            expires_at,
            warned: false,
            next_heartbeat,
            types: wishes.types.map(|types| types.into_iter().map(Into::into).collect()),
            echo: wishes.echo,
            presence: wishes.presence,
            mode: Mode::CatchingUp,
            position,
            taken: position,
            queue: VecDeque::new(),
            queued_bytes: 0,
            waker: None,
            generation: 0,
        };
        Self { id, viewer, state: RefCell::new(state) }
    }

    /// Hands over a new event that was published on one of this connection's topics; tells whether it was queued.
    ///
    /// A connection that catches up is left alone: it will read the event from the log.
    pub(super) fn offer(&self, event: &Event) -> Offer {
        let mut state = self.state.borrow_mut();
        if state.mode != Mode::Live || event.seq <= state.position {
            return Offer::NotWanted;
        }
        state.position = event.seq;
        let Some(frame) = self.selects(&state, event) else { return Offer::NotWanted };
        if !state.has_room(frame) {
            state.fall_behind();
            return Offer::FellBehind;
        }
        state.push(Waiting::Durable(event.seq, frame.clone()));
        Offer::Queued
    }

    /// Queues a frame about the stream itself. There are few of them, so they are not counted against the queue.
    pub(super) fn control(&self, frame: Frame) {
        self.state.borrow_mut().push(Waiting::Control(frame));
    }

    /// Ends the stream after what is queued and one last frame.
    pub(super) fn end(&self, last: Frame) {
        let mut state = self.state.borrow_mut();
        if state.mode != Mode::Ended {
            state.push(Waiting::Control(last));
            state.mode = Mode::Ended;
        }
    }

    /// Reads on from the log instead of waiting for the hub, because the hub itself has skipped events.
    pub(super) fn catch_up(&self) {
        let mut state = self.state.borrow_mut();
        if state.mode == Mode::Live {
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
        let mut state = self.state.borrow_mut();
        if state.queue.is_empty() {
            state.push(Waiting::Control(frame.clone()));
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

    pub(super) fn add(&self, subscription: Subscription) {
        let mut state = self.state.borrow_mut();
        state.subscriptions.push(subscription);
        state.generation += 1;
    }

    pub(super) fn remove(&self, key: &Key) {
        let mut state = self.state.borrow_mut();
        state.subscriptions.retain(|subscription| subscription.key != *key);
        state.generation += 1;
    }

    /// The topics as the client named them.
    pub(super) fn topics(&self) -> Vec<String> {
        let state = self.state.borrow();
        let shown = state.subscriptions.iter().filter(|subscription| !subscription.guard);
        shown.map(|subscription| visible(&subscription.key).to_owned()).collect()
    }

    pub(super) fn taken(&self) -> u64 {
        self.state.borrow().taken
    }

    /// The one place where it is decided whether a connection gets an event, live or replayed, and in which form:
    /// by its topics and rights of this moment.
    fn selects<'e>(&self, state: &State, event: &'e Event) -> Option<&'e Frame> {
        if !self.viewer.may_see(event.audience) || !state.wants(&event.kind) {
            return None;
        }
        if !state.echo && event.origin == Some(self.id) {
            return None;
        }
        let listens = |key: &Key| state.subscriptions.iter().any(|s| s.key == *key && !s.guard);
        if listens(&event.topic) {
            return Some(event.frame());
        }
        event.feed_frame().filter(|_| event.feed.as_ref().is_some_and(listens))
    }

    pub(super) fn take_up(&self, page: &Page) {
        let mut state = self.state.borrow_mut();
        for event in &page.events {
            if event.seq <= state.position {
                continue;
            }
            if let Some(frame) = self.selects(&state, event) {
                let frame = frame.clone();
                state.push(Waiting::Durable(event.seq, frame));
            }
            state.position = event.seq;
        }
        state.position = state.position.max(page.through);
    }
}

/// What became of an event that was handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Queued,
    NotWanted,
    FellBehind,
}

impl State {
    pub(super) fn wants(&self, kind: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|wanted| &**wanted == kind))
    }

    pub(super) fn has_room(&self, frame: &Frame) -> bool {
        let fits = self.queued_bytes + frame.size() <= QUEUE_BYTES && self.queue.len() < QUEUE_FRAMES;
        fits || self.queue.is_empty()
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        if self.mode == Mode::Ended {
            return;
        }
        self.queued_bytes += waiting.size();
        self.queue.push_back(waiting);
        self.wake();
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        self.queued_bytes -= waiting.size();
        if self.queue.is_empty() {
            self.queue.shrink_to(8);
        }
        if let Waiting::Durable(seq, _) = waiting {
            self.taken = seq;
        }
        Some(waiting)
    }

    /// Takes out of the queue what is not to be kept.
    pub(super) fn sift(&mut self, keeps: impl Fn(&Waiting) -> bool) {
        self.queue.retain(keeps);
        self.queued_bytes = self.queue.iter().map(Waiting::size).sum();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Forgets the events that wait: the connection reads them from the log when it has taken what it was sent.
    fn fall_behind(&mut self) {
        self.sift(|waiting| !matches!(waiting, Waiting::Durable(..)));
        self.position = self.taken;
        self.mode = Mode::CatchingUp;
    }
}
