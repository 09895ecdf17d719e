//! Snippets on their way out, all of somebody's, and in again.

use super::{Draft, Filter, Listed, New, PageKey, Position, Snippet, insert, new, store};
use crate::{accounts::Profile, app::App, clock::Timestamp, db::WriteTx, error::Result};

/// One page of all snippets that a filter lets through, whoever may see them: for work that is done in the owner's
/// name.
pub async fn list_all_of(app: &App, filter: &Filter, after: Option<Position>, limit: u32) -> Result<Listed> {
    let mut conn = app.db.read().await?;
    let page = PageKey { filter: filter.clone(), all: true, after, limit };
    let mut listed = store::page(conn.conn(), &page).await?;
    for snippet in &mut listed.snippets {
        snippet.views = app.views.total(snippet.id, snippet.views);
    }
    Ok(listed)
}

/// How many snippets a filter lets through, whoever may see them.
pub async fn count_all_of(app: &App, filter: &Filter) -> Result<i64> {
    let mut conn = app.db.read().await?;
    store::count(conn.conn(), filter).await
}

/// All of a snippet of somebody's who has it from elsewhere that can be made before the transaction, with the times that
/// it had there; none lies in the future.
pub fn prepare_restored(
    app: &App,
    owner: Profile,
    draft: Draft,
    times: (Option<Timestamp>, Option<Timestamp>),
) -> New {
    let now = app.clock.now();
    let updated_at = times.1.or(times.0).unwrap_or(now).min(now);
    let created_at = times.0.unwrap_or(updated_at).min(updated_at);
    new(app, owner, draft, created_at, updated_at)
}

/// Makes it; to those who follow snippets it is its owner's doing.
pub async fn restore(app: &App, tx: &mut WriteTx, new: New) -> Result<Snippet> {
    insert(app, tx, None, new).await
}
