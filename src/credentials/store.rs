//! The table `credentials`.

use std::collections::HashMap;

use sqlx::{QueryBuilder, types::Json};

use super::{CredentialId, Identity, Issued, Kind, New, Scope, Token};
use crate::{
    accounts::{Name, Role, UserId},
    clock::Timestamp,
    db::{Conn, Text, WriteTx, on_conn, push_keys},
    error::{Error, Result},
};

pub(super) async fn insert(conn: Conn<'_>, issued: &Issued, digest: &[u8], new: &New<'_>) -> Result<()> {
    on_conn!(conn, |c| {
        sqlx::query(
        "INSERT INTO credentials (id, user_id, parent_id, kind, digest, name, scopes, topics, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    )
    .bind(issued.id)
    .bind(new.user)
    .bind(new.parent)
    .bind(new.kind)
    .bind(digest.to_vec())
    .bind(new.name.map(|name| Text(name.to_owned())))
    .bind(Json(new.scopes.to_vec()))
    .bind(new.topics.map(|topics| Json(topics.to_vec())))
    .bind(issued.created_at)
    .bind(issued.expires_at)
    .execute(c)
    .await
    .map(drop)?;
    });
    Ok(())
}

#[derive(sqlx::FromRow)]
struct IdentityRow {
    digest: Vec<u8>,
    user_id: UserId,
    user_name: Text,
    role: Role,
    credential: CredentialId,
    kind: Kind,
    scopes: Json<Vec<Scope>>,
    topics: Option<Json<Vec<String>>>,
    expires_at: Option<Timestamp>,
}

/// Whom the credentials with these digests prove, as far as there are any.
pub(super) async fn find_by_digest(
    conn: Conn<'_>,
    digests: &[[u8; 32]],
) -> Result<HashMap<[u8; 32], Identity>> {
    let digests: Vec<Vec<u8>> = digests.iter().map(|digest| digest.to_vec()).collect();
    let rows: Vec<IdentityRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(
            "SELECT c.digest AS digest, u.id AS user_id, u.name AS user_name, u.role AS role, c.id AS credential,
                    c.kind AS kind, c.scopes AS scopes, c.topics AS topics, c.expires_at AS expires_at
             FROM credentials c JOIN users u ON u.id = c.user_id WHERE c.digest IN ",
        );
        push_keys(&mut query, &digests);
        query.build_query_as().fetch_all(c).await?
    });
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let digest =
            row.digest.try_into().map_err(|_| Error::Internal("a digest has another length".into()))?;
        let identity = Identity {
            id: row.user_id,
            name: Name::from(row.user_name),
            role: row.role,
            credential: row.credential,
            kind: row.kind,
            scopes: row.scopes.0,
            topics: row.topics.map(|topics| topics.0),
            expires_at: row.expires_at,
        };
        found.insert(digest, identity);
    }
    Ok(found)
}

/// Lets the transaction go on only while a credential is there, which it then is until the end.
pub(super) async fn hold(tx: &mut WriteTx, id: CredentialId) -> Result<()> {
    tx.later("INSERT INTO held_credentials (id) VALUES ($1)", "SELECT hold_credential($1)")
        .bind(id)
        .run()
        .await
}

/// The key of an advisory lock; any number that nothing else in the database uses.
const ENDINGS: i64 = 0x7362_785f_656e_6473;

/// Waits until no other transaction ends an account, and lets none do so until this one ends. SQLite has one writer
/// at a time.
pub(super) async fn hold_all_endings(tx: &mut WriteTx) -> Result<()> {
    tx.later("SELECT $1 WHERE FALSE", "SELECT pg_advisory_xact_lock($1)").bind(ENDINGS).run().await
}

/// The same, while no other transaction holds a credential of this user. Tells whether it is there.
pub(super) async fn hold_alone(tx: &mut WriteTx, id: CredentialId) -> Result<bool> {
    // PostgreSQL locks in the order in which a statement names the tables: the user comes first, always.
    let sqlite = "SELECT id FROM credentials WHERE id = $1";
    let postgres =
        "SELECT c.id FROM users u JOIN credentials c ON c.user_id = u.id WHERE c.id = $1 FOR UPDATE OF u, c";
    let found: Option<(CredentialId,)> = tx.later(sqlite, postgres).bind(id).find().await?;
    Ok(found.is_some())
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: CredentialId,
    name: Option<Text>,
    scopes: Json<Vec<Scope>>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

pub(super) async fn page_of_tokens(
    conn: Conn<'_>,
    user: UserId,
    after: Option<CredentialId>,
    limit: u32,
) -> Result<Vec<Token>> {
    let after = after.unwrap_or(CredentialId(uuid::Uuid::max()));
    let rows: Vec<TokenRow> = on_conn!(conn, |c| sqlx::query_as(
        "SELECT id, name, scopes, created_at, expires_at, last_used_at FROM credentials
         WHERE user_id = $1 AND kind = 'personal' AND id < $2 ORDER BY id DESC LIMIT $3"
    )
    .bind(user)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(c)
    .await?);
    let token = |row: TokenRow| Token {
        id: row.id,
        name: row.name.map(|name| name.0).unwrap_or_default(),
        scopes: row.scopes.0,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    };
    Ok(rows.into_iter().map(token).collect())
}

pub(super) async fn is_token_of(conn: Conn<'_>, id: CredentialId, user: UserId) -> Result<bool> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM credentials WHERE id = $1 AND user_id = $2 AND kind = 'personal')"
    )
    .bind(id)
    .bind(user)
    .fetch_one(c)
    .await?))
}

/// A credential, and all that were made with it or with one of those.
pub(super) async fn family(conn: Conn<'_>, id: CredentialId) -> Result<Vec<CredentialId>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "WITH RECURSIVE family (id) AS (
             SELECT id FROM credentials WHERE id = $1
             UNION ALL SELECT c.id FROM credentials c JOIN family f ON c.parent_id = f.id
         )
         SELECT id FROM family"
    )
    .bind(id)
    .fetch_all(c)
    .await?))
}

/// All credentials of a user but one and its children.
pub(super) async fn others(conn: Conn<'_>, user: UserId, but: CredentialId) -> Result<Vec<CredentialId>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "SELECT id FROM credentials WHERE user_id = $1 AND id <> $2 AND parent_id IS NULL"
    )
    .bind(user)
    .bind(but)
    .fetch_all(c)
    .await?))
}

pub(super) async fn delete(conn: Conn<'_>, id: CredentialId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM credentials WHERE id = $1")
        .bind(id)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

pub(super) async fn delete_expired(conn: Conn<'_>, now: Timestamp) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM credentials WHERE expires_at <= $1")
        .bind(now)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

pub(super) async fn touch(conn: Conn<'_>, id: CredentialId, at: Timestamp) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("UPDATE credentials SET last_used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(at)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}
