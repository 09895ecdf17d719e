//! `/v1/sessions`, `/v1/tokens` and `/v1/stream-tokens`.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    post, web,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Caller, CredentialId, Issued, Scope, Token,
    values::{TopicName, scopes, token_name, topics, ttl},
};
use crate::{
    accounts::{self, User},
    app::App,
    clock::Timestamp,
    error::Result,
    http::{
        Routes,
        caller::{Reader, Writer, ended_cookie, session_cookie},
        extract::{Body, Query},
        idempotency::{self, Answer},
        page::{self, Limit, Page},
        problem::Problem,
    },
};

/// The list that a cursor of `GET /v1/tokens` belongs to.
const TOKENS: &str = "tokens";

/// Adds the routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(open_session).service(end_session).service(stream_token);
    cfg.service(create_token).service(list_tokens).service(revoke_token);
}

/// The id in a path, under a name of its own: inside a `Path` utoipa looks for a struct of parameters.
type Id = web::Path<CredentialId>;

/// What a user signs in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    #[schema(format = Email, example = "ann@example.com")]
    email: String,
    #[schema(format = Password)]
    password: String,
}

/// An open session.
#[derive(Debug, Serialize, ToSchema)]
struct Session {
    /// The session's token, shown this once
    #[schema(example = "sbx_session_…")]
    token: String,
    expires_at: Option<Timestamp>,
    user: User,
}

/// A new personal access token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    #[serde(deserialize_with = "token_name")]
    #[schema(min_length = 1, max_length = 80, example = "backup script")]
    name: String,
    #[serde(deserialize_with = "scopes")]
    #[schema(min_items = 1, max_items = 4)]
    scopes: Vec<Scope>,
    /// When it ends by itself; never, unless given or the token that it is made with ends by itself
    expires_at: Option<Timestamp>,
}

/// A personal access token that was just made.
#[derive(Debug, Serialize, ToSchema)]
struct NewlyMadeToken {
    #[serde(flatten)]
    details: Token,
    /// The token itself, shown this once
    #[schema(example = "sbx_token_…")]
    token: String,
}

/// Which part of a list is asked for.
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TokensQuery {
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on, as the page before says
    cursor: Option<String>,
}

/// A token for streams.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StreamWish {
    /// The only topics that it opens; all that its user may see, unless given
    #[serde(default, deserialize_with = "topics")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 100)]
    topics: Option<Vec<TopicName>>,
    /// For how many seconds it is good
    #[serde(default, deserialize_with = "ttl")]
    #[schema(minimum = 1, maximum = 3600, default = 3600)]
    ttl_s: Option<u32>,
}

/// A stream token that was just made.
#[derive(Debug, Serialize, ToSchema)]
struct StreamToken {
    /// The token, good for `access_token` in the URL of a stream
    #[schema(example = "sbx_stream_…")]
    token: String,
    expires_at: Option<Timestamp>,
}

/// Sign in
///
/// The session's token also comes as a cookie, for browsers.
#[utoipa::path(
    tag = "credentials",
    request_body = SignIn,
    responses(
        (status = 201, description = "The session", body = Session),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
#[post("/v1/sessions")]
async fn open_session(
    app: web::Data<App>,
    req: HttpRequest,
    caller: Caller,
    body: Body<SignIn>,
) -> Result<HttpResponse> {
    app.count_sign_in(caller.address)?;
    let SignIn { email, password } = body.input;
    // Checked even when the answer is a repetition: a changed password must not open what it opened before.
    let proof = accounts::authenticate(&app, email, &password).await?;
    let attempt = body.attempt.with_password(&app.passwords).await?;
    idempotency::once(&app, &caller, &attempt, async |tx| {
        let (Issued { token, expires_at, .. }, user) = super::open_session(&app, tx, &proof).await?;
        let cookie = session_cookie(&app, &req, &token).to_string();
        let session = Session { token, expires_at, user };
        Ok(Answer::json(StatusCode::CREATED, &session)?.with(&header::SET_COOKIE, cookie))
    })
    .await
}

/// Sign out
///
/// Ends the token or the session in use, and every stream opened with it.
#[utoipa::path(
    tag = "credentials",
    responses(
        (status = 204, description = "Ended"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/sessions/current")]
async fn end_session(app: web::Data<App>, caller: Caller) -> Result<HttpResponse> {
    let mut tx = super::begin_alone(&app, &caller).await?;
    super::end_current(&app, &mut tx, &caller).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().cookie(ended_cookie()).finish())
}

/// Make a personal access token
///
/// The answer shows the token this once. It cannot do more than what it was made with. Made with a session, it is
/// good until it is revoked or `expires_at`; made with another token, it also ends when that one does.
#[utoipa::path(
    tag = "credentials",
    request_body = NewToken,
    responses(
        (status = 201, description = "The token", body = NewlyMadeToken),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/tokens")]
async fn create_token(
    app: web::Data<App>,
    Writer(caller): Writer,
    body: Body<NewToken>,
) -> Result<HttpResponse> {
    let NewToken { name, scopes, expires_at } = body.input;
    idempotency::once(&app, &caller, &body.attempt, async |tx| {
        let made = super::create_token(&app, tx, &caller, &name, &scopes, expires_at).await?;
        let Issued { id, token, created_at, expires_at } = made;
        let details = Token { id, name, scopes, created_at, expires_at, last_used_at: None };
        Answer::json(StatusCode::CREATED, &NewlyMadeToken { details, token })
    })
    .await
}

/// List one's personal access tokens
#[utoipa::path(
    tag = "credentials",
    params(TokensQuery),
    responses(
        (status = 200, description = "A page of tokens, newest first", body = Page<Token>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/tokens")]
async fn list_tokens(
    app: web::Data<App>,
    req: HttpRequest,
    caller: Caller,
    query: Query<TokensQuery>,
) -> Result<HttpResponse> {
    let limit = Limit::or_default(query.0.limit);
    let after = page::after(&app, TOKENS, query.0.cursor.as_deref())?;
    let mut tokens = super::tokens(&app, &caller, after, limit + 1).await?;
    // The one too many only tells that there is a next page.
    let more = tokens.len() > limit as usize;
    tokens.truncate(limit as usize);
    let next: Option<CredentialId> = tokens.last().filter(|_| more).map(|token| token.id);
    page::respond(&app, &req, TOKENS, tokens, next)
}

/// Revoke a personal access token
///
/// The streams opened with it end too.
#[utoipa::path(
    tag = "credentials",
    params(("id" = CredentialId, Path, description = "The token")),
    responses(
        (status = 204, description = "Revoked"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/tokens/{id}")]
async fn revoke_token(app: web::Data<App>, Writer(caller): Writer, id: Id) -> Result<HttpResponse> {
    let mut tx = super::begin_alone(&app, &caller).await?;
    super::revoke_token(&app, &mut tx, &caller, *id).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Make a token that can open streams and nothing else
///
/// For `EventSource`, which cannot set headers: it goes into the URL as `access_token` until it expires.
#[utoipa::path(
    tag = "credentials",
    request_body = StreamWish,
    responses(
        (status = 201, description = "The token", body = StreamToken),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/stream-tokens")]
async fn stream_token(
    app: web::Data<App>,
    Reader(caller): Reader,
    body: Body<StreamWish>,
) -> Result<HttpResponse> {
    let topics = body.input.topics.map(|names| names.into_iter().map(|name| name.0).collect::<Vec<_>>());
    let ttl = Duration::from_secs(body.input.ttl_s.unwrap_or(3_600).into());
    idempotency::once(&app, &caller, &body.attempt, async |tx| {
        let made = super::create_stream_token(&app, tx, &caller, topics.as_deref(), ttl).await?;
        let Issued { token, expires_at, .. } = made;
        Answer::json(StatusCode::CREATED, &StreamToken { token, expires_at })
    })
    .await
}
