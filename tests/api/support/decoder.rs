//! Bytes of a stream into frames, stricter than a browser: what the server never needs to send is a failure.

use serde_json::Value;

#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// `text/event-stream`
    Frames,
    /// `application/x-ndjson`
    Lines,
}

#[derive(Debug, Default, PartialEq)]
pub struct Frame {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<u64>,
}

#[derive(Debug)]
pub struct Decoder {
    format: Format,
    buffer: Vec<u8>,
}

impl Decoder {
    pub fn new(format: Format) -> Self {
        Self { format, buffer: Vec::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, if there is one.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let end = match self.format {
            Format::Frames => "\n\n",
            Format::Lines => "\n",
        };
        // Through `str`, whose search is fast in a debug build too; the last character may not be complete yet.
        let complete = std::str::from_utf8(&self.buffer).map_or_else(|error| error.valid_up_to(), str::len);
        let text = std::str::from_utf8(&self.buffer[..complete]).expect("that much is UTF-8");
        let length = text.find(end)?;
        let bytes: Vec<u8> = self.buffer.drain(..length + end.len()).collect();
        let text = String::from_utf8(bytes).expect("a stream is UTF-8");
        let text = text.trim_end_matches('\n');
        assert!(!text.contains('\r'), "a carriage return in {text:?}");
        Some(match self.format {
            Format::Frames => frame_of_fields(text),
            Format::Lines => frame_of_envelope(text),
        })
    }
}

fn frame_of_fields(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.split('\n').filter(|line| !line.starts_with(':')) {
        let (field, value) =
            line.split_once(": ").unwrap_or_else(|| panic!("no field in {line:?} of {text:?}"));
        let value = value.to_owned();
        let earlier = match field {
            "id" => frame.id.replace(value).is_some(),
            "event" => frame.event.replace(value).is_some(),
            "data" => frame.data.replace(value).is_some(),
            "retry" => frame.retry.replace(value.parse().expect("retry is a number")).is_some(),
            _ => panic!("unknown field {field:?} in {text:?}"),
        };
        assert!(!earlier, "{field} twice in {text:?}");
    }
    frame
}

fn frame_of_envelope(line: &str) -> Frame {
    let envelope: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
    let field = |name: &str| envelope[name].as_str().map(ToOwned::to_owned);
    Frame { id: field("id"), event: field("type"), data: Some(line.to_owned()), retry: None }
}

#[test]
fn a_frame_may_arrive_in_pieces() {
    let mut decoder = Decoder::new(Format::Frames);
    for piece in ["retry: 2000\n", "id: a.1\neve", "nt: note\ndata: {\"a\":1}\n"] {
        decoder.push(piece.as_bytes());
        assert_eq!(decoder.next_frame(), None);
    }
    decoder.push(b"\n: a comment\n\n");
    let frame = decoder.next_frame().expect("the frame is complete");
    assert_eq!(frame.id.as_deref(), Some("a.1"));
    assert_eq!(frame.event.as_deref(), Some("note"));
    assert_eq!(frame.data.as_deref(), Some("{\"a\":1}"));
    assert_eq!(frame.retry, Some(2000));
    assert_eq!(decoder.next_frame(), Some(Frame::default()));
    assert_eq!(decoder.next_frame(), None);
}
