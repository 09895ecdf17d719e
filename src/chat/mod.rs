//! Chat: rooms, who is in them, what is said there, and how far each has read.
//!
//! Whatever changes a room, its members or its messages holds the row of the room first. So the ids of a room's
//! messages grow in the order of its events, and no right ends between the look at it and what it allows.
//! Transactions take their locks in one order: users, rooms, members, counts of notifications.

pub mod members;
pub mod messages;
pub mod reads;
pub mod rooms;
pub mod routes;
mod typing;

use serde::Serialize;

pub use self::rooms::{RoomId, may_read};
use crate::{
    accounts::UserId,
    app::App,
    credentials::{Caller, Scope},
    db::WriteTx,
    error::{Error, Result},
    id::id_type,
    realtime::{self, Effect, Json, NewEvent},
};

id_type! {
    /// Identifies a message, and its place in the order of its room.
    MessageId
}

/// The topic of one room.
#[must_use]
pub fn topic(room: RoomId) -> String {
    format!("chat:{room}")
}

/// Tells those who may read a room.
async fn tell(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: RoomId,
    (kind, effect): (&str, Option<Effect>),
    data: &impl Serialize,
) -> Result<()> {
    let event = NewEvent {
        kind,
        topic: topic(room),
        feed: None,
        audience: None,
        effect,
        actor: caller.actor()?,
        origin: caller.connection,
        data: Json::of(data)?,
        at: app.clock.now(),
    };
    realtime::append(tx, event).await?;
    Ok(())
}

/// The user who writes, held against deletion like the other users whom the write is about.
async fn hold(
    tx: &mut WriteTx,
    caller: &Caller,
    others: impl IntoIterator<Item = UserId>,
) -> Result<Vec<crate::accounts::User>> {
    let who = caller.require(Scope::Write)?.id;
    let mut ids: Vec<UserId> = others.into_iter().chain([who]).collect();
    ids.sort_unstable();
    ids.dedup();
    let held = crate::accounts::hold(tx, &ids).await?;
    if held.iter().any(|user| user.id == who) {
        Ok(held)
    } else {
        Err(Error::Unauthenticated("the account has been deleted"))
    }
}

/// Takes the caller, whose account is about to be deleted, out of every room, with all that they wrote there. What
/// they own goes to whoever has been in it for the longest time, and with its last member a room is deleted.
pub async fn forget(app: &App, tx: &mut WriteTx, caller: &Caller) -> Result<()> {
    let user = caller.require_user()?.id;
    for id in rooms::all_of(tx, user).await? {
        let Some(room) = rooms::hold(tx, id).await? else { continue };
        if room.owner.id == user && !members::hand_over(app, tx, caller, &room).await? {
            rooms::end(app, tx, caller, room.id).await?;
            continue;
        }
        messages::forget(app, tx, caller, &room, user).await?;
        members::forget(app, tx, caller, &room, user).await?;
    }
    Ok(())
}
