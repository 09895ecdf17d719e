//! `/v1/search`.

use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Filter, Hit, SearchText};
use crate::{
    app::App,
    credentials::Caller,
    error::{Error, Result},
    http::{
        Routes,
        extract::Query,
        page::{self, Limit},
        problem::Problem,
    },
    snippets::{Language, OwnerQuery, Tag},
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(search);
}

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// What is looked for, as it was typed: words in any order, of which the last one may be only begun, or a piece
    /// of code. Every text is a valid query; below two characters nothing is found.
    #[param(inline)]
    q: SearchText,
    /// Only snippets of this user; `me` for one's own.
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    owner: Option<OwnerQuery>,
    /// Only snippets in this language.
    #[param(inline)]
    language: Option<Language>,
    /// Only snippets with this tag.
    #[param(inline)]
    tag: Option<Tag>,
    /// How many hits at most.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// One page of hits, the best first.
#[derive(Debug, Serialize, ToSchema)]
struct SearchPage {
    /// The query that this answers, so that an answer which comes late can be told from the one that is waited for
    q: SearchText,
    data: Vec<Hit>,
    /// The cursor of the next page, or null on the last one
    next_cursor: Option<String>,
    /// How long the search took in the server, in milliseconds
    took_ms: f64,
}

/// Searches public snippets, and all of one's own.
#[utoipa::path(
    tag = "search",
    params(SearchQuery),
    responses(
        (status = 200, description = "One page of hits, the best first", body = SearchPage),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = [])),
)]
#[get("/v1/search")]
async fn search(
    app: web::Data<App>,
    caller: Caller,
    Query(query): Query<SearchQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let begun = Instant::now();
    let SearchQuery { q, owner, language, tag, limit, cursor } = query;
    let owner = owner.map(|owner| owner.user(&caller)).transpose()?;
    let filter = Filter { owner, language, tag };
    let purpose = serde_json::to_string(&("search", &q, &filter))
        .map_err(|error| Error::Internal(error.to_string()))?;
    let after = page::after(&app, &purpose, cursor.as_deref())?;
    let (data, next) = super::find(&app, &caller, &q, &filter, after, Limit::or_default(limit)).await?;
    let took_ms = (begun.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    page::respond_with(&app, &req, &purpose, next, |next_cursor| SearchPage { q, data, next_cursor, took_ms })
}
