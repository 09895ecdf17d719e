//! Accounts: who uses this installation.

mod passwords;
mod roles;
pub mod routes;
mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    passwords::{Password, Passwords},
    roles::set_role,
};
use crate::{
    app::App,
    chat,
    clock::Timestamp,
    credentials::{self, Caller, Scope},
    db::{Text, WriteTx},
    error::{Error, Result},
    id::id_type,
    realtime::{self, Effect, Json, NewEvent},
    snippets,
};

id_type! {
    /// Identifies a user.
    UserId
}

/// What a user may do beyond their own things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Role {
    /// Sees and changes everything.
    Admin,
    /// Sees and changes what is theirs.
    Member,
}

/// A user, as they see themselves.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    pub id: UserId,
    #[schema(value_type = String, example = "Ann")]
    pub name: Name,
    #[schema(value_type = String, example = "ann@example.com")]
    pub email: Email,
    pub role: Role,
    pub version: i64,
    pub created_at: Timestamp,
}

/// A user, as others see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    pub id: UserId,
    #[schema(value_type = String, example = "Ann")]
    pub name: Name,
}

/// A name: 1 to 80 characters, not only blanks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(Text);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() || text.chars().count() > 80 {
            return Err("must have 1 to 80 characters, not only blanks");
        }
        Ok(Self(Text(text)))
    }
}

impl From<Text> for Name {
    fn from(stored: Text) -> Self {
        Self(stored)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.0)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.0.serialize(serializer)
    }
}

/// An e-mail address in lower case: something on both sides of one `@`, without blanks, at most 254 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(try_from = "String")]
#[sqlx(transparent)]
pub struct Email(String);

impl TryFrom<String> for Email {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let sane = text.len() <= 254 && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        match text.split_once('@') {
            Some((local, domain))
                if sane && !local.is_empty() && !domain.is_empty() && !domain.contains('@') =>
            {
                Ok(Self(text.to_lowercase()))
            }
            _ => Err("must be an e-mail address of at most 254 bytes"),
        }
    }
}

/// What a new account is made of.
pub struct Registration {
    pub email: Email,
    pub name: Name,
    pub password_hash: String,
}

/// Changes to an account; what is not given stays.
#[derive(Default)]
pub struct AccountChange {
    pub email: Option<Email>,
    pub name: Option<Name>,
    pub password: Option<NewPassword>,
}

/// A new password of somebody who knew the present one.
pub struct NewPassword {
    pub proof: Proof,
    pub hash: String,
}

/// That somebody knew a user's password: good for as long as that stays the same.
pub struct Proof {
    user: UserId,
    password_hash: String,
}

/// Creates an account. The first one of an installation is its administrator's.
pub async fn register(app: &App, tx: &mut WriteTx, registration: Registration) -> Result<User> {
    let id = UserId(app.ids.next());
    let first = tx.claim_first_user(id.0).await?;
    let user = User {
        id,
        name: registration.name,
        email: registration.email,
        role: if first { Role::Admin } else { Role::Member },
        version: 1,
        created_at: app.clock.now(),
    };
    store::insert(tx.conn().await?, &user, &registration.password_hash).await.map_err(taken)?;
    Ok(user)
}

fn taken(error: Error) -> Error {
    if error.is_unique_violation() { Error::Conflict("this e-mail address is taken") } else { error }
}

/// The caller's own account.
pub async fn me(app: &App, caller: &Caller) -> Result<User> {
    let mut conn = app.db.read().await?;
    store::find(conn.conn(), caller.require_user()?.id).await?.ok_or(Error::NotFound("user"))
}

/// The account of who knew the password, unless it was changed since; until the transaction ends it stays.
pub async fn confirm(tx: &mut WriteTx, proof: &Proof) -> Result<User> {
    if store::hold_hash(tx.conn().await?, proof.user).await?.as_ref() != Some(&proof.password_hash) {
        return Err(Error::InvalidCredentials);
    }
    store::find(tx.conn().await?, proof.user).await?.ok_or(Error::NotFound("user"))
}

/// What everybody may know of a user, and the version of it.
pub async fn profile(app: &App, id: UserId) -> Result<(Profile, i64)> {
    let mut conn = app.db.read().await?;
    store::find_profile(conn.conn(), id).await?.ok_or(Error::NotFound("user"))
}

/// Those of the users who exist, by their ids. None of them can be deleted until the transaction ends.
///
/// Whoever needs rooms and users holds the users first.
pub async fn hold(tx: &mut WriteTx, ids: &[UserId]) -> Result<Vec<User>> {
    if ids.is_empty() { Ok(Vec::new()) } else { store::hold(tx.conn().await?, ids).await }
}

/// The account behind an e-mail address and a password. Takes the same time whichever of them is wrong.
pub async fn authenticate(app: &App, email: String, password: &str) -> Result<Proof> {
    let mut conn = app.db.read().await?;
    let found = match Email::try_from(email) {
        Ok(email) => store::find_password(conn.conn(), &email).await?,
        Err(_) => None, // What is no address is nobody's.
    };
    drop(conn);
    let hash = found.as_ref().map(|(_, hash)| hash.clone());
    let matches = app.passwords.verify(Password::guess(password), hash).await?;
    let proof = found.map(|(user, password_hash)| Proof { user, password_hash });
    proof.filter(|_| matches).ok_or(Error::InvalidCredentials)
}

/// The proof that `password` is the caller's present one.
pub async fn require_password(app: &App, caller: &Caller, password: Password) -> Result<Proof> {
    let user = caller.require_user()?.id;
    let mut conn = app.db.read().await?;
    let hash = store::find_hash(conn.conn(), user).await?;
    drop(conn);
    let matches = app.passwords.verify(password, hash.clone()).await?;
    let proof = hash.map(|password_hash| Proof { user, password_hash });
    proof.filter(|_| matches).ok_or_else(not_the_present)
}

fn not_the_present() -> Error {
    Error::invalid("/current_password", "is not the present password")
}

/// Changes the caller's account, if `allows` accepts its present version. A new password ends all other sessions and
/// tokens of the account, for which the transaction must have begun alone.
pub async fn change(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    change: AccountChange,
    allows: impl Fn(i64) -> bool,
) -> Result<User> {
    let id = require_version(tx, caller, allows).await?.id;
    if let Some(password) = &change.password {
        let confirmed = confirm(tx, &password.proof).await;
        confirmed.map_err(|error| match error {
            Error::InvalidCredentials => not_the_present(),
            other => other,
        })?;
    }
    store::update(tx.conn().await?, id, &change).await.map_err(taken)?;
    if change.password.is_some() {
        credentials::end_others(app, tx, caller).await?;
    }
    store::find(tx.conn().await?, id).await?.ok_or(Error::NotFound("user"))
}

async fn require_version(tx: &mut WriteTx, caller: &Caller, allows: impl Fn(i64) -> bool) -> Result<User> {
    let id = caller.require(Scope::Write)?.id;
    let user = store::find(tx.conn().await?, id).await?.ok_or(Error::NotFound("user"))?;
    if allows(user.version) { Ok(user) } else { Err(Error::Stale) }
}

/// Deletes the caller's account, if `allows` accepts its present version, with everything that is theirs, and ends
/// their streams. The last administrator stays for as long as there are others: [`set_role`] names another one first.
///
/// The transaction must have begun with [`credentials::begin_last`].
pub async fn delete(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    allows: impl Fn(i64) -> bool,
) -> Result<()> {
    let User { id, role, .. } = require_version(tx, caller, allows).await?;
    let others = store::others(tx.conn().await?, id).await?;
    if role == Role::Admin && others.exist && !others.have_admin {
        return Err(Error::Conflict("others have accounts, and nobody else administers them"));
    }
    store::lock(tx.conn().await?, id).await?;
    let ended = snippets::delete_all_of(app, tx, caller).await?;
    chat::forget(app, tx, caller).await?;
    store::delete(tx.conn().await?, id).await?;
    let event = NewEvent {
        kind: "account_deleted",
        topic: guard(id),
        feed: None,
        audience: None,
        effect: Some(Effect::End),
        actor: None,
        origin: None,
        data: Json::of(&id)?,
        at: app.clock.now(),
    };
    realtime::append(tx, event).await?;
    realtime::take_from_feeds(tx, &ended).await
}

/// The topic that ends with an account; streams of its user stand on it.
#[must_use]
pub fn guard(id: UserId) -> String {
    format!("account@{id}")
}
