//! Lists: a limit, an opaque cursor, and a link to the next page.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    error::{Error, Result},
    seal,
};

/// How many items a page holds: 1 to 100.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = u32, minimum = 1, maximum = 100, default = 20)]
pub struct Limit(u32);

impl TryFrom<String> for Limit {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let limit = text.parse().ok().filter(|limit| (1..=100).contains(limit));
        limit.map(Self).ok_or("must be a number from 1 to 100")
    }
}

impl Limit {
    /// The limit that was asked for, or 20.
    #[must_use]
    pub fn or_default(limit: Option<Self>) -> u32 {
        limit.map_or(20, |limit| limit.0)
    }
}

/// Which page of a list is wanted.
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items at most.
    #[param(inline)]
    pub limit: Option<Limit>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items
    pub data: Vec<T>,
    /// The cursor of the next page, or null on the last one
    pub next_cursor: Option<String>,
}

/// Reads a cursor, which fits only the list for whose purpose it was made.
///
/// # Errors
/// When this server did not make it for this list.
pub fn after<K: DeserializeOwned>(app: &App, purpose: &str, cursor: Option<&str>) -> Result<Option<K>> {
    let Some(cursor) = cursor else { return Ok(None) };
    let sealed =
        seal::bytes(cursor).and_then(|sealed| app.sealer.open(&[b"cursor", purpose.as_bytes()], &sealed));
    let key = sealed.and_then(|text| serde_json::from_slice(&text).ok());
    key.map(Some).ok_or_else(|| Error::invalid_query("cursor", "is not a cursor of this list"))
}

/// Answers with a page.
///
/// # Errors
/// When the key of the next page has no JSON form.
pub fn respond<T: Serialize, K: Serialize>(
    app: &App,
    req: &HttpRequest,
    purpose: &str,
    data: impl AsRef<[T]>,
    next: Option<K>,
) -> Result<HttpResponse> {
    let data: Vec<&T> = data.as_ref().iter().collect();
    respond_with(app, req, purpose, next, |next_cursor| Page { data, next_cursor })
}

/// Answers with a page that says more than its items; `page` makes it of the cursor of the next one.
///
/// # Errors
/// When the key of the next page has no JSON form.
pub fn respond_with<K: Serialize, P: Serialize>(
    app: &App,
    req: &HttpRequest,
    purpose: &str,
    next: Option<K>,
    page: impl FnOnce(Option<String>) -> P,
) -> Result<HttpResponse> {
    let mut response = HttpResponse::Ok();
    let mut next_cursor = None;
    if let Some(key) = next {
        let text = serde_json::to_vec(&key).map_err(|error| Error::Internal(error.to_string()))?;
        let cursor = seal::text(&app.sealer.seal(&[b"cursor", purpose.as_bytes()], app.ids.secret(), &text));
        response.insert_header((header::LINK, format!("<{}>; rel=\"next\"", next_url(req, &cursor))));
        next_cursor = Some(cursor);
    }
    Ok(response.json(page(next_cursor)))
}

/// The same request with another cursor, which needs no escaping.
fn next_url(req: &HttpRequest, cursor: &str) -> String {
    let kept = req.query_string().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut query: Vec<&str> = kept.collect();
    let last = format!("cursor={cursor}");
    query.push(&last);
    format!("{}?{}", req.path(), query.join("&"))
}
