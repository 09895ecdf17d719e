//! Text as clients write it, with every character that Unicode has.

use std::borrow::Cow;

use sqlx::{Database, Decode, Encode, Type, encode::IsNull, error::BoxDynError};

/// Text in which every character survives both databases.
///
/// PostgreSQL has no NUL in its `text`. In the column, NUL is therefore written as U+0001 followed by `0`, and
/// U+0001 itself as U+0001 followed by `1`; everything else is stored as it is, and the order stays the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl Text {
    /// Text as a column has it, where it comes in some other way than as a column.
    #[must_use]
    pub fn stored(column: String) -> Self {
        Self(unescape(column))
    }
}

const ESCAPE: char = '\u{1}';

fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => out.extend([ESCAPE, '0']),
            ESCAPE => out.extend([ESCAPE, '1']),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

fn unescape(stored: String) -> String {
    if !stored.contains(ESCAPE) {
        return stored;
    }
    let mut out = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        match character {
            ESCAPE if characters.next() == Some('0') => out.push('\0'),
            other => out.push(other),
        }
    }
    out
}

impl<DB: Database> Type<DB> for Text
where
    String: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        String::type_info()
    }

    fn compatible(ty: &DB::TypeInfo) -> bool {
        String::compatible(ty)
    }
}

impl<'q, DB: Database> Encode<'q, DB> for Text
where
    String: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        escape(&self.0).into_owned().encode(buffer)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for Text
where
    String: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        String::decode(value).map(unescape).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn every_character_survives() {
        for text in ["", "plain", "a\0b", "\u{1}", "\u{1}0", "\0\u{1}1\0", "\u{2028}🦀"] {
            let stored = escape(text);
            assert!(!stored.contains('\0'));
            assert_eq!(unescape(stored.into_owned()), text);
        }
    }
}
