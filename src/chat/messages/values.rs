//! What a message is made of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    accounts::{Profile, UserId},
    chat::{MessageId, RoomId},
    clock::Timestamp,
    patch,
};

/// What is said: 1 to 4,000 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct MessageContent(pub(super) String);

impl TryFrom<String> for MessageContent {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=4_000).contains(&text.chars().count());
        if fits { Ok(Self(text)) } else { Err("must have 1 to 4000 characters") }
    }
}

/// The client's own name for a message, by which it finds the one that it shows already: 1 to 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ClientId(pub(super) String);

impl TryFrom<String> for ClientId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=64).contains(&text.chars().count());
        if fits { Ok(Self(text)) } else { Err("must have 1 to 64 characters") }
    }
}

/// At most 50 users, all different.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<UserId>")]
pub struct Mentions(pub(super) Vec<UserId>);

impl TryFrom<Vec<UserId>> for Mentions {
    type Error = &'static str;

    fn try_from(users: Vec<UserId>) -> Result<Self, Self::Error> {
        let distinct = users.iter().collect::<BTreeSet<_>>().len() == users.len();
        if distinct && users.len() <= 50 {
            Ok(Self(users))
        } else {
            Err("must be at most 50 different users")
        }
    }
}

/// A message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Message {
    pub id: MessageId,
    pub room_id: RoomId,
    /// Who has written it
    pub user: Profile,
    #[schema(value_type = String, example = "Good morning")]
    pub content: MessageContent,
    /// What the client that sent it called it
    #[schema(value_type = Option<String>)]
    pub client_id: Option<ClientId>,
    #[schema(value_type = Vec<UserId>)]
    pub mentions: Mentions,
    pub version: i64,
    pub sent_at: Timestamp,
    pub edited_at: Option<Timestamp>,
}

/// What a new message is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    #[schema(value_type = String, min_length = 1, max_length = 4_000, example = "Good morning")]
    pub(super) content: MessageContent,
    /// Comes back in the answer and in the event, so that a client finds what it shows already
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64)]
    pub(super) client_id: Option<ClientId>,
    /// Members of the room; each of them is notified
    #[serde(default)]
    #[schema(value_type = Vec<UserId>, max_items = 50)]
    pub(super) mentions: Mentions,
}

/// Changes to a message; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMessage {
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 4_000)]
    pub(super) content: Option<MessageContent>,
    /// Whoever was not mentioned before is notified
    #[serde(default, deserialize_with = "patch::or_default")]
    #[schema(value_type = Vec<UserId>, required = false, max_items = 50)]
    pub(super) mentions: Option<Mentions>,
}

#[cfg(test)]
mod tests {
    use super::{ClientId, Mentions, MessageContent};
    use crate::accounts::UserId;

    #[test]
    fn texts_are_measured_in_characters() {
        let content = |text: String| MessageContent::try_from(text).is_ok();
        assert!(content("🦀".repeat(4_000)) && !content("a".repeat(4_001)) && !content(String::new()));
        let client_id = |text: String| ClientId::try_from(text).is_ok();
        assert!(client_id("🦀".repeat(64)) && !client_id("a".repeat(65)) && !client_id(String::new()));
    }

    #[test]
    fn nobody_is_mentioned_twice() {
        let users = |count: u128| (0..count).map(|n| UserId(uuid::Uuid::from_u128(n))).collect::<Vec<_>>();
        assert!(Mentions::try_from(users(50)).is_ok() && Mentions::try_from(users(51)).is_err());
        assert!(Mentions::try_from([users(2), users(1)].concat()).is_err());
    }
}
