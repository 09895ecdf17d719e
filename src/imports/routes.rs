//! `/v1/imports`.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    post, web,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use utoipa::ToSchema;

use super::Import;
use crate::{
    app::App,
    credentials,
    error::{Error, Result},
    http::{
        Routes,
        caller::{Reader, Writer},
        etag::{self, IfMatch},
        extract::{Query, require_media_type},
        idempotency::{self, Answer, Attempt},
        page::{self, Limit, Page, PageQuery},
        problem::Problem,
    },
    jobs::{self, JobId, Kind, UPLOAD_TIME},
    seal::Digester,
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(list_imports).service(begin_import).service(get_import).service(cancel_or_remove_import);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<JobId>;

/// What a cursor of the list is good for.
const LIST: &str = "imports";

/// Import the archive of an export
///
/// All of it is imported or nothing: it is checked in the background before anything is written. The snippets are
/// new ones of the caller's, with the times that they had. Follow it on the topic `imports`, or ask for it. At most 20 are
/// kept for a user, of whom two may be uploaded at the same time.
#[utoipa::path(
    tag = "imports",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body(content = inline(Zip), content_type = "application/zip"),
    responses(
        (status = 202, description = "It will be imported", body = Import,
            headers(("Location" = String, description = "Its path"))),
        (status = 409, description = "There are 20 already, or 2 uploads are running", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "It is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "It is no ZIP", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/imports")]
async fn begin_import(
    app: web::Data<App>,
    Writer(caller): Writer,
    payload: web::Payload,
    req: HttpRequest,
) -> Result<HttpResponse> {
    require_media_type(&req, "application/zip")?;
    let id = JobId(app.ids.next());
    let place = super::admit(&app, &caller, req.headers().contains_key("idempotency-key")).await?;
    let (bytes, attempt) = receive(&app, &req, id, payload).await?;
    drop(place);
    let mut is_used = false;
    let answer = idempotency::once(&app, &caller, &attempt, async |tx| {
        let job = super::begin(&app, tx, &caller, id, bytes).await?;
        is_used = true;
        let answer = Answer::json(StatusCode::ACCEPTED, &Import::of(&job))?;
        Ok(answer.with(&header::LOCATION, format!("/v1/imports/{}", job.id)))
    })
    .await;
    if answer.is_err() || !is_used {
        app.files.remove(&jobs::upload(id)).await?; // A repetition, or a refusal.
    }
    app.jobs.wake();
    answer
}

/// Stores the body, and tells how long it is and what it says.
async fn receive(app: &App, req: &HttpRequest, id: JobId, payload: web::Payload) -> Result<(u64, Attempt)> {
    let mut digest = Digester::default();
    let arriving = arriving(payload, app.settings.body_timeout);
    let pieces = limited(arriving, app.settings.import_limit, |piece| digest.update(piece));
    let name = jobs::upload(id);
    let storing = tokio::time::timeout(UPLOAD_TIME, app.files.write(&name, Box::pin(pieces)));
    let bytes = storing.await.map_err(|_| Error::SlowBody(UPLOAD_TIME))??;
    Ok((bytes, Attempt::of(req, &digest.finish())?))
}

/// The pieces of a body, none of which comes later than `patience` after the one before: whoever stalls gives up one of
/// few places.
fn arriving(payload: web::Payload, patience: Duration) -> impl Stream<Item = Result<Bytes>> {
    stream::unfold(payload, move |mut payload| async move {
        let piece = match tokio::time::timeout(patience, payload.next()).await {
            Ok(piece) => piece?.map_err(|_| Error::MalformedRequest("the body ended too early")),
            Err(_) => Err(Error::SlowBody(patience)),
        };
        Some((piece, payload))
    })
}

/// The pieces of a body that has at most `limit` bytes.
fn limited(
    pieces: impl Stream<Item = Result<Bytes>>,
    limit: usize,
    mut see: impl FnMut(&[u8]),
) -> impl Stream<Item = Result<Bytes>> {
    let mut size = 0;
    let checked = pieces.map(move |piece| {
        let piece = piece?;
        size += piece.len();
        if size > limit {
            return Err(Error::TooLarge { limit });
        }
        see(&piece);
        Ok(piece)
    });
    // Nothing after the first failure: the store hears of it and forgets the rest.
    checked.scan(false, |has_failed, piece| {
        let next = (!*has_failed).then_some(piece);
        *has_failed = next.as_ref().is_some_and(Result::is_err);
        std::future::ready(next)
    })
}

/// List one's own imports, the newest first
#[utoipa::path(
    tag = "imports",
    params(PageQuery),
    responses(
        (status = 200, description = "One page of imports", body = Page<Import>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/imports")]
async fn list_imports(
    app: web::Data<App>,
    Reader(caller): Reader,
    Query(query): Query<PageQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let after = page::after(&app, LIST, query.cursor.as_deref())?;
    let (found, next) =
        jobs::list(&app, &caller, Kind::Import, after, Limit::or_default(query.limit)).await?;
    let data: Vec<Import> = found.iter().map(Import::of).collect();
    page::respond(&app, &req, LIST, data, next)
}

/// Read how far an import is
#[utoipa::path(
    tag = "imports",
    params(
        ("id" = JobId, Path, description = "The import"),
        ("If-None-Match" = Option<String>, Header, description = "The version that the client has"),
    ),
    responses(
        (status = 200, description = "The import", body = Import,
            headers(("ETag" = String, description = "Its version"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/imports/{id}")]
async fn get_import(
    app: web::Data<App>,
    Reader(caller): Reader,
    id: Id,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let job = jobs::find(&app, &caller, Kind::Import, *id).await?;
    Ok(etag::respond(&req, job.version, &Import::of(&job)))
}

/// Cancel an import that has not begun to write, or forget one that has ended
#[utoipa::path(
    tag = "imports",
    params(
        ("id" = JobId, Path, description = "The import"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be cancelled or removed"),
    ),
    responses(
        (status = 204, description = "It is cancelled, and nothing was imported; or it is forgotten"),
        (status = 409, description = "It is writing, and ends by itself", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/imports/{id}")]
async fn cancel_or_remove_import(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    meant: IfMatch,
) -> Result<HttpResponse> {
    let allows = |version| meant.allows(version);
    let mut tx = credentials::begin(&app, &caller).await?;
    let job = jobs::cancel_or_remove(&app, &mut tx, &caller, Kind::Import, *id, allows).await?;
    tx.commit().await?;
    app.jobs.look();
    app.files.remove(&job.file()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The bytes of an archive.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct Zip(#[expect(dead_code, reason = "only its schema is needed")] Vec<u8>);
