//! How far each member has read.

pub(super) mod routes;
mod store;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    MessageId, messages,
    rooms::{self, RoomId},
};
use crate::{
    app::App,
    credentials::{Caller, Scope},
    db::WriteTx,
    error::{Error, Result},
    notifications::tell,
};

/// How far somebody has read in a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomRead {
    pub room_id: RoomId,
    /// This message and all before it are read
    pub last_read_id: Option<MessageId>,
    /// How many messages of others are unread
    pub unread_count: i64,
}

/// Moves the caller's mark forward, never back. It is told on the topic of the caller's notifications, which all
/// their devices follow wherever they are. An id is a place in the room: the message itself may be gone.
pub async fn mark(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: RoomId,
    message: MessageId,
) -> Result<RoomRead> {
    let user = caller.require(Scope::Write)?.id;
    // Nothing can be said in the room meanwhile: the count is the one at this place in the order of events.
    let (room, _) = rooms::keep_for(tx, caller, room).await?;
    let mark = store::hold(tx.conn().await?, room.id, user).await?;
    let before = mark.ok_or(Error::Forbidden("only members have a place up to which they have read"))?;
    if message > messages::last_id(tx, room.id).await? {
        return Err(Error::invalid("/message_id", "is not a message of this room"));
    }
    let after = before.max(message);
    let unread_count = store::count_unread(tx.conn().await?, room.id, user, after).await?;
    let last_read_id = Some(after).filter(|id| !id.0.is_nil());
    let told = RoomRead { room_id: room.id, last_read_id, unread_count };
    if after > before {
        store::update(tx.conn().await?, room.id, user, after).await?;
        tell(app, tx, Some(caller), user, "room_read", &told).await?;
    }
    Ok(told)
}
