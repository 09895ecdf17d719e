//! Credentials: what proves who asks, and what they may do with it.
//!
//! Sessions, personal access tokens and stream tokens are one table. A token is 256 random bits with a
//! recognisable prefix; only its SHA-256 is stored.

mod begin;
mod caller;
pub mod routes;
mod store;
mod values;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::{
    begin::{begin, begin_alone, begin_last},
    caller::{Caller, Identity, Kind, Scope},
};
use crate::{
    accounts::{self, Proof, User, UserId},
    app::App,
    clock::Timestamp,
    db::WriteTx,
    error::{Error, Result},
    id::id_type,
    realtime::{self, Effect, Json, NewEvent},
    seal,
};

id_type! {
    /// Identifies a credential.
    CredentialId
}

/// A credential that was just made; the token is shown this once.
#[derive(Debug)]
pub struct Issued {
    pub id: CredentialId,
    pub token: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// A personal access token, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Token {
    pub id: CredentialId,
    #[schema(example = "backup script")]
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// When credentials were last used, written behind: the newest time of each waits here for the next flush.
#[derive(Default)]
pub struct LastUsed(Mutex<BTreeMap<CredentialId, Timestamp>>);

impl LastUsed {
    fn note(&self, id: CredentialId, now: Timestamp) {
        self.noted().insert(id, now);
    }

    /// In the order of the ids, in which rows are locked: two nodes that write cannot block each other.
    fn noted(&self) -> MutexGuard<'_, BTreeMap<CredentialId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out who holds a token. Unknown, revoked and expired ones are nobody's.
pub async fn identify(app: &App, token: &str) -> Result<Option<Identity>> {
    if !token.starts_with("sbx_") {
        return Ok(None);
    }
    let load = async |digests: Vec<[u8; 32]>| {
        let mut conn = app.db.read().await?;
        store::find_by_digest(conn.conn(), &digests).await
    };
    let found = app.identities.find(seal::digest(&[token.as_bytes()]), load).await?;
    let now = app.clock.now();
    let Some(identity) = found.filter(|found| found.expires_at.is_none_or(|end| end > now)) else {
        return Ok(None);
    };
    app.dashboard.see(identity.id, now);
    if identity.kind == Kind::Personal {
        app.last_used.note(identity.credential, now);
    }
    Ok(Some(identity))
}

/// Opens a session for somebody who has proved to know the password, if it is still the same.
pub async fn open_session(app: &App, tx: &mut WriteTx, proof: &Proof) -> Result<(Issued, User)> {
    let user = accounts::confirm(tx, proof).await?;
    let expires_at = Some(app.clock.now().plus(app.settings.session_ttl));
    let session =
        New { user: user.id, kind: Kind::Session, scopes: &Scope::ALL, expires_at, ..New::default() };
    Ok((issue(app, tx, session).await?, user))
}

/// Makes a personal access token. One that is made with another ends with that.
pub async fn create_token(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    name: &str,
    scopes: &[Scope],
    expires_at: Option<Timestamp>,
) -> Result<Issued> {
    let who = caller.require(Scope::Write)?;
    // A token cannot make one that may do more than itself.
    if let Some(scope) = scopes.iter().find(|scope| !who.scopes.contains(scope)) {
        return Err(Error::InsufficientScope(scope.name()));
    }
    if expires_at.is_some_and(|end| end <= app.clock.now()) {
        return Err(Error::invalid("/expires_at", "must lie in the future"));
    }
    // What a token makes ends with it; what a session makes is there to outlive it.
    let (parent, last_end) = match who.kind {
        Kind::Session => (None, None),
        Kind::Personal | Kind::Stream => (Some(who.credential), who.expires_at),
    };
    let expires_at = [expires_at, last_end].into_iter().flatten().min();
    let (user, name) = (who.id, Some(name));
    issue(app, tx, New { user, parent, kind: Kind::Personal, name, scopes, expires_at, ..New::default() })
        .await
}

/// Makes a token that can open streams and nothing else. It ends with the credential that made it.
pub async fn create_stream_token(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    topics: Option<&[String]>,
    ttl: Duration,
) -> Result<Issued> {
    let who = caller.require(Scope::Read)?;
    let end = app.clock.now().plus(ttl);
    let expires_at = Some(who.expires_at.map_or(end, |parents| parents.min(end)));
    let scopes: Vec<Scope> =
        who.scopes.iter().copied().filter(|s| matches!(s, Scope::Read | Scope::Admin)).collect();
    let (user, parent, scopes) = (who.id, Some(who.credential), scopes.as_slice());
    issue(app, tx, New { user, parent, kind: Kind::Stream, scopes, topics, expires_at, ..New::default() })
        .await
}

/// A credential to be made.
struct New<'a> {
    user: UserId,
    parent: Option<CredentialId>,
    kind: Kind,
    name: Option<&'a str>,
    scopes: &'a [Scope],
    topics: Option<&'a [String]>,
    expires_at: Option<Timestamp>,
}

impl Default for New<'_> {
    fn default() -> Self {
        Self {
            user: UserId(Uuid::nil()),
            parent: None,
            kind: Kind::Session,
            name: None,
            scopes: &[],
            topics: None,
            expires_at: None,
        }
    }
}

async fn issue(app: &App, tx: &mut WriteTx, new: New<'_>) -> Result<Issued> {
    let token = format!("{}{}", new.kind.prefix(), seal::text(&app.ids.secret()));
    let issued = Issued {
        id: CredentialId(app.ids.next()),
        created_at: app.clock.now(),
        expires_at: new.expires_at,
        token,
    };
    store::insert(tx.conn().await?, &issued, &seal::digest(&[issued.token.as_bytes()]), &new).await?;
    Ok(issued)
}

/// The caller's personal access tokens, newest first, from behind `after` on.
pub async fn tokens(
    app: &App,
    caller: &Caller,
    after: Option<CredentialId>,
    limit: u32,
) -> Result<Vec<Token>> {
    let who = caller.require(Scope::Read)?;
    let mut conn = app.db.read().await?;
    store::page_of_tokens(conn.conn(), who.id, after, limit).await
}

/// Revokes one of the caller's personal access tokens, and ends the streams opened with it.
pub async fn revoke_token(app: &App, tx: &mut WriteTx, caller: &Caller, id: CredentialId) -> Result<()> {
    let who = caller.require(Scope::Write)?;
    if !store::is_token_of(tx.conn().await?, id, who.id).await? {
        return Err(Error::NotFound("token"));
    }
    end(app.clock.now(), tx, id).await
}

/// Ends the credential that the caller used, and the streams opened with it.
pub async fn end_current(app: &App, tx: &mut WriteTx, caller: &Caller) -> Result<()> {
    end(app.clock.now(), tx, caller.require_user()?.credential).await
}

/// Ends all credentials of the caller but the one in use and its stream tokens.
pub async fn end_others(app: &App, tx: &mut WriteTx, caller: &Caller) -> Result<()> {
    let who = caller.require_user()?;
    end_all_but(app.clock.now(), tx, who.id, who.credential).await
}

/// Ends all credentials of a user, of whom the transaction holds the row alone.
pub async fn end_all(now: Timestamp, tx: &mut WriteTx, user: UserId) -> Result<()> {
    end_all_but(now, tx, user, CredentialId(Uuid::nil())).await
}

async fn end_all_but(now: Timestamp, tx: &mut WriteTx, user: UserId, but: CredentialId) -> Result<()> {
    for id in store::others(tx.conn().await?, user, but).await? {
        end(now, tx, id).await?;
    }
    Ok(())
}

async fn end(now: Timestamp, tx: &mut WriteTx, id: CredentialId) -> Result<()> {
    for id in store::family(tx.conn().await?, id).await? {
        let event = NewEvent {
            kind: "credential_revoked",
            topic: guard(id),
            feed: None,
            audience: None,
            effect: Some(Effect::End),
            actor: None,
            origin: None,
            data: Json::of(&id)?,
            at: now,
        };
        realtime::append(tx, event).await?;
    }
    store::delete(tx.conn().await?, id).await
}

/// The topic that ends with a credential; streams opened with it stand on it.
#[must_use]
pub fn guard(id: CredentialId) -> String {
    format!("credential@{id}")
}

/// Everything a stream of this caller stands on.
#[must_use]
pub fn guards(caller: &Caller) -> Vec<String> {
    let Some(who) = &caller.identity else { return Vec::new() };
    vec![guard(who.credential), accounts::guard(who.id)]
}

/// Writes down when credentials were last used. What cannot be written stays for the next time.
pub async fn flush_last_used(app: &App) -> Result<()> {
    let noted = app.last_used.noted().clone();
    if noted.is_empty() {
        return Ok(());
    }
    let mut tx = app.db.write().await?;
    for (id, at) in &noted {
        store::touch(tx.conn().await?, *id, *at).await?;
    }
    tx.commit().await?;
    app.last_used.noted().retain(|id, at| noted.get(id) != Some(at));
    Ok(())
}

/// Removes credentials that have ended.
pub async fn remove_expired(app: &App) -> Result<()> {
    let mut tx = app.db.write().await?;
    store::delete_expired(tx.conn().await?, app.clock.now()).await?;
    tx.commit().await
}
