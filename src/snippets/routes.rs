//! `/v1/snippets`.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    patch, post, web,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Change, Draft, Filter, Language, OwnerQuery, Snippet, SnippetId, SnippetSummary, Sort, Tag};
use crate::{
    app::App,
    credentials::{self, Caller},
    error::{Error, Result},
    http::{
        Routes,
        caller::Writer,
        etag::{self, IfMatch},
        extract::{Body, Query},
        idempotency::{self, Answer},
        page::{self, Limit, Page},
        problem::Problem,
    },
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(list_snippets)
        .service(create_snippet)
        .service(get_snippet)
        .service(get_raw_snippet)
        .service(change_snippet)
        .service(delete_snippet);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<SnippetId>;

/// What a list carries beside its usual items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Include {
    Content,
}

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only the snippets of this user; `me` for one's own.
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    owner: Option<OwnerQuery>,
    /// Only snippets in this language.
    #[param(inline)]
    language: Option<Language>,
    /// Only snippets with this tag.
    #[param(inline)]
    tag: Option<Tag>,
    /// The order; a minus means descending.
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// `content` puts the whole content in place of the excerpt.
    #[param(inline)]
    include: Option<Include>,
    /// How many items at most.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// Lists public snippets, and all of one's own.
#[utoipa::path(
    tag = "snippets",
    params(ListQuery),
    responses(
        (status = 200, description = "One page of snippets", body = Page<SnippetSummary>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/snippets")]
async fn list_snippets(
    app: web::Data<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let with_content = query.include == Some(Include::Content);
    let filter = Filter {
        owner: query.owner.map(|owner| owner.user(&caller)).transpose()?,
        language: query.language,
        tag: query.tag,
        updated_since: None,
        sort: query.sort,
        with_content,
    };
    let purpose = purpose(&filter)?;
    let after = page::after(&app, &purpose, query.cursor.as_deref())?;
    let listed = super::list(&app, &caller, filter, after, Limit::or_default(query.limit)).await?;
    page::respond(&app, &req, &purpose, &listed.snippets, listed.next.as_ref())
}

/// What a cursor of a list is good for: this filter in this order.
fn purpose(filter: &impl Serialize) -> Result<String> {
    let filter = serde_json::to_string(filter).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(format!("snippets {filter}"))
}

/// Makes a snippet.
#[utoipa::path(
    tag = "snippets",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = Draft,
    responses(
        (status = 201, description = "The new snippet", body = Snippet, headers(
            ("Location" = String, description = "Its path"),
            ("ETag" = String, description = "Its version"),
        )),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[post("/v1/snippets")]
async fn create_snippet(
    app: web::Data<App>,
    Writer(caller): Writer,
    body: Body<Draft>,
) -> Result<HttpResponse> {
    let Body { input, attempt } = body;
    let new = super::prepare(&app, &caller, input)?;
    idempotency::once(&app, &caller, &attempt, async |tx| {
        let snippet = super::create(&app, tx, &caller, new).await?;
        let answer = Answer::json(StatusCode::CREATED, &snippet)?;
        let location = format!("/v1/snippets/{}", snippet.id);
        Ok(answer.with(&header::LOCATION, location).with(&header::ETAG, etag::of(snippet.version)))
    })
    .await
}

/// Reads a snippet, which counts as a view.
#[utoipa::path(
    tag = "snippets",
    params(
        ("id" = SnippetId, Path, description = "The snippet"),
        ("If-None-Match" = Option<String>, Header, description = "The version that the client has"),
    ),
    responses(
        (status = 200, description = "The snippet", body = Snippet,
            headers(("ETag" = String, description = "Its version"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/snippets/{id}")]
async fn get_snippet(app: web::Data<App>, caller: Caller, id: Id, req: HttpRequest) -> Result<HttpResponse> {
    let snippet = super::find(&app, &caller, *id).await?;
    Ok(etag::respond(&req, snippet.version, &snippet))
}

/// Reads the content of a snippet, as it is.
#[utoipa::path(
    tag = "snippets",
    params(
        ("id" = SnippetId, Path, description = "The snippet"),
        ("If-None-Match" = Option<String>, Header, description = "The version that the client has"),
    ),
    responses(
        (status = 200, description = "The content", body = String, content_type = "text/plain",
            headers(("ETag" = String, description = "The version of the snippet"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/snippets/{id}/raw")]
async fn get_raw_snippet(
    app: web::Data<App>,
    caller: Caller,
    id: Id,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let snippet = super::raw(&app, &caller, *id).await?;
    let tag = (header::ETAG, etag::of(snippet.version));
    if etag::is_known(&req, snippet.version) {
        return Ok(HttpResponse::NotModified().insert_header(tag).finish());
    }
    let mut response = HttpResponse::Ok();
    response.insert_header(tag).insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"));
    // A browser must not take what somebody wrote for a page of this site.
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    Ok(response.body(snippet.content.0))
}

/// Changes a snippet: what is not given stays.
#[utoipa::path(
    tag = "snippets",
    params(
        ("id" = SnippetId, Path, description = "The snippet"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be changed"),
    ),
    request_body(content = Change, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "The changed snippet", body = Snippet,
            headers(("ETag" = String, description = "Its new version"))),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[patch("/v1/snippets/{id}")]
async fn change_snippet(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    meant: IfMatch,
    body: Body<Change>,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    let allows = |version| meant.allows(version);
    let snippet = super::change(&app, &mut tx, &caller, *id, body.input, allows).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().insert_header((header::ETAG, etag::of(snippet.version))).json(snippet))
}

/// Deletes a snippet.
#[utoipa::path(
    tag = "snippets",
    params(
        ("id" = SnippetId, Path, description = "The snippet"),
        ("If-Match" = Option<String>, Header, description = "The version that is meant to be deleted"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[delete("/v1/snippets/{id}")]
async fn delete_snippet(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    meant: IfMatch,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    super::delete(&app, &mut tx, &caller, *id, |version| meant.allows(version)).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}
