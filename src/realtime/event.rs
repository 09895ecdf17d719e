//! An event, encoded once: every connection that gets it shares the same bytes.

use std::{fmt::Write as _, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    effect::{Effect, EffectName, Ending},
    frame::{Envelope, Frame},
};
use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// The name under which events are published and connections listen.
///
/// For a topic that each user has for themselves the key holds the user's id behind an `@`; what clients see is
/// the part before it.
pub type Key = Arc<str>;

/// The part of a key that clients see.
#[must_use]
pub fn visible(key: &str) -> &str {
    key.split('@').next().unwrap_or(key)
}

/// Whether a key is that of a topic which somebody has for themselves.
#[must_use]
pub(super) fn is_own(key: &str) -> bool {
    key.contains('@')
}

/// JSON on one line, in which nothing can break a frame or a line-based reader.
///
/// U+2028, U+2029 and U+0085 are line breaks for some readers but not for JSON, so they are escaped too.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Encodes a value.
    ///
    /// # Errors
    /// When the value has no JSON form, a map whose keys are not text for instance.
    pub fn of(value: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))?;
        Self::stored(escape_line_breaks(text))
    }

    /// Takes up what [`Json::of`] made before.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub fn stored(text: String) -> Result<Self> {
        RawValue::from_string(text).map(Self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn escape_line_breaks(text: String) -> String {
    const BREAKS: [char; 3] = ['\u{0085}', '\u{2028}', '\u{2029}'];
    if !text.contains(BREAKS) {
        return text;
    }
    // They can only stand inside JSON strings, where an escape means the same character.
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if BREAKS.contains(&character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// A durable event at its place in the log.
#[derive(Debug, Clone)]
pub struct Event {
    /// The place: gapless, in the order of commits.
    pub seq: u64,
    /// The name.
    pub kind: Box<str>,
    /// The topic it belongs to.
    pub topic: Key,
    /// A wider topic on which it is told too.
    pub feed: Option<Key>,
    /// The one user who may see it (besides those who see all), or everyone who may read the topic.
    pub audience: Option<Uuid>,
    /// What it does to the rights on its topic, if anything.
    pub ending: Option<Arc<Ending>>,
    /// The stream connection whose owner caused it.
    pub origin: Option<Uuid>,
    frame: Frame,
    feed_frame: Option<Frame>,
}

/// Through which of its two topics somebody gets an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The topic it belongs to.
    Topic,
    /// The wider topic on which it is told too.
    Feed,
}

/// A row of the log, as the database and the bus have it.
#[derive(Debug, Serialize, Deserialize, sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) seq: i64,
    pub(super) r#type: String,
    pub(super) topic: String,
    pub(super) feed: Option<String>,
    pub(super) audience: Option<Uuid>,
    pub(super) effect: Option<EffectName>,
    pub(super) subjects: Option<sqlx::types::Json<Vec<Uuid>>>,
    pub(super) actor: Option<String>,
    pub(super) origin: Option<Uuid>,
    pub(super) payload: String,
    pub(super) at: Timestamp,
}

/// All columns of [`EventRow`], and what follows.
macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT seq, type, topic, feed, audience, effect, subjects, actor, origin, payload, at FROM events ",
            $rest
        )
    };
}
pub(super) use select_events;

impl Event {
    pub(super) fn from_row(epoch: &str, row: EventRow) -> Result<Self> {
        let seq = u64::try_from(row.seq).map_err(|error| Error::Internal(error.to_string()))?;
        let id = format!("{epoch}.{seq}");
        let (actor, data) = (row.actor.map(Json::stored).transpose()?, Json::stored(row.payload)?);
        let frame = |topic: &str| {
            let topic = Some(visible(topic));
            let (id, kind, actor) = (Some(id.as_str()), row.r#type.as_str(), actor.as_ref());
            Frame::encode(&Envelope { id, kind, topic, at: row.at, actor, data: &data }, None)
        };
        let topic: Key = row.topic.as_str().into();
        let subjects = row.subjects.map_or_else(Vec::new, |subjects| subjects.0);
        let ending = |effect| {
            let (kind, topic) = (row.r#type.as_str().into(), Key::clone(&topic));
            let (fed, audience) = (row.feed.is_some(), row.audience);
            Arc::new(Ending { seq, kind, topic, fed, audience, effect })
        };
        let ending = row.effect.map(|name| Effect::of(name, subjects).map(ending)).transpose()?;
        Ok(Self {
            seq,
            frame: frame(&row.topic)?,
            feed_frame: row.feed.as_deref().map(frame).transpose()?,
            kind: row.r#type.into(),
            topic,
            feed: row.feed.map(Into::into),
            audience: row.audience,
            ending,
            origin: row.origin,
        })
    }

    /// The frame for those who get it through its own topic.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The frame for those who get it through its feed.
    #[must_use]
    pub fn feed_frame(&self) -> Option<&Frame> {
        self.feed_frame.as_ref()
    }

    /// The frame for those who get it in this way.
    pub(super) fn frame_on(&self, way: Way) -> Option<&Frame> {
        match way {
            Way::Topic => Some(&self.frame),
            Way::Feed => self.feed_frame.as_ref(),
        }
    }

    /// How many bytes of memory its frames take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.frame.size() + self.feed_frame.as_ref().map_or(0, Frame::size)
    }

    /// The same event after its topic was withdrawn from the feed.
    #[must_use]
    pub(super) fn withdrawn(&self, audience: Option<Uuid>) -> Self {
        Self { feed: None, feed_frame: None, audience: audience.or(self.audience), ..self.clone() }
    }
}
