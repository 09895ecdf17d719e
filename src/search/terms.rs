//! What the index keeps of a snippet: its terms. They are made here, so both databases find the same.
//!
//! A term is a letter for its kind and a text, in which characters that mean something to a database stand as others.

use std::collections::{BTreeSet, HashSet};

use super::{
    Document,
    text::{fold, words},
};
use crate::accounts::UserId;

/// How many bytes of words, and of grams, the index keeps of one snippet: PostgreSQL takes one MiB at most. Hundreds of
/// kilobytes of ever new words are found by most of them.
const MAX_BYTES: usize = 640 * 1024;
/// How many characters of a word count.
const LONGEST_WORD: usize = 40;
/// Up to how many characters a beginning is a term of its own; longer ones are few enough to be looked up as ranges.
pub(super) const LONGEST_START: usize = 4;
/// How many characters a gram has.
pub(super) const GRAM: usize = 4;
/// The lengths of words in which typos are looked for.
const WITH_TYPOS: std::ops::RangeInclusive<usize> = 4..=24;

/// The kinds of terms.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A word.
    Word,
    /// A beginning of a word.
    Start,
    /// A word of the title or a tag.
    HeadWord,
    /// A beginning of one of those.
    HeadStart,
    /// A word with one character left out, or with none.
    Near,
    /// So many characters in a row as [`GRAM`] says.
    Gram,
    Language,
    Tag,
    Owner,
    /// Of what is not public.
    Hidden,
}

/// A term of the index.
pub(super) fn term(kind: Kind, text: &str) -> String {
    let kind = match kind {
        Kind::Word => 'w',
        Kind::Start => 's',
        Kind::HeadWord => 'h',
        Kind::HeadStart => 'i',
        Kind::Near => 'n',
        Kind::Gram => 'g',
        Kind::Language => 'l',
        Kind::Tag => 't',
        Kind::Owner => 'o',
        Kind::Hidden => 'x',
    };
    std::iter::once(kind).chain(text.chars().map(harmless)).collect()
}

/// The term of everything of one owner.
pub(super) fn owner(owner: UserId) -> String {
    term(Kind::Owner, &owner.0.simple().to_string())
}

/// Characters of ASCII that are no letters and digits are moved to where they mean nothing to any database. (Letters of
/// one script stand there, which does no harm: what the index finds by such terms is held against the text.)
fn harmless(character: char) -> char {
    if character.is_ascii() && !character.is_ascii_alphanumeric() {
        char::from_u32(0x780 + u32::from(character)).unwrap_or(character)
    } else {
        character
    }
}

/// The part of a word that counts.
pub(super) fn cut(word: &str) -> &str {
    word.char_indices().nth(LONGEST_WORD).map_or(word, |(end, _)| &word[..end])
}

/// The word, and what is left of it without any one of its characters: two words that are one typo apart share one.
pub(super) fn near(word: &str) -> Vec<String> {
    let length = word.chars().count();
    if !WITH_TYPOS.contains(&length) {
        return Vec::new();
    }
    let without = |(at, gone): (usize, char)| format!("{}{}", &word[..at], &word[at + gone.len_utf8()..]);
    let shorter: BTreeSet<String> = word.char_indices().map(without).collect();
    std::iter::once(word.to_owned()).chain(shorter).collect()
}

/// What the index keeps of a snippet.
pub(super) struct Terms {
    pub words: Vec<String>,
    pub grams: Vec<String>,
}

impl Terms {
    pub(super) fn of(document: &Document<'_>) -> Self {
        let mut words = Bounded::default();
        words.push(owner(document.owner));
        if !document.public {
            words.push(term(Kind::Hidden, ""));
        }
        words.push(term(Kind::Language, document.language));
        for tag in &document.tags {
            words.push(term(Kind::Tag, tag));
        }
        let head = std::iter::once(document.title).chain(document.tags.iter().copied());
        for word in distinct(head.clone()) {
            words.push(term(Kind::HeadWord, &word));
            starts(&mut words, Kind::HeadStart, &word);
        }
        for word in distinct(head.chain([document.content])) {
            words.push(term(Kind::Word, &word));
            starts(&mut words, Kind::Start, &word);
            for near in near(&word) {
                words.push(term(Kind::Near, &near));
            }
        }
        let mut grams = Bounded::default();
        for text in [document.title, document.content] {
            add_grams(&mut grams, &fold(text));
        }
        Self { words: words.into_terms(), grams: grams.into_terms() }
    }
}

fn distinct<'t>(texts: impl Iterator<Item = &'t str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in texts {
        let folded = fold(text);
        let mut here: HashSet<&str> = words(text).map(|word| cut(&folded[word])).collect();
        here.retain(|word| !found.contains(*word));
        found.extend(here.into_iter().map(str::to_owned));
    }
    found
}

fn starts(terms: &mut Bounded, kind: Kind, word: &str) {
    let ends = word.char_indices().skip(1).map(|(end, _)| end).chain([word.len()]);
    for end in ends.take(LONGEST_START) {
        terms.push(term(kind, &word[..end]));
    }
}

/// The end is padded, so that what is shorter than a gram is the beginning of one wherever it stands.
fn add_grams(terms: &mut Bounded, folded: &str) {
    let padding = std::iter::repeat_n(' ', GRAM - 1);
    let characters: Vec<char> = folded.chars().chain(padding).collect();
    let mut grams: Vec<&[char]> = characters.windows(GRAM).collect();
    grams.sort_unstable();
    grams.dedup();
    for gram in grams {
        terms.push(term(Kind::Gram, &gram.iter().collect::<String>()));
    }
}

/// Different terms, up to a number of bytes.
#[derive(Default)]
struct Bounded {
    terms: HashSet<String>,
    bytes: usize,
}

impl Bounded {
    fn push(&mut self, term: String) {
        let length = term.len();
        if self.bytes + length <= MAX_BYTES && self.terms.insert(term) {
            self.bytes += length;
        }
    }

    fn into_terms(self) -> Vec<String> {
        self.terms.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, Terms, near};
    use crate::{
        accounts::UserId,
        search::{Document, text::is_near},
    };

    fn terms(content: &str) -> Terms {
        let owner = UserId(uuid::Uuid::nil());
        Terms::of(&Document {
            owner,
            public: true,
            language: "c++",
            tags: vec!["a-b"],
            title: "The Title",
            content,
        })
    }

    #[test]
    fn terms_hold_nothing_that_a_database_could_misread() {
        let odd: String = (0..0x2_FFFF).filter_map(char::from_u32).collect();
        let Terms { words, grams } = terms(&odd);
        for term in words.iter().chain(&grams) {
            let safe = |c: char| !c.is_ascii() || c.is_ascii_lowercase() || c.is_ascii_digit();
            assert!(term.chars().all(safe), "{term:?}");
        }
    }

    #[test]
    fn no_snippet_has_too_many_terms() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(0x4E00 + (state >> 16) % 0x5000).unwrap()
        };
        let content: String = (0..170_000).map(|at| if at % 7 == 0 { ' ' } else { random() }).collect();
        let Terms { words, grams } = terms(&content);
        for terms in [words, grams] {
            let bytes: usize = terms.iter().map(String::len).sum();
            assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 2, "{bytes}");
        }
    }

    #[test]
    fn words_one_typo_apart_share_a_term() {
        let words =
            ["buffer", "bufer", "bufffer", "bufger", "ubffer", "connection", "größe", "grösse", "größen"];
        for (one, other) in words.iter().flat_map(|one| words.iter().map(move |other| (one, other))) {
            let shares = near(one).iter().any(|term| near(other).contains(term));
            assert!(shares || !is_near(one, other), "{one} {other}");
        }
    }
}
