//! `/v1/rooms`, `/v1/rooms/{id}`.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    patch, post, web,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{ChangeRoom, CreateRoom, Room, RoomId, RoomSummary};
use crate::{
    app::App,
    credentials::{self, Caller},
    error::Result,
    http::{
        Routes,
        caller::Writer,
        etag::{self, IfMatch},
        extract::{Body, Flag, Query},
        idempotency::{self, Answer},
        page::{self, Limit, Page},
        problem::Problem,
    },
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(list_rooms).service(create_room).service(get_room).service(change_room).service(delete_room);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<RoomId>;

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `true`: only the rooms in which the caller is a member.
    #[param(inline)]
    joined: Option<Flag>,
    /// How many items at most.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// Lists public rooms, and private ones in which one is a member; the newest first.
#[utoipa::path(
    tag = "chat",
    params(ListQuery),
    responses(
        (status = 200, description = "One page of rooms", body = Page<RoomSummary>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/rooms")]
async fn list_rooms(
    app: web::Data<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let joined = query.joined.is_some_and(Flag::is_true);
    let purpose = if joined { "joined rooms" } else { "rooms" };
    let before = page::after(&app, purpose, query.cursor.as_deref())?;
    let (data, next) = super::list(&app, &caller, joined, before, Limit::or_default(query.limit)).await?;
    page::respond(&app, &req, purpose, data, next)
}

/// Makes a room, of which one is the owner and the first member.
#[utoipa::path(
    tag = "chat",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = CreateRoom,
    responses(
        (status = 201, description = "The new room", body = Room, headers(
            ("Location" = String, description = "Its path"),
            ("ETag" = String, description = "Its version"),
        )),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[post("/v1/rooms")]
async fn create_room(
    app: web::Data<App>,
    Writer(caller): Writer,
    body: Body<CreateRoom>,
) -> Result<HttpResponse> {
    let Body { input, attempt } = body;
    idempotency::once(&app, &caller, &attempt, async |tx| {
        let room = super::create(&app, tx, &caller, input).await?;
        let answer = Answer::json(StatusCode::CREATED, &room)?;
        let location = format!("/v1/rooms/{}", room.id);
        Ok(answer.with(&header::LOCATION, location).with(&header::ETAG, etag::of(room.version)))
    })
    .await
}

/// Reads a room.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("If-None-Match" = Option<String>, Header, description = "The version that the client has"),
    ),
    responses(
        (status = 200, description = "The room", body = Room,
            headers(("ETag" = String, description = "Its version"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/rooms/{id}")]
async fn get_room(app: web::Data<App>, caller: Caller, id: Id, req: HttpRequest) -> Result<HttpResponse> {
    let room = super::find(&app, &caller, *id).await?;
    let tag = (header::ETAG, etag::of(room.version));
    if etag::is_known(&req, room.version) {
        return Ok(HttpResponse::NotModified().insert_header(tag).finish());
    }
    Ok(HttpResponse::Ok().insert_header(tag).json(room))
}

/// Changes a room, or hands it over to another member: what is not given stays.
///
/// A room that becomes private is lost to all but its members and administrators.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be changed"),
    ),
    request_body(content = ChangeRoom, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "The changed room", body = Room,
            headers(("ETag" = String, description = "Its new version"))),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[patch("/v1/rooms/{id}")]
async fn change_room(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    meant: IfMatch,
    body: Body<ChangeRoom>,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    let allows = |version| meant.allows(version);
    let room = super::change(&app, &mut tx, &caller, *id, body.input, allows).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().insert_header((header::ETAG, etag::of(room.version))).json(room))
}

/// Deletes a room with all its messages, and ends its streams.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be deleted"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[delete("/v1/rooms/{id}")]
async fn delete_room(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    meant: IfMatch,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    super::delete(&app, &mut tx, &caller, *id, |version| meant.allows(version)).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}
