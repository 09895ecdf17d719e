//! A reader of JSON that stops where an element of the manifest is too large to be kept in memory.

use std::io::{self, Read};

/// How deep the snippets of a manifest stand: in a list, in an object.
const SHALLOW: u32 = 2;

/// Passes JSON on, as long as there are at most so many bytes between two signs of its upper levels.
pub struct Guard<R> {
    from: R,
    most: usize,
    since: usize,
    depth: u32,
    in_text: bool,
    is_escaped: bool,
}

impl<R> Guard<R> {
    /// A reader that lets an element have at most so many bytes.
    pub fn new(from: R, most: usize) -> Self {
        Self { from, most, since: 0, depth: 0, in_text: false, is_escaped: false }
    }

    fn look_at(&mut self, byte: u8) {
        self.since += 1;
        if self.in_text {
            let ends = byte == b'"' && !self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            self.in_text = !ends;
            return;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' | b':' => {}
            _ => return,
        }
        if self.depth <= SHALLOW && !self.in_text {
            self.since = 0;
        }
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        for byte in &buffer[..read] {
            self.look_at(*byte);
            if self.since > self.most {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an element of the manifest is too large",
                ));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::Guard;

    fn passes(json: &str) -> bool {
        Guard::new(json.as_bytes(), 100).read_to_end(&mut Vec::new()).is_ok()
    }

    #[test]
    fn elements_are_measured_one_by_one() {
        let element = format!("{{\"title\": \"{}\", \"tags\": [\"a\", \"b\"]}}", "\\\"]}".repeat(10));
        assert!(passes(&format!("{{\"a\": 1, \"snippets\": [{}]}}", vec![element; 50].join(",\n"))));
        for large in [
            format!("{{\"title\": \"{}\"}}", "x".repeat(100)),
            format!("{{\"title\": \"{}\"}}", "\\\"".repeat(50)),
            format!("{{\"tags\": [{}]}}", vec!["\"a\""; 30].join(",")),
            format!("[{}]", vec!["[]"; 40].join(",")),
            format!("{}1", " ".repeat(100)),
        ] {
            assert!(!passes(&format!("{{\"snippets\": [{large}]}}")), "{large}");
        }
        assert!(!passes(&format!("{{\"{}\": 1}}", "x".repeat(100))));
    }
}
