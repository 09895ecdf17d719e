//! Custom topics: any client may tell anything to whoever listens under a name that it made up.

mod data;
pub mod routes;

use serde::Deserialize;

pub use self::data::Data;
use crate::{
    app::App,
    credentials::{Caller, Scope},
    db::WriteTx,
    error::Result,
    realtime::{self, Envelope, Ephemeral, Frame, NewEvent},
};

/// The names of the server's own events. A client that listens to one of them must be able to rely on who sent it.
const RESERVED: &[&str] = &[
    "snippet_created",
    "snippet_updated",
    "snippet_deleted",
    "message_created",
    "message_updated",
    "message_deleted",
    "messages_deleted",
    "room_created",
    "room_updated",
    "room_deleted",
    "room_read",
    "member_added",
    "member_removed",
    "typing",
    "presence_state",
    "presence_diff",
    "presence_count",
    "notification_created",
    "notification_read",
    "notification_deleted",
    "metrics",
    "activity",
    "export_progress",
    "export_completed",
    "export_failed",
    "export_cancelled",
    "import_progress",
    "import_completed",
    "import_failed",
    "import_cancelled",
    "ready",
    "reset",
    "heartbeat",
    "lagged",
    "topics",
    "topic_closed",
    "closing",
    "auth_expiring",
    "credential_revoked",
    "account_deleted",
];

/// The name of a custom topic: `[a-z0-9][a-z0-9._-]{0,99}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(plain);
        if begins && text.len() <= 100 && text.bytes().all(|byte| plain(byte) || b"._-".contains(&byte)) {
            Ok(Self(text))
        } else {
            Err("must match [a-z0-9][a-z0-9._-]{0,99}")
        }
    }
}

/// The name of a client's event: `[a-z][a-z0-9_]{0,63}`, and not one of the server's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct EventType(String);

impl TryFrom<String> for EventType {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || text.len() > 64 || !text.bytes().all(known) {
            return Err("must match [a-z][a-z0-9_]{0,63}");
        }
        if RESERVED.contains(&text.as_str()) {
            return Err("is the name of one of the server's own events");
        }
        Ok(Self(text))
    }
}

/// The topic behind a name.
#[must_use]
pub fn topic(name: &Name) -> String {
    format!("custom:{}", name.0)
}

/// Tells everyone who listens, now or when they come back. Answers with what the log's append answered.
pub async fn publish(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    name: &Name,
    kind: &EventType,
    data: Data,
) -> Result<i64> {
    caller.require(Scope::Write)?;
    let event = NewEvent {
        kind: &kind.0,
        topic: topic(name),
        feed: None,
        audience: None,
        effect: None,
        actor: caller.actor()?,
        origin: caller.connection,
        data: data.0,
        at: app.clock.now(),
    };
    realtime::append_numbered(tx, event).await
}

/// Tells those who listen at this moment; nothing is kept.
pub fn tell(app: &App, caller: &Caller, name: &Name, kind: &EventType, data: &Data) -> Result<()> {
    caller.require(Scope::Write)?;
    let (topic, actor) = (topic(name), caller.actor()?);
    let envelope = Envelope {
        id: None,
        kind: &kind.0,
        topic: Some(&topic),
        at: app.clock.now(),
        actor: actor.as_ref(),
        data: &data.0,
    };
    let frame = Frame::encode(&envelope, None)?;
    let (kind, origin) = (kind.0.as_str().into(), caller.connection);
    app.realtime.tell(Ephemeral { topic: topic.into(), kind, origin, frame });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{EventType, Name};

    #[test]
    fn names_of_topics() {
        let good = |text: &str| Name::try_from(text.to_owned()).is_ok();
        assert!(good("a") && good("0.b-c_d") && good(&"a".repeat(100)));
        let bad = ["", ".a", "-a", "_a", "A", "a b", "a@b", "a:b", "ä", "a\n", &"a".repeat(101)];
        assert!(bad.iter().all(|text| !good(text)));
    }

    #[test]
    fn names_of_events() {
        let good = |text: &str| EventType::try_from(text.to_owned()).is_ok();
        assert!(good("x") && good("cursor_moved2") && good(&"a".repeat(64)));
        let bad = ["", "_a", "2a", "A", "a-b", "a\n", "metrics", "snippet_created", &"a".repeat(65)];
        assert!(bad.iter().all(|text| !good(text)));
    }
}
