//! What is not kept: it reaches who is there, and of what waits for a slow reader the newest is enough.

use std::{rc::Rc, sync::Arc};

use tokio::sync::mpsc::{self, error::TrySendError};
use uuid::Uuid;

use super::{
    Command, Realtime,
    connection::{Connection, Mode, State},
    delivery::BATCH_BYTES,
    event::Key,
    frame::Frame,
    hub::Hub,
    queue::Waiting,
    roster::{Announcement, Audience},
    run::Forms,
    subscription::Presence,
    typing,
};

/// An event that is not kept: it reaches who is there.
#[derive(Debug, Clone)]
pub struct Ephemeral {
    /// The topic.
    pub topic: Key,
    /// The name.
    pub kind: Box<str>,
    /// The connection that caused it.
    pub origin: Option<Uuid>,
    /// The encoded event.
    pub frame: Frame,
}

impl Realtime {
    /// Tells those who are connected to this node; tells whether all hubs have room for it. One that is gone has nobody
    /// to tell.
    pub(super) fn tell_here(&self, ephemeral: Ephemeral) -> bool {
        let ephemeral = Arc::new(ephemeral);
        let missed = |hub: &&mpsc::Sender<Command>| {
            matches!(hub.try_send(Command::Tell(Arc::clone(&ephemeral))), Err(TrySendError::Full(_)))
        };
        let n_missed = self.hubs().iter().filter(missed).count();
        metrics::counter!("snippetbox_ephemeral_dropped_total").increment(n_missed as u64);
        n_missed == 0
    }

    /// Tells the present state of something on a topic to those who are connected to this node. While it `holds`, whoever
    /// comes later is told right after `ready`; a state that is told as over (nobody types) does not hold. Tells whether
    /// all hubs had room for it.
    pub fn show(&self, ephemeral: Ephemeral, holds: bool) -> bool {
        let kept = holds.then(|| ephemeral.frame.clone());
        self.board.post(&ephemeral.topic, &ephemeral.kind, kept);
        self.tell_here(ephemeral)
    }

    /// Hands what a window has brought to the hubs; tells whether all of them have taken it.
    pub(super) fn announce(&self, announcements: &Arc<Vec<Announcement>>) -> bool {
        let missed = |hub: &&mpsc::Sender<Command>| {
            hub.try_send(Command::Announce(Arc::clone(announcements))).is_err()
        };
        // All of them are tried: one that has no room must not keep it from the others.
        let n_missed = self.hubs().iter().filter(missed).count();
        metrics::counter!("snippetbox_ephemeral_dropped_total").increment(n_missed as u64);
        n_missed == 0
    }
}

impl Hub {
    /// Follows the commands in their order. What is to be told on one topic in a row is told in one go.
    pub(super) async fn obey(self: &Rc<Self>, commands: &mut Vec<Command>) {
        let (mut gathered, mut bytes): (Vec<Arc<Ephemeral>>, _) = (Vec::new(), 0);
        for command in commands.drain(..) {
            if let Command::Tell(ephemeral) = command {
                bytes += ephemeral.frame.size();
                if bytes > BATCH_BYTES || gathered.last().is_some_and(|last| last.topic != ephemeral.topic) {
                    self.tell(&std::mem::take(&mut gathered)).await;
                    bytes = ephemeral.frame.size();
                }
                gathered.push(ephemeral);
                continue;
            }
            self.tell(&std::mem::take(&mut gathered)).await;
            bytes = 0;
            match command {
                Command::Tell(_) => {}
                Command::Announce(announcements) => self.announce(&announcements).await,
                Command::Change(change, answer) => {
                    if let Some(result) = self.change(change) {
                        drop(answer.try_send(result));
                    }
                }
                Command::Drain(done) => {
                    tokio::task::spawn_local(Rc::clone(self).drain(done));
                }
            }
        }
        self.tell(&gathered).await;
    }

    /// Tells each listener of a topic what has gathered, in one go.
    pub(super) async fn tell(&self, gathered: &[Arc<Ephemeral>]) {
        let listeners = gathered.first().and_then(|first| self.listeners(&first.topic));
        let Some(listeners) = listeners else { return };
        let forms = Forms::default();
        let look = |connection: &Connection| connection.hears_at_once(gathered);
        self.in_slices(&listeners, look, |connection, at_once| {
            let sent = if at_once { connection.send_at_once(gathered, &forms) } else { 0 };
            for ephemeral in &gathered[sent..] {
                if connection.tell(ephemeral) {
                    self.tell_lagged(connection);
                }
            }
            self.send_offered(connection);
        })
        .await;
    }

    /// Tells each listener what a window has brought of its topics.
    pub(super) async fn announce(&self, announcements: &[Announcement]) {
        for announcement in announcements {
            let Some(listeners) = self.listeners(&announcement.topic) else { continue };
            let Announcement { topic, audience, kind, frame } = announcement;
            let (topic, kind, frame) = (Key::clone(topic), (*kind).into(), frame.clone());
            let ephemeral = Arc::new(Ephemeral { topic, kind, origin: None, frame });
            let (only, forms) = (std::slice::from_ref(&ephemeral), Forms::default());
            let look = |connection: &Connection| {
                let state = connection.state.borrow();
                state.is_free() && state.is_concerned(*audience, &ephemeral)
            };
            self.in_slices(&listeners, look, |connection, at_once| {
                if !at_once || connection.send_at_once(only, &forms) == 0 {
                    connection.hear(*audience, &ephemeral);
                }
                self.send_offered(connection);
            })
            .await;
        }
    }
}

impl Connection {
    /// Hands over something about who is there. Where the queue is full, the whole state takes the place of what
    /// waits: nothing is missed, and what waits does not grow. Whoever calls must have the hub send afterwards.
    fn hear(&self, audience: Audience, ephemeral: &Arc<Ephemeral>) {
        let Ephemeral { topic, frame, .. } = &**ephemeral;
        let mut state = self.state.borrow_mut();
        if !state.is_concerned(audience, ephemeral) {
            return;
        }
        let whole_waits = |waiting: &Waiting| matches!(waiting, Waiting::Roster(key) if key == topic);
        if state.queue.any(whole_waits) {
            return;
        }
        if state.queue.has_room(frame.size()) {
            return state.enqueue(Waiting::Ephemeral(Arc::clone(ephemeral)), frame.size());
        }
        let about_it = |waiting: &Waiting| matches!(waiting, Waiting::Ephemeral(it) if it.topic == *topic && it.kind.starts_with("presence_"));
        state.queue.sift(|waiting| !about_it(waiting));
        state.enqueue(Waiting::Roster(Key::clone(topic)), 0);
    }

    /// Whether the connection gets all of this, and nothing is in front of it.
    fn hears_at_once(&self, gathered: &[Arc<Ephemeral>]) -> bool {
        let state = self.state.borrow();
        state.is_free() && gathered.iter().all(|ephemeral| self.wants(&state, ephemeral))
    }

    /// Sends all of it; answers with how many are off.
    fn send_at_once(&self, gathered: &[Arc<Ephemeral>], forms: &Forms) -> usize {
        let frames = gathered.iter().map(|ephemeral| &ephemeral.frame);
        let state = self.state.borrow();
        state.socket.as_ref().map_or(0, |socket| socket.send(forms.get(socket.form, frames)))
    }

    fn wants(&self, state: &State, ephemeral: &Ephemeral) -> bool {
        state.wants(&ephemeral.kind) && (state.echo || ephemeral.origin != Some(self.id))
    }

    /// Hands over an event that is not kept. Where the queue is full of events that are, those give way: they can be
    /// read again. Else it replaces the one of its kind, or is lost; but of who is typing the last word is never lost: it
    /// is looked up when there is room. Tells whether the connection has fallen behind. Whoever calls must have the hub
    /// send afterwards.
    fn tell(&self, ephemeral: &Arc<Ephemeral>) -> bool {
        let Ephemeral { topic, kind, frame, .. } = &**ephemeral;
        let mut state = self.state.borrow_mut();
        if !self.wants(&state, ephemeral) {
            return false;
        }
        let is_typing = **kind == *typing::KIND;
        if is_typing && state.queue.any(|waiting| matches!(waiting, Waiting::Typing(key) if key == topic)) {
            return false;
        }
        let gives_way = |waiting: &Waiting| matches!(waiting, Waiting::Durable(..));
        let mut fell_behind = false;
        if !state.queue.has_room(frame.size()) && state.mode == Mode::Live && state.queue.any(gives_way) {
            let next = state.position + 1;
            state.fall_behind(next);
            fell_behind = true;
        }
        if state.queue.has_room(frame.size()) {
            state.enqueue(Waiting::Ephemeral(Arc::clone(ephemeral)), frame.size());
        } else if !state.queue.replace(ephemeral) && is_typing {
            state.enqueue(Waiting::Typing(Key::clone(topic)), 0);
        }
        fell_behind
    }

    /// Hands over what holds on a topic, to a connection that has just begun to listen to it.
    pub(super) fn show(&self, topic: &Key, kind: &str, frame: &Frame) {
        let (topic, frame) = (Key::clone(topic), frame.clone());
        self.tell(&Arc::new(Ephemeral { topic, kind: kind.into(), origin: None, frame }));
    }
}

impl State {
    /// Whether something about who is there is for this connection.
    fn is_concerned(&self, audience: Audience, ephemeral: &Ephemeral) -> bool {
        let wants_it = match self.presence {
            Presence::Track | Presence::Observe => audience != Audience::Counters,
            Presence::Count => audience != Audience::Watchers,
            Presence::Off => false,
        };
        wants_it && self.wants(&ephemeral.kind)
    }
}
