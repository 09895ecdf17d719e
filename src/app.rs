//! The application: the state that everything shares, and the order in which it starts and stops.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use actix_web::{HttpServer, dev::ServerHandle, rt::net::TcpStream, web};
use prometheus::Registry;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    accounts::Passwords,
    clock::Clock,
    config::Settings,
    credentials::{self, Identity, LastUsed},
    dashboard::{self, Dashboard},
    db::{self, Db, Installation, Shared},
    error::Error,
    figures,
    files::Files,
    http::{self, idempotency, sse::ClientSocket},
    id::Ids,
    imports::Uploads,
    jobs::{self, Jobs},
    limits::Limits,
    presence,
    realtime::{Bus, Realtime, Rules, Tuning},
    seal::{self, Sealer},
    search,
    snippets::{self, Views},
};

/// How long a connection without a request stays open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long the last writes at a stop may take.
const LAST_WRITES: Duration = Duration::from_millis(500);

/// The state of one node.
pub struct App {
    pub settings: Settings,
    pub clock: Clock,
    pub ids: Arc<Ids>,
    pub db: Db,
    pub realtime: Arc<Realtime>,
    pub sealer: Sealer,
    pub passwords: Passwords,
    pub limits: Limits,
    pub running: idempotency::Running,
    pub files: Files,
    pub jobs: Jobs,
    pub uploads: Uploads,
    /// Reads of snippets that wait at the same time.
    pub reads: snippets::Reads,
    /// Credentials that are looked up at the same time, by their digests.
    pub identities: Shared<[u8; 32], Identity>,
    pub views: Views,
    pub dashboard: Dashboard,
    pub last_used: LastUsed,
}

/// Why a server cannot start, for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Database(#[from] db::StartError),
    #[error("cannot use the bus: {0}")]
    Bus(String),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("files cannot be kept in {0}: {1}")]
    Files(PathBuf, Error),
    #[error("cannot start: {0}")]
    Other(#[from] Error),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

impl App {
    pub(crate) async fn open(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        settings.warn();
        let ids = Arc::new(Ids::new(clock.clone()));
        let db = Db::open(&settings.database_url(), settings.database_connections).await?;
        let fresh = Installation { epoch: ids.epoch(), secret: ids.secret().to_vec() };
        let installation = db.installation(fresh).await?;
        let tuning = Tuning {
            heartbeat: settings.heartbeat,
            drain: settings.drain,
            ring_bytes: settings.history_memory,
            max_streams: settings.max_streams,
            roster: Rules { grace: settings.presence_grace, limit: settings.presence_limit },
        };
        let bus = match &settings.nats_url {
            Some(url) => Bus::connect(url, &installation.epoch).await.map_err(StartError::Bus)?,
            None => Bus::Local,
        };
        let sealer = Sealer::new(installation.secret);
        let own = seal::text(&sealer.derive(&[b"folder of the files"])[..9]);
        let files = Files::open(settings.files_url.as_deref(), &settings.data_dir, &own)
            .map_err(|error| StartError::Files(settings.data_dir.clone(), error))?;
        let (log, now) = (installation.epoch, clock.clone());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            realtime: Realtime::open(db.clone(), log, now, Arc::clone(&ids), tuning, bus).await?,
            sealer,
            passwords: Passwords::new(cores)?,
            limits: Limits::new(settings.rate_limit, settings.sign_in_limit),
            running: idempotency::Running::default(),
            files,
            jobs: Jobs::new(ids.next()),
            uploads: Uploads::default(),
            reads: snippets::Reads::default(),
            identities: Shared::new(1),
            views: Views::default(),
            dashboard: Dashboard::default(),
            last_used: LastUsed::default(),
            settings,
            clock,
            ids,
            db,
        })
    }
}

impl App {
    /// Counts a registration or a sign-in, at all nodes.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when it is one too many.
    pub fn count_sign_in(&self, address: IpAddr) -> Result<(), Error> {
        self.limits.sign_in(address)?;
        self.realtime.tell_attempt(address);
        Ok(())
    }
}

/// A running server.
pub struct Server {
    app: web::Data<App>,
    address: SocketAddr,
    handle: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    background: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a server; when this returns, it answers.
    ///
    /// # Errors
    /// When the address is taken, or the database cannot be used.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        // What TLS clients of this process encrypt with; where another server has said so before, it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listen = settings.listen;
        let listener = listen_on(listen).map_err(|error| StartError::Listen(listen, error))?;
        let address = listener.local_addr()?;
        let app = web::Data::new(App::open(settings, clock).await?);
        if let Err(error) = presence::take_over(&app).await {
            tracing::warn!(%error, "who was there before is not known");
        }
        let figures = figures::registry();
        let mut background = vec![tokio::spawn({
            let realtime = Arc::clone(&app.realtime);
            async move { realtime.run().await }
        })];
        background.push(tokio::spawn(jobs::periodic::run(app.clone().into_inner())));
        background.push(tokio::spawn(jobs::worker::run(app.clone().into_inner())));
        background.push(tokio::spawn({
            let app = app.clone();
            async move { app.realtime.hear_attempts(|address| app.limits.sign_in_elsewhere(address)).await }
        }));
        background.push(tokio::spawn({
            let app = app.clone();
            async move {
                let note = |(id, viewer)| app.views.counted_elsewhere(id, viewer, app.clock.now());
                app.realtime.hear_counted(note).await;
            }
        }));
        background.push(tokio::spawn(search::index_missing(app.clone().into_inner())));
        background.push(tokio::spawn(dashboard::run(app.clone().into_inner())));
        let (handle, serving) = serve(&app, figures, listener)?;
        Ok(Self { app, address, handle, serving, background })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends in order: streams are told and closed, running requests finish, what is written behind is written. What
    /// takes longer than it may is left behind: whoever ends the process would kill it next.
    pub async fn stop(self) {
        let Self { app, handle, serving, background, .. } = self;
        let drained = Instant::now() + app.settings.drain;
        let last = drained + app.settings.shutdown_timeout;
        app.realtime.start_draining();
        // Before the workers end: the hubs that tell the streams live on them.
        let _ = timeout_at(last, app.realtime.drain()).await;
        if app.realtime.nodes().is_some() {
            // Until then `/readyz` says that it ends, so that the proxy goes to the other nodes before the door closes.
            tokio::time::sleep_until(drained).await;
        }
        let ending = async { (handle.stop(true).await, serving.await).1 };
        match timeout_at(last, ending).await {
            Ok(Ok(Ok(()))) => {}
            Ok(ended) => tracing::error!(?ended, "the server did not end cleanly"),
            Err(_) => tracing::warn!("requests that still run are left behind"),
        }
        for task in &background {
            task.abort();
        }
        let closing = async {
            futures_util::future::join_all(background).await; // Ended by the abort, or before it.
            write_behind(&app).await;
            app.db.close().await;
        };
        if timeout_at(last.max(Instant::now()) + LAST_WRITES, closing).await.is_err() {
            tracing::warn!("the database did not take the last of what is written behind");
        }
    }
}

/// Writes what waits to be written behind, and says who takes over what this node leaves.
async fn write_behind(app: &App) {
    let report = |what: &str, result: Result<(), Error>| {
        if let Err(error) = result {
            tracing::warn!(%error, what, "something could not be written at the end");
        }
    };
    report("jobs, whose leases end by themselves", jobs::give_back(app).await);
    report("views", snippets::flush_views(app).await);
    report("who was seen", dashboard::flush_seen(app).await);
    report("when credentials were used", credentials::flush_last_used(app).await);
    // The other nodes know who was there, and wait for them.
    if app.realtime.nodes().is_none_or(|nodes| nodes == 1) {
        report("who is there", presence::hand_over(app).await);
    }
}

/// A listener that can take over the port of a server that ended a moment ago.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

fn serve(
    app: &web::Data<App>,
    figures: Registry,
    listener: TcpListener,
) -> std::io::Result<(ServerHandle, JoinHandle<std::io::Result<()>>)> {
    let shared = http::Shared::new(app.clone(), figures).map_err(std::io::Error::other)?;
    let settings = &app.settings;
    let stall = settings.stall_timeout;
    let mut server = HttpServer::new(move || crate::worker!(shared))
        .disable_signals()
        // Longer than proxies keep theirs (60 s, usually): who closes first must be the one that sends.
        .keep_alive(KEEP_ALIVE)
        // A client that has closed is gone at once, not when a write to it fails.
        .h1_allow_half_closed(false)
        // In whole seconds; `stop` does not wait that long.
        .shutdown_timeout(settings.shutdown_timeout.as_secs() + 1)
        .on_connect(move |io, connection| {
            let Some(stream) = io.downcast_ref::<TcpStream>() else { return };
            tune(stream, stall);
            match ClientSocket::of(stream) {
                Ok(socket) => drop(connection.insert(socket)),
                Err(error) => tracing::warn!(%error, "a connection cannot be handed over"),
            }
        });
    if let Some(workers) = settings.workers {
        server = server.workers(workers.into());
    }
    let server = server.listen(listener)?.run();
    Ok((server.handle(), tokio::spawn(server)))
}

/// The options of a client's socket. Without the low-water mark the kernel takes megabytes for a reader that has
/// stalled, and without the timeout it keeps them: a full socket is never written to, so nothing fails.
fn tune(stream: &TcpStream, stall: Duration) {
    let socket = socket2::SockRef::from(stream);
    let tuned = socket.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    let tuned = tuned
        .and_then(|()| socket.set_tcp_notsent_lowat(16_384))
        .and_then(|()| socket.set_tcp_user_timeout(Some(stall)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a socket could not be tuned; its client has probably gone");
    }
}
