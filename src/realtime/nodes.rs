//! The other nodes: who lives, and who is there with them.
//!
//! An entry of the roster belongs to the node that holds the connection, and every node knows the entries of all. Each
//! node numbers what it tells of its own; a beat each second says how much that is. Whoever has missed something sees
//! it by the number and asks for the whole. A node that is silent for five seconds is dead, and so are its entries. While
//! the own bus is away nobody is: what is known of the others stays as it was.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    bus::{Bus, Subject},
    event::Key,
    online::Online,
    roster::{Roster, Told},
};

/// The time between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// After how long a silence a node is dead.
const SILENCE: Duration = Duration::from_secs(5);
/// How long those who were at a node that stops are still there: they are told to come back within 5 s.
const COMING_BACK: Duration = Duration::from_secs(10);
/// The shortest time between two questions to one node.
const ASKING: Duration = Duration::from_millis(500);
/// How many bytes of entries one message holds.
const MESSAGE: usize = 128 * 1024;

/// What one node tells the others.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    from: Key,
    /// How many letters about entries it has written, this one included.
    serial: u64,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
enum Content {
    /// It lives.
    Beat { online: u64 },
    /// It stops: its clients come to the others.
    Leaving,
    /// Users whose entries there have changed.
    Changed(Vec<Told>),
    /// A part of all users who have entries there.
    Whole { people: Vec<Told>, first: bool, last: bool },
    /// The question for the whole of one node, or of all.
    Ask(Option<Key>),
}

/// What this node knows of the others.
pub(super) struct Nodes {
    name: Key,
    /// How many letters about entries this node has written. Held while one is written, so that what they tell is in
    /// the order of their numbers.
    serial: Mutex<u64>,
    peers: Mutex<HashMap<Key, Peer>>,
}

struct Peer {
    seen: Instant,
    heard: u64,
    asked: Option<Instant>,
    leaving: bool,
    /// How many users and unknown clients have a stream open there.
    online: u64,
    /// Whose entries were told since the beginning of the whole that is being told.
    listed: Option<HashSet<(Key, Uuid)>>,
}

impl Nodes {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), serial: Mutex::default(), peers: Mutex::default() }
    }

    /// The name of this node.
    pub(super) fn name(&self) -> Key {
        Key::clone(&self.name)
    }

    /// How many nodes live, this one included.
    pub(super) fn count(&self) -> usize {
        1 + self.peers().values().filter(|peer| !peer.leaving).count()
    }

    /// How many users and unknown clients have a stream open at the others; a user of several nodes counts at each.
    pub(super) fn online(&self) -> u64 {
        self.peers().values().map(|peer| peer.online).sum()
    }

    /// Beats, and hears the others, for as long as the server runs.
    pub(super) async fn run(&self, bus: &Bus, roster: &Roster, online: &Online) {
        if bus.is_connected().is_none() {
            return;
        }
        let mut inbox = bus.subscribe(Subject::Nodes).await;
        self.write(bus, Content::Ask(None));
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                biased;
                message = inbox.next() => match serde_json::from_slice(&message) {
                    Ok(letter) => self.hear(bus, roster, letter),
                    Err(error) => tracing::warn!(%error, "what another node tells cannot be understood"),
                },
                _ = beat.tick() => {
                    self.write(bus, Content::Beat { online: online.count() });
                    // Who was not listening cannot say that the others were silent.
                    let listened = bus.is_connected() == Some(true) && last.elapsed() < 2 * BEAT;
                    last = Instant::now();
                    self.bury(roster, listened);
                }
            }
        }
    }

    /// Tells the others that this node stops.
    pub(super) fn leave(&self, bus: &Bus) {
        self.write(bus, Content::Leaving);
    }

    /// Tells the others of those whose entries here have changed.
    pub(super) fn tell_changes(&self, bus: &Bus, roster: &Roster) {
        let mut serial = self.serial();
        for people in parts(roster.changes()) {
            self.post(bus, &mut serial, Content::Changed(people));
        }
    }

    fn tell_all(&self, bus: &Bus, roster: &Roster) {
        let mut serial = self.serial();
        let mut parts = parts(roster.own());
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let count = parts.len();
        for (index, people) in parts.into_iter().enumerate() {
            let (first, last) = (index == 0, index + 1 == count);
            self.post(bus, &mut serial, Content::Whole { people, first, last });
        }
    }

    fn post(&self, bus: &Bus, serial: &mut MutexGuard<'_, u64>, content: Content) {
        **serial += 1;
        self.send(bus, **serial, content);
    }

    fn write(&self, bus: &Bus, content: Content) {
        let serial = self.serial();
        self.send(bus, *serial, content);
    }

    fn send(&self, bus: &Bus, serial: u64, content: Content) {
        match serde_json::to_vec(&Letter { from: Key::clone(&self.name), serial, content }) {
            Ok(letter) => bus.publish(Subject::Nodes, letter),
            Err(error) => tracing::error!(%error, "the other nodes cannot be told"),
        }
    }

    fn hear(&self, bus: &Bus, roster: &Roster, letter: Letter) {
        let Letter { from, serial, content } = letter;
        let mut peers = self.peers();
        let peer = peers.entry(Key::clone(&from)).or_insert_with(|| {
            tracing::info!(node = %from, "another node is there");
            Peer { seen: Instant::now(), heard: 0, asked: None, leaving: false, online: 0, listed: None }
        });
        peer.seen = Instant::now();
        if let Content::Ask(whom) = &content {
            if whom.as_ref().is_none_or(|whom| *whom == self.name) {
                drop(peers);
                self.tell_all(bus, roster);
            }
            return;
        }
        let heard = peer.leaving || peer.read(roster, &from, serial, content);
        let asks = !heard && peer.asked.is_none_or(|at| at.elapsed() > ASKING);
        if asks {
            peer.asked = Some(Instant::now());
        }
        metrics::gauge!("snippetbox_nodes").set(u32::try_from(peers.len() + 1).unwrap_or(u32::MAX));
        drop(peers);
        if asks {
            self.write(bus, Content::Ask(Some(from)));
        }
    }

    /// Forgets those who have been silent for too long.
    fn bury(&self, roster: &Roster, listened: bool) {
        let mut peers = self.peers();
        if !listened {
            peers.values_mut().for_each(|peer| peer.seen = Instant::now());
        }
        peers.retain(|node, peer| {
            let lives = peer.seen.elapsed() < SILENCE;
            if !lives && !peer.leaving {
                tracing::warn!(%node, "another node is silent, and so dead");
                roster.forget_node(node);
            }
            lives
        });
        metrics::gauge!("snippetbox_nodes").set(u32::try_from(peers.len() + 1).unwrap_or(u32::MAX));
    }

    fn serial(&self) -> MutexGuard<'_, u64> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<Key, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// Takes up what the node tells; false when something before it is missing.
    fn read(&mut self, roster: &Roster, from: &Key, serial: u64, content: Content) -> bool {
        match content {
            Content::Beat { online } => {
                self.online = online;
                serial == self.heard
            }
            Content::Ask(_) => serial == self.heard,
            Content::Leaving => {
                self.leaving = true;
                roster.await_return(from, COMING_BACK);
                true
            }
            Content::Changed(people) => {
                if serial <= self.heard {
                    return true;
                }
                let in_turn = serial == self.heard + 1;
                if in_turn {
                    self.heard = serial;
                    self.take(roster, from, people);
                }
                in_turn
            }
            Content::Whole { people, first, last } => {
                if first {
                    self.listed = Some(HashSet::new());
                } else if serial != self.heard + 1 || self.listed.is_none() {
                    self.listed = None;
                    return false;
                }
                self.heard = serial;
                self.take(roster, from, people);
                if let Some(listed) = self.listed.take_if(|_| last) {
                    roster.keep_only(from, &listed);
                }
                true
            }
        }
    }

    fn take(&mut self, roster: &Roster, from: &Key, people: Vec<Told>) {
        for told in people {
            if let Some(listed) = &mut self.listed {
                listed.insert(told.place());
            }
            if let Err(error) = roster.hear(from, told) {
                tracing::warn!(%error, "who is there at another node cannot be understood");
            }
        }
    }
}

/// As many users in each part as a message holds.
fn parts(people: Vec<Told>) -> Vec<Vec<Told>> {
    let (mut parts, mut bytes) = (Vec::<Vec<Told>>::new(), usize::MAX);
    for told in people {
        let size = told.size();
        if let Some(part) = parts.last_mut().filter(|_| bytes + size <= MESSAGE) {
            part.push(told);
            bytes += size;
        } else {
            parts.push(vec![told]);
            bytes = size;
        }
    }
    parts
}
