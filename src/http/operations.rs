//! Operations: health, figures, the documents, and the pages that explain problems.

use std::fmt::Write as _;

use actix_web::{
    HttpResponse, get,
    http::header::{self, ContentType},
    web,
};
use prometheus::{Registry, TextEncoder};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Routes, openapi,
    parameters::NoQuery,
    problem::{KINDS, Problem},
};
use crate::{
    app::App,
    error::{Error, Result},
};

/// The routes of this module.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(health).service(readiness).service(figures).service(document).service(explain_problem);
}

/// How the server is.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`
    status: &'static str,
}

/// Whether the server can serve, and on what it stands.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready`
    status: &'static str,
    /// Whether the other nodes of a cluster can be reached: `connected`, or `away`. A node whose bus is away serves
    /// all the same, and reads from the database what the others do
    #[serde(skip_serializing_if = "Option::is_none")]
    bus: Option<&'static str>,
    /// How many nodes of a cluster live, as far as this one knows
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<usize>,
}

/// Tell that the process lives
#[utoipa::path(tag = "operations", responses((status = 200, description = "It lives", body = Health)), security(()))]
#[get("/healthz")]
async fn health(_: NoQuery) -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Tell whether requests can be served: the database answers, and the server is not shutting down
#[utoipa::path(tag = "operations", responses(
    (status = 200, description = "It can serve", body = Readiness),
    (status = 503, description = "It cannot", body = Problem, content_type = "application/problem+json"),
), security(()))]
#[get("/readyz")]
async fn readiness(_: NoQuery, app: web::Data<App>) -> Result<HttpResponse> {
    if app.realtime.is_draining() {
        return Err(Error::Draining);
    }
    app.db.ping().await?;
    let bus = app.realtime.bus.is_connected().map(|connected| if connected { "connected" } else { "away" });
    Ok(HttpResponse::Ok().json(Readiness { status: "ready", bus, nodes: app.realtime.nodes() }))
}

/// Give the figures of this node in the text format of Prometheus
#[utoipa::path(tag = "operations", responses((status = 200, description = "The figures", body = String)), security(()))]
#[get("/metrics")]
async fn figures(_: NoQuery, app: web::Data<App>, registry: web::Data<Registry>) -> Result<HttpResponse> {
    if let Err(error) = crate::figures::refresh(&app).await {
        // The other figures are worth having all the more then.
        tracing::warn!(%error, "what only the database knows is not brought up to date");
    }
    let mut text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .map_err(|error| Error::Internal(error.to_string()))?;
    for (name, value) in [("dashboard_reads", app.dashboard.reads()), ("database_uses", app.db.uses())] {
        let name = format!("snippetbox_{name}_total");
        let _ = writeln!(text, "# TYPE {name} counter\n{name} {value}");
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

/// Give this document
#[utoipa::path(tag = "operations", responses((status = 200, description = "OpenAPI 3.2", body = Object)), security(()))]
#[get("/openapi.json")]
async fn document(_: NoQuery) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(openapi::TEXT)
}

/// Explain a kind of problem to a person
#[utoipa::path(tag = "operations", params(("code" = String, Path, description = "The code of a problem")), responses(
    (status = 200, description = "A page about it", body = String, content_type = "text/html"),
    (status = 404, description = "There is no such code", body = Problem, content_type = "application/problem+json"),
), security(()))]
#[get("/problems/{code}")]
async fn explain_problem(_: NoQuery, code: web::Path<String>) -> Result<HttpResponse> {
    let kind = KINDS.iter().find(|kind| kind.1 == code.as_str()).ok_or(Error::NotFound("kind of problem"))?;
    let mut page = String::from("<!doctype html><html lang=en><meta charset=utf-8>");
    let _ = write!(
        page,
        "<title>{0}</title><h1>{0}</h1><p><code>{1}</code>, status {2}.</p>",
        kind.2, kind.1, kind.0
    );
    page.push_str(
        "<p>The field <code>detail</code> of the answer says what went wrong; <code>errors</code>, where ",
    );
    page.push_str(
        "present, names every rule that was broken; <code>request_id</code> finds the request in the log.",
    );
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8")).body(page))
}
