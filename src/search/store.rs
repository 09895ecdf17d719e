//! The tables `search_entries` and, on SQLite, `search_terms`.

use std::collections::HashMap;

use serde::Deserialize;
use sqlx::{QueryBuilder, types::Json};

use super::{
    Document,
    terms::{Kind, Terms, owner, term},
    wish::{Ask, Part},
};
use crate::{
    accounts::UserId,
    db::{Conn, Text, on_conn},
    error::{Error, Result},
    snippets::SnippetId,
};

/// What the index tells of a snippet.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub place: i64,
    pub snippet_id: SnippetId,
    pub title: String,
    pub tags: Vec<String>,
    /// The size of the content.
    pub bytes: i64,
}

/// Whose search it is, and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub viewer: Option<UserId>,
    /// Whether the filter leaves only snippets that the viewer may see whatever their visibility is.
    pub all: bool,
    /// The last place.
    pub until: i64,
}

// All entries in one row: a hundred rows cost SQLite's driver more than finding them.
const ENTRIES_SQLITE: &str =
    "SELECT json_group_array(json_array(place, hex(snippet_id), title, json(tags), bytes))
     FROM (SELECT e.place, e.snippet_id, e.title, e.tags, e.bytes
           FROM search_terms CROSS JOIN search_entries e ON e.place = search_terms.rowid
           WHERE search_terms MATCH $1 AND search_terms.rowid <= $2 AND (e.public OR e.owner_id = $3 OR $4)
           ORDER BY search_terms.rowid DESC LIMIT $5)";

const ENTRIES_POSTGRES: &str =
    "SELECT coalesce(json_agg(json_build_array(place, snippet_id, title, tags, bytes)), '[]')::text
     FROM (SELECT place, snippet_id, title, tags, bytes
           FROM search_entries
           WHERE ($1 = '' OR words @@ $1::tsquery) AND ($6 = '' OR grams @@ $6::tsquery) AND place <= $2
             AND (public OR owner_id = $3 OR $4)
           ORDER BY place DESC LIMIT $5) AS found";

/// The newest entries that have what is asked for.
pub(super) async fn entries(conn: Conn<'_>, ask: &Ask, scope: &Scope, limit: usize) -> Result<Vec<Entry>> {
    let sql = conn.sql(ENTRIES_SQLITE, ENTRIES_POSTGRES);
    let (spelling, mut words, grams) = match &conn {
        Conn::Sqlite(_) => (FTS5, FTS5.spell(ask.words.iter().chain(&ask.grams)), String::new()),
        Conn::Postgres(_) => (TSQUERY, TSQUERY.spell(&ask.words), TSQUERY.spell(&ask.grams)),
    };
    // The statement sees to it that nothing hidden is shown. This is about time: the index passes over what many
    // others have hidden without a look at each.
    if !scope.all && !words.is_empty() {
        words = spelling.without_hidden(&words, scope.viewer);
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // Not kept as a prepared statement: PostgreSQL must plan for the words, which may be rare or in every snippet.
    let persistent = matches!(conn, Conn::Sqlite(_));
    let found: String = on_conn!(conn, |c| sqlx::query_scalar(sql)
        .bind(words)
        .bind(scope.until)
        .bind(scope.viewer)
        .bind(scope.all)
        .bind(limit)
        .bind(grams)
        .persistent(persistent)
        .fetch_one(c)
        .await?);
    let mut entries: Vec<Entry> = serde_json::from_str(&found)
        .map_err(|error| Error::Internal(format!("entries of search: {error}")))?;
    for entry in &mut entries {
        entry.title = Text::stored(std::mem::take(&mut entry.title)).0;
    }
    Ok(entries)
}

/// How a database spells what it is asked for. Terms have no character that means something to it.
struct Spelling {
    quote: char,
    start: &'static str,
    and: &'static str,
    or: &'static str,
    not: &'static str,
}

const FTS5: Spelling = Spelling { quote: '"', start: " *", and: " AND ", or: " OR ", not: " NOT " };
const TSQUERY: Spelling = Spelling { quote: '\'', start: ":*", and: " & ", or: " | ", not: " & !" };

impl Spelling {
    fn spell<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> String {
        let quote = |term: &String| format!("{0}{term}{0}", self.quote);
        let part = |part: &Part| match part {
            Part::Term(term) => quote(term),
            Part::Start(term) => quote(term) + self.start,
            Part::Any(terms) => format!("({})", terms.iter().map(quote).collect::<Vec<_>>().join(self.or)),
        };
        parts.into_iter().map(part).collect::<Vec<_>>().join(self.and)
    }

    /// What is asked for, but nothing hidden that is not the viewer's own.
    fn without_hidden(&self, asked: &str, viewer: Option<UserId>) -> String {
        let (quote, not) = (self.quote, self.not);
        let hidden = format!("{quote}{}{quote}", term(Kind::Hidden, ""));
        let own = viewer.map(|viewer| format!("{not}{quote}{}{quote}", owner(viewer)));
        format!("({asked}){not}({hidden}{})", own.unwrap_or_default())
    }
}

/// The contents of snippets.
pub(super) async fn contents(conn: Conn<'_>, ids: &[SnippetId]) -> Result<HashMap<SnippetId, Text>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(SnippetId, Text)> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("SELECT id, content FROM snippets WHERE id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(")").build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().collect())
}

const PUT_SQLITE: &str = "INSERT INTO search_entries (snippet_id, owner_id, public, bytes, title, tags)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (snippet_id) DO UPDATE
     SET public = excluded.public, bytes = excluded.bytes, title = excluded.title, tags = excluded.tags";

const PUT_POSTGRES: &str =
    "INSERT INTO search_entries (snippet_id, owner_id, public, bytes, title, tags, words, grams)
     VALUES ($1, $2, $3, $4, $5, $6, array_to_tsvector(string_to_array($7, ' ')),
             array_to_tsvector(string_to_array($8, ' ')))
     ON CONFLICT (snippet_id) DO UPDATE
     SET public = excluded.public, bytes = excluded.bytes, title = excluded.title, tags = excluded.tags,
         words = excluded.words, grams = excluded.grams";

const PUT_TERMS: &str = "INSERT OR REPLACE INTO search_terms (rowid, terms)
     SELECT place, $2 || ' ' || $3 FROM search_entries WHERE snippet_id = $1";

/// Writes what the index tells of a snippet, and by which terms it is found.
pub(super) async fn put(
    mut conn: Conn<'_>,
    id: SnippetId,
    document: &Document<'_>,
    terms: Terms,
) -> Result<()> {
    let sql = conn.sql(PUT_SQLITE, PUT_POSTGRES);
    let (words, grams) = (terms.words.join(" "), terms.grams.join(" "));
    on_conn!(conn.again(), |c| sqlx::query(sql)
        .bind(id)
        .bind(document.owner)
        .bind(document.public)
        .bind(i64::try_from(document.content.len()).unwrap_or(i64::MAX))
        .bind(Text(document.title.to_owned()))
        .bind(Json(&document.tags))
        .bind(&words)
        .bind(&grams)
        .execute(c)
        .await
        .map(drop)?);
    if let Conn::Sqlite(c) = conn {
        sqlx::query(PUT_TERMS).bind(id).bind(words).bind(grams).execute(c).await?;
    }
    Ok(())
}

/// Snippets without an entry.
pub(super) async fn missing(conn: Conn<'_>, limit: i64) -> Result<Vec<SnippetId>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "SELECT s.id FROM snippets s
         WHERE NOT EXISTS (SELECT 1 FROM search_entries e WHERE e.snippet_id = s.id) LIMIT $1"
    )
    .bind(limit)
    .fetch_all(c)
    .await?))
}

#[cfg(test)]
mod tests {
    use super::{FTS5, Part, TSQUERY};
    use crate::accounts::UserId;

    #[test]
    fn each_database_has_its_spelling() {
        let term = |text: &str| text.to_owned();
        let parts =
            [Part::Term(term("wa")), Part::Start(term("wb")), Part::Any(vec![term("nc"), term("nd")])];
        assert_eq!(FTS5.spell(&parts), r#""wa" AND "wb" * AND ("nc" OR "nd")"#);
        assert_eq!(TSQUERY.spell(&parts), "'wa' & 'wb':* & ('nc' | 'nd')");
        let viewer = Some(UserId(uuid::Uuid::nil()));
        let own = "o00000000000000000000000000000000";
        assert_eq!(FTS5.without_hidden("q", viewer), format!(r#"(q) NOT ("x" NOT "{own}")"#));
        assert_eq!(TSQUERY.without_hidden("q", None), "(q) & !('x')");
    }
}
