//! A node without HTTP, for what needs thousands of viewers, or readers that do not read.

use std::{rc::Rc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use snippetbox::realtime::{
    ConnectionStream, Effect, Ephemeral, Frame, Hub, Json, Key, Lease, NewEvent, Newcomer, Opening, Presence,
    Start, Subscription, TopicChange, Typist, Viewer, Wishes, append,
};
use uuid::Uuid;

use super::Known;
use crate::support::{Node, TestApp, eventually, on_both_databases};

on_both_databases![
    five_thousand_viewers_cost_linear_traffic,
    a_reader_that_lags_gets_the_whole_state_and_nothing_grows,
    who_is_typing_is_told_as_the_whole_set,
    typing_is_told_at_most_every_quarter_second,
    the_last_of_who_is_typing_is_not_lost_to_a_full_queue,
    the_last_of_who_is_typing_is_not_lost_to_a_full_inbox,
    what_was_lost_while_it_was_added_is_not_told,
    who_is_not_let_in_was_never_there,
    what_begins_after_its_right_has_ended_does_not_hold,
    typing_ends_with_the_right_and_with_the_credential,
    a_topic_that_has_ended_has_nobody_there_and_nobody_typing,
];

const TOPIC: &str = "room:1";
/// What the credentials of all users stand on.
const GUARD: &str = "credential@1";
/// How many bytes may wait for one connection.
const QUEUE: usize = 64 * 1024;

async fn start(app: &TestApp) -> Node {
    Node::on(app, app.clock.clone(), 1 << 20, Duration::from_secs(5)).await
}

impl Node {
    fn open(&self, user: u128, presence: Presence) -> Reader {
        self.open_at(&self.hub, user, presence)
    }

    fn open_at(&self, hub: &Rc<Hub>, user: u128, presence: Presence) -> Reader {
        let head = self.realtime.log.head();
        let opening = self.opening(user, presence, head);
        let now = self.clock.now();
        let ready = |id: Uuid, _: u64| Frame::notice("ready", now, &json!(id), None);
        let mut stream = hub.open(opening, ready).expect("a stream");
        let first = stream.next().now_or_never().flatten().expect("ready");
        let connection = serde_json::from_value(data(&first)).expect("an id");
        Reader {
            stream,
            connection,
            n_bytes: first.size(),
            count: None,
            known: Known(json!({})),
            n_states: 0,
            kinds: Vec::new(),
            typing: None,
        }
    }

    fn opening(&self, user: u128, presence: Presence, as_of: u64) -> Opening {
        let head = self.realtime.log.head();
        Opening {
            viewer: Viewer { user: Some(Uuid::from_u128(user)), sees_all: false },
            subscriptions: vec![Subscription { key: TOPIC.into(), guard: false, gathers: true }],
            wishes: Wishes { types: None, echo: true, presence },
            profile: Some(profile(user)),
            start: Start::Fresh(head),
            as_of,
            recalled: Vec::new(),
            expires_at: None,
        }
    }

    /// Has a user say something that is nearly as much as they may.
    fn say(&self, user: u128, word: &str) {
        let fields = json!({ "word": word.repeat(900 / word.len()) }).as_object().cloned();
        let newcomer = newcomer(user);
        let until = self.clock.now().plus(Duration::from_secs(60));
        let lease = Lease { device: "a device".into(), guards: Vec::new(), until, fields };
        let head = self.realtime.log.head();
        self.realtime.lease(&Key::from(TOPIC), &newcomer, lease, head).expect("a lease");
    }

    fn typist(&self, user: u128, connection: Option<Uuid>) -> Typist {
        let (user, profile) = (Uuid::from_u128(user), profile(user));
        Typist { user, profile, connection, guards: vec![GUARD.into()], as_of: self.realtime.log.head() }
    }

    /// Publishes an event that ends rights on a topic, and waits until it is known here.
    async fn end(&self, topic: &str, effect: Effect) {
        let before = self.realtime.log.head();
        let mut tx = self.db.write().await.expect("a transaction");
        let event = NewEvent {
            kind: "ended",
            topic: topic.to_owned(),
            feed: None,
            audience: None,
            effect: Some(effect),
            actor: None,
            origin: None,
            data: Json::of(&json!({})).expect("JSON"),
            at: self.clock.now(),
        };
        append(&mut tx, event).await.expect("appended");
        tx.commit().await.expect("committed");
        eventually("the ending is known", async || (self.realtime.log.head() > before).then_some(())).await;
    }

    fn present(&self) -> Value {
        let present = self.realtime.roster.present(&Key::from(TOPIC)).expect("who is there");
        serde_json::from_str(present.presences.expect("not crowded").as_str()).expect("JSON")
    }
}

fn profile(user: u128) -> Json {
    Json::of(&json!({ "id": Uuid::from_u128(user), "name": format!("user {user}") })).expect("JSON")
}

fn data(frame: &Frame) -> Value {
    serde_json::from_slice::<Value>(frame.envelope()).expect("JSON")["data"].take()
}

struct Reader {
    stream: ConnectionStream,
    connection: Uuid,
    n_bytes: usize,
    n_states: usize,
    count: Option<Value>,
    known: Known,
    /// The names of all that came.
    kinds: Vec<String>,
    /// Who was typing, as it was told last.
    typing: Option<Value>,
}

impl Reader {
    /// Takes what waits, without waiting for more.
    fn read(&mut self) {
        while let Some(frame) = self.stream.next().now_or_never() {
            self.take(&frame.expect("the stream goes on"));
        }
    }

    async fn next(&mut self) -> Frame {
        let next = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await;
        let frame = next.expect("something comes").expect("the stream goes on");
        self.take(&frame);
        frame
    }

    fn take(&mut self, frame: &Frame) {
        self.n_bytes += frame.size();
        let envelope: Value = serde_json::from_slice(frame.envelope()).expect("JSON");
        let kind = envelope["type"].as_str().expect("a type");
        self.kinds.push(kind.to_owned());
        match kind {
            "typing" => self.typing = Some(envelope["data"]["users"].clone()),
            "presence_state" => {
                self.known = Known::of(&envelope["data"]);
                self.n_states += 1;
            }
            "presence_diff" => self.known.apply(&envelope["data"]),
            "presence_count" => self.count = Some(envelope["data"]["count"].clone()),
            _ => {}
        }
    }

    async fn next_typing(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            let envelope: Value = serde_json::from_slice(frame.envelope()).expect("JSON");
            if envelope["type"] == "typing" {
                return envelope["data"].clone();
            }
        }
    }
}

async fn five_thousand_viewers_cost_linear_traffic(app: &TestApp) {
    let half = traffic_of(app, 2_500).await;
    let whole = traffic_of(app, 5_000).await;
    // Each further one is told some counts, at most two a second; with a diff for each join the second half would cost
    // three times as much as the first, gigabytes.
    let added = whole.saturating_sub(half) / 2_500;
    assert!(
        added < 20_000,
        "{added} bytes for each further viewer: {half} bytes for 2,500, {whole} for 5,000"
    );
}

/// Opens as many viewers on one topic, and answers with how many bytes all of them were sent until each knew how
/// many they are.
async fn traffic_of(app: &TestApp, n_viewers: usize) -> usize {
    let node = start(app).await;
    let mut readers: Vec<Reader> = Vec::new();
    for user in 0..n_viewers {
        readers.push(node.open(user as u128, Presence::Track));
        if user % 100 == 99 {
            readers.iter_mut().for_each(Reader::read);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for reader in &mut readers {
        while reader.count != Some(json!(n_viewers)) {
            reader.next().await;
        }
    }
    let n_bytes = readers.iter().map(|reader| reader.n_bytes).sum();
    let late = &readers[n_viewers / 2..];
    let most = late.iter().map(|reader| reader.n_bytes).max().unwrap_or_default();
    println!("{n_viewers} viewers: {n_bytes} bytes in all, at most {most} for one of the later half");
    assert!(late.iter().all(|reader| reader.n_states == 0), "nobody is sent thousands of names");
    drop(readers);
    node.stop().await;
    n_bytes
}

async fn a_reader_that_lags_gets_the_whole_state_and_nothing_grows(app: &TestApp) {
    const USERS: u128 = 20;
    let node = start(app).await;
    let mut quick = node.open(100, Presence::Observe);
    let mut slow = node.open(101, Presence::Observe);
    slow.read();
    assert_eq!(slow.n_states, 1);
    let taken = slow.n_bytes;
    for word in ["one", "two", "three", "four", "five", "six"] {
        (0..USERS).for_each(|user| node.say(user, word));
        let last = Uuid::from_u128(USERS - 1).to_string();
        let said =
            |known: &Known| known.0[&last]["metas"][0]["word"].as_str().is_some_and(|w| w.starts_with(word));
        while !said(&quick.known) {
            quick.next().await;
        }
    }
    // Users who come and go while nothing is taken: a ghost would show.
    node.realtime.end_lease(&TOPIC.into(), Uuid::from_u128(0), &"a device".into());
    while quick.known != Known(node.present()) {
        quick.next().await;
    }
    let missed = quick.n_bytes - taken;
    assert!(missed > 2 * QUEUE, "more was told than can wait: {missed} bytes");
    slow.read();
    let waited = slow.n_bytes - taken;
    let state = node.present().to_string().len();
    assert!(waited < QUEUE + 2 * state, "{waited} bytes waited");
    assert_eq!((slow.n_states, &slow.known), (2, &Known(node.present())), "and it knows who is there");
    // From here on it is told like everybody else.
    node.say(0, "again");
    while slow.known != Known(node.present()) {
        slow.next().await;
    }
    assert_eq!(slow.n_states, 2);
    drop((quick, slow));
    node.stop().await;
}

async fn who_is_typing_is_told_as_the_whole_set(app: &TestApp) {
    let node = start(app).await;
    let key = Key::from(TOPIC);
    let mut watcher = node.open(1, Presence::Off);
    let (ann, bob) = (node.open(2, Presence::Off), node.open(3, Presence::Off));
    let start = |user: u128, connection| {
        node.realtime.start_typing(&key, node.typist(user, Some(connection))).expect("the right holds");
    };
    let users = |numbers: &[u128]| {
        let users = numbers
            .iter()
            .map(|user| json!({ "id": Uuid::from_u128(*user), "name": format!("user {user}") }));
        json!({ "users": users.collect::<Vec<_>>() })
    };
    start(2, ann.connection);
    assert_eq!(watcher.next_typing().await, users(&[2]));
    start(3, bob.connection);
    assert_eq!(watcher.next_typing().await, users(&[2, 3]));
    let mut newcomer = node.open(4, Presence::Off);
    assert_eq!(newcomer.next_typing().await, users(&[2, 3]), "who comes later is told right after ready");
    drop(ann);
    assert_eq!(watcher.next_typing().await, users(&[3]), "a closed connection types no more");
    app.clock.advance(Duration::from_secs(6));
    assert_eq!(watcher.next_typing().await, users(&[]), "nor does one that has not said so for 6 s");
    let mut late = node.open(5, Presence::Off);
    late.read();
    let nothing = late.stream.next().now_or_never();
    assert!(nothing.is_none(), "what is over is not told to who comes later");
    drop((watcher, newcomer, late, bob));
    node.stop().await;
}

async fn typing_is_told_at_most_every_quarter_second(app: &TestApp) {
    let node = start(app).await;
    let key = Key::from(TOPIC);
    let mut watcher = node.open(1, Presence::Off);
    let started = tokio::time::Instant::now();
    for turn in 0..30_u32 {
        let user = Uuid::from_u128(2);
        if turn % 2 == 0 {
            node.realtime.start_typing(&key, node.typist(2, None)).expect("the right holds");
        } else {
            node.realtime.stop_typing(&key, user);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.realtime.start_typing(&key, node.typist(3, None)).expect("the right holds");
    let mut n_told = 0;
    loop {
        let told = watcher.next_typing().await;
        n_told += 1;
        if told["users"][0]["name"] == "user 3" {
            break;
        }
    }
    let rounds = started.elapsed().as_millis() / 250 + 1;
    assert!(
        n_told <= rounds,
        "{n_told} events in {rounds} rounds: the last goes out, and not every one before it"
    );
    drop(watcher);
    node.stop().await;
}

/// A request looks at the right, then the right ends and all is done that follows from it, then the request goes on.
async fn what_begins_after_its_right_has_ended_does_not_hold(app: &TestApp) {
    let key = Key::from(TOPIC);
    let (ann, bob) = (Uuid::from_u128(2), Uuid::from_u128(3));
    for (topic, effect, bob_keeps) in [
        (TOPIC, Effect::Expel(ann), true),
        (TOPIC, Effect::Restrict(vec![bob]), true),
        (TOPIC, Effect::End, false),
        (GUARD, Effect::End, false),
    ] {
        let node = start(app).await;
        let (anns, bobs) = (node.typist(2, None), node.typist(3, None));
        node.end(topic, effect.clone()).await;
        node.realtime.start_typing(&key, anns).expect_err("ann has no right any more");
        let started = node.realtime.start_typing(&key, bobs.clone());
        assert_eq!(started.is_ok(), bob_keeps, "{effect:?} {topic}");
        let mut watcher = node.open(1, Presence::Off);
        node.realtime.start_typing(&key, node.typist(4, None)).expect("a new right");
        let mut told = watcher.next_typing().await["users"].take();
        let last = told.as_array_mut().and_then(Vec::pop).expect("users");
        assert_eq!(last["name"], "user 4");
        assert_eq!(told == json!([]), !bob_keeps, "{effect:?} {topic}: {told}");
        for (user, holds) in [(2, false), (3, bob_keeps)] {
            let fields = json!({}).as_object().cloned();
            let newcomer = newcomer(user);
            let until = node.clock.now().plus(Duration::from_secs(60));
            let lease = Lease { device: "a device".into(), guards: vec![GUARD.into()], until, fields };
            let leased = node.realtime.lease(&key, &newcomer, lease, bobs.as_of);
            assert_eq!(leased.is_ok(), holds, "a lease of {user}: {effect:?} {topic}");
            assert_eq!(node.present().get(newcomer.user.to_string()).is_some(), holds);
        }
        drop(watcher);
        node.stop().await;
    }
}

async fn typing_ends_with_the_right_and_with_the_credential(app: &TestApp) {
    let node = start(app).await;
    let key = Key::from(TOPIC);
    let mut watcher = node.open(1, Presence::Off);
    let ann = Uuid::from_u128(2);
    for (topic, effect) in [(TOPIC, Effect::Expel(ann)), (GUARD, Effect::End)] {
        node.realtime.start_typing(&key, node.typist(2, None)).expect("the right holds");
        assert_eq!(watcher.next_typing().await["users"][0]["name"], "user 2");
        node.end(topic, effect).await;
        assert_eq!(watcher.next_typing().await, json!({ "users": [] }));
    }
    drop(watcher);
    node.stop().await;
}

/// Where nobody can ask for it any more, as the topic is gone, and the clock stands still.
async fn a_topic_that_has_ended_has_nobody_there_and_nobody_typing(app: &TestApp) {
    let node = start(app).await;
    let mut stream = node.open(2, Presence::Track);
    node.say(3, "here");
    node.realtime.start_typing(&Key::from(TOPIC), node.typist(4, None)).expect("the right holds");
    assert_eq!(stream.next_typing().await["users"][0]["name"], "user 4");
    assert_eq!(node.present().as_object().map(serde_json::Map::len), Some(2));
    node.end(TOPIC, Effect::End).await;
    eventually("nobody is there", async || (node.present() == json!({})).then_some(())).await;
    eventually("nobody is typing", async || {
        let mut newcomer = node.open(5, Presence::Observe);
        newcomer.read();
        newcomer.typing.is_none().then_some(())
    })
    .await;
    drop(stream);
    node.stop().await;
}

fn newcomer(user: u128) -> Newcomer {
    let (user, profile) = (Uuid::from_u128(user), profile(user));
    Newcomer { user, profile, sees_all: false, credential: Some(GUARD.into()) }
}

/// Something that is not kept, of a kind of its own where nothing like it waits.
fn noise(node: &Node, topic: &str, number: usize) -> Ephemeral {
    let kind = format!("noise_{number}");
    let frame = Frame::notice(&kind, node.clock.now(), &json!({}), None);
    Ephemeral { topic: topic.into(), kind: kind.into(), origin: None, frame }
}

async fn the_last_of_who_is_typing_is_not_lost_to_a_full_queue(app: &TestApp) {
    let node = start(app).await;
    let key = Key::from(TOPIC);
    let (mut quick, mut slow) = (node.open(1, Presence::Off), node.open(2, Presence::Off));
    node.realtime.start_typing(&key, node.typist(3, None)).expect("the right holds");
    for reader in [&mut quick, &mut slow] {
        assert_eq!(reader.next_typing().await["users"][0]["name"], "user 3");
    }
    for number in 0..1_500 {
        node.realtime.tell(noise(&node, TOPIC, number));
    }
    while quick.kinds.last().is_none_or(|kind| kind != "noise_1499") {
        quick.next().await;
    }
    node.realtime.stop_typing(&key, Uuid::from_u128(3));
    assert_eq!(quick.next_typing().await, json!({ "users": [] }));
    slow.read();
    assert!(slow.kinds.iter().all(|kind| kind != "noise_1499"), "there was no room for all");
    assert_eq!(slow.typing, Some(json!([])), "nobody is typing any more");
    drop((quick, slow));
    node.stop().await;
}

async fn the_last_of_who_is_typing_is_not_lost_to_a_full_inbox(app: &TestApp) {
    let node = start(app).await;
    let key = Key::from(TOPIC);
    // Another worker, which stands still as long as nobody runs what is local to it.
    let worker = tokio::task::LocalSet::new();
    let hub = {
        let _inside = worker.enter();
        Hub::start(&node.realtime)
    };
    let mut quick = node.open(1, Presence::Off);
    node.realtime.start_typing(&key, node.typist(3, None)).expect("the right holds");
    assert_eq!(quick.next_typing().await["users"][0]["name"], "user 3");
    let mut slow = node.open_at(&hub, 2, Presence::Off);
    slow.read();
    assert_eq!(slow.typing.as_ref().map(|users| users[0]["name"].clone()), Some(json!("user 3")));
    while node.realtime.show(noise(&node, "elsewhere", 0), false) {}
    node.realtime.stop_typing(&key, Uuid::from_u128(3));
    assert_eq!(quick.next_typing().await, json!({ "users": [] }));
    let told = worker.run_until(async { while slow.next_typing().await != json!({ "users": [] }) {} });
    told.await;
    drop((quick, slow));
    node.stop().await;
}

/// A topic is added to a stream whose user has lost it while the request was on its way.
async fn what_was_lost_while_it_was_added_is_not_told(app: &TestApp) {
    const OTHER: &str = "room:2";
    let node = start(app).await;
    let (mut ann, mut bob) = (node.open(2, Presence::Off), node.open(3, Presence::Off));
    let change = |reader: &Reader, user: u128, as_of| TopicChange {
        connection: reader.connection,
        user: Some(Uuid::from_u128(user)),
        as_of,
        add: vec![Subscription { key: OTHER.into(), guard: false, gathers: true }],
        profile: Some(profile(user)),
        remove: Vec::new(),
        renew: None,
    };
    let before = node.realtime.log.head();
    node.realtime.start_typing(&OTHER.into(), node.typist(4, None)).expect("the right holds");
    node.end(OTHER, Effect::Expel(Uuid::from_u128(2))).await;
    eventually("it is told", async || {
        ann.read();
        node.realtime.change(change(&bob, 3, before)).await.expect("changed");
        bob.read();
        bob.typing.is_some().then_some(())
    })
    .await;
    let topics = node.realtime.change(change(&ann, 2, before)).await.expect("changed");
    assert_eq!(topics, [TOPIC]);
    ann.read();
    assert_eq!(ann.kinds, ["topic_closed", "topics"]);
    drop((ann, bob));
    node.stop().await;
}

/// A stream is refused because nobody knows any more which rights have ended since its user's were looked at.
async fn who_is_not_let_in_was_never_there(app: &TestApp) {
    let node = start(app).await;
    node.end("elsewhere", Effect::End).await;
    node.stop().await;
    let node = start(app).await; // Which knows nothing of what was before.
    let opening = node.opening(2, Presence::Track, node.realtime.log.head() - 1);
    let ready = |id: Uuid, _: u64| Frame::notice("ready", node.clock.now(), &json!(id), None);
    assert!(node.hub.open(opening, ready).is_err());
    assert_eq!(node.present(), json!({}));
    node.stop().await;
}
