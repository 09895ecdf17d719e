//! The load client: thousands of readers and a few publishers on one thread and one epoll.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    time::{Duration, Instant},
};

use memchr::memmem::Finder;
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{
    readers::{Heard, Reader, finder, payload},
    support::{Result, histogram::Histogram, http::Answer},
    target::Target,
};

/// Connections that are being opened at once, where nothing else is said.
const OPENING: usize = 64;
/// How many requests to publish may be under way at once.
const PUBLISHERS: usize = 16;
/// The tokens of publishers begin here.
const PUBLISHER: usize = 1 << 24;
/// How long nothing may come before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Publisher {
    /// Connected when it is needed: the server closes connections on which nothing is asked.
    stream: Option<TcpStream>,
    input: Vec<u8>,
    asked: Option<Instant>,
}

pub struct Crowd {
    poll: Poll,
    events: Events,
    finder: Finder<'static>,
    buffer: Vec<u8>,
    begun: Instant,
    /// How many connections are being opened at once.
    pub opening: usize,
    pub readers: Vec<Reader>,
    publishers: Vec<Publisher>,
    pub heard: Heard,
    /// The latency of requests to publish.
    pub publishing: Histogram,
    pub published: u32,
    refused: u64,
    opened: usize,
    pub ended: usize,
}

impl Crowd {
    pub fn new() -> Result<Self> {
        let begun = Instant::now();
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            finder: finder(),
            buffer: vec![0; 256 * 1_024],
            begun,
            opening: OPENING,
            readers: Vec::new(),
            publishers: std::iter::repeat_with(Publisher::default).take(PUBLISHERS).collect(),
            heard: Heard::since(begun),
            publishing: Histogram::default(),
            published: 0,
            refused: 0,
            opened: 0,
            ended: 0,
        })
    }

    /// Adds readers, and returns when all of them are open.
    pub fn open(
        &mut self,
        target: &Target,
        count: usize,
        stalls: bool,
        request: impl Fn(usize) -> Vec<u8>,
    ) -> Result<Duration> {
        let begun = Instant::now();
        let all = self.readers.len() + count;
        while self.opened < all {
            while self.readers.len() < all && self.readers.len() - self.opened < self.opening {
                let mut reader = Reader::connect(target.address, stalls)?;
                let place = self.readers.len();
                reader.stream.write_all(&request(place))?;
                self.poll.registry().register(&mut reader.stream, Token(place), Interest::READABLE)?;
                self.readers.push(reader);
            }
            if !self.turn(PATIENCE)? || self.ended > 0 {
                return Err(format!("{} of {all} connections were opened", self.opened).into());
            }
        }
        Ok(begun.elapsed())
    }

    /// Waits for something to come, and takes it; false when nothing came.
    pub fn turn(&mut self, patience: Duration) -> Result<bool> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        self.poll.poll(&mut events, Some(patience))?;
        for event in &events {
            match event.token().0 {
                place if place >= PUBLISHER => self.answer(place - PUBLISHER)?,
                place => self.read(place),
            }
        }
        let came = !events.is_empty();
        self.events = events;
        Ok(came)
    }

    fn read(&mut self, place: usize) {
        let reader = &mut self.readers[place];
        let opened = reader.opened;
        if reader.ended || (opened && reader.stalls) {
            return;
        }
        while reader.read(&mut self.buffer, &self.finder, &mut self.heard) {}
        self.opened += usize::from(reader.opened && !opened);
        self.ended += usize::from(reader.ended);
    }

    fn answer(&mut self, number: usize) -> Result<()> {
        let publisher = &mut self.publishers[number];
        while let Some(stream) = &mut publisher.stream {
            match stream.read(&mut self.buffer) {
                Ok(0) if publisher.asked.is_none() => publisher.stream = None,
                Ok(0) => return Err("the server has closed a connection instead of answering".into()),
                Ok(read) => publisher.input.extend_from_slice(&self.buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if let Some((answer, length)) = Answer::parse(&publisher.input)? {
            self.refused += u64::from(!(200..300).contains(&answer.status));
            publisher.input.drain(..length);
            if let Some(asked) = publisher.asked.take() {
                self.publishing.record(asked.elapsed());
            }
        }
        Ok(())
    }

    /// Publishes on a topic; false when all publishers are waiting for their answers.
    pub fn publish(&mut self, target: &Target, topic: &str, size: usize) -> Result<bool> {
        let Some(number) = self.publishers.iter().position(|publisher| publisher.asked.is_none()) else {
            return Ok(false);
        };
        let publisher = &mut self.publishers[number];
        let stream = match &mut publisher.stream {
            Some(stream) => stream,
            none => {
                let stream = std::net::TcpStream::connect(target.address)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let stream = none.insert(TcpStream::from_std(stream));
                self.poll.registry().register(stream, Token(PUBLISHER + number), Interest::READABLE)?;
                stream
            }
        };
        let mut request = Vec::new();
        target.publish(&mut request, topic, &payload(size, self.begun.elapsed(), self.published));
        publisher.asked = Some(Instant::now());
        stream.write_all(&request)?;
        self.published += 1;
        Ok(true)
    }

    pub fn in_flight(&self) -> usize {
        self.publishers.iter().filter(|publisher| publisher.asked.is_some()).count()
    }

    /// Forgets what was measured so far.
    pub fn reset(&mut self) {
        self.heard = Heard { in_order: self.heard.in_order, ..Heard::since(self.begun) };
        (self.publishing, self.published) = (Histogram::default(), 0);
        self.readers.iter_mut().for_each(|reader| reader.last = None);
    }

    /// Takes what comes for a while.
    pub fn listen(&mut self, span: Duration) -> Result<()> {
        let begun = Instant::now();
        while let Some(left) = span.checked_sub(begun.elapsed()) {
            self.turn(left)?;
        }
        Ok(())
    }

    /// Takes what comes until so many deliveries are there; the rest counts as lost when nothing more comes.
    pub fn drain(&mut self, expected: u64) -> Result<()> {
        let mut last = (self.heard.latency.total(), Instant::now());
        while (self.heard.latency.total() < expected || self.in_flight() > 0) && last.1.elapsed() < PATIENCE {
            self.turn(Duration::from_millis(100))?;
            if self.heard.latency.total() > last.0 {
                last = (self.heard.latency.total(), Instant::now());
            }
        }
        if self.refused > 0 {
            return Err(format!("{} publishes were refused", self.refused).into());
        }
        Ok(())
    }
}
