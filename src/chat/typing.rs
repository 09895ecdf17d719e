//! Who is typing in a room. Nothing of it is kept; whoever loses the room is typing no longer.

use super::rooms::{self, RoomId};
use crate::{
    accounts::Profile, app::App, credentials::Caller, error::Result, presence::typing, realtime::Json,
};

/// Says whether the caller is typing in a room where they may write.
pub(super) async fn set(app: &App, caller: &Caller, room: RoomId, is_typing: bool) -> Result<()> {
    rooms::may_write(app, caller, room).await?;
    let who = caller.require_user()?;
    let profile = Json::of(&Profile { id: who.id, name: who.name.clone() })?;
    typing::set(app, &super::topic(room).into(), who.id, profile, caller.connection, is_typing);
    Ok(())
}

/// Ends the caller's typing, because what was typed has been sent.
pub(super) fn stop(app: &App, caller: &Caller, room: RoomId) {
    if let Some(user) = caller.user() {
        typing::clear(app, &super::topic(room).into(), user);
    }
}
