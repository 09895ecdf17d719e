//! What an archive holds, and whether others can read it.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{begin, downloaded, ended, exported, exported_with, files, manifest};
use crate::support::{Database, TestApp, on_both_databases, run};

on_both_databases![
    hostile_titles_make_a_clean_archive,
    the_manifest_says_everything,
    filters_choose_what_is_exported,
    only_ones_own_snippets_are_exported,
    an_export_of_nothing_is_an_archive,
    an_export_tells_how_far_it_is with ["--job-rate", "50"],
    the_owner_is_notified,
];

fn hostile_titles() -> Vec<String> {
    let mut titles: Vec<String> = [
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\boot.ini",
        "C:\\CON",
        "CON",
        "con",
        "NUL.txt",
        "aux",
        "LPT1",
        "a/b",
        "a\\b",
        "a:b",
        ".",
        "..",
        "...",
        ".hidden",
        "trailing.",
        "trailing ",
        " leading",
        "-rf *",
        "$(touch x)",
        "`x`",
        "a\nb",
        "a\r\nb",
        "a\tb",
        "\0",
        "nul\0byte",
        "\u{7f}",
        "manifest.json",
        "MANIFEST.JSON",
        "\u{202e}gnp.exe",
        "مرحبا",
        "שלום",
        "\u{1F980}\u{1F980}",
        "e\u{301}",
        "é",
        "ﬁ",
        "İ",
        "ß",
        "SS",
        "Straße",
        "STRASSE",
        "%2e%2e%2f",
        "<script>",
        "\"quotes\"",
        "'",
        "?*|<>",
        "\u{feff}bom",
        "\u{2028}",
        "世界",
    ]
    .map(str::to_owned)
    .into();
    titles.extend(["x".repeat(200), "é".repeat(200), "\u{1F980}".repeat(200), "世".repeat(200)]);
    titles.extend(vec!["The same".to_owned(); 5]);
    titles.extend(["the same", "THE SAME", "The-Same"].map(str::to_owned));
    titles
}

async fn hostile_titles_make_a_clean_archive(app: &TestApp) {
    let ann = app.user("ann").await;
    let mut contents = Vec::new();
    for (number, title) in hostile_titles().into_iter().enumerate() {
        app.clock.advance(Duration::from_millis(1));
        let content = format!("{number}: {title}\r\n\0\u{1F980}");
        ann.has_snippet(json!({ "title": title, "content": content, "language": "rust" })).await;
        contents.push(content);
    }
    let archive = downloaded(&ann, &exported(&ann).await).await;
    let mut files = files(&archive);
    assert_eq!(files.pop().map(|last| last.0).as_deref(), Some("manifest.json"));
    assert_eq!(files.len(), contents.len());
    let mut seen = HashSet::new();
    for ((name, content), expected) in files.iter().zip(&contents) {
        assert_eq!(content, expected.as_bytes(), "{name}");
        assert!(name.len() <= 100, "{name}");
        assert!(name.starts_with(|first: char| first.is_ascii_digit()), "{name}");
        let stem = name.strip_suffix(".rs").expect("the extension of Rust");
        assert!(stem.chars().all(|c| c == '-' || c.is_alphanumeric()), "{name}");
        assert!(seen.insert(name.to_lowercase()) && !seen.contains(&name.to_uppercase()), "{name}");
    }
}

#[test]
#[ignore = "needs unzip and python3: tests/run has them"]
fn other_programs_read_what_was_exported() {
    run(Database::Sqlite, &[], other_programs_read_the_archive);
}

/// `unzip -t` and Python's `zipfile`.
async fn other_programs_read_the_archive(app: &TestApp) {
    const PYTHON: &str = "
import sys, zipfile, json
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
m = json.loads(z.read('manifest.json'))
assert m['version'] == 1 and m['count'] == len(m['snippets']) == len(z.namelist()) - 1
for s in m['snippets']: print(json.dumps([s['title'], z.read(s['file']).decode()]))";
    let ann = app.user("ann").await;
    let mut expected = Vec::new();
    for title in hostile_titles() {
        app.clock.advance(Duration::from_millis(1));
        let content = format!("{title}\n").repeat(20);
        ann.has_snippet(json!({ "title": title, "content": content })).await;
        expected.push(json!([title, content]));
    }
    let archive = downloaded(&ann, &exported(&ann).await).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.zip");
    std::fs::write(&path, archive).expect("the archive");
    let output = Command::new("unzip").arg("-tqq").arg(&path).env("LC_ALL", "C.UTF-8").output();
    let output = output.expect("unzip is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let output = Command::new("python3").args(["-c", PYTHON]).arg(&path).output();
    let output = output.expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(read, expected);
}

async fn the_manifest_says_everything(app: &TestApp) {
    let ann = app.user("ann").await;
    let fields =
        json!({ "title": "T \u{2028}\0", "language": "go", "tags": ["b", "a"], "visibility": "private" });
    let snippet = ann.has_snippet(fields).await;
    app.clock.advance(Duration::from_secs(5));
    let changed =
        ann.patch(&crate::support::path_of(&snippet), &json!({ "content": "package x" })).await.json();
    app.clock.advance(Duration::from_secs(5));
    let manifest = manifest(&downloaded(&ann, &exported(&ann).await).await);
    let mut entry = changed;
    let fields = entry.as_object_mut().expect("a snippet");
    fields.remove("content");
    fields.remove("owner");
    fields.insert("file".to_owned(), json!("000001-t.go"));
    assert_eq!(
        manifest,
        json!({
            "format": "snippetbox", "version": 1, "exported_at": app.now(), "count": 1,
            "owner": { "id": ann.id, "name": "ann" }, "snippets": [entry],
        })
    );
}

async fn filters_choose_what_is_exported(app: &TestApp) {
    let ann = app.user("ann").await;
    for (title, language, tag) in [("a", "rust", "web"), ("b", "go", "web"), ("c", "rust", "cli")] {
        ann.has_snippet(json!({ "title": title, "language": language, "tags": [tag] })).await;
        app.clock.advance(Duration::from_secs(60));
    }
    let since = app.clock.now().minus(Duration::from_secs(120)).to_string();
    for (filter, expected) in [
        (json!({}), &["a", "b", "c"][..]),
        (json!({ "language": "rust" }), &["a", "c"]),
        (json!({ "tag": "web" }), &["a", "b"]),
        (json!({ "updated_since": since }), &["b", "c"]),
        (json!({ "language": "rust", "updated_since": since }), &["c"]),
        (json!({ "language": "cobol" }), &[]),
    ] {
        let export = exported_with(&ann, filter.clone()).await;
        assert_eq!(
            (&export["total"], &export["processed"]),
            (&json!(expected.len()), &json!(expected.len()))
        );
        let manifest = manifest(&downloaded(&ann, &export).await);
        let titles = manifest["snippets"].as_array().expect("a list").iter().map(|entry| &entry["title"]);
        assert!(titles.eq(expected), "{filter}: {manifest}");
    }
}

async fn only_ones_own_snippets_are_exported(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for visibility in ["public", "unlisted", "private"] {
        ann.has_snippet(json!({ "title": visibility, "visibility": visibility })).await;
        bob.has_snippet(json!({ "title": "of bob", "visibility": visibility })).await;
    }
    for person in [&ann, app.admin().await] {
        let manifest = manifest(&downloaded(person, &exported(person).await).await);
        let own = if person.id == ann.id { 3 } else { 0 };
        assert_eq!(manifest["count"], own);
    }
}

async fn an_export_of_nothing_is_an_archive(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    assert_eq!((&export["progress"], &export["total"]), (&json!(100), &json!(0)));
    assert_eq!(manifest(&downloaded(&ann, &export).await)["snippets"], json!([]));
}

async fn an_export_tells_how_far_it_is(app: &TestApp) {
    let ann = app.user("ann").await;
    for _ in 0..3 {
        ann.has_snippet(json!({})).await;
    }
    let mut stream = ann.subscribe("topics=exports").await;
    let begun = begin(&ann).await;
    assert_eq!((&begun["status"], &begun["progress"]), (&json!("queued"), &json!(0)));
    for field in ["total", "error", "finished_at", "expires_at", "download_url"] {
        assert_eq!(begun[field], Value::Null, "{field}");
    }
    let first = stream.next().await;
    assert_eq!((first.kind.as_str(), &first.data["status"]), ("export_progress", &json!("running")));
    assert_eq!((first.topic.as_deref(), &first.data["id"]), (Some("exports"), &begun["id"]));
    let last = stream.until("export_completed").await;
    assert_eq!(last.topic.as_deref(), Some("exports"));
    let export = ended(&ann, "exports", &begun).await;
    assert_eq!(last.data, export, "the event says what GET says");
    assert_eq!((&export["status"], &export["processed"]), (&json!("completed"), &json!(3)));
    assert_eq!(export["expires_at"], app.in_future(Duration::from_secs(24 * 3600)));
    assert_eq!(export["bytes"], downloaded(&ann, &export).await.len());
    assert_eq!(ann.get("/v1/exports").await.json()["data"], json!([export]));
}

async fn the_owner_is_notified(app: &TestApp) {
    let ann = app.user("ann").await;
    ann.has_snippet(json!({})).await;
    let mut stream =
        ann.subscribe("topics=notifications,exports&types=notification_created,export_completed").await;
    let export = exported(&ann).await;
    let (ended, told) = (stream.next().await, stream.next().await);
    assert_eq!((ended.kind.as_str(), told.kind.as_str()), ("export_completed", "notification_created"));
    let notification = &ann.get("/v1/notifications").await.expect(200).json()["data"][0];
    assert_eq!(notification["id"], told.data["id"]);
    assert_eq!(notification["kind"], "export_completed");
    assert_eq!(notification["message"], "The export of 1 snippet is ready");
    let link = notification["link"].as_str().expect("a link");
    assert_eq!(ann.get(link).await.expect(200).json(), export);
}
