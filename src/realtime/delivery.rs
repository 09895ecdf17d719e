//! From the log to the connections of a worker: what is new is queued for everybody first, and then sent.

use std::{rc::Rc, sync::Arc};

use serde_json::json;

use super::{
    connection::{Connection, Offer},
    event::Event,
    frame::Frame,
    hub::Hub,
    queue::Waiting,
};

/// How many connections are sent to before other tasks of the worker have their turn: 1 to 3 ms of work.
const SLICE: usize = 256;
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
            if let [event] = events
                && event.ending.is_none()
            {
                self.hand_over(event, None).await;
                tokio::task::yield_now().await;
                continue;
            }
            let mut touched = Vec::new();
            for event in events {
                self.hand_over(event, Some(&mut touched)).await;
            }
            self.in_slices(&touched, |connection| self.send_to(connection)).await;
        }
    }

    /// Queues an event for those who listen, and notes who has something to be sent; without such a list it is sent at
    /// once, while what belongs to the connection is still in the processor's cache.
    async fn hand_over(&self, event: &Arc<Event>, mut touched: Option<&mut Vec<Rc<Connection>>>) {
        let own = self.listeners(&event.topic);
        let feed = event.feed.as_ref().and_then(|feed| self.listeners(feed));
        let (mut queued, turn) = (0, if touched.is_some() { HANDED } else { SLICE });
        for (index, connection) in own.iter().chain(&feed).flat_map(|list| list.iter()).enumerate() {
            if index % turn == turn - 1 {
                tokio::task::yield_now().await;
            }
            // Whoever listens to both has it from the first; the position tells.
            match connection.offer(event) {
                Offer::Touched => match &mut touched {
                    Some(touched) => touched.push(Rc::clone(connection)),
                    None => self.send_to(connection),
                },
                Offer::Queued => {}
                Offer::NotWanted => continue,
                Offer::FellBehind => {
                    self.tell_lagged(connection);
                    continue;
                }
            }
            queued += 1;
        }
        metrics::counter!("snippetbox_deliveries_total").increment(queued);
        if let Some(ending) = &event.ending {
            let [own, feed] = [&own, &feed].map(|list| list.as_deref().map_or(&[][..], Vec::as_slice));
            self.end_rights(ending, own, feed);
        }
    }

    pub(super) fn tell_lagged(&self, connection: &Connection) {
        metrics::counter!("snippetbox_lagged_total").increment(1);
        let cursor = self.node.log.id(connection.state.borrow().position);
        connection.control(self.notice("lagged", &json!({ "cursor": cursor })));
    }

    /// Does something that sends for each connection.
    pub(super) async fn in_slices(&self, connections: &[Rc<Connection>], send: impl Fn(&Connection)) {
        for slice in connections.chunks(SLICE) {
            for connection in slice {
                send(connection);
            }
            tokio::task::yield_now().await;
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
                Waiting::Durable(event) => Some(event.frame().clone()),
                Waiting::Fed(event) => event.feed_frame().cloned(),
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

/// How many of the events go out together.
fn burst(events: &[Arc<Event>]) -> usize {
    let mut bytes = 0;
    let fit = events.iter().take_while(|event| {
        bytes += event.frame().size();
        bytes <= BATCH_BYTES
    });
    fit.count().max(1).min(events.len())
}
