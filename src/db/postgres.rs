//! PostgreSQL: one pool for reading and writing.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    StartError,
    migrate::{self, POSTGRES},
};

pub(super) async fn open(url: &str, connections: u32) -> Result<PgPool, StartError> {
    let options = options(url)?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options.clone())
        .await
        .map_err(|error| refused(&options, &error))?;
    let mut conn = pool.acquire().await?;
    migrate::run(&POSTGRES, &mut conn).await?;
    drop(conn);
    Ok(pool)
}

/// One connection, for the commands.
pub(super) async fn connect(url: &str) -> Result<PgConnection, StartError> {
    let options = options(url)?;
    options.connect().await.map_err(|error| refused(&options, &error))
}

fn options(url: &str) -> Result<PgConnectOptions, StartError> {
    let options = PgConnectOptions::from_str(url).map_err(|error| StartError::Url(error.to_string()))?;
    Ok(options
        .application_name("snippetbox")
        // Its notices are for those who type SQL: that a table exists already, for instance.
        .options([("client_min_messages", "warning")])
        .disable_statement_logging())
}

fn refused(options: &PgConnectOptions, error: &sqlx::Error) -> StartError {
    let (host, port, name) = (options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
    StartError::Open(format!("{host}:{port}/{name}"), error.to_string())
}
