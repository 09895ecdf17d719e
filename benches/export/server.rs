//! The real program, and somebody who uses it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::Failure;

pub struct Server {
    child: Child,
    url: String,
}

impl Server {
    pub fn start(folder: &str, settings: &[String]) -> Result<Self, Failure> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_snippetbox"))
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--rate-limit", "0", "--data-dir", folder])
            .args(settings)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).ok_or("no address")?;
        Ok(Self { url: url.to_owned(), child })
    }

    /// Resident memory, in KiB.
    pub fn memory(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

pub struct Person {
    pub client: Client,
    pub url: String,
    pub id: String,
    token: String,
}

impl Person {
    /// Makes the first account, and signs in.
    pub async fn register(server: &Server) -> Result<Self, Failure> {
        let account = json!({ "email": "a@example.org", "name": "A", "password": "correct horse" });
        let nobody = Self::nobody(server);
        nobody.post("/v1/users", &account).await?;
        Self::sign_in(server).await
    }

    pub async fn sign_in(server: &Server) -> Result<Self, Failure> {
        let credentials = json!({ "email": "a@example.org", "password": "correct horse" });
        let nobody = Self::nobody(server);
        let session = nobody.post("/v1/sessions", &credentials).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self { token: text(&session["token"]), id: text(&session["user"]["id"]), ..nobody })
    }

    fn nobody(server: &Server) -> Self {
        // The client asks for it even where it speaks no TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { client: Client::new(), url: server.url.clone(), id: String::new(), token: String::new() }
    }

    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.client.post(format!("{}{path}", self.url)).json(body)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let request = if self.token.is_empty() { request } else { request.bearer_auth(&self.token) };
        Ok(request.send().await?.error_for_status()?.json().await?)
    }
}
