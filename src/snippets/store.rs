//! The tables `snippets` and `snippet_tags`.

use sqlx::{Database, Encode, QueryBuilder, Type, types::Json};

use super::{
    Content, Language, Snippet, SnippetId, Tag, Tags, Title, Visibility,
    list::{Filter, Key, Listed, PageKey, Position, SnippetSummary},
};
use crate::{
    accounts::{Name, Profile, UserId},
    clock::Timestamp,
    db::{Conn, Text, WriteTx, on_conn, push_keys},
    error::{Error, Result},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: SnippetId,
    owner_id: UserId,
    owner_name: Text,
    visibility: Visibility,
    language: Language,
    version: i64,
    views: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
    tags: Json<Vec<String>>,
    title: Text,
    #[sqlx(default)]
    excerpt: Option<Text>,
    #[sqlx(default)]
    content: Option<Text>,
}

impl Row {
    fn into_summary(self) -> SnippetSummary {
        SnippetSummary {
            id: self.id,
            title: Title(self.title.0),
            excerpt: self.excerpt.map(|text| text.0),
            content: self.content.map(|text| Content(text.0)),
            language: self.language,
            tags: Tags(self.tags.0.into_iter().map(Tag).collect()),
            visibility: self.visibility,
            owner: Profile { id: self.owner_id, name: Name::from(self.owner_name) },
            version: self.version,
            views: self.views,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn into_snippet(self) -> Result<Snippet> {
        let it = self.into_summary();
        Ok(Snippet {
            id: it.id,
            title: it.title,
            content: it
                .content
                .ok_or_else(|| Error::Internal("a snippet was read without its content".into()))?,
            language: it.language,
            tags: it.tags,
            visibility: it.visibility,
            owner: it.owner,
            version: it.version,
            views: it.views,
            created_at: it.created_at,
            updated_at: it.updated_at,
        })
    }
}

pub(super) async fn insert(tx: &mut WriteTx, it: &Snippet) -> Result<()> {
    const INSERT: &str =
        "INSERT INTO snippets (id, owner_id, visibility, language, version, created_at, updated_at, tags, title,
                               excerpt, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    tx.later(INSERT, INSERT)
        .bind(it.id)
        .bind(it.owner.id)
        .bind(it.visibility)
        .bind(&it.language)
        .bind(it.version)
        .bind(it.created_at)
        .bind(it.updated_at)
        .bind(Json(tags(it)))
        .bind(Text(it.title.0.clone()))
        .bind(Text(it.content.excerpt()))
        .bind(Text(it.content.0.clone()))
        .run()
        .await
}

/// Writes what can change; the views are counted elsewhere.
pub(super) async fn update(tx: &mut WriteTx, it: &Snippet) -> Result<()> {
    const UPDATE: &str =
        "UPDATE snippets SET visibility = $2, language = $3, version = $4, updated_at = $5, tags = $6, title = $7,
                             excerpt = $8, content = $9
         WHERE id = $1";
    tx.later(UPDATE, UPDATE)
        .bind(it.id)
        .bind(it.visibility)
        .bind(&it.language)
        .bind(it.version)
        .bind(it.updated_at)
        .bind(Json(tags(it)))
        .bind(Text(it.title.0.clone()))
        .bind(Text(it.content.excerpt()))
        .bind(Text(it.content.0.clone()))
        .run()
        .await
}

fn tags(it: &Snippet) -> Vec<String> {
    it.tags.0.iter().map(|tag| tag.0.clone()).collect()
}

/// All columns but the texts. The owners are joined so that SQLite keeps to the order in which they stand here:
/// the snippets come from the index of the list, and each one's owner from the primary key.
macro_rules! select {
    ($texts:literal, $rest:literal) => {
        concat!(
            "SELECT s.id, s.owner_id, u.name AS owner_name, s.visibility, s.language, s.version, s.views,
                    s.created_at, s.updated_at, s.tags, s.title, ",
            $texts,
            " FROM snippets s CROSS JOIN users u WHERE u.id = s.owner_id",
            $rest
        )
    };
}

const ANY: &str = select!("s.content", " AND s.id IN ");
const FIND: &str = select!("s.content", " AND s.id = $1");
const LOCK: &str = select!("s.content", " AND s.id = $1 FOR UPDATE OF s");

/// Those of the snippets that there are, in whatever order.
pub(super) async fn find(conn: Conn<'_>, ids: &[SnippetId]) -> Result<Vec<Snippet>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(ANY);
        push_keys(&mut query, ids);
        query.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Row::into_snippet).collect()
}

/// Reads a snippet that nobody else can change until the transaction ends.
pub(super) async fn lock(conn: Conn<'_>, id: SnippetId) -> Result<Option<Snippet>> {
    let sql = conn.sql(FIND, LOCK);
    let row: Option<Row> = on_conn!(conn, |c| sqlx::query_as(sql).bind(id).fetch_optional(c).await?);
    row.map(Row::into_snippet).transpose()
}

pub(super) async fn find_rights(conn: Conn<'_>, id: SnippetId) -> Result<Option<(UserId, Visibility)>> {
    Ok(on_conn!(conn, |c| sqlx::query_as("SELECT owner_id, visibility FROM snippets WHERE id = $1")
        .bind(id)
        .fetch_optional(c)
        .await?))
}

pub(super) async fn lock_all_of(conn: Conn<'_>, owner: UserId) -> Result<Vec<(SnippetId, Visibility)>> {
    let sql = conn.sql(
        "SELECT id, visibility FROM snippets WHERE owner_id = $1 ORDER BY id",
        "SELECT id, visibility FROM snippets WHERE owner_id = $1 ORDER BY id FOR UPDATE",
    );
    Ok(on_conn!(conn, |c| sqlx::query_as(sql).bind(owner).fetch_all(c).await?))
}

pub(super) async fn delete(conn: Conn<'_>, id: SnippetId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM snippets WHERE id = $1")
        .bind(id)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

pub(super) async fn delete_all_of(conn: Conn<'_>, owner: UserId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM snippets WHERE owner_id = $1")
        .bind(owner)
        .execute(c)
        .await
        .map(drop)?);
    Ok(())
}

/// Adds views; answers with how many there are now.
pub(super) async fn add_views(conn: Conn<'_>, id: SnippetId, count: i64) -> Result<Option<i64>> {
    Ok(on_conn!(conn, |c| sqlx::query_scalar(
        "UPDATE snippets SET views = views + $2 WHERE id = $1 RETURNING views"
    )
    .bind(id)
    .bind(count)
    .fetch_optional(c)
    .await?))
}

pub(super) async fn page(conn: Conn<'_>, page: &PageKey) -> Result<Listed> {
    let PageKey { filter, all, after, limit } = page;
    let select = if filter.with_content { select!("s.content", "") } else { select!("s.excerpt", "") };
    let rows = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(select);
        narrow(&mut query, filter, *all, after.clone());
        let (column, _, direction) = filter.sort.sql();
        query
            .push(format_args!(" ORDER BY {column} {direction}, s.id {direction} LIMIT "))
            .push_bind(i64::from(*limit) + 1);
        query.build_query_as::<Row>().fetch_all(c).await?
    });
    let size = usize::try_from(*limit).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    let snippets: Vec<SnippetSummary> = rows.into_iter().take(size).map(Row::into_summary).collect();
    let next = snippets.last().filter(|_| more).map(|last| filter.sort.position(last));
    Ok(Listed { snippets, next })
}

/// How many snippets a filter lets through, whatever their visibility.
pub(super) async fn count(conn: Conn<'_>, filter: &Filter) -> Result<i64> {
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("SELECT count(*) FROM snippets s WHERE true");
        narrow(&mut query, filter, true, None);
        query.build_query_scalar().fetch_one(c).await?
    }))
}

/// Says which snippets are wanted, and behind which position.
fn narrow<DB: Database>(query: &mut QueryBuilder<DB>, filter: &Filter, all: bool, after: Option<Position>)
where
    UserId: for<'t> Encode<'t, DB> + Type<DB>,
    SnippetId: for<'t> Encode<'t, DB> + Type<DB>,
    Timestamp: for<'t> Encode<'t, DB> + Type<DB>,
    String: for<'t> Encode<'t, DB> + Type<DB>,
{
    if let Some(owner) = filter.owner {
        query.push(" AND s.owner_id = ").push_bind(owner);
        if !all {
            // Written so that no index fits it: the owner's is the narrower one, and SQLite cannot know that.
            query.push(" AND s.visibility || '' = 'public'");
        }
    } else {
        query.push(" AND s.visibility = 'public'");
    }
    if let Some(language) = &filter.language {
        query.push(" AND s.language = ").push_bind(language.0.clone());
    }
    if let Some(tag) = &filter.tag {
        query.push(" AND s.id IN (SELECT snippet_id FROM snippet_tags WHERE tag = ").push_bind(tag.0.clone());
        query.push(")");
    }
    if let Some(time) = filter.updated_since {
        query.push(" AND s.updated_at >= ").push_bind(time);
    }
    let Some(Position { key, id }) = after else { return };
    let (column, behind, _) = filter.sort.sql();
    query.push(format_args!(" AND ({column}, s.id) {behind} ("));
    match key {
        Key::Time(time) => query.push_bind(time),
        Key::Title(title) => query.push_bind(Text(title)),
    };
    query.push(", ").push_bind(id).push(")");
}
