//! What a client tells, kept as it was sent: numbers of any size, keys in their order, only the blanks go.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::realtime::Json;

/// How many bytes the data of one event may have, as it goes out.
const LIMIT: usize = 64 << 10;
/// How deep lists and objects may stand in each other: readers of JSON give up at some depth.
const DEPTH: usize = 100;

/// Any JSON of at most 64 KiB as it goes out.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Box<RawValue>")]
pub struct Data(pub(super) Json);

impl TryFrom<Box<RawValue>> for Data {
    type Error = &'static str;

    fn try_from(raw: Box<RawValue>) -> Result<Self, Self::Error> {
        const RULE: &str = "must have at most 65536 bytes as compact JSON";
        let compact = RawValue::from_string(compact(raw.get())?).map_err(|_| "must be JSON")?;
        let json = Json::of(&compact).map_err(|_| RULE)?;
        if json.as_str().len() <= LIMIT { Ok(Self(json)) } else { Err(RULE) }
    }
}

/// JSON without the blanks between its parts. The text is known to be JSON, except that nobody has looked at how
/// deep it is and at the escapes in its strings.
fn compact(json: &str) -> Result<String, &'static str> {
    let mut compact = String::with_capacity(json.len());
    let (mut rest, mut depth) = (json, 0_usize);
    while let Some(first) = rest.bytes().next() {
        let length = if first == b'"' { string_length(rest) } else { 1 };
        let (token, behind) = rest.split_at(length);
        match first {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' if token.contains("\\u") => {
                serde_json::from_str::<String>(token).map(drop).map_err(|_| UNPAIRED)?;
            }
            _ => {}
        }
        if depth > DEPTH {
            return Err("must not be nested deeper than 100 levels");
        }
        if !matches!(first, b' ' | b'\t' | b'\r' | b'\n') {
            compact.push_str(token);
        }
        rest = behind;
    }
    Ok(compact)
}

const UNPAIRED: &str = "has half of a surrogate pair in a string";

/// How long the string is with which a text begins, in bytes and with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::{DEPTH, Data, LIMIT};

    fn data(json: &str) -> Result<String, serde_json::Error> {
        serde_json::from_str(json).map(|data: Data| data.0.as_str().to_owned())
    }

    #[test]
    fn nothing_but_blanks_is_changed() {
        for (sent, kept) in [
            ("12345678901234567890123", "12345678901234567890123"),
            ("1e400", "1e400"),
            ("-0.10", "-0.10"),
            (" { \"b\" : 1 ,\n\"a\" : [ true , null ] }\t", "{\"b\":1,\"a\":[true,null]}"),
            (r#"" a \" b\\" "#, r#"" a \" b\\""#),
            (r#"{"\\":" ","é\u00e9 \ud83e\udd80":"\/"}"#, r#"{"\\":" ","é\u00e9 \ud83e\udd80":"\/"}"#),
            ("\"\u{2028}\u{2029}\u{85}\"", r#""\u2028\u2029\u0085""#),
        ] {
            assert_eq!(data(sent).unwrap(), kept);
        }
    }

    #[test]
    fn what_others_could_not_read_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(data(&nested(DEPTH)).is_ok() && data(&nested(DEPTH + 1)).is_err());
        for text in
            [r#""\ud800""#, r#"{"\udc00":1}"#, r#"["\ud800\ud800"]"#, "\"\u{1}\"", "{]", "01", "\"\\x\""]
        {
            assert!(data(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_measured_as_it_goes_out() {
        let fits = |json: &str| data(json).is_ok();
        let text = |length: usize| format!("\"{}\"", "x".repeat(length));
        assert!(fits(&text(LIMIT - 2)) && fits(&format!("{}{}", " ".repeat(LIMIT), text(LIMIT - 2))));
        assert!(!fits(&text(LIMIT - 1)));
        // Three bytes that leave as an escape of six.
        assert!(!fits(&format!("\"{}\"", "\u{2028}".repeat(LIMIT / 4))));
    }
}
