//! The load generator, as cheap as it can be, because it shares the cores with what it measures: one thread, one
//! epoll, one request in flight on each connection.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::support::{Result, histogram::Histogram, http::Answer};

/// How long no connection may have anything to say.
const PATIENCE: Duration = Duration::from_secs(30);

/// When a load ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so many answers.
    Count(u64),
    /// After this span, which begins after a fifth of it that is not measured.
    Measured(Duration),
}

/// What a load came to.
#[derive(Default)]
pub struct Outcome {
    pub seconds: f64,
    pub latency: Histogram,
    /// Answers that were no success.
    pub failures: u64,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    asked: Instant,
}

impl Connection {
    fn ask(&mut self, bytes: &[u8]) -> Result<()> {
        self.asked = Instant::now();
        // A request is far smaller than an empty send buffer, so it never goes out in parts.
        let written = self.stream.write(bytes)?;
        if written == bytes.len() { Ok(()) } else { Err("a request was written in part".into()) }
    }

    /// Reads what there is.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.input.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Keeps one request in flight on each of many connections: `request` writes the next one, `answered` sees each
/// answer.
pub fn drive(
    address: SocketAddr,
    connections: usize,
    until: Until,
    mut request: impl FnMut(&mut Vec<u8>),
    mut answered: impl FnMut(&Answer<'_>),
) -> Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut all = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        all.push(Connection { stream, input: Vec::new(), asked: Instant::now() });
    }
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 256 * 1024]);
    let mut next = |connection: &mut Connection| {
        bytes.clear();
        request(&mut bytes);
        connection.ask(&bytes)
    };
    for connection in &mut all {
        next(connection)?;
    }
    let (mut outcome, mut events) = (Outcome::default(), Events::with_capacity(connections.max(1)));
    let mut begun = Instant::now();
    let mut warming_up = matches!(until, Until::Measured(_));
    loop {
        poll.poll(&mut events, Some(PATIENCE))?;
        if events.is_empty() {
            return Err("the server has stopped answering".into());
        }
        for event in &events {
            let connection = &mut all[event.token().0];
            connection.read(&mut buffer)?;
            let Some((answer, length)) = Answer::parse(&connection.input)? else { continue };
            outcome.latency.record(connection.asked.elapsed());
            outcome.failures += u64::from(!(200..400).contains(&answer.status));
            answered(&answer);
            connection.input.drain(..length);
            next(connection)?;
        }
        match until {
            Until::Measured(span) if warming_up && begun.elapsed() >= span / 5 => {
                (outcome, begun, warming_up) = (Outcome::default(), Instant::now(), false);
            }
            Until::Measured(span) if !warming_up && begun.elapsed() >= span => break,
            Until::Count(count) if outcome.latency.total() >= count => break,
            _ => {}
        }
    }
    outcome.seconds = begun.elapsed().as_secs_f64();
    Ok(outcome)
}
