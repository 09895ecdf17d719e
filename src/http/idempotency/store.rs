//! The table `idempotency_keys`.

use crate::{
    clock::Timestamp,
    db::{Conn, WriteTx, on_conn},
    error::Result,
};

/// The fingerprint and the sealed answer behind a key, unless they are older than `oldest`.
pub(super) async fn find(
    tx: &mut WriteTx,
    lookup: &[u8],
    oldest: Timestamp,
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    const FIND: &str =
        "SELECT fingerprint, answer FROM idempotency_keys WHERE lookup = $1 AND created_at > $2";
    tx.later(FIND, FIND).bind(lookup).bind(oldest).find().await
}

/// Stores an answer; an outdated one of the same key gives way. Tells whether it was stored: not when there is a
/// valid one.
pub(super) async fn insert(
    tx: &mut WriteTx,
    lookup: &[u8],
    fingerprint: &[u8],
    answer: &[u8],
    now: Timestamp,
) -> Result<bool> {
    const INSERT: &str =
        "INSERT INTO idempotency_keys (lookup, fingerprint, answer, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (lookup) DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer,
             created_at = excluded.created_at WHERE idempotency_keys.created_at <= $5
         RETURNING 1";
    let stored: Option<(i32,)> = tx
        .later(INSERT, INSERT)
        .bind(lookup)
        .bind(fingerprint)
        .bind(answer)
        .bind(now)
        .bind(now.minus(super::KEPT))
        .find()
        .await?;
    Ok(stored.is_some())
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
