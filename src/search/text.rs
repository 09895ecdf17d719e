//! How search reads a text: letters without their case, and words.
//!
//! A word is a run of letters and digits. Where a run has humps (`HashMap`, `parseJSONValue`), each hump is a word too.

use std::ops::Range;

/// The text without case, each character where it was: a position in it is the same position in the original.
pub(super) fn fold(text: &str) -> String {
    if !text.is_ascii() {
        return text.chars().map(fold_char).collect();
    }
    // The same, ten times as fast.
    let blank = |byte: u8| if byte.is_ascii_whitespace() { b' ' } else { byte };
    let bytes = text.bytes().map(|byte| blank(byte.to_ascii_lowercase())).collect();
    String::from_utf8(bytes).unwrap_or_default()
}

fn fold_char(character: char) -> char {
    if character.is_ascii() {
        return if character.is_ascii_whitespace() { ' ' } else { character.to_ascii_lowercase() };
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) if lower.len_utf8() == character.len_utf8() => lower,
        _ => character,
    }
}

/// Whether a word begins at this position of the original.
pub(super) fn begins(text: &str, at: usize) -> bool {
    let Some(last) = text[..at].chars().next_back() else { return true };
    let mut following = text[at..].chars();
    let (this, next) = (following.next(), following.next());
    !last.is_alphanumeric()
        || this.is_some_and(char::is_uppercase)
            && (!last.is_uppercase() || next.is_some_and(char::is_lowercase))
}

/// Whether a word ends at this position of the original.
pub(super) fn ends(text: &str, at: usize) -> bool {
    !text[at..].starts_with(char::is_alphanumeric) || begins(text, at)
}

/// The runs of letters and digits of a text, folded or not.
pub(super) fn runs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(char::is_alphanumeric)?;
        let length = text[start..].find(|character: char| !character.is_alphanumeric());
        rest = length.map_or(text.len(), |length| start + length);
        Some(start..rest)
    })
}

/// The words of an original: its runs, and the humps of those that have several.
pub(super) fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    runs(text).flat_map(|run| {
        let inner = text[run.clone()].char_indices().map(|(at, _)| run.start + at).skip(1);
        let mut cuts: Vec<usize> = inner.filter(|&at| begins(text, at)).collect();
        if cuts.is_empty() {
            return vec![run];
        }
        cuts.insert(0, run.start);
        cuts.push(run.end);
        let humps = cuts.windows(2).map(|cut| cut[0]..cut[1]);
        std::iter::once(run).chain(humps).collect()
    })
}

/// Where a part of a text has a word, or words that begin so.
pub(super) fn occurrences<'t>(
    text: &'t str,
    folded: &'t str,
    place: Range<usize>,
    word: &'t str,
    begun: bool,
) -> impl Iterator<Item = Range<usize>> {
    let found = folded[place.clone()].match_indices(word).map(move |(at, _)| place.start + at);
    let found = found.map(|start| start..start + word.len());
    found.filter(move |found| begins(text, found.start) && (begun || ends(text, found.end)))
}

/// Whether two words are one typo apart: a character too many, too few, another one, or one in another place.
pub(super) fn is_near(one: &str, other: &str) -> bool {
    if one.len().abs_diff(other.len()) > 4 {
        return false; // More than one character, whatever they are; most words end here.
    }
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    let same = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[..one.len() - same], &other[..other.len() - same]);
    match (one, other) {
        ([], rest) | (rest, []) => rest.len() <= 1,
        ([a, one @ ..], [b, other @ ..]) if one.len() == other.len() => {
            one.is_empty()
                || one.iter().eq(std::iter::once(b).chain(other).take(one.len()))
                || other.iter().eq(std::iter::once(a).chain(one).take(one.len()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{begins, ends, fold, is_near, words};

    #[test]
    fn folding_moves_nothing() {
        for text in ["HashMap\tÄÖ", "İstanbul \u{212A}elvin ẞ", "日本語 🦀\0", "ΣΊΣΥΦΟΣ"] {
            let folded = fold(text);
            assert_eq!(folded.len(), text.len(), "{text}");
            let places = |text: &str| text.char_indices().map(|(at, _)| at).collect::<Vec<_>>();
            assert_eq!(places(&folded), places(text), "{text}");
        }
        assert_eq!([fold("HashMap\tÄÖ"), fold("HashMap\t\n[]")], ["hashmap äö", "hashmap  []"]);
    }

    #[test]
    fn words_are_runs_and_humps() {
        for (text, expected) in [
            ("fn main() {}", "fn main"),
            ("HashMap", "HashMap Hash Map"),
            ("parseJSONValue2x", "parseJSONValue2x parse JSON Value2x"),
            ("snake_case-3", "snake case 3"),
            ("Ünï ΑΒγ 日本", "Ünï ΑΒγ Α Βγ 日本"),
            ("()", ""),
        ] {
            let found: Vec<&str> = words(text).map(|word| &text[word]).collect();
            assert_eq!(found.join(" "), expected);
            assert!(words(text).all(|word| begins(text, word.start) && ends(text, word.end)), "{text}");
        }
    }

    #[test]
    fn one_typo_is_near_and_two_are_not() {
        for near in ["buffer", "bufer", "bufffer", "bufger", "ubffer", "bfufer", "ufferb", "buffe", "xbuffer"]
        {
            assert!(is_near(near, "buffer") && is_near("buffer", near), "{near}");
        }
        for far in ["bufr", "ubfefr", "reffub", "buff", "", "xbufferx", "bfufre", "fubfer"] {
            assert!(!is_near(far, "buffer") && !is_near("buffer", far), "{far}");
        }
    }
}
