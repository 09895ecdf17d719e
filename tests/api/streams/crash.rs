//! The process is killed between a write and its delivery: whatever was acknowledged is there after the restart.

use serde_json::{Value, json};

use crate::support::{PASSWORD, Persona, Process, TestApp, on_both_databases};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![an_acknowledged_write_survives_kill_9 with ["--session-ttl", "3650d"]];

const ROUNDS: usize = 50;

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
