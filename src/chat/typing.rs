//! Who is typing in a room. Nothing of it is kept; whoever loses the room is typing no longer.

use super::rooms::{self, RoomId};
use crate::{app::App, credentials::Caller, error::Result, presence::typing};

/// Says whether the caller is typing in a room where they may write.
pub(super) async fn set(app: &App, caller: &Caller, room: RoomId, is_typing: bool) -> Result<()> {
    rooms::may_write(app, caller, room).await?;
    let key = super::topic(room).into();
    if is_typing {
        return typing::start(app, caller, &key);
    }
    typing::stop(app, caller, &key);
    Ok(())
}

/// Ends the caller's typing, because what was typed has been sent.
pub(super) fn stop(app: &App, caller: &Caller, room: RoomId) {
    typing::stop(app, caller, &super::topic(room).into());
}
