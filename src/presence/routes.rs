//! `/v1/presence/{topic}`.

use std::time::Duration;

use actix_web::{HttpResponse, delete, get, patch, put, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Fields;
use crate::{
    app::App,
    credentials::Caller,
    error::Result,
    http::{Routes, caller::Writer, extract::Body, problem::Problem},
    streams::schema::{Presence, PresenceLease, PresentNow},
};

/// Adds the routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(who_is_present).service(hold_presence).service(change_presence).service(release_presence);
}

/// The topic in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type TopicName = web::Path<String>;

/// Read who is on a topic, and with how many devices
#[utoipa::path(
    tag = "presence",
    params(("topic" = String, Path, description = "`snippets:{id}` or `chat:{room_id}`")),
    responses(
        (status = 200, description = "Who is there", body = PresentNow),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/presence/{topic}")]
async fn who_is_present(app: web::Data<App>, caller: Caller, topic: TopicName) -> Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(super::present(&app, &caller, &topic).await?))
}

/// How long a client without a stream is there, and what it says of itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HoldPresence {
    /// Seconds, 10 to 120, until it must be said again
    #[schema(value_type = u64, minimum = 10, maximum = 120)]
    ttl_s: Ttl,
    /// At most 1 KiB of JSON; `status` is `active`, `idle` or `away`
    meta: Option<Fields>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct Ttl(Duration);

impl TryFrom<u64> for Ttl {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        let sane = (10..=120).contains(&seconds);
        if sane { Ok(Self(Duration::from_secs(seconds))) } else { Err("must be 10 to 120") }
    }
}

/// Be on a topic without a stream, for a while
///
/// The same call renews it; each credential has one such presence on a topic.
#[utoipa::path(
    tag = "presence",
    params(("topic" = String, Path, description = "`snippets:{id}` or `chat:{room_id}`")),
    request_body = HoldPresence,
    responses(
        (status = 200, description = "It holds", body = PresenceLease),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[put("/v1/presence/{topic}")]
async fn hold_presence(
    app: web::Data<App>,
    Writer(caller): Writer,
    topic: TopicName,
    body: Body<HoldPresence>,
) -> Result<HttpResponse> {
    let HoldPresence { ttl_s, meta } = body.input;
    Ok(HttpResponse::Ok().json(super::hold(&app, &caller, &topic, ttl_s.0, meta).await?))
}

/// Change what others see of you on a topic: what is not given stays
///
/// The request changes the connection that it names in `Snippetbox-Connection-Id`, else all of the caller's.
#[utoipa::path(
    tag = "presence",
    params(
        ("topic" = String, Path, description = "`snippets:{id}` or `chat:{room_id}`"),
        ("Snippetbox-Connection-Id" = Option<String>, Header, description = "The caller's own stream, from `ready`"),
    ),
    request_body(content = Fields, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "The caller as others see them", body = Presence),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/presence/{topic}")]
async fn change_presence(
    app: web::Data<App>,
    Writer(caller): Writer,
    topic: TopicName,
    body: Body<Fields>,
) -> Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(super::change(&app, &caller, &topic, body.input).await?))
}

/// End what the same credential said by `PUT`
#[utoipa::path(
    tag = "presence",
    params(("topic" = String, Path, description = "`snippets:{id}` or `chat:{room_id}`")),
    responses(
        (status = 204, description = "It holds no longer"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/presence/{topic}")]
async fn release_presence(
    app: web::Data<App>,
    Writer(caller): Writer,
    topic: TopicName,
) -> Result<HttpResponse> {
    super::release(&app, &caller, &topic).await?;
    Ok(HttpResponse::NoContent().finish())
}
