//! The log: every durable change, in one order.
//!
//! A writer appends in the transaction of the change itself. A reader asks for what comes after a cursor. Live
//! delivery, resume, long polling and the catch-up of a slow reader are all that one question.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    effect::{Effect, Ending},
    event::{Event, EventRow, Json},
    follow::Sight,
    retention::bounds,
    ring::Ring,
};
use crate::{
    clock::Timestamp,
    db::{Db, Later, WriteTx},
    error::{Error, Result},
};

/// How many events one read of the database takes at most.
pub(super) const PAGE: i64 = 256;

/// An event to be appended.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// The name.
    pub kind: &'a str,
    /// The topic it belongs to.
    pub topic: String,
    /// A wider topic on which it is told too.
    pub feed: Option<&'static str>,
    /// The one user who may see it, or everyone who may read the topic.
    pub audience: Option<Uuid>,
    /// What it does to its topic.
    pub effect: Option<Effect>,
    /// Who caused it.
    pub actor: Option<Json>,
    /// The stream connection whose owner caused it.
    pub origin: Option<Uuid>,
    /// What happened.
    pub data: Json,
    /// When.
    pub at: Timestamp,
}

macro_rules! insert {
    ($returning:literal) => {
        concat!(
            "INSERT INTO events (type, topic, feed, audience, effect, subjects, actor, origin, payload, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            $returning
        )
    };
}

/// Appends an event in the transaction of the change that it tells of.
///
/// The append must come after the change has locked its row: two changes of one thing are then numbered in the
/// order in which they happened. Where a topic ends that is told on a feed, [`take_from_feeds`] must follow.
///
/// # Errors
/// When the database refuses.
pub async fn append(tx: &mut WriteTx, event: NewEvent<'_>) -> Result<()> {
    if event.effect == Some(Effect::Withdraw) {
        withdraw(tx, &event.topic, event.audience).await?;
    }
    bind(tx.later(insert!(""), insert!("")), event).run().await
}

/// The same for an event that changes nothing of its topic. Answers with its number, for [`Log::place_of`].
///
/// # Errors
/// When the database refuses.
pub async fn append_numbered(tx: &mut WriteTx, event: NewEvent<'_>) -> Result<i64> {
    let insert = tx.later(insert!(" RETURNING seq"), insert!(" RETURNING id"));
    let number: Option<(i64,)> = bind(insert, event).find().await?;
    number.map(|(number,)| number).ok_or_else(|| Error::Internal("an event was given no number".into()))
}

fn bind<'t>(insert: Later<'t>, event: NewEvent<'_>) -> Later<'t> {
    let (effect, subjects) = event.effect.as_ref().map(Effect::stored).unzip();
    insert
        .bind(event.kind)
        .bind(event.topic)
        .bind(event.feed)
        .bind(event.audience)
        .bind(effect)
        .bind(subjects.flatten())
        .bind(event.actor.as_ref().map(Json::as_str))
        .bind(event.origin)
        .bind(event.data.as_str())
        .bind(event.at)
}

/// Takes the earlier events of a topic out of their feed, and out of sight of all but the audience.
async fn withdraw(tx: &mut WriteTx, topic: &str, audience: Option<Uuid>) -> Result<()> {
    const WITHDRAW: &str =
        "UPDATE events SET feed = NULL, audience = COALESCE($2, audience) WHERE topic = $1";
    tx.later(WITHDRAW, WITHDRAW).bind(topic).bind(audience).run().await
}

/// Takes the earlier events of topics that have ended out of their feeds: nobody can ask for the topics themselves any
/// more.
///
/// It belongs at the end of a transaction: one of these events may have no place yet, and until the commit none that
/// comes behind it gets one. The rows are locked in the order of their ids, as when history ends.
///
/// # Errors
/// When the database refuses.
pub async fn take_from_feeds(tx: &mut WriteTx, topics: &[String]) -> Result<()> {
    const SQLITE: &str = "UPDATE events SET feed = NULL WHERE topic IN (SELECT value FROM json_each($1))
                          AND feed IS NOT NULL AND effect IS NOT 'end'";
    const POSTGRES: &str = "WITH earlier AS (
             SELECT id FROM events WHERE topic IN (SELECT jsonb_array_elements_text(CAST($1 AS JSONB)))
             AND feed IS NOT NULL AND effect IS DISTINCT FROM 'end' ORDER BY id FOR UPDATE
         )
         UPDATE events SET feed = NULL FROM earlier WHERE events.id = earlier.id";
    tx.later(SQLITE, POSTGRES).bind(Json::of(&topics)?.as_str()).run().await
}

/// The log of this installation, with its newest part in memory.
pub struct Log {
    pub(super) db: Db,
    pub(super) epoch: String,
    ring: Mutex<Ring>,
    /// Held while the ring is being filled with what came before it.
    pub(super) reaching_back: tokio::sync::Mutex<()>,
    followers: Mutex<Vec<Arc<Notify>>>,
    /// Wakes the follower when events have been numbered.
    pub(super) numbered: Notify,
    /// What is known of how far this node sees.
    pub(super) sight: Sight,
}

impl Log {
    /// The log in `db`, from its present head on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(db: Db, epoch: String, ring_bytes: usize) -> Result<Self> {
        let (_, head) = bounds(&db).await?;
        Ok(Self {
            db,
            epoch,
            ring: Mutex::new(Ring::new(head, ring_bytes)),
            reaching_back: tokio::sync::Mutex::default(),
            followers: Mutex::default(),
            numbered: Notify::new(),
            sight: Sight::default(),
        })
    }

    /// The place of the newest event that this node has taken up.
    pub fn head(&self) -> u64 {
        self.ring().head()
    }

    /// The id of the event at a place, which is also the cursor behind it.
    #[must_use]
    pub fn id(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    /// A signal that comes whenever there are new events.
    pub fn subscribe(&self) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&wake));
        wake
    }

    /// Wakes those who wait for new events.
    pub(super) fn wake(&self) {
        for wake in self.followers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            wake.notify_one();
        }
    }

    /// At most `limit` recent events after a place, or nothing when only the database reaches back to it.
    pub fn recent(&self, after: u64, limit: usize) -> Option<Vec<Arc<Event>>> {
        self.ring().after(after, limit)
    }

    /// What has ended rights after a place, or nothing when that is not known any more.
    pub(super) fn endings(&self, after: u64) -> Option<Vec<Arc<Ending>>> {
        self.ring().endings(after)
    }

    /// The place of an event that was appended and committed, from what the append answered; nothing when the
    /// history has ended before it.
    ///
    /// # Errors
    /// When the database does not answer, or the sequencer does not come.
    pub async fn place_of(&self, appended: i64) -> Result<Option<u64>> {
        let Some(pool) = self.db.postgres() else {
            return u64::try_from(appended).map(Some).map_err(|error| Error::Internal(error.to_string()));
        };
        let mut placed = None;
        for _ in 0..500 {
            if placed.is_none() {
                let seq: Option<Option<i64>> = sqlx::query_scalar("SELECT seq FROM events WHERE id = $1")
                    .bind(appended)
                    .fetch_optional(pool)
                    .await?;
                let Some(seq) = seq else { return Ok(None) };
                let number =
                    |seq: i64| u64::try_from(seq).map_err(|error| Error::Internal(error.to_string()));
                placed = seq.map(number).transpose()?;
            }
            // Whoever is told the place finds the event here.
            if placed.is_some_and(|place| self.head() >= place) {
                return Ok(placed);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        placed.map(Some).ok_or(Error::Overloaded)
    }

    pub(super) fn decode(&self, rows: Vec<EventRow>) -> Result<Vec<Arc<Event>>> {
        rows.into_iter().map(|row| Event::from_row(&self.epoch, row).map(Arc::new)).collect()
    }

    pub(super) fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn place(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
