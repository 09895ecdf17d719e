//! Somebody who uses the server, with a credential or without, and the verbs such a person has.

use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::call::Call;
use super::events::EventStream;

pub const PASSWORD: &str = "correct horse battery staple";

#[derive(Clone)]
pub enum Credential {
    None,
    Bearer(String),
    Cookie(String),
}

#[derive(Clone)]
pub struct Persona {
    pub client: Client,
    pub server: String,
    pub credential: Credential,
    pub id: String,
    pub name: String,
    pub email: String,
}

impl Persona {
    /// The same person with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { credential: Credential::Bearer(token.to_owned()), ..self.clone() }
    }

    /// The same person in a browser, which sends the session's cookie.
    pub fn with_cookie(&self, token: &str) -> Self {
        Self { credential: Credential::Cookie(token.to_owned()), ..self.clone() }
    }

    /// The same person without a credential.
    pub fn signed_out(&self) -> Self {
        Self { credential: Credential::None, ..self.clone() }
    }

    /// The token in use.
    pub fn token(&self) -> &str {
        match &self.credential {
            Credential::None => "",
            Credential::Bearer(token) | Credential::Cookie(token) => token,
        }
    }

    /// The same person in one more session.
    pub async fn sign_in(&self) -> Self {
        let answer = self.signed_out().post("/v1/sessions", &self.right_credentials()).await.expect(201);
        self.with_token(answer.json()["token"].as_str().expect("the session has a token"))
    }

    pub fn right_credentials(&self) -> Value {
        json!({ "email": self.email, "password": PASSWORD })
    }

    /// The same person with a personal access token of the given scopes.
    pub async fn with_scopes(&self, scopes: &[&str]) -> Self {
        let wish = json!({ "name": "a script", "scopes": scopes });
        let answer = self.post("/v1/tokens", &wish).await.expect(201);
        self.with_token(answer.json()["token"].as_str().expect("the token is shown"))
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let label = format!("{method} {path}");
        let request = self.client.request(method, format!("{}{path}", self.server));
        let call = Call::new(request, label);
        match &self.credential {
            Credential::None => call,
            Credential::Bearer(token) => call.header("Authorization", format!("Bearer {token}")),
            Credential::Cookie(token) => call.header("Cookie", format!("session={token}")),
        }
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A figure of the server, by its name and labels; nothing where the server has none of that name yet.
    pub async fn figure(&self, name: &str) -> Option<u64> {
        let figures = self.get("/metrics").await.expect(200).text();
        let value = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PATCH, path).json(body)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    pub fn post_snippet(&self, snippet: &Value) -> Call {
        self.post("/v1/snippets", snippet)
    }

    /// Creates a snippet of which only the given fields matter, and returns it.
    pub async fn has_snippet(&self, fields: Value) -> Value {
        let mut snippet = json!({ "title": "A snippet", "content": "fn main() {}" });
        let (Value::Object(all), Value::Object(chosen)) = (&mut snippet, fields) else {
            panic!("the fields of a snippet are an object");
        };
        all.extend(chosen);
        self.post_snippet(&snippet).await.expect(201).json()
    }

    /// Creates a snippet with the given visibility, and returns its path.
    pub async fn has_snippet_that_is(&self, visibility: &str) -> String {
        path_of(&self.has_snippet(json!({ "visibility": visibility })).await)
    }

    pub fn publish(&self, topic: &str, event: &Value) -> Call {
        self.post(&format!("/v1/topics/{topic}/events"), event)
    }

    /// Opens a stream: `subscribe("topics=snippets")`.
    pub async fn subscribe(&self, query: &str) -> EventStream {
        self.subscribe_with(query, &[]).await
    }

    pub async fn subscribe_with(&self, query: &str, headers: &[(&str, &str)]) -> EventStream {
        // On a connection of its own, as an `EventSource` in another tab: only those are handed over to the hub.
        let alone = Self { client: new_client(), ..self.clone() };
        let mut call = alone.get(&format!("/v1/events?{query}"));
        for (name, value) in headers {
            call = call.header(name, value);
        }
        EventStream::open(call).await
    }
}

impl Persona {
    /// A connection with small buffers on which a request has begun: what follows the headers is the caller's.
    pub async fn begin(&self, method: Method, path: &str, headers: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a small buffer");
        let address = self.server.trim_start_matches("http://").parse().expect("an address");
        let mut stream = socket.connect(address).await.expect("a connection");
        let credential = match self.token() {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{credential}{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        stream
    }

    /// A reader with small buffers that has opened a stream and takes nothing yet.
    pub async fn read_slowly(&self, query: &str) -> TcpStream {
        let mut stream = self.begin(Method::GET, &format!("/v1/events?{query}"), "").await;
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.expect("the answer begins");
        stream
    }
}

/// A client with connections of its own. It trusts no certificates, which it would read anew each time: nothing here
/// speaks TLS, and hundreds of clients open at once.
pub fn new_client() -> Client {
    // The library wants one all the same; the program installs it only where it uses it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = Client::builder().no_proxy().redirect(Policy::none()).tls_certs_only([]);
    client.build().expect("a client")
}

/// The path of a snippet.
pub fn path_of(snippet: &Value) -> String {
    format!("/v1/snippets/{}", snippet["id"].as_str().expect("the snippet has an id"))
}
