//! `GET /v1/events` and its sugar, `PATCH /v1/events/{connection_id}`.

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse, get,
    http::header::{self, Accept, Header as _, Quality},
    patch, web,
};
use actix_web_lab::extract::LocalData;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Topic, Topics, Wanted, Wish};
use crate::{
    app::App,
    error::{Error, Result, Violation},
    http::{
        IsHead, Routes,
        caller::{Listener, StreamCaller},
        extract::{Body, Flag, Query},
        sse,
    },
    realtime::{Form, Hub, MAX_TOPICS, Presence, Since, Wishes},
    snippets,
    streams::{self, schema::StreamFrame},
};

/// The routes of this feature. They stand before `/v1/snippets/{id}`'s like, which would take `events` for an id.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(follow).service(follow_snippets).service(follow_snippet).service(change_topics);
}

/// What a stream can be asked for; the document has it at every route that answers with a stream.
#[derive(Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Follow {
    #[param(ignore)]
    topics: Option<String>,
    /// Only events of these types, comma-separated.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    types: Option<Types>,
    /// `false`: not what this very connection caused.
    #[param(inline)]
    echo: Option<Flag>,
    /// How one takes part in presence: `track` by default.
    #[param(inline)]
    presence: Option<Presence>,
    /// The id of an event, or `earliest`: what comes after it is replayed first.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    since: Option<Position>,
    /// Like the header, which wins.
    last_event_id: Option<String>,
    /// Long polling: how many seconds to wait for something new.
    #[param(value_type = Option<u64>, maximum = 60)]
    wait: Option<Wait>,
    /// A stream token, for clients that cannot set headers.
    #[expect(dead_code, reason = "the caller reads it; it is named because every parameter must be known")]
    access_token: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(try_from = "String")]
struct Wait(u64);

impl TryFrom<String> for Wait {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().ok().filter(|s| *s <= 60).map(Self).ok_or("must be a number of seconds from 0 to 60")
    }
}

/// Names of events, separated by commas.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Types(Vec<String>);

impl TryFrom<String> for Types {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let types: Vec<String> = text.split(',').map(str::to_owned).collect();
        let sane = types.len() <= MAX_TOPICS
            && types.iter().all(|t| (1..=64).contains(&t.len()) && t.chars().all(word));
        if sane { Ok(Self(types)) } else { Err("must list names of events") }
    }
}

/// The id of an event, or `earliest`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Position(String);

impl TryFrom<String> for Position {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let sane = (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if sane { Ok(Self(text)) } else { Err("must be the id of an event, or `earliest`") }
    }
}

/// Follow topics: as Server-Sent Events, as lines of JSON, or page by page, as `Accept` says
#[utoipa::path(tag = "streams", params(
    ("topics" = String, Query, description = "1 to 100 topics, comma-separated"),
), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security((), ("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/events")]
async fn follow(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    let names = query.0.topics.clone().unwrap_or_default();
    respond(&req, &app, hub, caller, &query.0, &names).await
}

/// Follow all public snippets; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security((), ("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/snippets/events")]
async fn follow_snippets(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, snippets::FEED).await
}

/// Follow one snippet; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", params(
    ("id" = String, Path, description = "The snippet"),
), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security((), ("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/snippets/{id}/events")]
async fn follow_snippet(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    id: web::Path<Uuid>,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, &format!("snippets:{id}")).await
}

pub(super) fn without_topics(query: &Follow) -> Result<()> {
    if query.topics.is_some() { Err(Error::invalid_query("topics", "is fixed by this path")) } else { Ok(()) }
}

pub(super) async fn respond(
    req: &HttpRequest,
    app: &App,
    hub: LocalData<Rc<Hub>>,
    Listener { caller, admission }: Listener,
    query: &Follow,
    names: &str,
) -> Result<HttpResponse> {
    let header = req.headers().get("last-event-id").map(|id| id.to_str().unwrap_or("unreadable").to_owned());
    // A client that has no place yet may say so with an empty one.
    let named = |id: &String| !id.is_empty();
    let last = header.filter(named).or_else(|| query.last_event_id.clone().filter(named));
    let since = match last.as_deref().or(query.since.as_ref().map(|since| since.0.as_str())) {
        None => Since::Now,
        Some("earliest") => Since::Earliest,
        Some(id) => Since::Id(id),
    };
    let types = query.types.clone().map(|types| types.0);
    let head_only = req.extensions().contains::<IsHead>();
    let form = form(req);
    // A page of history and a head are read and over: nobody stays to be seen.
    let stays = form.is_some() && !head_only;
    let presence = if stays { query.presence.unwrap_or(Presence::Track) } else { Presence::Off };
    let wishes = Wishes { types, echo: !matches!(query.echo, Some(Flag::False)), presence };
    let wanted = Wanted { topics: topics(names)?, wishes, since };
    if let Some(form) = form {
        // In a box, since nobody else needs the room: a request holds what its handler needs from the beginning.
        let stream = Box::pin(streams::open(app, &hub, &caller, wanted)).await?;
        let how = (head_only, app.settings.stream_handover);
        return Ok(sse::respond(req, stream, form, how));
    }
    drop(admission); // Who waits for news must keep nobody from coming in.
    let wait = Duration::from_secs(query.wait.map_or(0, |wait| wait.0));
    let page = Box::pin(streams::history(app, &hub, &caller, wanted, wait)).await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(page))
}

fn topics(names: &str) -> Result<Vec<Topic>> {
    let names: Vec<&str> = names.split(',').collect();
    if !(1..=MAX_TOPICS).contains(&names.len()) {
        return Err(Error::invalid_query("topics", format!("must name 1 to {MAX_TOPICS} topics")));
    }
    let unknown = names.iter().filter(|name| Topic::parse(name).is_none());
    let violations: Vec<_> =
        unknown.map(|name| Violation::parameter("topics", format!("`{name}` is not a topic"))).collect();
    if !violations.is_empty() {
        return Err(Error::InvalidQuery(violations));
    }
    Ok(names.into_iter().filter_map(Topic::parse).collect())
}

/// The form of a stream that the client likes best, or nothing where it wants a page. A client that names none of
/// them gets what a stream usually is.
fn form(req: &HttpRequest) -> Option<Form> {
    let Ok(Accept(mut accepted)) = Accept::parse(req) else { return Some(Form::EventStream) };
    accepted.retain(|accepted| accepted.quality > Quality::ZERO);
    accepted.sort_by_key(|accepted| std::cmp::Reverse(accepted.quality)); // Stable: what is named first wins.
    let known = accepted.iter().find_map(|accepted| match accepted.item.essence_str() {
        "text/event-stream" | "text/*" | "*/*" => Some(Some(Form::EventStream)),
        "application/x-ndjson" => Some(Some(Form::Lines)),
        "application/json" | "application/*" => Some(None),
        _ => None,
    });
    known.unwrap_or(Some(Form::EventStream))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeTopics {
    /// Topics to listen to as well
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100)]
    add: TopicNames,
    /// Topics to listen to no longer
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100)]
    remove: TopicNames,
}

/// As many topics as one stream can have.
#[derive(Default, Deserialize)]
#[serde(try_from = "Vec<TopicName>")]
struct TopicNames(Vec<Topic>);

impl TryFrom<Vec<TopicName>> for TopicNames {
    type Error = String;

    fn try_from(names: Vec<TopicName>) -> Result<Self, Self::Error> {
        if names.len() > MAX_TOPICS {
            return Err(format!("must be at most {MAX_TOPICS} topics"));
        }
        Ok(Self(names.into_iter().map(|name| name.0).collect()))
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String)]
struct TopicName(Topic);

impl TryFrom<String> for TopicName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Topic::parse(&name).map(Self).ok_or("is not a topic")
    }
}

/// Change what an open stream listens to
#[utoipa::path(tag = "streams", params(("connection_id" = String, Path, description = "From `ready`")),
    request_body = ChangeTopics, responses(
    (status = 200, description = "What it listens to now", body = Topics),
), security((), ("bearer" = []), ("session" = [])))]
#[patch("/v1/events/{connection_id}")]
async fn change_topics(
    app: web::Data<App>,
    StreamCaller(caller): StreamCaller,
    id: web::Path<Uuid>,
    body: Body<ChangeTopics>,
) -> Result<HttpResponse> {
    let ChangeTopics { add, remove } = body.input;
    let wish = Wish { connection: *id, add: add.0, remove: remove.0 };
    Ok(HttpResponse::Ok().json(streams::change(&app, &caller, wish).await?))
}
