//! How a node follows the log: by arithmetic.
//!
//! The next event is the one after the last. Whoever gives the events their places tells the other nodes of them over
//! the bus, and what comes in its turn is taken up as it is. Where something is missing the hole is read from the
//! database, and each second, bus or no bus, a look at the database finds what nobody has told.

use std::{
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    bus::{Bus, Inbox, Subject},
    event::{EventRow, select_events},
    log::{Log, PAGE, place},
};
use crate::{
    db::{on_conn, within},
    error::{Error, Result},
};

/// How long the log waits for a wake-up before it looks by itself.
const POLL: Duration = Duration::from_secs(1);
/// How long a reading may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many bytes of events one message holds. What is larger is read from the database.
const MESSAGE: usize = 128 * 1024;
/// How long a node believes what it has read, when nobody can tell it anything newer.
const BELIEF: Duration = Duration::from_secs(8);

/// What one node tells the others of the log.
#[derive(Debug, Serialize, Deserialize)]
struct News<R> {
    /// The place of the newest event.
    head: u64,
    /// The events up to it, in their order; nothing where they are too large for the bus.
    rows: R,
}

/// How far a node sees.
pub(super) struct Sight {
    /// Whether this node gives the events their places, and so tells the others.
    pub(super) leads: AtomicBool,
    /// When the database was last read to its end.
    read_at: Mutex<Instant>,
    /// Whether this node has heard of events that it has not got.
    behind: AtomicBool,
}

impl Default for Sight {
    fn default() -> Self {
        let (leads, behind) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { leads, read_at: Mutex::new(Instant::now()), behind }
    }
}

impl Log {
    /// Takes up new events for as long as the server runs.
    pub(super) async fn follow(&self, bus: &Bus) {
        let mut inbox = bus.subscribe(Subject::Log).await;
        let numbered_here = self.db.postgres().is_none();
        loop {
            if self.read_and_hear(bus, &mut inbox).await {
                continue;
            }
            let poll = Instant::now() + POLL;
            loop {
                tokio::select! {
                    () = self.db.committed(), if numbered_here => break,
                    () = self.numbered.notified() => break,
                    message = inbox.next() => if !self.hear(&message) { break },
                    () = tokio::time::sleep_until(poll) => break,
                }
            }
        }
    }

    /// Reads the database, and hears the others all the while: it may be slow, or away. Tells whether something was
    /// heard meanwhile that needs another reading.
    async fn read_and_hear(&self, bus: &Bus, inbox: &mut Inbox) -> bool {
        let mut reading = pin!(within(PATIENCE, self.advance(bus)));
        let mut complete = true;
        loop {
            tokio::select! {
                read = &mut reading => {
                    if let Err(error) = &read {
                        tracing::error!(%error, "the log cannot be read; trying again");
                    }
                    return read.is_ok() && !complete;
                }
                message = inbox.next() => complete = self.hear(&message),
            }
        }
    }

    /// Whether this node can know nothing of rights that have ended: it neither reads the database nor hears
    /// everything from those who do.
    pub(super) fn is_blind(&self, bus: &Bus) -> bool {
        let hears = |connected: bool| connected && !self.sight.behind.load(Ordering::Relaxed);
        bus.is_connected().is_some_and(|connected| !hears(connected))
            && self.sight.read_at().elapsed() > BELIEF
    }

    /// Reads from the database what is new there.
    async fn advance(&self, bus: &Bus) -> Result<()> {
        let (leads, before) = (self.sight.leads.load(Ordering::Relaxed), self.head());
        loop {
            let rows = self.next_rows(self.head()).await?;
            if rows.is_empty() {
                break;
            }
            if leads {
                tell(bus, &rows);
            }
            let before = self.head();
            for event in self.decode(rows)? {
                self.ring().push(event);
            }
            if !leads && bus.is_connected().is_some() {
                metrics::counter!("snippetbox_log_holes_filled_total").increment(self.head() - before);
            }
            self.wake();
        }
        self.sight.note_reading();
        if leads && self.head() == before {
            publish(bus, before, &[]);
        }
        Ok(())
    }

    /// Takes up what another node tells; false when something is missing, which the database has.
    fn hear(&self, message: &[u8]) -> bool {
        let complete = match self.take_up(message) {
            Ok(head) => self.head() >= head,
            Err(error) => {
                tracing::warn!(%error, "what another node tells of the log cannot be understood");
                false
            }
        };
        self.sight.behind.store(!complete, Ordering::Relaxed);
        complete
    }

    /// Takes up those events that come in their turn, and answers with the place of the newest.
    fn take_up(&self, message: &[u8]) -> Result<u64> {
        let news: News<Vec<EventRow>> =
            serde_json::from_slice(message).map_err(|error| Error::Internal(error.to_string()))?;
        let before = self.head();
        for event in self.decode(news.rows)? {
            if !self.ring().push_next(event) {
                break;
            }
        }
        let taken = self.head() - before;
        if taken > 0 {
            metrics::counter!("snippetbox_log_heard_total").increment(taken);
            self.wake();
        }
        Ok(news.head)
    }

    async fn next_rows(&self, after: u64) -> Result<Vec<EventRow>> {
        let mut conn = self.db.read().await?;
        Ok(on_conn!(conn.conn(), |c| {
            sqlx::query_as(select_events!("WHERE seq > $1 ORDER BY seq LIMIT $2"))
                .bind(place(after))
                .bind(PAGE)
                .fetch_all(c)
                .await?
        }))
    }
}

impl Sight {
    fn read_at(&self) -> Instant {
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_reading(&self) {
        self.behind.store(false, Ordering::Relaxed);
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Tells the other nodes of events, as many at once as a message holds.
fn tell(bus: &Bus, rows: &[EventRow]) {
    let mut rest = rows;
    while let [first, ..] = rest {
        let mut bytes = 0;
        let fit = rest.iter().take_while(|row| {
            bytes += row.payload.len();
            bytes <= MESSAGE
        });
        let count = fit.count();
        let (told, later) = rest.split_at(count);
        if let Some(last) = told.last() {
            publish(bus, last.seq.unsigned_abs(), told);
            rest = later;
        } else {
            publish(bus, first.seq.unsigned_abs(), &[]);
            rest = &rest[1..];
        }
    }
}

fn publish(bus: &Bus, head: u64, rows: &[EventRow]) {
    if bus.is_connected() != Some(true) {
        return;
    }
    match serde_json::to_vec(&News { head, rows }) {
        Ok(news) => bus.publish(Subject::Log, news),
        Err(error) => tracing::error!(%error, "events cannot be told to the other nodes"),
    }
}
