//! Jobs: work that outlives its request, and the server that took it on.
//!
//! A job is a row. A worker claims it under a lease that it renews; when the worker dies, the lease ends and another
//! one claims the job again. Every claim has a number, the attempt, and whoever changes a job names it: a worker
//! that was given up can change nothing any more. The event that ends a job is appended in the transaction that
//! makes its state final, so there is exactly one.

mod files;
mod job;
mod pace;
pub mod periodic;
mod store;
pub mod worker;

use serde::Serialize;
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::{
    files::{UPLOAD_TIME, remove_expired, remove_left_over, upload},
    job::{Job, JobError, JobId, Kind, Meter, Progress, Status},
    pace::Pace,
    worker::{LEASE, Stop, give_back},
};
use crate::{
    accounts::{Profile, UserId},
    app::App,
    credentials::{Caller, Scope},
    db::{Conn, WriteTx},
    error::{Error, Result},
    exports, imports,
    realtime::{self, Json, NewEvent},
};

/// How many jobs of one kind a user may have, those that have ended and are kept among them.
const PER_USER: i64 = 20;

/// The jobs of this node.
pub struct Jobs {
    /// What tells this process from the others.
    node: Uuid,
    added: Notify,
    ended: Notify,
}

impl Jobs {
    /// Those of a node that begins, under a name of its own.
    #[must_use]
    pub fn new(node: Uuid) -> Self {
        Self { node, added: Notify::new(), ended: Notify::new() }
    }

    /// Wakes this node's workers, after the commit of a new job; the others look each second.
    pub fn wake(&self) {
        self.added.notify_one();
    }

    /// Lets this node's workers look whether their jobs are still theirs, after the commit that has ended one; the others
    /// look at their next renewal.
    pub fn look(&self) {
        self.ended.notify_waiters();
    }
}

/// Takes on a job of the caller's.
pub async fn add(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    new: (JobId, Kind),
    bytes: i64,
    request: &impl Serialize,
) -> Result<Job> {
    let who = caller.require_user()?;
    let (id, kind) = new;
    // One after the other: two at once would not see each other.
    store::take_turn(tx.conn().await?, who.id).await?;
    require_room(tx.conn().await?, who.id, kind).await?;
    let job = Job {
        id,
        kind,
        owner: Profile { id: who.id, name: who.name.clone() },
        status: Status::Queued,
        version: 1,
        attempt: 0,
        request: Json::of(request)?.as_str().to_owned(),
        checkpoint: 0,
        progress: Progress { bytes, ..Progress::default() },
        error: None,
        created_at: app.clock.now(),
        finished_at: None,
        expires_at: None,
    };
    store::insert(tx.conn().await?, &job).await?;
    Ok(job)
}

/// Requires that a user may have one more job of a kind.
pub async fn require_room(conn: Conn<'_>, owner: UserId, kind: Kind) -> Result<()> {
    if store::count(conn, owner, kind).await? >= PER_USER {
        return Err(Error::Conflict("you have 20 of these already: remove one, or wait until one expires"));
    }
    Ok(())
}

/// A job for its owner or an administrator.
pub async fn find(app: &App, caller: &Caller, kind: Kind, id: JobId) -> Result<Job> {
    caller.require(Scope::Read)?;
    let mut conn = app.db.read().await?;
    let found = store::find(conn.conn(), id).await?;
    found.filter(|job| may_see(caller, job, kind)).ok_or(Error::NotFound(kind.name()))
}

/// A job for whoever knows something that only this server can have made of it.
pub async fn find_for(app: &App, kind: Kind, id: JobId, knows: impl Fn(&Job) -> bool) -> Result<Job> {
    let mut conn = app.db.read().await?;
    let found = store::find(conn.conn(), id).await?;
    found.filter(|job| job.kind == kind && knows(job)).ok_or(Error::NotFound(kind.name()))
}

fn may_see(caller: &Caller, job: &Job, kind: Kind) -> bool {
    job.kind == kind && (caller.user() == Some(job.owner.id) || caller.is_admin())
}

/// One page of the caller's jobs, the newest first, and the position behind it if there are more.
pub async fn list(
    app: &App,
    caller: &Caller,
    kind: Kind,
    after: Option<JobId>,
    limit: u32,
) -> Result<(Vec<Job>, Option<JobId>)> {
    let owner = caller.require(Scope::Read)?.id;
    let mut conn = app.db.read().await?;
    let mut found = store::page(conn.conn(), owner, kind, after, i64::from(limit) + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|last| last.id);
    Ok((found, next))
}

/// Cancels a job that has not ended, or removes one that has, if its version `allows` it. Answers with the job as it was.
pub async fn cancel_or_remove(
    app: &App,
    tx: &mut WriteTx,
    caller: &Caller,
    kind: Kind,
    id: JobId,
    allows: impl Fn(i64) -> bool,
) -> Result<Job> {
    caller.require(Scope::Write)?;
    let found = store::lock(tx.conn().await?, id).await?;
    let job = found.filter(|job| may_see(caller, job, kind)).ok_or(Error::NotFound(kind.name()))?;
    if !allows(job.version) {
        return Err(Error::Stale);
    }
    if job.status.is_final() {
        store::delete(tx.conn().await?, id).await?;
        return Ok(job);
    }
    if job.checkpoint > 0 {
        return Err(Error::Conflict("it has been checked and is being written: it will end by itself"));
    }
    let now = app.clock.now();
    let expires_at = Some(now.plus(app.settings.export_ttl));
    let cancelled = Job { status: Status::Cancelled, finished_at: Some(now), expires_at, ..job.clone() };
    store::end(tx.conn().await?, &cancelled).await?;
    tell_end(app, tx, Some(caller), &cancelled).await?;
    Ok(job)
}

/// Says how much of a job is done for good, in the transaction that does it. False when the job is somebody else's
/// by now; then nothing may be done.
pub async fn reach(tx: &mut WriteTx, job: &Job, checkpoint: i64) -> Result<bool> {
    store::set_checkpoint(tx.conn().await?, job, checkpoint).await
}

/// Tells the owner that a job has ended, in the transaction that ends it.
async fn tell_end(app: &App, tx: &mut WriteTx, caller: Option<&Caller>, job: &Job) -> Result<()> {
    let kind = match (job.kind, job.status) {
        (Kind::Export, Status::Completed) => "export_completed",
        (Kind::Export, Status::Failed) => "export_failed",
        (Kind::Export, _) => "export_cancelled",
        (Kind::Import, Status::Completed) => "import_completed",
        (Kind::Import, Status::Failed) => "import_failed",
        (Kind::Import, _) => "import_cancelled",
    };
    let event = NewEvent {
        kind,
        topic: job.kind.key(job.owner.id).to_string(),
        feed: None,
        audience: Some(job.owner.id.0),
        effect: None,
        actor: caller.map(Caller::actor).transpose()?.flatten(),
        origin: caller.and_then(|caller| caller.connection),
        data: shown(app, job)?,
        at: app.clock.now(),
    };
    realtime::append(tx, event).await?;
    Ok(())
}

/// A job as clients see it.
fn shown(app: &App, job: &Job) -> Result<Json> {
    match job.kind {
        Kind::Export => Json::of(&exports::Export::of(app, job)?),
        Kind::Import => Json::of(&imports::Import::of(job)),
    }
}
