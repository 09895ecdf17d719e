//! Snippets: what this installation is there to share.

mod list;
pub mod routes;
mod store;
mod values;
mod views;

use uuid::Uuid;

pub use self::{
    list::{Filter, Position, SnippetSummary, Sort},
    values::{Change, Content, Draft, Language, Snippet, Tag, Tags, Title, Visibility},
    views::{Viewer, Views, flush_views},
};
use crate::{
    accounts::{Profile, UserId},
    app::App,
    clock::Timestamp,
    credentials::{Caller, Scope},
    db::WriteTx,
    error::{Error, Result},
    id::id_type,
    realtime::{self, Effect, Json, NewEvent},
};

/// The topic of all public snippets.
pub const FEED: &str = "snippets";

id_type! {
    /// Identifies a snippet.
    SnippetId
}

/// Makes a snippet of the caller's.
pub async fn create(app: &App, tx: &mut WriteTx, caller: &Caller, draft: Draft) -> Result<Snippet> {
    let who = caller.require(Scope::Write)?;
    let owner = Profile { id: who.id, name: who.name.clone() };
    let now = app.clock.now();
    insert(app, tx, caller.connection, new(app, owner, draft, now, now)).await
}

/// Makes a snippet of somebody's who has it from elsewhere, with the times that it had there; none lies in the future.
pub async fn restore(
    app: &App,
    tx: &mut WriteTx,
    owner: Profile,
    draft: Draft,
    times: (Option<Timestamp>, Option<Timestamp>),
) -> Result<Snippet> {
    let now = app.clock.now();
    let updated_at = times.1.or(times.0).unwrap_or(now).min(now);
    let created_at = times.0.unwrap_or(updated_at).min(updated_at);
    insert(app, tx, None, new(app, owner, draft, created_at, updated_at)).await
}

fn new(app: &App, owner: Profile, draft: Draft, created_at: Timestamp, updated_at: Timestamp) -> Snippet {
    Snippet {
        id: SnippetId(app.ids.next()),
        title: draft.title,
        content: draft.content,
        language: draft.language,
        tags: draft.tags,
        visibility: draft.visibility,
        owner,
        version: 1,
        views: 0,
        created_at,
        updated_at,
    }
}

/// Writes a new snippet, and tells of it as its owner's doing.
async fn insert(app: &App, tx: &mut WriteTx, origin: Option<Uuid>, snippet: Snippet) -> Result<Snippet> {
    store::insert(tx.conn(), &snippet).await?;
    let about = (snippet.id, snippet.owner.id, snippet.visibility);
    let by = (Some(Json::of(&snippet.owner)?), origin);
    let event = event_by(app, by, "snippet_created", about, Json::of(&snippet)?);
    realtime::append(tx.conn(), event).await?;
    Ok(snippet)
}

/// A snippet for somebody who looks at it, which counts as a view.
pub async fn find(app: &App, caller: &Caller, id: SnippetId) -> Result<Snippet> {
    let mut snippet = raw(app, caller, id).await?;
    app.views.count(id, Viewer::of(caller), app.clock.now());
    snippet.views += app.views.pending(id);
    Ok(snippet)
}

/// A snippet as it is stored; no view is counted.
pub async fn raw(app: &App, caller: &Caller, id: SnippetId) -> Result<Snippet> {
    caller.require_read(app.settings.public_read)?;
    let mut conn = app.db.read().await?;
    let found = store::find(conn.conn(), id).await?;
    found.filter(|it| may_see(caller, it.owner.id, it.visibility)).ok_or(Error::NotFound("snippet"))
}

/// Whether the caller may read a snippet, without reading it.
pub async fn may_read(app: &App, caller: &Caller, id: SnippetId) -> Result<()> {
    caller.require_read(app.settings.public_read)?;
    let mut conn = app.db.read().await?;
    let found = store::find_rights(conn.conn(), id).await?;
    found
        .filter(|&(owner, visibility)| may_see(caller, owner, visibility))
        .ok_or(Error::NotFound("snippet"))?;
    Ok(())
}

/// One page of the snippets that the caller may see listed, and the position behind it if there are more.
pub async fn list(
    app: &App,
    caller: &Caller,
    filter: &Filter,
    after: Option<Position>,
    limit: u32,
) -> Result<(Vec<SnippetSummary>, Option<Position>)> {
    caller.require_read(app.settings.public_read)?;
    let all = filter.owner.is_some() && (filter.owner == caller.user() || caller.is_admin());
    page(app, filter, all, after, limit).await
}

/// One page of all snippets that a filter lets through, whoever may see them, and the position behind it if there
/// are more: for work that is done in the owner's name.
pub async fn list_all_of(
    app: &App,
    filter: &Filter,
    after: Option<Position>,
    limit: u32,
) -> Result<(Vec<SnippetSummary>, Option<Position>)> {
    page(app, filter, true, after, limit).await
}

async fn page(
    app: &App,
    filter: &Filter,
    all: bool,
    after: Option<Position>,
    limit: u32,
) -> Result<(Vec<SnippetSummary>, Option<Position>)> {
    let mut conn = app.db.read().await?;
    let mut found = store::page(conn.conn(), filter, all, after, i64::from(limit) + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    for snippet in &mut found {
        snippet.views += app.views.pending(snippet.id);
    }
    let next = found.last().filter(|_| more).map(|last| filter.sort.position(last));
    Ok((found, next))
}

/// How many snippets a filter lets through, whoever may see them.
pub async fn count_all_of(app: &App, filter: &Filter) -> Result<i64> {
    let mut conn = app.db.read().await?;
    store::count(conn.conn(), filter).await
}

/// Changes a snippet, if `allows` accepts its present version.
pub async fn change(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    id: SnippetId,
    change: Change,
    allows: impl Fn(i64) -> bool,
) -> Result<Snippet> {
    let old = lock(tx, caller, id, allows).await?;
    let before = old.visibility;
    let snippet = Snippet {
        title: change.title.unwrap_or(old.title),
        content: change.content.unwrap_or(old.content),
        language: change.language.unwrap_or(old.language),
        tags: change.tags.unwrap_or(old.tags),
        visibility: change.visibility.unwrap_or(before),
        version: old.version + 1,
        views: old.views + app.views.pending(id),
        updated_at: app.clock.now(),
        ..old
    };
    store::update(tx.conn(), &snippet).await?;
    tell_change(app, tx, caller, &snippet, before).await?;
    Ok(snippet)
}

async fn tell_change(
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
        realtime::append(tx.conn(), NewEvent { topic: FEED.to_owned(), ..gone }).await?;
    }
    let effect = (it.visibility > before).then_some(Effect::Withdraw);
    let updated = event(app, caller, "snippet_updated", about, Json::of(it)?)?;
    realtime::append(tx.conn(), NewEvent { effect, ..updated }).await?;
    Ok(())
}

/// Deletes a snippet, if `allows` accepts its present version, and ends its topic.
pub async fn delete(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    id: SnippetId,
    allows: impl Fn(i64) -> bool,
) -> Result<()> {
    let old = lock(tx, caller, id, allows).await?;
    store::delete(tx.conn(), id).await?;
    tell_end(app, tx, caller, (id, old.owner.id, old.visibility)).await
}

/// Deletes all snippets of the caller.
pub async fn delete_all_of(app: &App, tx: &mut WriteTx, caller: &Caller) -> Result<()> {
    let owner = caller.require_user()?.id;
    for (id, visibility) in store::lock_all_of(tx.conn(), owner).await? {
        store::delete(tx.conn(), id).await?;
        tell_end(app, tx, caller, (id, owner, visibility)).await?;
    }
    Ok(())
}

async fn tell_end(app: &App, tx: &mut WriteTx, caller: &Caller, about: About) -> Result<()> {
    let deleted = event(app, caller, "snippet_deleted", about, gone(about.0)?)?;
    realtime::append(tx.conn(), NewEvent { effect: Some(Effect::End), ..deleted }).await?;
    Ok(())
}

/// The snippet for somebody who wants to change it, locked until the transaction ends.
async fn lock(
    tx: &mut WriteTx,
    caller: &Caller,
    id: SnippetId,
    allows: impl Fn(i64) -> bool,
) -> Result<Snippet> {
    let who = caller.require(Scope::Write)?;
    let found = store::lock(tx.conn(), id).await?;
    let seen = found.filter(|it| may_see(caller, it.owner.id, it.visibility));
    let snippet = seen.ok_or(Error::NotFound("snippet"))?;
    if snippet.owner.id != who.id && !caller.is_admin() {
        return Err(Error::Forbidden("only the owner may change a snippet"));
    }
    if allows(snippet.version) { Ok(snippet) } else { Err(Error::Stale) }
}

fn may_see(caller: &Caller, owner: UserId, visibility: Visibility) -> bool {
    visibility != Visibility::Private || caller.user() == Some(owner) || caller.is_admin()
}

/// Which snippet an event is about, whose it is, and who may read it.
type About = (SnippetId, UserId, Visibility);

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

/// The topic of one snippet.
#[must_use]
pub fn topic(id: SnippetId) -> String {
    format!("{FEED}:{id}")
}
