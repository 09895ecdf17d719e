//! The process is killed at random moments: every job ends, once, and its archive is whole.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use serde_json::{Value, json};

use super::{begin, downloaded, durable_until, ended, everything, files, upload, zipped};
use crate::support::{Persona, Process, TestApp, on_both_databases};

/// Sessions, history and archives outlive the leap from the test's clock to that of the system, and beyond.
const LASTING: [&str; 6] = ["--session-ttl", "36500d", "--history-age", "36500d", "--export-ttl", "36500d"];

on_both_databases![every_job_ends_once_whatever_is_killed with super::LASTING];

const ROUNDS: usize = 10;
/// How many snippets there are, of 1,000 bytes each: an export takes one second at this rate.
const SNIPPETS: usize = 200;
const RATE: &str = "200000";

fn archive(round: usize) -> Vec<u8> {
    let names: Vec<String> = (0..40).map(|number| format!("{number}.txt")).collect();
    let entries: Vec<Value> =
        names.iter().map(|name| json!({ "file": name, "title": format!("{round} {name}") })).collect();
    let manifest = json!({ "format": "snippetbox", "version": 1, "snippets": entries }).to_string();
    let content = "y".repeat(2_000);
    let mut files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), content.as_bytes())).collect();
    files.push(("manifest.json", manifest.as_bytes()));
    zipped(&files)
}

async fn every_job_ends_once_whatever_is_killed(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for _ in 0..SNIPPETS {
        ann.has_snippet(json!({ "content": "x".repeat(1_000) })).await;
    }
    app.stop().await;
    let (mut exports, mut imports) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = app.data_dir();
        let settings = [&LASTING[..], &["--data-dir", &folder, "--job-rate", RATE]].concat();
        let process = Process::start_with(&app.database_url(), &settings);
        let there = |person: &Persona| Persona { server: process.url.clone(), ..person.clone() };
        exports.push(begin(&there(&ann)).await);
        imports.push(upload(&there(&bob), archive(round)).await.expect(202).json());
        let moment = RandomState::new().hash_one(round) % 1_500;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        process.kill();
    }
    // The leases of the dead lie at the system's time, whatever that is.
    app.clock.advance(Duration::from_secs(50 * 365 * 24 * 3600));
    app.restart_with(&LASTING).await;
    for export in &exports {
        let export = ended(&ann, "exports", export).await;
        assert_eq!(export["status"], "completed", "{export}");
        assert_eq!(files(&downloaded(&ann, &export).await).len(), SNIPPETS + 1);
    }
    for import in &imports {
        assert_eq!(ended(&bob, "imports", import).await["status"], "completed");
    }
    let mut titles: Vec<String> = everything(&bob).await.iter().map(|it| it["title"].to_string()).collect();
    titles.sort_unstable();
    titles.dedup();
    assert_eq!((titles.len(), everything(&bob).await.len()), (ROUNDS * 40, ROUNDS * 40), "each snippet once");
    for (person, jobs, kind) in [(&ann, exports, "export_completed"), (&bob, imports, "import_completed")] {
        let mut stream = person.subscribe("topics=exports,imports,custom:x&since=earliest").await;
        person.publish("custom:x", &json!({ "type": "marker", "data": 1 })).await.expect(202);
        let mut ends: HashMap<String, Vec<String>> = HashMap::new();
        for (kind, data) in durable_until(&mut stream, "marker").await {
            ends.entry(data["id"].to_string()).or_default().push(kind);
        }
        for job in jobs {
            assert_eq!(ends.get(&job["id"].to_string()), Some(&vec![kind.to_owned()]), "{job}");
        }
    }
}
