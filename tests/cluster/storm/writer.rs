//! Somebody who writes, and tries again at another node until the write is acknowledged.

use std::rc::Rc;
use std::time::Duration;

use super::{Storm, TOPICS, Written, event, place, topic};
use crate::support::Random;

/// How long an answer may take before the writer asks another node.
const PATIENCE: Duration = Duration::from_secs(4);
/// The pause between two writes.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn write(storm: Rc<Storm>, writer: u64, mut random: Random) {
    let mut number = 0;
    while storm.writing.get() {
        let topic = topic(random.below(TOPICS));
        let key = format!("storm-{writer}-{number}");
        while !try_once(&storm, &topic, writer, number, &key, &mut random).await {
            tokio::time::sleep(PAUSE).await;
        }
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn try_once(
    storm: &Storm,
    topic: &str,
    writer: u64,
    number: u64,
    key: &str,
    random: &mut Random,
) -> bool {
    let person = storm.anywhere(random);
    let request = person
        .client
        .post(format!("{}/v1/topics/{topic}/events", person.server))
        .bearer_auth(person.token())
        .header("Idempotency-Key", key)
        .timeout(PATIENCE)
        .json(&event(writer, number));
    let Ok(response) = request.send().await else { return false };
    let status = response.status().as_u16();
    // Away, busy, or the first try is still running.
    assert!([202, 409, 503, 507].contains(&status), "{status} for {key}");
    let Ok(answer) = response.json::<serde_json::Value>().await else { return false };
    if status != 202 {
        return false;
    }
    let id = answer["id"].as_str().expect("an id");
    storm.acknowledged.borrow_mut().insert(place(id), Written { topic: topic.to_owned(), writer, number });
    true
}
