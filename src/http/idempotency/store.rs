//! The table `idempotency_keys`.

use crate::{
    clock::Timestamp,
    db::{Conn, WriteTx, on_conn},
    error::Result,
};

/// What is stored under a key.
#[derive(sqlx::FromRow)]
pub(super) struct Stored {
    pub(super) fingerprint: Vec<u8>,
    /// The sealed answer.
    pub(super) answer: Vec<u8>,
    pub(super) created_at: Timestamp,
}

pub(super) async fn find(tx: &mut WriteTx, lookup: &[u8]) -> Result<Option<Stored>> {
    const FIND: &str = "SELECT fingerprint, answer, created_at FROM idempotency_keys WHERE lookup = $1";
    tx.later(FIND, FIND).bind(lookup).find().await
}

/// Stores an answer; a violation of uniqueness when another node has stored one since it was looked for.
pub(super) async fn insert(
    tx: &mut WriteTx,
    lookup: &[u8],
    fingerprint: &[u8],
    answer: &[u8],
    now: Timestamp,
) -> Result<()> {
    const INSERT: &str =
        "INSERT INTO idempotency_keys (lookup, fingerprint, answer, created_at) VALUES ($1, $2, $3, $4)";
    tx.later(INSERT, INSERT).bind(lookup).bind(fingerprint).bind(answer).bind(now).run().await
}

pub(super) async fn delete(tx: &mut WriteTx, lookup: &[u8]) -> Result<()> {
    const DELETE: &str = "DELETE FROM idempotency_keys WHERE lookup = $1";
    tx.later(DELETE, DELETE).bind(lookup).run().await
}

/// Puts the final answer in the place of what was stored with the effect.
pub(super) async fn update(conn: Conn<'_>, lookup: &[u8], answer: &[u8]) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("UPDATE idempotency_keys SET answer = $2 WHERE lookup = $1")
        .bind(lookup.to_vec())
        .bind(answer.to_vec())
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

pub(super) async fn delete_before(conn: Conn<'_>, oldest: Timestamp) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM idempotency_keys WHERE created_at <= $1")
        .bind(oldest)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}
