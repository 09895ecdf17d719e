//! The OpenAPI document, generated from the routes themselves.

mod shared;

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_actix_web::AppExt as _;

use super::problem::Problem;
use crate::error::{Error, Result};
use crate::streams::schema::{AnyEvent, EventPage, StreamFrame};

#[derive(OpenApi)]
#[openapi(
    version = "3.2.0",
    info(
        title = "Snippetbox",
        description = "Snippets, and event streams that lose nothing, over plain HTTP. Streams are Server-Sent \
                       Events, NDJSON or long polling, over one cursor.",
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "/", description = "This server")),
    components(schemas(Problem, StreamFrame, AnyEvent, EventPage)),
    // Unless the operation says otherwise.
    security(("bearer" = []), ("session" = [])),
    modifiers(&Schemes),
    tags(
        (name = "accounts", description = "Who uses this installation"),
        (name = "credentials", description = "Sessions and tokens"),
        (name = "snippets", description = "The snippets"),
        (name = "exports", description = "Snippets as ZIP archives"),
        (name = "imports", description = "And back again"),
        (name = "chat", description = "Rooms and messages"),
        (name = "notifications", description = "What concerns one user"),
        (name = "search", description = "Find snippets while typing"),
        (name = "streams", description = "One connection, many topics"),
        (name = "custom topics", description = "Events of your own"),
        (name = "dashboard", description = "How much there is and happens"),
        (name = "operations", description = "For those who run the server"),
    ),
)]
struct Base;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
        let session = ApiKeyValue::with_description(super::caller::COOKIE, "Set by POST /v1/sessions");
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
        let token = ApiKeyValue::with_description("access_token", "A stream token, on streams only");
        components.add_security_scheme("stream_token", SecurityScheme::ApiKey(ApiKey::Query(token)));
        let link = ApiKeyValue::with_description("signature", "From the `download_url` of an export");
        components.add_security_scheme("download_link", SecurityScheme::ApiKey(ApiKey::Query(link)));
    }
}

/// The document, made without a server.
#[must_use]
pub fn document() -> Document {
    let app = actix_web::App::new()
        .into_utoipa_app()
        .openapi(Base::openapi())
        .configure(|cfg| super::routes(&mut super::Routes::Described(cfg)));
    let (_, mut document) = app.split_for_parts();
    shared::complete(&mut document);
    document
}

/// The document as it stands in the repository, and as it is served: a test holds it against the routes. Its tree takes
/// megabytes, and is made only to write it.
pub const TEXT: &str = include_str!("../../../openapi/openapi.json");

/// What the server itself looks up in the document.
#[derive(Deserialize)]
pub struct Outline {
    /// The routes, by their patterns.
    pub paths: BTreeMap<String, Methods>,
}

/// The operations of a path, by their methods.
pub type Methods = BTreeMap<String, Operation>;

/// What the server looks up of an operation.
#[derive(Deserialize)]
pub struct Operation {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    /// Nothing where the parameter is one of those that many operations share, which are headers.
    #[serde(default, rename = "in")]
    place: String,
}

impl Operation {
    /// Whether it knows any query parameter.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.place == "query")
    }
}

/// Reads the outline of the document.
///
/// # Errors
/// When it is no OpenAPI document.
pub fn outline() -> Result<Outline> {
    serde_json::from_str(TEXT).map_err(|error| Error::Internal(format!("openapi.json: {error}")))
}

/// The text of the document, made anew.
///
/// # Errors
/// When it has no JSON form.
pub fn text() -> std::result::Result<String, serde_json::Error> {
    document().to_pretty_json().map(|text| text + "\n")
}
