//! Where a snippet has what was looked for.

use std::ops::Range;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    text::{fold, is_near, occurrences, words},
    wish::Wish,
};
use crate::snippets::{Snippet, Tag};

/// How many places of the content are shown.
const MAX_EXCERPTS: usize = 3;
/// How many characters such a place has at most, and how many of them before the first match.
const EXCERPT: usize = 200;
const BEFORE: usize = 60;
/// In how much of a content words with a typo are looked for: each word of it is compared with each that is sought.
const NEAR_BYTES: usize = 64 << 10;

/// A part of a snippet that has what was looked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Highlight {
    pub field: Field,
    /// The title, the tag, or a piece of the content; plain text, to be escaped like any other.
    pub text: String,
    /// What of `text` fits, in order and without overlaps.
    pub ranges: Vec<Span>,
}

/// A field of a snippet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Title,
    Tags,
    Content,
}

/// A part of a text, in UTF-16 code units: in JavaScript, `text.slice(start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Span {
    pub start: usize,
    /// The first unit behind it.
    pub end: usize,
}

/// All that is worth showing of a snippet.
pub(super) fn of(snippet: &Snippet, wish: &Wish, typos: bool) -> Vec<Highlight> {
    let search = |text| Searched { text, folded: fold(text), wish, typos };
    let head = std::iter::once((Field::Title, snippet.title.as_str()));
    let head = head.chain(snippet.tags.iter().map(|tag: &Tag| (Field::Tags, tag.as_str())));
    let mut highlights: Vec<Highlight> =
        head.filter_map(|(field, text)| search(text).highlight(field, 0..text.len())).collect();
    let content = search(snippet.content.as_str());
    highlights
        .extend(content.excerpts().into_iter().filter_map(|place| content.highlight(Field::Content, place)));
    highlights
}

/// A text in which something is looked for.
struct Searched<'a> {
    text: &'a str,
    folded: String,
    wish: &'a Wish,
    typos: bool,
}

impl Searched<'_> {
    /// The places that show each word once, or the query as it stands.
    fn excerpts(&self) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        let literal = self.folded.find(&self.wish.literal).filter(|_| self.wish.is_code);
        let mut firsts: Vec<usize> = literal.into_iter().collect();
        if firsts.is_empty() {
            firsts = self.wish.words.iter().filter_map(|word| self.first(&word.text, word.begun)).collect();
        }
        if firsts.is_empty() {
            firsts.extend(self.folded.find(&self.wish.literal));
        }
        for first in firsts {
            if places.len() < MAX_EXCERPTS && !places.iter().any(|place| place.contains(&first)) {
                places.push(self.around(first));
            }
        }
        places.sort_unstable_by_key(|place| place.start);
        places
    }

    fn first(&self, word: &str, begun: bool) -> Option<usize> {
        let exact = occurrences(self.text, &self.folded, 0..self.text.len(), word, begun).next();
        let beginning = &self.text[..self.text.floor_char_boundary(NEAR_BYTES)];
        let near = || words(beginning).find(|other| is_near(&self.folded[other.clone()], word));
        exact.or_else(|| near().filter(|_| self.typos)).map(|range| range.start)
    }

    /// A piece of the text around a position: from the beginning of its line if that is near.
    fn around(&self, first: usize) -> Range<usize> {
        let before = self.text[..first].char_indices().rev().take(BEFORE);
        let start = before.take_while(|&(_, character)| character != '\n').last().map_or(first, |(at, _)| at);
        let end =
            self.text[start..].char_indices().nth(EXCERPT).map_or(self.text.len(), |(at, _)| start + at);
        start..end
    }

    fn highlight(&self, field: Field, place: Range<usize>) -> Option<Highlight> {
        let text = &self.text[place.clone()];
        let units = |range: &Range<usize>| {
            let start = text[..range.start - place.start].encode_utf16().count();
            let length = self.text[range.clone()].encode_utf16().count();
            Span { start, end: start + length }
        };
        let ranges: Vec<Span> = self.ranges(&place).iter().map(units).collect();
        (!ranges.is_empty()).then(|| Highlight { field, text: text.to_owned(), ranges })
    }

    /// All that fits within a place, in order and without overlaps.
    fn ranges(&self, place: &Range<usize>) -> Vec<Range<usize>> {
        let (text, folded, literal) = (self.text, self.folded.as_str(), self.wish.literal.as_str());
        let mut found = Vec::new();
        for word in &self.wish.words {
            found.extend(occurrences(text, folded, place.clone(), &word.text, word.begun));
            if self.typos {
                let other = words(&text[place.clone()])
                    .map(|other| place.start + other.start..place.start + other.end);
                found.extend(other.filter(|other| is_near(&folded[other.clone()], &word.text)));
            }
        }
        if self.wish.is_code || found.is_empty() {
            let literals = folded[place.clone()].match_indices(literal).map(|(at, _)| place.start + at);
            found.extend(literals.map(|start| start..start + literal.len()));
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        found.dedup_by(|next, last| {
            let joins = next.start <= last.end;
            last.end = last.end.max(if joins { next.end } else { last.end });
            joins
        });
        found
    }
}
