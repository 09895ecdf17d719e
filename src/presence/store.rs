//! Who was there when the server stopped.

use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db::{Conn, on_conn},
    error::Result,
};

pub async fn insert(conn: Conn<'_>, id: Uuid, people: &str, stopped_at: Timestamp) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "INSERT INTO presence_handovers (id, people, stopped_at) VALUES ($1, $2, $3)"
    )
    .bind(id)
    .bind(people)
    .bind(stopped_at)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

/// Takes all there are, so that nobody else does.
pub async fn take(conn: Conn<'_>) -> Result<Vec<(String, Timestamp)>> {
    Ok(on_conn!(conn, |c| sqlx::query_as("DELETE FROM presence_handovers RETURNING people, stopped_at")
        .fetch_all(c)
        .await?))
}
