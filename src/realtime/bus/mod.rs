//! How the nodes of a cluster talk to each other.
//!
//! The bus reaches the *other* nodes; what a node has for itself never crosses it. What goes over it would be found
//! in the database anyway, later, or is a state that is told again. So a message may be lost, nobody waits for one,
//! and a node whose bus is away goes on.

mod nats;

use bytes::Bytes;

use self::nats::Nats;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Events that have got their places in the log.
    Log,
    /// Something was committed that may wait for its place.
    Committed,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Committed => "committed",
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
            Self::Nats(inbox) => inbox.next().await,
        }
    }
}
