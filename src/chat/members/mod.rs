//! Who is in a room.

pub(super) mod routes;
mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    rooms::{self, Room, RoomId},
    tell,
};
use crate::{
    accounts::{Profile, UserId},
    app::App,
    clock::Timestamp,
    credentials::Caller,
    db::WriteTx,
    error::{Error, Result},
    notifications::{self, Kind, Notice},
    realtime::Effect,
};

/// How many members a room may have: an event that closes a room to all others names them.
const LIMIT: i64 = 10_000;

/// Somebody who is in a room.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Member {
    pub user: Profile,
    pub joined_at: Timestamp,
}

/// Somebody who is in a room no longer.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberRemoved {
    pub user_id: UserId,
}

/// A place in the list of members.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Place {
    joined_at: Timestamp,
    user: UserId,
}

/// One page of the members of a room, the eldest first, and the place behind it if there are more.
pub async fn list(
    app: &App,
    caller: &Caller,
    room: RoomId,
    after: Option<Place>,
    limit: u32,
) -> Result<(Vec<Member>, Option<Place>)> {
    rooms::may_read(app, caller, room).await?;
    let mut conn = app.db.read().await?;
    let mut found = store::page(conn.conn(), room, after, i64::from(limit) + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next =
        found.last().filter(|_| more).map(|last| Place { joined_at: last.joined_at, user: last.user.id });
    Ok((found, next))
}

/// Makes somebody a member, and tells whether they were not: the owner anybody, and everybody oneself in a public
/// room.
pub async fn add(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: RoomId,
    user: UserId,
) -> Result<(Member, bool)> {
    let held = super::hold(tx, caller, [user]).await?;
    let (room, _) = rooms::hold_for(tx, caller, room).await?;
    let oneself = caller.user() == Some(user);
    if !oneself && !rooms::owns(caller, &room) {
        return Err(Error::Forbidden("only the owner of the room may add others"));
    }
    let user = held.into_iter().find(|held| held.id == user).ok_or(Error::NotFound("user"))?;
    if let Some(member) = store::find(tx.conn().await?, room.id, user.id).await? {
        return Ok((member, false));
    }
    let member = enter(app, tx, caller, &room, Profile { id: user.id, name: user.name }).await?;
    if !oneself {
        invite(app, tx, caller, &room, user.id).await?;
    }
    Ok((member, true))
}

/// Enters somebody into a room that is held.
pub(super) async fn enter(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: &Room,
    user: Profile,
) -> Result<Member> {
    let member = Member { user, joined_at: app.clock.now() };
    if !store::count_one_more(tx.conn().await?, room.id, LIMIT).await? {
        return Err(Error::Conflict("the room has as many members as it may"));
    }
    store::insert(tx.conn().await?, room.id, &member).await?;
    tell(app, tx, caller, room.id, ("member_added", None), &member).await?;
    Ok(member)
}

async fn invite(app: &App, tx: &mut WriteTx, caller: &Caller, room: &Room, user: UserId) -> Result<()> {
    let by = &caller.require_user()?.name;
    let text = format!("{by} added you to {}", room.name.as_str());
    let notice = Notice::new(Kind::ROOM_INVITATION, &text, Some(format!("/v1/rooms/{}", room.id)));
    notifications::notify(app, tx, Some(caller), user, notice).await?;
    Ok(())
}

/// Takes somebody out of a room: the owner anybody, and everybody oneself. Whoever is out of a private room loses
/// its topic.
pub async fn remove(app: &App, tx: &mut WriteTx, caller: &Caller, room: RoomId, user: UserId) -> Result<()> {
    let (room, _) = rooms::hold_for(tx, caller, room).await?;
    if caller.user() != Some(user) && !rooms::owns(caller, &room) {
        return Err(Error::Forbidden("only the owner of the room may remove others"));
    }
    if user == room.owner.id {
        return Err(Error::Conflict("the owner hands the room over or deletes it before leaving"));
    }
    if drop_out(app, tx, caller, &room, user).await? { Ok(()) } else { Err(Error::NotFound("member")) }
}

async fn drop_out(app: &App, tx: &mut WriteTx, caller: &Caller, room: &Room, user: UserId) -> Result<bool> {
    if !store::delete(tx.conn().await?, room.id, user).await? {
        return Ok(false);
    }
    let effect = room.is_private().then_some(Effect::Expel(user.0));
    let told = MemberRemoved { user_id: user };
    tell(app, tx, caller, room.id, ("member_removed", effect), &told).await?;
    Ok(true)
}

/// Takes somebody whose account ends out of a room that is held.
pub(super) async fn forget(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: &Room,
    user: UserId,
) -> Result<()> {
    drop_out(app, tx, caller, room, user).await.map(drop)
}

/// Gives a room that is held to whoever besides its owner has been in it for the longest time, if there is anybody.
pub(super) async fn hand_over(app: &App, tx: &mut WriteTx, caller: &Caller, room: &Room) -> Result<bool> {
    let Some(heir) = store::find_eldest(tx.conn().await?, room.id, room.owner.id).await? else {
        return Ok(false);
    };
    rooms::give(app, tx, caller, room, heir.user).await?;
    Ok(true)
}

/// Somebody who is in a room that is held.
pub(super) async fn find(tx: &mut WriteTx, room: RoomId, user: UserId) -> Result<Option<Member>> {
    store::find(tx.conn().await?, room, user).await
}

/// All who are in a room that is held.
pub(super) async fn ids(tx: &mut WriteTx, room: RoomId) -> Result<Vec<Uuid>> {
    store::ids(tx.conn().await?, room).await
}
