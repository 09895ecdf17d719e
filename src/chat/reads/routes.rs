//! `/v1/rooms/{id}/read`.

use actix_web::{HttpResponse, put, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::RoomRead;
use crate::{
    app::App,
    chat::{MessageId, RoomId},
    credentials,
    error::Result,
    http::{Routes, caller::Writer, extract::Body, problem::Problem},
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(mark_room);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<RoomId>;

/// How far one has read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MarkRoom {
    /// This message and all before it
    message_id: MessageId,
}

/// Marks a room as read up to a message, on all devices; the mark moves forward only.
///
/// `room_read` tells the user's other devices, on the topic `notifications`.
#[utoipa::path(
    tag = "chat",
    params(("id" = RoomId, Path, description = "The room")),
    request_body = MarkRoom,
    responses(
        (status = 200, description = "How far one has read now", body = RoomRead),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[put("/v1/rooms/{id}/read")]
async fn mark_room(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    body: Body<MarkRoom>,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    let read = super::mark(&app, &mut tx, &caller, *id, body.input.message_id).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().json(read))
}
