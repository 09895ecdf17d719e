//! Rooms: public ones, which everybody may read, and private ones for their members.

pub(super) mod routes;
mod store;
mod values;

use serde::Serialize;
use utoipa::ToSchema;

pub use self::values::{ChangeRoom, CreateRoom, Room, RoomName, RoomSummary, RoomVisibility};
use super::{members, tell};
use crate::{
    accounts::{Profile, UserId},
    app::App,
    credentials::{Caller, Scope},
    db::{Conn, WriteTx},
    error::{Error, Result},
    id::id_type,
    realtime::Effect,
};

id_type! {
    /// Identifies a room.
    RoomId
}

/// A room that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomDeleted {
    pub id: RoomId,
}

/// Makes a room, whose first member is its owner.
pub async fn create(app: &App, tx: &mut WriteTx, caller: &Caller, draft: CreateRoom) -> Result<Room> {
    super::hold(tx, caller, []).await?;
    let who = caller.require_user()?;
    let room = Room {
        id: RoomId(app.ids.next()),
        name: draft.name,
        visibility: draft.visibility,
        owner: Profile { id: who.id, name: who.name.clone() },
        created_at: app.clock.now(),
        version: 1,
    };
    store::insert(tx.conn().await?, &room).await?;
    tell(app, tx, caller, room.id, ("room_created", None), &room).await?;
    members::enter(app, tx, caller, &room, room.owner.clone()).await?;
    Ok(room)
}

/// A room for somebody who may read it.
pub async fn find(app: &App, caller: &Caller, id: RoomId) -> Result<Room> {
    caller.require_read(app.settings.public_read)?;
    let mut conn = app.db.read().await?;
    look(conn.conn(), caller, id).await.map(|(room, _)| room)
}

/// Whether the caller may read a room, and listen to what happens there.
pub async fn may_read(app: &App, caller: &Caller, id: RoomId) -> Result<()> {
    find(app, caller, id).await.map(drop)
}

/// Whether the caller may write in a room, without writing: its members, and in a public one whoever is signed in.
pub(super) async fn may_write(app: &App, caller: &Caller, id: RoomId) -> Result<()> {
    caller.require(Scope::Write)?;
    let mut conn = app.db.read().await?;
    let (room, is_member) = look(conn.conn(), caller, id).await?;
    require_writer(&room, is_member)
}

/// Leave to write in a room.
pub(super) fn require_writer(room: &Room, is_member: bool) -> Result<()> {
    if is_member || !room.is_private() {
        Ok(())
    } else {
        Err(Error::Forbidden("only members may write in a private room"))
    }
}

/// One page of the rooms that the caller may see listed, the newest first, and the place behind it if there are
/// more. What administrators may read besides is not listed.
pub async fn list(
    app: &App,
    caller: &Caller,
    joined: bool,
    before: Option<RoomId>,
    limit: u32,
) -> Result<(Vec<RoomSummary>, Option<RoomId>)> {
    caller.require_read(app.settings.public_read)?;
    if joined {
        caller.require_user()?;
    }
    let before = before.unwrap_or(RoomId(uuid::Uuid::max()));
    let mut conn = app.db.read().await?;
    let mut found = store::page(conn.conn(), caller.user(), joined, before, i64::from(limit) + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|last| last.room.id);
    Ok((found, next))
}

/// Changes a room, if `allows` accepts its present version. A room that becomes private is lost to all but its
/// members.
pub async fn change(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    id: RoomId,
    change: ChangeRoom,
    allows: impl Fn(i64) -> bool,
) -> Result<Room> {
    super::hold(tx, caller, change.owner_id).await?;
    let old = require_owner(tx, caller, id).await?;
    if !allows(old.version) {
        return Err(Error::Stale);
    }
    let owner = match change.owner_id {
        Some(user) => {
            members::find(tx, id, user)
                .await?
                .ok_or_else(|| Error::invalid("/owner_id", "is not a member of this room"))?
                .user
        }
        None => old.owner.clone(),
    };
    let room = Room {
        name: change.name.unwrap_or_else(|| old.name.clone()),
        visibility: change.visibility.unwrap_or(old.visibility),
        owner,
        version: old.version + 1,
        ..old
    };
    store::update(tx.conn().await?, &room).await?;
    if room.is_private() && !old.is_private() {
        // Those who lose the room hear of this and of nothing else that changes with it.
        let closed = Room { visibility: room.visibility, version: room.version, ..old };
        let effect = Effect::Restrict(members::ids(tx, id).await?);
        tell(app, tx, caller, id, ("room_updated", Some(effect)), &closed).await?;
    }
    tell(app, tx, caller, id, ("room_updated", None), &room).await?;
    Ok(room)
}

/// Gives a room to another of its members.
pub(super) async fn give(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: &Room,
    to: Profile,
) -> Result<()> {
    let room = Room { owner: to, version: room.version + 1, ..room.clone() };
    store::update(tx.conn().await?, &room).await?;
    tell(app, tx, caller, room.id, ("room_updated", None), &room).await
}

/// Deletes a room with all that is in it, if `allows` accepts its present version, and ends its topic.
pub async fn delete(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    id: RoomId,
    allows: impl Fn(i64) -> bool,
) -> Result<()> {
    let room = require_owner(tx, caller, id).await?;
    if allows(room.version) { end(app, tx, caller, id).await } else { Err(Error::Stale) }
}

pub(super) async fn end(app: &App, tx: &mut WriteTx, caller: &Caller, id: RoomId) -> Result<()> {
    store::delete(tx.conn().await?, id).await?;
    tell(app, tx, caller, id, ("room_deleted", Some(Effect::End)), &RoomDeleted { id }).await
}

/// The rooms in which somebody is, or has written, in the order in which they are to be held.
pub(super) async fn all_of(tx: &mut WriteTx, user: UserId) -> Result<Vec<RoomId>> {
    store::all_of(tx.conn().await?, user).await
}

/// A room that nobody else can change, enter, leave or write in until the transaction ends.
pub(super) async fn hold(tx: &mut WriteTx, id: RoomId) -> Result<Option<Room>> {
    store::hold(tx.conn().await?, id).await?;
    Ok(store::find(tx.conn().await?, id, None).await?.map(|(room, _)| room))
}

/// A room, held, for somebody who wants to do something there, and whether that is a member.
pub(super) async fn hold_for(tx: &mut WriteTx, caller: &Caller, id: RoomId) -> Result<(Room, bool)> {
    caller.require(Scope::Write)?;
    store::hold(tx.conn().await?, id).await?;
    look(tx.conn().await?, caller, id).await
}

/// A room, kept as it is, for somebody who wants to do something there, and whether that is a member.
pub(super) async fn keep_for(tx: &mut WriteTx, caller: &Caller, id: RoomId) -> Result<(Room, bool)> {
    caller.require(Scope::Write)?;
    store::keep(tx.conn().await?, id).await?;
    look(tx.conn().await?, caller, id).await
}

/// A room for somebody who may see it, and whether that is a member.
async fn look(conn: Conn<'_>, caller: &Caller, id: RoomId) -> Result<(Room, bool)> {
    let found = store::find(conn, id, caller.user()).await?;
    let sees = |(room, is_member): &(Room, bool)| !room.is_private() || *is_member || caller.is_admin();
    found.filter(sees).ok_or(Error::NotFound("room"))
}

async fn require_owner(tx: &mut WriteTx, caller: &Caller, id: RoomId) -> Result<Room> {
    let (room, _) = hold_for(tx, caller, id).await?;
    if owns(caller, &room) {
        Ok(room)
    } else {
        Err(Error::Forbidden("only the owner of the room may do this"))
    }
}

/// Whether the caller has the say in a room.
pub(super) fn owns(caller: &Caller, room: &Room) -> bool {
    caller.user() == Some(room.owner.id) || caller.is_admin()
}
