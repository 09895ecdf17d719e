//! The workers of a node: they claim jobs, hold on to them, tell how far they are, and end them.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{self, Instant},
};

use super::{Job, JobError, Kind, Meter, Progress, Status, shown, store, tell_end};
use crate::{
    accounts,
    app::App,
    db::within,
    error::{Error, Result},
    exports, imports, notifications,
    realtime::{Envelope, Ephemeral, Frame},
};

/// How many jobs one node works on at once.
const AT_ONCE: usize = 2;
/// How long a worker that says nothing keeps its job.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often the lease is renewed and the progress told: at least each second, and at most ten times. Not in step with
/// [`POLL`]: whoever looks for given-up jobs would always look right after it.
const RENEWAL: Duration = Duration::from_millis(450);
/// How long one renewal may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long workers wait to be woken before they look by themselves.
const POLL: Duration = Duration::from_secs(1);
/// After how many claims a job is given up: it may be what kills its servers.
const MAX_ATTEMPTS: i64 = 20;

/// Why a job's work has stopped.
pub enum Stop {
    /// It cannot be done, and trying again would not help.
    Refused(JobError),
    /// Something of the server's failed; the job is tried again when the lease has ended.
    Broken(Error),
    /// It is somebody else's job by now, or nobody's.
    Lost,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// Works for as long as the server runs.
pub async fn run(app: Arc<App>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while running.try_join_next().is_some() {}
        match within(LEASE, claim(&app)).await {
            Ok(Some(job)) => {
                let app = Arc::clone(&app);
                running.spawn(async move {
                    work(&app, job).await;
                    drop(place);
                });
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "no job can be claimed; trying again"),
        }
        drop(place);
        tokio::select! {
            () = app.jobs.added.notified() => {}
            () = time::sleep(POLL) => {}
        }
    }
}

/// Lets others take up what this node was working on, when it stops.
///
/// # Errors
/// When the database does not answer; then the leases end by themselves.
pub async fn give_back(app: &App) -> Result<()> {
    let mut tx = app.db.write().await?;
    store::give_back(tx.conn().await?, app.jobs.node).await?;
    tx.commit().await
}

async fn claim(app: &App) -> Result<Option<Job>> {
    let now = app.clock.now();
    if !store::is_any_free(app.db.read().await?.conn(), now).await? {
        return Ok(None); // Found out without the writer, which others need.
    }
    let mut tx = app.db.write().await?;
    let claimed = store::claim(tx.conn().await?, app.jobs.node, now, now.plus(LEASE)).await?;
    tx.commit().await?;
    Ok(claimed)
}

async fn work(app: &App, job: Job) {
    tracing::info!(job.id = %job.id, kind = job.kind.name(), attempt = job.attempt, "a job begins");
    let meter = Meter::new();
    let result = tokio::select! {
        result = perform(app, &job, &meter) => result,
        () = hold(app, &job, &meter) => Err(Stop::Lost),
    };
    let ended = match result {
        Ok(()) => end(app, &job, &meter, Status::Completed, None).await,
        Err(Stop::Refused(error)) => end(app, &job, &meter, Status::Failed, Some(error)).await,
        // Its owner can do something about it, or ask again; the upload of an import is kept.
        Err(Stop::Broken(Error::StorageFull)) if job.kind == Kind::Export => {
            let error = JobError { code: "storage_full".to_owned(), detail: Error::StorageFull.to_string() };
            end(app, &job, &meter, Status::Failed, Some(error)).await
        }
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::Lost) => Ok(()),
    };
    match ended {
        Ok(()) => tracing::info!(job.id = %job.id, "the work on a job ends"),
        Err(error) => tracing::error!(%error, job.id = %job.id, "a job broke off; it is tried again"),
    }
}

async fn perform(app: &App, job: &Job, meter: &Meter) -> Result<(), Stop> {
    // What has been begun for good is carried through, whatever it takes.
    if job.attempt > MAX_ATTEMPTS && job.checkpoint == 0 {
        let detail =
            format!("the work was begun {MAX_ATTEMPTS} times and broke off; the server's log knows more");
        return Err(Stop::Refused(JobError { code: "gave_up".to_owned(), detail }));
    }
    match job.kind {
        Kind::Export => exports::perform(app, job, meter).await,
        Kind::Import => imports::perform(app, job, meter).await,
    }
}

/// Renews the lease and tells how far the job is, until the job is somebody else's or nobody's. Only whoever has just
/// renewed it tells: nothing comes after the event that ended it.
async fn hold(app: &App, job: &Job, meter: &Meter) {
    let mut tick = time::interval(RENEWAL);
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    // Where the database says nothing, the lease ends all the same, and others may have the job.
    while renewed.elapsed() < LEASE {
        let is_due = tokio::select! {
            _ = tick.tick() => true,
            () = app.jobs.ended.notified() => false,
        };
        let progress = meter.read();
        match within(PATIENCE, renew(app, job, progress)).await {
            Ok(true) => renewed = Instant::now(),
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, job.id = %job.id, "a lease could not be renewed");
                continue;
            }
        }
        if is_due && let Err(error) = tell(app, &Job { progress, ..job.clone() }) {
            tracing::warn!(%error, job.id = %job.id, "progress could not be told");
        }
    }
}

async fn renew(app: &App, job: &Job, progress: Progress) -> Result<bool> {
    let mut tx = app.db.write().await?;
    let held = store::renew(tx.conn().await?, job, progress, app.clock.now().plus(LEASE)).await?;
    tx.commit().await?;
    Ok(held)
}

/// Tells the owner how far a job is.
fn tell(app: &App, job: &Job) -> Result<()> {
    let kind = match job.kind {
        Kind::Export => "export_progress",
        Kind::Import => "import_progress",
    };
    let (topic, data) = (job.kind.key(job.owner.id), shown(app, job)?);
    let at = app.clock.now();
    let envelope = Envelope { id: None, kind, topic: Some(job.kind.topic()), at, actor: None, data: &data };
    let frame = Frame::encode(&envelope, None)?;
    app.realtime.tell(Ephemeral { topic, kind: kind.into(), origin: None, frame });
    Ok(())
}

/// Ends a job that is still this claim's, and tells so; what nobody will ask for is removed.
async fn end(app: &App, job: &Job, meter: &Meter, status: Status, error: Option<JobError>) -> Result<()> {
    let now = app.clock.now();
    let expires_at = Some(now.plus(app.settings.export_ttl));
    let progress = meter.read();
    let ended = Job { status, progress, error, finished_at: Some(now), expires_at, ..job.clone() };
    let is_ours = within(LEASE, Box::pin(settle(app, &ended))).await?;
    let is_needless = match job.kind {
        // The archive of an attempt that came too late, or to nothing.
        Kind::Export => !is_ours || status == Status::Failed,
        Kind::Import => is_ours,
    };
    if is_needless {
        app.files.remove(&job.file()).await?;
    }
    Ok(())
}

/// Writes down that a job has ended; false when it is somebody else's by now.
async fn settle(app: &App, ended: &Job) -> Result<bool> {
    let mut tx = app.db.write().await?;
    // Held first, as by whoever deletes the account with its jobs.
    let is_there = !accounts::hold(&mut tx, &[ended.owner.id]).await?.is_empty();
    let is_ours = is_there && store::end(tx.conn().await?, ended).await?;
    if is_ours {
        tell_end(app, &mut tx, None, ended).await?;
        if ended.kind == Kind::Export && ended.status == Status::Completed {
            let notice = exports::completed(ended);
            notifications::notify(app, &mut tx, None, ended.owner.id, notice).await?;
        }
    }
    tx.commit().await?;
    Ok(is_ours)
}
