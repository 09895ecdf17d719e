//! The files of jobs: how they are called, and which of them nobody needs any more.

use std::time::Duration;

use uuid::Uuid;

use super::{Job, JobId, Kind, Status, store};
use crate::{app::App, clock::Timestamp, error::Result};

/// How long an upload may take. What is older and belongs to no job never will.
pub const UPLOAD_TIME: Duration = Duration::from_hours(1);
/// How many expired jobs one round removes.
const ROUND: i64 = 100;

/// The name of an upload, which is there before its job.
#[must_use]
pub fn upload(id: JobId) -> String {
    format!("import-{}.zip", id.0.simple())
}

impl Job {
    /// The name of the job's file. Each attempt of an export writes one of its own, so that two that overlap do no
    /// harm to each other.
    #[must_use]
    pub fn file(&self) -> String {
        match self.kind {
            Kind::Export => format!("export-{}-{}.zip", self.id.0.simple(), self.attempt),
            Kind::Import => upload(self.id),
        }
    }
}

/// Removes what has expired: the file first, so that none is left when this is interrupted.
///
/// # Errors
/// When the database or the store does not answer.
pub async fn remove_expired(app: &App) -> Result<()> {
    let now = app.clock.now();
    let expired = store::find_expired(app.db.read().await?.conn(), now, ROUND).await?;
    for job in expired {
        app.files.remove(&job.file()).await?;
        let mut tx = app.db.write().await?;
        store::delete(tx.conn().await?, job.id).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Removes files that belong to no job: of killed workers, of deleted accounts, of uploads that broke off.
///
/// # Errors
/// When the database or the store does not answer.
pub async fn remove_left_over(app: &App) -> Result<()> {
    for name in app.files.names().await? {
        let Some((kind, id)) = job_of(&name) else { continue };
        let found = store::find(app.db.read().await?.conn(), id).await?;
        let is_needed = match (kind, &found) {
            (_, Some(job)) => name.starts_with(&job.file()) && needs_file(job),
            (Kind::Export, None) => false,
            (Kind::Import, None) => made_at(id).is_none_or(|at| at.plus(UPLOAD_TIME) > app.clock.now()),
        };
        if !is_needed {
            tracing::info!(name, "a file is removed that belongs to no job");
            app.files.remove_left_over(&name).await?;
        }
    }
    Ok(())
}

fn needs_file(job: &Job) -> bool {
    match job.kind {
        Kind::Export => matches!(job.status, Status::Running | Status::Completed),
        Kind::Import => !job.status.is_final(),
    }
}

/// Which job a file was made for.
fn job_of(name: &str) -> Option<(Kind, JobId)> {
    let (kind, rest) = name.split_once('-')?;
    let kind = [Kind::Export, Kind::Import].into_iter().find(|known| known.name() == kind)?;
    let id = Uuid::parse_str(rest.get(..32)?).ok()?;
    Some((kind, JobId(id)))
}

/// When an id was made.
fn made_at(id: JobId) -> Option<Timestamp> {
    let (seconds, nanos) = id.0.get_timestamp()?.to_unix();
    Timestamp::try_from(chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)?).ok()
}
