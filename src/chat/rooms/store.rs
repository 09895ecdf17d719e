//! The table `rooms`.

use uuid::Uuid;

use super::{Room, RoomId, RoomName, RoomSummary, RoomVisibility};
use crate::{
    accounts::{Name, Profile, UserId},
    chat::MessageId,
    clock::Timestamp,
    db::{Conn, Text, on_conn},
    error::Result,
};

#[derive(sqlx::FromRow)]
struct Row {
    id: RoomId,
    owner_id: UserId,
    owner_name: Text,
    visibility: RoomVisibility,
    name: Text,
    version: i64,
    created_at: Timestamp,
    /// Whoever is a member has a mark; it is nil before the first message.
    last_read_id: Option<MessageId>,
    #[sqlx(default)]
    unread_count: i64,
}

impl Row {
    fn into_room(self) -> Room {
        Room {
            id: self.id,
            name: RoomName(self.name.0),
            visibility: self.visibility,
            owner: Profile { id: self.owner_id, name: Name::from(self.owner_name) },
            created_at: self.created_at,
            version: self.version,
        }
    }

    fn into_summary(self) -> RoomSummary {
        let (mark, unread_count) = (self.last_read_id, self.unread_count);
        RoomSummary {
            room: self.into_room(),
            unread_count: mark.map(|_| unread_count),
            last_read_id: mark.filter(|id| !id.0.is_nil()),
        }
    }
}

pub(super) async fn insert(conn: Conn<'_>, it: &Room) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "INSERT INTO rooms (id, owner_id, visibility, name, version, created_at, members, last_message_id)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7)"
    )
    .bind(it.id)
    .bind(it.owner.id)
    .bind(it.visibility)
    .bind(Text(it.name.0.clone()))
    .bind(it.version)
    .bind(it.created_at)
    .bind(Uuid::nil())
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

pub(super) async fn update(conn: Conn<'_>, it: &Room) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "UPDATE rooms SET owner_id = $2, visibility = $3, name = $4, version = $5 WHERE id = $1"
    )
    .bind(it.id)
    .bind(it.owner.id)
    .bind(it.visibility)
    .bind(Text(it.name.0.clone()))
    .bind(it.version)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

pub(super) async fn delete(conn: Conn<'_>, id: RoomId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM rooms WHERE id = $1").bind(id).execute(c).await.map(drop)?);
    Ok(())
}

/// A room, and whether somebody is a member of it.
pub(super) async fn find(conn: Conn<'_>, id: RoomId, user: Option<UserId>) -> Result<Option<(Room, bool)>> {
    let row: Option<Row> = on_conn!(conn, |c| sqlx::query_as(
        "SELECT r.id, r.owner_id, u.name AS owner_name, r.visibility, r.name, r.version, r.created_at,
                m.last_read_id
         FROM rooms r JOIN users u ON u.id = r.owner_id
         LEFT JOIN room_members m ON m.user_id = $2 AND m.room_id = r.id
         WHERE r.id = $1"
    )
    .bind(id)
    .bind(user)
    .fetch_optional(c)
    .await?);
    Ok(row.map(|row| {
        let is_member = row.last_read_id.is_some();
        (row.into_room(), is_member)
    }))
}

/// Holds a room until the transaction ends, so that nobody else holds or keeps it. What there is to read of it is
/// read by a later statement: this one would join what it waited for to what it saw before.
pub(super) async fn hold(conn: Conn<'_>, id: RoomId) -> Result<()> {
    let sql = conn.sql("SELECT id FROM rooms WHERE id = $1", "SELECT id FROM rooms WHERE id = $1 FOR UPDATE");
    on_conn!(conn, |c| sqlx::query(sql).bind(id).execute(c).await.map(drop)?);
    Ok(())
}

/// Keeps a room as it is until the transaction ends: others may do the same, and nobody holds it meanwhile.
pub(super) async fn keep(conn: Conn<'_>, id: RoomId) -> Result<()> {
    let sql = conn.sql("SELECT id FROM rooms WHERE id = $1", "SELECT id FROM rooms WHERE id = $1 FOR SHARE");
    on_conn!(conn, |c| sqlx::query(sql).bind(id).execute(c).await.map(drop)?);
    Ok(())
}

/// The rooms in which somebody is, or has written.
pub(super) async fn all_of(conn: Conn<'_>, user: UserId) -> Result<Vec<RoomId>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "SELECT room_id FROM room_members WHERE user_id = $1
         UNION SELECT room_id FROM messages WHERE user_id = $1 ORDER BY room_id"
    )
    .bind(user)
    .fetch_all(c)
    .await?))
}

/// The newest rooms are found by a walk of an index for each reason to see one, and then read.
macro_rules! page {
    ($others:literal) => {
        concat!(
            "SELECT r.id, r.owner_id, u.name AS owner_name, r.visibility, r.name, r.version, r.created_at,
                    m.last_read_id,
                    (SELECT count(*) FROM messages x WHERE x.room_id = r.id AND x.id > m.last_read_id
                     AND x.user_id <> m.user_id) AS unread_count
             FROM rooms r JOIN users u ON u.id = r.owner_id
             LEFT JOIN room_members m ON m.user_id = $1 AND m.room_id = r.id
             WHERE r.id IN (
                 SELECT id FROM (SELECT room_id AS id FROM room_members WHERE user_id = $1 AND room_id < $2
                                 ORDER BY room_id DESC LIMIT $3) AS joined ",
            $others,
            ") ORDER BY r.id DESC LIMIT $3"
        )
    };
}

const JOINED: &str = page!("");
const ALL: &str = page!(
    "UNION SELECT id FROM (SELECT id FROM rooms WHERE visibility = 'public' AND id < $2
                           ORDER BY id DESC LIMIT $3) AS others"
);

pub(super) async fn page(
    conn: Conn<'_>,
    user: Option<UserId>,
    joined: bool,
    before: RoomId,
    limit: i64,
) -> Result<Vec<RoomSummary>> {
    let sql = if joined { JOINED } else { ALL };
    let rows: Vec<Row> =
        on_conn!(conn, |c| sqlx::query_as(sql).bind(user).bind(before).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(Row::into_summary).collect())
}
