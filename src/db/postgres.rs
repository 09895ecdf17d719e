//! PostgreSQL: one pool for reading and writing.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    StartError,
    migrate::{self, POSTGRES},
};

pub(super) async fn open(url: &str, connections: u32) -> Result<PgPool, StartError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StartError::Url(error.to_string()))?
        .application_name("snippetbox")
        // Its notices are for those who type SQL: that a table exists already, for instance.
        .options([("client_min_messages", "warning")])
        .disable_statement_logging();
    let place =
        format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
        .map_err(|error| StartError::Open(place, error.to_string()))?;
    let mut conn = pool.acquire().await?;
    migrate::run(&POSTGRES, &mut conn).await?;
    drop(conn);
    Ok(pool)
}
