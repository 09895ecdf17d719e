//! The process is killed between a write and its delivery: whatever was acknowledged is there after the restart.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{PASSWORD, Persona, TestApp, on_both_databases};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![an_acknowledged_write_survives_kill_9 with ["--session-ttl", "3650d"]];

const ROUNDS: usize = 50;

/// The real program, as a process of its own on the test's database.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(database_url: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_snippetbox"))
            .args(["--listen", "127.0.0.1:0", "--log", "error", "--rate-limit", "0", "--sign-in-limit", "0"])
            .args(["--database-url", database_url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("a URL").to_owned();
        Self { child, url }
    }

    /// SIGKILL: nothing of the process runs any more.
    fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }
}

async fn an_acknowledged_write_survives_kill_9(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    let mut acknowledged: Vec<String> = Vec::new();
    let mut cursor = "earliest".to_owned();
    for round in 0..ROUNDS {
        let process = Process::start(&app.database_url());
        let ann = Persona { server: process.url.clone(), ..ann.clone() };
        let write = ann.post_snippet(&json!({ "title": format!("Round {round}"), "content": PASSWORD }));
        let snippet: Value = write.await.expect(201).json();
        process.kill();
        acknowledged.push(snippet["id"].as_str().expect("an id").to_owned());

        let process = Process::start(&app.database_url());
        let ann = Persona { server: process.url.clone(), ..ann };
        let mut stream = ann.subscribe(&format!("topics=snippets&since={cursor}")).await;
        let event = stream.until("snippet_created").await;
        assert_eq!(event.data["id"], snippet["id"], "round {round}: the event that was not yet delivered");
        cursor = event.id.expect("durable events have ids");
        ann.get(&format!("/v1/snippets/{}", acknowledged[round])).await.expect(200);
        process.kill();
    }
    let process = Process::start(&app.database_url());
    let ann = Persona { server: process.url.clone(), ..ann };
    let mut all = ann.subscribe("topics=snippets&since=earliest").await;
    for id in &acknowledged {
        assert_eq!(all.next().await.data["id"], *id, "each once, in order");
    }
    process.kill();
}
