//! The events of a stream as schemas, for the OpenAPI document.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Denied;
use crate::{
    accounts::Profile,
    chat::{
        members::{Member, MemberRemoved},
        messages::{Message, MessageDeleted, MessagesDeleted},
        reads::RoomRead,
        rooms::{Room, RoomDeleted},
    },
    clock::Timestamp,
    dashboard::{Activity, Metrics},
    exports::Export,
    imports::Import,
    notifications::{CountedNotification, NotificationRemoved, NotificationsRead},
    snippets::{Snippet, SnippetId},
};

/// One frame of `text/event-stream`.
#[derive(Serialize, ToSchema)]
pub struct StreamFrame {
    /// The position in the log; durable events alone have one
    pub id: Option<String>,
    /// The name of the event
    pub event: String,
    /// The envelope as JSON on one line
    #[schema(content_media_type = "application/json", value_type = String)]
    pub data: AnyEvent,
    /// The reconnection time in milliseconds
    pub retry: Option<u64>,
}

/// A page of history.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    pub data: Vec<AnyEvent>,
    /// Where to go on: the `since` of the next page
    pub next_cursor: String,
    /// `fresh`, `resumed` or `gap`
    pub resume: String,
}

/// Any event.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum AnyEvent {
    Server(ServerEvent),
    Custom(CustomEvent),
}

/// An event that a client has published on a custom topic.
#[derive(Serialize, ToSchema)]
pub struct CustomEvent {
    /// Its name, which is none of the server's own
    #[schema(pattern = "^[a-z][a-z0-9_]{0,63}$")]
    pub r#type: String,
    #[serde(flatten)]
    pub envelope: EnvelopeOf<Value>,
}

/// What every envelope has.
#[derive(Serialize, ToSchema)]
pub struct EnvelopeOf<T> {
    /// The position in the log; ephemeral events have none
    pub id: Option<String>,
    /// The subscribed topic through which it came
    pub topic: Option<String>,
    pub at: Timestamp,
    pub actor: Option<Profile>,
    pub data: T,
}

/// Every event that the server itself sends, told apart by `type`.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerEvent {
    SnippetCreated(EnvelopeOf<Snippet>),
    SnippetUpdated(EnvelopeOf<Snippet>),
    SnippetDeleted(EnvelopeOf<Deleted>),
    ExportProgress(EnvelopeOf<Export>),
    ExportCompleted(EnvelopeOf<Export>),
    ExportFailed(EnvelopeOf<Export>),
    ExportCancelled(EnvelopeOf<Export>),
    ImportProgress(EnvelopeOf<Import>),
    ImportCompleted(EnvelopeOf<Import>),
    ImportFailed(EnvelopeOf<Import>),
    ImportCancelled(EnvelopeOf<Import>),
    PresenceState(EnvelopeOf<BTreeMap<String, Presence>>),
    PresenceDiff(EnvelopeOf<PresenceDiff>),
    PresenceCount(EnvelopeOf<PresenceCount>),
    Typing(EnvelopeOf<Typing>),
    RoomCreated(EnvelopeOf<Room>),
    RoomUpdated(EnvelopeOf<Room>),
    RoomDeleted(EnvelopeOf<RoomDeleted>),
    MemberAdded(EnvelopeOf<Member>),
    MemberRemoved(EnvelopeOf<MemberRemoved>),
    MessageCreated(EnvelopeOf<Message>),
    MessageUpdated(EnvelopeOf<Message>),
    MessageDeleted(EnvelopeOf<MessageDeleted>),
    MessagesDeleted(EnvelopeOf<MessagesDeleted>),
    RoomRead(EnvelopeOf<RoomRead>),
    NotificationCreated(EnvelopeOf<CountedNotification>),
    NotificationRead(EnvelopeOf<NotificationsRead>),
    NotificationDeleted(EnvelopeOf<NotificationRemoved>),
    Metrics(EnvelopeOf<Metrics>),
    Activity(EnvelopeOf<Activities>),
    Ready(EnvelopeOf<Ready>),
    Reset(EnvelopeOf<Cursor>),
    Lagged(EnvelopeOf<Cursor>),
    Heartbeat(EnvelopeOf<Cursor>),
    Topics(EnvelopeOf<TopicsNow>),
    TopicClosed(EnvelopeOf<TopicClosed>),
    AuthExpiring(EnvelopeOf<AuthExpiring>),
    Closing(EnvelopeOf<Closing>),
}

/// A snippet that is gone.
#[derive(Serialize, ToSchema)]
pub struct Deleted {
    pub id: SnippetId,
}

/// A user who is on a topic.
#[derive(Serialize, ToSchema)]
pub struct Presence {
    pub user: Profile,
    /// One for each connection or lease
    pub metas: Vec<PresenceMeta>,
}

/// One presence of a user, as Phoenix Presence describes it.
#[derive(Serialize, ToSchema)]
pub struct PresenceMeta {
    /// Names this version of it
    pub phx_ref: String,
    /// The version that this one took the place of
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phx_ref_prev: Option<String>,
    pub joined_at: Timestamp,
    /// What the user says of it, `status` (`active`, `idle` or `away`) among it
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// Who has come and who has gone since the state or the last diff.
#[derive(Serialize, ToSchema)]
pub struct PresenceDiff {
    pub joins: BTreeMap<String, Presence>,
    pub leaves: BTreeMap<String, Presence>,
}

/// How many users are on a topic.
#[derive(Serialize, ToSchema)]
pub struct PresenceCount {
    pub count: u64,
}

/// Who is on a topic now.
#[derive(Serialize, ToSchema)]
pub struct PresentNow {
    pub count: u64,
    /// By user; null for callers without credentials, and where there are so many that only their number is told
    pub presences: Option<BTreeMap<String, Presence>>,
}

/// A presence without a stream.
#[derive(Serialize, ToSchema)]
pub struct PresenceLease {
    /// When it ends unless it is renewed
    pub expires_at: Timestamp,
    pub meta: PresenceMeta,
}

/// Everybody who is typing on a topic.
#[derive(Serialize, ToSchema)]
pub struct Typing {
    pub users: Vec<Profile>,
}

/// What happened last, the newest first.
#[derive(Serialize, ToSchema)]
pub struct Activities {
    pub activity: Vec<Activity>,
}

/// The first event of a stream.
#[derive(Serialize, ToSchema)]
pub struct Ready {
    pub connection_id: uuid::Uuid,
    /// `fresh`, `resumed` or `gap`
    pub resume: String,
    /// How many events of history follow; from 1000 on they are not counted
    pub replayed: u64,
    /// From here on everything is new
    pub cursor: String,
    pub topics: Vec<String>,
    pub denied: Vec<Denied>,
    pub heartbeat_s: f64,
    pub server_time: Timestamp,
}

/// A position in the log.
#[derive(Serialize, ToSchema)]
pub struct Cursor {
    pub cursor: String,
}

/// What the stream listens to now.
#[derive(Serialize, ToSchema)]
pub struct TopicsNow {
    pub topics: Vec<String>,
    pub cursor: String,
}

/// A topic that the stream has lost.
#[derive(Serialize, ToSchema)]
pub struct TopicClosed {
    pub topic: String,
    /// `deleted` or `not_permitted`
    pub reason: String,
}

/// The credentials of the stream end soon.
#[derive(Serialize, ToSchema)]
pub struct AuthExpiring {
    pub expires_at: Timestamp,
}

/// The stream ends.
#[derive(Serialize, ToSchema)]
pub struct Closing {
    /// `shutdown`, `credential_expired`, `credential_revoked`, `account_deleted`, `overloaded`, or `isolated`: the
    /// node can no longer know whether the credentials are still good; others can
    pub reason: String,
}
