//! Brings a database's schema up to date, and refuses one that is ahead of this program.

use std::path::PathBuf;

use sqlx::{
    Acquire,
    migrate::{Migrate, MigrateError, Migrator},
};

pub(super) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
pub(super) static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Why the server cannot start on this database, for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL is not one.
    #[error("the database URL cannot be read: {0}")]
    Url(String),
    /// The folder of the database file cannot be made.
    #[error("the folder {0} cannot be created: {1}")]
    Folder(PathBuf, String),
    /// Nothing answers there, or it refuses.
    #[error("the database {0} cannot be opened: {1}")]
    Open(String, String),
    /// The library is too old to be safe.
    #[error("SQLite {0} can lose data under concurrent checkpoints; 3.51.3 or newer is needed")]
    OldSqlite(String),
    /// The database has migrations that this program does not know.
    #[error(
        "the database was written by a newer snippetbox (migration {0}); start that version, or restore a backup"
    )]
    NewerDatabase(i64),
    /// A migration failed.
    #[error("the database's schema cannot be brought up to date: {0}")]
    Migration(#[source] MigrateError),
    /// Another failure of the database.
    #[error("the database does not answer: {0}")]
    Database(#[from] sqlx::Error),
}

pub(super) async fn run<'a, A>(migrator: &Migrator, conn: A) -> Result<(), StartError>
where
    A: Acquire<'a>,
    <A::Connection as std::ops::Deref>::Target: Migrate,
{
    migrator.run(conn).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => StartError::NewerDatabase(version),
        other => StartError::Migration(other),
    })
}
