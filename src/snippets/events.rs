//! What those who follow snippets are told of them.

use uuid::Uuid;

use super::{FEED, Snippet, SnippetId, Visibility, topic};
use crate::{
    accounts::UserId,
    app::App,
    credentials::Caller,
    db::WriteTx,
    error::Result,
    realtime::{self, Effect, Json, NewEvent},
};

/// Which snippet an event is about, whose it is, and who may read it.
pub(super) type About = (SnippetId, UserId, Visibility);

/// A new snippet is its owner's doing.
pub(super) async fn tell_creation(
    app: &App,
    tx: &mut WriteTx,
    origin: Option<Uuid>,
    it: &Snippet,
) -> Result<()> {
    let about = (it.id, it.owner.id, it.visibility);
    let by = (Some(Json::of(&it.owner)?), origin);
    realtime::append(tx, event_by(app, by, "snippet_created", about, Json::of(it)?)).await?;
    Ok(())
}

pub(super) async fn tell_change(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    it: &Snippet,
    before: Visibility,
) -> Result<()> {
    let about = (it.id, it.owner.id, it.visibility);
    if before == Visibility::Public && it.visibility != Visibility::Public {
        // To those who follow the feed, a snippet that is listed no more is gone.
        let gone =
            event(app, caller, "snippet_deleted", (it.id, it.owner.id, Visibility::Unlisted), gone(it.id)?)?;
        realtime::append(tx, NewEvent { topic: FEED.to_owned(), ..gone }).await?;
    }
    let effect = (it.visibility > before).then_some(Effect::Withdraw);
    let updated = event(app, caller, "snippet_updated", about, Json::of(it)?)?;
    realtime::append(tx, NewEvent { effect, ..updated }).await?;
    Ok(())
}

/// A snippet is gone, and its topic with it.
pub(super) async fn tell_end(app: &App, tx: &mut WriteTx, caller: &Caller, about: About) -> Result<()> {
    let deleted = event(app, caller, "snippet_deleted", about, gone(about.0)?)?;
    realtime::append(tx, NewEvent { effect: Some(Effect::End), ..deleted }).await?;
    Ok(())
}

/// An event of a snippet, for those who may read it.
fn event<'a>(app: &App, caller: &Caller, kind: &'a str, about: About, data: Json) -> Result<NewEvent<'a>> {
    Ok(event_by(app, (caller.actor()?, caller.connection), kind, about, data))
}

/// An event that this actor causes, over this connection.
fn event_by<'a>(
    app: &App,
    (actor, origin): (Option<Json>, Option<Uuid>),
    kind: &'a str,
    about: About,
    data: Json,
) -> NewEvent<'a> {
    let (id, owner, visibility) = about;
    NewEvent {
        kind,
        topic: topic(id),
        feed: (visibility == Visibility::Public).then_some(FEED),
        audience: (visibility == Visibility::Private).then_some(owner.0),
        effect: None,
        actor,
        origin,
        data,
        at: app.clock.now(),
    }
}

fn gone(id: SnippetId) -> Result<Json> {
    Json::of(&serde_json::json!({ "id": id }))
}
