//! The tables `dashboard_counts`, `dashboard_users` and `dashboard_sightings`.

use super::figures::{Counts, Moment};
use crate::{
    accounts::UserId,
    clock::Timestamp,
    db::{Conn, WriteTx, on_conn},
    error::Result,
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

/// Notes that a user was seen in an hour. Answers with the hour before in which they were, when this one is new.
pub(super) async fn see(mut conn: Conn<'_>, user: UserId, hour: i64) -> Result<Option<i64>> {
    let sql = conn.sql(
        "SELECT hour FROM dashboard_users WHERE user_id = $1",
        "SELECT hour FROM dashboard_users WHERE user_id = $1 FOR UPDATE",
    );
    let before: Option<i64> =
        on_conn!(conn.again(), |c| sqlx::query_scalar(sql).bind(user).fetch_optional(c).await?);
    let new = on_conn!(conn, |c| {
        sqlx::query(
            "INSERT INTO dashboard_users (user_id, hour) VALUES ($1, $2)
             ON CONFLICT (user_id) DO UPDATE SET hour = excluded.hour WHERE dashboard_users.hour < excluded.hour",
        )
        .bind(user)
        .bind(hour)
        .execute(c)
        .await?
        .rows_affected()
            == 1
    });
    Ok(new.then(|| before.unwrap_or(NEVER)))
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
