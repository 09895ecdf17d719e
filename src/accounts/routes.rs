//! `/v1/users` and `/v1/me`.

use actix_web::{
    HttpResponse, delete, get,
    http::{StatusCode, header},
    patch, post, web,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{AccountChange, Email, Name, Password, Profile, Registration, User, UserId};
use crate::{
    app::App,
    credentials::{Caller, Scope},
    error::{Error, Result},
    http::{
        caller::ended_cookie,
        extract::Body,
        idempotency::{self, Answer},
        problem::Problem,
    },
    patch,
};

/// Adds the routes.
pub fn configure(cfg: &mut ServiceConfig<'_>) {
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
)]
#[post("/v1/users")]
async fn register(app: web::Data<App>, caller: Caller, body: Body<Register>) -> Result<HttpResponse> {
    app.limits.sign_in(caller.address)?;
    let Body { input: Register { email, name, password }, attempt } = body;
    // Hashed before the transaction: a hash takes tens of milliseconds, which no other writer should wait for.
    let password_hash = app.passwords.hash(password).await?;
    let registration = Registration { email, name, password_hash };
    idempotency::once(&app, &caller, &attempt, async |tx| {
        let user = super::register(&app, tx, registration).await?;
        let location = format!("/v1/users/{}", user.id);
        Ok(Answer::json(StatusCode::CREATED, &user)?.with(&header::LOCATION, location))
    })
    .await
}

/// Read one's own account
#[utoipa::path(
    tag = "accounts",
    responses(
        (status = 200, description = "The account", body = User),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/me")]
async fn me(app: web::Data<App>, caller: Caller) -> Result<HttpResponse> {
    caller.require(Scope::Read)?;
    Ok(HttpResponse::Ok().json(super::me(&app, &caller).await?))
}

/// Change one's own account
///
/// A JSON Merge Patch. A new password needs the present one, and ends all other sessions and tokens.
#[utoipa::path(
    tag = "accounts",
    request_body(content = ChangeMe, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "The account as it is now", body = User),
        (status = 409, description = "The e-mail address is taken", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/me")]
async fn change_me(app: web::Data<App>, caller: Caller, body: Body<ChangeMe>) -> Result<HttpResponse> {
    caller.require(Scope::Write)?;
    let ChangeMe { email, name, password, current_password } = body.input;
    let password_hash = match password {
        Some(password) => Some(new_hash(&app, &caller, current_password, password).await?),
        None => None,
    };
    let mut tx = app.db.write().await?;
    let user = super::change(&app, &mut tx, &caller, AccountChange { email, name, password_hash }).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().json(user))
}

/// The hash of a new password, for somebody who knows the present one.
async fn new_hash(app: &App, caller: &Caller, current: Option<Password>, new: Password) -> Result<String> {
    let missing = || Error::invalid("/current_password", "is required with a new password");
    let current = current.ok_or_else(missing)?;
    // Counted like a sign-in: with a stolen session this would be the place to guess passwords.
    app.limits.sign_in(caller.address)?;
    super::require_password(app, caller, current).await?;
    app.passwords.hash(new).await
}

/// Delete one's own account
///
/// Everything that belongs to it goes too, and its streams end.
#[utoipa::path(
    tag = "accounts",
    responses(
        (status = 204, description = "Deleted"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/me")]
async fn delete_me(app: web::Data<App>, caller: Caller) -> Result<HttpResponse> {
    caller.require(Scope::Write)?;
    let mut tx = app.db.write().await?;
    super::delete(&app, &mut tx, &caller).await?;
    tx.commit().await?;
    Ok(HttpResponse::NoContent().cookie(ended_cookie()).finish())
}

/// Read what everybody may know of a user
#[utoipa::path(
    tag = "accounts",
    params(("id" = UserId, Path, description = "The user")),
    responses(
        (status = 200, description = "The user", body = Profile),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/users/{id}")]
async fn profile(app: web::Data<App>, caller: Caller, id: Id) -> Result<HttpResponse> {
    caller.require(Scope::Read)?;
    Ok(HttpResponse::Ok().json(super::profile(&app, *id).await?))
}
