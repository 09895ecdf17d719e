//! `/v1/exports`.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    post, web,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Export, NewExport};
use crate::{
    app::App,
    credentials::{self, Caller},
    error::Result,
    http::{
        Routes,
        caller::{Reader, Writer},
        download::{self, Download},
        etag::{self, IfMatch},
        extract::{Body, Query},
        idempotency::{self, Answer},
        page::{self, Limit, Page, PageQuery},
        problem::Problem,
    },
    jobs::{self, JobId, Kind},
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(list_exports)
        .service(begin_export)
        .service(get_export)
        .service(cancel_or_remove_export)
        .service(download_export);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<JobId>;

/// What a cursor of the list is good for.
const LIST: &str = "exports";

/// Begin an export of one's own snippets
///
/// It is made in the background. Follow it on the topic `exports`, or ask for it. At most 20 are kept for a user.
#[utoipa::path(
    tag = "exports",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewExport,
    responses(
        (status = 202, description = "It will be made", body = Export,
            headers(("Location" = String, description = "Its path"))),
        (status = 409, description = "There are 20 already", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/exports")]
async fn begin_export(
    app: web::Data<App>,
    Writer(caller): Writer,
    body: Body<NewExport>,
) -> Result<HttpResponse> {
    let Body { input, attempt } = body;
    let answer = idempotency::once(&app, &caller, &attempt, async |tx| {
        let job = super::begin(&app, tx, &caller, &input).await?;
        let answer = Answer::json(StatusCode::ACCEPTED, &Export::of(&app, &job)?)?;
        Ok(answer.with(&header::LOCATION, format!("/v1/exports/{}", job.id)))
    })
    .await?;
    app.jobs.wake();
    Ok(answer)
}

/// List one's own exports, the newest first
#[utoipa::path(
    tag = "exports",
    params(PageQuery),
    responses(
        (status = 200, description = "One page of exports", body = Page<Export>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/exports")]
async fn list_exports(
    app: web::Data<App>,
    Reader(caller): Reader,
    Query(query): Query<PageQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let after = page::after(&app, LIST, query.cursor.as_deref())?;
    let (found, next) =
        jobs::list(&app, &caller, Kind::Export, after, Limit::or_default(query.limit)).await?;
    let data = found.iter().map(|job| Export::of(&app, job)).collect::<Result<Vec<_>>>()?;
    page::respond(&app, &req, LIST, data, next)
}

/// Read how far an export is
#[utoipa::path(
    tag = "exports",
    params(
        ("id" = JobId, Path, description = "The export"),
        ("If-None-Match" = Option<String>, Header, description = "The version that the client has"),
    ),
    responses(
        (status = 200, description = "The export", body = Export,
            headers(("ETag" = String, description = "Its version"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/exports/{id}")]
async fn get_export(
    app: web::Data<App>,
    Reader(caller): Reader,
    id: Id,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let job = jobs::find(&app, &caller, Kind::Export, *id).await?;
    Ok(etag::respond(&req, job.version, &Export::of(&app, &job)?))
}

/// Cancel an export that has not ended, or remove one that has
#[utoipa::path(
    tag = "exports",
    params(
        ("id" = JobId, Path, description = "The export"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be cancelled or removed"),
    ),
    responses(
        (status = 204, description = "It is cancelled, or removed with its archive"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/exports/{id}")]
async fn cancel_or_remove_export(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    meant: IfMatch,
) -> Result<HttpResponse> {
    let allows = |version| meant.allows(version);
    let mut tx = credentials::begin(&app, &caller).await?;
    let job = jobs::cancel_or_remove(&app, &mut tx, &caller, Kind::Export, *id, allows).await?;
    tx.commit().await?;
    app.jobs.look();
    app.files.remove(&job.file()).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DownloadQuery {
    /// From the `download_url` of the export; it stands for credentials.
    signature: Option<String>,
}

/// Download the archive of an export
///
/// The ZIP archive has a file for each snippet, and `manifest.json` with everything else about them.
#[utoipa::path(
    tag = "exports",
    params(
        ("id" = JobId, Path, description = "The export"),
        DownloadQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The ETag for which the range is meant"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag that the client has"),
    ),
    responses(
        (status = 200, description = "The archive", body = inline(Zip), content_type = "application/zip", headers(
            ("ETag" = String, description = "The same for the same bytes"),
            ("Content-Disposition" = String, description = "The name to save it under"),
        )),
        (status = 206, description = "The range", body = inline(Zip), content_type = "application/zip"),
        (status = 304, description = "The client has it"),
        (status = 409, description = "It has not completed", body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "The range lies outside", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = []), ("session" = []), ("download_link" = [])),
)]
#[get("/v1/exports/{id}/download")]
async fn download_export(
    app: web::Data<App>,
    caller: Caller,
    id: Id,
    Query(query): Query<DownloadQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let job = super::archive(&app, &caller, *id, query.signature.as_deref()).await?;
    let day = job.created_at.to_string();
    let it = Download {
        stored: &job.file(),
        name: &format!("snippets-{}.zip", day.get(..10).unwrap_or_default()),
        size: u64::try_from(job.progress.bytes).unwrap_or_default(),
        tag: format!("{}.{}", job.id, job.attempt),
        media_type: "application/zip",
    };
    download::respond(&req, &app.files, it).await
}

/// The bytes of an archive.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct Zip(#[expect(dead_code, reason = "only its schema is needed")] Vec<u8>);
