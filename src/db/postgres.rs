//! PostgreSQL: one pool for reading and writing.
//!
//! The pool itself cannot tell a database that is away from one that is busy: in both cases no connection comes.
//! So when none has come for a while, one connection is tried beside the pool, for all who wait.

use std::{
    pin::pin,
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    StartError,
    migrate::{self, POSTGRES},
};
use crate::error::{Error, Result};

/// How long a request waits for a connection of a pool that is busy.
const BUSY: Duration = Duration::from_secs(5);
/// How long it waits before it asks whether the database is there at all.
const DOUBT: Duration = Duration::from_millis(500);
/// How long the answer to that may take: a refusal comes at once, but a busy machine is no machine that is away.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// The same once it was away: just long enough to find out that it is back.
const AWAY: Duration = Duration::from_millis(50);
/// How soon a statement ends whose client has gone.
const LOOK_FOR_CLIENT: &str = "SET client_connection_check_interval = '200ms'";
/// What each session asks of the server.
const SESSION: [(&str, &str); 5] = [
    // Its notices are for those who type SQL: that a table exists already, for instance.
    ("client_min_messages", "warning"),
    // A node that is gone without a word leaves its transaction open, and with it what that has locked: the rows of
    // its jobs are let go before their lease ends.
    ("idle_in_transaction_session_timeout", "20s"),
    // Its other sessions are found out after 90 s instead of two hours.
    ("tcp_keepalives_idle", "60"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];
/// How long the program waits at its start.
const START: Duration = Duration::from_secs(5);

/// The pool, and what is known of the database behind it.
#[derive(Clone)]
pub(super) struct Database {
    pub(super) pool: PgPool,
    options: Arc<PgConnectOptions>,
    away: Arc<AtomicBool>,
    asked: Arc<Mutex<Option<Asked>>>,
}

/// When the database was asked for a sign of life, and what it said.
struct Asked {
    at: Instant,
    answer: Result<()>,
}

pub(super) async fn open(url: &str, connections: u32) -> Result<Database, StartError> {
    let options = options(url)?;
    let mut conn = Box::pin(connect_at_start(&options)).await?;
    migrate::run(&POSTGRES, &mut conn).await?;
    conn.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY)
        .after_connect(|conn, _| Box::pin(look_for_client(conn)));
    Ok(Database {
        pool: pool.connect_lazy_with(options.clone()),
        options: Arc::new(options),
        away: Arc::default(),
        asked: Arc::default(),
    })
}

/// Lets the database stop a statement soon when its client has gone. Where its system cannot tell, it goes on.
async fn look_for_client(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    match conn.execute(LOOK_FOR_CLIENT).await {
        Err(sqlx::Error::Database(error)) => {
            tracing::warn!(%error, "searches whose clients have gone will run to their ends");
            Ok(())
        }
        done => done.map(|_| ()),
    }
}

/// One connection, or why there is none.
async fn connect(options: &PgConnectOptions, patience: Duration) -> Result<PgConnection, String> {
    match timeout(patience, options.connect()).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(patience))),
    }
}

impl Database {
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        Ok(Transaction::begin(self.acquire().await?, None).await?)
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>> {
        let mut acquire = pin!(self.pool.acquire());
        let patience = if self.away.load(Ordering::Relaxed) { AWAY } else { DOUBT };
        let acquired = if let Ok(acquired) = timeout(patience, &mut acquire).await {
            acquired?
        } else {
            // Boxed, because every request would carry the room for this rare question.
            Box::pin(self.require_reachable()).await?;
            acquire.await?
        };
        self.away.store(false, Ordering::Relaxed);
        Ok(acquired)
    }

    /// Asks the database for a sign of life, once for all who want to know at the same time.
    async fn require_reachable(&self) -> Result<()> {
        let mut asked = self.asked.lock().await;
        if let Some(Asked { at, answer }) = &*asked
            && at.elapsed() < DOUBT
        {
            return answer.clone();
        }
        let answer = match connect(&self.options, SIGN_OF_LIFE).await {
            Ok(conn) => conn.close().await.map_err(|error| Error::Unreachable(error.to_string())),
            Err(reason) => Err(Error::Unreachable(reason)),
        };
        self.away.store(answer.is_err(), Ordering::Relaxed);
        *asked = Some(Asked { at: Instant::now(), answer: answer.clone() });
        answer
    }
}

/// One connection, for the commands.
pub(super) async fn open_one(url: &str) -> Result<PgConnection, StartError> {
    connect_at_start(&options(url)?).await
}

async fn connect_at_start(options: &PgConnectOptions) -> Result<PgConnection, StartError> {
    let (host, port, name) = (options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
    let refused = |reason| StartError::Open(format!("{host}:{port}/{name}"), reason);
    connect(options, START).await.map_err(refused)
}

fn options(url: &str) -> Result<PgConnectOptions, StartError> {
    let options = PgConnectOptions::from_str(url).map_err(|error| StartError::Url(error.to_string()))?;
    Ok(options.application_name("snippetbox").options(SESSION).disable_statement_logging())
}
