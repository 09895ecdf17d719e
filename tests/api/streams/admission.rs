//! Streams are let in a few at a time, and whoever is in takes nobody's place.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Persona, Process, TestApp, eventually, on_both_databases};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![who_waits_for_news_keeps_nobody_from_coming_in with ["--session-ttl", "3650d"]];

/// More than are let in at once.
const CROWD: u64 = 300;

async fn who_waits_for_news_keeps_nobody_from_coming_in(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    let process = Process::start(&app.database_url());
    let ann = Persona { server: process.url.clone(), ..ann };
    let path = "/v1/events?topics=snippets&wait=60";
    let polls = join_all((0..CROWD).map(async |_| {
        let page = ann.get(path).header("Accept", "application/json").await.expect(200).json();
        assert_eq!(page["data"][0]["data"]["title"], "News");
    }));
    let listen = async {
        let waiting = async || ann.figure("snippetbox_stream_connections").await;
        let all_wait = async || (waiting().await == Some(CROWD)).then_some(());
        eventually("all of them wait", all_wait).await;
        let streams = join_all((0..CROWD).map(|_| ann.subscribe("topics=snippets"))).await;
        ann.has_snippet(json!({ "title": "News" })).await;
        for mut stream in streams {
            assert_eq!(stream.next().await.data["title"], "News");
        }
    };
    tokio::join!(polls, listen);
    process.kill();
}
