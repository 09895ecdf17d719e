//! A reader of event streams, which never waits long and says what it had received when it gives up.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::decoder::{Decoder, Format, Frame};
use super::within;

/// How long the next event may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many of the last events are shown when something else was expected.
const REMEMBERED: usize = 100;

/// One event: what the frame and its envelope say alike.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: Option<String>,
    pub kind: String,
    pub topic: Option<String>,
    pub data: Value,
    /// Everything, `at` and `actor` among it.
    pub envelope: Value,
}

impl Event {
    fn of(frame: Frame) -> Self {
        let kind = frame.event.unwrap_or_else(|| panic!("an event without a name: {:?}", frame.data));
        let data = frame.data.unwrap_or_else(|| panic!("{kind} has no data"));
        let envelope: Value =
            serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data:?}"));
        assert_eq!(envelope["type"], kind.as_str(), "frame and envelope differ: {data}");
        assert_eq!(envelope["id"].as_str(), frame.id.as_deref(), "frame and envelope differ: {data}");
        for separator in ['\u{85}', '\u{2028}', '\u{2029}'] {
            assert!(!data.contains(separator), "{separator:?} is not escaped in {data:?}");
        }
        let topic = envelope["topic"].as_str().map(ToOwned::to_owned);
        Self { id: frame.id, kind, topic, data: envelope["data"].clone(), envelope }
    }
}

pub struct EventStream {
    /// The data of the first event, `ready`.
    pub ready: Value,
    /// What the server last said about reconnecting, in milliseconds.
    pub retry: Option<u64>,
    label: String,
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    decoder: Decoder,
    received: VecDeque<Event>,
}

impl EventStream {
    /// Opens a stream and reads its first event, `ready`.
    pub async fn open(call: Call) -> Self {
        let (label, response) = call.send().await;
        let headers = response.headers().clone();
        let media_type = headers.get("content-type").and_then(|value| value.to_str().ok());
        let format = match (response.status().as_u16(), media_type) {
            (200, Some("text/event-stream")) => Format::Frames,
            (200, Some("application/x-ndjson")) => Format::Lines,
            _ => panic!("this is no stream: {}", Answer::read(label, response).await),
        };
        for (name, value) in [("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no")] {
            assert_eq!(
                headers.get(name).map(reqwest::header::HeaderValue::as_bytes),
                Some(value.as_bytes()),
                "{name} of {label}"
            );
        }
        assert!(!headers.contains_key("content-encoding"), "{label} is compressed");
        let bytes = response.bytes_stream().boxed();
        let decoder = Decoder::new(format);
        let mut stream =
            Self { ready: Value::Null, retry: None, label, bytes, decoder, received: VecDeque::new() };
        let first = stream.next().await;
        assert_eq!(first.kind, "ready", "the first event of {}", stream.label);
        stream.ready = first.data;
        stream
    }

    /// The name which requests give in `Snippetbox-Connection-Id`.
    pub fn connection(&self) -> &str {
        self.ready["connection_id"].as_str().expect("ready names the connection")
    }

    /// The next event that is no heartbeat.
    pub async fn next(&mut self) -> Event {
        loop {
            match self.next_or_end().await {
                Some(event) if event.kind == "heartbeat" => {}
                Some(event) => return event,
                None => self.give_up("ended"),
            }
        }
    }

    /// The next event of this type; others before it are only remembered.
    pub async fn until(&mut self, kind: &str) -> Event {
        loop {
            match self.next_or_end().await {
                Some(event) if event.kind == kind => return event,
                Some(_) => {}
                None => self.give_up(&format!("ended before {kind}")),
            }
        }
    }

    /// The types of all events up to the next one of this type, heartbeats among them.
    pub async fn kinds_until(&mut self, kind: &str) -> Vec<String> {
        let mut kinds = Vec::new();
        while kinds.last().is_none_or(|last| last != kind) {
            match self.next_or_end().await {
                Some(event) => kinds.push(event.kind),
                None => self.give_up(&format!("ended before {kind}")),
            }
        }
        kinds
    }

    /// Waits for the server to end the stream, which must send nothing more.
    pub async fn ended(mut self) {
        while let Some(event) = self.next_or_end().await {
            assert_eq!(event.kind, "heartbeat", "{} goes on: {event:?}", self.label);
        }
    }

    /// Hangs up.
    pub fn disconnect(self) {
        drop(self);
    }

    async fn next_or_end(&mut self) -> Option<Event> {
        loop {
            while let Some(frame) = self.decoder.next_frame() {
                self.retry = frame.retry.or(self.retry);
                if frame.event.is_some() || frame.data.is_some() {
                    let event = Event::of(frame);
                    if self.received.len() == REMEMBERED {
                        self.received.pop_front();
                    }
                    self.received.push_back(event.clone());
                    return Some(event);
                }
            }
            match within(PATIENCE, self.bytes.next()).await {
                Some(Some(Ok(bytes))) => self.decoder.push(&bytes),
                Some(Some(Err(error))) => self.give_up(&format!("was cut: {error:?}")),
                Some(None) => return None,
                None => self.give_up("was silent"),
            }
        }
    }

    fn give_up(&self, how: &str) -> ! {
        let shown = |event: &Event| format!("  {}", event.envelope).chars().take(2_000).collect();
        let lines: Vec<String> = self.received.iter().map(shown).collect();
        panic!("{} {how}; the last that came:\n{}", self.label, lines.join("\n"))
    }
}
