//! `/v1/users` and `/v1/me`.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    patch, post, web,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{AccountChange, Email, Name, NewPassword, Password, Profile, Registration, User, UserId};
use crate::{
    app::App,
    credentials::{self, Caller},
    error::{Error, Result},
    http::{
        Routes,
        caller::{Reader, Writer, ended_cookie},
        etag::{self, IfMatch},
        extract::Body,
        idempotency::{self, Answer},
        problem::Problem,
    },
    patch,
};

/// Adds the routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(register).service(me).service(change_me).service(delete_me).service(profile);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<UserId>;

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    #[schema(value_type = String, format = Email, max_length = 254, example = "ann@example.com")]
    email: Email,
    #[schema(value_type = String, min_length = 1, max_length = 80, example = "Ann")]
    name: Name,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 200)]
    password: Password,
}

/// Changes to one's own account; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeMe {
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = String, required = false, format = Email, max_length = 254, example = "ann@example.com")]
    email: Option<Email>,
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 80, example = "Ann")]
    name: Option<Name>,
    /// A new password, which ends all other sessions and tokens
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = String, required = false, format = Password, min_length = 8, max_length = 200)]
    password: Option<Password>,
    /// The present password, required with a new one
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = String, required = false, format = Password, min_length = 8, max_length = 200)]
    current_password: Option<Password>,
}

/// Create an account
///
/// The first account of an installation is its administrator's.
#[utoipa::path(
    tag = "accounts",
    request_body = Register,
    responses(
        (status = 201, description = "The account", body = User),
        (status = 409, description = "The e-mail address is taken", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
#[post("/v1/users")]
async fn register(app: web::Data<App>, caller: Caller, body: Body<Register>) -> Result<HttpResponse> {
    app.count_sign_in(caller.address)?;
    let Body { input: Register { email, name, password }, attempt } = body;
    // Hashed before the transaction: a hash takes tens of milliseconds, which no other writer should wait for.
    let password_hash = app.passwords.hash(password).await?;
    let attempt = attempt.with_password(&app.passwords).await?;
    let registration = Registration { email, name, password_hash };
    idempotency::once(&app, &caller, &attempt, async |tx| {
        let user = super::register(&app, tx, registration).await?;
        let answer = Answer::json(StatusCode::CREATED, &user)?;
        let location = format!("/v1/users/{}", user.id);
        Ok(answer.with(&header::LOCATION, location).with(&header::ETAG, etag::of(user.version)))
    })
    .await
}

/// Read one's own account
#[utoipa::path(
    tag = "accounts",
    params(("If-None-Match" = Option<String>, Header, description = "The version that the client has")),
    responses(
        (status = 200, description = "The account", body = User,
            headers(("ETag" = String, description = "Its version"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/me")]
async fn me(app: web::Data<App>, Reader(caller): Reader, req: HttpRequest) -> Result<HttpResponse> {
    let user = super::me(&app, &caller).await?;
    Ok(etag::respond(&req, user.version, &user))
}

/// Change one's own account
///
/// A JSON Merge Patch. A new password needs the present one, and ends all other sessions and tokens.
#[utoipa::path(
    tag = "accounts",
    params(("If-Match" = Option<String>, Header, description = "The version that is meant to be changed")),
    request_body(content = ChangeMe, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "The account as it is now", body = User,
            headers(("ETag" = String, description = "Its new version"))),
        (status = 409, description = "The e-mail address is taken", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/me")]
async fn change_me(
    app: web::Data<App>,
    Writer(caller): Writer,
    meant: IfMatch,
    body: Body<ChangeMe>,
) -> Result<HttpResponse> {
    let ChangeMe { email, name, password, current_password } = body.input;
    let password = match password {
        Some(password) => Some(new_password(&app, &caller, current_password, password).await?),
        None => None,
    };
    let mut tx = credentials::begin_alone(&app, &caller).await?;
    let change = AccountChange { email, name, password };
    let user = super::change(&app, &mut tx, &caller, change, |version| meant.allows(version)).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().insert_header((header::ETAG, etag::of(user.version))).json(user))
}

/// A new password, for somebody who knows the present one.
async fn new_password(
    app: &App,
    caller: &Caller,
    current: Option<Password>,
    new: Password,
) -> Result<NewPassword> {
    let missing = || Error::invalid("/current_password", "is required with a new password");
    let current = current.ok_or_else(missing)?;
    // Counted like a sign-in: with a stolen session this would be the place to guess passwords.
    app.count_sign_in(caller.address)?;
    let proof = super::require_password(app, caller, current).await?;
    Ok(NewPassword { proof, hash: app.passwords.hash(new).await? })
}

/// Delete one's own account
///
/// Everything that belongs to it goes too, and its streams end.
#[utoipa::path(
    tag = "accounts",
    params(("If-Match" = Option<String>, Header, description = "The version that is meant to be deleted")),
    responses(
        (status = 204, description = "Deleted"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/me")]
async fn delete_me(app: web::Data<App>, Writer(caller): Writer, meant: IfMatch) -> Result<HttpResponse> {
    let mut tx = credentials::begin_last(&app, &caller).await?;
    super::delete(&app, &mut tx, &caller, |version| meant.allows(version)).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().cookie(ended_cookie()).finish())
}

/// Read what everybody may know of a user
#[utoipa::path(
    tag = "accounts",
    params(
        ("id" = UserId, Path, description = "The user"),
        ("If-None-Match" = Option<String>, Header, description = "The version that the client has"),
    ),
    responses(
        (status = 200, description = "The user", body = Profile,
            headers(("ETag" = String, description = "The version of the account"))),
        (status = 304, description = "The client has this version"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/users/{id}")]
async fn profile(app: web::Data<App>, _: Reader, id: Id, req: HttpRequest) -> Result<HttpResponse> {
    let (profile, version) = super::profile(&app, *id).await?;
    Ok(etag::respond(&req, version, &profile))
}
