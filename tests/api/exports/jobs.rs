//! The jobs behind exports and imports: how they begin, are held, are given up, and end once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{begin, downloaded, durable_until, ended, exported, files, path};
use crate::support::{Database, Persona, TestApp, eventually, on_both_databases, path_of, run};

on_both_databases![
    a_job_can_be_cancelled_while_it_is_queued with ["--job-rate", "500"],
    a_job_can_be_cancelled_while_it_runs with ["--job-rate", "500"],
    nothing_of_a_job_comes_after_its_end with ["--job-rate", "500"],
    two_run_at_once with ["--job-rate", "500"],
    nobody_waits_for_all_jobs_of_another with ["--job-rate", "500"],
    progress_comes_each_second_and_at_most_ten_times with ["--job-rate", "1000"],
    a_job_survives_a_stop with ["--job-rate", "500"],
    a_worker_that_lost_its_job_ends_nothing with ["--job-rate", "1000"],
    a_job_that_is_begun_again_and_again_is_given_up with ["--job-rate", "1"],
    what_has_expired_is_removed,
    what_belongs_to_no_job_is_removed,
    an_archive_goes_with_its_account with ["--job-rate", "0"],
];

/// The folder in which this installation keeps its files.
fn folder_of(app: &TestApp) -> PathBuf {
    let mut folders = std::fs::read_dir(format!("{}/files", app.data_dir())).expect("the folder");
    let own = folders.next().expect("one for the installation").expect("an entry").path();
    assert!(folders.next().is_none(), "there is one installation");
    own
}

/// The names of all stored files.
pub fn files_of(app: &TestApp) -> Vec<String> {
    let entries = std::fs::read_dir(folder_of(app)).expect("the folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort_unstable();
    names
}

/// Loses all stored files.
pub fn remove_files(app: &TestApp) {
    for name in files_of(app) {
        std::fs::remove_file(folder_of(app).join(name)).expect("it is removed");
    }
}

/// So many snippets that an export takes two seconds for each at 500 bytes a second, and the first is free.
async fn has_slow_snippets(person: &Persona, count: usize) {
    for _ in 0..count {
        person.has_snippet(json!({ "content": "x".repeat(1_000) })).await;
    }
}

async fn status_of(person: &Persona, job: &Value) -> String {
    let job = person.get(&path("exports", job)).await.expect(200).json();
    job["status"].as_str().expect("a status").to_owned()
}

async fn running(person: &Persona, job: &Value) {
    eventually("the job runs", async || (status_of(person, job).await == "running").then_some(())).await;
}

/// All terminal events of somebody's jobs, from the beginning.
async fn ends(person: &Persona) -> Vec<(String, Value)> {
    let mut stream = person.subscribe("topics=exports,imports,custom:x&since=earliest").await;
    person.publish("custom:x", &json!({ "type": "marker", "data": 1 })).await.expect(202);
    let mut events = durable_until(&mut stream, "marker").await;
    events.pop();
    events.into_iter().map(|(kind, data)| (kind, data["id"].clone())).collect()
}

async fn a_job_can_be_cancelled_while_it_is_queued(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 20).await;
    let (first, second, third) = (begin(&ann).await, begin(&ann).await, begin(&ann).await);
    running(&ann, &second).await;
    let mut stream = ann.subscribe("topics=exports&types=export_cancelled").await;
    ann.delete(&path("exports", &third)).await.expect(204);
    let event = stream.next().await;
    assert_eq!((&event.data["id"], &event.data["status"]), (&third["id"], &json!("cancelled")));
    assert_eq!(event.envelope["actor"]["id"], ann.id);
    assert_eq!(ended(&ann, "exports", &third).await["finished_at"], app.now());
    ann.delete(&path("exports", &third)).await.expect(204);
    ann.get(&path("exports", &third)).await.problem(404, "not_found");
    for job in [&first, &second] {
        assert_eq!(status_of(&ann, job).await, "running");
        ann.delete(&path("exports", job)).await.expect(204);
    }
}

async fn a_job_can_be_cancelled_while_it_runs(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 20).await;
    let export = begin(&ann).await;
    running(&ann, &export).await;
    eventually("its file is begun", async || (!files_of(app).is_empty()).then_some(())).await;
    ann.delete(&path("exports", &export)).await.expect(204);
    assert_eq!(status_of(&ann, &export).await, "cancelled");
    eventually("the worker gives up and its file is gone", async || files_of(app).is_empty().then_some(()))
        .await;
    assert_eq!(status_of(&ann, &export).await, "cancelled");
    assert_eq!(ends(&ann).await, [("export_cancelled".to_owned(), export["id"].clone())]);
}

async fn nothing_of_a_job_comes_after_its_end(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 20).await;
    let mut stream = ann.subscribe("topics=exports,custom:x").await;
    for _ in 0..5 {
        let export = begin(&ann).await;
        stream.until("export_progress").await;
        stream.until("export_progress").await;
        ann.delete(&path("exports", &export)).await.expect(204);
        stream.until("export_cancelled").await;
        // Longer than progress ever waits.
        tokio::time::sleep(Duration::from_secs(1)).await;
        ann.publish("custom:x", &json!({ "type": "marker", "data": 1 })).await.expect(202);
        assert_eq!(stream.next().await.kind, "marker");
    }
}

async fn two_run_at_once(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 20).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(begin(&ann).await);
    }
    let statuses = async || {
        let mut statuses = Vec::new();
        for job in &jobs {
            statuses.push(status_of(&ann, job).await);
        }
        statuses
    };
    running(&ann, &jobs[1]).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(statuses().await, ["running", "running", "queued", "queued"]);
    }
    ann.delete(&path("exports", &jobs[0])).await.expect(204);
    running(&ann, &jobs[2]).await;
    assert_eq!(statuses().await, ["cancelled", "running", "running", "queued"]);
}

async fn nobody_waits_for_all_jobs_of_another(app: &TestApp) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    has_slow_snippets(&ann, 20).await;
    has_slow_snippets(&bob, 20).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(begin(&ann).await);
    }
    running(&ann, &jobs[1]).await;
    let of_bob = begin(&bob).await;
    ann.delete(&path("exports", &jobs[0])).await.expect(204);
    running(&bob, &of_bob).await;
    assert_eq!(status_of(&ann, &jobs[2]).await, "queued");
    // Of one who has none running, the oldest comes next.
    ann.delete(&path("exports", &jobs[1])).await.expect(204);
    running(&ann, &jobs[2]).await;
    assert_eq!(status_of(&ann, &jobs[3]).await, "queued");
}

async fn progress_comes_each_second_and_at_most_ten_times(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 6).await;
    let mut stream = ann.subscribe("topics=exports").await;
    let begun = Instant::now();
    let export = begin(&ann).await;
    let (mut told, mut processed, mut last, mut before) = (0, Value::from(0), begun, Duration::ZERO);
    let took = loop {
        let event = stream.next().await;
        let gap = std::mem::replace(&mut last, Instant::now()).elapsed();
        assert_eq!(event.data["id"], export["id"]);
        assert!(event.data["processed"].as_i64() >= processed.as_i64(), "{event:?}");
        processed = event.data["processed"].clone();
        if event.kind == "export_completed" {
            break begun.elapsed();
        }
        assert_eq!((event.kind.as_str(), event.id.is_none()), ("export_progress", true));
        assert!(event.data["progress"].as_i64() < Some(100), "{event:?}");
        // The first comes at once; a busy machine is given half a second more, and what was late the next is early.
        assert!(gap <= Duration::from_millis(1_500), "nothing for {gap:?}");
        assert!(told < 2 || before + gap >= Duration::from_millis(200), "two after {before:?} and {gap:?}");
        before = gap;
        told += 1;
    };
    let seconds = took.as_secs();
    assert!(seconds >= 5, "it was to take five seconds, and took {took:?}");
    assert!((seconds - 1..=(seconds + 1) * 10).contains(&told), "{told} times in {took:?}");
    assert_eq!(processed, 6);
}

async fn a_job_survives_a_stop(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 10).await;
    let jobs = [begin(&ann).await, begin(&ann).await, begin(&ann).await];
    running(&ann, &jobs[1]).await;
    app.restart_with(&["--job-rate", "0"]).await;
    for job in &jobs {
        let export = ended(&ann, "exports", job).await;
        assert_eq!(export["status"], "completed");
        assert_eq!(files(&downloaded(&ann, &export).await).len(), 11);
    }
    let mut ends = ends(&ann).await;
    ends.sort_by_key(|end| end.1.to_string());
    let expected = jobs.map(|job| ("export_completed".to_owned(), job["id"].clone()));
    assert_eq!(ends, expected);
}

/// The clock jumps beyond the lease while the worker lives, until the jump comes before the worker renews it: the job is
/// claimed a second time, and ends once, with the archive of the worker that holds it.
async fn a_worker_that_lost_its_job_ends_nothing(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 5).await;
    let export = begin(&ann).await;
    running(&ann, &export).await;
    let second = format!("export-{}-2.zip", uuid_of(&export));
    eventually("the job is claimed a second time", async || {
        app.clock.advance(Duration::from_secs(31));
        files_of(app).iter().any(|name| name.starts_with(&second)).then_some(())
    })
    .await;
    let export = ended(&ann, "exports", &export).await;
    assert_eq!(export["status"], "completed");
    assert_eq!(files(&downloaded(&ann, &export).await).len(), 6);
    assert_eq!(ends(&ann).await, [("export_completed".to_owned(), export["id"].clone())]);
    assert_eq!(files_of(app).len(), 1);
}

async fn a_job_that_is_begun_again_and_again_is_given_up(app: &TestApp) {
    let ann = app.user("ann").await;
    has_slow_snippets(&ann, 3).await;
    let export = begin(&ann).await;
    let path = path("exports", &export);
    let mut rounds = 0;
    let failed = loop {
        let export = ann.get(&path).await.expect(200).json();
        match export["status"].as_str() {
            Some("running") => app.clock.advance(Duration::from_secs(31)),
            Some("queued") => {}
            _ => break export,
        }
        rounds += 1;
        assert!(rounds < 5_000, "{export}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("gave_up")));
    assert_eq!(ends(&ann).await, [("export_failed".to_owned(), export["id"].clone())]);
}

async fn what_has_expired_is_removed(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    app.clock.advance(Duration::from_secs(12 * 3600));
    let younger = exported(&ann).await;
    assert_eq!(files_of(app).len(), 2);
    app.clock.advance(Duration::from_secs(12 * 3600));
    eventually("the older file is gone", async || (files_of(app).len() == 1).then_some(())).await;
    let gone = eventually("the older export is gone", async || {
        let answer = ann.get(&path("exports", &export)).await;
        (answer.status == 404).then_some(answer)
    });
    gone.await.problem(404, "not_found");
    downloaded(&ann, &younger).await;
}

/// A database that is silent about jobs must not keep what is written behind from being written.
#[test]
#[ignore = "needs PostgreSQL: tests/run starts one"]
fn postgres_other_work_does_not_wait_for_the_sweep() {
    run(Database::Postgres, &[], async |app| {
        let ann = app.user("ann").await;
        let snippet = path_of(&ann.has_snippet(json!({})).await);
        exported(&ann).await;
        app.stop().await;
        let silence = app.begin(&["LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"]).await;
        app.restart_with(&[]).await;
        ann.get(&snippet).await.expect(200);
        eventually("the view is written", async || {
            // Of the dashboard, which has only what is in the database.
            let dashboard = ann.get("/v1/dashboard").await.expect(200).json();
            (dashboard["views_today"]["value"] == 1).then_some(())
        })
        .await;
        silence.commit().await;
    });
}

async fn what_belongs_to_no_job_is_removed(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    let own = files_of(app);
    app.stop().await;
    let (old, new) = ("019b0000000070008000000000000001", uuid_of(&export));
    for name in [
        format!("export-{old}-1.zip"),
        format!("export-{old}-2.zip#1"),
        format!("export-{new}-7.zip#1"),
        format!("import-{old}.zip"),
        format!("import-{old}.zip#3"),
        "notes.txt".to_owned(),
    ] {
        std::fs::write(folder_of(app).join(name), "x").expect("a file");
    }
    app.clock.advance(Duration::from_secs(3600));
    app.restart_with(&[]).await;
    let expected = [own, vec!["notes.txt".to_owned()]].concat();
    eventually("only what is needed is left", async || (files_of(app) == expected).then_some(())).await;
    downloaded(&ann, &export).await;
}

fn uuid_of(job: &Value) -> String {
    job["id"].as_str().expect("an id").replace('-', "")
}

async fn an_archive_goes_with_its_account(app: &TestApp) {
    let ann = app.user("ann").await;
    let export = exported(&ann).await;
    let link = export["download_url"].as_str().expect("a link");
    ann.delete("/v1/me").await.expect(204);
    app.anonymous().get(link).await.problem(404, "not_found");
    app.restart_with(&[]).await;
    eventually("its file is gone", async || files_of(app).is_empty().then_some(())).await;
}
