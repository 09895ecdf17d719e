//! What clients of one node do to those of another: they tell them what is not kept, type, and change streams that are
//! open there. What is lost on the way has had its time: the next word of it comes soon, or the client asks again.

use std::{net::IpAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Command, Realtime,
    bus::{Question, Subject},
    ephemeral::Ephemeral,
    event::{Json, Key},
    frame::Frame,
    hub::{TopicChange, too_many_topics},
    roster::{Order, Told},
    typing::Typist,
};
use crate::error::{Error, Result};

/// How long another node may take to change a stream.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many changes that others asked for run at once.
const CHANGES: usize = 256;

/// What one node tells the others, for their clients.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// An event that is not kept.
    Ephemeral { topic: Key, kind: Box<str>, origin: Option<Uuid>, envelope: Json },
    /// A user is typing.
    Typing { topic: Key, typist: Typist },
    /// A user is typing no longer.
    TypingEnded { topic: Key, user: Uuid },
    /// A client without a stream has left.
    LeaseEnded { topic: Key, user: Uuid, device: Key },
}

/// What becomes of a change that another node asks for.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Changed(Vec<String>),
    NotHere,
    TooManyTopics,
    Overloaded,
}

/// What users are to say of themselves, as they asked another node.
#[derive(Debug, Serialize, Deserialize)]
struct Update {
    topic: Key,
    user: Uuid,
    orders: Vec<Order>,
}

/// Which node has answered, how many of its entries were meant, and how the user's entries are there; nothing where
/// the question was not understood.
type Updated = Option<(Key, usize, Told)>;

/// How often an update is asked for whose entries have changed before it came to them.
const ATTEMPTS: usize = 3;

impl Realtime {
    /// Tells those who are connected now, at all nodes. A hub that has thousands of commands waiting misses it: what is
    /// not kept may be lost, and must not hold up the caller.
    pub fn tell(&self, ephemeral: Ephemeral) {
        if self.bus.is_connected().is_some() {
            let Ephemeral { topic, kind, origin, frame } = ephemeral.clone();
            let text = String::from_utf8(frame.envelope().to_vec());
            if let Ok(envelope) = text.map_err(|_| ()).and_then(|text| Json::stored(text).map_err(drop)) {
                self.say(&Word::Ephemeral { topic, kind, origin, envelope });
            }
        }
        self.tell_here(ephemeral);
    }

    /// Says that a user is typing: for six seconds, or until the connection that said so closes, wherever it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the right has ended since it was looked at.
    pub fn start_typing(&self, key: &Key, typist: Typist) -> Result<()> {
        self.start_typing_here(key, typist.clone())?;
        self.say(&Word::Typing { topic: Key::clone(key), typist });
        Ok(())
    }

    /// Says that a user is typing no longer, on whichever device.
    pub fn stop_typing(&self, key: &Key, user: Uuid) {
        self.say(&Word::TypingEnded { topic: Key::clone(key), user });
        self.typing.stop(key, user);
    }

    /// Ends what a closed connection has said.
    pub(super) fn close_typing(&self, connection: Uuid) {
        for (topic, user) in self.typing.close(connection) {
            self.say(&Word::TypingEnded { topic, user });
        }
    }

    /// Ends the lease of a device, if there is one.
    pub fn end_lease(&self, key: &Key, user: Uuid, device: &Key) {
        self.say(&Word::LeaseEnded { topic: Key::clone(key), user, device: Key::clone(device) });
        self.roster.end_lease(key, user, device);
    }

    /// Tells the other nodes of an attempt that is limited over all nodes, by the address that it came from.
    pub fn tell_attempt(&self, address: IpAddr) {
        self.bus.publish(Subject::Attempts, address.to_string());
    }

    /// Hears of the attempts at other nodes, for as long as the server runs.
    pub async fn hear_attempts(&self, each: impl Fn(IpAddr)) {
        let mut inbox = self.bus.subscribe(Subject::Attempts).await;
        loop {
            let told = inbox.next().await;
            if let Some(address) = std::str::from_utf8(&told).ok().and_then(|text| text.parse().ok()) {
                each(address);
            }
        }
    }

    /// Tells the other nodes of something that was counted here, and is not to be counted there.
    pub fn tell_counted(&self, what: &impl Serialize) {
        self.publish(Subject::Counted, what);
    }

    /// Hears of what other nodes have counted, for as long as the server runs.
    pub async fn hear_counted<T: DeserializeOwned>(&self, each: impl Fn(T)) {
        let mut inbox = self.bus.subscribe(Subject::Counted).await;
        loop {
            if let Some(what) = understand(&inbox.next().await) {
                each(what);
            }
        }
    }

    /// Changes the topics of an open connection, wherever it is, and answers with the topics it has then.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no such connection is open, or it is somebody else's.
    pub async fn change(&self, change: TopicChange) -> Result<Vec<String>> {
        let none = match self.change_here(change.clone()).await {
            Err(error @ Error::NotFound(_)) if self.nodes.count() > 1 => error,
            done => return done,
        };
        let question = serde_json::to_vec(&change).map_err(|error| Error::Internal(error.to_string()))?;
        let others = self.nodes.count() - 1;
        let is_done = |answer: &[u8]| match serde_json::from_slice(answer) {
            Ok(Answer::NotHere) | Err(_) => None,
            Ok(Answer::Changed(topics)) => Some(Ok(topics)),
            Ok(Answer::TooManyTopics) => Some(Err(too_many_topics())),
            Ok(Answer::Overloaded) => Some(Err(Error::Overloaded)),
        };
        self.bus.ask(Subject::Changes, question, others, PATIENCE, is_done).await?.unwrap_or(Err(none))
    }

    /// Changes what a user says of themselves on a topic, on one connection or on all their entries, wherever they are.
    /// Answers with the user as others see them.
    ///
    /// # Errors
    /// What `change` says of the fields of one entry, and then nothing has changed; [`Error::NotFound`] when the user
    /// has no such entry.
    pub async fn update(
        &self,
        key: &Key,
        user: Uuid,
        connection: Option<Uuid>,
        change: impl Fn(&Map<String, Value>) -> Result<Map<String, Value>>,
    ) -> Result<Json> {
        for _ in 0..ATTEMPTS {
            let orders = self.roster.update(key, user, connection, &change)?;
            if orders.is_empty() || self.have_obeyed(key, user, orders).await? {
                return self.roster.shown(key, user);
            }
        }
        Err(Error::Overloaded) // The entries change or move all the time.
    }

    /// Asks the other nodes to change their entries, and hears how they are there; false when one of them was another
    /// by then.
    async fn have_obeyed(&self, key: &Key, user: Uuid, orders: Vec<Order>) -> Result<bool> {
        let (wanted, mut obeyed) = (orders.len(), 0);
        let update = Update { topic: Key::clone(key), user, orders };
        let question = serde_json::to_vec(&update).map_err(|error| Error::Internal(error.to_string()))?;
        let hear = |answer: &[u8]| -> Option<()> {
            if let Ok(Some((node, count, told))) = serde_json::from_slice::<Updated>(answer) {
                obeyed += self.roster.hear(&node, told).map_or(0, |()| count);
            }
            None
        };
        self.bus.ask(Subject::Updates, question, self.nodes.count() - 1, PATIENCE, hear).await?;
        Ok(obeyed >= wanted)
    }

    async fn change_here(&self, change: TopicChange) -> Result<Vec<String>> {
        let (answer, mut answers) = tokio::sync::mpsc::channel(1);
        for hub in self.hubs() {
            let command = Command::Change(change.clone(), answer.clone());
            hub.send(command).await.map_err(|_| Error::Draining)?;
        }
        drop(answer);
        answers.recv().await.ok_or(Error::NotFound("connection"))?
    }

    /// Does what clients of other nodes ask for, for as long as the server runs.
    pub(super) async fn relay(&self) {
        if self.bus.is_connected().is_none() {
            return;
        }
        let mut words = self.bus.subscribe(Subject::Words).await;
        let mut questions = self.bus.subscribe(Subject::Changes).await;
        let mut updates = self.bus.subscribe(Subject::Updates).await;
        let mut changes = FuturesUnordered::new();
        loop {
            tokio::select! {
                word = words.next() => if let Some(word) = understand(&word) {
                    self.obey(word);
                },
                question = questions.next_question() => if changes.len() < CHANGES {
                    changes.push(self.answer(question));
                },
                question = updates.next_question() => {
                    let updated = understand(question.payload()).map(|update| self.obey_update(update));
                    self.reply(&question, &updated);
                }
                Some(()) = changes.next() => {}
            }
        }
    }

    fn obey(&self, word: Word) {
        match word {
            Word::Ephemeral { topic, kind, origin, envelope } => {
                let frame = Frame::ephemeral(&kind, &envelope);
                self.tell_here(Ephemeral { topic, kind, origin, frame });
            }
            // Where the right has ended there is nothing to tell.
            Word::Typing { topic, typist } => drop(self.start_typing_here(&topic, typist)),
            Word::TypingEnded { topic, user } => self.typing.stop(&topic, user),
            Word::LeaseEnded { topic, user, device } => self.roster.end_lease(&topic, user, &device),
        }
    }

    fn obey_update(&self, update: Update) -> (Key, usize, Told) {
        let Update { topic, user, orders } = update;
        let (obeyed, told) = self.roster.obey(&topic, user, orders);
        (self.nodes.name(), obeyed, told)
    }

    async fn answer(&self, question: Question) {
        let Some(change) = understand(question.payload()) else { return };
        let done = tokio::time::timeout(PATIENCE, self.change_for_another(change)).await;
        let answer = match done {
            Ok(Ok(topics)) => Answer::Changed(topics),
            Ok(Err(Error::NotFound(_) | Error::Draining)) => Answer::NotHere,
            Ok(Err(Error::Invalid(_))) => Answer::TooManyTopics,
            Ok(Err(_)) | Err(_) => Answer::Overloaded,
        };
        self.reply(&question, &answer);
    }

    fn reply(&self, question: &Question, answer: &impl Serialize) {
        if let Ok(answer) = serde_json::to_vec(answer) {
            self.bus.answer(question, answer);
        }
    }

    /// The rights were looked at by a node that may have read more of the log: what has ended rights up to there must
    /// be known here, lest it ends what was given anew.
    async fn change_for_another(&self, change: TopicChange) -> Result<Vec<String>> {
        while self.log.head() < change.as_of {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.change_here(change).await
    }

    fn say(&self, word: &Word) {
        self.publish(Subject::Words, word);
    }

    fn publish(&self, subject: Subject, what: &impl Serialize) {
        if self.bus.is_connected() == Some(true)
            && let Ok(what) = serde_json::to_vec(what)
        {
            self.bus.publish(subject, what);
        }
    }
}

fn understand<T: DeserializeOwned>(message: &[u8]) -> Option<T> {
    let understood = serde_json::from_slice(message);
    understood.inspect_err(|error| tracing::warn!(%error, "what another node says cannot be understood")).ok()
}
