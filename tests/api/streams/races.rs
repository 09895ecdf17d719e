//! Rights that end between the moment they were looked at and the moment the stream listens.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use snippetbox::clock::Clock;
use snippetbox::realtime::{
    ConnectionStream, Effect, Frame, Json, NewEvent, Opening, Start, Subscription, Viewer, Wishes, append,
};
use uuid::Uuid;

use crate::support::{Node, TestApp, eventually, on_both_databases};

on_both_databases![
    an_expulsion_between_the_check_and_the_opening_closes_the_topic,
    what_is_withdrawn_while_a_page_is_read_is_not_sent,
];

async fn start(app: &TestApp, ring_bytes: usize) -> Node {
    Node::on(app, Clock::system(), ring_bytes, Duration::ZERO).await
}

impl Node {
    /// Publishes events, each in a transaction of its own, and waits until the hub has delivered them.
    async fn publish(&self, events: impl IntoIterator<Item = NewEvent<'static>>) {
        let mut through = self.realtime.log.head();
        for event in events {
            let mut tx = self.db.write().await.expect("a transaction");
            append(&mut tx, event).await.expect("appended");
            tx.commit().await.expect("committed");
            through += 1;
        }
        eventually("the hub has heard of it", async || {
            let as_of = self.realtime.log.head();
            let (head, _) = self.listen(None, "custom:probe", Start::After(0), as_of);
            (head >= through).then_some(())
        })
        .await;
    }

    /// Opens a stream, and tells up to where the hub has delivered.
    fn listen(&self, user: Option<Uuid>, topic: &str, start: Start, as_of: u64) -> (u64, ConnectionStream) {
        let opening = Opening {
            viewer: Viewer { user, sees_all: false },
            subscriptions: vec![Subscription { key: topic.into(), guard: false, gathers: false }],
            wishes: Wishes::default(),
            profile: None,
            start,
            as_of,
            recalled: Vec::new(),
            expires_at: None,
        };
        let (now, mut head) = (Clock::system().now(), 0);
        let ready = |_: Uuid, place: u64| {
            head = place;
            Frame::notice("ready", now, &serde_json::Value::Null, None)
        };
        let stream = self.hub.open(opening, ready).expect("a stream");
        (head, stream)
    }
}

fn kind(frame: &Frame) -> String {
    let envelope: serde_json::Value = serde_json::from_slice(frame.envelope()).expect("JSON");
    envelope["type"].as_str().expect("a type").to_owned()
}

async fn an_expulsion_between_the_check_and_the_opening_closes_the_topic(app: &TestApp) {
    let node = start(app, 1 << 20).await;
    let (expelled, other, as_of) = (node.ids.next(), node.ids.next(), node.realtime.log.head());
    let expulsion = NewEvent { effect: Some(Effect::Expel(expelled)), ..event("expelled", "room:1", None) };
    node.publish([expulsion]).await;

    for (user, as_of, kinds) in [
        (expelled, as_of, vec!["ready", "topic_closed"]),
        (expelled, as_of + 1, vec!["ready"]),
        (other, as_of, vec!["ready"]),
    ] {
        let (_, mut stream) =
            node.listen(Some(user), "room:1", Start::Fresh(node.realtime.log.head()), as_of);
        let mut seen = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(50), stream.next()).await {
            seen.push(kind(&frame));
        }
        assert_eq!(seen, kinds, "as of {as_of}");
    }
    node.stop().await;
}

async fn what_is_withdrawn_while_a_page_is_read_is_not_sent(app: &TestApp) {
    // With next to nothing in memory, so that the page comes from the database.
    let node = start(app, 1).await;
    // The page is on its way for so many steps when the right ends.
    for steps in 0..8 {
        let (before, secret) = (node.realtime.log.head(), format!("snippets:{steps}"));
        let fed = |kind: &'static str, topic: &str| event(kind, topic, Some("snippets"));
        let others = || (0..3).map(|_| event("other", "custom:1", None));
        node.publish([fed("first", "snippets:a"), fed("secret", &secret)].into_iter().chain(others())).await;
        let (_, mut stream) = node.listen(None, "snippets", Start::After(before), node.realtime.log.head());
        let mut seen = vec![kind(&stream.next().await.expect("a frame"))];
        for _ in 0..steps {
            if let Some(frame) = stream.next().now_or_never() {
                seen.push(kind(&frame.expect("a frame")));
                break;
            }
            // What was asked of the database is answered meanwhile.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (audience, effect) = (Some(node.ids.next()), Some(Effect::Withdraw));
        let ending = NewEvent { audience, effect, ..event("hidden", &secret, None) };
        node.publish([ending, fed("last", "snippets:a")].into_iter().chain(others())).await;
        while seen.last().is_none_or(|kind| kind != "last") {
            let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
            seen.push(kind(&next.expect("in time").expect("a frame")));
        }
        assert_eq!(seen, ["ready", "first", "last"], "after {steps} steps");
    }
    node.stop().await;
}

fn event(kind: &'static str, topic: &str, feed: Option<&'static str>) -> NewEvent<'static> {
    NewEvent {
        kind,
        topic: topic.to_owned(),
        feed,
        audience: None,
        effect: None,
        actor: None,
        origin: None,
        data: Json::of(&()).expect("JSON"),
        at: Clock::system().now(),
    }
}
