//! A frame: an event encoded once, for all who get it and in every form.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;

use super::event::Json;
use crate::{
    clock::Timestamp,
    error::{Error, Result},
};

/// The form in which a stream sends its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Server-Sent Events.
    EventStream,
    /// A JSON envelope on each line.
    Lines,
}

/// One event as it goes out: a frame of Server-Sent Events that holds the JSON envelope as one of its lines, in a
/// chunk of HTTP/1.1 that holds nothing else. Every reader gets its part of the same bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    chunk: Bytes,
    body_at: usize,
    envelope_at: usize,
}

/// What ends a chunk.
const CRLF: &str = "\r\n";

/// What the envelope of a frame says; parts that do not apply are left out.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    /// The position in the log; only durable events have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The name of the event.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The topic as the client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<&'a str>,
    /// When it happened.
    pub at: Timestamp,
    /// Who caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<&'a Json>,
    /// What happened.
    pub data: &'a Json,
}

impl Frame {
    /// Encodes an envelope, with the line `retry:` in front when the client's reconnection time is to be set.
    ///
    /// # Errors
    /// When the envelope has no JSON form.
    pub fn encode(envelope: &Envelope<'_>, retry_ms: Option<u64>) -> Result<Self> {
        let json = serde_json::to_string(envelope).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self::of(envelope.id, envelope.kind, &json, retry_ms))
    }

    /// A frame about the stream itself. `kind` is one of the server's own names, and `data` holds nothing that a
    /// client wrote.
    #[must_use]
    pub fn notice(kind: &str, at: Timestamp, data: &serde_json::Value, retry_ms: Option<u64>) -> Self {
        Self::of(None, kind, &format!(r#"{{"type":"{kind}","at":"{at}","data":{data}}}"#), retry_ms)
    }

    /// An event that is not kept, as another node has encoded its envelope.
    #[must_use]
    pub(super) fn ephemeral(kind: &str, envelope: &Json) -> Self {
        Self::of(None, kind, envelope.as_str(), None)
    }

    fn of(id: Option<&str>, kind: &str, envelope: &str, retry_ms: Option<u64>) -> Self {
        let mut head = String::new();
        if let Some(retry) = retry_ms {
            let _ = writeln!(head, "retry: {retry}");
        }
        if let Some(id) = id {
            let _ = writeln!(head, "id: {id}");
        }
        let _ = write!(head, "event: {kind}\ndata: ");
        let size = format!("{:X}{CRLF}", head.len() + envelope.len() + 2);
        let (body_at, envelope_at) = (size.len(), size.len() + head.len());
        let chunk = [&size, &head, envelope, "\n\n", CRLF].concat();
        Self { chunk: chunk.into(), body_at, envelope_at }
    }

    /// The frame in its form, for a body of which somebody else makes chunks.
    #[must_use]
    pub fn body(&self, form: Form) -> Bytes {
        let end = self.chunk.len() - CRLF.len();
        match form {
            Form::EventStream => self.chunk.slice(self.body_at..end),
            Form::Lines => self.chunk.slice(self.envelope_at..end - 1),
        }
    }

    /// The frame in its form, as a chunk of HTTP/1.1.
    #[must_use]
    pub fn chunk(&self, form: Form) -> Bytes {
        if form == Form::EventStream {
            return self.chunk.clone();
        }
        let line = self.body(form);
        [format!("{:X}{CRLF}", line.len()).as_bytes(), &line, CRLF.as_bytes()].concat().into()
    }

    /// The envelope alone.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.chunk[self.envelope_at..self.chunk.len() - CRLF.len() - 2]
    }

    /// Whether the event has a place in the log.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.chunk[self.body_at..].starts_with(b"id: ")
    }

    /// Whether this tells about the stream itself, under this name.
    #[must_use]
    pub fn is_notice(&self, kind: &str) -> bool {
        self.chunk[self.body_at..].starts_with(format!("event: {kind}\n").as_bytes())
    }

    /// How many bytes the frame holds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.chunk.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, Form, Frame};
    use crate::{clock::Clock, realtime::Json};

    #[test]
    fn no_content_can_break_a_frame() {
        let nasty = "a\rb\nc\r\nd\0e\u{2028}f\u{2029}g\u{85}h🦀";
        let data = Json::of(&nasty).unwrap();
        let at = Clock::system().now();
        let envelope = Envelope { id: Some("e.1"), kind: "k", topic: None, at, actor: None, data: &data };
        let frame = Frame::encode(&envelope, Some(5)).unwrap();
        let text = String::from_utf8(frame.body(Form::EventStream).to_vec()).unwrap();
        let lines: Vec<&str> = text.split(['\r', '\n', '\u{2028}', '\u{2029}', '\u{85}']).collect();
        assert_eq!(lines.len(), 6, "retry, id, event, data and the two ends of the blank line: {lines:?}");
        let parsed: serde_json::Value = serde_json::from_slice(frame.envelope()).unwrap();
        assert_eq!(parsed["data"], nasty);
        assert_eq!(frame.body(Form::Lines), [frame.envelope(), b"\n"].concat());
    }

    #[test]
    fn a_chunk_holds_one_frame() {
        let frame = Frame::notice("k", Clock::system().now(), &serde_json::json!({ "a": "🦀" }), Some(5));
        for form in [Form::EventStream, Form::Lines] {
            let chunk = frame.chunk(form);
            let body = frame.body(form);
            let expected = [format!("{:X}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
            assert_eq!(chunk, expected);
        }
    }
}
