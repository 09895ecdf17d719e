//! The table `users`.

use sqlx::QueryBuilder;

use super::{AccountChange, Email, Name, Profile, Role, User, UserId};
use crate::{
    clock::Timestamp,
    db::{Conn, Text, on_conn},
    error::Result,
};

#[derive(sqlx::FromRow)]
struct UserRow {
    id: UserId,
    email: Email,
    name: Text,
    role: Role,
    version: i64,
    created_at: Timestamp,
}

pub(super) async fn insert(conn: Conn<'_>, user: &User, password_hash: &str) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "INSERT INTO users (id, email, name, role, password_hash, version, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    .bind(user.id)
    .bind(&user.email)
    .bind(user.name.0.clone())
    .bind(user.role)
    .bind(password_hash)
    .bind(user.version)
    .bind(user.created_at)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

impl UserRow {
    fn into_user(self) -> User {
        User {
            id: self.id,
            name: Name(self.name),
            email: self.email,
            role: self.role,
            version: self.version,
            created_at: self.created_at,
        }
    }
}

pub(super) async fn find(conn: Conn<'_>, id: UserId) -> Result<Option<User>> {
    let row: Option<UserRow> = on_conn!(conn, |c| sqlx::query_as(
        "SELECT id, email, name, role, version, created_at FROM users WHERE id = $1"
    )
    .bind(id)
    .fetch_optional(c)
    .await?);
    Ok(row.map(UserRow::into_user))
}

/// Reads users whom nobody can delete until the transaction ends. They are held in the order of their ids, so that
/// two transactions do not wait for each other.
pub(super) async fn hold(conn: Conn<'_>, ids: &[UserId]) -> Result<Vec<User>> {
    let rest = conn.sql(") ORDER BY id", ") ORDER BY id FOR KEY SHARE");
    let rows: Vec<UserRow> = on_conn!(conn, |c| {
        let mut query =
            QueryBuilder::new("SELECT id, email, name, role, version, created_at FROM users WHERE id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(rest);
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(UserRow::into_user).collect())
}

/// Waits for everybody who holds a user, and lets nobody hold the user again until the transaction ends.
pub(super) async fn lock(conn: Conn<'_>, id: UserId) -> Result<()> {
    let sql = conn.sql("SELECT id FROM users WHERE id = $1", "SELECT id FROM users WHERE id = $1 FOR UPDATE");
    on_conn!(conn, |c| sqlx::query(sql).bind(id).execute(c).await.map(drop)?);
    Ok(())
}

/// Who is there besides a user.
#[derive(sqlx::FromRow)]
pub(super) struct Others {
    pub exist: bool,
    pub have_admin: bool,
}

pub(super) async fn others(conn: Conn<'_>, id: UserId) -> Result<Others> {
    Ok(on_conn!(conn, |c| sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM users WHERE id <> $1) AS exist,
                EXISTS (SELECT 1 FROM users WHERE id <> $1 AND role = 'admin') AS have_admin"
    )
    .bind(id)
    .fetch_one(c)
    .await?))
}

pub(super) async fn set_role(conn: Conn<'_>, id: UserId, role: Role) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("UPDATE users SET role = $2, version = version + 1 WHERE id = $1")
        .bind(id)
        .bind(role)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

/// What everybody may know of a user, and its version.
pub(super) async fn find_profile(conn: Conn<'_>, id: UserId) -> Result<Option<(Profile, i64)>> {
    let row: Option<(Text, i64)> =
        on_conn!(conn, |c| sqlx::query_as("SELECT name, version FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(c)
            .await?);
    Ok(row.map(|(name, version)| (Profile { id, name: Name(name) }, version)))
}

pub(super) async fn find_password(conn: Conn<'_>, email: &Email) -> Result<Option<(UserId, String)>> {
    Ok(on_conn!(conn, |c| sqlx::query_as("SELECT id, password_hash FROM users WHERE email = $1")
        .bind(email)
        .fetch_optional(c)
        .await?))
}

pub(super) async fn find_hash(conn: Conn<'_>, id: UserId) -> Result<Option<String>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar("SELECT password_hash FROM users WHERE id = $1")
        .bind(id)
        .fetch_optional(c)
        .await?))
}

/// The hash of a user's password, which stays until the transaction ends.
pub(super) async fn hold_hash(conn: Conn<'_>, id: UserId) -> Result<Option<String>> {
    let sql = conn.sql(
        "SELECT password_hash FROM users WHERE id = $1",
        "SELECT password_hash FROM users WHERE id = $1 FOR KEY SHARE",
    );
    Ok(on_conn!(conn, |c| sqlx::query_scalar(sql).bind(id).fetch_optional(c).await?))
}

pub(super) async fn update(conn: Conn<'_>, id: UserId, change: &AccountChange) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "UPDATE users SET email = COALESCE($2, email), name = COALESCE($3, name),
                          password_hash = COALESCE($4, password_hash), version = version + 1
         WHERE id = $1"
    )
    .bind(id)
    .bind(change.email.as_ref())
    .bind(change.name.as_ref().map(|name| name.0.clone()))
    .bind(change.password.as_ref().map(|password| password.hash.clone()))
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

pub(super) async fn delete(conn: Conn<'_>, id: UserId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(c).await.map(drop)?);
    Ok(())
}
