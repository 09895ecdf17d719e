//! How every change that a caller makes begins.
//!
//! Between the look at a credential and the change that it allows, a sign-out, a new password or the deletion of
//! the account may come. So the transaction of the change looks again, and holds what it saw: on PostgreSQL the
//! user's row, which everything that belongs to a user refers to, and then the credential. Whoever ends
//! credentials holds the user alone, so nothing made with them can slip in behind the list of what is to end.

use super::{Caller, store};
use crate::{
    app::App,
    db::WriteTx,
    error::{Error, Result},
};

/// Begins the transaction of a change, in which the caller's credential cannot end. When it has ended already, the
/// transaction fails with [`Error::CREDENTIAL_ENDED`] before it asks the database for anything, or at its commit.
///
/// # Errors
/// That, or that the database does not answer.
pub async fn begin(app: &App, caller: &Caller) -> Result<WriteTx> {
    let mut tx = app.db.write().await?;
    if let Some(who) = &caller.identity {
        store::hold(&mut tx, who.credential).await?;
    }
    Ok(tx)
}

/// Begins a transaction that ends credentials: no other change of this user runs beside it.
///
/// # Errors
/// [`Error::Unauthenticated`] when the caller is unknown, or the credential has ended already.
pub async fn begin_alone(app: &App, caller: &Caller) -> Result<WriteTx> {
    hold_alone(app.db.write().await?, caller).await
}

/// Begins the transaction that deletes the caller's account. Those of several users follow one another, for each holds
/// the installation before its user: it needs to know that an administrator stays, and then the users to whom its rooms
/// go, who may be about to delete theirs.
///
/// # Errors
/// Those of [`begin_alone`].
pub async fn begin_last(app: &App, caller: &Caller) -> Result<WriteTx> {
    let mut tx = app.db.write().await?;
    tx.hold_installation().await?;
    hold_alone(tx, caller).await
}

async fn hold_alone(mut tx: WriteTx, caller: &Caller) -> Result<WriteTx> {
    let who = caller.require_user()?;
    if store::hold_alone(&mut tx, who.credential).await? { Ok(tx) } else { Err(Error::CREDENTIAL_ENDED) }
}
