//! The log, and the hubs that bring it to the connections. Nothing here knows a feature.
#![deny(missing_docs)]

mod board;
mod connection;
mod effect;
mod event;
mod history;
mod hub;
mod log;
mod retention;
mod rights;
mod ring;
mod sequencer;
mod stream;
mod subscription;
mod typing;
mod upkeep;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use self::board::Board;
pub use self::{
    effect::Effect,
    event::{Envelope, Frame, Json, Key, visible},
    history::{Since, Start},
    hub::{Hub, MAX_TOPICS, Opening, TopicChange},
    log::{Log, NewEvent, append},
    stream::ConnectionStream,
    subscription::{Subscription, Viewer, Wishes},
    typing::Typing,
};
use crate::{
    clock::Clock,
    db::Db,
    error::{Error, Result},
    id::Ids,
};

/// How many commands may wait for one worker's hub.
const INBOX: usize = 4_096;

/// The figures that the hubs work by.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The time between two heartbeats of a connection.
    pub heartbeat: Duration,
    /// Over how long the streams are closed at shutdown.
    pub drain: Duration,
    /// How much of the log each node keeps in memory.
    pub ring_bytes: usize,
}

/// An event that is not kept: it reaches who is there.
#[derive(Debug, Clone)]
pub struct Ephemeral {
    /// The topic.
    pub topic: Key,
    /// The name.
    pub kind: Box<str>,
    /// The connection that caused it.
    pub origin: Option<Uuid>,
    /// The encoded event.
    pub frame: Frame,
}

/// What a node asks of the hubs of its workers.
enum Command {
    Tell(Arc<Ephemeral>),
    Change(TopicChange, mpsc::Sender<Result<Vec<String>>>),
    Drain(oneshot::Sender<()>),
}

/// The live side of one node: its log, and one hub for each worker.
pub struct Realtime {
    /// The log.
    pub log: Log,
    /// Who is typing.
    pub typing: Typing,
    /// The place in the log up to which the ends of rights are known here.
    rights_through: Mutex<u64>,
    db: Db,
    clock: Clock,
    ids: Arc<Ids>,
    tuning: Tuning,
    board: Board,
    hubs: Mutex<Vec<mpsc::Sender<Command>>>,
    draining: AtomicBool,
}

/// A hub's end of the lines from its node.
struct Lines {
    events: Arc<Notify>,
    commands: mpsc::Receiver<Command>,
}

impl Realtime {
    /// The live side of a node on `db`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(
        db: Db,
        epoch: String,
        clock: Clock,
        ids: Arc<Ids>,
        tuning: Tuning,
    ) -> Result<Arc<Self>> {
        let log = Log::open(db.clone(), epoch, tuning.ring_bytes).await?;
        Ok(Arc::new(Self {
            typing: Typing::new(clock.clone()),
            rights_through: Mutex::new(log.head()),
            log,
            db,
            clock,
            ids,
            tuning,
            board: Board::default(),
            hubs: Mutex::default(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Follows the log (and, on PostgreSQL, numbers it) and tells who is there, for as long as the server runs.
    pub async fn run(&self) {
        tokio::join!(self.log.follow(), sequencer::run(&self.db, &self.log), self.typing.run(self));
    }

    /// The seconds between two heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.tuning.heartbeat
    }

    /// Tells those who are connected now. A hub that has thousands of commands waiting misses it: what is not kept
    /// may be lost, and must not hold up the caller.
    pub fn tell(&self, ephemeral: Ephemeral) {
        let ephemeral = Arc::new(ephemeral);
        for hub in self.hubs() {
            if hub.try_send(Command::Tell(Arc::clone(&ephemeral))).is_err() {
                metrics::counter!("snippetbox_ephemeral_dropped_total").increment(1);
            }
        }
    }

    /// Tells the present state of something on a topic, as [`tell`](Self::tell) does. While it `holds`, whoever
    /// comes later is told right after `ready`; a state that is told as over (nobody types) does not hold.
    pub fn show(&self, ephemeral: Ephemeral, holds: bool) {
        let kept = holds.then(|| ephemeral.frame.clone());
        self.board.post(&ephemeral.topic, &ephemeral.kind, kept);
        self.tell(ephemeral);
    }

    /// Changes the topics of an open connection, wherever its worker is, and answers with the topics it has then.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no such connection is open, or it is somebody else's.
    pub async fn change(&self, change: TopicChange) -> Result<Vec<String>> {
        let (answer, mut answers) = mpsc::channel(1);
        for hub in self.hubs() {
            let command = Command::Change(change.clone(), answer.clone());
            hub.send(command).await.map_err(|_| Error::Draining)?;
        }
        drop(answer);
        answers.recv().await.ok_or(Error::NotFound("connection"))?
    }

    /// Whether the server is about to stop, so that nothing new should begin.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Says from now on that the server is about to stop.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Ends all streams, spread over the drain time, and waits until they are told.
    pub async fn drain(&self) {
        self.start_draining();
        let mut drained = Vec::new();
        for hub in self.hubs() {
            let (done, wait) = oneshot::channel();
            if hub.send(Command::Drain(done)).await.is_ok() {
                drained.push(wait);
            }
        }
        futures_util::future::join_all(drained).await;
    }

    fn attach(&self) -> Lines {
        let (sender, commands) = mpsc::channel(INBOX);
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Lines { events: self.log.subscribe(), commands }
    }

    fn hubs(&self) -> Vec<mpsc::Sender<Command>> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
