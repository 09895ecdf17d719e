//! Snippets: what this installation is there to share.

mod events;
mod list;
pub mod routes;
mod store;
mod transfer;
mod values;
mod views;

use std::{collections::HashMap, sync::Arc};

use uuid::Uuid;

pub use self::{
    list::{Filter, Listed, OwnerQuery, PageKey, Position, SnippetSummary, Sort},
    transfer::{count_all_of, list_all_of, prepare_restored, restore},
    values::{Change, Content, Draft, Language, Snippet, Tag, Tags, Title, Visibility},
    views::{Viewer, Views, flush_views},
};
use crate::{
    accounts::{Profile, UserId},
    app::App,
    clock::Timestamp,
    credentials::{Caller, Scope},
    dashboard,
    db::{ReadConn, Shared, WriteTx},
    error::{Error, Result},
    id::id_type,
    realtime, search,
};

/// The topic of all public snippets.
pub const FEED: &str = "snippets";

/// How many different lists can be read at once.
const PAGES: usize = 64;

/// Reads that wait at the same time share a query.
pub struct Reads {
    one: Shared<SnippetId, Arc<Snippet>>,
    pages: Shared<PageKey, Arc<Listed>>,
}

impl Default for Reads {
    fn default() -> Self {
        Self { one: Shared::new(1), pages: Shared::new(PAGES) }
    }
}

id_type! {
    /// Identifies a snippet.
    SnippetId
}

/// A snippet that is to be made, and the terms by which it will be found.
pub struct New {
    snippet: Snippet,
    terms: search::Terms,
}

/// All of a new snippet of the caller's that can be made before the transaction, for which other writers wait.
pub fn prepare(app: &App, caller: &Caller, draft: Draft) -> Result<New> {
    let who = caller.require(Scope::Write)?;
    let now = app.clock.now();
    Ok(new(app, Profile { id: who.id, name: who.name.clone() }, draft, now, now))
}

fn new(app: &App, owner: Profile, draft: Draft, created_at: Timestamp, updated_at: Timestamp) -> New {
    let snippet = Snippet {
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
    };
    let terms = search::terms(&snippet);
    New { snippet, terms }
}

/// Makes a snippet.
pub async fn create(app: &App, tx: &mut WriteTx, caller: &Caller, new: New) -> Result<Snippet> {
    insert(app, tx, caller.connection, new).await
}

/// Writes a new snippet, and tells of it as its owner's doing.
async fn insert(app: &App, tx: &mut WriteTx, origin: Option<Uuid>, new: New) -> Result<Snippet> {
    let New { snippet, terms } = new;
    store::insert(tx, &snippet).await?;
    search::index_as(tx, &snippet, &terms).await?;
    events::tell_creation(app, tx, origin, &snippet).await?;
    if snippet.visibility == Visibility::Public {
        dashboard::count_snippets(tx, 1, snippet.id, app.clock.now()).await?;
    }
    Ok(snippet)
}

/// A snippet for somebody who looks at it, which counts as a view.
pub async fn find(app: &App, caller: &Caller, id: SnippetId) -> Result<Snippet> {
    let mut snippet = raw(app, caller, id).await?;
    let viewer = Viewer::of(caller);
    if app.views.count(id, viewer, app.clock.now()) {
        app.realtime.tell_counted(&(id, viewer));
    }
    snippet.views = app.views.total(id, snippet.views);
    Ok(snippet)
}

/// A snippet as it is stored; no view is counted.
pub async fn raw(app: &App, caller: &Caller, id: SnippetId) -> Result<Snippet> {
    caller.require_read(app.settings.public_read)?;
    let load = async |ids: Vec<SnippetId>| {
        let mut conn = app.db.read().await?;
        let found = store::find(conn.conn(), &ids).await?;
        Ok(found.into_iter().map(|snippet| (snippet.id, Arc::new(snippet))).collect())
    };
    let found = app.reads.one.find(id, load).await?.map(Arc::unwrap_or_clone);
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
    filter: Filter,
    after: Option<Position>,
    limit: u32,
) -> Result<Arc<Listed>> {
    caller.require_read(app.settings.public_read)?;
    let all = filter.owner.is_some() && (filter.owner == caller.user() || caller.is_admin());
    let load = async |pages: Vec<PageKey>| {
        let mut conn = app.db.read().await?;
        let mut found = HashMap::with_capacity(pages.len());
        for page in pages {
            let mut listed = store::page(conn.conn(), &page).await?;
            for snippet in &mut listed.snippets {
                snippet.views = app.views.total(snippet.id, snippet.views);
            }
            found.insert(page, Arc::new(listed));
        }
        Ok(found)
    };
    let listed = app.reads.pages.find(PageKey { filter, all, after, limit }, load).await?;
    listed.ok_or_else(|| Error::Internal("a page was not read".into()))
}

/// Those of the snippets with these ids that the caller may see listed.
pub async fn listed(
    app: &App,
    conn: &mut ReadConn,
    caller: &Caller,
    ids: &[SnippetId],
) -> Result<HashMap<SnippetId, Snippet>> {
    let mut found = store::find(conn.conn(), ids).await?;
    found.retain(|it| {
        it.visibility == Visibility::Public || caller.user() == Some(it.owner.id) || caller.is_admin()
    });
    for snippet in &mut found {
        snippet.views = app.views.total(snippet.id, snippet.views);
    }
    Ok(found.into_iter().map(|snippet| (snippet.id, snippet)).collect())
}

/// The snippets with these ids, as they are stored and whoever may see them.
pub async fn stored(tx: &mut WriteTx, ids: &[SnippetId]) -> Result<Vec<Snippet>> {
    store::find(tx.conn().await?, ids).await
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
        views: app.views.total(id, old.views),
        updated_at: app.clock.now(),
        ..old
    };
    store::update(tx, &snippet).await?;
    search::index(tx, &snippet).await?;
    events::tell_change(app, tx, caller, &snippet, before).await?;
    let (is, was) = (snippet.visibility == Visibility::Public, before == Visibility::Public);
    if is != was {
        dashboard::count_snippets(tx, i64::from(is) - i64::from(was), id, snippet.updated_at).await?;
    }
    Ok(snippet)
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
    store::delete(tx.conn().await?, id).await?;
    events::tell_end(app, tx, caller, (id, old.owner.id, old.visibility)).await?;
    if old.visibility == Visibility::Public {
        realtime::take_from_feeds(tx, &[topic(id)]).await?;
        dashboard::count_snippets(tx, -1, id, app.clock.now()).await?;
    }
    Ok(())
}

/// Deletes all snippets of the caller. Answers with the topics that have ended and were told on a feed, for
/// [`realtime::take_from_feeds`].
pub async fn delete_all_of(app: &App, tx: &mut WriteTx, caller: &Caller) -> Result<Vec<String>> {
    let owner = caller.require_user()?.id;
    let all = store::lock_all_of(tx.conn().await?, owner).await?;
    store::delete_all_of(tx.conn().await?, owner).await?;
    let mut public = Vec::new();
    for (id, visibility) in all {
        events::tell_end(app, tx, caller, (id, owner, visibility)).await?;
        public.extend((visibility == Visibility::Public).then_some(id));
    }
    let (count, last) = (i64::try_from(public.len()).unwrap_or(i64::MAX), public.last());
    if let Some(last) = last {
        dashboard::count_snippets(tx, -count, *last, app.clock.now()).await?;
    }
    Ok(public.into_iter().map(topic).collect())
}

/// The snippet for somebody who wants to change it, locked until the transaction ends.
async fn lock(
    tx: &mut WriteTx,
    caller: &Caller,
    id: SnippetId,
    allows: impl Fn(i64) -> bool,
) -> Result<Snippet> {
    let who = caller.require(Scope::Write)?;
    let found = store::lock(tx.conn().await?, id).await?;
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

/// The topic of one snippet.
#[must_use]
pub fn topic(id: SnippetId) -> String {
    format!("{FEED}:{id}")
}
