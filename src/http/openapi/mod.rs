//! The OpenAPI document, generated from the routes themselves.

mod shared;

use actix_web::web::Bytes;
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

/// The document as it is served. Its tree takes megabytes, and is not kept.
pub struct Rendered(pub Bytes);

impl Rendered {
    /// Writes it out.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn of(document: &Document) -> Result<Self> {
        let json = document.to_json().map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self(json.into()))
    }
}

/// The document as it stands in the repository.
///
/// # Errors
/// When it has no JSON form.
pub fn text() -> std::result::Result<String, serde_json::Error> {
    document().to_pretty_json().map(|text| text + "\n")
}
