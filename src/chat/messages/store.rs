//! The table `messages`.

use sqlx::types::Json;

use super::{ClientId, Direction, Mentions, Message, MessageContent};
use crate::{
    accounts::{Name, Profile, UserId},
    chat::{MessageId, RoomId},
    clock::Timestamp,
    db::{Conn, Text, on_conn},
    error::Result,
};

#[derive(sqlx::FromRow)]
struct Row {
    id: MessageId,
    room_id: RoomId,
    user_id: UserId,
    user_name: Text,
    version: i64,
    sent_at: Timestamp,
    edited_at: Option<Timestamp>,
    client_id: Option<Text>,
    mentions: Json<Vec<UserId>>,
    content: Text,
}

impl Row {
    fn into_message(self) -> Message {
        Message {
            id: self.id,
            room_id: self.room_id,
            user: Profile { id: self.user_id, name: Name::from(self.user_name) },
            content: MessageContent(self.content.0),
            client_id: self.client_id.map(|id| ClientId(id.0)),
            mentions: Mentions(self.mentions.0),
            version: self.version,
            sent_at: self.sent_at,
            edited_at: self.edited_at,
        }
    }
}

pub(super) async fn last_id(conn: Conn<'_>, room: RoomId) -> Result<MessageId> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar("SELECT last_message_id FROM rooms WHERE id = $1")
        .bind(room)
        .fetch_one(c)
        .await?))
}

/// Makes an id the last one of a room, unless one is there that is not smaller.
pub(super) async fn advance(conn: Conn<'_>, room: RoomId, id: MessageId) -> Result<bool> {
    let advanced = on_conn!(conn, |c| sqlx::query(
        "UPDATE rooms SET last_message_id = $2 WHERE id = $1 AND last_message_id < $2"
    )
    .bind(room)
    .bind(id)
    .execute(c)
    .await?
    .rows_affected());
    Ok(advanced == 1)
}

pub(super) async fn insert(conn: Conn<'_>, it: &Message) -> Result<()> {
    on_conn!(conn, |c| {
        sqlx::query(
            "INSERT INTO messages (id, room_id, user_id, version, sent_at, edited_at, client_id, mentions, content)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(it.id)
        .bind(it.room_id)
        .bind(it.user.id)
        .bind(it.version)
        .bind(it.sent_at)
        .bind(it.edited_at)
        .bind(it.client_id.as_ref().map(|id| Text(id.0.clone())))
        .bind(Json(it.mentions.0.clone()))
        .bind(Text(it.content.0.clone()))
        .execute(c)
        .await
        .map(drop)?;
    });
    Ok(())
}

/// Writes what can change.
pub(super) async fn update(conn: Conn<'_>, it: &Message) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "UPDATE messages SET version = $2, edited_at = $3, mentions = $4, content = $5 WHERE id = $1"
    )
    .bind(it.id)
    .bind(it.version)
    .bind(it.edited_at)
    .bind(Json(it.mentions.0.clone()))
    .bind(Text(it.content.0.clone()))
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

pub(super) async fn delete(conn: Conn<'_>, id: MessageId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM messages WHERE id = $1")
        .bind(id)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

/// Deletes all that somebody has written in a room, and tells whether there was anything.
pub(super) async fn delete_all_of(conn: Conn<'_>, room: RoomId, user: UserId) -> Result<bool> {
    let deleted = on_conn!(conn, |c| sqlx::query("DELETE FROM messages WHERE user_id = $2 AND room_id = $1")
        .bind(room)
        .bind(user)
        .execute(c)
        .await?
        .rows_affected());
    Ok(deleted > 0)
}

/// The authors are joined so that SQLite keeps to the order in which the tables stand here.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT m.id, m.room_id, m.user_id, u.name AS user_name, m.version, m.sent_at, m.edited_at,
                    m.client_id, m.mentions, m.content
             FROM messages m CROSS JOIN users u WHERE u.id = m.user_id AND m.room_id = $1 ",
            $rest
        )
    };
}

pub(super) async fn find(conn: Conn<'_>, room: RoomId, id: MessageId) -> Result<Option<Message>> {
    let row: Option<Row> = on_conn!(conn, |c| sqlx::query_as(select!("AND m.id = $2"))
        .bind(room)
        .bind(id)
        .fetch_optional(c)
        .await?);
    Ok(row.map(Row::into_message))
}

/// The messages next to a place, the nearest first.
pub(super) async fn page(
    conn: Conn<'_>,
    room: RoomId,
    direction: Direction,
    place: MessageId,
    limit: i64,
) -> Result<Vec<Message>> {
    let sql = match direction {
        Direction::Older => select!("AND m.id < $2 ORDER BY m.id DESC LIMIT $3"),
        Direction::Newer => select!("AND m.id > $2 ORDER BY m.id LIMIT $3"),
    };
    let rows: Vec<Row> =
        on_conn!(conn, |c| sqlx::query_as(sql).bind(room).bind(place).bind(limit).fetch_all(c).await?);
    Ok(rows.into_iter().map(Row::into_message).collect())
}
