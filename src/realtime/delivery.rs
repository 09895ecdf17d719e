//! From the log to the connections of a worker: what follows each other for the same listeners is sent to each of them
//! in one go; else what is new is queued for everybody first, and then sent.

use std::{rc::Rc, sync::Arc};

use serde_json::json;

use super::{
    connection::{Connection, Offer},
    event::Event,
    frame::Frame,
    hub::Hub,
    queue::Waiting,
    run::Run,
};

/// How many connections are sent to before other tasks of the worker have their turn: less than 1 ms of work, because
/// a request waits for some turns until it is answered.
const SLICE: usize = 64;
/// How many connections are looked at before the first of them is sent to: their parts of the memory come at the same
/// time then, and not each after the system call before it.
const AHEAD: usize = 32;
/// How many events are handed over before other tasks of the worker have their turn: less than 1 ms of work.
const HANDED: usize = 4_096;
/// How many events one look at the log (or commands one look at the inbox) takes, so that what has gathered goes out in one write to each connection.
pub(super) const BATCH: usize = 256;
/// How many bytes of events one look takes (or one event): what an empty queue has room for.
pub(super) const BATCH_BYTES: usize = 32 * 1024;

impl Hub {
    /// Delivers everything that has come into the log since the last time.
    pub(super) async fn deliver_new(&self) {
        loop {
            let head = self.head();
            let Some(events) = self.node.log.recent(head, BATCH) else {
                return self.skip_to_present();
            };
            let events = &events[..burst(&events)];
            let Some(last) = events.last() else { return };
            // Set before the delivery: a connection that opens during it begins behind these events.
            self.state.borrow_mut().head = last.seq;
            let mut touched = Vec::new();
            for run in Run::split(events) {
                let is_only = events.len() == run.events.len() && last.ending.is_none();
                self.hand_over(&run, if is_only { None } else { Some(&mut touched) }).await;
            }
            let look = |connection: &Connection| connection.state.borrow().is_free();
            self.in_slices(&touched, look, |connection, _| self.send_to(connection)).await;
            tokio::task::yield_now().await;
        }
    }

    /// Queues events for those who listen, and notes who has something to be sent; without such a list they are sent at
    /// once.
    async fn hand_over(&self, run: &Run<'_>, mut touched: Option<&mut Vec<Rc<Connection>>>) {
        let own = run.topic().and_then(|topic| self.listeners(topic));
        let feed = run.feed().and_then(|feed| self.listeners(feed));
        let at_once = touched.is_none();
        let turn = if at_once { SLICE } else { HANDED.div_ceil(run.events.len()) };
        let mut taken = 0;
        // Whoever listens to both has them from the first; the position tells.
        for slice in own.iter().chain(&feed).flat_map(|list| list.chunks(turn)) {
            let look = |connection: &Connection| if at_once { connection.takes_at_once(run) } else { None };
            look_ahead(slice, look, |connection, way| {
                let (count, offer) = connection.offer(run, way);
                taken += count;
                match (offer, &mut touched) {
                    (Offer::Send, Some(touched)) => touched.push(Rc::clone(connection)),
                    (Offer::Send, None) => self.send_to(connection),
                    (Offer::FellBehind, _) => self.tell_lagged(connection),
                    (Offer::Done, _) => {}
                }
            });
            if slice.len() == turn {
                tokio::task::yield_now().await;
            }
        }
        metrics::counter!("snippetbox_deliveries_total").increment(taken);
        if let Some(ending) = run.last().and_then(|last| last.ending.as_ref()) {
            let [own, feed] = [&own, &feed].map(|list| list.as_deref().map_or(&[][..], Vec::as_slice));
            self.end_rights(ending, own, feed);
        }
    }

    pub(super) fn tell_lagged(&self, connection: &Connection) {
        metrics::counter!("snippetbox_lagged_total").increment(1);
        let cursor = self.node.log.id(connection.state.borrow().position);
        connection.control(self.notice("lagged", &json!({ "cursor": cursor })));
    }

    /// Does something that sends for each connection, after a look at it.
    pub(super) async fn in_slices<T: Copy + Default>(
        &self,
        connections: &[Rc<Connection>],
        look: impl Fn(&Connection) -> T,
        mut send: impl FnMut(&Connection, T),
    ) {
        for slice in connections.chunks(SLICE) {
            look_ahead(slice, &look, |connection, seen| send(connection, seen));
            tokio::task::yield_now().await;
        }
    }

    /// Sends what waits after something was handed over.
    pub(super) fn send_offered(&self, connection: &Connection) {
        let offered = connection.state.borrow_mut().offered();
        if offered == Offer::Send {
            self.send_to(connection);
        }
    }

    /// Sends what was queued: at once on a socket of the hub's own, else by waking the client's side.
    pub(super) fn send_to(&self, connection: &Connection) {
        connection.state.borrow_mut().touched = false;
        let socket = connection.state.borrow().socket.clone();
        if socket.is_none_or(|socket| socket.flush(self, connection)) {
            connection.state.borrow_mut().wake();
        }
    }

    /// Takes the next frame out of a queue, with what it came from and how much of the queue it took.
    pub(super) fn next(&self, connection: &Connection) -> Option<(Waiting, usize, Frame)> {
        loop {
            let (waiting, size) = connection.state.borrow_mut().queue.pop()?;
            let frame = match &waiting {
                Waiting::Durable(event, way) => event.frame_on(*way).cloned(),
                Waiting::Ephemeral(it) => Some(it.frame.clone()),
                Waiting::Control(frame) => Some(frame.clone()),
                Waiting::Roster(key) => self.roster_for(connection, key),
                Waiting::Typing(key) => self.typing_for(connection, key),
            };
            if let Some(frame) = frame {
                return Some((waiting, size, frame));
            }
        }
    }
}

/// How many of the events go out together. None comes behind an ending that more may follow: who catches up reads as
/// far as the hub has gone, and must not read on before the right has ended.
fn burst(events: &[Arc<Event>]) -> usize {
    let (mut bytes, mut ended) = (0, false);
    let fit = events.iter().take_while(|event| {
        bytes += event.frame().size();
        let ends = event.ending.as_ref().is_some_and(|ending| ending.may_be_followed());
        bytes <= BATCH_BYTES && !std::mem::replace(&mut ended, ends)
    });
    fit.count().max(1).min(events.len())
}

/// Looks at a few connections before it does something with the first of them, and so on with the next few.
fn look_ahead<T: Copy + Default>(
    connections: &[Rc<Connection>],
    look: impl Fn(&Connection) -> T,
    mut then: impl FnMut(&Rc<Connection>, T),
) {
    for few in connections.chunks(AHEAD) {
        let mut seen = [T::default(); AHEAD];
        for (seen, connection) in seen.iter_mut().zip(few) {
            *seen = look(connection);
        }
        for (connection, seen) in few.iter().zip(seen) {
            then(connection, seen);
        }
    }
}
