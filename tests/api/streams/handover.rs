//! The hub takes the sockets of streams over: when it does, when it must not, and what it then has to do itself.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Persona, Process, TestApp, eventually, on_both_databases};

// The session is opened at the time of the test's clock, and used at that of the system.
on_both_databases![
    only_the_first_plain_request_of_a_connection_is_handed_over with ["--session-ttl", "3650d"],
    what_a_client_sends_after_its_request_is_dropped with ["--session-ttl", "3650d"],
    a_client_that_leaves_is_noticed_at_once with ["--session-ttl", "3650d"],
    a_stream_is_logged_from_its_beginning_to_its_end with ["--session-ttl", "3650d"],
    more_streams_than_allowed_are_told_to_come_back with ["--max-streams", "2"],
];

/// The server as a process of its own, whose figures nobody else changes.
struct Node {
    process: Process,
    ann: Persona,
}

impl Node {
    async fn start(app: &TestApp, settings: &[&str]) -> Self {
        let ann = app.user("ann").await;
        app.stop().await;
        let process = Process::start_with(&app.database_url(), settings);
        let ann = Persona { server: process.url.clone(), ..ann };
        Self { process, ann }
    }

    async fn connect(&self) -> TcpStream {
        let address = self.process.url.trim_start_matches("http://");
        TcpStream::connect(address).await.expect("a connection")
    }

    async fn figure(&self, name: &str) -> u64 {
        self.ann.figure(name).await.unwrap_or(0)
    }

    async fn handed_over(&self) -> u64 {
        self.figure("snippetbox_streams_handed_over_total").await
    }

    async fn open_streams(&self) -> u64 {
        self.figure("snippetbox_stream_connections").await
    }
}

/// Reads until the text has come, and returns all that came.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4_096];
    while !String::from_utf8_lossy(&read).contains(text) {
        let received = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let count = received.unwrap_or_else(|_| panic!("silent after: {}", String::from_utf8_lossy(&read)));
        let count = count.expect("bytes");
        assert!(count > 0, "ended after: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(read).expect("text")
}

fn request(version: &str, headers: &str) -> String {
    format!("GET /v1/events?topics=snippets HTTP/{version}\r\nHost: x\r\n{headers}\r\n")
}

async fn only_the_first_plain_request_of_a_connection_is_handed_over(app: &TestApp) {
    let node = Node::start(app, &[]).await;
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let compressed = request("1.1", "Accept-Encoding: gzip, br\r\n");
    let lines = request("1.1", "Accept: application/x-ndjson\r\n");
    let cases = [
        ("a first request", request("1.1", ""), 1),
        ("one that would take compression", compressed, 1),
        ("one for lines", lines, 1),
        ("HTTP/1.0", request("1.0", ""), 0),
        ("with a body", request("1.1", "Content-Length: 2\r\n") + "{}", 0),
        ("pipelined behind another", format!("{health}{}", request("1.1", "")), 0),
    ];
    for (case, request, handed_over) in cases {
        let before = node.handed_over().await;
        let mut stream = node.connect().await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let opened = read_until(&mut stream, "server_time").await;
        assert!(!opened.to_lowercase().contains("content-encoding"), "{case}: {opened}");
        let chunked = opened.to_lowercase().contains("transfer-encoding: chunked");
        assert_eq!(chunked, case != "HTTP/1.0", "{case}: {opened}");
        let ends = case == "HTTP/1.0" || opened.to_lowercase().contains("connection: close");
        assert!(ends, "{case}: its connection ends with the stream: {opened}");
        eventually(case, async || (node.open_streams().await == 1).then_some(())).await;
        node.ann.has_snippet(json!({ "title": case })).await;
        read_until(&mut stream, case).await;
        assert_eq!(node.handed_over().await - before, handed_over, "{case}");
        drop(stream);
        eventually("it is gone", async || (node.open_streams().await == 0).then_some(())).await;
    }
    let before = node.handed_over().await;
    let mut reused = node.connect().await;
    reused.write_all(health.as_bytes()).await.expect("sent");
    read_until(&mut reused, "\"ok\"").await;
    reused.write_all(request("1.1", "").as_bytes()).await.expect("sent");
    let opened = read_until(&mut reused, "server_time").await;
    assert!(
        opened.to_lowercase().contains("connection: close"),
        "its connection ends with the stream: {opened}"
    );
    assert_eq!(node.handed_over().await, before, "a connection that was used before");
    node.process.kill();
}

async fn what_a_client_sends_after_its_request_is_dropped(app: &TestApp) {
    let node = Node::start(app, &[]).await;
    let mut stream = node.connect().await;
    let two = request("1.1", "") + "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(two.as_bytes()).await.expect("sent");
    read_until(&mut stream, "server_time").await;
    stream.write_all(&vec![b'x'; 100_000]).await.expect("sent");
    node.ann.has_snippet(json!({ "title": "Still here" })).await;
    let read = read_until(&mut stream, "Still here").await;
    assert!(!read.contains("HTTP/1.1"), "nothing but the stream is answered: {read}");
    assert_eq!(node.open_streams().await, 1);
    node.process.kill();
}

async fn a_client_that_leaves_is_noticed_at_once(app: &TestApp) {
    let node = Node::start(app, &[]).await;
    for version in ["1.1", "1.0"] {
        let mut stream = node.connect().await;
        stream.write_all(request(version, "").as_bytes()).await.expect("sent");
        read_until(&mut stream, "server_time").await;
        assert_eq!(node.open_streams().await, 1);
        let left = tokio::time::Instant::now();
        drop(stream);
        eventually("it is gone", async || (node.open_streams().await == 0).then_some(())).await;
        assert!(
            left.elapsed() < Duration::from_secs(3),
            "HTTP/{version}: noticed after {:?}",
            left.elapsed()
        );
    }
    node.process.kill();
}

async fn a_stream_is_logged_from_its_beginning_to_its_end(app: &TestApp) {
    let ann = app.user("ann").await;
    app.stop().await;
    let log = tempfile::NamedTempFile::new().expect("a file");
    let process = Process::start_logging(&app.database_url(), log.reopen().expect("the file"));
    let ann = Persona { server: process.url.clone(), ..ann };
    let token = ann.post("/v1/stream-tokens", &json!({})).await.expect(201).json();
    let token = token["token"].as_str().expect("a token");
    let stream = ann.signed_out().subscribe(&format!("topics=snippets&access_token={token}")).await;
    let connection = stream.connection().to_owned();
    stream.disconnect();
    let text = eventually("its end is logged", async || {
        let text = std::fs::read_to_string(log.path()).expect("the log");
        text.contains("the stream ended").then_some(text)
    })
    .await;
    let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("/v1/events").contains("200"), "{text}");
    assert!(line("the stream ended").contains(&connection), "{text}");
    assert!(!text.contains("ERROR") && !text.contains("WARN"), "{text}");
    assert!(!text.contains(token) && !text.contains(ann.token()), "no secret is logged: {text}");
    process.kill();
}

async fn more_streams_than_allowed_are_told_to_come_back(app: &TestApp) {
    let anonymous = app.anonymous();
    let first = anonymous.subscribe("topics=snippets").await;
    let _second = anonymous.subscribe("topics=snippets").await;
    let refused = anonymous.get("/v1/events?topics=snippets").await.problem(503, "overloaded");
    assert!(refused.headers.contains_key("retry-after"));
    first.disconnect();
    eventually("there is room again", async || {
        let path = "/v1/events?topics=snippets";
        let answer = anonymous.get(path).header("Accept", "application/json").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
