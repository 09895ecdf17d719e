//! Notifications: what concerns one user, kept until they delete it, and read on one device for all of them.
//!
//! How many are unread stands in a row of its own. Whoever changes what it counts holds that row first, so the
//! number is exact in every answer and event, and the events of one user tell of the changes in their order.

pub mod routes;
mod store;
mod values;

use serde::Serialize;
use utoipa::ToSchema;

pub use self::values::{Kind, Link, Notice, Notification, NotificationId, Text};
use crate::{
    accounts::{self, UserId},
    app::App,
    credentials::{Caller, Scope},
    db::WriteTx,
    error::{Error, Result},
    realtime::{self, Json, NewEvent},
};

/// The topic of a user's own notifications, as clients name it.
pub const TOPIC: &str = "notifications";

/// The topic of one user's notifications.
#[must_use]
pub fn topic(user: UserId) -> String {
    format!("{TOPIC}@{user}")
}

/// A notification, and how many its user has not read.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountedNotification {
    #[serde(flatten)]
    pub notification: Notification,
    /// How many of the user's notifications are unread now
    pub unread_count: i64,
}

/// What was read, or is unread again: one notification (`id`), or all up to one (`up_to`).
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationsRead {
    /// The one notification, unless it is about many
    pub id: Option<NotificationId>,
    /// This one and all that are older
    pub up_to: Option<NotificationId>,
    /// Whether they are read now
    pub read: bool,
    /// How many of the user's notifications are unread now
    pub unread_count: i64,
}

/// A notification that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationRemoved {
    pub id: NotificationId,
    /// How many of the user's notifications are unread now
    pub unread_count: i64,
}

/// Notifies a user. `by` is whoever caused it; without one it is the server itself, a job for instance.
///
/// # Errors
/// [`Error::NotFound`] when there is no such user.
pub async fn notify(
    app: &App,
    tx: &mut WriteTx,
    by: Option<&Caller>,
    to: UserId,
    notice: Notice,
) -> Result<Notification> {
    // Held, so that the account cannot be deleted before this transaction ends.
    if accounts::hold(tx, &[to]).await?.is_empty() {
        return Err(Error::NotFound("user"));
    }
    let unread_count = store::count_one_more(tx.conn().await?, to).await?;
    // Made while the count is held: the ids of one user grow in the order of the changes.
    let notification = Notification {
        id: NotificationId(app.ids.next()),
        kind: notice.kind,
        message: notice.message,
        link: notice.link,
        read: false,
        created_at: app.clock.now(),
    };
    store::insert(tx.conn().await?, to, &notification).await?;
    let told = CountedNotification { notification, unread_count };
    tell(app, tx, by, to, "notification_created", &told).await?;
    Ok(told.notification)
}

/// Notifies a user as a client wants it: whoever has a credential with the scope `notify` may, or an administrator.
pub async fn send(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    to: UserId,
    notice: Notice,
) -> Result<Notification> {
    if !caller.is_admin() {
        caller.require(Scope::Notify)?;
    }
    notify(app, tx, Some(caller), to, notice).await
}

/// A page of the caller's notifications, the newest first, and how many are unread.
pub async fn list(
    app: &App,
    caller: &Caller,
    unread: bool,
    before: Option<NotificationId>,
    limit: u32,
) -> Result<(Vec<Notification>, Option<NotificationId>, i64)> {
    let user = caller.require(Scope::Read)?.id;
    let before = before.unwrap_or(NotificationId(uuid::Uuid::max()));
    let mut conn = app.db.read().await?;
    let (mut found, count) = store::page(conn.conn(), user, unread, before, i64::from(limit) + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|last| last.id);
    Ok((found, next, count))
}

/// Marks one notification of the caller as read or unread.
pub async fn mark(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    id: NotificationId,
    read: Option<bool>,
) -> Result<CountedNotification> {
    let (user, mut unread_count, old) = lock(tx, caller, id).await?;
    let read = read.unwrap_or(old.read);
    if read != old.read {
        store::set_read(tx.conn().await?, id, read).await?;
        unread_count = store::count_fewer(tx.conn().await?, user, if read { 1 } else { -1 }).await?;
        let told = NotificationsRead { id: Some(id), up_to: None, read, unread_count };
        tell(app, tx, Some(caller), user, "notification_read", &told).await?;
    }
    Ok(CountedNotification { notification: Notification { read, ..old }, unread_count })
}

/// Marks all notifications of the caller as read, or those up to one. An id is a place in their order: the
/// notification itself may be gone.
pub async fn mark_all(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    up_to: Option<NotificationId>,
) -> Result<i64> {
    let user = caller.require(Scope::Write)?.id;
    let before = store::lock_count(tx.conn().await?, user).await?.unwrap_or(0);
    let newest = store::find_newest(tx.conn().await?, user).await?;
    let Some(last) = newest.map(|newest| up_to.map_or(newest, |id| id.min(newest))) else {
        return Ok(before);
    };
    let read = store::read_through(tx.conn().await?, user, last).await?;
    if read == 0 {
        return Ok(before);
    }
    let read = i64::try_from(read).map_err(|error| Error::Internal(error.to_string()))?;
    let unread_count = store::count_fewer(tx.conn().await?, user, read).await?;
    let told = NotificationsRead { id: None, up_to: Some(last), read: true, unread_count };
    tell(app, tx, Some(caller), user, "notification_read", &told).await?;
    Ok(unread_count)
}

/// Deletes a notification of the caller, and tells how many are unread then.
pub async fn delete(app: &App, tx: &mut WriteTx, caller: &Caller, id: NotificationId) -> Result<i64> {
    let (user, mut unread_count, old) = lock(tx, caller, id).await?;
    store::delete(tx.conn().await?, id).await?;
    if !old.read {
        unread_count = store::count_fewer(tx.conn().await?, user, 1).await?;
    }
    let told = NotificationRemoved { id, unread_count };
    tell(app, tx, Some(caller), user, "notification_deleted", &told).await?;
    Ok(unread_count)
}

/// One of the caller's notifications, which with the count nobody else can change until the transaction ends.
async fn lock(tx: &mut WriteTx, caller: &Caller, id: NotificationId) -> Result<(UserId, i64, Notification)> {
    let user = caller.require(Scope::Write)?.id;
    let count = store::lock_count(tx.conn().await?, user).await?;
    let found = store::find(tx.conn().await?, user, id).await?;
    let (count, found) = count.zip(found).ok_or(Error::NotFound("notification"))?;
    Ok((user, count, found))
}

/// Tells the devices of a user, and nobody else.
pub async fn tell(
    app: &App,
    tx: &mut WriteTx,
    by: Option<&Caller>,
    user: UserId,
    kind: &str,
    data: &impl Serialize,
) -> Result<()> {
    let event = NewEvent {
        kind,
        topic: topic(user),
        feed: None,
        audience: Some(user.0),
        effect: None,
        actor: by.map(Caller::actor).transpose()?.flatten(),
        origin: by.and_then(|by| by.connection),
        data: Json::of(data)?,
        at: app.clock.now(),
    };
    realtime::append(tx, event).await?;
    Ok(())
}
