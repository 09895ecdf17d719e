//! Exports: a user's snippets as a ZIP archive, made by a job.
//!
//! An archive holds the snippets that its user owns, whatever their visibility, each as it was when it was read.

mod manifest;
mod names;
mod pack;
pub mod routes;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::manifest::{Entry, FORMAT, NAME as MANIFEST, VERSION};
use crate::{
    app::App,
    clock::Timestamp,
    credentials::{Caller, Scope},
    db::WriteTx,
    error::{Error, Result},
    jobs::{self, Job, JobError, JobId, Kind, Meter, Status, Stop},
    notifications::{self, Notice},
    seal,
    snippets::{Language, Tag},
};

/// The topic on which all users follow their own exports.
pub const TOPIC: &str = "exports";

/// What is to be exported.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewExport {
    pub format: Format,
    #[serde(default)]
    pub filter: ExportFilter,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExportFormat)]
pub enum Format {
    Zip,
}

/// Which of the caller's snippets are exported; without any of these, all.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportFilter {
    /// Only those in this language
    pub language: Option<Language>,
    /// Only those with this tag
    pub tag: Option<Tag>,
    /// Only those that were changed at this time or later
    pub updated_since: Option<Timestamp>,
}

/// An export.
#[derive(Debug, Serialize, ToSchema)]
pub struct Export {
    pub id: JobId,
    pub status: Status,
    pub format: Format,
    pub filter: ExportFilter,
    /// The part that is done, in percent
    #[schema(minimum = 0, maximum = 100)]
    pub progress: i64,
    /// How many snippets have been read
    pub processed: i64,
    /// How many snippets there are, once that is known
    pub total: Option<i64>,
    /// How many bytes the archive has, so far
    pub bytes: i64,
    /// Why it has failed
    pub error: Option<JobError>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// When it is removed
    pub expires_at: Option<Timestamp>,
    /// Where the archive can be had without credentials until `expires_at`, once it has completed: a path on this
    /// server
    pub download_url: Option<String>,
}

impl Export {
    /// An export as clients see it.
    ///
    /// # Errors
    /// When what was stored cannot be read.
    pub fn of(app: &App, job: &Job) -> Result<Self> {
        let NewExport { format, filter } = request(job)?;
        let progress = job.progress;
        Ok(Self {
            id: job.id,
            status: job.status,
            format,
            filter,
            progress: job.percent(),
            processed: progress.processed,
            total: progress.total,
            bytes: progress.bytes,
            error: job.error.clone(),
            created_at: job.created_at,
            finished_at: job.finished_at,
            expires_at: job.expires_at,
            download_url: (job.status == Status::Completed).then(|| {
                let signature = seal::text(&signature(app, job));
                format!("/v1/exports/{}/download?signature={signature}", job.id)
            }),
        })
    }
}

fn request(job: &Job) -> Result<NewExport> {
    serde_json::from_str(&job.request).map_err(|error| Error::Internal(error.to_string()))
}

/// What proves that this server gave out the link to an archive. It stands for the archive and its end, so that the
/// link ends with it.
fn signature(app: &App, job: &Job) -> [u8; 32] {
    let ends = job.expires_at.map_or(0, Timestamp::unix_millis).to_be_bytes();
    app.sealer.derive(&[b"download of an export", job.id.0.as_bytes(), &ends])
}

/// Begins an export of the caller's snippets.
pub async fn begin(app: &App, tx: &mut WriteTx, caller: &Caller, new: &NewExport) -> Result<Job> {
    caller.require(Scope::Write)?;
    jobs::add(app, tx, caller, (JobId(app.ids.next()), Kind::Export), 0, new).await
}

/// A completed export whose archive the caller may have: by who they are, or by the link.
pub async fn archive(app: &App, caller: &Caller, id: JobId, link: Option<&str>) -> Result<Job> {
    let job = match link {
        None => jobs::find(app, caller, Kind::Export, id).await?,
        Some(link) => {
            let given = seal::bytes(link).unwrap_or_default();
            let knows = |job: &Job| seal::are_equal(&given, &signature(app, job));
            jobs::find_for(app, Kind::Export, id, knows).await?
        }
    };
    if job.expires_at.is_some_and(|end| end <= app.clock.now()) {
        return Err(Error::NotFound(Kind::Export.name()));
    }
    if job.status == Status::Completed {
        Ok(job)
    } else {
        Err(Error::Conflict("the export has not completed, so there is no archive"))
    }
}

/// What the owner is notified of when an export has completed.
pub fn completed(job: &Job) -> Notice {
    let count = job.progress.processed;
    let noun = if count == 1 { "snippet" } else { "snippets" };
    let message = format!("The export of {count} {noun} is ready");
    Notice::new(notifications::Kind::EXPORT_COMPLETED, &message, Some(format!("/v1/exports/{}", job.id)))
}

/// Does the work of an export.
pub async fn perform(app: &App, job: &Job, meter: &Meter) -> Result<(), Stop> {
    pack::pack(app, job, &request(job)?.filter, meter).await?;
    Ok(())
}
