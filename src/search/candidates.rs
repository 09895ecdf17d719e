//! What may be worth showing: found by the index in a few bounded steps, from what fits exactly to what hardly fits.

use std::collections::HashMap;

use super::{
    Filter,
    store::{self, Entry, Scope},
    text::fold,
    wish::{Ask, Wish},
};
use crate::{db::ReadConn, error::Result, snippets::SnippetId};

/// How many of the newest entries with all words are weighed.
const WITH_WORDS: usize = 100;
/// How many of the newest entries with all words in the head are weighed, where there are older ones.
const WITH_HEAD: usize = 50;
/// How many hits with the query as it stands are enough.
const ENOUGH: usize = 20;
/// How many entries are looked at for the query as it stands: so many at a time, so often, so many bytes of them.
const BATCH: usize = 50;
const MAX_BATCHES: usize = 5;
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

/// What a candidate was found by, from what hardly fits to what fits exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// It has words like these.
    Typos,
    /// It has the query as it stands, perhaps within words.
    Literal,
    /// It has all words, and the last one may be only begun.
    Words,
    /// It has all words as they are.
    Whole,
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
        let all = found.add(conn, wish.anywhere(filter), scope, WITH_WORDS, By::Words).await?;
        if all > 0 {
            found.add(conn, wish.whole(filter), scope, WITH_WORDS, By::Whole).await?;
        }
        // Older ones are worth more than the newest where they have it in the head.
        if all == WITH_WORDS {
            let head = found.add(conn, wish.in_head(filter), scope, WITH_HEAD, By::Words).await?;
            if head == WITH_HEAD {
                found.add(conn, wish.whole_in_head(filter), scope, WITH_HEAD, By::Whole).await?;
            }
        }
        if wish.is_code || found.0.is_empty() {
            found.add_literal(conn, wish, filter, scope).await?;
        }
        if found.0.is_empty() {
            found.add(conn, wish.with_typos(filter), scope, WITH_HEAD, By::Typos).await?;
        }
        Ok(found)
    }

    /// The newest of them.
    pub(super) fn newest(&self) -> i64 {
        self.0.values().map(|it| it.entry.place).max().unwrap_or(0)
    }

    /// Adds what the index has for a question, and returns how many that are.
    async fn add(
        &mut self,
        conn: &mut ReadConn,
        ask: Option<Ask>,
        scope: &Scope,
        limit: usize,
        by: By,
    ) -> Result<usize> {
        let Some(ask) = ask else { return Ok(0) };
        let entries = store::entries(conn.conn(), &ask, scope, limit).await?;
        let count = entries.len();
        for entry in entries {
            self.insert(entry, by);
        }
        Ok(count)
    }

    fn insert(&mut self, entry: Entry, by: By) {
        let it = self.0.entry(entry.snippet_id).or_insert(Candidate { entry, by, literal: false });
        it.by = it.by.max(by);
        it.literal |= by == By::Literal;
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
            let mut entries = store::entries(conn.conn(), &ask, &scope, BATCH).await?;
            let more = entries.len() == BATCH;
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
        let mut found = 0;
        for entry in entries {
            let content = contents.get(&entry.snippet_id).map_or("", |content| &content.0);
            if fold(content).contains(literal) || fold(&entry.title).contains(literal) {
                self.insert(entry, By::Literal);
                found += 1;
            }
        }
        Ok(found)
    }
}
