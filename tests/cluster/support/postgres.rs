//! A PostgreSQL of one test's own, which can crash and come back: the other tests go on with theirs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::Url;
use sqlx::{Connection as _, PgConnection};

use super::eventually;

pub struct Postgres {
    url: Url,
    script: Child,
}

impl Postgres {
    /// Starts it as `tests/postgres` does for all tests, and returns when it listens.
    pub fn start() -> Self {
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres"))
            .args(["sh", "-c", "echo \"$TEST_POSTGRES_URL\"; exec sleep infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("PostgreSQL starts");
        let mut line = String::new();
        let output = script.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        Self { url: Url::parse(line.trim()).expect("a URL"), script }
    }

    pub fn url(&self) -> Url {
        self.url.clone()
    }

    /// Lets it end without writing anything more, and all connections with it.
    pub async fn crash(&self) {
        self.signal("USR1");
        self.answers(false).await;
    }

    /// Starts it again, and returns when it has recovered.
    pub async fn restart(&self) {
        self.signal("USR2");
        self.answers(true).await;
    }

    async fn answers(&self, wanted: bool) {
        let what = if wanted { "PostgreSQL is back" } else { "PostgreSQL is gone" };
        eventually(what, async || {
            let answers = PgConnection::connect(self.url.as_str()).await.is_ok();
            (answers == wanted).then_some(())
        })
        .await;
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.script.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "the signal is sent");
    }
}

/// A test that fails leaves no server behind.
impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal("TERM");
        drop(self.script.wait());
    }
}
