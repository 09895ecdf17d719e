//! A reader of a stream, as cheap as it can be: it looks for the marks in what comes and keeps nothing else.

use std::{
    io::{ErrorKind, Read as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use memchr::memmem::Finder;
use mio::net::TcpStream;

use super::support::{Result, histogram::Histogram};

/// What a payload ends with: a sign, when it was published (nanoseconds) and which one it is, in hexadecimal.
const SIGN: &[u8] = b"@@t=";
const MARK: usize = SIGN.len() + 16 + 8;

/// A payload of `size` bytes.
pub fn payload(size: usize, at: Duration, number: u32) -> String {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    format!("{:.<fill$}@@t={nanos:016x}{number:08x}", "", fill = size.saturating_sub(MARK))
}

/// What all readers have heard together.
pub struct Heard {
    pub begun: Instant,
    pub reads: u64,
    pub bytes: u64,
    pub latency: Histogram,
    /// Deliveries that did not come in the order of their numbers, where `in_order` asks for it.
    pub disordered: u64,
    pub in_order: bool,
}

impl Heard {
    pub fn since(begun: Instant) -> Self {
        let latency = Histogram::default();
        Self { begun, reads: 0, bytes: 0, latency, disordered: 0, in_order: false }
    }
}

pub struct Reader {
    pub stream: TcpStream,
    /// The end of what was read that may be the beginning of a mark, or the answer's head while it is not complete.
    rest: Vec<u8>,
    pub opened: bool,
    /// It was never opened, or has ended.
    pub ended: bool,
    /// It takes nothing more once it is open.
    pub stalls: bool,
    pub heard: u32,
    /// The number of the last mark.
    pub last: Option<u32>,
}

impl Reader {
    /// Connects; a reader that will stall takes little into the kernel's buffer on its side, like one far away.
    pub fn connect(address: SocketAddr, stalls: bool) -> Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        if stalls {
            socket.set_recv_buffer_size(4_096)?;
        }
        socket.connect(&address.into())?;
        socket.set_nonblocking(true)?;
        // So that thousands of closed connections do not occupy their ports.
        socket.set_linger(Some(Duration::ZERO))?;
        let stream = TcpStream::from_std(socket.into());
        let rest = Vec::new();
        Ok(Self { stream, rest, opened: false, ended: false, stalls, heard: 0, last: None })
    }

    /// Reads once; tells whether there may be more.
    pub fn read(&mut self, buffer: &mut [u8], finder: &Finder<'_>, heard: &mut Heard) -> bool {
        let read = match self.stream.read(buffer) {
            Ok(read) if read > 0 => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return false;
            }
            _ => {
                self.ended = true;
                return false;
            }
        };
        heard.reads += 1;
        heard.bytes += read as u64;
        let more = read == buffer.len();
        if self.opened && self.rest.is_empty() {
            self.scan(&buffer[..read], finder, heard);
            return more;
        }
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(&buffer[..read]);
        if self.opened || self.open(&bytes) {
            self.scan(&bytes, finder, heard);
        } else {
            self.rest = bytes;
        }
        more
    }

    /// Whether the head and the first event are there.
    fn open(&mut self, bytes: &[u8]) -> bool {
        if !bytes.starts_with(b"HTTP/1.1 200") && bytes.len() >= 12 {
            self.ended = true;
        }
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let event = head.and_then(|head| bytes[head..].windows(2).position(|window| window == b"\n\n"));
        self.opened = event.is_some();
        self.opened
    }

    fn scan(&mut self, bytes: &[u8], finder: &Finder<'_>, heard: &mut Heard) {
        let now = heard.begun.elapsed();
        let mut done = 0;
        while let Some(place) = finder.find(&bytes[done..]).map(|place| done + place) {
            let Some(mark) = bytes.get(place + SIGN.len()..place + MARK) else {
                self.rest = bytes[place..].to_vec();
                return;
            };
            done = place + MARK;
            let Some((at, number)) = parse(mark) else { continue };
            self.heard += 1;
            heard.latency.record(now.saturating_sub(at));
            let follows = self.last.is_none_or(|last| number == last + 1);
            heard.disordered += u64::from(heard.in_order && !follows);
            self.last = Some(number);
        }
        let tail = &bytes[done..];
        let begun = (1..SIGN.len()).rev().find(|length| tail.ends_with(&SIGN[..*length]));
        self.rest = begun.map_or_else(Vec::new, |length| SIGN[..length].to_vec());
    }
}

pub fn finder() -> Finder<'static> {
    Finder::new(SIGN)
}

fn parse(mark: &[u8]) -> Option<(Duration, u32)> {
    let text = std::str::from_utf8(mark).ok()?;
    let at = u64::from_str_radix(text.get(..16)?, 16).ok()?;
    let number = u32::from_str_radix(text.get(16..24)?, 16).ok()?;
    Some((Duration::from_nanos(at), number))
}
