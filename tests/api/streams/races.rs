//! Rights that end between the moment they were looked at and the moment the stream listens.

use std::{rc::Rc, time::Duration};

use futures_util::future::try_join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use snippetbox::clock::Clock;
use snippetbox::realtime::{
    ConnectionStream, Effect, Frame, Hub, Json, NewEvent, Opening, Start, Subscription, TopicChange, Viewer,
    Wishes, append,
};
use tokio::task::LocalSet;
use uuid::Uuid;

use crate::support::{Node, TestApp, eventually, on_both_databases};

on_both_databases![
    an_expulsion_between_the_check_and_the_opening_closes_the_topic,
    who_was_let_in_again_before_a_hub_hears_of_the_expulsion_stays,
    who_catches_up_is_told_nothing_behind_the_end_of_a_right,
    what_is_withdrawn_while_a_page_is_read_is_not_sent,
];

/// What every stream here stands on.
const CREDENTIAL: &str = "credential@1";

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
            let (_, head, _) = listen(&self.hub, None, "custom:probe", Start::After(0), as_of);
            (head >= through).then_some(())
        })
        .await;
    }
}

/// Opens a stream, and tells its name and up to where the hub has delivered.
fn listen(
    hub: &Rc<Hub>,
    user: Option<Uuid>,
    topic: &str,
    start: Start,
    as_of: u64,
) -> (Uuid, u64, ConnectionStream) {
    let opening = Opening {
        viewer: Viewer { user, sees_all: false },
        subscriptions: vec![
            Subscription { key: topic.into(), guard: false, gathers: false },
            Subscription { key: CREDENTIAL.into(), guard: true, gathers: false },
        ],
        wishes: Wishes::default(),
        profile: None,
        start,
        as_of,
        recalled: Vec::new(),
        expires_at: None,
    };
    let (now, mut opened) = (Clock::system().now(), (Uuid::nil(), 0));
    let ready = |id: Uuid, place: u64| {
        opened = (id, place);
        Frame::notice("ready", now, &serde_json::Value::Null, None)
    };
    let stream = hub.open(opening, ready).expect("a stream");
    (opened.0, opened.1, stream)
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
        let head = node.realtime.log.head();
        let (_, _, mut stream) = listen(&node.hub, Some(user), "room:1", Start::Fresh(head), as_of);
        let mut seen = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(50), stream.next()).await {
            seen.push(kind(&frame));
        }
        assert_eq!(seen, kinds, "as of {as_of}");
    }
    node.stop().await;
}

async fn who_was_let_in_again_before_a_hub_hears_of_the_expulsion_stays(app: &TestApp) {
    // Once it may run, the hub takes changes and events in any order.
    for _ in 0..16 {
        let node = start(app, 1 << 20).await;
        let user = node.ids.next();
        let worker = LocalSet::new();
        let hub = {
            let _entered = worker.enter();
            Hub::start(&node.realtime)
        };
        let before = node.realtime.log.head();
        let [(_, _, mut lost), (has_lost, _, mut added_anew)] =
            [(); 2].map(|()| listen(&hub, Some(user), "room:1", Start::After(before), before));
        let expulsion = Effect::Expel(user);
        node.publish([NewEvent { effect: Some(expulsion), ..event("expelled", "room:1", None) }]).await;
        let now = node.realtime.log.head();
        let (_, _, mut again) = listen(&hub, Some(user), "room:1", Start::Fresh(now), now);
        let (has_none, _, mut added) = listen(&hub, Some(user), "custom:own", Start::Fresh(now), before);
        let change = |connection| TopicChange {
            connection,
            user: Some(user),
            as_of: now,
            add: vec![Subscription { key: "room:1".into(), guard: false, gathers: false }],
            profile: None,
            remove: Vec::new(),
            renew: None,
        };
        let changes = [has_none, has_lost].map(|connection| node.realtime.change(change(connection)));
        let mut changes = Box::pin(try_join_all(changes));
        assert!((&mut changes).now_or_never().is_none(), "they wait for the hub, as the expulsion does");
        worker
            .run_until(async {
                changes.await.expect("changed");
                node.publish([event("said", "room:1", None)]).await;
                for (stream, kinds) in [
                    (&mut again, &["ready", "said"][..]),
                    (&mut added, &["ready", "topics", "said"]),
                    (&mut added_anew, &["ready", "topic_closed", "topics", "said"]),
                    (&mut lost, &["ready", "topic_closed"]),
                ] {
                    let mut seen = Vec::new();
                    while seen.len() < kinds.len() {
                        let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
                        seen.push(kind(&next.expect("in time").expect("a frame")));
                        seen.retain(|kind| kind != "expelled"); // Whoever is back may read it.
                    }
                    assert_eq!(seen, kinds);
                }
            })
            .await;
        drop((lost, again, added, added_anew));
        node.stop().await;
    }
}

/// While a hub goes over many listeners, those who catch up have their turn.
async fn who_catches_up_is_told_nothing_behind_the_end_of_a_right(app: &TestApp) {
    let user = Uuid::from_u128(1);
    for (topic, effect, last) in
        [("room:1", Effect::Expel(user), "topic_closed"), (CREDENTIAL, Effect::End, "closing")]
    {
        catch_up_beyond(app, user, NewEvent { effect: Some(effect), ..event("ended", topic, None) }, last)
            .await;
    }
}

/// Has a stream catch up while the hub delivers the end of its right among others; `last` is the last it is told.
async fn catch_up_beyond(app: &TestApp, user: Uuid, ending: NewEvent<'static>, last: &str) {
    let node = start(app, 1 << 20).await;
    // More than a queue holds, so that the stream has still to catch up when the right ends.
    let large =
        |_| NewEvent { data: Json::of(&"x".repeat(30_000)).expect("JSON"), ..event("old", "room:1", None) };
    node.publish((0..10).map(large)).await;
    let worker = LocalSet::new();
    let hub = {
        let _entered = worker.enter();
        Hub::start(&node.realtime)
    };
    let before = node.realtime.log.head();
    let busy: Vec<_> =
        (0..100).map(|_| listen(&hub, None, "custom:busy", Start::Fresh(before), before)).collect();
    let (_, _, mut stream) = listen(&hub, Some(user), "room:1", Start::After(before - 10), before);
    let more = (0..100).map(|_| event("busy", "custom:busy", None));
    node.publish(more.chain([ending, event("said", "room:1", None)])).await;
    worker
        .run_until(async {
            while listen(&hub, None, "custom:probe", Start::After(0), before).1 == before {
                tokio::task::yield_now().await;
            }
            let mut seen = Vec::new();
            while seen.last().is_none_or(|kind| kind != last) {
                let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
                seen.push(kind(&next.expect("in time").expect("a frame")));
            }
            assert!(!seen.contains(&"said".to_owned()), "{seen:?}");
        })
        .await;
    drop((busy, stream));
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
        let (start, head) = (Start::After(before), node.realtime.log.head());
        let (_, _, mut stream) = listen(&node.hub, None, "snippets", start, head);
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
