//! The tables `notifications` and `notification_counts`.

use super::{Kind, Link, Notification, NotificationId, Text as Message};
use crate::{
    accounts::UserId,
    clock::Timestamp,
    db::{Conn, Text, on_conn},
    error::Result,
};

#[derive(sqlx::FromRow)]
struct Row {
    id: NotificationId,
    kind: String,
    message: Text,
    link: Option<Text>,
    read: bool,
    created_at: Timestamp,
}

impl Row {
    fn into_notification(self) -> Notification {
        Notification {
            id: self.id,
            kind: Kind::stored(self.kind),
            message: Message(self.message.0),
            link: self.link.map(|link| Link(link.0)),
            read: self.read,
            created_at: self.created_at,
        }
    }
}

/// A row of a page: the count, and a notification unless the page is empty.
#[derive(sqlx::FromRow)]
struct PageRow {
    unread: i64,
    id: Option<NotificationId>,
    kind: Option<String>,
    message: Option<Text>,
    link: Option<Text>,
    read: Option<bool>,
    created_at: Option<Timestamp>,
}

impl PageRow {
    fn into_notification(self) -> Option<Notification> {
        let Self { unread: _, id, kind, message, link, read, created_at } = self;
        let row = Row { id: id?, kind: kind?, message: message?, link, read: read?, created_at: created_at? };
        Some(row.into_notification())
    }
}

/// Counts one more, and holds the count until the transaction ends.
pub(super) async fn count_one_more(conn: Conn<'_>, user: UserId) -> Result<i64> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "INSERT INTO notification_counts (user_id, unread) VALUES ($1, 1)
         ON CONFLICT (user_id) DO UPDATE SET unread = notification_counts.unread + 1 RETURNING unread"
    )
    .bind(user)
    .fetch_one(c)
    .await?))
}

/// Counts fewer, or with a negative number more.
pub(super) async fn count_fewer(conn: Conn<'_>, user: UserId, fewer: i64) -> Result<i64> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "UPDATE notification_counts SET unread = unread - $2 WHERE user_id = $1 RETURNING unread"
    )
    .bind(user)
    .bind(fewer)
    .fetch_one(c)
    .await?))
}

/// Reads the count, which nobody else can change until the transaction ends. Without a row there is nothing to
/// count.
pub(super) async fn lock_count(conn: Conn<'_>, user: UserId) -> Result<Option<i64>> {
    let sql = conn.sql(
        "SELECT unread FROM notification_counts WHERE user_id = $1",
        "SELECT unread FROM notification_counts WHERE user_id = $1 FOR UPDATE",
    );
    Ok(on_conn!(conn, |c| sqlx::query_scalar(sql).bind(user).fetch_optional(c).await?))
}

pub(super) async fn insert(conn: Conn<'_>, user: UserId, it: &Notification) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "INSERT INTO notifications (id, user_id, kind, message, link, read, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    .bind(it.id)
    .bind(user)
    .bind(it.kind.as_str())
    .bind(Text(it.message.0.clone()))
    .bind(it.link.as_ref().map(|link| Text(link.0.clone())))
    .bind(it.read)
    .bind(it.created_at)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

pub(super) async fn find(conn: Conn<'_>, user: UserId, id: NotificationId) -> Result<Option<Notification>> {
    let row: Option<Row> = on_conn!(conn, |c| {
        sqlx::query_as(
        "SELECT id, kind, message, link, read, created_at FROM notifications WHERE id = $2 AND user_id = $1"
    )
    .bind(user)
    .bind(id)
    .fetch_optional(c)
    .await?
    });
    Ok(row.map(Row::into_notification))
}

pub(super) async fn set_read(conn: Conn<'_>, id: NotificationId, read: bool) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("UPDATE notifications SET read = $2 WHERE id = $1")
        .bind(id)
        .bind(read)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

/// Marks everything up to a place as read, and tells how many were not.
pub(super) async fn read_through(conn: Conn<'_>, user: UserId, last: NotificationId) -> Result<u64> {
    Ok(on_conn!(conn, |c| sqlx::query(
        "UPDATE notifications SET read = TRUE WHERE user_id = $1 AND id <= $2 AND NOT read"
    )
    .bind(user)
    .bind(last)
    .execute(c)
    .await?
    .rows_affected()))
}

pub(super) async fn find_newest(conn: Conn<'_>, user: UserId) -> Result<Option<NotificationId>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "SELECT id FROM notifications WHERE user_id = $1 ORDER BY id DESC LIMIT 1"
    )
    .bind(user)
    .fetch_optional(c)
    .await?))
}

pub(super) async fn delete(conn: Conn<'_>, id: NotificationId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM notifications WHERE id = $1")
        .bind(id)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

/// The count is read by the statement that reads the page, so that it is the count of that very moment. It has a row
/// as soon as there was anything to count.
macro_rules! page {
    ($which:literal) => {
        concat!(
            "SELECT c.unread, n.id, n.kind, n.message, n.link, n.read, n.created_at
             FROM notification_counts c
             LEFT JOIN (SELECT id, kind, message, link, read, created_at FROM notifications
                        WHERE user_id = $1 AND id < $2 ",
            $which,
            " ORDER BY id DESC LIMIT $3) AS n ON TRUE
             WHERE c.user_id = $1 ORDER BY n.id DESC"
        )
    };
}

/// The newest of a user's notifications before a place, and how many the user has not read.
pub(super) async fn page(
    conn: Conn<'_>,
    user: UserId,
    unread: bool,
    before: NotificationId,
    limit: i64,
) -> Result<(Vec<Notification>, i64)> {
    let sql = if unread { page!("AND NOT read") } else { page!("") };
    let rows: Vec<PageRow> =
        on_conn!(conn, |c| sqlx::query_as(sql).bind(user).bind(before).bind(limit).fetch_all(c).await?);
    let count = rows.first().map_or(0, |row| row.unread);
    Ok((rows.into_iter().filter_map(PageRow::into_notification).collect(), count))
}
