//! A room full of people, everybody typing now and then: one order for all, and nothing is lost.
//!
//! The size is set by `SNIPPETBOX_CROWD` (people and streams), the length by `SNIPPETBOX_CROWD_SECONDS`.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{add, each, put, room_of, topic};
use crate::support::{Persona, TestApp, on_both_databases};

on_both_databases![everybody_hears_the_same_in_the_same_order];

/// The messages of each second.
const RATE: u32 = 100;
/// How many people write and type.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

async fn everybody_hears_the_same_in_the_same_order(app: &TestApp) {
    let (size, seconds) = (setting("SNIPPETBOX_CROWD", 40), setting("SNIPPETBOX_CROWD_SECONDS", 3));
    let people = gather(app, size).await;
    let room = room_of(&people[0], "private").await;
    for person in &people[1..] {
        add(&people[0], &room, person).await.expect(201);
    }
    let (total, begun) = ((RATE * seconds) as usize, Instant::now());
    let mut listeners = Vec::new();
    for person in &people {
        let stream = open(app, person, &room).await;
        listeners.push(tokio::spawn(listen(stream, total, begun)));
    }
    let typing = tokio::spawn(type_now_and_then(people.clone(), room.clone()));
    let spoken = speak(&people, &room, total, begun).await;
    let heard: Vec<Heard> = join_all(listeners).await.into_iter().map(|it| it.expect("a listener")).collect();
    typing.abort();

    let order = &heard[0].places;
    assert_eq!(order.len(), total);
    assert!(order.is_sorted_by(|a, b| a < b), "in the order of the log");
    let differing = heard.iter().filter(|other| other.places != *order).count();
    assert_eq!(differing, 0, "of {size} listeners, so many heard something else");
    assert!(heard.iter().all(|it| it.typing > 0), "everybody hears who is typing");
    assert_listed_in_order(&people[0], &room, total).await;
    report(&heard, (size, total), spoken);
}

/// The list of messages stands in the order of the log.
async fn assert_listed_in_order(person: &Persona, room: &str, total: usize) {
    let (mut told, mut cursor) = (Vec::new(), "earliest".to_owned());
    while told.len() < total {
        let path = format!("{room}/events?types=message_created&since={cursor}");
        let page = person.get(&path).header("Accept", "application/json").await.expect(200);
        told.extend(each(&page, "/data/id"));
        page.json()["next_cursor"].as_str().expect("a cursor").clone_into(&mut cursor);
    }
    let (mut listed, mut last) = (Vec::new(), "00000000-0000-0000-0000-000000000000".to_owned());
    while listed.len() < total {
        let page = person.get(&format!("{room}/messages?limit=100&after={last}")).await.expect(200);
        listed.extend(each(&page, "/id"));
        listed.last().expect("a message").clone_into(&mut last);
    }
    assert!(listed == told, "the list and the log differ in their order");
}

fn report(heard: &[Heard], (size, total): (u32, usize), spoken: Duration) {
    let mut delays: Vec<Duration> = heard.iter().flat_map(|it| it.delays.iter().copied()).collect();
    delays.sort_unstable();
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    let rate = f64::from(u32::try_from(total).expect("few")) / spoken.as_secs_f64();
    let (median, slow, worst) = (at(50), at(99), at(100));
    let typing: usize = heard.iter().map(|it| it.typing).sum();
    println!(
        "{size} listeners, {total} messages at {rate:.0}/s: 0 lost, one order; from the request to the \
         listener p50 {median:.1?}, p99 {slow:.1?}, max {worst:.1?}; {typing} typing events"
    );
}

/// People with accounts, registered a few at a time.
async fn gather(app: &TestApp, size: u32) -> Vec<Persona> {
    let (mut people, names) = (Vec::new(), (0..size).collect::<Vec<u32>>());
    for group in names.chunks(4) {
        let users = group.iter().map(|number| app.user(Box::leak(format!("user{number}").into_boxed_str())));
        people.extend(join_all(users).await);
    }
    people
}

/// Says so many things in all, at a steady rate whatever the answers take, by one after the other.
async fn speak(people: &[Persona], room: &str, total: usize, begun: Instant) -> Duration {
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut posts = Vec::new();
    for number in 0..total {
        tick.tick().await;
        let (person, route) = (people[number % people.len()].clone(), format!("{room}/messages"));
        posts.push(tokio::spawn(async move {
            let body = json!({ "content": format!("@{}@", begun.elapsed().as_micros()) });
            person.post(&route, &body).await.expect(201);
        }));
    }
    let spoken = start.elapsed();
    for post in posts {
        post.await.expect("it was said");
    }
    spoken
}

async fn type_now_and_then(people: Vec<Persona>, room: String) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    for person in people.iter().cycle() {
        tick.tick().await;
        put(person, &format!("{room}/typing"), &json!({ "typing": true })).await.expect(204);
    }
}

/// Opens a stream on a bare socket, so that thousands of them cost the test little.
async fn open(app: &TestApp, person: &Persona, room: &str) -> TcpStream {
    let address = app.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    let request = format!(
        "GET /v1/events?topics={} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
        topic(room),
        person.token()
    );
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut head = [0; 4_096];
    let mut read = 0;
    while !String::from_utf8_lossy(&head[..read]).contains("event: ready") {
        let count = stream.read(&mut head[read..]).await.expect("an answer");
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&head[..read]));
        read += count;
    }
    stream
}

/// What one listener heard.
#[derive(Default)]
struct Heard {
    /// The places of the messages in the log, as they came.
    places: Vec<u64>,
    delays: Vec<Duration>,
    typing: usize,
}

/// Reads line by line: `id:` comes before `event:`, and `event:` before `data:`.
async fn listen(mut stream: TcpStream, total: usize, begun: Instant) -> Heard {
    let (mut heard, mut rest, mut buffer) = (Heard::default(), Vec::new(), vec![0; 16_384]);
    let (mut place, mut is_message) = (0, false);
    while heard.places.len() < total {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("silent after {}", heard.places.len())).expect("bytes");
        assert!(count > 0, "closed after {} messages", heard.places.len());
        rest.extend_from_slice(&buffer[..count]);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(id) = line.strip_prefix(b"id: ") {
                let id = String::from_utf8_lossy(id);
                place = id.trim().rsplit('.').next().and_then(|seq| seq.parse().ok()).expect("a place");
            } else if let Some(kind) = line.strip_prefix(b"event: ") {
                is_message = kind.starts_with(b"message_created");
                heard.typing += usize::from(kind.starts_with(b"typing"));
            } else if is_message && line.starts_with(b"data: ") {
                heard.places.push(place);
                let sent =
                    String::from_utf8_lossy(&line).split('@').nth(1).and_then(|text| text.parse().ok());
                let sent = Duration::from_micros(sent.expect("the moment of the request"));
                heard.delays.push(begun.elapsed().saturating_sub(sent));
            }
        }
    }
    heard
}
