//! Archives that mean no good, and such as are simply wrong: refused with a reason, and nothing is imported.

use serde_json::{Value, json};

use super::{everything, imported, jobs::files_of, zipped};
use crate::support::{TestApp, eventually, on_both_databases};

on_both_databases![
    wrong_archives_are_refused,
    wrong_manifests_are_refused,
    wrong_snippets_are_refused,
    bombs_do_not_go_off with ["--import-limit", "1000000"],
];

/// Imports each archive and expects that it is refused with these words, and that nothing else happens.
async fn assert_refused(app: &TestApp, archives: Vec<(Vec<u8>, &str)>) {
    let ann = app.user("ann").await;
    let mut feed = app.anonymous().subscribe("topics=snippets").await;
    for (archive, reason) in archives {
        let import = imported(&ann, archive).await;
        assert_eq!(import["status"], "failed", "{reason}: {import}");
        assert_eq!(import["error"]["code"], "invalid_archive", "{import}");
        let detail = import["error"]["detail"].as_str().expect("a detail");
        assert!(detail.contains(reason), "{reason:?} is not in {detail:?}");
        let path = super::path("imports", &import);
        ann.delete(&path).await.expect(204);
    }
    assert_eq!(everything(&ann).await, Vec::<Value>::new());
    ann.has_snippet(json!({ "title": "marker" })).await;
    assert_eq!(feed.next().await.data["title"], "marker", "nobody has heard of anything else");
    eventually("no file is left", async || files_of(app).is_empty().then_some(())).await;
}

fn manifest_of(snippets: &Value) -> String {
    json!({ "format": "snippetbox", "version": 1, "snippets": snippets }).to_string()
}

/// A right snippet first, so that there would be something to import.
fn with_entry(entry: &Value, file: (&str, &[u8])) -> Vec<u8> {
    let manifest = manifest_of(&json!([{ "file": "good", "title": "Good" }, entry]));
    zipped(&[("good", b"good"), file, ("manifest.json", manifest.as_bytes())])
}

async fn wrong_archives_are_refused(app: &TestApp) {
    let good = with_entry(&json!({ "file": "a", "title": "T" }), ("a", b"content of a"));
    let mut damaged = good.clone();
    // In the middle of the second file's bytes, behind its header of 30 bytes and its name.
    let at = good.windows(4).enumerate().filter(|window| window.1 == b"PK\x03\x04").nth(1).expect("a file").0;
    damaged[at + 30 + 1 + 5] ^= 8;
    let escape = |name: &str| with_entry(&json!({ "file": name, "title": "T" }), (name, b"x"));
    let mut swollen = good.clone();
    swollen.splice(0..0, b"#!/bin/sh\n".iter().copied());
    assert_refused(
        app,
        vec![
            (Vec::new(), "no ZIP archive"),
            (b"PK\x03\x04 and no more".to_vec(), "no ZIP archive"),
            (good[..good.len() - 1].to_vec(), "no ZIP archive"),
            (good[..good.len() / 2].to_vec(), "no ZIP archive"),
            (good[10..].to_vec(), "not where it should be"),
            (swollen, "not where it should be"),
            (damaged, "damaged"),
            (zipped(&[]), "no file \"manifest.json\""),
            (zipped(&[("a", b"x")]), "no file \"manifest.json\""),
            (escape("../../etc/passwd"), "no plain name"),
            (escape("/etc/passwd"), "no plain name"),
            (escape("folder/file"), "no plain name"),
            (escape("..\\file"), "no plain name"),
            (escape("C:file"), "no plain name"),
        ],
    )
    .await;
}

async fn wrong_manifests_are_refused(app: &TestApp) {
    let archive = |manifest: &str| zipped(&[("good", b"good"), ("manifest.json", manifest.as_bytes())]);
    let whole = manifest_of(&json!([{ "file": "good", "title": "Good" }]));
    let changed = |from: &str, to: &str| archive(&whole.replace(from, to));
    assert_refused(
        app,
        vec![
            (archive(""), "EOF"),
            (archive("[]"), "invalid"),
            (archive("{}"), "must say"),
            (archive(&whole[..whole.len() - 1]), "EOF"),
            (archive(&format!("{whole} x")), "trailing"),
            (changed("snippetbox", "another"), "must say"),
            (changed("\"version\":1", "\"version\":2"), "its version is 2, and this server knows 1"),
            (changed("\"version\":1", "\"version\":\"1\""), "invalid type"),
            (changed("\"version\":1", "\"version\":1,\"version\":1"), "duplicate field"),
            (changed("\"snippets\"", "\"snippet\""), "unknown field `snippet`"),
            (changed("\"version\":1", "\"version\":1,\"count\":2"), "it says 2 snippets and lists 1"),
            (archive(r#"{"format":"snippetbox","version":1}"#), "missing field `snippets`"),
            (archive(&manifest_of(&json!([]))), "\"good\", of which the manifest says nothing"),
            (archive(&manifest_of(&json!({}))), "invalid type"),
        ],
    )
    .await;
}

async fn wrong_snippets_are_refused(app: &TestApp) {
    let entry = |fields: Value| {
        let mut entry = json!({ "file": "a", "title": "T" });
        entry.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        with_entry(&entry, ("a", b"x"))
    };
    let content = |content: &[u8]| with_entry(&json!({ "file": "a", "title": "T" }), ("a", content));
    assert_refused(
        app,
        vec![
            (entry(json!({ "title": "" })), "1 to 200 characters"),
            (entry(json!({ "title": "x".repeat(201) })), "1 to 200 characters"),
            (entry(json!({ "language": "Rust!" })), "must begin with one of a-z"),
            (entry(json!({ "tags": ["A B"] })), "must be 1 to 32 of"),
            (entry(json!({ "tags": ["a", "a"] })), "different tags"),
            (entry(json!({ "visibility": "secret" })), "unknown variant"),
            (entry(json!({ "created_at": "yesterday" })), "invalid characters"),
            (entry(json!({ "colour": "red" })), "unknown field `colour`"),
            (entry(json!({ "file": "b" })), "no file \"b\""),
            (entry(json!({ "file": "good" })), "named twice"),
            (entry(json!({ "file": "manifest.json" })), "cannot be the manifest"),
            (content(b""), "must have 1 to 524288 bytes"),
            (content(&vec![b'x'; 524_289]), "at most 524288"),
            (content(b"\xff\xfe"), "no text in UTF-8"),
        ],
    )
    .await;
}

async fn bombs_do_not_go_off(app: &TestApp) {
    let names: Vec<String> = (0..21).map(|number| format!("{number}")).collect();
    let zeros = vec![0; 512 << 10];
    let large: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), zeros.as_slice())).collect();
    let text = format!("{{\"format\":\"snippetbox\",\"version\":1,\"x\":\"{}\"}}", "x".repeat(9 << 20));
    let many: Vec<String> = (0..10_000).map(|number| format!("{number}")).collect();
    let tags = json!([{ "file": "a", "title": "T", "tags": many }]);
    let deep = "[".repeat(100_000);
    assert_refused(
        app,
        vec![
            (zipped(&large), "at most 10000000 are allowed"),
            (zipped(&[("manifest.json", text.as_bytes())]), "too large"),
            (zipped(&[("manifest.json", manifest_of(&tags).as_bytes())]), "too large"),
            (zipped(&[("manifest.json", deep.as_bytes())]), "invalid type"),
            (zipped(&[("manifest.json", format!("{{\"snippets\":{deep}").as_bytes())]), "manifest.json"),
        ],
    )
    .await;
}
