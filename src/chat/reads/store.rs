//! The marks in the table `room_members`.

use crate::{
    accounts::UserId,
    chat::{MessageId, RoomId},
    db::{Conn, on_conn},
    error::Result,
};

/// Reads the mark of a member, which nobody else can move until the transaction ends.
pub(super) async fn hold(conn: Conn<'_>, room: RoomId, user: UserId) -> Result<Option<MessageId>> {
    let sql = conn.sql(
        "SELECT last_read_id FROM room_members WHERE user_id = $2 AND room_id = $1",
        "SELECT last_read_id FROM room_members WHERE user_id = $2 AND room_id = $1 FOR UPDATE",
    );
    Ok(on_conn!(conn, |c| sqlx::query_scalar(sql).bind(room).bind(user).fetch_optional(c).await?))
}

pub(super) async fn update(conn: Conn<'_>, room: RoomId, user: UserId, mark: MessageId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "UPDATE room_members SET last_read_id = $3 WHERE user_id = $2 AND room_id = $1"
    )
    .bind(room)
    .bind(user)
    .bind(mark)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

/// How many messages of others lie behind a mark.
pub(super) async fn count_unread(conn: Conn<'_>, room: RoomId, user: UserId, mark: MessageId) -> Result<i64> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "SELECT count(*) FROM messages WHERE room_id = $1 AND id > $3 AND user_id <> $2"
    )
    .bind(room)
    .bind(user)
    .bind(mark)
    .fetch_one(c)
    .await?))
}
