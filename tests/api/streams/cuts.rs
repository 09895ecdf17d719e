//! A stream that is cut at any byte and resumed has every event once and in order.

use futures_util::future::join_all;
use proptest::collection::vec;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::place;
use crate::support::{Database, Persona, TestApp, run};

const WRITERS: usize = 16;
const EACH: usize = 25;

mod sqlite {
    use super::{Database::Sqlite, cut_at_any_byte_nothing_is_lost_or_told_twice};

    #[test]
    fn cut_at_any_byte_nothing_is_lost_or_told_twice_on_a_socket_handed_over() {
        cut_at_any_byte_nothing_is_lost_or_told_twice(Sqlite, "true");
    }

    #[test]
    fn cut_at_any_byte_nothing_is_lost_or_told_twice_in_an_ordinary_body() {
        cut_at_any_byte_nothing_is_lost_or_told_twice(Sqlite, "false");
    }
}

mod postgres {
    use super::{Database::Postgres, cut_at_any_byte_nothing_is_lost_or_told_twice};

    #[test]
    #[ignore = "needs PostgreSQL: tests/run starts one"]
    fn cut_at_any_byte_nothing_is_lost_or_told_twice_on_a_socket_handed_over() {
        cut_at_any_byte_nothing_is_lost_or_told_twice(Postgres, "true");
    }

    #[test]
    #[ignore = "needs PostgreSQL: tests/run starts one"]
    fn cut_at_any_byte_nothing_is_lost_or_told_twice_in_an_ordinary_body() {
        cut_at_any_byte_nothing_is_lost_or_told_twice(Postgres, "false");
    }
}

/// Some readers, each with the numbers of bytes after which it hangs up, over and over. A failure prints the fewest
/// readers and cuts with which it happens; PROPTEST_CASES asks for more cases.
fn cut_at_any_byte_nothing_is_lost_or_told_twice(database: Database, handover: &str) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 8, ..Config::default() };
    let readers = vec(vec(1_usize..6_000, 1..20), 1..5);
    let settings = ["--stream-handover", handover];
    let outcome = TestRunner::new(config).run(&readers, |readers| {
        run(database, &settings, async |app| read_with_cuts(app, &readers).await);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn read_with_cuts(app: &TestApp, readers: &[Vec<usize>]) {
    let ann = app.user("ann").await;
    let writers = join_all((0..WRITERS).map(|writer| write_many(&ann, writer)));
    let readers = join_all(readers.iter().map(|cuts| read_all(&ann, cuts)));
    let (_, all) = tokio::join!(writers, readers);
    for told in &all {
        assert_eq!(told, &all[0], "all readers have one order");
    }
    let places: Vec<u64> = all[0].iter().map(|told| place(&told.id)).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "in the order of ids, none twice");
    for writer in 0..WRITERS {
        let of_writer = all[0].iter().filter(|told| told.data["writer"] == writer);
        let numbers: Vec<&Value> = of_writer.map(|told| &told.data["number"]).collect();
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "each of writer {writer} once, in its order");
    }
}

async fn write_many(ann: &Persona, writer: usize) {
    for number in 0..EACH {
        let event = json!({ "type": "told", "data": { "writer": writer, "number": number } });
        ann.publish("custom:storm", &event).await.expect(202);
    }
}

/// An event that came whole.
#[derive(Debug, PartialEq)]
struct Told {
    id: String,
    data: Value,
}

/// Reads until everything was told, hanging up after so many bytes, wherever that is: in the head, in a frame, in the
/// length of a chunk. Goes on behind the last frame that had come whole.
async fn read_all(ann: &Persona, cuts: &[usize]) -> Vec<Told> {
    let (mut told, mut last) = (Vec::new(), "earliest".to_owned());
    for (attempt, cut) in cuts.iter().cycle().enumerate() {
        // A little more at each attempt: else cuts within the head would never come to an end.
        let mut connection = Connection::open(ann, &last, cut + attempt * 8).await;
        while let Some(events) = connection.next().await {
            told.extend(events);
            last = told.last().map_or(last, |told| told.id.clone());
            if told.len() >= WRITERS * EACH {
                return told;
            }
        }
    }
    told
}

/// A client that counts bytes, and knows no more of HTTP than it must.
struct Connection {
    socket: TcpStream,
    left: usize,
    /// What has come of the response.
    response: Vec<u8>,
    /// How many frames were taken from it.
    taken: usize,
}

impl Connection {
    async fn open(ann: &Persona, since: &str, bytes: usize) -> Self {
        let address = ann.server.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let request = format!(
            "GET /v1/events?topics=custom:storm HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Last-Event-ID: {since}\r\n\r\n",
            ann.token()
        );
        socket.write_all(request.as_bytes()).await.expect("the request is sent");
        Self { socket, left: bytes, response: Vec::new(), taken: 0 }
    }

    /// The events that have come whole since the last call, or nothing when it is time to hang up.
    async fn next(&mut self) -> Option<Vec<Told>> {
        let mut buffer = [0; 2_048];
        let room = self.left.min(buffer.len());
        if room == 0 {
            return None;
        }
        let reading = self.socket.read(&mut buffer[..room]);
        let read = tokio::time::timeout(std::time::Duration::from_secs(60), reading).await;
        let read = read.expect("something comes").expect("the server does not hang up");
        assert!(read > 0, "the stream ended after: {}", String::from_utf8_lossy(&self.response));
        self.response.extend_from_slice(&buffer[..read]);
        self.left -= read;
        let body = body(&self.response);
        let whole = body.split("\n\n").count().saturating_sub(1);
        let new = body.split("\n\n").take(whole).skip(self.taken).filter_map(event).collect();
        self.taken = whole;
        Some(new)
    }
}

/// What has come of the text of a stream: the head and the lengths of the chunks removed, and what is not complete.
fn body(response: &[u8]) -> String {
    let text = String::from_utf8_lossy(response); // The last character may not be complete.
    let Some((head, mut rest)) = text.split_once("\r\n\r\n") else { return String::new() };
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let mut body = String::new();
    while let Some((length, chunk)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("the length of a chunk");
        let Some(whole) = chunk.get(..length) else {
            body.push_str(chunk);
            break;
        };
        body.push_str(whole);
        rest = chunk[length..].strip_prefix("\r\n").unwrap_or_default();
    }
    body
}

/// The event of a frame, unless it is one of the stream's own.
fn event(frame: &str) -> Option<Told> {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if field("event") != Some("told") {
        assert_ne!(field("event"), Some("reset"), "nothing is trimmed: {frame}");
        return None;
    }
    let envelope: Value = serde_json::from_str(field("data").expect("data")).expect("JSON on one line");
    assert_eq!(envelope["id"].as_str(), field("id"), "{frame}");
    Some(Told { id: field("id").expect("an id").to_owned(), data: envelope["data"].clone() })
}
