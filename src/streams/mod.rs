//! Streams: one connection, many topics.
//!
//! This is where the names of topics meet the features that own them: who may listen to what.

pub mod routes;
pub mod schema;
pub mod sugar;
mod topic;

use std::{future::poll_fn, rc::Rc, task::Poll, time::Duration};

use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::topic::Topic;
use crate::{
    app::App,
    chat,
    credentials::{self, Caller, Identity, Kind, Scope},
    error::{Error, Result},
    realtime::{
        ConnectionStream, Frame, Hub, Key, Opening, Presence, Renewal, Since, Start, Subscription,
        TopicChange, Viewer, Wishes, visible,
    },
    snippets,
};

/// How many events a page of history holds at most.
const PAGE: usize = 100;
/// How long the database may take to give a part of the history.
const READING: Duration = Duration::from_secs(5);
/// The reconnection time that a stream sets, in milliseconds.
const RETRY_MS: u64 = 2_000;

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
    granted: Vec<Subscription>,
    denied: Vec<Denied>,
    first_refusal: Option<Error>,
}

async fn sort(app: &App, caller: &Caller, topics: &[Topic]) -> Result<Sorted> {
    let mut sorted = Sorted { granted: Vec::new(), denied: Vec::new(), first_refusal: None };
    for topic in topics {
        let key = topic.key(caller);
        if sorted.granted.iter().any(|granted| granted.key == key) {
            continue;
        }
        let code = match require_topic(app, caller, topic).await {
            Ok(()) => {
                sorted.granted.push(Subscription { key, guard: false, gathers: topic.gathers() });
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

/// The key of a topic on which users are known to each other, for somebody who may listen to it.
pub async fn gathering(app: &App, caller: &Caller, name: &str) -> Result<Key> {
    let topic = Topic::parse(name).filter(Topic::gathers).ok_or(Error::NotFound("topic with presence"))?;
    require_topic(app, caller, &topic).await?;
    Ok(topic.key(caller))
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
        Topic::Snippets | Topic::Dashboard => Ok(()),
        Topic::Snippet(id) => snippets::may_read(app, caller, *id).await,
        Topic::Room(id) => chat::may_read(app, caller, *id).await,
        Topic::Notifications | Topic::Exports | Topic::Imports | Topic::Custom(_) => {
            caller.require(Scope::Read).map(drop)
        }
    }
}

fn guards(caller: &Caller) -> impl Iterator<Item = Subscription> {
    credentials::guards(caller).into_iter().map(|key| Subscription {
        key: key.into(),
        guard: true,
        gathers: false,
    })
}

fn viewer(caller: &Caller) -> Viewer {
    Viewer { user: caller.user().map(|user| user.0), sees_all: caller.is_admin() }
}

/// Opens a stream. Its first frame is `ready`; from then on it misses nothing.
pub async fn open(app: &App, hub: &Rc<Hub>, caller: &Caller, wanted: Wanted<'_>) -> Result<ConnectionStream> {
    let (stream, _) = begin(app, hub, caller, wanted, true).await?;
    Ok(stream)
}

async fn begin(
    app: &App,
    hub: &Rc<Hub>,
    caller: &Caller,
    wanted: Wanted<'_>,
    counts: bool,
) -> Result<(ConnectionStream, &'static str)> {
    let sorted = sort(app, caller, &wanted.topics).await?;
    if sorted.granted.is_empty() {
        return Err(sorted.first_refusal.unwrap_or(Error::NotFound("topic")));
    }
    let viewer = viewer(caller);
    let mut wishes = wanted.wishes;
    if viewer.user.is_none() && matches!(wishes.presence, Presence::Track | Presence::Observe) {
        wishes.presence = Presence::Count;
    }
    let log = &app.realtime.log;
    let start = log.start(wanted.since).await?;
    // Whoever goes on after an event may know from then who was typing.
    let rooms = wanted.topics.iter().filter(|topic| matches!(topic, Topic::Room(_)));
    let recalled = match wanted.since {
        Since::Id(_) => rooms.map(|topic| topic.key(caller)).collect(),
        Since::Now | Since::Earliest => Vec::new(),
    };
    let verdict = match start {
        Start::Fresh(_) => "fresh",
        Start::After(_) => "resumed",
        Start::Gap => "gap",
    };
    let keys: Vec<Key> = sorted.granted.iter().map(|granted| Key::clone(&granted.key)).collect();
    let replayed = match start {
        Start::After(place) if counts => log.count(&keys, viewer, &wishes, place).await?,
        Start::After(_) | Start::Fresh(_) | Start::Gap => 0,
    };
    let topics: Vec<String> = keys.iter().map(|key| visible(key).to_owned()).collect();
    let (now, heartbeat) = (app.clock.now(), app.realtime.heartbeat());
    let denied = sorted.denied;
    let opening = Opening {
        viewer,
        subscriptions: sorted.granted.into_iter().chain(guards(caller)).collect(),
        wishes,
        profile: caller.actor()?,
        start,
        as_of: caller.as_of,
        recalled,
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
    let (mut stream, mut resume) = begin(app, hub, caller, wanted, false).await?;
    let deadline = tokio::time::Instant::now() + wait;
    let mut data: Vec<Box<RawValue>> = Vec::new();
    while data.len() < PAGE {
        let frame = match tokio::time::timeout(READING, next_of_history(&mut stream)).await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) if !data.is_empty() => break,
            Ok(None) => match tokio::time::timeout_at(deadline, stream.next()).await {
                Ok(frame) => frame,
                Err(_) => break,
            },
            Err(_) => return Err(Error::Overloaded),
        };
        let Some(frame) = frame else { break };
        if frame.is_durable() {
            let envelope = serde_json::from_slice(frame.envelope());
            data.push(envelope.map_err(|error| Error::Internal(error.to_string()))?);
        } else if frame.is_notice("reset") {
            resume = "gap"; // The history was trimmed under the reader.
        }
    }
    Ok(HistoryPage { data, next_cursor: app.realtime.log.id(stream.position()), resume })
}

/// The next frame of what there is, or nothing as soon as everything has been read.
async fn next_of_history(stream: &mut ConnectionStream) -> Option<Option<Frame>> {
    poll_fn(|cx| match stream.poll_next_unpin(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if stream.is_live() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
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
    let renews = |who: &&Identity| {
        who.scopes.contains(&Scope::Read) && (who.kind != Kind::Stream || who.topics.is_none())
    };
    let renew = caller.identity.as_ref().filter(renews);
    let change = TopicChange {
        connection: wish.connection,
        user: caller.user().map(|user| user.0),
        as_of: caller.as_of,
        add: sorted.granted,
        profile: caller.actor()?,
        remove: wish.remove.iter().map(|topic| topic.key(caller)).collect(),
        renew: renew.map(|who| Renewal {
            viewer: viewer(caller),
            guards: guards(caller).collect(),
            expires_at: who.expires_at,
        }),
    };
    let topics = app.realtime.change(change).await?;
    Ok(Topics { topics, denied: sorted.denied })
}
