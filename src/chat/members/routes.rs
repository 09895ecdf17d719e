//! `/v1/rooms/{id}/members`.

use actix_web::{HttpRequest, HttpResponse, delete, get, put, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Member;
use crate::{
    accounts::UserId,
    app::App,
    chat::RoomId,
    credentials::{self, Caller},
    error::Result,
    http::{
        Routes,
        caller::Writer,
        extract::Query,
        page::{self, Limit, Page},
        problem::Problem,
    },
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(list_members).service(add_member).service(remove_member);
}

/// The ids in a path. They have names of their own because utoipa would take the inside of a `Path` that it sees
/// for a struct of parameters.
type Id = web::Path<RoomId>;
type Ids = web::Path<(RoomId, UserId)>;

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// How many items at most.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// Lists the members of a room, the eldest first.
#[utoipa::path(
    tag = "chat",
    params(("id" = RoomId, Path, description = "The room"), ListQuery),
    responses(
        (status = 200, description = "One page of members", body = Page<Member>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/rooms/{id}/members")]
async fn list_members(
    app: web::Data<App>,
    caller: Caller,
    id: Id,
    Query(query): Query<ListQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let purpose = format!("members {id}");
    let after = page::after(&app, &purpose, query.cursor.as_deref())?;
    let (data, next) = super::list(&app, &caller, *id, after, Limit::or_default(query.limit)).await?;
    page::respond(&app, &req, &purpose, data, next)
}

/// Makes somebody a member of one's own room, or oneself of a public one.
///
/// Whoever is added by another is notified.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("user_id" = UserId, Path, description = "The user"),
    ),
    responses(
        (status = 201, description = "A member now", body = Member),
        (status = 200, description = "A member already", body = Member),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[put("/v1/rooms/{id}/members/{user_id}")]
async fn add_member(app: web::Data<App>, Writer(caller): Writer, ids: Ids) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    let (member, new) = super::add(&app, &mut tx, &caller, ids.0, ids.1).await?;
    tx.commit().await?;
    let mut response = if new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(member))
}

/// Takes somebody out of one's own room, or oneself out of any.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("user_id" = UserId, Path, description = "The member"),
    ),
    responses(
        (status = 204, description = "No member any more"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[delete("/v1/rooms/{id}/members/{user_id}")]
async fn remove_member(app: web::Data<App>, Writer(caller): Writer, ids: Ids) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    super::remove(&app, &mut tx, &caller, ids.0, ids.1).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}
