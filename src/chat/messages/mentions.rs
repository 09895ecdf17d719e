//! Who is mentioned in a message: whoever may read its room, and is told.

use super::{Mentions, Message};
use crate::{
    accounts::{Role, User, UserId},
    app::App,
    chat::{members, rooms::Room},
    credentials::Caller,
    db::WriteTx,
    error::{Error, Result, Violation},
    notifications::{self, Kind, Notice},
};

/// Refuses every mention of somebody who may not read the room. `held` are those users who exist.
pub(super) async fn require_readers(
    tx: &mut WriteTx,
    room: &Room,
    held: &[User],
    mentions: &Mentions,
) -> Result<()> {
    let mut violations = Vec::new();
    for (index, id) in mentions.0.iter().enumerate() {
        let user = held.iter().find(|user| user.id == *id);
        let reads = match user {
            Some(user) if room.is_private() && user.role != Role::Admin => {
                members::find(tx, room.id, user.id).await?.is_some()
            }
            user => user.is_some(),
        };
        if !reads {
            violations
                .push(Violation::pointer(format!("/mentions/{index}"), "is nobody who may read this room"));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}

/// Notifies whoever is mentioned and was not `before`, except the author. The counts are held in the order of ids,
/// so that two messages do not wait for each other.
pub(super) async fn notify(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    room: &Room,
    message: &Message,
    before: &[UserId],
) -> Result<()> {
    let mut users = message.mentions.0.clone();
    users.retain(|user| *user != message.user.id && !before.contains(user));
    users.sort_unstable();
    for user in users {
        let text = format!("{} mentioned you in {}", message.user.name, room.name.as_str());
        let link = format!("/v1/rooms/{}/messages/{}", room.id, message.id);
        let notice = Notice::new(Kind::MENTION, &text, Some(link));
        notifications::notify(app, tx, Some(caller), user, notice).await?;
    }
    Ok(())
}
