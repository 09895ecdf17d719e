//! The names of topics, and which feature each leads to.

use uuid::Uuid;

use crate::{
    chat::{self, RoomId},
    credentials::Caller,
    custom_topics, dashboard, exports, imports,
    jobs::Kind,
    notifications,
    realtime::Key,
    snippets::{self, SnippetId},
};

/// A topic that clients can listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// All public snippets.
    Snippets,
    /// One snippet.
    Snippet(SnippetId),
    /// A room.
    Room(RoomId),
    /// The caller's notifications.
    Notifications,
    /// The figures of the dashboard.
    Dashboard,
    /// The caller's exports.
    Exports,
    /// The caller's imports.
    Imports,
    /// A topic of the clients' own.
    Custom(custom_topics::Name),
}

impl Topic {
    /// Reads a topic as clients name it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            snippets::FEED => return Some(Self::Snippets),
            notifications::TOPIC => return Some(Self::Notifications),
            dashboard::TOPIC => return Some(Self::Dashboard),
            exports::TOPIC => return Some(Self::Exports),
            imports::TOPIC => return Some(Self::Imports),
            _ => {}
        }
        match name.split_once(':')? {
            ("snippets", id) => id.parse().ok().map(|id: Uuid| Self::Snippet(SnippetId(id))),
            ("chat", id) => id.parse().ok().map(|id: Uuid| Self::Room(RoomId(id))),
            ("custom", name) => custom_topics::Name::try_from(name.to_owned()).ok().map(Self::Custom),
            _ => None,
        }
    }

    /// Whether those who listen are known to each other here.
    pub(super) fn gathers(&self) -> bool {
        match self {
            Self::Snippet(_) | Self::Room(_) => true,
            Self::Snippets
            | Self::Notifications
            | Self::Dashboard
            | Self::Exports
            | Self::Imports
            | Self::Custom(_) => false,
        }
    }

    /// The key for this caller: a topic that everyone has for themselves has one for each user.
    pub(super) fn key(&self, caller: &Caller) -> Key {
        let own = |kind: Kind| caller.user().map_or_else(|| kind.topic().into(), |user| kind.key(user));
        match self {
            Self::Snippets => snippets::FEED.into(),
            Self::Snippet(id) => snippets::topic(*id).into(),
            Self::Room(id) => chat::topic(*id).into(),
            // Nobody's are refused to those who are not signed in, and only need a name for that.
            Self::Notifications => {
                caller.user().map_or_else(|| notifications::TOPIC.to_owned(), notifications::topic).into()
            }
            Self::Dashboard => dashboard::TOPIC.into(),
            Self::Exports => own(Kind::Export),
            Self::Imports => own(Kind::Import),
            Self::Custom(name) => custom_topics::topic(name).into(),
        }
    }
}
