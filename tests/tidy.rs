//! The invariants of the house, read off the sources: who may name whom, how long a piece may be. Each rule is a
//! pure function from a file to its violations, and is shown bad snippets too, lest it pass by being blind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const FILE_LINES: usize = 300;
const FUNCTION_LINES: usize = 60;

#[test]
fn layers_name_only_what_is_below_them() {
    let is_feature = |name: &String| !name.contains('.') && !["http", "db", "realtime"].contains(&&**name);
    let features: Vec<String> = names("src").into_iter().filter(is_feature).collect();
    check(|path, text| layering(&features, path, text));
}

#[test]
fn time_and_ids_come_from_clock_and_id() {
    check(time_and_ids);
}

#[test]
fn only_problem_names_the_status_of_a_failure() {
    check(failure_statuses);
}

#[test]
fn there_is_no_global_state() {
    check(global_state);
}

#[test]
fn nothing_is_left_for_later_or_silenced() {
    check(leftovers);
}

#[test]
fn files_and_functions_are_short() {
    check(sizes);
}

#[test]
fn migrations_come_in_pairs() {
    let sqlite = names("migrations/sqlite");
    assert_eq!(sqlite, names("migrations/postgres"), "both databases have migrations of the same names");
    assert!(!sqlite.is_empty(), "no migrations found");
}

/// Runs a rule over every file of `src/`.
fn check(rule: impl Fn(&str, &str) -> Vec<String>) {
    let (mut paths, mut sources, mut violations) = (vec!["src".to_owned()], 0, Vec::new());
    while let Some(path) = paths.pop() {
        if Path::new(&path).is_dir() {
            paths.extend(names(&path).into_iter().map(|name| format!("{path}/{name}")));
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            sources += 1;
            violations.extend(rule(&path, &text));
        }
    }
    assert!(sources > 0, "no sources found");
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn layering(features: &[String], path: &str, text: &str) -> Vec<String> {
    let folder = path.split('/').nth(1).unwrap_or_default();
    let forbidden: &[&str] = match path.rsplit('/').next() {
        // A caller's change begins with `credentials::begin`, which holds the credential.
        Some("routes.rs") => &["sqlx::query", "QueryBuilder", "realtime::hub", "db.write"],
        Some("store.rs") => &["actix", "realtime::hub"],
        Some("mod.rs") if features.iter().any(|feature| feature == folder) => &["actix_web", "sqlx::query"],
        _ => &[],
    };
    let mut forbidden: Vec<String> = forbidden.iter().map(ToString::to_string).collect();
    if folder == "realtime" || folder == "db" {
        forbidden.extend(["actix", "crate::http::"].map(String::from));
        forbidden.extend(features.iter().map(|feature| format!("crate::{feature}::")));
    }
    // A store is private to its feature.
    forbidden.extend(["pub mod store", "pub(crate) mod store", "pub(super) mod store"].map(String::from));
    mentions(path, text, &forbidden)
}

fn time_and_ids(path: &str, text: &str) -> Vec<String> {
    let (time, ids) = (["Utc::now", "SystemTime::now"], ["Uuid::now_v7", "Uuid::new_v4"]);
    match path {
        "src/clock.rs" => mentions(path, text, &ids),
        "src/id.rs" => mentions(path, text, &time),
        _ => mentions(path, text, &[time, ids].concat()),
    }
}

/// Statuses from 400 on, as constants (`StatusCode::NOT_FOUND`) and as builders (`HttpResponse::NotFound()`).
fn failure_statuses(path: &str, text: &str) -> Vec<String> {
    const FINE: &str =
        "switchingprotocols ok created accepted nocontent partialcontent found seeother notmodified";
    let mut violations = Vec::new();
    for (line, number) in code(text).lines().zip(1..).filter(|_| path != "src/http/problem.rs") {
        for rest in ["StatusCode::", "HttpResponse::"].iter().flat_map(|prefix| line.split(prefix).skip(1)) {
            let status = rest.split(|symbol: char| !symbol.is_alphanumeric() && symbol != '_').next();
            let status = status.filter(|status| status.starts_with(char::is_uppercase)).unwrap_or("Ok");
            if !FINE.split(' ').any(|fine| fine == status.replace('_', "").to_lowercase()) {
                violations.push(format!("{path}:{number}: `{status}` belongs in src/http/problem.rs"));
            }
        }
    }
    violations
}

fn global_state(path: &str, text: &str) -> Vec<String> {
    let mut violations = mentions(path, text, &["static mut ", "lazy_static", "thread_local!"]);
    let holds =
        |line: &str| ["Mutex", "RwLock", "Once", "Lazy", "Atomic", "Cell"].iter().any(|it| line.contains(it));
    for (line, number) in code(text).lines().map(str::trim).zip(1..) {
        let name = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("static ");
        // Figures are of the process: its recorder can be set once.
        if name.is_some_and(|rest| holds(rest) && !rest.starts_with("FIGURES: OnceLock<Registry>")) {
            violations.push(format!("{path}:{number}: global state: {line}"));
        }
    }
    violations
}

/// Comments and tests are read too.
fn leftovers(path: &str, text: &str) -> Vec<String> {
    let words = ["TODO", "FIXME", "XXX", "#[allow(", "#![allow("];
    let lines = text.lines().zip(1..).filter(|(line, _)| words.iter().any(|word| line.contains(word)));
    lines
        .map(|(line, number)| format!("{path}:{number}: do it, or `#[expect]` it: {}", line.trim()))
        .collect()
}

fn sizes(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = without_tests(text).lines().collect();
    let mut violations = Vec::new();
    if lines.len() > FILE_LINES {
        violations.push(format!("{path}:{}: the file has {} lines", FILE_LINES + 1, lines.len()));
    }
    for (line, number) in lines.iter().zip(1..).filter(|(line, _)| starts_function(line)) {
        // The sources are formatted: what a `fn` opens is closed by the first bracket that stands as deep.
        let indent = &line[..line.len() - line.trim_start().len()];
        let (brace, bracket) = (format!("{indent}}}"), format!("{indent})"));
        let closes = |line: &&str| **line == brace || (line.starts_with(&bracket) && line.ends_with(';'));
        let below = lines[number..].iter().position(closes).filter(|_| !line.ends_with([';', '}']));
        let length = below.map_or(1, |below| below + 2);
        if length > FUNCTION_LINES {
            violations.push(format!("{path}:{number}: the function has {length} lines"));
        }
    }
    violations
}

fn starts_function(line: &str) -> bool {
    let is_modifier = |word: &str| word.starts_with("pub") || word == "async" || word == "const";
    line.split_once("fn ").is_some_and(|(before, _)| before.split_whitespace().all(is_modifier))
}

/// The lines that name one of `forbidden`, in place or by importing it.
fn mentions(path: &str, text: &str, forbidden: &[impl AsRef<str>]) -> Vec<String> {
    let code = code(text);
    let in_place = code.lines().map(str::to_owned).zip(1..);
    let mut found = BTreeSet::new();
    for (line, number) in in_place.chain(imports(&code)) {
        let names = forbidden.iter().map(AsRef::as_ref).filter(|name| line.contains(name));
        found.extend(names.map(|name| (number, name)));
    }
    found.into_iter().map(|(number, name)| format!("{path}:{number}: may not name `{name}`")).collect()
}

/// Imported names with their lines: `use a::{b, c::{d, e}};` is `a::b::`, `a::c::d::`, `a::c::e::`.
fn imports(code: &str) -> Vec<(String, usize)> {
    let mut imports = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let (before, after) = (&code[..at], &code[at + 4..]);
        let (number, modifier) =
            before.split('\n').zip(1..).last().map_or((1, ""), |(line, number)| (number, line));
        if !modifier.trim().is_empty() && !modifier.trim().starts_with("pub") {
            continue;
        }
        let mut prefixes = vec![String::new()];
        for piece in
            after.split_inclusive(';').take(1).flat_map(|tree| tree.split_inclusive(['{', '}', ',', ';']))
        {
            let name = piece.trim_end_matches(['{', '}', ',', ';']);
            let name = name.split(" as ").next().unwrap_or(name).trim();
            let full = format!("{}{name}", prefixes.last().map_or("", String::as_str));
            if !name.is_empty() {
                imports.push((format!("{full}::"), number));
            }
            if piece.ends_with('{') {
                prefixes.push(full);
            } else if piece.ends_with('}') {
                prefixes.pop();
            }
        }
    }
    imports
}

/// A file without its tests and comments, line by line as it was.
fn code(text: &str) -> String {
    let comment = |line: &str| line.find("//").filter(|at| !line[..*at].ends_with(':')); // Not a URL's.
    let strip = |line: &str| line[..comment(line).unwrap_or(line.len())].to_owned() + "\n";
    without_tests(text).lines().map(strip).collect()
}

fn without_tests(text: &str) -> &str {
    let opens_module = |at: &usize| {
        let item = text[*at..].lines().find(|line| !line.is_empty() && !line.starts_with("#["));
        item.is_some_and(|item| item.starts_with("mod ") && item.ends_with('{'))
    };
    let tests = text.match_indices("\n#[cfg(test)]\n").map(|(at, _)| at).find(opens_module);
    tests.map_or(text, |at| &text[..at])
}

/// The place of the one violation (line 0: there is none), and the file; `⏎` is a new line.
const SNIPPETS: &str = "
    src/chat/routes.rs:2 | fn f() {}⏎fn g() { sqlx::query_as(SQL) }
    src/chat/routes.rs:1 | use crate::{⏎    id::{Id, self},⏎    realtime::{hub::{Hub}, log},⏎};
    src/chat/routes.rs:1 | let mut tx = app.db.write().await?;
    src/chat/mod.rs:2 | ⏎use actix_web::web::Json as J;
    src/chat/mod.rs:1 | pub(crate) mod store;
    src/chat/store.rs:1 | pub use actix_web::web;
    src/realtime/bus/nats.rs:1 | use crate::{id::{Id}, chat as feature};
    src/db/sqlite.rs:2 | fn f() {⏎    crate::http::problem::f()⏎}
    src/chat/mod.rs:1 | let now = chrono::Utc::now(); // Now.
    src/clock.rs:1 | let id = Uuid::now_v7();
    src/id.rs:1 | let now = SystemTime::now();
    src/chat/routes.rs:2 | ⏎(StatusCode::OK, StatusCode::NOT_FOUND)
    src/chat/routes.rs:1 | HttpResponse::NotFound().finish()
    src/app.rs:1 | static mut COUNT: u8 = 0;
    src/app.rs:2 | fn f() {⏎    static CACHE: std::sync::Mutex<u8> = Mutex::new(0);⏎}
    src/app.rs:1 | pub static CACHE: OnceLock<u8> = OnceLock::new();
    src/app.rs:0 | static NAMES: [&str; 1] = [\"one\"];
    src/app.rs:1 | #[allow(dead_code)]
    src/chat/routes.rs:0 | HttpResponse::Ok().finish() // Not sqlx::query.
    src/chat/mod.rs:0 | mod store;⏎use crate::realtime::hub;
    src/realtime/log.rs:0 | use crate::{chatter::Hub, clock};
    src/app.rs:0 | pub const URL: &str = \"sqlite://x\";⏎#[cfg(test)]⏎mod tests {⏎    use Utc::now;⏎}
    src/clock.rs:0 | Utc::now()";

#[test]
fn the_rules_see_what_is_forbidden_and_nothing_else() {
    let rules = [time_and_ids, failure_statuses, global_state, leftovers, sizes];
    let violations = |path: &str, text: &str| {
        let layering = layering(&["chat".to_owned()], path, text);
        rules.iter().flat_map(|rule| rule(path, text)).chain(layering).collect::<Vec<String>>()
    };
    for (place, text) in SNIPPETS.lines().filter_map(|line| line.trim().split_once(" | ")) {
        let found = violations(place.split(':').next().unwrap_or(place), &text.replace('⏎', "\n"));
        assert_eq!(found.len(), usize::from(!place.ends_with(":0")), "{place} | {text}: {found:?}");
        assert!(found.iter().all(|violation| violation.starts_with(&format!("{place}: "))), "{found:?}");
    }
    let function = |lines: usize| format!("fn f(\n) {{\n{}}}\n", "    g();\n".repeat(lines - 3));
    assert_eq!(violations("src/app.rs", &function(61)), ["src/app.rs:1: the function has 61 lines"]);
    assert_eq!(violations("src/app.rs", &"\n".repeat(301)), ["src/app.rs:301: the file has 301 lines"]);
    assert!(violations("src/app.rs", &format!("{}{}", function(60), "\n".repeat(240))).is_empty());
}
