//! Search while typing: words in any order, the last one only begun, pieces of code, small typos.
//!
//! The databases only find candidates, by terms which this module makes, so both find the same: the newest that have
//! all words, in a number that is bounded whatever is looked for. What they are worth is decided here.

mod candidates;
mod highlights;
mod rank;
pub mod routes;
mod store;
mod terms;
mod text;
mod wish;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::highlights::{Field, Highlight, Span};
pub use self::terms::Terms;
use self::{candidates::Candidates, wish::Wish};
use crate::{
    accounts::UserId,
    app::App,
    credentials::Caller,
    db::WriteTx,
    error::Result,
    snippets::{self, Language, Snippet, SnippetId, SnippetSummary, Tag, Visibility},
};

/// How many bytes of contents one page reads: each content is far smaller.
const PAGE_BYTES: i64 = 2 << 20;
/// How many snippets are indexed in one transaction when an index is made anew.
const BATCH: i64 = 50;

/// What is looked for, as it was typed: at most 1,000 characters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, max_length = 1000, example = "fn main(")]
pub struct SearchText(String);

impl TryFrom<String> for SearchText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.chars().nth(1_000).is_none() {
            Ok(Self(text))
        } else {
            Err("must have at most 1000 characters")
        }
    }
}

/// Among which snippets to look.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Filter {
    pub owner: Option<UserId>,
    pub language: Option<Language>,
    pub tag: Option<Tag>,
}

/// A snippet that was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hit {
    pub snippet: SnippetSummary,
    /// How well it fits, for comparison within one answer: the more the better.
    pub score: i64,
    /// Where it fits: at most the title, each tag, and three places of the content.
    pub highlights: Vec<Highlight>,
}

/// A place in the hits of a search, best first.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Position {
    score: i64,
    id: SnippetId,
    /// The newest entry that the first page knew: later ones would push others over the edge of a page.
    until: i64,
}

/// One page of the best hits among what the caller may see listed, and the position behind it if there are more.
pub async fn find(
    app: &App,
    caller: &Caller,
    query: &SearchText,
    filter: &Filter,
    after: Option<Position>,
    limit: u32,
) -> Result<(Vec<Hit>, Option<Position>)> {
    caller.require_read(app.settings.public_read)?;
    let Some(wish) = Wish::read(&query.0) else { return Ok((Vec::new(), None)) };
    let scope = store::Scope {
        viewer: caller.user(),
        all: filter.owner.is_some() && (filter.owner == caller.user() || caller.is_admin()),
        until: after.map_or(i64::MAX, |after| after.until),
    };
    let read = app.db.read_briefly(async |conn| {
        let candidates = Candidates::gather(conn, &wish, filter, &scope).await?;
        let (page, next) = page(&candidates, &wish, after, limit);
        let ids: Vec<SnippetId> = page.iter().map(|it| it.id).collect();
        Ok((page, next, snippets::listed(app, conn, caller, &ids).await?))
    });
    let (page, next, mut snippets) = read.await?;
    let hits = page.into_iter().filter_map(|it| {
        let snippet = snippets.remove(&it.id)?; // Unless it was hidden or deleted a moment ago.
        let highlights = highlights::of(&snippet, &wish, it.typos);
        Some(Hit { snippet: snippet.into(), score: it.score, highlights })
    });
    Ok((hits.collect(), next))
}

/// The best candidates behind a position, and the position behind them if there are more. Large texts make short pages.
fn page(
    candidates: &Candidates,
    wish: &Wish,
    after: Option<Position>,
    limit: u32,
) -> (Vec<rank::Ranked>, Option<Position>) {
    let mut ranked = rank::order(candidates, wish);
    if let Some(after) = after {
        ranked.retain(|it| (it.score, it.id) < (after.score, after.id));
    }
    let mut bytes = 0;
    let fits = |it: &&rank::Ranked| {
        bytes += it.bytes;
        bytes <= PAGE_BYTES
    };
    let size = ranked.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).take_while(fits).count();
    let more = ranked.len() > size;
    ranked.truncate(size);
    let until = candidates.newest();
    let next = ranked.last().filter(|_| more).map(|last| Position { score: last.score, id: last.id, until });
    (ranked, next)
}

/// Makes a snippet findable as it is now; goes into the transaction that writes it. A deleted one is forgotten by itself.
pub async fn index(tx: &mut WriteTx, snippet: &Snippet) -> Result<()> {
    index_as(tx, snippet, &terms(snippet)).await
}

/// The same with terms that were made before.
pub async fn index_as(tx: &mut WriteTx, snippet: &Snippet, terms: &Terms) -> Result<()> {
    store::put(tx, snippet.id, &Document::of(snippet), terms).await?;
    tx.before_commit(store::INDEX_PENDING);
    Ok(())
}

/// The terms by which a snippet will be found.
#[must_use]
pub fn terms(snippet: &Snippet) -> Terms {
    Terms::of(&Document::of(snippet))
}

/// Indexes what was written before there was an index; until that is done it is not found.
pub async fn index_missing(app: Arc<App>) {
    let mut indexed = 0;
    loop {
        match index_some(&app).await {
            Ok(0) if indexed == 0 => return,
            Ok(0) => return tracing::info!(indexed, "all older snippets are indexed for search"),
            Ok(more) => indexed += more,
            Err(error) => {
                return tracing::error!(%error, "older snippets are not indexed; the next start goes on");
            }
        }
    }
}

async fn index_some(app: &App) -> Result<usize> {
    let mut tx = app.db.write().await?;
    let missing = store::missing(tx.conn().await?, BATCH).await?;
    for snippet in snippets::stored(&mut tx, &missing).await? {
        index(&mut tx, &snippet).await?;
    }
    tx.commit().await?;
    Ok(missing.len())
}

/// Keeps the parts of the index few, as long as nobody else writes; while others do, only as far as costs them little.
/// `seen` is the head of the log at which there was nothing to merge.
pub async fn merge_index(app: &App, seen: &mut u64) -> Result<()> {
    loop {
        let head = app.realtime.log.head();
        if head == *seen {
            return Ok(());
        }
        let mut tx = app.db.write().await?;
        let merged = store::merge(&mut tx).await?;
        tx.commit().await?;
        if !merged {
            *seen = head;
        }
        if app.realtime.log.head() != head {
            return Ok(());
        }
    }
}

/// What is indexed of a snippet.
struct Document<'a> {
    owner: UserId,
    public: bool,
    language: &'a str,
    tags: Vec<&'a str>,
    title: &'a str,
    content: &'a str,
}

impl<'a> Document<'a> {
    fn of(snippet: &'a Snippet) -> Self {
        Self {
            owner: snippet.owner.id,
            public: snippet.visibility == Visibility::Public,
            language: snippet.language.as_str(),
            tags: snippet.tags.iter().map(Tag::as_str).collect(),
            title: snippet.title.as_str(),
            content: snippet.content.as_str(),
        }
    }
}
