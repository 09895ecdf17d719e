//! HTTP/1.1 on keep-alive connections, as cheap as it can be: the generator shares the cores with what it measures.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{Result, histogram::Histogram};

/// How long no connection may have anything to say.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes a request: `"POST /v1/users"`, header lines that end in CRLF, a JSON body or none.
pub fn write_request(out: &mut Vec<u8>, line: &str, headers: &str, body: &str) {
    let length = body.len();
    let _ = write!(out, "{line} HTTP/1.1\r\nHost: bench\r\n{headers}");
    if !body.is_empty() {
        let _ = write!(out, "Content-Type: application/json\r\nContent-Length: {length}\r\n");
    }
    let _ = write!(out, "\r\n{body}");
}

/// An answer in the buffer into which it was read.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The first answer in `bytes` and its length, once it is complete.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&bytes[..end])?;
        let status = head.get(9..12).ok_or("no status")?.parse()?;
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(Ok(0), |(_, value)| value.parse())?;
        let body = bytes.get(end + 4..end + 4 + length);
        Ok(body.map(|body| (Self { status, body }, end + 4 + length)))
    }

    /// The value of the first string field of this name.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let body = std::str::from_utf8(self.body).ok()?;
        let (_, rest) = body.split_once(&format!("\"{name}\":\""))?;
        rest.split('"').next()
    }
}

/// One request on a connection of its own, for what is not measured.
pub fn call(address: SocketAddr, line: &str, headers: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = std::net::TcpStream::connect(address)?;
    let mut bytes = Vec::new();
    write_request(&mut bytes, line, headers, body);
    stream.write_all(&bytes)?;
    bytes.clear();
    let mut part = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut part)?;
        bytes.extend_from_slice(&part[..read]);
        if let Some((answer, _)) = Answer::parse(&bytes)? {
            return Ok((answer.status, String::from_utf8(answer.body.to_vec())?));
        }
        if read == 0 {
            return Err(format!("{line}: the connection ended").into());
        }
    }
}

/// Registers the first user of an installation and answers with the header that proves who it is.
pub fn sign_up(address: SocketAddr) -> Result<String> {
    let account = r#"{"email":"bench@example.org","name":"Bench","password":"correct horse battery"}"#;
    call(address, "POST /v1/users", "", account)?;
    let session = r#"{"email":"bench@example.org","password":"correct horse battery"}"#;
    let (_, answer) = call(address, "POST /v1/sessions", "", session)?;
    let token = Answer { status: 201, body: answer.as_bytes() }.field("token").ok_or("no session")?;
    Ok(format!("Authorization: Bearer {token}\r\n"))
}

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
