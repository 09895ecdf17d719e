//! As much of HTTP/1.1 as it takes to ask this server.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::Result;

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
    let mut request = Vec::new();
    write_request(&mut request, line, headers, body);
    exchange(&mut TcpStream::connect(address)?, &request).map_err(|error| format!("{line}: {error}").into())
}

/// Sends a request, and waits for its answer.
pub fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<(u16, String)> {
    stream.write_all(request)?;
    let (mut bytes, mut part) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut part)?;
        bytes.extend_from_slice(&part[..read]);
        if let Some((answer, _)) = Answer::parse(&bytes)? {
            return Ok((answer.status, String::from_utf8(answer.body.to_vec())?));
        }
        if read == 0 {
            return Err("the connection ended".into());
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
