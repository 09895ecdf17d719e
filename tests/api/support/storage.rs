//! A database for one test, and a folder for its files; both go when the test has ended.

use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

pub struct Storage {
    folder: TempDir,
    /// The server of PostgreSQL, and the name of the database there.
    postgres: Option<(Url, String)>,
}

impl Storage {
    pub async fn create(database: Database) -> Self {
        match database {
            Database::Sqlite => Self { folder: folder(), postgres: None },
            Database::Postgres => Self::create_at(usual_server()).await,
        }
    }

    /// A database of a PostgreSQL server.
    pub async fn create_at(server: Url) -> Self {
        let name = create_database(&server).await;
        Self { folder: folder(), postgres: Some((server, name)) }
    }

    pub fn url(&self) -> String {
        let Some((server, name)) = &self.postgres else {
            return format!("sqlite://{}/snippetbox.db", self.data_dir());
        };
        let mut url = server.clone();
        url.set_path(name);
        url.to_string()
    }

    pub fn data_dir(&self) -> String {
        self.folder.path().to_str().expect("the name of a temporary folder is text").to_owned()
    }

    pub async fn remove(self) {
        if let Some((server, name)) = self.postgres {
            execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

async fn create_database(server: &Url) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("snippetbox_test_{}_{number}", std::process::id());
    // In the order of a language: where an order must be binary, the schema has to say so itself.
    let language = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";
    execute(server, &format!("CREATE DATABASE {name} {language}")).await;
    name
}

/// Runs a statement that belongs to no database of a test.
pub async fn execute(server: &Url, statement: &str) {
    let mut conn = PgConnection::connect(server.as_str()).await.expect("a connection to PostgreSQL");
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut conn).await.expect(statement);
    conn.close().await.expect("the connection closes");
}

/// The server of PostgreSQL that all tests share.
pub fn usual_server() -> Url {
    let url = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL names a PostgreSQL server");
    Url::parse(&url).expect("TEST_POSTGRES_URL is a URL")
}
