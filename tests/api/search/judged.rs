//! A judged set: 2,000 real source files, and queries of which it is known what they should find.
//!
//! The files are those of the crates in the local cargo registry, so they are real and differ from machine to machine;
//! the queries are made from them, always in the same way.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{encoded, titles_of};
use crate::support::{Database, Persona, TestApp, run};

const FILES: usize = 2_000;
const QUERIES_OF_A_KIND: usize = 24;

/// Queries as people type them, and the file that they mean: of which crate, and where in it.
const PICKED: [(&str, &str, &str); 14] = [
    ("barrier leader", "tokio", "/src/sync/barrier.rs"),
    ("fn is_leader(&self)", "tokio", "/src/sync/barrier.rs"),
    ("copy bidirec", "tokio", "/src/io/util/copy_bidirectional.rs"),
    ("transfer_one_direction(", "tokio", "/src/io/util/copy_bidirectional.rs"),
    ("LowerHex for BytesRef", "bytes", "/src/fmt/hex.rs"),
    ("bytesref upperhex", "bytes", "/src/fmt/hex.rs"),
    ("gcra rate limiter", "governor", "/src/gcra.rs"),
    ("test_and_update(", "governor", "/src/gcra.rs"),
    ("imf fixdate httpd", "httpdate", "/src/date.rs"),
    ("chrono weekdya", "chrono", "/src/weekday.rs"),
    ("join handle abort task", "tokio", "/src/runtime/task/join.rs"),
    ("JoinHandle<T>", "tokio", "/src/runtime/task/join.rs"),
    ("framed write h2", "h2", "/src/codec/framed_write.rs"),
    ("cors error", "actix-cors", "/src/error.rs"),
];

/// How a query is made from a file, if it has what that takes.
type Make = fn(&[File], &HashMap<&str, usize>, &File) -> Option<String>;

const KINDS: [(&str, Make); 9] = [
    ("a telling word", telling_word),
    ("two words, turned round, one begun", two_words),
    ("three ordinary words", three_words),
    ("a piece of code", piece_of_code),
    ("a piece from within a word", piece_of_a_word),
    ("a typo", typo),
    ("a title, half typed", title),
    ("a word of the title that many contents have", title_among_many),
    ("a word of the title and one of the content, which many have", title_and_word),
];
const PICKED_KIND: &str = "picked";
/// How many files fit where it is the ranking that must find the one.
const MANY: std::ops::RangeInclusive<usize> = 11..=500;

struct File {
    title: String,
    content: String,
    lower: String,
    words: HashSet<String>,
}

/// What somebody types, and the file that they mean.
struct Judged {
    kind: &'static str,
    query: String,
    /// One of these.
    expected: Vec<String>,
}

#[test]
fn the_expected_file_is_among_the_first_ten() {
    let files = files();
    let queries = queries(&files);
    run(Database::Sqlite, &[], async |app| {
        let ann = app.user("ann").await;
        write(&ann, &files).await;
        assert_recall(&queries, &ask(&ann, &queries).await);
    });
}

#[test]
#[ignore = "needs PostgreSQL: tests/run starts one"]
fn both_databases_find_the_same() {
    let files = files();
    let queries = queries(&files);
    run(Database::Postgres, &[], async |app| {
        let other = TestApp::with_settings(Database::Sqlite, &[]).await;
        let (ann, other_ann) = (app.user("ann").await, other.user("ann").await);
        futures_util::join!(write(&ann, &files), write(&other_ann, &files));
        let (answers, others) = futures_util::join!(ask(&ann, &queries), ask(&other_ann, &queries));
        other.remove().await;
        assert_recall(&queries, &answers);
        for (judged, (answer, other)) in queries.iter().zip(answers.iter().zip(&others)) {
            assert_eq!(answer, other, "{}: {}", judged.kind, judged.query);
        }
    });
}

/// One after the other, so that what is newest is the same everywhere.
async fn write(person: &Persona, files: &[File]) {
    for File { title, content, .. } in files {
        let snippet = json!({ "title": title, "content": content, "language": "rust" });
        person.post_snippet(&snippet).await.expect(201);
    }
}

/// The first ten titles that each query finds.
async fn ask(person: &Persona, queries: &[Judged]) -> Vec<Vec<String>> {
    let mut answers = Vec::new();
    for Judged { query, .. } in queries {
        let path = format!("/v1/search?limit=10&q={}", encoded(query));
        answers.push(titles_of(&person.get(&path).await.expect(200).json()));
    }
    answers
}

fn assert_recall(queries: &[Judged], answers: &[Vec<String>]) {
    let mut by_kind: HashMap<&str, (usize, usize)> = HashMap::new();
    let mut missed = Vec::new();
    for (judged, answer) in queries.iter().zip(answers) {
        let (found, all) = by_kind.entry(judged.kind).or_default();
        *all += 1;
        if judged.expected.iter().any(|title| answer.contains(title)) {
            *found += 1;
        } else {
            missed.push(format!(
                "{}: {:?} finds {answer:?}, not {:?}",
                judged.kind, judged.query, judged.expected
            ));
        }
    }
    println!("found among the first ten, of all, by kind: {by_kind:?}\n{}", missed.join("\n"));
    assert_eq!(by_kind.len(), KINDS.len() + 1, "a kind has no queries");
    for (kind, (found, all)) in by_kind {
        let enough = if kind == PICKED_KIND { 10 } else { 20 };
        assert!(all >= enough, "only {all} queries could be made: {kind}");
        assert!(found * 5 >= all * 4, "{found} of {all} are found: {kind}");
    }
    assert!(missed.len() * 20 <= queries.len(), "{} of {} are missed", missed.len(), queries.len());
}

/// Evenly spread over the source files of a sensible size of the crates that this one is built of, and those of the
/// picked queries. Whatever else lies beside them would make it another test on each machine.
fn files() -> Vec<File> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let root = home.expect("a home").join("registry/src");
    let mut paths = Vec::new();
    for index in fs::read_dir(&root).into_iter().flatten().flatten() {
        crates().for_each(|name| collect(&index.path().join(name), &mut paths));
    }
    paths.sort();
    let mut all: Vec<File> = paths.iter().filter_map(|path| read(&root, path)).collect();
    assert!(all.len() >= FILES, "{} has {} source files: {FILES} are needed", root.display(), all.len());
    let step = all.len() / FILES;
    let mut number = 0;
    all.retain(|file| {
        number += 1;
        number % step == 0 || is_picked(&file.title)
    });
    all
}

/// The crates of the lock file, each as the folder of its source is called.
fn crates() -> impl Iterator<Item = String> {
    let quoted = |line: &str, field: &str| {
        let value = line.strip_prefix(field)?.strip_prefix(" = \"")?.strip_suffix('"')?;
        Some(value.to_owned())
    };
    let packages = include_str!("../../../Cargo.lock").split("[[package]]");
    packages.filter_map(move |package| {
        let find = |field| package.lines().find_map(|line| quoted(line, field));
        Some(format!("{}-{}", find("name")?, find("version")?))
    })
}

fn is_picked(name: &str) -> bool {
    PICKED.iter().any(|(_, package, end)| is_meant(name, package, end))
}

/// Whether a file is that one, whatever the version of its crate.
fn is_meant(name: &str, package: &str, end: &str) -> bool {
    let rest = name.strip_prefix(package).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()) && rest.ends_with(end))
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read(root: &Path, path: &Path) -> Option<File> {
    let name: Vec<_> = path.strip_prefix(root).ok()?.components().skip(1).collect();
    let name = name.iter().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
    let size = path.metadata().ok()?.len();
    let sensible = (500..6_000).contains(&size) || size < 16_000 && is_picked(&name);
    let content = sensible.then(|| fs::read_to_string(path).ok())??;
    let lower = content.to_lowercase();
    let words = lower.split(|symbol: char| !symbol.is_alphanumeric()).map(str::to_owned).collect();
    Some(File { title: name.chars().take(200).collect(), content, lower, words })
}

/// In how many files each word is.
fn frequencies(files: &[File]) -> HashMap<&str, usize> {
    let mut frequencies = HashMap::new();
    for word in files.iter().flat_map(|file| &file.words) {
        *frequencies.entry(word.as_str()).or_default() += 1;
    }
    frequencies
}

fn queries(files: &[File]) -> Vec<Judged> {
    let frequencies = frequencies(files);
    let mut queries = Vec::new();
    for (offset, (kind, make)) in KINDS.into_iter().enumerate() {
        // Spread over all files, and others for each kind.
        let order = (0..files.len()).map(|number| &files[(number * 787 + offset * 101) % files.len()]);
        let made = order.filter_map(|file| Some((make(files, &frequencies, file)?, file.title.clone())));
        let judged = made.map(|(query, title)| Judged { kind, query, expected: vec![title] });
        queries.extend(judged.take(QUERIES_OF_A_KIND));
    }
    for (query, package, end) in PICKED {
        let meant = files.iter().filter(|file| is_meant(&file.title, package, end));
        let expected: Vec<String> = meant.map(|file| file.title.clone()).collect();
        if !expected.is_empty() {
            queries.push(Judged { kind: PICKED_KIND, query: query.to_owned(), expected });
        }
    }
    queries
}

/// The words of a file that few others have, the rarest first.
fn rare<'f>(
    frequencies: &HashMap<&str, usize>,
    file: &'f File,
    at_most: usize,
    length: usize,
) -> Vec<&'f str> {
    let long = file.words.iter().map(String::as_str).filter(|word| word.chars().count() >= length);
    let mut rare: Vec<&str> = long.filter(|word| frequencies[word] <= at_most).collect();
    rare.sort_unstable_by_key(|word| (frequencies[word], *word));
    rare
}

fn telling_word(_: &[File], frequencies: &HashMap<&str, usize>, file: &File) -> Option<String> {
    rare(frequencies, file, 5, 6).last().map(ToString::to_string)
}

fn two_words(files: &[File], frequencies: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let rare = rare(frequencies, file, 40, 6);
    let [.., one, other] = rare.as_slice() else { return None };
    let begun: String = one.chars().take(5).collect();
    let has =
        |file: &&File| file.words.contains(*other) && file.words.iter().any(|word| word.starts_with(&begun));
    (files.iter().filter(has).count() <= 8).then(|| format!("{other} {begun}"))
}

/// Words which many files have, and few together.
fn three_words(files: &[File], frequencies: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let rare = rare(frequencies, file, 120, 5);
    let [.., one, two, three] = rare.as_slice() else { return None };
    let words = [*three, *one, *two];
    let together = files.iter().filter(|file| words.iter().all(|word| file.words.contains(*word))).count();
    (together <= 8).then(|| words.join(" "))
}

/// A part of a line which few files have, cut anywhere.
fn piece_of_code(files: &[File], _: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let telling = |line: &&str| line.is_ascii() && line.len() > 24 && line.contains(['(', '.', ':', '<']);
    let line = file.content.lines().map(str::trim).filter(telling).nth(3)?;
    let piece = line[2..22].trim().to_lowercase();
    let has = |file: &&File| file.lower.contains(&piece);
    let odd =
        piece.contains(|symbol: char| !symbol.is_alphanumeric() && symbol != ' ') && !piece.contains("  ");
    (odd && files.iter().filter(has).count() <= 8).then_some(piece)
}

fn piece_of_a_word(files: &[File], frequencies: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let word = *rare(frequencies, file, 5, 9).first()?;
    let piece: String = word.chars().skip(2).take(6).collect();
    let has = |file: &&File| file.words.iter().any(|word| word.contains(&piece));
    (files.iter().filter(has).count() <= 8).then_some(piece)
}

/// One of the four typos, by turns.
fn typo(files: &[File], frequencies: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let word = *rare(frequencies, file, 5, 7).last()?;
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    match file.content.len() % 4 {
        0 => letters.swap(middle, middle - 1),
        1 => drop(letters.remove(middle)),
        2 => letters.insert(middle, 'x'),
        _ => letters[middle] = 'q',
    }
    let typed: String = letters.into_iter().collect();
    let is_there = |file: &File| file.words.iter().any(|word| word.contains(&typed));
    (typed != word && !files.iter().any(is_there)).then_some(typed)
}

/// The crate and the file's name, which is only begun.
fn title(files: &[File], _: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let (package, rest) = file.title.split_once('-')?;
    let stem = rest.rsplit('/').next()?.strip_suffix(".rs")?;
    let begun = &stem[..stem.len().min(5)];
    let like = |other: &&File| {
        let words = other.title.split(|symbol: char| !symbol.is_alphanumeric());
        other.title.contains(package) && words.into_iter().any(|word| word.starts_with(begun))
    };
    let telling = stem.len() >= 4 && stem.chars().all(char::is_alphanumeric);
    (telling && files.iter().filter(like).count() <= 8).then(|| format!("{package} {begun}"))
}

/// The name of a file, if it is a word that few titles and many contents have.
fn name_of_few<'f>(files: &[File], file: &'f File) -> Option<&'f str> {
    let stem = file.title.rsplit('/').next()?.strip_suffix(".rs")?;
    let is_word = stem.len() >= 4 && stem.chars().all(|symbol| symbol.is_ascii_lowercase());
    let like = files.iter().filter(|other| other.title.to_lowercase().contains(stem)).count();
    (is_word && like <= 5).then_some(stem)
}

fn title_among_many(files: &[File], frequencies: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let stem = name_of_few(files, file)?;
    MANY.contains(frequencies.get(stem)?).then(|| stem.to_owned())
}

fn title_and_word(files: &[File], frequencies: &HashMap<&str, usize>, file: &File) -> Option<String> {
    let stem = name_of_few(files, file)?;
    let mut others: Vec<&str> = file.words.iter().map(String::as_str).collect();
    others.retain(|word| word.len() >= 4 && *word != stem && frequencies[word] > *MANY.start());
    others.sort_unstable();
    let fits = |word: &&str| {
        let both = files.iter().filter(|file| file.words.contains(stem) && file.words.contains(*word));
        MANY.contains(&both.count())
    };
    let other = others.into_iter().find(fits)?;
    Some(format!("{other} {stem}"))
}
