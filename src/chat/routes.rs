//! `/v1/rooms` and everything below it.

use actix_web::{HttpResponse, put, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{RoomId, members, messages, reads, rooms, typing};
use crate::{
    app::App,
    error::Result,
    http::{Routes, caller::Writer, extract::Body, problem::Problem},
};

/// Adds the routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.configure(rooms::routes::configure)
        .configure(members::routes::configure)
        .configure(messages::routes::configure)
        .configure(reads::routes::configure)
        .service(set_typing);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<RoomId>;

/// Whether one is typing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetTyping {
    typing: bool,
}

/// Says whether one is typing.
///
/// It holds for 6 s unless it is said again; sending a message ends it, and so does the end of the stream that
/// `Snippetbox-Connection-Id` names.
#[utoipa::path(
    tag = "chat",
    params(
        ("id" = RoomId, Path, description = "The room"),
        ("Snippetbox-Connection-Id" = Option<String>, Header, description = "The stream with which it ends"),
    ),
    request_body = SetTyping,
    responses(
        (status = 204, description = "Those who follow the room are told"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[put("/v1/rooms/{id}/typing")]
async fn set_typing(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    body: Body<SetTyping>,
) -> Result<HttpResponse> {
    typing::set(&app, &caller, *id, body.input.typing).await?;
    Ok(HttpResponse::NoContent().finish())
}
