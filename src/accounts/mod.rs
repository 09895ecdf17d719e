//! Accounts: who uses this installation.

mod passwords;
pub mod routes;
mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::passwords::{Password, Passwords};
use crate::{
    app::App,
    chat,
    clock::Timestamp,
    credentials::{self, Caller},
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
    pub created_at: Timestamp,
}

/// A user, as others see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
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
    pub password_hash: Option<String>,
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
        created_at: app.clock.now(),
    };
    store::insert(tx.conn(), &user, &registration.password_hash).await.map_err(taken)?;
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

/// An account, as its owner sees it.
pub async fn account(tx: &mut WriteTx, id: UserId) -> Result<User> {
    store::find(tx.conn(), id).await?.ok_or(Error::NotFound("user"))
}

/// What everybody may know of a user.
pub async fn profile(app: &App, id: UserId) -> Result<Profile> {
    let mut conn = app.db.read().await?;
    store::find_profile(conn.conn(), id).await?.ok_or(Error::NotFound("user"))
}

/// Those of the users who exist, by their ids. None of them can be deleted until the transaction ends.
///
/// Whoever needs rooms and users holds the users first.
pub async fn hold(tx: &mut WriteTx, ids: &[UserId]) -> Result<Vec<User>> {
    if ids.is_empty() { Ok(Vec::new()) } else { store::hold(tx.conn(), ids).await }
}

/// The account behind an e-mail address and a password. Takes the same time whichever of them is wrong.
pub async fn authenticate(app: &App, email: String, password: &str) -> Result<UserId> {
    let mut conn = app.db.read().await?;
    let found = match Email::try_from(email) {
        Ok(email) => store::find_password(conn.conn(), &email).await?,
        Err(_) => None, // What is no address is nobody's.
    };
    drop(conn);
    let (id, hash) = found.unzip();
    let matches = app.passwords.verify(Password::guess(password), hash).await?;
    id.filter(|_| matches).ok_or(Error::InvalidCredentials)
}

/// Whether `password` is the caller's present one.
pub async fn require_password(app: &App, caller: &Caller, password: Password) -> Result<()> {
    let mut conn = app.db.read().await?;
    let hash = store::find_hash(conn.conn(), caller.require_user()?.id).await?;
    drop(conn);
    if app.passwords.verify(password, hash).await? {
        Ok(())
    } else {
        Err(Error::invalid("/current_password", "is not the present password"))
    }
}

/// Changes the caller's account. A new password ends all other sessions and tokens of the account.
pub async fn change(app: &App, tx: &mut WriteTx, caller: &Caller, change: AccountChange) -> Result<User> {
    let id = caller.require_user()?.id;
    let new_password = change.password_hash.is_some();
    store::update(tx.conn(), id, &change).await.map_err(taken)?;
    if new_password {
        credentials::end_others(app, tx, caller).await?;
    }
    store::find(tx.conn(), id).await?.ok_or(Error::NotFound("user"))
}

/// Deletes the caller's account with everything that is theirs, and ends their streams.
pub async fn delete(app: &App, tx: &mut WriteTx, caller: &Caller) -> Result<()> {
    let id = caller.require_user()?.id;
    store::lock(tx.conn(), id).await?;
    snippets::delete_all_of(app, tx, caller).await?;
    chat::forget(app, tx, caller).await?;
    store::delete(tx.conn(), id).await?;
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
    realtime::append(tx.conn(), event).await?;
    Ok(())
}

/// The topic that ends with an account; streams of its user stand on it.
#[must_use]
pub fn guard(id: UserId) -> String {
    format!("account@{id}")
}
