//! What a job is, and how far it may be.

use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    accounts::{Profile, UserId},
    clock::Timestamp,
    exports,
    id::id_type,
    imports,
    realtime::Key,
};

id_type! {
    /// Identifies a job.
    JobId
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Kind {
    Export,
    Import,
}

impl Kind {
    /// The word for one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Import => "import",
        }
    }

    /// The name of the topic that each user has for their own.
    #[must_use]
    pub fn topic(self) -> &'static str {
        match self {
            Self::Export => exports::TOPIC,
            Self::Import => imports::TOPIC,
        }
    }

    /// The topic of one user.
    #[must_use]
    pub fn key(self, user: UserId) -> Key {
        format!("{}@{user}", self.topic()).into()
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = JobStatus)]
pub enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Why a job has failed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// The kind of failure, for programs
    #[schema(example = "invalid_archive")]
    pub code: String,
    /// What went wrong, for people
    pub detail: String,
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub kind: Kind,
    pub owner: Profile,
    pub status: Status,
    pub version: i64,
    /// Which claim of the job this is.
    pub attempt: i64,
    /// What is to be done, as JSON.
    pub request: String,
    /// How much is done for good, where the work is done in pieces.
    pub checkpoint: i64,
    pub progress: Progress,
    pub error: Option<JobError>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub processed: i64,
    /// Of how many, once that is known.
    pub total: Option<i64>,
    pub bytes: i64,
}

impl Job {
    /// The part that is done, in percent; 100 is for those that have completed.
    #[must_use]
    pub fn percent(&self) -> i64 {
        let Progress { processed, total, .. } = self.progress;
        match self.status {
            Status::Completed => 100,
            _ => (processed.saturating_mul(100) / total.unwrap_or_default().max(1)).clamp(0, 99),
        }
    }
}

/// How far the work of a worker is, while it goes on.
#[derive(Debug, Default)]
pub struct Meter {
    processed: AtomicI64,
    total: AtomicI64,
    bytes: AtomicI64,
}

impl Meter {
    const UNKNOWN: i64 = -1;

    /// Of work that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self { total: AtomicI64::new(Self::UNKNOWN), ..Self::default() }
    }

    /// Says how much there is to do.
    pub fn expect(&self, total: i64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Says that `count` is done.
    pub fn reach(&self, count: i64) {
        self.processed.store(count, Ordering::Relaxed);
    }

    /// Says that `bytes` are written.
    pub fn fill(&self, bytes: i64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// How far it is now.
    #[must_use]
    pub fn read(&self) -> Progress {
        let total = self.total.load(Ordering::Relaxed);
        Progress {
            processed: self.processed.load(Ordering::Relaxed),
            total: (total != Self::UNKNOWN).then_some(total),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
