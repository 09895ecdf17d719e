//! SQLite: a pool of readers, and one writer.

mod group;
mod writer;

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub(super) use self::writer::{Write, Writer};
use super::{
    StartError,
    migrate::{self, SQLITE},
};

/// The oldest SQLite without the bug that could reset a write-ahead log under concurrent checkpoints.
const OLDEST_SAFE: [u32; 3] = [3, 51, 3];

pub(super) async fn open(url: &str, readers: u32) -> Result<(SqlitePool, Writer), StartError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| StartError::Url(error.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    let path = options.get_filename().to_path_buf();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| StartError::Folder(folder.to_path_buf(), error.to_string()))?;
    }
    let mut conn = options
        .connect()
        .await
        .map_err(|error| StartError::Open(path.display().to_string(), error.to_string()))?;
    require_safe_version(&mut conn).await?;
    migrate::run(&SQLITE, &mut conn).await?;
    let reader = SqlitePoolOptions::new()
        .max_connections(readers)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options.read_only(true));
    Ok((reader, Writer::new(conn)))
}

async fn require_safe_version(conn: &mut SqliteConnection) -> Result<(), StartError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(conn).await?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < OLDEST_SAFE.as_slice() {
        return Err(StartError::OldSqlite(version));
    }
    Ok(())
}
