//! Three nodes on one database and one bus.

use std::cell::Cell;

use reqwest::Url;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::eventually;
use super::nats::Nats;
use super::persona::{Credential, PASSWORD, Persona, new_client};
use super::postgres::Postgres;
use super::process::Process;
use super::proxy::Proxy;
use super::storage::{Database, Storage};

pub const NODES: usize = 3;

/// A node, and its own ways to what all share.
pub struct Node {
    process: Option<Process>,
    pub to_database: Proxy,
    pub to_nats: Proxy,
    database_url: String,
}

pub struct Cluster {
    pub nats: Nats,
    nodes: Vec<Node>,
    settings: Vec<String>,
    storage: Storage,
    /// The server of PostgreSQL, where this cluster has it for itself.
    postgres: Option<Postgres>,
    accounts: Cell<u32>,
}

impl Cluster {
    /// Starts so many nodes, on the PostgreSQL that is given or that of all tests.
    pub async fn start(count: usize, settings: &[&str], postgres: Option<Postgres>) -> Self {
        let storage = match &postgres {
            Some(postgres) => Storage::create_at(postgres.url()).await,
            None => Storage::create(Database::Postgres).await,
        };
        let (nats, nodes) = (Nats::start(), Vec::new());
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut cluster = Self { nats, nodes, settings, storage, postgres, accounts: Cell::new(0) };
        for index in 0..count {
            let node = cluster.new_node();
            cluster.nodes.push(node);
            cluster.start_node(index).await;
        }
        for index in 0..count {
            cluster.connected(index, true).await;
        }
        cluster.acquainted(count).await;
        cluster
    }

    fn new_node(&self) -> Node {
        let mut url = Url::parse(&self.storage.url()).expect("a URL");
        let target = format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5432));
        let to_database = Proxy::to(target);
        let to_nats = Proxy::to(format!("127.0.0.1:{}", self.nats.port()));
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(to_database.port())).expect("a port");
        Node { process: None, to_database, to_nats, database_url: url.to_string() }
    }

    /// Starts a node that does not run.
    pub async fn start_node(&mut self, index: usize) {
        let node = &self.nodes[index];
        let (database_url, nats_url) = (node.database_url.clone(), Nats::url(node.to_nats.port()));
        let settings = self.settings.clone();
        // Nodes are different machines, which share a folder for files and nothing else.
        let data_dir = format!("{}/node{index}", env!("CARGO_TARGET_TMPDIR"));
        let start = move || {
            let files_url = concat!("file://", env!("CARGO_TARGET_TMPDIR"), "/common");
            let mut all = vec!["--nats-url", &nats_url, "--workers", "1"];
            all.extend(["--data-dir", &data_dir, "--files-url", files_url]);
            all.extend(settings.iter().map(String::as_str));
            Process::start_with(&database_url, &all)
        };
        let process = tokio::task::spawn_blocking(start).await.expect("it starts");
        self.nodes[index].process = Some(process);
    }

    pub fn postgres(&self) -> &Postgres {
        self.postgres.as_ref().expect("the cluster has a PostgreSQL of its own")
    }

    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Sends a signal to a node, by its name.
    pub fn send(&self, index: usize, signal: &str) {
        self.nodes[index].process.as_ref().expect("the node runs").send(signal);
    }

    /// The memory that a node has in use, in bytes.
    pub fn resident_bytes(&self, index: usize) -> usize {
        self.nodes[index].process.as_ref().expect("the node runs").resident_bytes()
    }

    /// SIGKILL.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].process.take().expect("the node runs").kill();
    }

    /// SIGTERM: the node tells its clients and ends.
    pub async fn stop(&mut self, index: usize) {
        let process = self.nodes[index].process.take().expect("the node runs");
        let ended = tokio::task::spawn_blocking(move || process.end_by("TERM")).await.expect("it ends");
        assert!(ended.0.success(), "{}", ended.0);
    }

    /// Waits until all nodes that run know of each other.
    pub async fn acquainted(&self, count: usize) {
        for index in (0..self.nodes.len()).filter(|index| self.nodes[*index].process.is_some()) {
            eventually("the nodes know of each other", async || {
                (self.readiness(index).await["nodes"] == count).then_some(())
            })
            .await;
        }
    }

    pub async fn remove(self) {
        let Self { nodes, storage, postgres, .. } = self;
        drop(nodes);
        if postgres.is_none() {
            storage.remove().await;
        }
    }

    /// The same person at another node.
    pub fn at(&self, index: usize, person: &Persona) -> Persona {
        Persona { server: self.url(index), ..person.clone() }
    }

    /// Where the nodes are that run.
    pub fn urls(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter_map(|node| node.process.as_ref())
            .map(|process| process.url.clone())
            .collect()
    }

    fn url(&self, index: usize) -> String {
        let index = index % self.nodes.len();
        self.nodes[index].process.as_ref().expect("the node runs").url.clone()
    }

    pub fn anonymous(&self, index: usize) -> Persona {
        Persona {
            client: new_client(),
            server: self.url(index),
            credential: Credential::None,
            id: String::new(),
            name: String::new(),
            email: String::new(),
        }
    }

    /// Somebody with an account and a session, made at a node.
    pub async fn user(&self, index: usize) -> Persona {
        let number = self.accounts.replace(self.accounts.get() + 1);
        let (name, email) = (format!("user{number}"), format!("user{number}@example.org"));
        let anonymous = self.anonymous(index);
        let account = json!({ "email": email, "name": name, "password": PASSWORD });
        let id = anonymous.post("/v1/users", &account).await.expect(201).id();
        Persona { id, name, email, ..anonymous }.sign_in().await
    }

    /// Many people with sessions, made behind the back of the nodes: to hash their passwords would take a minute.
    pub async fn crowd(&self, count: u32) -> Vec<Persona> {
        let mut conn = self.connect().await;
        let users = "INSERT INTO users (id, email, name, role, password_hash, version, created_at)
            SELECT md5('crowd' || number)::uuid, 'crowd' || number || '@example.org', 'crowd' || number, 'member',
                   '', 1, now()
            FROM generate_series(1, $1) AS number RETURNING id::text, name";
        let users: Vec<(String, String)> = sqlx::query_as(users)
            .bind(i32::try_from(count).expect("small"))
            .fetch_all(&mut conn)
            .await
            .expect("users");
        let sessions = "INSERT INTO credentials (id, user_id, kind, digest, scopes, created_at)
            SELECT gen_random_uuid(), id, 'session',
                   sha256(set_byte('\\x0000000000000000'::bytea, 0, length(token)) || token::bytea),
                   '[\"read\", \"write\"]', now()
            FROM (SELECT id, 'sbx_session_' || name AS token FROM users WHERE name LIKE 'crowd%') AS made";
        sqlx::query(sessions).execute(&mut conn).await.expect("sessions");
        let nobody = self.anonymous(0);
        users
            .into_iter()
            .map(|(id, name)| {
                let credential = Credential::Bearer(format!("sbx_session_{name}"));
                Persona { credential, id, name, ..nobody.clone() }
            })
            .collect()
    }

    /// Writes events behind the back of the nodes, all in one transaction.
    pub async fn fill_outbox(&self, topic: &str, count: u64) {
        let mut conn = self.connect().await;
        let filling = sqlx::query(
            "INSERT INTO events (type, topic, payload, at)
             SELECT 'filled', $1, number::text, now() FROM generate_series(1, $2) AS number",
        );
        let filled = filling.bind(topic).bind(i64::try_from(count).expect("small")).execute(&mut conn).await;
        assert_eq!(filled.expect("events").rows_affected(), count);
    }

    /// A connection to the database behind the back of the nodes.
    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.storage.url()).await.expect("a connection")
    }

    /// Lets everybody who asks for a table wait in the database, until the connection is closed.
    pub async fn lock(&self, table: &str) -> PgConnection {
        let mut conn = self.connect().await;
        let locking = AssertSqlSafe(format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
        sqlx::raw_sql(locking).execute(&mut conn).await.expect("the lock");
        conn
    }

    /// Whether somebody waits for the rows of a table.
    pub async fn waits_for(&self, table: &str) -> bool {
        let mut conn = self.connect().await;
        let waiting = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = $1::regclass AND NOT granted)",
        );
        waiting.bind(table).fetch_one(&mut conn).await.expect("the locks")
    }

    /// Whether a transaction of a node's waits for the node to go on.
    pub async fn is_left_open(&self) -> bool {
        let mut conn = self.connect().await;
        let open = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
                            WHERE datname = current_database() AND application_name = 'snippetbox'
                                AND state = 'idle in transaction' AND state_change < now() - interval '2 s')",
        );
        open.fetch_one(&mut conn).await.expect("the sessions")
    }

    pub async fn readiness(&self, index: usize) -> Value {
        self.anonymous(index).get("/readyz").await.expect(200).json()
    }

    /// Waits until a node says that its bus is there, or away.
    pub async fn connected(&self, index: usize, connected: bool) {
        let said = if connected { "connected" } else { "away" };
        eventually(said, async || (self.readiness(index).await["bus"] == said).then_some(())).await;
    }

    pub async fn figure(&self, index: usize, name: &str) -> u64 {
        self.anonymous(index).figure(name).await.unwrap_or(0)
    }

    /// The running node that gives the events their places.
    pub async fn sequencer(&self) -> usize {
        let leads = async |index: &usize| self.figure(*index, "snippetbox_sequencer_leads").await == 1;
        eventually("a node leads", async || {
            for index in (0..self.nodes.len()).filter(|index| self.nodes[*index].process.is_some()) {
                if leads(&index).await {
                    return Some(index);
                }
            }
            None
        })
        .await
    }
}
