//! Who listens to what.

use uuid::Uuid;

use super::event::Key;

/// Who reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Where its events are published.
    pub key: Key,
    /// Whether the stream itself stands on it: when such a topic ends, so does the stream, and its events are not
    /// shown. Credentials and accounts are guarded so.
    pub guard: bool,
}

/// What a connection wants to hear besides its topics.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Only events of these names.
    pub types: Option<Vec<String>>,
    /// Whether it wants what it caused itself.
    pub echo: bool,
}
