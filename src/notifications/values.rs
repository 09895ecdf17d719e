//! What a notification is made of.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{clock::Timestamp, id::id_type};

id_type! {
    /// Identifies a notification.
    NotificationId
}

/// What it is about, for programs: `[a-z][a-z0-9_]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = NotificationKind, value_type = String, pattern = "^[a-z][a-z0-9_]{0,63}$", example = "build_failed")]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// Somebody was mentioned in a message.
    pub const MENTION: Self = Self(Cow::Borrowed("mention"));
    /// Somebody was made a member of a room.
    pub const ROOM_INVITATION: Self = Self(Cow::Borrowed("room_invitation"));
    /// An export can be downloaded.
    pub const EXPORT_COMPLETED: Self = Self(Cow::Borrowed("export_completed"));

    /// The kinds of the server's own. A client must be able to rely on who made one of these.
    const RESERVED: [Self; 3] = [Self::MENTION, Self::ROOM_INVITATION, Self::EXPORT_COMPLETED];

    pub(super) fn stored(text: String) -> Self {
        Self(text.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Kind {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || text.len() > 64 || !text.bytes().all(known) {
            return Err("must match [a-z][a-z0-9_]{0,63}");
        }
        let kind = Self(text.into());
        if Self::RESERVED.contains(&kind) { Err("is one of the server's own kinds") } else { Ok(kind) }
    }
}

/// What it says, for people: 1 to 500 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Text(pub(super) String);

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=500).contains(&text.chars().count());
        if fits { Ok(Self(text)) } else { Err("must have 1 to 500 characters") }
    }
}

/// Where it leads: a path of this site, or a URL of the web, of at most 2,000 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Link(pub(super) String);

impl TryFrom<String> for Link {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let path = text.starts_with('/') && !text[1..].starts_with(['/', '\\']);
        // A page puts it into an anchor as it is: `javascript:` must not get there.
        let url = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
        let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        if (path || url) && plain && text.len() <= 2_000 {
            Ok(Self(text))
        } else {
            Err("must be a path that begins with one `/`, or a http or https URL, of at most 2000 bytes")
        }
    }
}

/// A notification.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Notification {
    pub id: NotificationId,
    /// The server's own kinds are `mention`, `room_invitation` and `export_completed`
    pub kind: Kind,
    #[schema(value_type = String, example = "Ann mentioned you in General")]
    pub message: Text,
    #[schema(value_type = Option<String>)]
    pub link: Option<Link>,
    pub read: bool,
    pub created_at: Timestamp,
}

/// What a new notification is made of.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub(super) kind: Kind,
    /// For people
    #[schema(value_type = String, min_length = 1, max_length = 500, example = "The build has failed")]
    pub(super) message: Text,
    /// A path of this site, or a URL
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 2_000, example = "/builds/4711")]
    pub(super) link: Option<Link>,
}

impl Notice {
    /// One of the server's own; the message is cut where it is too long.
    #[must_use]
    pub fn new(kind: Kind, message: &str, link: Option<String>) -> Self {
        Self { kind, message: Text(message.chars().take(500).collect()), link: link.map(Link) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Link, Text};

    #[test]
    fn links_lead_to_pages_only() {
        let good = |text: &str| Link::try_from(text.to_owned()).is_ok();
        assert!(good("/") && good("/v1/rooms/1?x=y#z") && good("https://example.org/") && good("http://a"));
        let long = format!("/{}", "a".repeat(2_000));
        let bad =
            ["", "a", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a b", "/a\n", &long];
        assert!(bad.iter().all(|text| !good(text)));
    }

    #[test]
    fn kinds_of_the_server_are_its_own() {
        let good = |text: &str| Kind::try_from(text.to_owned()).is_ok();
        assert!(good("build_failed") && good("a") && good(&"a".repeat(64)));
        let bad = ["", "A", "a b", "1a", "mention", "room_invitation", "export_completed", &"a".repeat(65)];
        assert!(bad.iter().all(|text| !good(text)));
    }

    #[test]
    fn texts_are_measured_in_characters() {
        let good = |text: String| Text::try_from(text).is_ok();
        assert!(good("🦀".repeat(500)) && !good("a".repeat(501)) && !good(String::new()));
    }
}
