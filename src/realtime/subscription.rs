//! Who listens to what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::event::Key;

/// Who reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewer {
    /// The user, unless anonymous.
    pub user: Option<Uuid>,
    /// Whether events meant for one user are shown to this one too (an administrator).
    pub sees_all: bool,
}

impl Viewer {
    /// Whether an event for `audience` may be shown.
    #[must_use]
    pub fn may_see(self, audience: Option<Uuid>) -> bool {
        audience.is_none() || self.sees_all || audience == self.user
    }
}

/// A topic that a connection listens to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Where its events are published.
    pub key: Key,
    /// Whether the stream itself stands on it: when such a topic ends, so does the stream, and its events are not
    /// shown. Credentials and accounts are guarded so.
    pub guard: bool,
    /// Whether those who listen are known to each other here.
    pub gathers: bool,
}

/// How a connection takes part in who is on its topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Its user is seen there, and it watches the others.
    Track,
    /// It watches.
    Observe,
    /// It watches how many there are.
    Count,
    /// It hears nothing of it.
    #[default]
    Off,
}

/// What a connection wants to hear besides its topics.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Only events of these names.
    pub types: Option<Vec<String>>,
    /// Whether it wants what it caused itself.
    pub echo: bool,
    /// What it wants to know of who is there.
    pub presence: Presence,
}
