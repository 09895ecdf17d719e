//! Copies of a database: made while it is written to, put back, and told from the original by everyone who resumes.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Database, Persona, Process, TestApp, as_admin, eventually, on_both_databases, run_to_its_end,
};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![
    after_a_restore_no_cursor_of_the_lost_future_resumes with ["--session-ttl", "3650d"],
];

/// Where a copy is kept: a file beside the database, or another database of the same server.
struct Copy {
    database: Database,
    url: String,
    file: PathBuf,
}

impl Copy {
    fn of(app: &TestApp, folder: &Path) -> Self {
        Self { database: app.database, url: app.database_url(), file: folder.join("copy.db") }
    }

    fn name(&self) -> &str {
        self.url.rsplit('/').next().expect("the name of the database")
    }

    fn run(&self, command: &[&str]) -> (Option<i32>, String) {
        run_to_its_end(&[command, &["--database-url", &self.url]].concat(), &[])
    }

    fn file(&self) -> &str {
        self.file.to_str().expect("text")
    }

    /// Copies while the server runs and is written to, where the program itself does it.
    async fn take(&self, process: Process) -> Process {
        match self.database {
            Database::Sqlite => {
                assert_eq!(self.run(&["backup", self.file()]), (Some(0), String::new()));
                let (code, said) = self.run(&["backup", self.file()]);
                assert!(code == Some(2) && said.contains("exists already"), "{code:?} {said}");
                process
            }
            Database::Postgres => {
                let (code, said) = self.run(&["backup", self.file()]);
                assert!(code == Some(2) && said.contains("pg_dump"), "{code:?} {said}");
                process.kill();
                as_admin(&format!("CREATE DATABASE {}_copy TEMPLATE {0}", self.name())).await;
                Process::start(&self.url)
            }
        }
    }

    /// Puts the copy back, after every attempt that must be refused was.
    async fn put_back(&self, process: Process) {
        let command: &[&str] = match self.database {
            Database::Sqlite => &["restore", self.file(), "--force"],
            Database::Postgres => &["new-epoch"],
        };
        let (code, said) = self.run(command);
        assert!(code == Some(2) && said.contains("stop it first"), "a server runs: {code:?} {said}");
        process.kill();
        if self.database == Database::Sqlite {
            let (code, said) = self.run(&["restore", self.file()]);
            assert!(code == Some(2) && said.contains("--force"), "it exists: {code:?} {said}");
        } else {
            as_admin(&format!("DROP DATABASE {} WITH (FORCE)", self.name())).await;
            as_admin(&format!("ALTER DATABASE {0}_copy RENAME TO {0}", self.name())).await;
        }
        // PostgreSQL needs a moment to notice that the process with its connections is gone.
        eventually("it is put back", async || (self.run(command) == (Some(0), String::new())).then_some(()))
            .await;
    }
}

async fn titles(ann: &Persona) -> Vec<String> {
    let page = ann.get("/v1/snippets?limit=100&sort=title").await.expect(200).json();
    let title = |snippet: &Value| snippet["title"].as_str().expect("a title").to_owned();
    page["data"].as_array().expect("a page").iter().map(title).collect()
}

async fn cursor(ann: &Persona) -> String {
    ann.get("/v1/snippets").await.expect(200).header("snippetbox-cursor").to_owned()
}

async fn after_a_restore_no_cursor_of_the_lost_future_resumes(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let copy = Copy::of(app, folder.path());
    let process = Process::start(&copy.url);
    let at = |process: &Process| Persona { server: process.url.clone(), ..ann.clone() };
    let ann = at(&process);
    ann.has_snippet(json!({ "title": "Kept" })).await;
    let older =
        eventually("it has its place", async || Some(cursor(&ann).await).filter(|c| c.ends_with(".1"))).await;
    let writing = join_all((0..20).map(|n| ann.has_snippet(json!({ "title": format!("Meanwhile {n:02}") }))));
    let (process, ()) = tokio::join!(copy.take(process), async {
        if app.database == Database::Sqlite {
            writing.await;
        }
    });
    let ann = at(&process);
    for number in 0..5 {
        ann.has_snippet(json!({ "title": format!("Lost {number}") })).await;
    }
    let newer = cursor(&ann).await;
    let before = titles(&ann).await;

    copy.put_back(process).await;
    let process = Process::start(&copy.url);
    let ann = at(&process);
    let restored = titles(&ann).await;
    assert!(restored.contains(&"Kept".to_owned()) && !restored.iter().any(|title| title.starts_with("Lost")));
    assert!(restored.iter().all(|title| before.contains(title)), "nothing but what was there: {restored:?}");
    // So many that the places of the lost future are taken again, by other events.
    for number in 0..40 {
        ann.has_snippet(json!({ "title": format!("New {number}") })).await;
    }
    for old in [&older, &newer] {
        let mut stream = ann.subscribe(&format!("topics=snippets&since={old}")).await;
        assert_eq!(stream.ready["resume"], "gap", "{old} is of another epoch");
        let reset = stream.next().await;
        assert_eq!((reset.kind.as_str(), &reset.data["cursor"]), ("reset", &stream.ready["cursor"]));
    }
    let now = cursor(&ann).await;
    let mut stream = ann.subscribe(&format!("topics=snippets&since={now}")).await;
    assert_eq!(stream.ready["resume"], "resumed");
    ann.has_snippet(json!({ "title": "And on" })).await;
    stream.until("snippet_created").await;
    process.kill();
}

#[test]
fn only_a_copy_of_a_database_of_ours_is_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let url = format!("sqlite://{}", path("new/snippetbox.db"));
    let restore = |file: &str| run_to_its_end(&["restore", file, "--database-url", &url], &[]);
    std::fs::write(path("empty"), "").expect("written");
    std::fs::write(path("text"), "This is not a database. ".repeat(100)).expect("written");
    for name in ["empty", "text", "nothing"] {
        let (code, said) = restore(&path(name));
        assert!(
            code == Some(2) && said.contains("is not a database of snippetbox"),
            "{name}: {code:?} {said}"
        );
        assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
        let left = std::fs::read_dir(folder.path().join("new")).expect("the folder").count();
        assert_eq!(left, 0, "nothing is left behind of {name}");
    }
    let (code, said) = run_to_its_end(&["new-epoch", "--database-url", &url], &[]);
    assert!(code == Some(2) && said.contains("snippetbox.db"), "{code:?} {said}");
    let (code, said) = run_to_its_end(&["backup"], &[]);
    assert!(code == Some(2) && said.contains("which FILE"), "{code:?} {said}");
}

#[test]
fn a_broken_database_can_be_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (good, broken) = (format!("sqlite://{}", path("good.db")), format!("sqlite://{}", path("broken.db")));
    let run = |arguments: &[&str]| run_to_its_end(arguments, &[]);
    let done = (Some(0), String::new());
    Process::start(&good).kill();
    assert_eq!(run(&["backup", &path("copy.db"), "--database-url", &good]), done);
    for rest in ["broken.db", "broken.db-wal"] {
        std::fs::write(path(rest), "What a dying disk has left of it. ".repeat(1_000)).expect("written");
    }
    let restored =
        run(&["restore", &path("copy.db"), "--force", "--log", "error", "--database-url", &broken]);
    assert_eq!(restored, done);
    assert_eq!(run(&["migrate", "--database-url", &broken]), done);
}
