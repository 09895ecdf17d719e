//! The log, and the hubs that bring it to the connections. Nothing here knows a feature.
#![deny(missing_docs)]

mod attendance;
mod board;
mod bus;
mod connection;
mod delivery;
mod effect;
mod ephemeral;
mod event;
mod follow;
mod frame;
mod history;
mod hub;
mod log;
mod nodes;
mod online;
mod queue;
mod relay;
mod retention;
mod rights;
mod ring;
mod roster;
mod run;
mod sequencer;
mod socket;
mod stream;
mod subscription;
mod typing;
mod upkeep;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use self::{board::Board, connection::Connection, nodes::Nodes, online::Online, roster::Announcement};
pub use self::{
    bus::Bus,
    effect::Effect,
    ephemeral::Ephemeral,
    event::{Event, Json, Key, visible},
    frame::{Envelope, Form, Frame},
    history::{Since, Start},
    hub::{Hub, MAX_TOPICS, Opening, Renewal, TopicChange},
    log::{Log, NewEvent, append, append_numbered, take_from_feeds},
    roster::{Lease, Meta, Newcomer, Present, Roster, Rules},
    sequencer::report_lag,
    socket::take_over,
    stream::ConnectionStream,
    subscription::{Presence, Subscription, Viewer, Wishes},
    typing::{Typing, Typist},
};
use crate::{
    clock::Clock,
    db::Db,
    error::{Error, Result},
    id::Ids,
    seal,
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
    /// How many streams may be open at once.
    pub max_streams: usize,
    /// How long and how many users are known to each other.
    pub roster: Rules,
}

/// What a node asks of the hubs of its workers.
enum Command {
    Tell(Arc<Ephemeral>),
    Announce(Arc<Vec<Announcement>>),
    Change(TopicChange, mpsc::Sender<Result<Vec<String>>>),
    Drain(oneshot::Sender<()>),
}

/// The live side of one node: its log, and one hub for each worker.
pub struct Realtime {
    /// The log.
    pub log: Log,
    /// Who is typing.
    pub typing: Typing,
    /// Who is there.
    pub roster: Roster,
    /// The place in the log up to which the ends of rights are known here.
    rights_through: Mutex<u64>,
    db: Db,
    clock: Clock,
    ids: Arc<Ids>,
    tuning: Tuning,
    /// The way to the other nodes.
    pub bus: Bus,
    nodes: Nodes,
    board: Board,
    online: Online,
    hubs: Mutex<Vec<mpsc::Sender<Command>>>,
    draining: AtomicBool,
    /// How many streams are open; each hub counts its own.
    open_streams: AtomicUsize,
}

/// A hub's end of the lines from its node.
struct Lines {
    events: Arc<Notify>,
    commands: mpsc::Receiver<Command>,
}

impl Realtime {
    /// The live side of a node on `db`, whose other nodes are at the other ends of `bus`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(
        db: Db,
        epoch: String,
        clock: Clock,
        ids: Arc<Ids>,
        tuning: Tuning,
        bus: Bus,
    ) -> Result<Arc<Self>> {
        let log = Log::open(db.clone(), epoch, tuning.ring_bytes).await?;
        // No other node or run has it.
        let name = seal::text(&ids.secret()[..6]);
        Ok(Arc::new(Self {
            typing: Typing::new(clock.clone()),
            nodes: Nodes::new(&name),
            roster: Roster::new(clock.clone(), tuning.roster, name),
            rights_through: Mutex::new(log.head()),
            log,
            db,
            clock,
            ids,
            tuning,
            bus,
            board: Board::default(),
            online: Online::default(),
            hubs: Mutex::default(),
            draining: AtomicBool::new(false),
            open_streams: AtomicUsize::new(0),
        }))
    }

    /// Follows the log (and, on PostgreSQL, numbers it) and tells who is there, for as long as the server runs.
    pub async fn run(&self) {
        let (following, numbering) =
            (self.log.follow(&self.bus), sequencer::run(&self.db, &self.log, &self.bus));
        tokio::join!(
            following,
            numbering,
            self.typing.run(self),
            self.roster.run(self),
            self.nodes.run(&self.bus, &self.roster, &self.online),
            self.relay()
        );
    }

    /// The seconds between two heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.tuning.heartbeat
    }

    /// The users who have a stream open on this node.
    pub fn users_online(&self) -> Vec<Uuid> {
        self.online.users()
    }

    /// How many users have a stream open, and how many streams are open of nobody in particular. A user of several
    /// nodes counts at each.
    pub fn online(&self) -> u64 {
        self.online.count() + self.nodes.online()
    }

    /// Whether the server is about to stop, so that nothing new should begin.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Says from now on that the server is about to stop.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.nodes.leave(&self.bus);
    }

    /// How many nodes live, this one included; nothing where there can be no others.
    pub fn nodes(&self) -> Option<usize> {
        self.bus.is_connected().map(|_| self.nodes.count())
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

    /// Counts one more stream.
    fn admit(&self) -> Result<()> {
        if self.is_draining() {
            return Err(Error::Draining);
        }
        if self.open_streams.fetch_add(1, Ordering::SeqCst) >= self.tuning.max_streams {
            self.open_streams.fetch_sub(1, Ordering::SeqCst);
            return Err(Error::Overloaded);
        }
        metrics::gauge!("snippetbox_stream_connections").increment(1.0);
        Ok(())
    }

    /// Counts one stream less, and tells how long it was open.
    fn dismiss(&self, connection: &Connection) {
        self.open_streams.fetch_sub(1, Ordering::SeqCst);
        metrics::gauge!("snippetbox_stream_connections").decrement(1.0);
        if connection.backlog() > 0 {
            metrics::counter!("snippetbox_streams_cut_with_backlog_total").increment(1);
        }
        let span = self.clock.now().unix_millis() - connection.opened_at.unix_millis();
        let duration = Duration::from_millis(u64::try_from(span).unwrap_or(0));
        metrics::histogram!("snippetbox_stream_seconds").record(duration.as_secs_f64());
        let (connection, duration_ms) = (connection.id, duration.as_millis());
        tracing::info!(target: "snippetbox::access", %connection, duration_ms, "the stream ended");
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
