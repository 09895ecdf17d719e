//! How the nodes of a cluster talk to each other.
//!
//! The bus reaches the *other* nodes; what a node has for itself never crosses it. What goes over it would be found
//! in the database anyway, later, or is a state that is told again. So a message may be lost, nobody waits for one,
//! and a node whose bus is away goes on.

mod nats;

use std::time::Duration;

use bytes::Bytes;

use self::nats::Nats;
use crate::error::{Error, Result};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Events that have got their places in the log.
    Log,
    /// Something was committed that may wait for its place.
    Committed,
    /// Which nodes live, and who is there with them.
    Nodes,
    /// What clients do to those of other nodes.
    Words,
    /// Questions to change a stream that is open elsewhere.
    Changes,
    /// Questions to have users say something else of themselves.
    Updates,
    /// Attempts that are limited over all nodes.
    Attempts,
    /// What one node has counted, and the others are not to count again.
    Counted,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Committed => "committed",
            Self::Nodes => "nodes",
            Self::Words => "words",
            Self::Changes => "changes",
            Self::Updates => "updates",
            Self::Attempts => "attempts",
            Self::Counted => "counted",
        }
    }
}

/// The way to the other nodes.
pub enum Bus {
    /// There are none.
    Local,
    /// They meet at a NATS server.
    Nats(Nats),
}

/// What comes in on a subject.
pub(super) enum Inbox {
    Local,
    Nats(nats::Inbox),
}

/// A message that waits for an answer.
pub(super) struct Question(async_nats::Message);

impl Bus {
    /// The bus at `url`; nodes of the same `epoch` hear each other. The server may be away, now or later: the bus
    /// connects again by itself.
    ///
    /// # Errors
    /// When the address is none.
    pub async fn connect(url: &str, epoch: &str) -> Result<Self, String> {
        Nats::connect(url, epoch).await.map(Self::Nats)
    }

    /// Whether the other nodes can be reached; nothing where there are none.
    #[must_use]
    pub fn is_connected(&self) -> Option<bool> {
        match self {
            Self::Local => None,
            Self::Nats(nats) => Some(nats.is_connected()),
        }
    }

    /// Tells the other nodes something. It is dropped where the bus is away or too slow.
    pub(super) fn publish(&self, subject: Subject, payload: impl Into<Bytes>) {
        if let Self::Nats(nats) = self {
            nats.publish(subject, payload.into());
        }
    }

    /// Asks the other nodes, until an answer is the one that was looked for; nothing when as many as there are have
    /// answered without it.
    ///
    /// # Errors
    /// When the bus is away, or not all have answered in time.
    pub(super) async fn ask<T>(
        &self,
        subject: Subject,
        question: Vec<u8>,
        others: usize,
        patience: Duration,
        mut found: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let Self::Nats(nats) = self else { return Ok(None) };
        let asked = nats.ask(subject, question.into()).await;
        let mut answers = asked.ok_or(Error::Overloaded)?;
        let collect = async {
            for _ in 0..others {
                if let Some(answer) = found(&answers.next().await.payload) {
                    return Some(answer);
                }
            }
            None
        };
        tokio::time::timeout(patience, collect).await.map_err(|_| Error::Overloaded)
    }

    /// Answers a question of another node.
    pub(super) fn answer(&self, question: &Question, answer: Vec<u8>) {
        if let (Self::Nats(nats), Some(asker)) = (self, &question.0.reply) {
            nats.send(asker.clone(), answer.into());
        }
    }

    /// What the other nodes tell from now on.
    pub(super) async fn subscribe(&self, subject: Subject) -> Inbox {
        match self {
            Self::Local => Inbox::Local,
            Self::Nats(nats) => nats.subscribe(subject).await.map_or(Inbox::Local, Inbox::Nats),
        }
    }
}

impl Inbox {
    /// The next message; on a node without others it never comes.
    pub(super) async fn next(&mut self) -> Bytes {
        match self {
            Self::Local => std::future::pending().await,
            Self::Nats(inbox) => inbox.next().await.payload,
        }
    }

    /// The next message, which may be answered.
    pub(super) async fn next_question(&mut self) -> Question {
        match self {
            Self::Local => std::future::pending().await,
            Self::Nats(inbox) => Question(inbox.next().await),
        }
    }
}

impl Question {
    pub(super) fn payload(&self) -> &[u8] {
        &self.0.payload
    }
}
