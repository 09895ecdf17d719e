//! Archives on their way back.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    begin, downloaded, ended, everything, exported, files, imported,
    jobs::{files_of, remove_files},
    manifest, path, upload, zipped,
};
use crate::support::{Persona, TestApp, eventually, on_both_databases, path_of};

on_both_databases![
    what_was_exported_can_be_imported,
    an_archive_may_be_made_by_hand,
    followers_hear_of_imported_snippets,
    times_do_not_lie_in_the_future,
    an_interrupted_import_goes_on_where_it_was with ["--job-rate", "2000"],
    an_import_can_be_cancelled_before_it_writes with ["--job-rate", "500"],
    an_import_that_writes_is_carried_through with ["--job-rate", "2000"],
    the_upload_is_removed,
    an_import_whose_upload_is_gone_fails with ["--job-rate", "2000"],
];

async fn has_all_sorts_of_snippets(app: &TestApp, person: &Persona) {
    for (number, title) in ["../x", "CON", "same", "same", "\u{1F980}\0\u{2028}", "é".repeat(200).as_str()]
        .into_iter()
        .enumerate()
    {
        app.clock.advance(Duration::from_secs(1));
        let visibility = ["public", "unlisted", "private"][number % 3];
        let content = format!("{number}\0\r\n\u{feff}{}", "line\n".repeat(number * 1_000));
        let fields = json!({ "title": title, "content": content, "visibility": visibility, "language": "c++",
                             "tags": ["b", "a"] });
        let snippet = person.has_snippet(fields).await;
        app.clock.advance(Duration::from_secs(1));
        person.patch(&path_of(&snippet), &json!({ "tags": ["z"] })).await.expect(200);
    }
}

async fn what_was_exported_can_be_imported(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    has_all_sorts_of_snippets(app, &ann).await;
    let archive = downloaded(&ann, &exported(&ann).await).await;
    app.clock.advance(Duration::from_secs(60));
    let import = imported(&bob, archive.clone()).await;
    assert_eq!((&import["status"], &import["error"]), (&json!("completed"), &Value::Null));
    assert_eq!(
        (&import["processed"], &import["total"], &import["progress"]),
        (&json!(6), &json!(6), &json!(100))
    );
    assert_eq!(import["bytes"], archive.len());
    assert_eq!(everything(&bob).await, everything(&ann).await);
    // And once more round: the archives differ in nothing but ids and owner.
    let again = downloaded(&bob, &exported(&bob).await).await;
    let (mut before, mut after) = (files(&archive), files(&again));
    before.pop();
    after.pop();
    assert_eq!(before, after);
    let entries = |archive: &[u8]| {
        let mut entries = manifest(archive)["snippets"].as_array().expect("a list").clone();
        for entry in &mut entries {
            for field in ["id", "version", "views"] {
                entry.as_object_mut().expect("an entry").remove(field);
            }
        }
        entries
    };
    assert_eq!(entries(&archive), entries(&again));
}

async fn an_archive_may_be_made_by_hand(app: &TestApp) {
    let ann = app.user("ann").await;
    let manifest = json!({ "snippets": [{ "file": "b.rs", "title": "B" }, { "title": "A", "file": "a.txt" }],
                           "version": 1, "format": "snippetbox" });
    let manifest = manifest.to_string();
    let archive = zipped(&[("a.txt", b"one"), ("manifest.json", manifest.as_bytes()), ("b.rs", b"two")]);
    assert_eq!(imported(&ann, archive).await["status"], "completed");
    let all = everything(&ann).await;
    assert_eq!(all.len(), 2);
    for (snippet, title, content) in [(&all[0], "B", "two"), (&all[1], "A", "one")] {
        assert_eq!((&snippet["title"], &snippet["content"]), (&json!(title), &json!(content)));
        assert_eq!((&snippet["language"], &snippet["visibility"]), (&json!("text"), &json!("public")));
        assert_eq!((&snippet["created_at"], &snippet["updated_at"]), (&json!(app.now()), &json!(app.now())));
    }
}

async fn followers_hear_of_imported_snippets(app: &TestApp) {
    let ann = app.user("ann").await;
    let manifest = json!({ "format": "snippetbox", "version": 1, "snippets": [
        { "file": "a", "title": "Public" }, { "file": "b", "title": "Private", "visibility": "private" },
        { "file": "c", "title": "Another" },
    ] });
    let manifest = manifest.to_string();
    let archive = zipped(&[("a", b"1"), ("b", b"2"), ("c", b"3"), ("manifest.json", manifest.as_bytes())]);
    let mut feed = app.anonymous().subscribe("topics=snippets").await;
    let mut own = ann.subscribe("topics=imports").await;
    imported(&ann, archive).await;
    for title in ["Public", "Another"] {
        let event = feed.next().await;
        assert_eq!((event.kind.as_str(), &event.data["title"]), ("snippet_created", &json!(title)));
        assert_eq!(event.envelope["actor"]["id"], ann.id);
    }
    // So short a job may be over before it has told how far it is.
    let event = own.until("import_completed").await;
    assert_eq!((event.topic.as_deref(), &event.data["processed"]), (Some("imports"), &json!(3)));
}

async fn times_do_not_lie_in_the_future(app: &TestApp) {
    let ann = app.user("ann").await;
    let (past, future) = ("2020-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z");
    let now = app.now();
    for (created, updated, expected) in [
        (past, past, (past, past)),
        (past, future, (past, now.as_str())),
        (future, future, (now.as_str(), now.as_str())),
        (future, past, (past, past)),
    ] {
        let manifest = json!({ "format": "snippetbox", "version": 1, "snippets": [
            { "file": "a", "title": "T", "created_at": created, "updated_at": updated }] });
        let person = &ann.sign_in().await;
        imported(person, zipped(&[("a", b"x"), ("manifest.json", manifest.to_string().as_bytes())])).await;
        let all = everything(person).await;
        assert_eq!(all.len(), 1);
        assert_eq!((&all[0]["created_at"], &all[0]["updated_at"]), (&json!(expected.0), &json!(expected.1)));
        let page = person.get("/v1/snippets?owner=me").await.json();
        person.delete(&path_of(&page["data"][0])).await.expect(204);
    }
}

/// An archive of 100 snippets of 100 bytes: seven pieces, of which each takes 0.8 s at 2,000 bytes a second.
fn archive_of_100() -> Vec<u8> {
    let names: Vec<String> = (0..100).map(|number| format!("{number}.txt")).collect();
    let entries: Vec<Value> = names.iter().map(|name| json!({ "file": name, "title": name })).collect();
    let manifest =
        json!({ "format": "snippetbox", "version": 1, "snippets": entries, "count": 100 }).to_string();
    let content = "x".repeat(100);
    let mut files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), content.as_bytes())).collect();
    files.push(("manifest.json", manifest.as_bytes()));
    zipped(&files)
}

/// Waits until an import has written something, but not everything.
async fn writing(person: &Persona, import: &Value) {
    let path = path("imports", import);
    eventually("the import writes", async || {
        let import = person.get(&path).await.expect(200).json();
        assert_eq!(import["finished_at"], Value::Null, "it was to take longer: {import}");
        (import["processed"].as_i64() > Some(0)).then_some(())
    })
    .await;
}

async fn assert_each_once(person: &Persona) {
    let all = everything(person).await;
    let mut titles: Vec<&str> = all.iter().filter_map(|snippet| snippet["title"].as_str()).collect();
    titles.sort_unstable();
    titles.dedup();
    assert_eq!((all.len(), titles.len()), (100, 100));
}

async fn an_interrupted_import_goes_on_where_it_was(app: &TestApp) {
    let ann = app.user("ann").await;
    let import = upload(&ann, archive_of_100()).await.expect(202).json();
    writing(&ann, &import).await;
    app.restart_with(&["--job-rate", "2000"]).await;
    // A lease that is lost while the worker lives must not write anything twice either.
    writing(&ann, &import).await;
    app.clock.advance(Duration::from_secs(31));
    writing(&ann, &import).await;
    app.restart_with(&["--job-rate", "0"]).await;
    let import = ended(&ann, "imports", &import).await;
    assert_eq!((&import["status"], &import["processed"]), (&json!("completed"), &json!(100)));
    assert_each_once(&ann).await;
}

async fn an_import_can_be_cancelled_before_it_writes(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..20 {
        ann.has_snippet(json!({ "content": "x".repeat(1_000) })).await;
    }
    let exports = [begin(&ann).await, begin(&ann).await];
    let import = upload(&ann, archive_of_100()).await.expect(202).json();
    ann.delete(&path("imports", &import)).await.expect(204);
    assert_eq!(ended(&ann, "imports", &import).await["status"], "cancelled");
    for export in exports {
        ann.delete(&path("exports", &export)).await.expect(204);
    }
    eventually("nothing is left", async || files_of(app).is_empty().then_some(())).await;
    assert_eq!(everything(&ann).await.len(), 20);
}

async fn an_import_that_writes_is_carried_through(app: &TestApp) {
    let ann = app.user("ann").await;
    let import = upload(&ann, archive_of_100()).await.expect(202).json();
    writing(&ann, &import).await;
    ann.delete(&path("imports", &import)).await.problem(409, "conflict");
    app.restart_with(&["--job-rate", "0"]).await;
    assert_eq!(ended(&ann, "imports", &import).await["status"], "completed");
    assert_each_once(&ann).await;
    ann.delete(&path("imports", &import)).await.expect(204);
    ann.get(&path("imports", &import)).await.problem(404, "not_found");
    assert_each_once(&ann).await;
}

async fn the_upload_is_removed(app: &TestApp) {
    let ann = app.user("ann").await;
    for archive in [archive_of_100(), b"no archive".to_vec()] {
        imported(&ann, archive).await;
        eventually("the upload is gone", async || files_of(app).is_empty().then_some(())).await;
    }
}

async fn an_import_whose_upload_is_gone_fails(app: &TestApp) {
    let ann = app.user("ann").await;
    let begun = upload(&ann, archive_of_100()).await.expect(202).json();
    writing(&ann, &begun).await;
    app.stop().await;
    remove_files(app);
    app.restart_with(&["--job-rate", "2000"]).await;
    let import = ended(&ann, "imports", &begun).await;
    let written = everything(&ann).await.len();
    assert_eq!((&import["status"], &import["error"]["code"]), (&json!("failed"), &json!("upload_lost")));
    assert_eq!(import["processed"], written);
    let detail = format!("the uploaded archive is gone after {written} snippets were imported");
    assert_eq!(import["error"]["detail"], detail);
    // The same before anything was written.
    for _ in 0..2 {
        upload(&ann, archive_of_100()).await.expect(202);
    }
    let queued = upload(&ann, archive_of_100()).await.expect(202).json();
    app.stop().await;
    remove_files(app);
    app.restart_with(&[]).await;
    let import = ended(&ann, "imports", &queued).await;
    assert_eq!((&import["processed"], &import["error"]["code"]), (&json!(0), &json!("upload_lost")));
}
