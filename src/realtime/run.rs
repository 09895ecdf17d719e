//! What goes to the same listeners in a row, joined once for all of them.

use std::{cell::OnceCell, sync::Arc};

use bytes::Bytes;

use super::{
    connection::{Connection, Mode, Offer, State},
    event::{Event, Key, Way},
    frame::{Form, Frame},
    queue::Waiting,
};

/// Frames that follow each other as one piece of bytes.
pub(super) struct Joined {
    pub(super) bytes: Bytes,
    /// Where each of them ends.
    pub(super) ends: Vec<usize>,
}

/// Frames joined in each form, when it is first asked for.
#[derive(Default)]
pub(super) struct Forms([OnceCell<Joined>; 2]);

impl Forms {
    pub(super) fn get<'a>(&self, form: Form, frames: impl Iterator<Item = &'a Frame>) -> &Joined {
        self.0[usize::from(form == Form::Lines)].get_or_init(|| {
            let chunks: Vec<Bytes> = frames.map(|frame| frame.chunk(form)).collect();
            let ends = chunks.iter().scan(0, |end, chunk| {
                *end += chunk.len();
                Some(*end)
            });
            let ends = ends.collect();
            let bytes = if let [one] = &chunks[..] { one.clone() } else { chunks.concat().into() };
            Joined { bytes, ends }
        })
    }
}

/// Events that follow each other, all of one topic and one feed.
pub(super) struct Run<'a> {
    pub(super) events: &'a [Arc<Event>],
    forms: [Forms; 2],
}

impl<'a> Run<'a> {
    /// Splits events into runs. What ends rights ends a run, because those that follow are for others.
    pub(super) fn split(events: &'a [Arc<Event>]) -> impl Iterator<Item = Self> {
        events
            .chunk_by(|one, next| one.ending.is_none() && one.topic == next.topic && one.feed == next.feed)
            .map(|events| Self { events, forms: <_>::default() })
    }

    pub(super) fn topic(&self) -> Option<&'a Key> {
        self.events.first().map(|first| &first.topic)
    }

    pub(super) fn feed(&self) -> Option<&'a Key> {
        self.events.first().and_then(|first| first.feed.as_ref())
    }

    pub(super) fn last(&self) -> Option<&'a Arc<Event>> {
        self.events.last()
    }

    fn joined(&self, way: Way, form: Form) -> &Joined {
        let frames = self.events.iter().filter_map(|event| event.frame_on(way));
        self.forms[usize::from(way == Way::Feed)].get(form, frames)
    }
}

impl Connection {
    /// Hands over a run of new events that were published on one of this connection's topics; answers with how many
    /// of them were taken. Those that [can](Self::takes_at_once) go to the socket at once in a `way`; whatever waits
    /// afterwards, whoever calls must have the hub send.
    ///
    /// A connection that catches up is left alone: it will read the events from the log.
    pub(super) fn offer(&self, run: &Run<'_>, way: Option<Way>) -> (u64, Offer) {
        let mut state = self.state.borrow_mut();
        if state.mode != Mode::Live {
            return (0, Offer::Done);
        }
        let sent = way.map_or(0, |way| state.send_at_once(run, way));
        let mut taken = sent as u64;
        for event in &run.events[sent..] {
            if event.seq <= state.position {
                continue;
            }
            state.position = event.seq;
            let Some((way, size)) = self.selects(&state, event) else { continue };
            if !state.queue.has_room(size) {
                state.fall_behind(event.seq);
                return (taken, Offer::FellBehind);
            }
            state.queue.push(Waiting::Durable(Arc::clone(event), way), size);
            taken += 1;
        }
        (taken, state.offered())
    }

    /// In which way the connection gets the whole run, if nothing is in front of it.
    pub(super) fn takes_at_once(&self, run: &Run<'_>) -> Option<Way> {
        let state = self.state.borrow();
        let first = run.events.first()?;
        if !state.is_free() || first.seq <= state.position {
            return None;
        }
        let mut ways = run.events.iter().map(|event| self.selects(&state, event).map(|(way, _)| way));
        let way = ways.next()??;
        ways.all(|other| other == Some(way)).then_some(way)
    }
}

impl State {
    /// Whether something new can go to the client's socket at once.
    pub(super) fn is_free(&self) -> bool {
        let socket_is_free = self.socket.as_ref().is_some_and(|socket| socket.is_free());
        socket_is_free && self.mode == Mode::Live && self.queue.is_empty()
    }

    /// Sends a whole run; answers with how many events are off.
    fn send_at_once(&mut self, run: &Run<'_>, way: Way) -> usize {
        let Some(socket) = &self.socket else { return 0 };
        let sent = socket.send(run.joined(way, socket.form));
        if let Some(last) = run.events[..sent].last() {
            (self.position, self.taken) = (last.seq, last.seq);
        }
        sent
    }
}
