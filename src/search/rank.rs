//! What a candidate is worth: title above tags above content, whole words above begun ones, the new above the old.

use super::{
    candidates::{Candidate, Candidates},
    text::{fold, is_near, occurrences, words},
    wish::{By, Wish, Word},
};
use crate::snippets::SnippetId;

/// A candidate with its worth.
pub(super) struct Ranked {
    pub id: SnippetId,
    pub score: i64,
    /// The size of the content.
    pub bytes: i64,
    /// Whether it was found only because of a typo.
    pub typos: bool,
}

/// Candidates from the best on.
pub(super) fn order(candidates: &Candidates, wish: &Wish) -> Vec<Ranked> {
    let rank = |it: &Candidate| Ranked {
        id: it.entry.snippet_id,
        score: score(it, wish),
        bytes: it.entry.bytes,
        typos: it.by == By::Typos,
    };
    let mut ranked: Vec<Ranked> = candidates.0.values().map(rank).collect();
    ranked.sort_unstable_by_key(|it| std::cmp::Reverse((it.score, it.id)));
    ranked
}

fn score(candidate: &Candidate, wish: &Wish) -> i64 {
    let entry = &candidate.entry;
    let title = entry.title.as_str();
    let folded = fold(title);
    let in_content = match candidate.by {
        By::Whole => 20,
        By::Words => 10,
        By::Literal => 5,
        By::Typos => 3,
    };
    let typos = candidate.by == By::Typos;
    let word_score = |word: &Word| {
        let in_tags = entry.tags.iter().map(|tag| closeness(tag, tag, word, typos) / 2).max();
        closeness(title, &folded, word, typos).max(in_tags.unwrap_or(0)).max(in_content)
    };
    let sum: i64 = wish.words.iter().map(word_score).sum();
    let words = i64::try_from(wish.words.len()).unwrap_or(i64::MAX);
    let mut score = sum.checked_div(words).unwrap_or(in_content);
    if folded.contains(&wish.literal) {
        score += if folded == wish.literal { 150 } else { 50 };
    }
    if wish.is_code && candidate.literal {
        score += 30;
    }
    score
}

/// How well a text of the head has a word.
fn closeness(text: &str, folded: &str, word: &Word, typos: bool) -> i64 {
    let whole = |range: &std::ops::Range<usize>| super::text::ends(text, range.end);
    let mut found = occurrences(text, folded, 0..text.len(), &word.text, word.begun).peekable();
    if found.peek().is_some() {
        return if found.any(|range| whole(&range)) { 100 } else { 80 };
    }
    if typos && words(text).any(|other| is_near(&folded[other], &word.text)) { 60 } else { 0 }
}
