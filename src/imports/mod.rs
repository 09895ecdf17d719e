//! Imports: an archive of an export back into snippets, by a job.
//!
//! First all of it is read and checked, and nothing is written; then its snippets are written in pieces, each with
//! the mark of how far that is. So an import that is refused has left nothing, and one that was interrupted goes on
//! where it was.

mod guard;
pub mod routes;
mod unpack;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use self::unpack::Item;
use crate::{
    accounts::{self, UserId},
    app::App,
    archive::{Flaw, Limits},
    clock::Timestamp,
    credentials::{Caller, Scope},
    db::{WriteTx, within},
    error::{Error, Result},
    jobs::{self, Job, JobError, JobId, Kind, LEASE, Meter, Pace, Status, Stop},
    snippets,
};

/// The topic on which all users follow their own imports.
pub const TOPIC: &str = "imports";
/// How many uploads one node takes at once.
const UPLOADS_AT_ONCE: usize = 8;
/// How many of them are one user's, so that nobody takes all places.
const UPLOADS_PER_USER: usize = 2;
/// How many snippets one import may bring.
const MAX_SNIPPETS: u64 = 100_000;
/// How many times as large as it is an archive may unpack.
const MAX_RATIO: u64 = 10;
/// How many snippets are written in one transaction, and how many wait for it.
const PIECE: usize = 16;
/// After how many bytes of contents a transaction ends all the same: other writers wait for it.
const PIECE_BYTES: usize = 256 * 1024;

/// An import.
#[derive(Debug, Serialize, ToSchema)]
pub struct Import {
    pub id: JobId,
    pub status: Status,
    /// The part that is done, in percent
    #[schema(minimum = 0, maximum = 100)]
    pub progress: i64,
    /// How many snippets have been written
    pub processed: i64,
    /// How many snippets the archive holds, once it has been checked
    pub total: Option<i64>,
    /// How many bytes the archive has
    pub bytes: i64,
    /// Why it has failed; then nothing was imported, unless it says how much was
    pub error: Option<JobError>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// When it is forgotten
    pub expires_at: Option<Timestamp>,
}

impl Import {
    /// An import as clients see it.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let progress = job.progress;
        Self {
            id: job.id,
            status: job.status,
            progress: job.percent(),
            processed: progress.processed,
            total: progress.total,
            bytes: progress.bytes,
            error: job.error.clone(),
            created_at: job.created_at,
            finished_at: job.finished_at,
            expires_at: job.expires_at,
        }
    }
}

/// Who is uploading something to this node at the moment.
#[derive(Default)]
pub struct Uploads(Mutex<Vec<UserId>>);

/// A place among those who upload, until it is dropped.
pub struct Place<'u>(&'u Uploads, UserId);

impl Uploads {
    fn enter(&self, user: UserId) -> Result<Place<'_>> {
        let mut users = self.users();
        if users.iter().filter(|other| **other == user).count() >= UPLOADS_PER_USER {
            return Err(Error::Conflict("you have 2 uploads running: wait until one of them ends"));
        }
        if users.len() >= UPLOADS_AT_ONCE {
            return Err(Error::Overloaded);
        }
        users.push(user);
        Ok(Place(self, user))
    }

    fn users(&self) -> MutexGuard<'_, Vec<UserId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut users = self.0.users();
        if let Some(place) = users.iter().position(|user| *user == self.1) {
            users.swap_remove(place);
        }
    }
}

/// Lets the caller upload an archive, of which nothing has been received yet. What may be a repetition has a job already:
/// then it does not matter how many there are.
pub async fn admit<'a>(app: &'a App, caller: &Caller, may_repeat: bool) -> Result<Place<'a>> {
    let user = caller.require(Scope::Write)?.id;
    let place = app.uploads.enter(user)?;
    if !may_repeat {
        jobs::require_room(app.db.read().await?.conn(), user, Kind::Import).await?;
    }
    Ok(place)
}

/// Begins to import an archive that has been uploaded under this id.
pub async fn begin(app: &App, tx: &mut WriteTx, caller: &Caller, id: JobId, bytes: u64) -> Result<Job> {
    caller.require(Scope::Write)?;
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    jobs::add(app, tx, caller, (id, Kind::Import), bytes, &()).await
}

/// Does the work of an import.
pub async fn perform(app: &App, job: &Job, meter: &Meter) -> Result<(), Stop> {
    meter.fill(job.progress.bytes);
    meter.reach(job.checkpoint);
    let mut count = 0;
    let mut checked = unpacked(app, job).await?;
    while checked.items.recv().await.is_some() {
        count += 1;
    }
    checked.end().await?;
    meter.expect(count);
    write(app, job, unpacked(app, job).await?, meter).await
}

/// The snippets of an archive, as a thread of its own unpacks them.
struct Unpacked {
    items: mpsc::Receiver<Item>,
    thread: tokio::task::JoinHandle<Result<(), Flaw>>,
}

async fn unpacked(app: &App, job: &Job) -> Result<Unpacked, Stop> {
    let file = app.files.open_file(&job.file()).await.map_err(|error| match error {
        Error::NotFound(_) => lost(job),
        error => error.into(),
    })?;
    let bytes = (app.settings.import_limit as u64).saturating_mul(MAX_RATIO);
    // The manifest is a file too.
    let limits = Limits { files: MAX_SNIPPETS + 1, bytes };
    let (line, items) = mpsc::channel(PIECE);
    let put = move |item| line.blocking_send(item).is_ok();
    let thread = tokio::task::spawn_blocking(move || unpack::unpack(file, limits, put));
    Ok(Unpacked { items, thread })
}

/// An upload that is gone does not come back: a database may have been restored without its files.
fn lost(job: &Job) -> Stop {
    let detail = match job.checkpoint {
        0 => "the uploaded archive is gone, and nothing was imported; upload it again".to_owned(),
        some => format!("the uploaded archive is gone after {some} snippets were imported"),
    };
    Stop::Refused(JobError { code: "upload_lost".to_owned(), detail })
}

impl Unpacked {
    /// Whether all of it came, and was right.
    async fn end(self) -> Result<(), Stop> {
        let ended = self.thread.await.map_err(|error| Error::Internal(error.to_string()))?;
        ended.map_err(|flaw| match flaw {
            Flaw::Refused(detail) => Stop::Refused(JobError { code: "invalid_archive".to_owned(), detail }),
            Flaw::Unreadable(error) => Stop::Broken(error.into()),
        })
    }
}

/// Writes what has not been written yet.
async fn write(app: &App, job: &Job, mut unpacked: Unpacked, meter: &Meter) -> Result<(), Stop> {
    let mut pace = Pace::new(app.settings.job_rate);
    let (mut done, mut bytes, mut piece) = (0, 0, Vec::new());
    loop {
        let next = unpacked.items.recv().await;
        let is_last = next.is_none();
        if let Some(item) = next {
            done += 1;
            if done > job.checkpoint {
                bytes += item.draft.content.as_str().len();
                piece.push(item);
            }
        }
        let is_due = is_last || piece.len() >= PIECE || bytes >= PIECE_BYTES;
        if is_due && !piece.is_empty() {
            pace.spend(std::mem::take(&mut bytes)).await;
            let prepared = prepare(app, job, piece.drain(..)).await;
            if !within(LEASE, Box::pin(put(app, job, done, prepared))).await? {
                return Err(Stop::Lost);
            }
            meter.reach(done);
        }
        if is_last {
            return unpacked.end().await;
        }
    }
}

async fn prepare(app: &App, job: &Job, items: impl Iterator<Item = Item>) -> Vec<snippets::New> {
    let mut prepared = Vec::new();
    for Item { draft, times } in items {
        prepared.push(snippets::prepare_restored(app, job.owner.clone(), draft, times));
        tokio::task::yield_now().await; // Long contents take long.
    }
    prepared
}

/// Writes some snippets, and that `done` of all are written now; false when the job is somebody else's, or nobody's.
async fn put(app: &App, job: &Job, done: i64, prepared: Vec<snippets::New>) -> Result<bool> {
    let mut tx = app.db.write().await?;
    // Held first, as by whoever deletes the account with its jobs and snippets.
    let is_there = !accounts::hold(&mut tx, &[job.owner.id]).await?.is_empty();
    if !is_there || !jobs::reach(&mut tx, job, done).await? {
        return Ok(false);
    }
    for snippet in prepared {
        snippets::restore(app, &mut tx, snippet).await?;
    }
    tx.commit().await?;
    Ok(true)
}
