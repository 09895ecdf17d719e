//! Who administers an installation, as decided by whoever runs it.

use super::{Email, Role, store};
use crate::{
    clock::Timestamp,
    credentials,
    db::Db,
    error::{Error, Result},
};

const UNKNOWN: Error = Error::Conflict("nobody here has this e-mail address");

/// Gives the user with an address a role, whether or not a server runs. It is read along with each credential; but a
/// stream sees what it could when it began, so who administers no more is signed out everywhere.
pub async fn set_role(db: &Db, now: Timestamp, email: &Email, role: Role) -> Result<()> {
    let mut tx = db.write().await?;
    tx.hold_installation().await?;
    let (id, _) = store::find_password(tx.conn().await?, email).await?.ok_or(UNKNOWN)?;
    store::lock(tx.conn().await?, id).await?;
    let user = store::find(tx.conn().await?, id).await?.ok_or(UNKNOWN)?;
    if user.role == role {
        return Ok(());
    }
    if role == Role::Member {
        if !store::others(tx.conn().await?, id).await?.have_admin {
            return Err(Error::Conflict("this is the last administrator: name another one first"));
        }
        credentials::end_all(now, &mut tx, id).await?;
    }
    store::set_role(tx.conn().await?, id, role).await?;
    tx.commit().await
}
