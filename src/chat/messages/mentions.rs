//! Who is mentioned in a message: members of its room, who are told.

use super::{Mentions, Message};
use crate::{
    accounts::UserId,
    app::App,
    chat::{members, rooms::Room},
    credentials::Caller,
    db::WriteTx,
    error::{Error, Result, Violation},
    notifications::{self, Kind, Notice},
};

/// Refuses every mention of somebody who is not in the room, whoever may read it: a mention is a notification, and
/// only who has joined has asked for those. A stranger and nobody look the same.
pub(super) async fn require_members(tx: &mut WriteTx, room: &Room, mentions: &Mentions) -> Result<()> {
    let mut violations = Vec::new();
    for (index, user) in mentions.0.iter().enumerate() {
        if members::find(tx, room.id, *user).await?.is_none() {
            violations.push(Violation::pointer(format!("/mentions/{index}"), "is not a member of this room"));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}

/// Notifies whoever is mentioned and was not `before`, except the one who does so: who is not always the author, as
/// the owner of the room may change what others said. The counts are held in the order of ids,
/// so that two messages do not wait for each other.
pub(super) async fn notify(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: &Room,
    message: &Message,
    before: &[UserId],
) -> Result<()> {
    let by = caller.require_user()?;
    let mut users = message.mentions.0.clone();
    users.retain(|user| *user != by.id && !before.contains(user));
    users.sort_unstable();
    for user in users {
        let text = format!("{} mentioned you in {}", by.name, room.name.as_str());
        let link = format!("/v1/rooms/{}/messages/{}", room.id, message.id);
        let notice = Notice::new(Kind::MENTION, &text, Some(link));
        notifications::notify(app, tx, Some(caller), user, notice).await?;
    }
    Ok(())
}
