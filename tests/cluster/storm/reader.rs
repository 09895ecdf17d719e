//! Somebody who listens, moves from node to node, and remembers what came.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Formatter};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Storm, TOPICS, TOPICS_EACH, Written, place, topic};
use crate::support::decoder::{Decoder, Format, Frame};
use crate::support::{Random, new_client};

/// How long a node may take to begin a stream.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before the next try where there is no stream.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Reader {
    number: u64,
    topics: Vec<String>,
    random: RefCell<Random>,
    last: RefCell<String>,
    received: RefCell<Vec<(u64, Written)>>,
    connections: Cell<usize>,
}

/// What an envelope says.
pub fn written(envelope: &Value) -> Written {
    let number = |name: &str| envelope["data"][name].as_u64().expect("a number");
    let topic = envelope["topic"].as_str().expect("a topic").to_owned();
    Written { topic, writer: number("writer"), number: number("number") }
}

impl Debug for Reader {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (last, connections) = (self.last.borrow(), self.connections.get());
        write!(f, "reader {} of {:?}, after {last}, in stream {connections}", self.number, self.topics)
    }
}

impl Reader {
    pub fn new(number: u64, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(1_000_003) + number);
        let first = random.below(TOPICS);
        Self {
            number,
            topics: (0..TOPICS_EACH).map(|step| topic((first + step * 7) % TOPICS)).collect(),
            random: RefCell::new(random),
            last: RefCell::new("earliest".to_owned()),
            received: RefCell::default(),
            connections: Cell::new(0),
        }
    }

    /// Reads for as long as the storm lasts.
    pub async fn read(self: Rc<Self>, storm: Rc<Storm>) {
        while storm.listening.get() {
            if self.listen(&storm).await.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Listens to one stream until it ends, or it is time to move; nothing when none began.
    async fn listen(&self, storm: &Storm) -> Option<()> {
        let (person, stay) = {
            let mut random = self.random.borrow_mut();
            let stay = random.below(2 * storm.stay_ms);
            (storm.anywhere(&mut random), Duration::from_millis(stay))
        };
        let since = self.last.borrow().clone();
        let url = format!("{}/v1/events?topics={}&since={since}", person.server, self.topics.join(","));
        let request = new_client().get(url).bearer_auth(person.token()).send();
        let response = tokio::time::timeout(PATIENCE, request).await.ok()?.ok()?;
        let status = response.status().as_u16();
        assert!([200, 503].contains(&status), "{status} for {self:?}");
        if status != 200 {
            return None;
        }
        self.connections.set(self.connections.get() + 1);
        let moves = Instant::now() + stay;
        let (mut bytes, mut decoder) = (response.bytes_stream(), Decoder::new(Format::Frames));
        while storm.listening.get() {
            let Ok(Some(Ok(chunk))) = timeout_at(moves, bytes.next()).await else { break };
            decoder.push(&chunk);
            while let Some(frame) = decoder.next_frame() {
                self.take(&frame);
            }
        }
        Some(())
    }

    fn take(&self, frame: &Frame) {
        assert_ne!(frame.event.as_deref(), Some("reset"), "a gap for {self:?}: {:?}", frame.data);
        let Some(id) = &frame.id else { return };
        let envelope: Value = serde_json::from_str(frame.data.as_ref().expect("data")).expect("JSON");
        let (place, mut received) = (place(id), self.received.borrow_mut());
        let before = received.last().map_or(0, |(place, _)| *place);
        assert!(place > before, "{place} after {before} for {self:?}");
        received.push((place, written(&envelope)));
        self.last.replace(id.clone());
    }

    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Whether everything that was acknowledged up to a place has come.
    pub fn has_until(&self, storm: &Storm, place: u64) -> bool {
        let acknowledged = storm.acknowledged.borrow();
        let mine = |(_, written): &(&u64, &Written)| self.topics.contains(&written.topic);
        let last = acknowledged.range(..=place).rev().find(mine).map_or(0, |(place, _)| *place);
        self.received.borrow().last().map_or(0, |(place, _)| *place) >= last
    }

    /// Whether the end of the log has come.
    pub fn has(&self, log: &BTreeMap<u64, Written>) -> bool {
        let last = log.iter().rev().find(|(_, written)| self.topics.contains(&written.topic));
        self.received.borrow().last().map(|(place, _)| *place) >= last.map(|(place, _)| *place)
    }

    /// All events of the topics have come, once and in their order, and say what they say in the log.
    pub fn check(&self, log: &BTreeMap<u64, Written>) {
        let received = self.received.borrow();
        let wanted: Vec<(u64, Written)> = log
            .iter()
            .filter(|(_, written)| self.topics.contains(&written.topic))
            .map(|(place, written)| (*place, written.clone()))
            .collect();
        let had: BTreeSet<u64> = received.iter().map(|(place, _)| *place).collect();
        let lost: Vec<_> = wanted.iter().filter(|(place, _)| !had.contains(place)).collect();
        assert!(lost.is_empty(), "{self:?} has lost {lost:?}");
        assert_eq!(*received, wanted, "{self:?}");
    }
}
