//! The tables `search_entries` and, on SQLite, `search_terms`.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use sqlx::{QueryBuilder, types::Json};

use super::{
    Document,
    terms::{Kind, Terms, owner, term},
    wish::{Ask, By, Part},
};
use crate::{
    accounts::UserId,
    db::{Conn, Text, WriteTx, on_conn},
    error::{Error, Result},
    snippets::SnippetId,
};

/// What the index tells of a snippet.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub by: By,
    pub place: i64,
    pub snippet_id: SnippetId,
    pub title: String,
    #[serde(deserialize_with = "tags")]
    pub tags: Vec<String>,
    /// The size of the content.
    pub bytes: i64,
}

/// Tags come as the JSON in which they are stored; SQLite would read and write it again to put it into another.
fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    let stored = String::deserialize(deserializer)?;
    serde_json::from_str(&stored).map_err(D::Error::custom)
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

/// How a database is asked. Terms have no character that means something to it.
struct Dialect {
    // All entries come in one row: a hundred rows cost SQLite's driver more than finding them. Each comes once.
    begin_all: &'static str,
    end_all: &'static str,
    from: &'static str,
    place: &'static str,
    quote: char,
    start: &'static str,
    and: &'static str,
    or: &'static str,
    not: &'static str,
}

const SQLITE: Dialect = Dialect {
    begin_all: " SELECT json_group_array(json_array(by, place, hex(snippet_id), title, tags, bytes))
                FROM (SELECT max(by) AS by, place, snippet_id, title, tags, bytes FROM (",
    end_all: ") GROUP BY place)",
    from: "search_terms CROSS JOIN search_entries e ON e.place = search_terms.rowid",
    place: "search_terms.rowid",
    quote: '"',
    start: " *",
    and: " AND ",
    or: " OR ",
    not: " NOT ",
};

const POSTGRES: Dialect = Dialect {
    begin_all: " SELECT coalesce(json_agg(json_build_array(by, place, snippet_id, title, tags::text, bytes)), '[]')::text
                FROM (SELECT DISTINCT ON (place) * FROM (",
    end_all: ") AS found ORDER BY place, by DESC) AS best",
    from: "search_entries e",
    place: "e.place",
    quote: '\'',
    start: ":*",
    and: " & ",
    or: " | ",
    not: " & !",
};

/// Pieces of a condition: SQL, and a text that is bound behind it.
type Pieces = Vec<(&'static str, Option<String>)>;

/// The newest entries that have what is asked for, each with the best question that it fits. A question that is not to
/// be asked costs nothing.
pub(super) async fn entries(conn: Conn<'_>, asks: &[Ask], scope: &Scope) -> Result<Vec<Entry>> {
    if asks.is_empty() {
        return Ok(Vec::new());
    }
    let (dialect, conditions): (_, fn(&Ask, &Scope) -> Pieces) = match &conn {
        Conn::Sqlite(_) => (SQLITE, on_sqlite),
        Conn::Postgres(_) => (POSTGRES, on_postgres),
    };
    // Not kept as a prepared statement: PostgreSQL must plan for the words, which may be rare or in every snippet.
    let persistent = matches!(conn, Conn::Sqlite(_));
    let found: String = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("WITH ");
        for (number, ask) in asks.iter().enumerate() {
            query.push(format_args!("{}a{number} AS MATERIALIZED (", if number == 0 { "" } else { ", " }));
            query.push(format_args!(
                "SELECT {} AS by, e.place, e.snippet_id, e.title, e.tags, e.bytes FROM {} WHERE ",
                ask.by as i64, dialect.from
            ));
            for (sql, text) in conditions(ask, scope) {
                query.push(sql);
                if let Some(text) = text {
                    query.push_bind(text);
                }
            }
            query.push(dialect.place).push(" <= ").push_bind(scope.until);
            query.push(" AND (e.public OR e.owner_id = ").push_bind(scope.viewer);
            query.push(" OR ").push_bind(scope.all).push(") ORDER BY ").push(dialect.place);
            query.push(format_args!(" DESC LIMIT {})", limit(asks, ask)));
        }
        query.push(dialect.begin_all);
        for number in 0..asks.len() {
            query.push(if number == 0 { "" } else { " UNION ALL " });
            query.push(format_args!("SELECT * FROM a{number}"));
        }
        query.push(dialect.end_all).build_query_scalar().persistent(persistent).fetch_one(c).await?
    });
    let mut entries: Vec<Entry> = serde_json::from_str(&found)
        .map_err(|error| Error::Internal(format!("entries of search: {error}")))?;
    for entry in &mut entries {
        entry.title = Text::stored(std::mem::take(&mut entry.title)).0;
    }
    Ok(entries)
}

/// How many entries a question may find: none where it is not to be asked, by the answers before it. Either database
/// looks at the limit first; a condition would be looked at for every entry.
fn limit(asks: &[Ask], ask: &Ask) -> String {
    let full = |&number: &usize| format!("(SELECT count(*) FROM a{number}) >= {}", asks[number].limit);
    let any = |numbers: &[usize]| numbers.iter().map(full).collect::<Vec<_>>().join(" OR ");
    let mut limit = ask.limit.to_string();
    if !ask.if_full.is_empty() {
        limit = format!("CASE WHEN {} THEN {limit} ELSE 0 END", any(ask.if_full));
    }
    if !ask.unless_full.is_empty() {
        limit = format!("CASE WHEN {} THEN 0 ELSE {limit} END", any(ask.unless_full));
    }
    limit
}

/// Where next to nothing is hidden, to ask for it costs more than to come across it.
fn on_sqlite(ask: &Ask, scope: &Scope) -> Pieces {
    let asked = SQLITE.spell(ask.words.iter().chain(&ask.grams));
    let much_hidden = "search_terms MATCH iif(
        EXISTS (SELECT 1 FROM search_entries WHERE NOT public LIMIT 1 OFFSET 200), ";
    let without_hidden = SQLITE.without_hidden(asked.clone(), scope);
    vec![(much_hidden, Some(without_hidden)), (", ", Some(asked)), (") AND ", None)]
}

/// Words and grams have columns of their own: where an entry is looked at for its words, the grams stay where they are.
fn on_postgres(ask: &Ask, scope: &Scope) -> Pieces {
    let mut pieces = Vec::new();
    if !ask.words.is_empty() {
        let asked = POSTGRES.without_hidden(POSTGRES.spell(&ask.words), scope);
        pieces.extend([("e.words @@ ", Some(asked)), ("::tsquery AND ", None)]);
    }
    if !ask.grams.is_empty() {
        pieces.extend([("e.grams @@ ", Some(POSTGRES.spell(&ask.grams))), ("::tsquery AND ", None)]);
    }
    pieces
}

impl Dialect {
    fn spell<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> String {
        let quote = |term: &String| format!("{0}{term}{0}", self.quote);
        let part = |part: &Part| match part {
            Part::Term(term) => quote(term),
            Part::Start(term) => quote(term) + self.start,
            Part::Any(terms) => format!("({})", terms.iter().map(quote).collect::<Vec<_>>().join(self.or)),
        };
        parts.into_iter().map(part).collect::<Vec<_>>().join(self.and)
    }

    /// What is asked for, but nothing hidden that is not the viewer's own. The statement sees to that by itself; this
    /// is about time: the index passes over what many others have hidden without a look at each.
    fn without_hidden(&self, asked: String, scope: &Scope) -> String {
        if scope.all {
            return asked;
        }
        let (quote, not) = (self.quote, self.not);
        let hidden = format!("{quote}{}{quote}", term(Kind::Hidden, ""));
        let own = scope.viewer.map(|viewer| format!("{not}{quote}{}{quote}", owner(viewer)));
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
     SET public = excluded.public, bytes = excluded.bytes, title = excluded.title, tags = excluded.tags;
     INSERT OR REPLACE INTO search_pending (place, terms)
     SELECT place, $7 || ' ' || $8 FROM search_entries WHERE snippet_id = $1";

const PUT_POSTGRES: &str =
    "INSERT INTO search_entries (snippet_id, owner_id, public, bytes, title, tags, words, grams)
     VALUES ($1, $2, $3, $4, $5, $6, array_to_tsvector(string_to_array($7, ' ')),
             array_to_tsvector(string_to_array($8, ' ')))
     ON CONFLICT (snippet_id) DO UPDATE
     SET public = excluded.public, bytes = excluded.bytes, title = excluded.title, tags = excluded.tags,
         words = excluded.words, grams = excluded.grams";

/// Puts the pending terms into the index. FTS5 writes what it holds in memory at every savepoint, which each write is.
pub(super) const INDEX_PENDING: &str = "INSERT OR REPLACE INTO search_terms (rowid, terms)
     SELECT place, terms FROM search_pending; DELETE FROM search_pending";

/// Merges parts of the index, about a megabyte of them; whether there were any. Every commit leaves a part, and a query
/// looks into each; PostgreSQL sees to its own.
pub(super) async fn merge(tx: &mut WriteTx) -> Result<bool> {
    let Conn::Sqlite(conn) = tx.conn().await? else { return Ok(false) };
    let changes = "SELECT total_changes()";
    let before: i64 = sqlx::query_scalar(changes).fetch_one(&mut *conn).await?;
    sqlx::query("INSERT INTO search_terms (search_terms, rank) VALUES ('merge', 256)")
        .execute(&mut *conn)
        .await?;
    let after: i64 = sqlx::query_scalar(changes).fetch_one(conn).await?;
    Ok(after - before >= 2) // The statement itself is one, says the manual of FTS5.
}

/// Writes what the index tells of a snippet, and by which terms it is found.
pub(super) async fn put(
    tx: &mut WriteTx,
    id: SnippetId,
    document: &Document<'_>,
    terms: &Terms,
) -> Result<()> {
    tx.later(PUT_SQLITE, PUT_POSTGRES)
        .bind(id)
        .bind(document.owner)
        .bind(document.public)
        .bind(i64::try_from(document.content.len()).unwrap_or(i64::MAX))
        .bind(Text(document.title.to_owned()))
        .bind(Json(&document.tags))
        .bind(&terms.words)
        .bind(&terms.grams)
        .run()
        .await
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
    use super::{POSTGRES, Part, SQLITE, Scope};
    use crate::accounts::UserId;

    #[test]
    fn each_database_has_its_spelling() {
        let term = |text: &str| text.to_owned();
        let parts =
            [Part::Term(term("wa")), Part::Start(term("wb")), Part::Any(vec![term("nc"), term("nd")])];
        assert_eq!(SQLITE.spell(&parts), r#""wa" AND "wb" * AND ("nc" OR "nd")"#);
        assert_eq!(POSTGRES.spell(&parts), "'wa' & 'wb':* & ('nc' | 'nd')");
        let anonymous = Scope { viewer: None, all: false, until: 0 };
        let somebody = Scope { viewer: Some(UserId(uuid::Uuid::nil())), ..anonymous };
        let own = "o00000000000000000000000000000000";
        assert_eq!(SQLITE.without_hidden(term("q"), &somebody), format!(r#"(q) NOT ("x" NOT "{own}")"#));
        assert_eq!(POSTGRES.without_hidden(term("q"), &anonymous), "(q) & !('x')");
        assert_eq!(POSTGRES.without_hidden(term("q"), &Scope { all: true, ..somebody }), "q");
    }
}
