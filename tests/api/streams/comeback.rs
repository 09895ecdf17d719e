//! A crowd that comes back after a restart: what all of them have missed is read once.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::place;
use crate::support::{EventStream, Persona, Process, TestApp, on_both_databases};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![what_a_crowd_has_missed_is_read_once with ["--session-ttl", "3650d"]];

const CROWD: usize = 50;
/// More than one page of the log.
const MISSED: usize = 600;

async fn what_a_crowd_has_missed_is_read_once(app: &TestApp) {
    let ann = app.user("ann").await;
    let cursor = ann.publish("custom:news", &json!({ "type": "told", "data": 0 })).await.expect(202).id();
    let write = |number| {
        let topic = if number % 3 == 0 { "custom:other" } else { "custom:news" };
        ann.publish(topic, &json!({ "type": "told", "data": number }))
    };
    for number in 1..=MISSED {
        write(number).await.expect(202);
    }
    app.settled().await;
    app.stop().await;
    let process = Process::start_with(&app.database_url(), &["--history-age", "36500d"]);
    let ann = Persona { server: process.url.clone(), ..ann };
    let head = ann.get("/v1/snippets").await.expect(200).header("snippetbox-cursor").to_owned();
    let query = format!("topics=custom:news&since={cursor}");
    let heard = async |mut stream: EventStream| {
        assert_eq!(stream.ready["replayed"], MISSED - MISSED / 3);
        let mut heard = Vec::new();
        while heard.len() < MISSED - MISSED / 3 {
            heard.push(stream.next().await.data);
        }
        heard
    };
    let crowd = join_all((0..CROWD).map(async |_| heard(ann.subscribe(&query).await).await)).await;
    let missed: Vec<_> = (1..=MISSED).filter(|number| number % 3 != 0).map(Value::from).collect();
    assert!(crowd.iter().all(|heard| *heard == missed), "nothing lost, nothing twice, in order");
    let read_back = ann.figure("snippetbox_log_read_back_total").await.expect("the figure");
    assert_eq!(read_back, place(&head) - place(&cursor));
    process.kill();
}
