//! What may be worth showing: found by the index in a few bounded steps, from what fits exactly to what hardly fits.

use std::collections::HashMap;

use super::{
    Filter,
    store::{self, Entry, Scope},
    text::fold,
    wish::{By, Wish},
};
use crate::{db::ReadConn, error::Result, snippets::SnippetId};

/// How many hits with the query as it stands are enough.
const ENOUGH: usize = 20;
/// How often more entries are looked at for the query as it stands, and how many bytes of them at most.
const MAX_BATCHES: usize = 8;
const MAX_BYTES: i64 = 2 << 20;

/// Something to show, if it is worth it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub entry: Entry,
    /// The best of what it was found by.
    pub by: By,
    /// Whether it has the query as it stands.
    pub literal: bool,
}

/// What was found, by id.
#[derive(Debug, Default)]
pub(super) struct Candidates(pub HashMap<SnippetId, Candidate>);

impl Candidates {
    pub(super) async fn gather(
        conn: &mut ReadConn,
        wish: &Wish,
        filter: &Filter,
        scope: &Scope,
    ) -> Result<Self> {
        let mut found = Self::default();
        found.add(store::entries(conn.conn(), &wish.by_words(filter), scope).await?);
        if wish.is_code || found.0.is_empty() {
            found.add_literal(conn, wish, filter, scope).await?;
        }
        if found.0.is_empty() {
            found.add(store::entries(conn.conn(), wish.with_typos(filter).as_slice(), scope).await?);
        }
        Ok(found)
    }

    /// The newest of them.
    pub(super) fn newest(&self) -> i64 {
        self.0.values().map(|it| it.entry.place).max().unwrap_or(0)
    }

    fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let by = entry.by;
            let it = self.0.entry(entry.snippet_id).or_insert(Candidate { entry, by, literal: false });
            it.by = it.by.max(by);
            it.literal |= by == By::Literal;
        }
    }

    /// Adds what has the query as it stands. The index knows only of parts of it, so the texts are looked at.
    async fn add_literal(
        &mut self,
        conn: &mut ReadConn,
        wish: &Wish,
        filter: &Filter,
        scope: &Scope,
    ) -> Result<()> {
        let Some(ask) = wish.as_it_stands(filter) else { return Ok(()) };
        let (mut scope, mut bytes, mut found) = (*scope, 0, 0);
        for _ in 0..MAX_BATCHES {
            let mut entries = store::entries(conn.conn(), std::slice::from_ref(&ask), &scope).await?;
            let more = i64::try_from(entries.len()) == Ok(ask.limit);
            scope.until = entries.iter().map(|entry| entry.place - 1).min().unwrap_or(0);
            entries.retain(|entry| {
                bytes += entry.bytes;
                bytes <= MAX_BYTES
            });
            found += self.add_those_with(conn, &wish.literal, entries).await?;
            if !more || found >= ENOUGH || bytes > MAX_BYTES {
                break;
            }
        }
        Ok(())
    }

    async fn add_those_with(
        &mut self,
        conn: &mut ReadConn,
        literal: &str,
        entries: Vec<Entry>,
    ) -> Result<usize> {
        let ids: Vec<SnippetId> = entries.iter().map(|entry| entry.snippet_id).collect();
        let contents = store::contents(conn.conn(), &ids).await?;
        let mut found = entries;
        found.retain(|entry| {
            let content = contents.get(&entry.snippet_id).map_or("", |content| &content.0);
            fold(content).contains(literal) || fold(&entry.title).contains(literal)
        });
        let count = found.len();
        self.add(found);
        Ok(count)
    }
}
