//! `/v1/topics/custom:{name}/events`.

use actix_web::{HttpResponse, http::StatusCode, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Data, EventType, Name};
use crate::{
    app::App,
    db::WriteTx,
    error::{Error, Result},
    http::{
        Routes,
        caller::Writer,
        extract::Body,
        idempotency::{self, Answer},
        problem::Problem,
    },
};

/// Adds the routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(publish);
}

/// The name in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type TopicName = web::Path<String>;

/// An event of a client's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Publish {
    /// The name of the event, which is not one of the server's own
    #[serde(rename = "type")]
    #[schema(value_type = String, pattern = "^[a-z][a-z0-9_]{0,63}$", example = "cursor_moved")]
    kind: EventType,
    /// Any JSON of at most 64 KiB
    #[schema(value_type = Value)]
    data: Data,
    /// Whether only those who listen now are told, and nothing is kept
    #[serde(default)]
    ephemeral: bool,
}

/// An event that was accepted.
#[derive(Debug, Serialize, ToSchema)]
struct Published {
    /// The event's id on every stream; null for an ephemeral one, which has none
    id: Option<String>,
}

/// Publish an event on a custom topic
///
/// Durable events resume like everything else; ephemeral ones only reach who is there.
#[utoipa::path(
    tag = "custom topics",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,99}$", description = "The topic's name")),
    request_body = Publish,
    responses(
        (status = 202, description = "Accepted", body = Published),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/topics/custom:{name}/events")]
async fn publish(
    app: web::Data<App>,
    Writer(caller): Writer,
    name: TopicName,
    body: Body<Publish>,
) -> Result<HttpResponse> {
    let name = Name::try_from(name.into_inner()).map_err(|_| Error::NotFound("topic"))?;
    let (Publish { kind, data, ephemeral }, attempt) = (body.input, body.attempt);
    if ephemeral {
        let tell = || super::tell(&app, &caller, &name, &kind, &data).and_then(|()| accepted(None));
        let held_and_told = async |tx: &mut WriteTx| {
            tx.conn().await?; // What is told cannot be taken back: first it must be sure who tells.
            tell()
        };
        return idempotency::told(&app, &caller, &attempt, held_and_told).await;
    }
    idempotency::once_then(
        &app,
        &caller,
        &attempt,
        async |tx| super::publish(&app, tx, &caller, &name, &kind, data).await,
        async |appended| accepted(wire_id(&app, appended).await?),
    )
    .await
}

fn accepted(id: Option<String>) -> Result<Answer> {
    Answer::json(StatusCode::ACCEPTED, &Published { id })
}

/// The id under which an appended event goes out. On PostgreSQL it gets its place only after the commit, so this
/// must not be called in the transaction.
async fn wire_id(app: &App, appended: i64) -> Result<Option<String>> {
    let log = &app.realtime.log;
    Ok(log.place_of(appended).await?.map(|place| log.id(place)))
}
