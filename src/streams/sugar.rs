//! The stream of one topic, at the path of what it is about: the same stream with the topic filled in.

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, get, web};
use actix_web_lab::extract::LocalData;
use uuid::Uuid;

use super::{
    routes::{Follow, respond, without_topics},
    schema::StreamFrame,
};
use crate::{
    app::App,
    dashboard,
    error::Result,
    exports,
    http::{Routes, caller::Listener, extract::Query},
    imports, notifications,
    realtime::Hub,
};

/// The routes of this kind. They stand before `/v1/notifications/{id}` and its like.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(follow_room).service(follow_notifications).service(follow_dashboard);
    cfg.service(follow_exports).service(follow_imports);
}

/// Follow one room; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", params(
    ("id" = String, Path, description = "The room"),
), responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security((), ("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/rooms/{id}/events")]
async fn follow_room(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    id: web::Path<Uuid>,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, &format!("chat:{id}")).await
}

/// Follow one's own notifications; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security(("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/notifications/events")]
async fn follow_notifications(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, notifications::TOPIC).await
}

/// Follow the dashboard; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security((), ("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/dashboard/events")]
async fn follow_dashboard(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, dashboard::TOPIC).await
}

/// Follow one's own exports; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security(("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/exports/events")]
async fn follow_exports(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, exports::TOPIC).await
}

/// Follow one's own imports; parameters as for `/v1/events`, without `topics`
#[utoipa::path(tag = "streams", responses(
    (status = 200, description = "Events", content_type = "text/event-stream", item_schema = StreamFrame),
), security(("bearer" = []), ("session" = []), ("stream_token" = [])))]
#[get("/v1/imports/events")]
async fn follow_imports(
    req: HttpRequest,
    app: web::Data<App>,
    hub: LocalData<Rc<Hub>>,
    caller: Listener,
    query: Query<Follow>,
) -> Result<HttpResponse> {
    without_topics(&query.0)?;
    respond(&req, &app, hub, caller, &query.0, imports::TOPIC).await
}
