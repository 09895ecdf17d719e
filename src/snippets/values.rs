//! What a snippet is made of; a value that exists keeps its rule.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SnippetId;
use crate::{accounts::Profile, clock::Timestamp, patch};

/// How many characters of the content stand in lists.
const EXCERPT: usize = 200;

/// A title: 1 to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 200, example = "Read a file by lines")]
pub struct Title(pub(super) String);

impl Title {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Title {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=200).contains(&text.chars().count());
        if fits { Ok(Self(text)) } else { Err("must have 1 to 200 characters") }
    }
}

/// The text of a snippet: 1 byte to 512 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 524_288, example = "for line in file.lines() {}")]
pub struct Content(pub(super) String);

impl Content {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Content {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=512 * 1024).contains(&text.len());
        if fits { Ok(Self(text)) } else { Err("must have 1 to 524288 bytes in UTF-8") }
    }
}

impl Content {
    pub(super) fn excerpt(&self) -> String {
        self.0.chars().take(EXCERPT).collect()
    }
}

/// The name of a language, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(try_from = "String")]
#[sqlx(transparent)]
#[schema(value_type = String, pattern = "^[a-z][a-z0-9+#._-]{0,31}$", example = "rust")]
pub struct Language(pub(super) String);

impl Default for Language {
    fn default() -> Self {
        Self("text".to_owned())
    }
}

impl Language {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Language {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+#._-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        if begins && text.len() <= 32 && text.bytes().all(known) {
            Ok(Self(text))
        } else {
            Err("must begin with one of a-z and go on with at most 31 of a-z, 0-9, +, #, ., _ and -")
        }
    }
}

/// A word to find snippets by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9-]{1,32}$", example = "io")]
pub struct Tag(pub(super) String);

impl Tag {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tag {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(known);
        if fits { Ok(Self(text)) } else { Err("must be 1 to 32 of a-z, 0-9 and -") }
    }
}

/// At most 10 tags, all different.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Vec<Tag>")]
#[schema(value_type = Vec<String>, max_items = 10, example = json!(["io", "files"]))]
pub struct Tags(pub(super) Vec<Tag>);

impl Tags {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Tag>> for Tags {
    type Error = &'static str;

    fn try_from(tags: Vec<Tag>) -> Result<Self, Self::Error> {
        let distinct = tags.iter().collect::<BTreeSet<_>>().len() == tags.len();
        if distinct && tags.len() <= 10 { Ok(Self(tags)) } else { Err("must be at most 10 different tags") }
    }
}

/// Who may read a snippet, from the widest circle to the narrowest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Visibility {
    /// Everyone, and it is listed.
    #[default]
    Public,
    /// Everyone who knows the id.
    Unlisted,
    /// The owner and administrators.
    Private,
}

/// A snippet.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Snippet {
    pub id: SnippetId,
    pub title: Title,
    pub content: Content,
    pub language: Language,
    pub tags: Tags,
    pub visibility: Visibility,
    pub owner: Profile,
    pub version: i64,
    pub views: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a new snippet is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    pub title: Title,
    pub content: Content,
    #[serde(default)]
    pub language: Language,
    #[serde(default)]
    pub tags: Tags,
    #[serde(default)]
    pub visibility: Visibility,
}

/// Changes to a snippet; what is not given stays, and null brings back the default where there is one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = Title, required = false)]
    pub(super) title: Option<Title>,
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = Content, required = false)]
    pub(super) content: Option<Content>,
    #[serde(default, deserialize_with = "patch::or_default")]
    pub(super) language: Option<Language>,
    #[serde(default, deserialize_with = "patch::or_default")]
    pub(super) tags: Option<Tags>,
    #[serde(default, deserialize_with = "patch::or_default")]
    pub(super) visibility: Option<Visibility>,
}
