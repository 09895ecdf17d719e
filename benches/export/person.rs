//! Somebody who uses the program.

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::{Failure, server::Server};

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
        Self {
            client: Client::new(),
            url: format!("http://{}", server.address),
            id: String::new(),
            token: String::new(),
        }
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
