//! What is said in a room.

mod mentions;
pub(super) mod routes;
mod store;
mod values;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::values::{ClientId, EditMessage, Mentions, Message, MessageContent, PostMessage};
use super::{
    MessageId, members,
    rooms::{self, Room, RoomId},
    tell,
};
use crate::{
    accounts::{Profile, UserId},
    app::App,
    credentials::Caller,
    db::WriteTx,
    error::{Error, Result},
};

/// A message that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageDeleted {
    pub id: MessageId,
    pub room_id: RoomId,
}

/// Everything that somebody has written in a room is gone, because the account is.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagesDeleted {
    pub room_id: RoomId,
    pub user_id: UserId,
}

/// Which way a list of messages goes from where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To what was said before.
    Older,
    /// To what was said later.
    Newer,
}

/// One page of the messages next to a place, the nearest first, and the place behind it if there are more. The
/// place is an id, whose message may be gone; without one it is the end that lies opposite to the direction.
pub async fn list(
    app: &App,
    caller: &Caller,
    room: RoomId,
    (direction, place): (Direction, Option<MessageId>),
    limit: u32,
) -> Result<(Vec<Message>, Option<MessageId>)> {
    rooms::may_read(app, caller, room).await?;
    let place = place.unwrap_or(MessageId(match direction {
        Direction::Older => Uuid::max(),
        Direction::Newer => Uuid::nil(),
    }));
    let mut conn = app.db.read().await?;
    let mut found = store::page(conn.conn(), room, direction, place, i64::from(limit) + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|last| last.id);
    Ok((found, next))
}

/// A message for somebody who may read its room.
pub async fn find(app: &App, caller: &Caller, room: RoomId, id: MessageId) -> Result<Message> {
    rooms::may_read(app, caller, room).await?;
    let mut conn = app.db.read().await?;
    store::find(conn.conn(), room, id).await?.ok_or(Error::NotFound("message"))
}

/// Says something in a room. Whoever does so in a public room becomes a member.
pub async fn post(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: RoomId,
    draft: PostMessage,
) -> Result<Message> {
    super::hold(tx, caller, draft.mentions.0.iter().copied()).await?;
    let room = enter_to_write(app, tx, caller, room).await?;
    mentions::require_members(tx, &room, &draft.mentions).await?;
    let who = caller.require_user()?;
    let message = Message {
        id: next_id(app, tx, room.id).await?,
        room_id: room.id,
        user: Profile { id: who.id, name: who.name.clone() },
        content: draft.content,
        client_id: draft.client_id,
        mentions: draft.mentions,
        version: 1,
        sent_at: app.clock.now(),
        edited_at: None,
    };
    store::insert(tx.conn().await?, &message).await?;
    tell(app, tx, caller, room.id, ("message_created", None), &message).await?;
    mentions::notify(app, tx, caller, &room, &message, &[]).await?;
    Ok(message)
}

/// A room, held, in which the caller may write.
async fn enter_to_write(app: &App, tx: &mut WriteTx, caller: &Caller, room: RoomId) -> Result<Room> {
    let (room, is_member) = rooms::hold_for(tx, caller, room).await?;
    if !is_member {
        rooms::require_writer(&room, is_member)?;
        let who = caller.require_user()?;
        let profile = Profile { id: who.id, name: who.name.clone() };
        members::enter(app, tx, caller, &room, profile).await?;
    }
    Ok(room)
}

/// An id that is greater than all in the room, also those that nodes gave whose clocks are ahead of this one's.
async fn next_id(app: &App, tx: &mut WriteTx, room: RoomId) -> Result<MessageId> {
    let id = MessageId(app.ids.next());
    if store::advance(tx.conn().await?, room, id).await? {
        return Ok(id);
    }
    let last = last_id(tx, room).await?;
    let id = MessageId(Uuid::from_u128(last.0.as_u128().saturating_add(1)));
    store::advance(tx.conn().await?, room, id).await?;
    Ok(id)
}

/// The id of the last message that was said in a room which is held or kept.
pub(super) async fn last_id(tx: &mut WriteTx, room: RoomId) -> Result<MessageId> {
    store::last_id(tx.conn().await?, room).await
}

/// Changes a message, if `allows` accepts its present version.
pub async fn edit(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    (room, id): (RoomId, MessageId),
    change: EditMessage,
    allows: impl Fn(i64) -> bool,
) -> Result<Message> {
    let mentioned = change.mentions.iter().flat_map(|mentions| mentions.0.iter().copied());
    super::hold(tx, caller, mentioned).await?;
    let (room, old) = require_author(tx, caller, room, id).await?;
    if !allows(old.version) {
        return Err(Error::Stale);
    }
    if let Some(mentions) = &change.mentions {
        mentions::require_members(tx, &room, mentions).await?;
    }
    let before = old.mentions.0.clone();
    let message = Message {
        content: change.content.unwrap_or(old.content),
        mentions: change.mentions.unwrap_or(old.mentions),
        version: old.version + 1,
        edited_at: Some(app.clock.now()),
        ..old
    };
    store::update(tx.conn().await?, &message).await?;
    tell(app, tx, caller, room.id, ("message_updated", None), &message).await?;
    mentions::notify(app, tx, caller, &room, &message, &before).await?;
    Ok(message)
}

/// Deletes a message, if `allows` accepts its present version.
pub async fn delete(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    (room, id): (RoomId, MessageId),
    allows: impl Fn(i64) -> bool,
) -> Result<()> {
    let (room, old) = require_author(tx, caller, room, id).await?;
    if !allows(old.version) {
        return Err(Error::Stale);
    }
    store::delete(tx.conn().await?, id).await?;
    let told = MessageDeleted { id, room_id: room.id };
    tell(app, tx, caller, room.id, ("message_deleted", None), &told).await
}

/// A message for somebody who wants to change it, in its room, which is held.
async fn require_author(
    tx: &mut WriteTx,
    caller: &Caller,
    room: RoomId,
    id: MessageId,
) -> Result<(Room, Message)> {
    let (room, _) = rooms::hold_for(tx, caller, room).await?;
    let message = store::find(tx.conn().await?, room.id, id).await?.ok_or(Error::NotFound("message"))?;
    if caller.user() == Some(message.user.id) || rooms::owns(caller, &room) {
        Ok((room, message))
    } else {
        Err(Error::Forbidden("only the author and the owner of the room may change a message"))
    }
}

/// Deletes all that somebody whose account ends has written in a room, which is held.
pub(super) async fn forget(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: &Room,
    user: UserId,
) -> Result<()> {
    if !store::delete_all_of(tx.conn().await?, room.id, user).await? {
        return Ok(());
    }
    let told = MessagesDeleted { room_id: room.id, user_id: user };
    tell(app, tx, caller, room.id, ("messages_deleted", None), &told).await
}
