//! Who is typing where: entries of one node that live for some seconds unless they are renewed.
//!
//! What is told is always the whole set of a topic, so none of it can get stuck with a client that missed a part.
//! One task tells all topics in rounds, so a topic is told at most once a round, and its last value always.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    Ephemeral, Realtime,
    effect::{Effect, Ending},
    event::{Json, Key, visible},
    frame::{Envelope, Frame},
    subscription::Viewer,
};
use crate::{
    clock::{Clock, Timestamp},
    error::Result,
};

/// The name of the events.
pub(super) const KIND: &str = "typing";
/// How long somebody is typing after they last said so.
const LIFE: Duration = Duration::from_secs(6);
/// The time between two rounds of telling.
const ROUND: Duration = Duration::from_millis(250);
/// How many users a set names; with more of them at once it names those who began first.
const NAMED: usize = 100;

/// Who is typing on this node.
pub struct Typing {
    clock: Clock,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    /// In the order in which they began.
    topics: HashMap<Key, Vec<Writer>>,
    /// The topics whose set has changed since it was told.
    dirty: HashSet<Key>,
}

/// Somebody who says that they are typing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Typist {
    /// The user.
    pub user: Uuid,
    /// What others see of the user.
    pub profile: Json,
    /// The stream with which it ends.
    pub connection: Option<Uuid>,
    /// The topics that stand for the user's account and credential: it ends with each of them.
    pub guards: Vec<Key>,
    /// The place in the log before the user's right was looked at.
    pub as_of: u64,
}

/// Somebody who is typing.
#[derive(Debug)]
struct Writer {
    typist: Typist,
    until: Timestamp,
}

impl Writer {
    fn keeps(&self, key: &Key, ending: &Ending) -> bool {
        let viewer = Viewer { user: Some(self.typist.user), sees_all: false };
        // A node may hear of the ending after somebody who was let in again.
        ending.seq <= self.typist.as_of || !ending.takes(key, viewer, &self.typist.guards)
    }
}

/// What is told of a topic.
#[derive(Serialize)]
struct Told<'a> {
    users: Vec<&'a Json>,
}

impl Realtime {
    /// A user is typing, as this node or another was told.
    pub(super) fn start_typing_here(&self, key: &Key, typist: Typist) -> Result<()> {
        let (user, guards, as_of) = (typist.user, typist.guards.clone(), typist.as_of);
        self.end_rights();
        self.typing.start(key, typist);
        let still = self.require_still(key, Viewer { user: Some(user), sees_all: false }, &guards, as_of);
        if still.is_err() {
            self.typing.stop(key, user);
        }
        still
    }
}

impl Typing {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, table: Mutex::default(), changed: Notify::new() }
    }

    /// A user is typing: for six seconds, or until the connection that said so closes.
    pub(super) fn start(&self, key: &Key, typist: Typist) {
        let until = self.clock.now().plus(LIFE);
        let mut table = self.lock();
        let Table { topics, dirty } = &mut *table;
        let writers = topics.entry(Key::clone(key)).or_default();
        if let Some(writer) = writers.iter_mut().find(|writer| writer.typist.user == typist.user) {
            let profile = std::mem::replace(&mut writer.typist, typist).profile;
            // A new name is told with the next change.
            (writer.typist.profile, writer.until) = (profile, until);
            return;
        }
        writers.push(Writer { typist, until });
        dirty.insert(Key::clone(key));
        drop(table);
        self.changed.notify_one();
    }

    /// A user is typing no longer, on whichever device.
    pub(super) fn stop(&self, key: &Key, user: Uuid) {
        self.lock().keep_in(key, |writer| writer.typist.user != user);
    }

    /// Ends what a closed connection has said, and tells what that was.
    pub(super) fn close(&self, connection: Uuid) -> Vec<(Key, Uuid)> {
        let mut table = self.lock();
        let said = |writer: &Writer| writer.typist.connection == Some(connection);
        let ended = table.topics.iter().flat_map(|(key, writers)| {
            writers.iter().filter(|writer| said(writer)).map(|writer| (Key::clone(key), writer.typist.user))
        });
        let ended: Vec<_> = ended.collect();
        if !ended.is_empty() {
            table.keep(|_, writer| !said(writer));
        }
        ended
    }

    /// Ends the entries of users who have lost the topic, or what they stand on.
    pub(super) fn take_effect(&self, ending: &Ending) {
        if ending.effect == Effect::End {
            self.lock().keep(|key, writer| writer.keeps(key, ending));
        } else {
            self.lock().keep_in(&ending.topic, |writer| writer.keeps(&ending.topic, ending));
        }
    }

    /// Ends all entries.
    pub(super) fn forget_all(&self) {
        self.lock().keep(|_, _| false);
    }

    /// Tells what has changed, round by round, for as long as the server runs.
    pub(super) async fn run(&self, node: &Realtime) {
        loop {
            self.changed.notified().await;
            // While somebody is typing there may be something to tell without anybody calling: their end.
            while !self.is_idle() {
                let told = self.round().inspect_err(|error| {
                    tracing::error!(%error, "who is typing could not be told");
                });
                for (ephemeral, holds) in told.into_iter().flatten() {
                    self.tell(node, ephemeral, holds);
                }
                tokio::time::sleep(ROUND).await;
            }
        }
    }

    /// Tells a set, and tells it with the next round again where a hub had no room for it.
    fn tell(&self, node: &Realtime, ephemeral: Ephemeral, holds: bool) {
        let topic = Key::clone(&ephemeral.topic);
        if !node.show(ephemeral, holds) {
            self.lock().dirty.insert(topic);
        }
    }

    /// The set of a topic as it is now, for one who may know an older one.
    pub(super) fn state(&self, key: &Key) -> Result<Frame> {
        let now = self.clock.now();
        self.lock().frame(key, now)
    }

    /// The sets that have changed since the last round, and whether somebody is in them.
    fn round(&self) -> Result<Vec<(Ephemeral, bool)>> {
        let now = self.clock.now();
        let mut table = self.lock();
        table.keep(|_, writer| writer.until > now);
        let dirty = std::mem::take(&mut table.dirty);
        let tell = |topic: Key| {
            let (frame, holds) = (table.frame(&topic, now)?, table.topics.contains_key(&topic));
            Ok((Ephemeral { topic, kind: KIND.into(), origin: None, frame }, holds))
        };
        dirty.into_iter().map(tell).collect()
    }

    fn is_idle(&self) -> bool {
        let table = self.lock();
        table.topics.is_empty() && table.dirty.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn frame(&self, topic: &Key, at: Timestamp) -> Result<Frame> {
        let writers = self.topics.get(topic).map(Vec::as_slice).unwrap_or_default();
        let present = writers.iter().filter(|writer| writer.until > at);
        let users = present.map(|writer| &writer.typist.profile).take(NAMED).collect();
        let (shown, data) = (Some(visible(topic)), Json::of(&Told { users })?);
        Frame::encode(&Envelope { id: None, kind: KIND, topic: shown, at, actor: None, data: &data }, None)
    }

    fn keep(&mut self, keeps: impl Fn(&Key, &Writer) -> bool) {
        let Self { topics, dirty } = self;
        topics.retain(|key, writers| {
            let before = writers.len();
            writers.retain(|writer| keeps(key, writer));
            if writers.len() != before {
                dirty.insert(Key::clone(key));
            }
            !writers.is_empty()
        });
    }

    fn keep_in(&mut self, key: &Key, keeps: impl Fn(&Writer) -> bool) {
        let Some(writers) = self.topics.get_mut(key) else { return };
        let before = writers.len();
        writers.retain(keeps);
        if writers.len() != before {
            self.dirty.insert(Key::clone(key));
        }
        if writers.is_empty() {
            self.topics.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::{Typing, Typist};
    use crate::{
        clock::Clock,
        realtime::{Effect, Json, Key, effect::Ending},
    };

    const ANN: Uuid = Uuid::from_u128(1);
    const BOB: Uuid = Uuid::from_u128(2);

    fn start(typing: &Typing, user: Uuid, connection: u128) {
        let profile = Json::of(&user.as_u128()).unwrap();
        let connection = Some(Uuid::from_u128(connection));
        let typist = Typist { user, profile, connection, guards: Vec::new(), as_of: 0 };
        typing.start(&Key::from("chat:1"), typist);
    }

    /// The sets that a round tells, as the numbers of the users.
    fn told(typing: &Typing) -> Vec<Value> {
        let round = typing.round().unwrap().into_iter();
        let users = round.map(|(told, holds)| {
            let envelope: Value = serde_json::from_slice(told.frame.envelope()).unwrap();
            let users = envelope["data"]["users"].clone();
            assert_eq!(holds, users != json!([]), "it holds while somebody is typing");
            users
        });
        users.collect()
    }

    #[test]
    fn a_set_is_told_when_it_changes_and_entries_end_after_six_seconds() {
        let clock = Clock::manual(DateTime::default());
        let typing = Typing::new(clock.clone());
        start(&typing, ANN, 10);
        start(&typing, BOB, 20);
        assert_eq!(told(&typing), [json!([1, 2])]);
        clock.advance(Duration::from_millis(3_000));
        start(&typing, BOB, 20);
        assert!(told(&typing).is_empty(), "a renewal changes nothing that is told");
        clock.advance(Duration::from_millis(2_999));
        assert!(told(&typing).is_empty());
        clock.advance(Duration::from_millis(1));
        assert_eq!(told(&typing), [json!([2])]);
        clock.advance(Duration::from_millis(3_000));
        assert_eq!(told(&typing), [json!([])]);
        assert!(typing.lock().topics.is_empty(), "nothing is kept of a topic where nobody is typing");
    }

    #[test]
    fn an_entry_ends_with_a_word_or_with_the_connection_that_made_it() {
        let typing = Typing::new(Clock::manual(DateTime::default()));
        start(&typing, ANN, 10);
        start(&typing, BOB, 20);
        typing.stop(&Key::from("chat:1"), ANN);
        assert_eq!(told(&typing), [json!([2])], "what began and ended in one round is not told");
        start(&typing, BOB, 21);
        typing.close(Uuid::from_u128(20));
        assert!(told(&typing).is_empty(), "another connection has renewed it");
        typing.close(Uuid::from_u128(21));
        assert_eq!(told(&typing), [json!([])]);
    }

    #[test]
    fn what_ended_before_the_right_was_looked_at_ends_nothing() {
        let typing = Typing::new(Clock::manual(DateTime::default()));
        let topic = Key::from("chat:1");
        start(&typing, ANN, 10);
        typing.lock().topics.get_mut(&topic).unwrap()[0].typist.as_of = 5;
        for (seq, stays) in [(5, true), (6, false)] {
            let (kind, topic, effect) = ("member_removed".into(), Key::clone(&topic), Effect::Expel(ANN));
            typing.take_effect(&Ending { seq, kind, topic, fed: false, audience: None, effect });
            assert_eq!(!typing.lock().topics.is_empty(), stays, "after an ending at {seq}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Start(u128, u128),
        Stop(u128),
        Close(u128),
        Silence(u64),
        Round,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..6_u128, 10..13_u128).prop_map(|(user, connection)| Step::Start(user, connection)),
            1 => (1..6_u128).prop_map(Step::Stop),
            1 => (10..13_u128).prop_map(Step::Close),
            3 => (0..4_000_u64).prop_map(Step::Silence),
            4 => Just(Step::Round),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

        /// The model is a list of who said so last on which connection, and when.
        #[test]
        fn histories_equal_the_model(steps in proptest::collection::vec(step(), 1..32)) {
            let clock = Clock::manual(DateTime::default());
            let typing = Typing::new(clock.clone());
            let (mut said, mut last, mut passed) = (Vec::<(u128, u128, u64)>::new(), json!([]), 0);
            for step in steps.into_iter().chain([Step::Round, Step::Silence(6_000), Step::Round]) {
                match step {
                    Step::Start(user, connection) => {
                        start(&typing, Uuid::from_u128(user), connection);
                        match said.iter_mut().find(|it| it.0 == user) {
                            Some(it) => *it = (user, connection, passed),
                            None => said.push((user, connection, passed)),
                        }
                    }
                    Step::Stop(user) => {
                        typing.stop(&Key::from("chat:1"), Uuid::from_u128(user));
                        said.retain(|it| it.0 != user);
                    }
                    Step::Close(connection) => {
                        typing.close(Uuid::from_u128(connection));
                        said.retain(|it| it.1 != connection);
                    }
                    Step::Silence(millis) => {
                        clock.advance(Duration::from_millis(millis));
                        passed += millis;
                    }
                    Step::Round => {
                        // An entry that was renewed before a round saw its end has lived on.
                        said.retain(|it| passed < it.2 + 6_000);
                        last = told(&typing).pop().unwrap_or(last);
                        let users: Vec<u128> = said.iter().map(|it| it.0).collect();
                        prop_assert_eq!(&last, &json!(users));
                    }
                }
            }
            prop_assert!(last == json!([]) && typing.is_idle(), "nothing is left");
        }
    }
}
