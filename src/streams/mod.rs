//! Streams: one connection, many topics.
//!
//! This is where the names of topics meet the features that own them: who may listen to what.

pub mod routes;
pub mod schema;
pub mod sugar;

use std::{future::poll_fn, rc::Rc, task::Poll, time::Duration};

use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    chat::{self, RoomId},
    credentials::{self, Caller, Kind, Scope},
    custom_topics,
    error::{Error, Result},
    exports, imports, jobs, notifications,
    realtime::{
        ConnectionStream, Frame, Hub, Key, Opening, Since, Start, Subscription, TopicChange, Viewer, Wishes,
        visible,
    },
    snippets::{self, SnippetId},
};

/// How many events a page of history holds at most.
const PAGE: usize = 100;
/// The reconnection time that a stream sets, in milliseconds.
const RETRY_MS: u64 = 2_000;

/// A topic that clients can listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// All public snippets.
    Snippets,
    /// One snippet.
    Snippet(SnippetId),
    /// One's own exports.
    Exports,
    /// One's own imports.
    Imports,
    /// A room.
    Room(RoomId),
    /// The caller's notifications.
    Notifications,
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

    /// The key for this caller: a topic that everyone has for themselves has one for each user.
    fn key(&self, caller: &Caller) -> Key {
        let own = |kind: jobs::Kind| caller.user().map_or_else(|| kind.topic().into(), |user| kind.key(user));
        match self {
            Self::Exports => own(jobs::Kind::Export),
            Self::Imports => own(jobs::Kind::Import),
            Self::Snippets => snippets::FEED.into(),
            Self::Snippet(id) => snippets::topic(*id).into(),
            Self::Room(id) => chat::topic(*id).into(),
            // Nobody's are refused to those who are not signed in, and only need a name for that.
            Self::Notifications => {
                caller.user().map_or_else(|| notifications::TOPIC.to_owned(), notifications::topic).into()
            }
            Self::Custom(name) => custom_topics::topic(name).into(),
        }
    }
}

/// A topic that may not be listened to, and why.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Denied {
    #[schema(example = "snippets:0190…")]
    pub topic: String,
    /// `unauthenticated`, `forbidden` or `not_found`
    pub code: &'static str,
}

/// What a client wants to listen to.
pub struct Wanted<'a> {
    pub topics: Vec<Topic>,
    pub wishes: Wishes,
    pub since: Since<'a>,
}

/// Topics that may be listened to, and those that may not.
struct Sorted {
    granted: Vec<Key>,
    denied: Vec<Denied>,
    first_refusal: Option<Error>,
}

async fn sort(app: &App, caller: &Caller, topics: &[Topic]) -> Result<Sorted> {
    let mut sorted = Sorted { granted: Vec::new(), denied: Vec::new(), first_refusal: None };
    for topic in topics {
        let key = topic.key(caller);
        if sorted.granted.contains(&key) {
            continue;
        }
        let code = match require_topic(app, caller, topic).await {
            Ok(()) => {
                sorted.granted.push(key);
                continue;
            }
            Err(error @ Error::Unauthenticated(_)) => refuse(&mut sorted, error, "unauthenticated"),
            Err(error @ (Error::Forbidden(_) | Error::InsufficientScope(_))) => {
                refuse(&mut sorted, error, "forbidden")
            }
            Err(error @ Error::NotFound(_)) => refuse(&mut sorted, error, "not_found"),
            Err(error) => return Err(error),
        };
        sorted.denied.push(Denied { topic: visible(&key).to_owned(), code });
    }
    Ok(sorted)
}

fn refuse(sorted: &mut Sorted, error: Error, code: &'static str) -> &'static str {
    sorted.first_refusal.get_or_insert(error);
    code
}

async fn require_topic(app: &App, caller: &Caller, topic: &Topic) -> Result<()> {
    caller.require_read(app.settings.public_read)?;
    if let Some(only) = caller.identity.as_ref().and_then(|who| who.topics.as_ref())
        && !only.iter().any(|name| Topic::parse(name).as_ref() == Some(topic))
    {
        return Err(Error::Forbidden("the stream token is for other topics"));
    }
    match topic {
        Topic::Snippets => Ok(()),
        Topic::Snippet(id) => snippets::may_read(app, caller, *id).await,
        Topic::Room(id) => chat::may_read(app, caller, *id).await,
        Topic::Notifications | Topic::Exports | Topic::Imports | Topic::Custom(_) => {
            caller.require(Scope::Read).map(drop)
        }
    }
}

fn guards(caller: &Caller) -> impl Iterator<Item = Subscription> {
    credentials::guards(caller).into_iter().map(|key| Subscription { key: key.into(), guard: true })
}

fn shown(keys: Vec<Key>) -> impl Iterator<Item = Subscription> {
    keys.into_iter().map(|key| Subscription { key, guard: false })
}

/// Opens a stream. Its first frame is `ready`; from then on it misses nothing.
pub async fn open(app: &App, hub: &Rc<Hub>, caller: &Caller, wanted: Wanted<'_>) -> Result<ConnectionStream> {
    let (stream, _) = begin(app, hub, caller, wanted).await?;
    Ok(stream)
}

async fn begin(
    app: &App,
    hub: &Rc<Hub>,
    caller: &Caller,
    wanted: Wanted<'_>,
) -> Result<(ConnectionStream, &'static str)> {
    let sorted = sort(app, caller, &wanted.topics).await?;
    if sorted.granted.is_empty() {
        return Err(sorted.first_refusal.unwrap_or(Error::NotFound("topic")));
    }
    let viewer = Viewer { user: caller.user().map(|user| user.0), sees_all: caller.is_admin() };
    let log = &app.realtime.log;
    let start = log.start(wanted.since).await?;
    let verdict = match start {
        Start::Fresh(_) => "fresh",
        Start::After(_) => "resumed",
        Start::Gap => "gap",
    };
    let replayed = match start {
        Start::After(place) => log.count(&sorted.granted, viewer, &wanted.wishes, place).await?,
        Start::Fresh(_) | Start::Gap => 0,
    };
    let topics: Vec<String> = sorted.granted.iter().map(|key| visible(key).to_owned()).collect();
    let (now, heartbeat) = (app.clock.now(), app.realtime.heartbeat());
    let denied = sorted.denied;
    let opening = Opening {
        viewer,
        subscriptions: shown(sorted.granted).chain(guards(caller)).collect(),
        wishes: wanted.wishes,
        start,
        as_of: caller.as_of,
        expires_at: caller.identity.as_ref().and_then(|who| who.expires_at),
    };
    let stream = hub.open(opening, |id, cursor| {
        let data = json!({
            "connection_id": id, "resume": verdict, "replayed": replayed, "cursor": log.id(cursor),
            "topics": topics, "denied": denied, "heartbeat_s": heartbeat.as_secs_f64(), "server_time": now,
        });
        Frame::notice("ready", now, &data, Some(RETRY_MS))
    })?;
    Ok((stream, verdict))
}

/// A page of history, for clients that ask instead of listening.
#[derive(Debug, Serialize)]
pub struct HistoryPage {
    data: Vec<Box<RawValue>>,
    next_cursor: String,
    resume: &'static str,
}

/// Reads what comes after a place; where there is nothing yet, waits for it up to `wait`.
pub async fn history(
    app: &App,
    hub: &Rc<Hub>,
    caller: &Caller,
    wanted: Wanted<'_>,
    wait: Duration,
) -> Result<HistoryPage> {
    let (mut stream, resume) = begin(app, hub, caller, wanted).await?;
    let deadline = tokio::time::Instant::now() + wait;
    let mut data: Vec<Box<RawValue>> = Vec::new();
    while data.len() < PAGE {
        let frame = match poll_once(&mut stream).await {
            Poll::Ready(frame) => frame,
            Poll::Pending if !stream.is_live() => stream.next().await,
            Poll::Pending if !data.is_empty() => break,
            Poll::Pending => match tokio::time::timeout_at(deadline, stream.next()).await {
                Ok(frame) => frame,
                Err(_) => break,
            },
        };
        let Some(frame) = frame else { break };
        if frame.is_durable() {
            let envelope = serde_json::from_slice(frame.envelope());
            data.push(envelope.map_err(|error| Error::Internal(error.to_string()))?);
        }
    }
    Ok(HistoryPage { data, next_cursor: app.realtime.log.id(stream.position()), resume })
}

async fn poll_once(stream: &mut ConnectionStream) -> Poll<Option<Frame>> {
    poll_fn(|cx| Poll::Ready(stream.poll_next_unpin(cx))).await
}

/// A change of an open stream, as its client asks for it.
pub struct Wish {
    pub connection: Uuid,
    pub add: Vec<Topic>,
    pub remove: Vec<Topic>,
}

/// What a stream listens to after a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct Topics {
    pub topics: Vec<String>,
    pub denied: Vec<Denied>,
}

/// Changes what an open stream listens to. Fresh credentials of the same user renew those of the stream.
pub async fn change(app: &App, caller: &Caller, wish: Wish) -> Result<Topics> {
    let sorted = sort(app, caller, &wish.add).await?;
    let renew = caller.identity.as_ref().filter(|who| who.kind != Kind::Stream || who.topics.is_none());
    let change = TopicChange {
        connection: wish.connection,
        user: caller.user().map(|user| user.0),
        as_of: caller.as_of,
        add: shown(sorted.granted).collect(),
        remove: wish.remove.iter().map(|topic| topic.key(caller)).collect(),
        renew: renew.map(|who| (guards(caller).collect(), who.expires_at)),
    };
    let topics = app.realtime.change(change).await?;
    Ok(Topics { topics, denied: sorted.denied })
}
