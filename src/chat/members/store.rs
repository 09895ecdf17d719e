//! The table `room_members`.

use uuid::Uuid;

use super::{Member, Place};
use crate::{
    accounts::{Name, Profile, UserId},
    chat::RoomId,
    clock::Timestamp,
    db::{Conn, Text, on_conn},
    error::Result,
};

#[derive(sqlx::FromRow)]
struct Row {
    user_id: UserId,
    user_name: Text,
    joined_at: Timestamp,
}

impl Row {
    fn into_member(self) -> Member {
        Member {
            user: Profile { id: self.user_id, name: Name::from(self.user_name) },
            joined_at: self.joined_at,
        }
    }
}

/// Counts one more member, unless the room has as many as it may.
pub(super) async fn count_one_more(conn: Conn<'_>, room: RoomId, limit: i64) -> Result<bool> {
    let counted = on_conn!(conn, |c| sqlx::query(
        "UPDATE rooms SET members = members + 1 WHERE id = $1 AND members < $2"
    )
    .bind(room)
    .bind(limit)
    .execute(c)
    .await?
    .rows_affected());
    Ok(counted == 1)
}

/// Enters a member, who has read all that was said before.
pub(super) async fn insert(conn: Conn<'_>, room: RoomId, it: &Member) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "INSERT INTO room_members (room_id, user_id, joined_at, last_read_id)
         SELECT id, $2, $3, last_message_id FROM rooms WHERE id = $1"
    )
    .bind(room)
    .bind(it.user.id)
    .bind(it.joined_at)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

/// Takes a member out, and tells whether there was one.
pub(super) async fn delete(mut conn: Conn<'_>, room: RoomId, user: UserId) -> Result<bool> {
    let deleted = on_conn!(conn.again(), |c| sqlx::query(
        "DELETE FROM room_members WHERE user_id = $2 AND room_id = $1"
    )
    .bind(room)
    .bind(user)
    .execute(c)
    .await?
    .rows_affected());
    if deleted == 0 {
        return Ok(false);
    }
    on_conn!(conn, |c| sqlx::query("UPDATE rooms SET members = members - 1 WHERE id = $1")
        .bind(room)
        .execute(c)
        .await
        .map(drop)?);
    Ok(true)
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT m.user_id, u.name AS user_name, m.joined_at FROM room_members m
             CROSS JOIN users u WHERE u.id = m.user_id AND m.room_id = $1 ",
            $rest
        )
    };
}

pub(super) async fn find(conn: Conn<'_>, room: RoomId, user: UserId) -> Result<Option<Member>> {
    let row: Option<Row> = on_conn!(conn, |c| sqlx::query_as(select!("AND m.user_id = $2"))
        .bind(room)
        .bind(user)
        .fetch_optional(c)
        .await?);
    Ok(row.map(Row::into_member))
}

/// Whoever, besides one, has been in the room for the longest time.
pub(super) async fn find_eldest(conn: Conn<'_>, room: RoomId, besides: UserId) -> Result<Option<Member>> {
    const ELDEST: &str = select!("AND m.user_id <> $2 ORDER BY m.joined_at, m.user_id LIMIT 1");
    let row: Option<Row> =
        on_conn!(conn, |c| sqlx::query_as(ELDEST).bind(room).bind(besides).fetch_optional(c).await?);
    Ok(row.map(Row::into_member))
}

pub(super) async fn page(
    conn: Conn<'_>,
    room: RoomId,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Member>> {
    const FIRST: &str = select!("ORDER BY m.joined_at, m.user_id LIMIT $2");
    const NEXT: &str =
        select!("AND (m.joined_at, m.user_id) > ($3, $4) ORDER BY m.joined_at, m.user_id LIMIT $2");
    let rows: Vec<Row> = on_conn!(conn, |c| match after {
        None => sqlx::query_as(FIRST).bind(room).bind(limit).fetch_all(c).await?,
        Some(Place { joined_at, user }) => {
            sqlx::query_as(NEXT).bind(room).bind(limit).bind(joined_at).bind(user).fetch_all(c).await?
        }
    });
    Ok(rows.into_iter().map(Row::into_member).collect())
}

pub(super) async fn ids(conn: Conn<'_>, room: RoomId) -> Result<Vec<Uuid>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar("SELECT user_id FROM room_members WHERE room_id = $1")
        .bind(room)
        .fetch_all(c)
        .await?))
}
