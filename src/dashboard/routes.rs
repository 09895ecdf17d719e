//! `/v1/dashboard`.

use actix_web::{HttpResponse, get, web};

use super::Overview;
use crate::{app::App, credentials::Caller, error::Result, http::Routes, http::problem::Problem};

/// Adds the routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(get_dashboard);
}

/// Read how much there is and happens, and what happened last
#[utoipa::path(
    tag = "dashboard",
    responses(
        (status = 200, description = "The dashboard as of now", body = Overview),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/dashboard")]
async fn get_dashboard(caller: Caller, app: web::Data<App>) -> Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(super::overview(&app, &caller).await?.as_ref()))
}
