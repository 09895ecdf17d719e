//! What a room is made of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RoomId;
use crate::{
    accounts::{Profile, UserId},
    chat::MessageId,
    clock::Timestamp,
    patch,
};

/// The name of a room: 1 to 100 characters, not only blanks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RoomName(pub(super) String);

impl RoomName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() || text.chars().count() > 100 {
            return Err("must have 1 to 100 characters, not only blanks");
        }
        Ok(Self(text))
    }
}

/// Who may read a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum RoomVisibility {
    /// Everyone; and whoever is signed in may join.
    #[default]
    Public,
    /// Its members and administrators.
    Private,
}

/// A room.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Room {
    pub id: RoomId,
    #[schema(value_type = String, example = "General")]
    pub name: RoomName,
    pub visibility: RoomVisibility,
    /// Always one of the members
    pub owner: Profile,
    pub created_at: Timestamp,
    pub version: i64,
}

impl Room {
    /// Whether only its members and administrators may read it.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.visibility == RoomVisibility::Private
    }
}

/// A room in a list, as one caller meets it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RoomSummary {
    #[serde(flatten)]
    pub room: Room,
    /// How many messages of others the caller has not read; null where the caller is no member
    pub unread_count: Option<i64>,
    /// The last message that the caller has read; null where there is none, and where the caller is no member
    pub last_read_id: Option<MessageId>,
}

/// What a new room is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRoom {
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "General")]
    pub(super) name: RoomName,
    #[serde(default)]
    pub(super) visibility: RoomVisibility,
}

/// Changes to a room; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRoom {
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100, example = "General")]
    pub(super) name: Option<RoomName>,
    #[serde(default, deserialize_with = "patch::or_default")]
    pub(super) visibility: Option<RoomVisibility>,
    /// The member to whom the room is handed over
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = UserId, required = false)]
    pub(super) owner_id: Option<UserId>,
}

#[cfg(test)]
mod tests {
    use super::RoomName;

    #[test]
    fn names_are_not_blank() {
        let good = |text: &str| RoomName::try_from(text.to_owned()).is_ok();
        assert!(good("a") && good(&"🦀".repeat(100)));
        assert!(!good("") && !good(" \n") && !good(&"a".repeat(101)));
    }
}
