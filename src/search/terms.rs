//! What the index keeps of a snippet: its terms. They are made here, so both databases find the same.
//!
//! A term is a letter for its kind and a text, in which characters that mean something to a database stand as others.

use std::{hash::BuildHasher as _, ops::Range};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

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
    characters(kind, text.chars()).collect()
}

fn characters(kind: Kind, text: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
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
    std::iter::once(kind).chain(text.map(harmless))
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
pub(super) fn near(word: &str) -> Vec<[&str; 2]> {
    let length = word.chars().count();
    if !WITH_TYPOS.contains(&length) {
        return Vec::new();
    }
    let letters: Vec<(usize, char)> = word.char_indices().collect();
    // Of the same characters in a row it does not matter which one is left out.
    let rows = letters.chunk_by(|(_, one), (_, next)| one == next);
    let gone = rows.filter_map(|row| row.first());
    let without = |&(at, gone): &(usize, char)| [&word[..at], &word[at + gone.len_utf8()..]];
    std::iter::once([word, ""]).chain(gone.map(without)).collect()
}

/// What the index keeps of a snippet: terms with spaces between them.
pub struct Terms {
    pub(super) words: String,
    pub(super) grams: String,
}

impl Terms {
    pub(super) fn of(document: &Document<'_>) -> Self {
        let mut terms = Bounded::default();
        terms.push(owner(document.owner).chars());
        if !document.public {
            terms.push(term(Kind::Hidden, "").chars());
        }
        terms.push(characters(Kind::Language, document.language.chars()));
        for tag in &document.tags {
            terms.push(characters(Kind::Tag, tag.chars()));
        }
        let head = || std::iter::once(document.title).chain(document.tags.iter().copied());
        for word in distinct(head()).iter() {
            terms.push(characters(Kind::HeadWord, word.chars()));
            starts(&mut terms, Kind::HeadStart, word);
        }
        for word in distinct(head().chain([document.content])).iter() {
            terms.push(characters(Kind::Word, word.chars()));
            starts(&mut terms, Kind::Start, word);
            for near in near(word) {
                terms.push(characters(Kind::Near, near.into_iter().flat_map(str::chars)));
            }
        }
        Self { words: terms.text, grams: grams([document.title, document.content]) }
    }
}

/// The different words, in their order.
fn distinct<'t>(texts: impl Iterator<Item = &'t str>) -> Bounded {
    let mut found = Bounded::default();
    for text in texts {
        let folded = fold(text);
        for word in words(text) {
            found.push(cut(&folded[word]).chars());
        }
    }
    found
}

fn starts(terms: &mut Bounded, kind: Kind, word: &str) {
    let ends = word.char_indices().skip(1).map(|(end, _)| end).chain([word.len()]);
    for end in ends.take(LONGEST_START) {
        terms.push(characters(kind, word[..end].chars()));
    }
}

/// The end is padded, so that what is shorter than a gram is the beginning of one wherever it stands.
fn grams(texts: [&str; 2]) -> String {
    let mut terms = Bounded::default();
    for text in texts {
        let padding = std::iter::repeat_n(' ', GRAM - 1);
        let letters: Vec<char> = fold(text).chars().chain(padding).collect();
        for gram in letters.windows(GRAM) {
            terms.push(characters(Kind::Gram, gram.iter().copied()));
        }
    }
    terms.text
}

/// Different terms with spaces between them, up to a number of bytes.
#[derive(Default)]
struct Bounded {
    text: String,
    /// Where each of them stands in the text.
    places: HashTable<Range<usize>>,
    hasher: RandomState,
}

impl Bounded {
    /// Adds a term that is new, if there is room for it.
    fn push(&mut self, term: impl Iterator<Item = char>) {
        let Self { text, places, hasher } = self;
        let end = text.len();
        if end > 0 {
            text.push(' ');
        }
        let start = text.len();
        text.extend(term);
        let term = &text[start..];
        let hash = hasher.hash_one(term);
        if text.len() >= MAX_BYTES || places.find(hash, |known| text[known.clone()] == *term).is_some() {
            text.truncate(end);
            return;
        }
        places.insert_unique(hash, start..text.len(), |known| hasher.hash_one(&text[known.clone()]));
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.split(' ').filter(|term| !term.is_empty())
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
        for term in words.split(' ').chain(grams.split(' ')) {
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
            let bytes = terms.len();
            assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES / 2, "{bytes}");
        }
    }

    #[test]
    fn words_one_typo_apart_share_a_term() {
        let words =
            ["buffer", "bufer", "bufffer", "bufger", "ubffer", "connection", "größe", "grösse", "größen"];
        for (one, other) in words.iter().flat_map(|one| words.iter().map(move |other| (one, other))) {
            let [ones, others] = [one, other]
                .map(|word| near(word).into_iter().map(|parts| parts.concat()).collect::<Vec<_>>());
            let shares = ones.iter().any(|term| others.contains(term));
            assert!(shares || !is_near(one, other), "{one} {other}");
        }
    }
}
