//! Who finds what, and when.

use serde_json::json;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::{search, titles, titles_of};
use crate::support::{Database, TestApp, eventually, on_both_databases, path_of};

on_both_databases![
    only_what_one_may_see_listed_is_found,
    a_write_is_found_at_once,
    what_is_gone_is_found_no_more,
    what_was_written_before_there_was_an_index_is_found,
    public_reading_can_be_switched_off with ["--public-read", "false"],
];

async fn only_what_one_may_see_listed_is_found(app: &TestApp) {
    let (ann, bob, admin) = (app.user("ann").await, app.user("bob").await, app.admin().await);
    for visibility in ["public", "unlisted", "private"] {
        let fields = json!({ "title": visibility, "visibility": visibility, "content": "the secretword", "tags": ["x"] });
        ann.has_snippet(fields).await;
    }
    let by_ann = format!("&owner={}", ann.id);
    let all = &["private", "unlisted", "public"][..];
    let script = admin.with_scopes(&["read"]).await;
    for (person, filter, found) in [
        (&app.anonymous(), "", &["public"][..]),
        (&app.anonymous(), &by_ann, &["public"]),
        (&bob, "", &["public"]),
        (&bob, &by_ann, &["public"]),
        (&bob, "&owner=me", &[]),
        (&ann, "", all),
        (&ann, &by_ann, all),
        (&ann, "&owner=me", all),
        // As in lists: administrators see all of somebody whom they name.
        (admin, "", &["public"]),
        (admin, &by_ann, all),
        (&script, &by_ann, &["public"]),
    ] {
        // By word, beginning, piece, piece of code and typo; with the other filters, too.
        for text in ["secretword", "secr", "ecretwor", "the secretword", "e s", "secretwrod"] {
            for more in ["", "&tag=x", "&language=text"] {
                let page = search(person, text, &format!("{filter}{more}")).await.expect(200).json();
                assert_eq!(titles_of(&page), found, "{} {text} {filter}{more}", person.name);
            }
        }
    }
}

async fn a_write_is_found_at_once(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({ "title": "before", "content": "oldword" })).await);
    assert_eq!(titles(&bob, "oldword").await, ["before"]);
    for (change, word, title) in [
        (json!({ "content": "newword" }), "newword", "before"),
        (json!({ "title": "after" }), "after", "after"),
        (json!({ "tags": ["tagword"] }), "tagword", "after"),
    ] {
        assert!(titles(&bob, word).await.is_empty(), "{word}");
        ann.patch(&path, &change).await.expect(200);
        assert_eq!(titles(&bob, word).await, [title], "{word}");
    }
    for word in ["oldword", "before"] {
        assert!(titles(&bob, word).await.is_empty(), "{word}");
    }
    ann.patch(&path, &json!({ "language": "rust" })).await.expect(200);
    let page = search(&bob, "newword", "&language=rust").await.expect(200).json();
    assert_eq!(titles_of(&page), ["after"]);
}

async fn what_is_gone_is_found_no_more(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let path = path_of(&ann.has_snippet(json!({ "title": "T", "content": "word" })).await);
    for visibility in ["private", "public", "unlisted", "public"] {
        ann.patch(&path, &json!({ "visibility": visibility })).await.expect(200);
        assert_eq!(titles(&bob, "word").await.len(), usize::from(visibility == "public"), "{visibility}");
        assert_eq!(titles(&ann, "word").await.len(), 1, "{visibility}");
    }
    ann.delete(&path).await.expect(204);
    ann.has_snippet(json!({ "title": "Another", "content": "thing" })).await;
    for person in [&ann, &bob, app.admin().await] {
        assert!(titles(person, "word").await.is_empty());
    }
}

async fn what_was_written_before_there_was_an_index_is_found(app: &TestApp) {
    let ann = app.user("ann").await;
    for number in 0..120 {
        let visibility = if number == 0 { "private" } else { "public" };
        let content = format!("word{}", format!("{number:03}").repeat(3));
        ann.has_snippet(json!({ "title": visibility, "content": content, "visibility": visibility })).await;
    }
    app.stop().await;
    let (url, forget) = (app.database_url(), "DELETE FROM search_entries");
    match app.database {
        Database::Sqlite => {
            let mut conn = SqliteConnection::connect(&url).await.expect("a connection");
            sqlx::query(forget).execute(&mut conn).await.expect(forget);
            conn.close().await.expect("the connection closes");
        }
        Database::Postgres => {
            let mut conn = PgConnection::connect(&url).await.expect("a connection");
            sqlx::query(forget).execute(&mut conn).await.expect(forget);
        }
    }
    app.restart_with(&[]).await;
    eventually("everything is found again", async || {
        let mut found = 0;
        for word in ["word000000000", "word001001001", "word060060060", "word119119119"] {
            found += titles(&ann, word).await.len();
        }
        (found == 4).then_some(())
    })
    .await;
    assert!(titles(&app.anonymous(), "word000000000").await.is_empty());
}

async fn public_reading_can_be_switched_off(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({ "title": "word" })).await;
    search(&app.anonymous(), "word", "").await.problem(401, "unauthenticated");
    search(&ann.with_scopes(&["write"]).await, "word", "").await.problem(403, "insufficient_scope");
    assert_eq!(titles(&ann, "word").await, ["word"]);
}
