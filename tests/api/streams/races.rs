//! Rights that end between the moment they were looked at and the moment the stream listens.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use snippetbox::clock::Clock;
use snippetbox::db::Db;
use snippetbox::id::Ids;
use snippetbox::realtime::{
    Bus, Effect, Frame, Hub, Json, NewEvent, Opening, Realtime, Rules, Start, Subscription, Tuning, Viewer,
    Wishes, append,
};
use uuid::Uuid;

use crate::support::{TestApp, eventually, on_both_databases};

on_both_databases![an_expulsion_between_the_check_and_the_opening_closes_the_topic];

async fn an_expulsion_between_the_check_and_the_opening_closes_the_topic(app: &TestApp) {
    let (db, clock) = (Db::open(&app.database_url(), 4).await.expect("the database"), Clock::system());
    let ids = Arc::new(Ids::new(clock.clone()));
    let tuning = Tuning {
        heartbeat: Duration::from_secs(15),
        drain: Duration::ZERO,
        ring_bytes: 1 << 20,
        max_streams: 10,
        roster: Rules { grace: Duration::ZERO, limit: 250 },
    };
    let node =
        Realtime::open(db.clone(), "test".to_owned(), clock.clone(), Arc::clone(&ids), tuning, Bus::Local);
    let node = node.await.expect("a node");
    let following = tokio::task::spawn_local({
        let node = Arc::clone(&node);
        async move { node.run().await }
    });
    let hub = Hub::start(&node);
    let (expelled, other, as_of) = (ids.next(), ids.next(), node.log.head());
    let mut tx = db.write().await.expect("a transaction");
    append(&mut tx, expulsion(expelled, &clock)).await.expect("appended");
    tx.commit().await.expect("committed");
    eventually("the hub has heard of it", async || (node.log.head() > as_of).then_some(())).await;
    tokio::task::yield_now().await;

    for (user, as_of, kinds) in [
        (expelled, as_of, vec!["ready", "topic_closed"]),
        (expelled, as_of + 1, vec!["ready"]),
        (other, as_of, vec!["ready"]),
    ] {
        let opening = Opening {
            viewer: Viewer { user: Some(user), sees_all: false },
            subscriptions: vec![Subscription { key: "room:1".into(), guard: false, gathers: false }],
            wishes: Wishes::default(),
            profile: None,
            start: Start::Fresh(node.log.head()),
            as_of,
            recalled: Vec::new(),
            expires_at: None,
        };
        let now = clock.now();
        let ready = |_: Uuid, _: u64| Frame::notice("ready", now, &serde_json::Value::Null, None);
        let mut stream = hub.open(opening, ready).expect("a stream");
        let mut seen = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(50), stream.next()).await {
            let envelope: serde_json::Value = serde_json::from_slice(frame.envelope()).expect("JSON");
            seen.push(envelope["type"].as_str().expect("a type").to_owned());
        }
        assert_eq!(seen, kinds, "as of {as_of}");
    }
    following.abort();
    db.close().await;
}

fn expulsion(user: Uuid, clock: &Clock) -> NewEvent<'static> {
    NewEvent {
        kind: "expelled",
        topic: "room:1".to_owned(),
        feed: None,
        audience: None,
        effect: Some(Effect::Expel(user)),
        actor: None,
        origin: None,
        data: Json::of(&()).expect("JSON"),
        at: clock.now(),
    }
}
