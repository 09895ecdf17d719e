//! The client's side of a connection: it takes what waits, and reads the log when nothing is handed to it.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_util::{Stream, future::LocalBoxFuture};

use super::{
    connection::{Connection, Mode},
    event::Key,
    frame::Frame,
    history::Page,
    hub::Hub,
    queue::Waiting,
};
use crate::error::Result;

/// How many recent events one step of catching up looks at, so that other tasks get their turn.
const STEP: usize = 256;

type Reading = LocalBoxFuture<'static, Result<Option<Page>>>;

/// The frames of one connection, in their order. Dropping it closes the connection.
pub struct ConnectionStream {
    pub(super) hub: Rc<Hub>,
    pub(super) connection: Rc<Connection>,
    reading: Option<(u64, Reading)>,
}

impl ConnectionStream {
    pub(super) fn new(hub: Rc<Hub>, connection: Rc<Connection>) -> Self {
        Self { hub, connection, reading: None }
    }

    /// Whether everything that is in the log has been taken, so that the next frame will be something new.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let state = self.connection.state.borrow();
        state.mode == Mode::Live && state.queue.is_empty()
    }

    /// The place up to which all events that concern this connection have been taken.
    #[must_use]
    pub fn position(&self) -> u64 {
        let state = self.connection.state.borrow();
        if state.queue.is_empty() { state.position } else { state.taken }
    }

    /// Makes one step of catching up.
    fn catch_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let page = match self.next_page(cx) {
            Poll::Ready(Ok(page)) => page,
            Poll::Ready(Err(error)) => {
                tracing::warn!(%error, "a stream ends because the log cannot be read; its client will resume");
                self.connection.state.borrow_mut().mode = Mode::Ended;
                return Poll::Ready(());
            }
            Poll::Pending => return Poll::Pending,
        };
        match page {
            Some(page) => self.connection.take_up(&page),
            None => self.hub.skip_gap(&self.connection),
        }
        let mut state = self.connection.state.borrow_mut();
        if state.mode == Mode::CatchingUp && state.position >= self.hub.head() {
            state.mode = Mode::Live;
            if state.queue.is_empty() {
                state.taken = state.position;
            }
        } else if state.queue.is_empty() {
            // Nothing here concerned this connection; the next step comes after the others had their turn.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The next part of the log: from memory at once, else from the database.
    fn next_page(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Page>>> {
        let (position, generation) = {
            let state = self.connection.state.borrow();
            (state.position, state.generation)
        };
        let head = self.hub.head();
        if position >= head {
            self.reading = None;
            return Poll::Ready(Ok(Some(Page { events: Vec::new(), through: position })));
        }
        if self.reading.as_ref().is_some_and(|(asked, _)| *asked != generation) {
            self.reading = None;
        }
        if self.reading.is_none() {
            if let Some(mut events) = self.hub.log().recent(position, STEP) {
                events.retain(|event| event.seq <= head);
                let through = events.last().map_or(head, |last| last.seq);
                return Poll::Ready(Ok(Some(Page { events, through })));
            }
            let state = self.connection.state.borrow();
            let keys: Vec<Key> = state.subscriptions.iter().map(|s| Key::clone(&s.key)).collect();
            self.reading = Some((generation, Box::pin(Rc::clone(&self.hub).read(keys, position, head))));
        }
        let Some((_, reading)) = &mut self.reading else { return Poll::Pending };
        let page = reading.as_mut().poll(cx);
        if page.is_ready() {
            self.reading = None;
        }
        page
    }
}

impl Stream for ConnectionStream {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            match self.poll_queued(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Ready(true) => {}
            }
            let Some((waiting, _, frame)) = self.hub.next(&self.connection) else { continue };
            if let Waiting::Durable(event, _) = waiting {
                self.connection.state.borrow_mut().taken = event.seq;
            }
            return Poll::Ready(Some(frame));
        }
    }
}

impl ConnectionStream {
    /// Waits until there is something in the queue; false when there never will be.
    pub(super) fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            {
                let mut state = self.connection.state.borrow_mut();
                if !state.queue.is_empty() {
                    state.waker = Some(cx.waker().clone());
                    return Poll::Ready(true);
                }
                // Kept in every mode: a frame about the stream itself may come while a page is being read.
                state.waker = Some(cx.waker().clone());
                match state.mode {
                    Mode::Ended => return Poll::Ready(false),
                    Mode::Live => return Poll::Pending,
                    Mode::CatchingUp => {}
                }
            }
            if self.catch_up(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for ConnectionStream {
    fn drop(&mut self) {
        self.hub.close(&self.connection);
    }
}
