//! Copies of a database: made while the server runs, put back while it does not.
//!
//! A log that was put back goes on from an earlier place, so its numbers come again for other events. Therefore it
//! gets a new epoch: a cursor of the future that was lost is then foreign, not silently wrong.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteLockingMode},
};

use super::{
    Conn, StartError,
    migrate::{self, SQLITE},
    on_conn, postgres,
};

/// Why a copy could not be made or put back, for the person who asked for it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// PostgreSQL's own tools do it better.
    #[error(
        "PostgreSQL is copied by pg_dump and put back by pg_restore; after that, run `snippetbox new-epoch`"
    )]
    Postgres,
    /// Something would be overwritten.
    #[error("{0} exists already{1}")]
    Exists(PathBuf, &'static str),
    /// A server runs on the database.
    #[error("a server runs on this database: stop it first")]
    InUse,
    /// The file is none of ours.
    #[error("{0} is not a database of snippetbox: {1}")]
    Foreign(PathBuf, String),
    /// A file cannot be written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// The database's schema cannot be brought up to date, or its URL is none.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database refused.
    #[error("the database refuses: {0}")]
    Database(#[from] sqlx::Error),
}

/// Copies the database to a new file, as it is at one moment, whoever writes meanwhile.
///
/// # Errors
/// When it is PostgreSQL, the file exists, or it cannot be written.
pub async fn backup(url: &str, file: &Path) -> Result<(), BackupError> {
    let path = path(url)?;
    if file.exists() {
        return Err(BackupError::Exists(file.to_path_buf(), ""));
    }
    let partial = beside(file, ".partial");
    if let Err(error) = copy(&path, &partial).await {
        drop(remove(&partial)); // It says why; what is left of the copy is of no use.
        return Err(error);
    }
    put(&partial, file)
}

/// Puts a copy in the place of the database, under a new epoch.
///
/// # Errors
/// When a server runs on the database, when there is one and `force` is not said, or when the file is no copy.
pub async fn restore(url: &str, file: &Path, force: bool, epoch: &str) -> Result<(), BackupError> {
    let path = path(url)?;
    let exists = path.exists();
    if exists && !force {
        return Err(BackupError::Exists(path, ": --force replaces it"));
    }
    let held = if exists { hold_if_whole(&path).await? } else { None };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| BackupError::File(folder.to_path_buf(), error))?;
    }
    let partial = beside(&path, ".restoring");
    if let Err(error) = prepare(file, &partial, epoch).await {
        drop(remove(&partial)); // It says why; what is left of the copy is of no use.
        return Err(error);
    }
    // What the old database had not yet taken in from its log must not be taken for a part of the new one.
    for suffix in ["-wal", "-shm", "-journal"] {
        remove(&beside(&path, suffix))?;
    }
    put(&partial, &path)?;
    drop(held);
    Ok(())
}

/// Makes a copy ready to be served from.
async fn prepare(file: &Path, partial: &Path, epoch: &str) -> Result<(), BackupError> {
    copy(file, partial).await?;
    let mut conn = SqliteConnectOptions::new().filename(partial).connect().await?;
    migrate::run(&SQLITE, &mut conn).await?;
    set_epoch(Conn::Sqlite(&mut conn), epoch).await?;
    Ok(conn.close().await?)
}

/// Gives a database that was put back by other means a new epoch.
///
/// # Errors
/// When a server runs on it, or there is none.
pub async fn renew_epoch(url: &str, epoch: &str) -> Result<(), BackupError> {
    if !url.starts_with("sqlite:") {
        let mut conn = postgres::open_one(url).await?;
        if is_used_by_others(&mut conn).await? {
            return Err(BackupError::InUse);
        }
        set_epoch(Conn::Postgres(&mut conn), epoch).await?;
        return Ok(conn.close().await?);
    }
    let path = path(url)?;
    let mut conn = hold(&path)
        .await
        .map_err(|error| if is_busy(&error) { BackupError::InUse } else { foreign(&path, &error) })?;
    set_epoch(Conn::Sqlite(&mut conn), epoch).await.map_err(|error| foreign(&path, &error))?;
    sqlx::query("COMMIT").execute(&mut conn).await?;
    Ok(conn.close().await?)
}

fn path(url: &str) -> Result<PathBuf, BackupError> {
    if !url.starts_with("sqlite:") {
        return Err(BackupError::Postgres);
    }
    let options = SqliteConnectOptions::from_str(url).map_err(|error| StartError::Url(error.to_string()))?;
    Ok(options.get_filename().to_path_buf())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Copies a database of ours as of one moment, with what stands in its write-ahead log.
async fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let options = SqliteConnectOptions::new().filename(from).read_only(true).disable_statement_logging();
    let mut conn = options.connect().await.map_err(|error| foreign(from, &error))?;
    sqlx::query("SELECT epoch FROM installation WHERE id = 1")
        .fetch_one(&mut conn)
        .await
        .map_err(|error| foreign(from, &error))?;
    remove(to)?; // A try that was cut off may have left it behind.
    sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned()).execute(&mut conn).await?;
    Ok(conn.close().await?)
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BackupError::File(path.to_path_buf(), error))
        }
        _ => Ok(()),
    }
}

/// Gives a finished file its name; both are on disk when this returns.
fn put(partial: &Path, path: &Path) -> Result<(), BackupError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let done = File::open(partial)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(partial, path))
        .and_then(|()| File::open(folder))
        .and_then(|folder| folder.sync_all());
    done.map_err(|error| BackupError::File(path.to_path_buf(), error))
}

/// Keeps every server away from a database; one that is too broken for that is no server's.
async fn hold_if_whole(path: &Path) -> Result<Option<SqliteConnection>, BackupError> {
    match hold(path).await {
        Ok(conn) => Ok(Some(conn)),
        Err(error) if is_busy(&error) => Err(BackupError::InUse),
        Err(error) => {
            tracing::warn!(%error, "the database that is replaced cannot be read");
            Ok(None)
        }
    }
}

/// Opens a transaction that nobody may share. A server keeps its file locked against that for as long as it runs.
async fn hold(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .locking_mode(SqliteLockingMode::Exclusive)
        .busy_timeout(Duration::from_millis(200))
        .disable_statement_logging();
    let mut conn = options.connect().await?;
    // Without a write-ahead log, nothing of the old file can be written once it is replaced.
    sqlx::query("PRAGMA journal_mode = DELETE").execute(&mut conn).await?;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut conn).await?;
    Ok(conn)
}

/// Whether SQLite says that somebody else holds the file: SQLITE_BUSY, or one of its finer kinds.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

fn foreign(path: &Path, error: &sqlx::Error) -> BackupError {
    let why = match error {
        sqlx::Error::RowNotFound => "no server has run on it yet".to_owned(),
        error => error.to_string(),
    };
    BackupError::Foreign(path.to_path_buf(), why)
}

async fn is_used_by_others(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
         AND application_name = current_setting('application_name') AND pid <> pg_backend_pid())",
    )
    .fetch_one(conn)
    .await
}

async fn set_epoch(conn: Conn<'_>, epoch: &str) -> Result<(), sqlx::Error> {
    let changed = on_conn!(conn, |c| sqlx::query("UPDATE installation SET epoch = $1 WHERE id = 1")
        .bind(epoch.to_owned())
        .execute(c)
        .await?
        .rows_affected());
    if changed == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}
