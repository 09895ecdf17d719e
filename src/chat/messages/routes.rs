//! `/v1/rooms/{id}/messages`.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    patch, post, web,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Direction, EditMessage, Message, PostMessage};
use crate::{
    app::App,
    chat::{MessageId, RoomId, typing},
    credentials::{self, Caller},
    error::{Error, Result},
    http::{
        Routes,
        caller::Writer,
        etag::{self, IfMatch},
        extract::{Body, Query},
        idempotency::{self, Answer},
        page::{self, Limit, Page},
        problem::Problem,
    },
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(list_messages)
        .service(post_message)
        .service(get_message)
        .service(edit_message)
        .service(delete_message);
}

/// The ids in a path. They have names of their own because utoipa would take the inside of a `Path` that it sees
/// for a struct of parameters.
type Id = web::Path<RoomId>;
type Ids = web::Path<(RoomId, MessageId)>;

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// What was said before this message, the newest first.
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    before: Option<MessageId>,
    /// What was said after this message, the oldest first.
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    after: Option<MessageId>,
    /// How many items at most.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where the page before ended; the list goes on in its direction.
    cursor: Option<String>,
}

/// Lists what was said in a room.
///
/// Without a place the newest messages, the newest first, and so with `before`. With `after`, what came next, the
/// oldest first. `next_cursor` goes on in the same direction. A place is the id of a message, which may be gone.
#[utoipa::path(
    tag = "chat",
    params(("id" = RoomId, Path, description = "The room"), ListQuery),
    responses(
        (status = 200, description = "One page of messages", body = Page<Message>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/rooms/{id}/messages")]
async fn list_messages(
    app: web::Data<App>,
    caller: Caller,
    id: Id,
    Query(query): Query<ListQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let (direction, place) = match (query.before, query.after) {
        (Some(_), Some(_)) => return Err(Error::invalid_query("after", "cannot be joined with `before`")),
        (before, None) => (Direction::Older, before),
        (None, after) => (Direction::Newer, after),
    };
    let purpose = format!("messages {id} {direction:?}");
    let place = page::after(&app, &purpose, query.cursor.as_deref())?.or(place);
    let limit = Limit::or_default(query.limit);
    let (data, next) = super::list(&app, &caller, *id, (direction, place), limit).await?;
    page::respond(&app, &req, &purpose, data, next)
}

/// Says something in a room.
///
/// Whoever does so in a public room becomes a member. It ends one's typing there.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless"),
    ),
    request_body = PostMessage,
    responses(
        (status = 201, description = "The new message", body = Message, headers(
            ("Location" = String, description = "Its path"),
            ("ETag" = String, description = "Its version"),
        )),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[post("/v1/rooms/{id}/messages")]
async fn post_message(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    body: Body<PostMessage>,
) -> Result<HttpResponse> {
    let Body { input, attempt } = body;
    let answer = idempotency::once(&app, &caller, &attempt, async |tx| {
        let message = super::post(&app, tx, &caller, *id, input).await?;
        let answer = Answer::json(StatusCode::CREATED, &message)?;
        let location = format!("/v1/rooms/{}/messages/{}", message.room_id, message.id);
        Ok(answer.with(&header::LOCATION, location).with(&header::ETAG, etag::of(message.version)))
    })
    .await?;
    typing::stop(&app, &caller, *id);
    Ok(answer)
}

/// Reads a message.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("message_id" = MessageId, Path, description = "The message"),
        ("If-None-Match" = Option<String>, Header, description = "The version that the client has"),
    ),
    responses(
        (status = 200, description = "The message", body = Message,
            headers(("ETag" = String, description = "Its version"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/rooms/{id}/messages/{message_id}")]
async fn get_message(
    app: web::Data<App>,
    caller: Caller,
    ids: Ids,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let message = super::find(&app, &caller, ids.0, ids.1).await?;
    let tag = (header::ETAG, etag::of(message.version));
    if etag::is_known(&req, message.version) {
        return Ok(HttpResponse::NotModified().insert_header(tag).finish());
    }
    Ok(HttpResponse::Ok().insert_header(tag).json(message))
}

/// Changes a message: its author may, and the owner of the room.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("message_id" = MessageId, Path, description = "The message"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be changed"),
    ),
    request_body(content = EditMessage, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "The changed message", body = Message,
            headers(("ETag" = String, description = "Its new version"))),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[patch("/v1/rooms/{id}/messages/{message_id}")]
async fn edit_message(
    app: web::Data<App>,
    Writer(caller): Writer,
    ids: Ids,
    meant: IfMatch,
    body: Body<EditMessage>,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    let allows = |version| meant.allows(version);
    let message = super::edit(&app, &mut tx, &caller, *ids, body.input, allows).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().insert_header((header::ETAG, etag::of(message.version))).json(message))
}

/// Deletes a message: its author may, and the owner of the room.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("message_id" = MessageId, Path, description = "The message"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be deleted"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[delete("/v1/rooms/{id}/messages/{message_id}")]
async fn delete_message(
    app: web::Data<App>,
    Writer(caller): Writer,
    ids: Ids,
    meant: IfMatch,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    super::delete(&app, &mut tx, &caller, *ids, |version| meant.allows(version)).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}
