//! Snippets: what this installation is there to share.

pub mod routes;
mod store;
mod views;

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::ToSchema;

pub use self::{
    store::{Filter, Position, SnippetSummary, Sort},
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
/// How many characters of the content stand in lists.
const EXCERPT: usize = 200;

id_type! {
    /// Identifies a snippet.
    SnippetId
}

/// A title: 1 to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 200, example = "Read a file by lines")]
pub struct Title(String);

impl TryFrom<String> for Title {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=200).contains(&text.chars().count());
        if fits { Ok(Self(text)) } else { Err("must have 1 to 200 characters") }
    }
}

/// The text of a snippet: 1 byte to 512 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 524_288, example = "for line in file.lines() {}")]
pub struct Content(String);

impl TryFrom<String> for Content {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=512 * 1024).contains(&text.len());
        if fits { Ok(Self(text)) } else { Err("must have 1 to 524288 bytes in UTF-8") }
    }
}

impl Content {
    fn excerpt(&self) -> String {
        self.0.chars().take(EXCERPT).collect()
    }
}

/// The name of a language, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(try_from = "String")]
#[sqlx(transparent)]
#[schema(value_type = String, pattern = "^[a-z][a-z0-9+#._-]{0,31}$", example = "rust")]
pub struct Language(String);

impl Default for Language {
    fn default() -> Self {
        Self("text".to_owned())
    }
}

impl TryFrom<String> for Language {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+#._-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        if begins && text.len() <= 32 && text.bytes().all(known) {
            Ok(Self(text))
        } else {
            Err("must begin with one of a-z and go on with at most 31 of a-z, 0-9, +, #, ., _ and -")
        }
    }
}

/// A word to find snippets by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9-]{1,32}$", example = "io")]
pub struct Tag(String);

impl TryFrom<String> for Tag {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(known);
        if fits { Ok(Self(text)) } else { Err("must be 1 to 32 of a-z, 0-9 and -") }
    }
}

/// At most 10 tags, all different.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Vec<Tag>")]
#[schema(value_type = Vec<String>, max_items = 10, example = json!(["io", "files"]))]
pub struct Tags(Vec<Tag>);

impl TryFrom<Vec<Tag>> for Tags {
    type Error = &'static str;

    fn try_from(tags: Vec<Tag>) -> Result<Self, Self::Error> {
        let distinct = tags.iter().collect::<BTreeSet<_>>().len() == tags.len();
        if distinct && tags.len() <= 10 { Ok(Self(tags)) } else { Err("must be at most 10 different tags") }
    }
}

/// Who may read a snippet, from the widest circle to the narrowest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Visibility {
    /// Everyone, and it is listed.
    #[default]
    Public,
    /// Everyone who knows the id.
    Unlisted,
    /// The owner and administrators.
    Private,
}

/// A snippet.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Snippet {
    pub id: SnippetId,
    pub title: Title,
    pub content: Content,
    pub language: Language,
    pub tags: Tags,
    pub visibility: Visibility,
    pub owner: Profile,
    pub version: i64,
    pub views: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a new snippet is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    title: Title,
    content: Content,
    #[serde(default)]
    language: Language,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    visibility: Visibility,
}

/// Changes to a snippet; what is not given stays, and null brings back the default where there is one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default, deserialize_with = "kept")]
    #[schema(value_type = Title, required = false)]
    title: Option<Title>,
    #[serde(default, deserialize_with = "kept")]
    #[schema(value_type = Content, required = false)]
    content: Option<Content>,
    #[serde(default, deserialize_with = "or_default")]
    language: Option<Language>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Option<Tags>,
    #[serde(default, deserialize_with = "or_default")]
    visibility: Option<Visibility>,
}

/// A field that has no default to go back to.
fn kept<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(field)?.map(Some).ok_or_else(|| D::Error::custom("cannot be removed"))
}

/// A field that goes back to its default when it is removed.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    field: D,
) -> Result<Option<T>, D::Error> {
    Ok(Some(Option::deserialize(field)?.unwrap_or_default()))
}

/// Makes a snippet of the caller's.
pub async fn create(app: &App, tx: &mut WriteTx, caller: &Caller, draft: Draft) -> Result<Snippet> {
    let who = caller.require(Scope::Write)?;
    let now = app.clock.now();
    let snippet = Snippet {
        id: SnippetId(app.ids.next()),
        title: draft.title,
        content: draft.content,
        language: draft.language,
        tags: draft.tags,
        visibility: draft.visibility,
        owner: Profile { id: who.id, name: who.name.clone() },
        version: 1,
        views: 0,
        created_at: now,
        updated_at: now,
    };
    store::insert(tx.conn(), &snippet).await?;
    let data = Json::of(&snippet)?;
    let event =
        event(app, caller, "snippet_created", (snippet.id, snippet.owner.id, snippet.visibility), data)?;
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
    let (id, owner, visibility) = about;
    Ok(NewEvent {
        kind,
        topic: topic(id),
        feed: (visibility == Visibility::Public).then_some(FEED),
        audience: (visibility == Visibility::Private).then_some(owner.0),
        effect: None,
        actor: caller.actor()?,
        origin: caller.connection,
        data,
        at: app.clock.now(),
    })
}

fn gone(id: SnippetId) -> Result<Json> {
    Json::of(&serde_json::json!({ "id": id }))
}

/// The topic of one snippet.
#[must_use]
pub fn topic(id: SnippetId) -> String {
    format!("{FEED}:{id}")
}
