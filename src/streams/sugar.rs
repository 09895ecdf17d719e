//! The stream of one topic, at the path of what it is about: the same stream with the topic filled in.

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, get, web};
use actix_web_lab::extract::LocalData;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::{
    routes::{Follow, respond, without_topics},
    schema::StreamFrame,
};
use crate::{
    app::App,
    error::Result,
    exports,
    http::{caller::StreamCaller, extract::Query, problem::Problem},
    imports, notifications,
    realtime::Hub,
};

/// The routes of this kind. They stand before `/v1/notifications/{id}` and its like.
pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(follow_room).service(follow_notifications).service(follow_exports).service(follow_imports);
}

/// Follow one room; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", params(
    ("id" = String, Path, description = "The room"),
    ("since" = Option<String>, Query, description = "An event id, or `earliest`: what comes after it is replayed"),
), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
#[get("/v1/rooms/{id}/events")]
async fn follow_room(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: StreamCaller,
    id: web::Path<Uuid>,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, &format!("chat:{id}")).await
}

/// Follow one's own notifications; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", params(
    ("since" = Option<String>, Query, description = "An event id, or `earliest`: what comes after it is replayed"),
), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
#[get("/v1/notifications/events")]
async fn follow_notifications(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: StreamCaller,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, notifications::TOPIC).await
}

/// Follow one's own exports; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", params(
    ("since" = Option<String>, Query, description = "An event id, or `earliest`: what comes after it is replayed"),
), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
#[get("/v1/exports/events")]
async fn follow_exports(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: StreamCaller,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, exports::TOPIC).await
}

/// Follow one's own imports; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", params(
    ("since" = Option<String>, Query, description = "An event id, or `earliest`: what comes after it is replayed"),
), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
#[get("/v1/imports/events")]
async fn follow_imports(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: StreamCaller,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, imports::TOPIC).await
}
