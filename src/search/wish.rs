//! What somebody looks for, and how the index is asked for it.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    Filter,
    terms::{self, GRAM, Kind, LONGEST_START, cut, near, term},
    text::{fold, runs},
};

/// How many of the newest entries with all words are weighed, and with all words in the head.
const WITH_WORDS: i64 = 60;
const WITH_HEAD: i64 = 30;
/// How many entries are looked at for the query as it stands, at a time.
const WITH_LITERAL: i64 = 25;
/// How many words of a query count.
const MAX_WORDS: usize = 16;
/// How many grams, and how many words, of a long text are asked for: what the index finds by them is looked at anyway.
const MAX_GRAMS: usize = 4;
const MAX_INNER: usize = 2;
/// How many terms are asked for at most because they are near a word.
const MAX_NEAR: usize = 64;

/// A word that is looked for, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    /// Whether it may be only the beginning of a word: it is still being typed.
    pub begun: bool,
}

/// What somebody looks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub words: Vec<Word>,
    /// The query as it stands, folded and with single blanks.
    pub literal: String,
    /// Whether there is more in it than words and blanks.
    pub is_code: bool,
}

/// What fits a query, from what hardly fits to what fits exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "i64")]
pub(super) enum By {
    /// It has words like these.
    Typos,
    /// It has the query as it stands, perhaps within words.
    Literal,
    /// It has all words, and the last one may be only begun.
    Words,
    /// It has all words as they are.
    Whole,
}

impl TryFrom<i64> for By {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        let all = [Self::Typos, Self::Literal, Self::Words, Self::Whole];
        all.into_iter().find(|by| *by as i64 == number).ok_or("is none of these")
    }
}

/// What the index is asked for: the newest snippets which have all of this.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub by: By,
    pub limit: i64,
    /// Asked only if one of these questions before it has found as many as it may.
    pub if_full: &'static [usize],
    /// And only if none of these has.
    pub unless_full: &'static [usize],
    pub words: Vec<Part>,
    pub grams: Vec<Part>,
}

/// One thing that a snippet must have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Term(String),
    /// Any term that begins so.
    Start(String),
    /// At least one of these terms.
    Any(Vec<String>),
}

impl Wish {
    /// Reads what was typed; nothing where that is too little to begin with.
    pub(super) fn read(query: &str) -> Option<Self> {
        let folded = fold(query);
        let literal = folded.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        literal.chars().nth(1)?;
        let mut words: Vec<Word> = Vec::new();
        for run in runs(&folded) {
            let text = cut(&folded[run.clone()]);
            let begun = run.end == folded.len() || text.len() < run.len();
            let word = Word { text: text.to_owned(), begun };
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.truncate(MAX_WORDS);
        let is_code = literal.contains(|character: char| character != ' ' && !character.is_alphanumeric());
        Some(Self { words, literal, is_code })
    }

    /// All words whole and, where those are fewer than can be weighed, begun; where there are more, also those that have
    /// all in the title and the tags: the new must not hide an older one that is worth more.
    pub(super) fn by_words(&self, filter: &Filter) -> Vec<Ask> {
        let (whole, begun) = (
            |word| self.all(filter, |it| Part::Term(term(word, &it.text))),
            |word, start| self.all(filter, |it| looked_for(it, word, start)),
        );
        let ask = |by, limit, if_full, unless_full, words: Option<_>| {
            words.map(|words| Ask { by, limit, if_full, unless_full, words, grams: Vec::new() })
        };
        let asks = if self.words.iter().any(|it| it.begun) {
            vec![
                ask(By::Whole, WITH_WORDS, &[], &[], whole(Kind::Word)),
                ask(By::Words, WITH_WORDS, &[], &[0], begun(Kind::Word, Kind::Start)),
                ask(By::Whole, WITH_HEAD, &[0, 1], &[], whole(Kind::HeadWord)),
                ask(By::Words, WITH_HEAD, &[0, 1], &[2], begun(Kind::HeadWord, Kind::HeadStart)),
            ]
        } else {
            vec![
                ask(By::Whole, WITH_WORDS, &[], &[], whole(Kind::Word)),
                ask(By::Whole, WITH_HEAD, &[0], &[], whole(Kind::HeadWord)),
            ]
        };
        asks.into_iter().flatten().collect()
    }

    /// All words, each with one typo at most: the longest, where there are too many to ask for all that is near.
    pub(super) fn with_typos(&self, filter: &Filter) -> Option<Ask> {
        let mut longest: Vec<&Word> = self.words.iter().collect();
        longest.sort_by_key(|word| std::cmp::Reverse(word.text.len()));
        let mut left = MAX_NEAR;
        let mut nearby = HashMap::new();
        for word in longest {
            let near = near(&word.text);
            if !near.is_empty() && near.len() <= left {
                left -= near.len();
                nearby.insert(&word.text, near);
            }
        }
        if nearby.is_empty() {
            return None;
        }
        let words = self.all(filter, |word| match nearby.get(&word.text) {
            None => looked_for(word, Kind::Word, Kind::Start),
            Some(near) => Part::Any(near.iter().map(|near| term(Kind::Near, &near.concat())).collect()),
        })?;
        Some(Ask {
            by: By::Typos,
            limit: WITH_HEAD,
            if_full: &[],
            unless_full: &[],
            words,
            grams: Vec::new(),
        })
    }

    /// What a text must have that holds the literal.
    pub(super) fn as_it_stands(&self, filter: &Filter) -> Option<Ask> {
        let grams = grams(&self.literal);
        if grams.is_empty() {
            return None;
        }
        // Words with something else on both sides are whole. The longest are the rarest.
        let inner = runs(&self.literal).filter(|run| run.start > 0 && run.end < self.literal.len());
        let mut inner: Vec<&str> = inner.map(|run| &self.literal[run]).collect();
        inner.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
        inner.dedup();
        let mut words = filtered(filter);
        words.extend(inner.into_iter().take(MAX_INNER).map(|word| Part::Term(term(Kind::Word, cut(word)))));
        Some(Ask { by: By::Literal, limit: WITH_LITERAL, if_full: &[], unless_full: &[], words, grams })
    }

    fn all(&self, filter: &Filter, part: impl Fn(&Word) -> Part) -> Option<Vec<Part>> {
        (!self.words.is_empty()).then(|| self.words.iter().map(part).chain(filtered(filter)).collect())
    }
}

fn looked_for(word: &Word, whole: Kind, start: Kind) -> Part {
    match word.text.chars().count() {
        _ if !word.begun => Part::Term(term(whole, &word.text)),
        ..=LONGEST_START => Part::Term(term(start, &word.text)),
        _ => Part::Start(term(whole, &word.text)),
    }
}

/// Some of the grams of a text, from all over it. One that is shorter begins a gram; of two letters, nothing is sought.
fn grams(text: &str) -> Vec<Part> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() < GRAM {
        let telling = characters.len() > 2 || characters.iter().any(|character| !character.is_alphanumeric());
        return Vec::from_iter(telling.then(|| Part::Start(term(Kind::Gram, text))));
    }
    let all: Vec<&[char]> = characters.windows(GRAM).collect();
    let apart = all.len().div_ceil(MAX_GRAMS);
    let chosen = all.iter().rev().step_by(apart);
    chosen.map(|gram| Part::Term(term(Kind::Gram, &gram.iter().collect::<String>()))).collect()
}

fn filtered(filter: &Filter) -> Vec<Part> {
    let owner = filter.owner.map(terms::owner);
    let language = filter.language.as_ref().map(|language| term(Kind::Language, language.as_str()));
    let tag = filter.tag.as_ref().map(|tag| term(Kind::Tag, tag.as_str()));
    [owner, language, tag].into_iter().flatten().map(Part::Term).collect()
}

#[cfg(test)]
mod tests {
    use super::{Part, Wish};
    use crate::{
        accounts::UserId,
        search::{Document, Filter, terms::Terms},
    };

    fn words(query: &str) -> Option<String> {
        let words = Wish::read(query)?.words;
        Some(
            words
                .iter()
                .map(|word| format!("{}{}", word.text, if word.begun { "*" } else { "" }))
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    #[test]
    fn the_last_word_is_begun_unless_something_follows_it() {
        for (query, expected) in [
            ("Hash Map", Some("hash map*")),
            ("map map", Some("map map*")),
            ("fn main(", Some("fn main")),
            ("map ", Some("map")),
            ("\t a \n", None),
            ("()", Some("")),
            ("é", None),
            ("日本", Some("日本*")),
        ] {
            assert_eq!(words(query).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn a_long_text_asks_for_few_terms() {
        let wish = Wish::read(&"let mut buffer = vec![0; 1024]; ".repeat(30)).unwrap();
        let ask = wish.as_it_stands(&Filter::default()).unwrap();
        assert!((3..=4).contains(&ask.grams.len()) && (1..=2).contains(&ask.words.len()), "{ask:?}");
        assert!(wish.words.len() <= 16);
    }

    #[test]
    fn many_words_ask_for_few_terms_that_are_near() {
        let query = (b'a'..=b'p').map(|first| format!("{}bcdefghijklmnopqrstuvw", char::from(first)));
        let query = query.chain(["short".to_owned()]).collect::<Vec<_>>().join(" ");
        let ask = Wish::read(&query).unwrap().with_typos(&Filter::default()).unwrap();
        let near = |part: &Part| if let Part::Any(terms) = part { terms.len() } else { 0 };
        let near: Vec<usize> = ask.words.iter().map(near).collect();
        assert_eq!((near.len(), near.iter().filter(|near| **near > 0).count()), (16, 2), "{near:?}");
        let typo = Wish::read("sevral short wrods").unwrap().with_typos(&Filter::default()).unwrap();
        assert!(typo.words.iter().all(|part| matches!(part, Part::Any(_))), "{typo:?}");
    }

    #[test]
    fn what_a_piece_of_a_text_asks_for_the_text_has() {
        let text = "fn main() {\n    a.b();\n\tx->y\u{0}é🦀 'q' \"r\" }";
        let document = Document {
            owner: UserId(uuid::Uuid::nil()),
            public: true,
            language: "rust",
            tags: Vec::new(),
            title: "",
            content: text,
        };
        let terms = Terms::of(&document);
        let grams: Vec<&str> = terms.grams.split(' ').collect();
        for piece in ["fn main(", "a.b()", "->", "()", "\u{0}é🦀", "'q' \"r\"", "\"r\" }", "r\" }", "ain"]
        {
            let ask = Wish::read(piece).unwrap().as_it_stands(&Filter::default()).unwrap();
            for part in &ask.grams {
                let has = match part {
                    Part::Term(term) => grams.contains(&term.as_str()),
                    Part::Start(start) => grams.iter().any(|gram| gram.starts_with(start.as_str())),
                    Part::Any(_) => false,
                };
                assert!(has, "{piece}: {part:?}");
            }
        }
        assert!(Wish::read("fn").unwrap().as_it_stands(&Filter::default()).is_none());
    }
}
