//! The tables `dashboard_counts`, `dashboard_users` and `dashboard_sightings`.

use std::collections::HashMap;

use super::figures::{Counts, Moment};
use crate::{
    accounts::UserId,
    clock::Timestamp,
    db::{Conn, WriteTx, on_conn},
    error::{Error, Result},
};

/// The hour of those who were not seen before.
const NEVER: i64 = -1;

pub(super) async fn count(tx: &mut WriteTx, kind: &str, minute: i64, lane: i64, amount: i64) -> Result<()> {
    const COUNT: &str = "INSERT INTO dashboard_counts (kind, minute, lane, amount) VALUES ($1, $2, $3, $4)
         ON CONFLICT (kind, minute, lane) DO UPDATE SET amount = dashboard_counts.amount + excluded.amount";
    tx.later(COUNT, COUNT).bind(kind).bind(minute).bind(lane).bind(amount).run().await
}

pub(super) async fn counts(conn: Conn<'_>, at: Moment) -> Result<Counts> {
    Ok(on_conn!(conn, |c| {
        sqlx::query_as(
            "SELECT (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM dashboard_counts
                     WHERE kind = 'snippets') AS snippets,
                    (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM dashboard_counts
                     WHERE kind = 'snippets' AND minute > $1) AS new_snippets,
                    (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM dashboard_counts
                     WHERE kind = 'views' AND minute >= $2) AS views,
                    (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM dashboard_counts
                     WHERE kind = 'views' AND minute >= $3 AND minute <= $1) AS views_before,
                    (SELECT CAST(COALESCE(SUM(users), 0) AS BIGINT) FROM dashboard_sightings
                     WHERE hour > $4 AND before <= $4) AS active,
                    (SELECT CAST(COALESCE(SUM(users), 0) AS BIGINT) FROM dashboard_sightings
                     WHERE hour > $5 AND hour <= $4 AND before <= $5) AS active_before",
        )
        .bind(at.day_ago)
        .bind(at.midnight)
        .bind(at.midnight_before)
        .bind(at.day_of_hours_ago)
        .bind(at.two_days_of_hours_ago)
        .fetch_one(c)
        .await?
    }))
}

/// Notes that users were seen in an hour. Answers with the hours before in which they were, of those to whom this one is
/// new.
pub(super) async fn see(mut conn: Conn<'_>, users: &[UserId], hour: i64) -> Result<Vec<i64>> {
    let ids: Vec<String> = users.iter().map(|user| user.0.simple().to_string()).collect();
    let ids = serde_json::to_string(&ids).map_err(|error| Error::Internal(error.to_string()))?;
    // Locked in the order of the ids: two nodes that write cannot block each other.
    let sql = conn.sql(
        "SELECT user_id, hour FROM dashboard_users WHERE user_id IN (SELECT unhex(value) FROM json_each($1))",
        "SELECT user_id, hour FROM dashboard_users
         WHERE user_id IN (SELECT CAST(id AS UUID) FROM jsonb_array_elements_text(CAST($1 AS JSONB)) AS id)
         ORDER BY user_id FOR UPDATE",
    );
    let before: Vec<(UserId, i64)> =
        on_conn!(conn.again(), |c| sqlx::query_as(sql).bind(&ids).fetch_all(c).await?);
    let before: HashMap<UserId, i64> = before.into_iter().collect();
    let sql = conn.sql(
        "INSERT INTO dashboard_users (user_id, hour) SELECT unhex(value), $2 FROM json_each($1) WHERE true
         ON CONFLICT (user_id) DO UPDATE SET hour = excluded.hour WHERE dashboard_users.hour < excluded.hour
         RETURNING user_id",
        "INSERT INTO dashboard_users (user_id, hour)
         SELECT CAST(id AS UUID), $2 FROM jsonb_array_elements_text(CAST($1 AS JSONB)) AS id ORDER BY id
         ON CONFLICT (user_id) DO UPDATE SET hour = excluded.hour WHERE dashboard_users.hour < excluded.hour
         RETURNING user_id",
    );
    let new: Vec<UserId> =
        on_conn!(conn, |c| sqlx::query_scalar(sql).bind(&ids).bind(hour).fetch_all(c).await?);
    Ok(new.iter().map(|user| before.get(user).copied().unwrap_or(NEVER)).collect())
}

pub(super) async fn count_sightings(conn: Conn<'_>, hour: i64, before: i64, users: i64) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "INSERT INTO dashboard_sightings (hour, before, users) VALUES ($1, $2, $3)
         ON CONFLICT (hour, before) DO UPDATE SET users = dashboard_sightings.users + excluded.users"
    )
    .bind(hour)
    .bind(before)
    .bind(users)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

/// Adds what is too old to be asked for by itself to the sum, and forgets it.
pub(super) async fn fold(mut conn: Conn<'_>, now: Timestamp) -> Result<()> {
    let (minute, hour) = Moment::oldest(now);
    // First the lock: of two nodes that fold at once, the second finds nothing left.
    on_conn!(conn.again(), |c| sqlx::query(
        "UPDATE dashboard_counts SET amount = amount WHERE kind = 'snippets' AND minute = 0"
    )
    .execute(c)
    .await
    .map(drop)?);
    for (sql, oldest) in [
        (
            "UPDATE dashboard_counts SET amount = amount + (
                 SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM dashboard_counts
                 WHERE kind = 'snippets' AND minute > 0 AND minute < $1)
             WHERE kind = 'snippets' AND minute = 0",
            minute,
        ),
        ("DELETE FROM dashboard_counts WHERE minute > 0 AND minute < $1", minute),
        ("DELETE FROM dashboard_users WHERE hour < $1", hour),
        ("DELETE FROM dashboard_sightings WHERE hour < $1", hour),
    ] {
        on_conn!(conn.again(), |c| sqlx::query(sql).bind(oldest).execute(c).await.map(drop)?);
    }
    Ok(())
}
