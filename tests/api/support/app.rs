//! The server under test: on a free port, with its own database and a clock that only the test moves.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::DateTime;
use reqwest::Client;
use serde_json::json;
use snippetbox::app::{Server, StartError};
use snippetbox::clock::Clock;
use snippetbox::config::Settings;
use sqlx::Connection as _;
use tokio::sync::OnceCell;

use super::persona::{Credential, PASSWORD, Persona, new_client};
use super::storage::{Database, Storage};
use super::{eventually, within};

/// How long a server may take to stop.
const STOP: Duration = Duration::from_secs(10);

pub struct TestApp {
    pub clock: Clock,
    pub database: Database,
    address: SocketAddr,
    storage: Storage,
    server: RefCell<Option<Server>>,
    client: Client,
    admin: OnceCell<Persona>,
}

impl TestApp {
    /// Starts a server with the given flags over those which every test wants.
    pub async fn with_settings(database: Database, settings: &[&str]) -> Self {
        let storage = Storage::create(database).await;
        let start = DateTime::parse_from_rfc3339("2026-01-01T12:00:00Z").expect("a moment");
        let clock = Clock::manual(start.to_utc());
        let server = start_server(&storage, "127.0.0.1:0", settings, &clock).await;
        let client = new_client();
        Self {
            clock,
            database,
            address: server.address(),
            storage,
            server: RefCell::new(Some(server)),
            client,
            admin: OnceCell::new(),
        }
    }

    /// Stops the server and starts another one at the same address, on the same database.
    pub async fn restart_with(&self, settings: &[&str]) {
        self.stop().await;
        let server = start_server(&self.storage, &self.address.to_string(), settings, &self.clock).await;
        self.server.replace(Some(server));
    }

    pub async fn stop(&self) {
        let Some(server) = self.server.take() else { return };
        let stopped = within(STOP, server.stop()).await;
        assert!(stopped.is_some(), "the server did not stop within {STOP:?}");
    }

    pub async fn remove(self) {
        self.stop().await;
        self.storage.remove().await;
    }

    /// Now, by the server's clock, as the server writes it.
    pub fn now(&self) -> String {
        self.in_future(Duration::ZERO)
    }

    /// A moment after now, by the server's clock, as the server writes it.
    pub fn in_future(&self, span: Duration) -> String {
        self.clock.now().plus(span).to_string()
    }

    pub fn database_url(&self) -> String {
        self.storage.url()
    }

    /// The folder that the server may write to.
    pub fn data_dir(&self) -> String {
        self.storage.data_dir()
    }

    /// Changes the database behind the back of the server.
    pub async fn execute(&self, statement: &'static str) {
        match self.database {
            Database::Sqlite => {
                let mut conn =
                    sqlx::SqliteConnection::connect(&self.database_url()).await.expect("a connection");
                sqlx::raw_sql(statement).execute(&mut conn).await.map(drop).expect(statement);
            }
            Database::Postgres => {
                let mut conn = sqlx::PgConnection::connect(&self.database_url()).await.expect("a connection");
                sqlx::raw_sql(statement).execute(&mut conn).await.map(drop).expect(statement);
            }
        }
    }

    /// What a query for bytes finds behind the back of the server.
    pub async fn stored_bytes(&self, query: &'static str) -> Vec<Vec<u8>> {
        let url = self.database_url();
        let found = match self.database {
            Database::Sqlite => {
                let mut conn = sqlx::SqliteConnection::connect(&url).await.expect("a connection");
                sqlx::query_scalar(query).fetch_all(&mut conn).await
            }
            Database::Postgres => {
                let mut conn = sqlx::PgConnection::connect(&url).await.expect("a connection");
                sqlx::query_scalar(query).fetch_all(&mut conn).await
            }
        };
        found.expect(query)
    }

    /// Begins a change behind the back of the server, which others that touch the same must wait for.
    pub async fn begin(&self, statements: &[&'static str]) -> Meanwhile {
        let mut begun = match self.database {
            Database::Sqlite => {
                let mut conn =
                    sqlx::SqliteConnection::connect(&self.database_url()).await.expect("a connection");
                sqlx::raw_sql("PRAGMA foreign_keys = ON; BEGIN IMMEDIATE")
                    .execute(&mut conn)
                    .await
                    .expect("a transaction");
                Meanwhile::Sqlite(conn)
            }
            Database::Postgres => {
                let mut conn = sqlx::PgConnection::connect(&self.database_url()).await.expect("a connection");
                sqlx::raw_sql("BEGIN").execute(&mut conn).await.expect("a transaction");
                Meanwhile::Postgres(conn)
            }
        };
        for statement in statements {
            begun.execute(statement).await;
        }
        begun
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn anonymous(&self) -> Persona {
        Persona {
            client: self.client.clone(),
            server: self.url(),
            credential: Credential::None,
            id: String::new(),
            name: String::new(),
            email: String::new(),
        }
    }

    /// The first user of the installation, who is its admin.
    pub async fn admin(&self) -> &Persona {
        self.admin.get_or_init(|| self.register("admin")).await
    }

    /// Waits until everything that was acknowledged has its place in the log, and the server has taken it up from
    /// there. Both come some moments after the acknowledgement, so that a stream that opens meanwhile is told of it
    /// as of news.
    pub async fn settled(&self) {
        let admin = self.admin().await;
        let mark = json!({ "type": "settled", "data": null });
        let mark = admin.publish("custom:settled", &mark).await.expect(202).json();
        let place = |id: &str| id.split_once('.').and_then(|(_, place)| place.parse::<u64>().ok());
        let marked = mark["id"].as_str().and_then(place).expect("the mark has a place");
        eventually("the mark is taken up", async || {
            let page = admin.get("/v1/snippets?limit=1").await.expect(200);
            (place(page.header("snippetbox-cursor")) >= Some(marked)).then_some(())
        })
        .await;
    }

    /// Somebody with an account and a session, who is not the admin.
    pub async fn user(&self, name: &str) -> Persona {
        self.admin().await;
        self.register(name).await
    }

    async fn register(&self, name: &str) -> Persona {
        let email = format!("{name}@example.org");
        let anonymous = self.anonymous();
        let account = json!({ "email": email, "name": name, "password": PASSWORD });
        let user = anonymous.post("/v1/users", &account).await.expect(201).json();
        let id = user["id"].as_str().expect("the user has an id").to_owned();
        let unknown = Persona { id, name: name.to_owned(), email, ..anonymous };
        unknown.sign_in().await
    }
}

/// A transaction that a test has open.
pub enum Meanwhile {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Meanwhile {
    pub async fn execute(&mut self, statement: &'static str) {
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(statement).execute(conn).await.map(drop).expect(statement),
            Self::Postgres(conn) => sqlx::raw_sql(statement).execute(conn).await.map(drop).expect(statement),
        }
    }

    pub async fn commit(mut self) {
        self.execute("COMMIT").await;
    }
}

async fn start_server(storage: &Storage, listen: &str, settings: &[&str], clock: &Clock) -> Server {
    let (url, folder) = (storage.url(), storage.data_dir());
    let usual = ["--listen", listen, "--database-url", &url, "--data-dir", &folder];
    let quick = ["--rate-limit", "0", "--sign-in-limit", "0", "--workers", "2", "--drain", "0s"];
    let chosen: Vec<&str> = settings.iter().step_by(2).copied().collect();
    let mut flags: Vec<String> = settings.iter().map(ToString::to_string).collect();
    for pair in usual.chunks(2).chain(quick.chunks(2)).filter(|pair| !chosen.contains(&pair[0])) {
        flags.extend(pair.iter().map(ToString::to_string));
    }
    let settings = Settings::from_args(flags).expect("the settings of the test");
    eventually("the port is free", async || match Server::start(settings.clone(), clock.clone()).await {
        // While a server was stopped, another test may have been given its port.
        Err(StartError::Listen(..)) => None,
        started => Some(started.expect("the server starts")),
    })
    .await
}
