//! The table `jobs`.

use uuid::Uuid;

use super::{Job, JobId, Kind, Progress, Status};
use crate::{
    accounts::{Name, Profile, UserId},
    clock::Timestamp,
    db::{Conn, Text, on_conn},
    error::{Error, Result},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: JobId,
    kind: Kind,
    owner_id: UserId,
    owner_name: Text,
    status: Status,
    version: i64,
    attempt: i64,
    request: Text,
    checkpoint: i64,
    processed: i64,
    total: Option<i64>,
    bytes: i64,
    error: Option<Text>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl Row {
    fn into_job(self) -> Result<Job> {
        let error = self.error.map(|text| serde_json::from_str(&text.0)).transpose();
        Ok(Job {
            id: self.id,
            kind: self.kind,
            owner: Profile { id: self.owner_id, name: Name::from(self.owner_name) },
            status: self.status,
            version: self.version,
            attempt: self.attempt,
            request: self.request.0,
            checkpoint: self.checkpoint,
            progress: Progress { processed: self.processed, total: self.total, bytes: self.bytes },
            error: error.map_err(|error| Error::Internal(error.to_string()))?,
            created_at: self.created_at,
            finished_at: self.finished_at,
            expires_at: self.expires_at,
        })
    }
}

/// All columns, and what follows.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, j.kind, j.owner_id, u.name AS owner_name, j.status, j.version, j.attempt, j.request,
                    j.checkpoint, j.processed, j.total, j.bytes, j.error, j.created_at, j.finished_at, j.expires_at
             FROM jobs j JOIN users u ON u.id = j.owner_id ",
            $rest
        )
    };
}

pub(super) async fn insert(conn: Conn<'_>, job: &Job) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "INSERT INTO jobs (id, kind, owner_id, status, version, request, bytes, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    )
    .bind(job.id)
    .bind(job.kind)
    .bind(job.owner.id)
    .bind(job.status)
    .bind(job.version)
    .bind(Text(job.request.clone()))
    .bind(job.progress.bytes)
    .bind(job.created_at)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

pub(super) async fn find(conn: Conn<'_>, id: JobId) -> Result<Option<Job>> {
    let row: Option<Row> =
        on_conn!(conn, |c| sqlx::query_as(select!("WHERE j.id = $1")).bind(id).fetch_optional(c).await?);
    row.map(Row::into_job).transpose()
}

pub(super) async fn lock(conn: Conn<'_>, id: JobId) -> Result<Option<Job>> {
    let sql = conn.sql(select!("WHERE j.id = $1"), select!("WHERE j.id = $1 FOR UPDATE OF j"));
    let row: Option<Row> = on_conn!(conn, |c| sqlx::query_as(sql).bind(id).fetch_optional(c).await?);
    row.map(Row::into_job).transpose()
}

/// Lets nobody else take on a job for a user until the transaction ends. Whoever only holds the user does not wait.
pub(super) async fn take_turn(conn: Conn<'_>, owner: UserId) -> Result<()> {
    const ALONE: &str = "SELECT id FROM users WHERE id = $1";
    let sql = conn.sql(ALONE, "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE");
    on_conn!(conn, |c| sqlx::query(sql).bind(owner).execute(c).await.map(drop)?);
    Ok(())
}

/// How many jobs of one kind a user has.
pub(super) async fn count(conn: Conn<'_>, owner: UserId, kind: Kind) -> Result<i64> {
    Ok(on_conn!(conn, |c| {
        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE owner_id = $1 AND kind = $2")
            .bind(owner)
            .bind(kind)
            .fetch_one(c)
            .await?
    }))
}

pub(super) async fn page(
    conn: Conn<'_>,
    owner: UserId,
    kind: Kind,
    after: Option<JobId>,
    limit: i64,
) -> Result<Vec<Job>> {
    let rows: Vec<Row> = on_conn!(conn, |c| sqlx::query_as(select!(
        "WHERE j.owner_id = $1 AND j.kind = $2 AND j.id < $3 ORDER BY j.id DESC LIMIT $4"
    ))
    .bind(owner)
    .bind(kind)
    .bind(after.unwrap_or(JobId(Uuid::max())))
    .bind(limit)
    .fetch_all(c)
    .await?);
    rows.into_iter().map(Row::into_job).collect()
}

/// Whether a worker could claim something.
pub(super) async fn is_any_free(conn: Conn<'_>, now: Timestamp) -> Result<bool> {
    Ok(on_conn!(conn, |c| {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE status IN ('queued', 'running')
                            AND (status = 'queued' OR lease_until <= $1))",
        )
        .bind(now)
        .fetch_one(c)
        .await?
    }))
}

/// The oldest job that nobody holds, of a user of whom the fewest are worked on: one who has many does not keep the others
/// waiting.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "UPDATE jobs SET status = 'running', attempt = attempt + 1, node = $1, lease_until = $2,
                 version = version + CASE WHEN status = 'queued' THEN 1 ELSE 0 END
             WHERE id = (SELECT free.id FROM jobs free WHERE free.status IN ('queued', 'running')
                             AND (free.status = 'queued' OR free.lease_until <= $3)
                         ORDER BY (SELECT count(*) FROM jobs held WHERE held.owner_id = free.owner_id
                                       AND held.status = 'running' AND held.lease_until > $3), free.id
                         LIMIT 1 ",
            $lock,
            ") RETURNING id"
        )
    };
}

/// Gives a job that nobody holds to a node.
pub(super) async fn claim(
    mut conn: Conn<'_>,
    node: Uuid,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Option<Job>> {
    let sql = conn.sql(claim!(""), claim!("FOR UPDATE OF free SKIP LOCKED"));
    let claimed: Option<JobId> = on_conn!(conn.again(), |c| sqlx::query_scalar(sql)
        .bind(node)
        .bind(lease_until)
        .bind(now)
        .fetch_optional(c)
        .await?);
    match claimed {
        Some(id) => find(conn, id).await,
        None => Ok(None),
    }
}

/// Renews the lease of a claim and says how far it is; false when the claim is over.
pub(super) async fn renew(
    conn: Conn<'_>,
    job: &Job,
    progress: Progress,
    lease_until: Timestamp,
) -> Result<bool> {
    let done = on_conn!(conn, |c| {
        sqlx::query(
        "UPDATE jobs SET lease_until = $3, processed = $4, total = $5, bytes = $6,
             version = version + CASE WHEN processed <> $4 OR total IS DISTINCT FROM $5 OR bytes <> $6 THEN 1 ELSE 0 END
         WHERE id = $1 AND attempt = $2 AND status = 'running'"
    )
    .bind(job.id)
    .bind(job.attempt)
    .bind(lease_until)
    .bind(progress.processed)
    .bind(progress.total)
    .bind(progress.bytes)
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(done == 1)
}

/// Says how much of the work is done for good; false when the claim is over.
pub(super) async fn set_checkpoint(conn: Conn<'_>, job: &Job, checkpoint: i64) -> Result<bool> {
    let done = on_conn!(conn, |c| sqlx::query(
        "UPDATE jobs SET checkpoint = $3 WHERE id = $1 AND attempt = $2 AND status = 'running'"
    )
    .bind(job.id)
    .bind(job.attempt)
    .bind(checkpoint)
    .execute(c)
    .await?
    .rows_affected());
    Ok(done == 1)
}

/// Ends a job, unless it has ended or is somebody else's by now.
pub(super) async fn end(conn: Conn<'_>, job: &Job) -> Result<bool> {
    let error = job.error.as_ref().map(serde_json::to_string).transpose();
    let error = error.map_err(|error| Error::Internal(error.to_string()))?.map(Text);
    let done = on_conn!(conn, |c| {
        sqlx::query(
        "UPDATE jobs SET status = $3, processed = $4, total = $5, bytes = $6, error = $7, finished_at = $8,
                         expires_at = $9, lease_until = NULL, node = NULL, version = version + 1
         WHERE id = $1 AND attempt = $2 AND status IN ('queued', 'running')"
    )
    .bind(job.id)
    .bind(job.attempt)
    .bind(job.status)
    .bind(job.progress.processed)
    .bind(job.progress.total)
    .bind(job.progress.bytes)
    .bind(error)
    .bind(job.finished_at)
    .bind(job.expires_at)
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(done == 1)
}

/// Lets others take up what this node was working on.
pub(super) async fn give_back(conn: Conn<'_>, node: Uuid) -> Result<()> {
    on_conn!(conn, |c| sqlx::query(
        "UPDATE jobs SET status = 'queued', node = NULL, lease_until = NULL, version = version + 1
         WHERE status = 'running' AND node = $1"
    )
    .bind(node)
    .execute(c)
    .await
    .map(drop)?);
    Ok(())
}

pub(super) async fn delete(conn: Conn<'_>, id: JobId) -> Result<()> {
    on_conn!(conn, |c| sqlx::query("DELETE FROM jobs WHERE id = $1").bind(id).execute(c).await.map(drop)?);
    Ok(())
}

/// Some jobs whose time is over.
pub(super) async fn find_expired(conn: Conn<'_>, now: Timestamp, limit: i64) -> Result<Vec<Job>> {
    let rows: Vec<Row> = on_conn!(conn, |c| sqlx::query_as(select!("WHERE j.expires_at <= $1 LIMIT $2"))
        .bind(now)
        .bind(limit)
        .fetch_all(c)
        .await?);
    rows.into_iter().map(Row::into_job).collect()
}
