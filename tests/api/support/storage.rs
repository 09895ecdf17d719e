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
    postgres: Option<String>,
}

impl Storage {
    pub async fn create(database: Database) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(create_database().await),
        };
        Self { folder, postgres }
    }

    pub fn url(&self) -> String {
        let Some(name) = &self.postgres else {
            return format!("sqlite://{}/snippetbox.db", self.data_dir());
        };
        let mut url = admin_url();
        url.set_path(name);
        url.to_string()
    }

    pub fn data_dir(&self) -> String {
        self.folder.path().to_str().expect("the name of a temporary folder is text").to_owned()
    }

    pub async fn remove(self) {
        if let Some(name) = self.postgres {
            as_admin(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

async fn create_database() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("snippetbox_test_{}_{number}", std::process::id());
    // In the order of a language: where an order must be binary, the schema has to say so itself.
    let language = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";
    as_admin(&format!("CREATE DATABASE {name} {language}")).await;
    name
}

pub async fn as_admin(statement: &str) {
    let mut conn = PgConnection::connect(admin_url().as_str()).await.expect("a connection to PostgreSQL");
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut conn).await.expect(statement);
    conn.close().await.expect("the connection closes");
}

fn admin_url() -> Url {
    let url = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL names a PostgreSQL server");
    Url::parse(&url).expect("TEST_POSTGRES_URL is a URL")
}
