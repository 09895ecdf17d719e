//! Lists of snippets: which, in what order, and where a page ends.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Content, Language, Snippet, SnippetId, Tag, Tags, Title, Visibility};
use crate::{
    accounts::{Profile, UserId},
    clock::Timestamp,
    credentials::Caller,
};

/// A snippet in a list: with the beginning of its content, or with all of it where that was asked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SnippetSummary {
    pub id: SnippetId,
    pub title: Title,
    /// The first 200 characters of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    pub language: Language,
    pub tags: Tags,
    pub visibility: Visibility,
    pub owner: Profile,
    pub version: i64,
    pub views: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Snippet> for SnippetSummary {
    fn from(it: Snippet) -> Self {
        Self {
            id: it.id,
            title: it.title,
            excerpt: Some(it.content.excerpt()),
            content: None,
            language: it.language,
            tags: it.tags,
            visibility: it.visibility,
            owner: it.owner,
            version: it.version,
            views: it.views,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

/// Whose snippets are meant: a user's, or the caller's own.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub enum OwnerQuery {
    Me,
    User(UserId),
}

impl TryFrom<String> for OwnerQuery {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "me" => Ok(Self::Me),
            id => {
                id.parse().map(|id| Self::User(UserId(id))).map_err(|_| "must be the id of a user, or `me`")
            }
        }
    }
}

impl OwnerQuery {
    /// The user who is meant.
    pub fn user(self, caller: &Caller) -> crate::error::Result<UserId> {
        match self {
            Self::Me => Ok(caller.require_user()?.id),
            Self::User(id) => Ok(id),
        }
    }
}

/// Which page of which list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageKey {
    pub(super) filter: Filter,
    /// Whether those that are not public are listed too.
    pub(super) all: bool,
    pub(super) after: Option<Position>,
    pub(super) limit: u32,
}

/// One page of a list.
#[derive(Debug)]
pub struct Listed {
    pub snippets: Vec<SnippetSummary>,
    /// The position behind it, if there are more.
    pub next: Option<Position>,
}

/// Which snippets a list holds, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Filter {
    pub owner: Option<UserId>,
    pub language: Option<Language>,
    pub tag: Option<Tag>,
    /// Only those that were changed at this time or later.
    #[serde(skip)]
    pub updated_since: Option<Timestamp>,
    pub sort: Sort,
    /// Whether the items carry their content in place of the excerpt.
    #[serde(skip)]
    pub with_content: bool,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Sort {
    #[serde(rename = "created_at")]
    Oldest,
    #[default]
    #[serde(rename = "-created_at")]
    Newest,
    #[serde(rename = "updated_at")]
    LeastRecent,
    #[serde(rename = "-updated_at")]
    MostRecent,
    #[serde(rename = "title")]
    Title,
}

impl Sort {
    /// The column, how it compares with what comes behind, and the direction.
    pub(super) fn sql(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Oldest => ("s.created_at", ">", "ASC"),
            Self::Newest => ("s.created_at", "<", "DESC"),
            Self::LeastRecent => ("s.updated_at", ">", "ASC"),
            Self::MostRecent => ("s.updated_at", "<", "DESC"),
            Self::Title => ("s.title", ">", "ASC"),
        }
    }

    /// Where a snippet stands in this order.
    pub(super) fn position(self, at: &SnippetSummary) -> Position {
        let key = match self {
            Self::Oldest | Self::Newest => Key::Time(at.created_at),
            Self::LeastRecent | Self::MostRecent => Key::Time(at.updated_at),
            Self::Title => Key::Title(at.title.0.clone()),
        };
        Position { key, id: at.id }
    }
}

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    pub(super) key: Key,
    pub(super) id: SnippetId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Key {
    Time(Timestamp),
    Title(String),
}
