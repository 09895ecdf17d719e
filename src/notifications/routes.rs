//! `/v1/notifications`, `/v1/users/{id}/notifications`.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{CountedNotification, Notice, Notification, NotificationId};
use crate::{
    accounts::UserId,
    app::App,
    credentials::{self, Caller},
    error::Result,
    http::{
        Routes,
        caller::{Notifier, Writer},
        extract::{Body, Flag, Query},
        idempotency::{self, Answer},
        page::{self, Limit},
        problem::Problem,
    },
    patch,
};

/// Adds these routes.
pub fn configure(cfg: &mut Routes<'_, '_>) {
    cfg.service(list_notifications)
        .service(mark_all_notifications)
        .service(mark_notification)
        .service(delete_notification)
        .service(notify_user);
}

/// The id in a path. It has a name of its own because utoipa would take the inside of a `Path` that it sees for
/// a struct of parameters.
type Id = web::Path<NotificationId>;
type User = web::Path<UserId>;

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `true`: only those that are not read.
    #[param(inline)]
    unread: Option<Flag>,
    /// How many items at most.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// One page of notifications.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationPage {
    data: Vec<Notification>,
    /// The cursor of the next page, or null on the last one
    next_cursor: Option<String>,
    /// How many of all are unread
    unread_count: i64,
}

/// Lists one's own notifications, the newest first.
#[utoipa::path(
    tag = "notifications",
    params(ListQuery),
    responses(
        (status = 200, description = "One page of notifications", body = NotificationPage),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[get("/v1/notifications")]
async fn list_notifications(
    app: web::Data<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
    req: HttpRequest,
) -> Result<HttpResponse> {
    let unread = query.unread.is_some_and(Flag::is_true);
    let purpose = if unread { "unread notifications" } else { "notifications" };
    let before = page::after(&app, purpose, query.cursor.as_deref())?;
    let limit = Limit::or_default(query.limit);
    let (data, next, unread_count) = super::list(&app, &caller, unread, before, limit).await?;
    page::respond_with(&app, &req, purpose, next, |next_cursor| NotificationPage {
        data,
        next_cursor,
        unread_count,
    })
}

/// Whether a notification is read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MarkNotification {
    #[serde(default, deserialize_with = "patch::given")]
    #[schema(value_type = bool, required = false)]
    read: Option<bool>,
}

/// Marks a notification as read or unread, on all devices.
#[utoipa::path(
    tag = "notifications",
    params(("id" = NotificationId, Path, description = "The notification")),
    request_body(content = MarkNotification, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "The notification", body = CountedNotification),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[patch("/v1/notifications/{id}")]
async fn mark_notification(
    app: web::Data<App>,
    Writer(caller): Writer,
    id: Id,
    body: Body<MarkNotification>,
) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    let marked = super::mark(&app, &mut tx, &caller, *id, body.input.read).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().json(marked))
}

/// How far one has read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MarkAll {
    /// This notification and all that are older; without it, all
    #[serde(default)]
    up_to: Option<NotificationId>,
}

/// How many notifications are unread.
#[derive(Debug, Serialize, ToSchema)]
struct UnreadCount {
    unread_count: i64,
}

/// Marks all notifications as read, or those up to one, on all devices.
#[utoipa::path(
    tag = "notifications",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = MarkAll,
    responses(
        (status = 200, description = "How many are unread now", body = UnreadCount),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[post("/v1/notifications/read")]
async fn mark_all_notifications(
    app: web::Data<App>,
    Writer(caller): Writer,
    body: Body<MarkAll>,
) -> Result<HttpResponse> {
    let Body { input, attempt } = body;
    idempotency::once(&app, &caller, &attempt, async |tx| {
        let unread_count = super::mark_all(&app, tx, &caller, input.up_to).await?;
        Answer::json(StatusCode::OK, &UnreadCount { unread_count })
    })
    .await
}

/// Deletes a notification.
#[utoipa::path(
    tag = "notifications",
    params(("id" = NotificationId, Path, description = "The notification")),
    responses(
        (status = 200, description = "It is gone; how many are unread now", body = UnreadCount),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[delete("/v1/notifications/{id}")]
async fn delete_notification(app: web::Data<App>, Writer(caller): Writer, id: Id) -> Result<HttpResponse> {
    let mut tx = credentials::begin(&app, &caller).await?;
    let unread_count = super::delete(&app, &mut tx, &caller, *id).await?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().json(UnreadCount { unread_count }))
}

/// Notifies a user.
///
/// Needs the scope `notify`, or an administrator. The event names who has sent it.
#[utoipa::path(
    tag = "notifications",
    params(
        ("id" = UserId, Path, description = "The user"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless"),
    ),
    request_body = Notice,
    responses(
        (status = 201, description = "The notification", body = Notification),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
#[post("/v1/users/{id}/notifications")]
async fn notify_user(
    app: web::Data<App>,
    Notifier(caller): Notifier,
    id: User,
    body: Body<Notice>,
) -> Result<HttpResponse> {
    let Body { input, attempt } = body;
    idempotency::once(&app, &caller, &attempt, async |tx| {
        let notification = super::send(&app, tx, &caller, *id, input).await?;
        Answer::json(StatusCode::CREATED, &notification)
    })
    .await
}
