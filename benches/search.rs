//! How fast search is: one client, 32 clients, and what more rows cost.
//!
//! ```sh
//! cargo bench --bench search                                   # 10,000 and 100,000 snippets, SQLite
//! cargo bench --bench search -- 100000                         # other sizes
//! cargo bench --bench search -- --check                        # fails where a goal is missed
//! tests/postgres sh -c 'cargo bench --bench search -- --database-url "$TEST_POSTGRES_URL"'
//! ```
//!
//! The snippets are pieces of 30 lines of the crates in the local cargo registry. The client is as small as can be, but
//! shares the machine with the server.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use snippetbox::app::Server;
use snippetbox::clock::Clock;
use snippetbox::config::Settings;

const CLIENTS: usize = 32;
const LOAD: Duration = Duration::from_secs(10);
const QUERIES: usize = 400;
/// How long the slowest hundredth of the searches of one client may take, in milliseconds.
const SLOWEST_MS: f64 = 10.0;
/// How many searches of all clients must be answered in a second.
const RATE: f64 = 1_000.0;
/// By how much more than the logarithm of the rows a search for a selective word may grow.
const GROWTH: f64 = 1.25;

/// What a size has cost.
struct Figures {
    size: usize,
    /// The slowest hundredth of one client, in milliseconds.
    p99: f64,
    rate: f64,
    /// The median of the searches for a selective word, in milliseconds.
    selective: f64,
}

fn main() -> ExitCode {
    let (database, sizes, check) = arguments();
    let pieces = pieces(sizes.iter().copied().max().unwrap_or(0));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (tell, told) = std::sync::mpsc::channel();
    let data_dir = folder.path().to_owned();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let server = Server::start(settings(&data_dir, database), Clock::system()).await;
            tell.send(server.expect("the server starts").address()).expect("the bench waits");
            std::future::pending::<()>().await;
        });
    });
    let address = told.recv().expect("the server starts");
    let token = Client::open(address).sign_up();
    let (mut written, mut figures) = (0, Vec::new());
    for size in sizes {
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        write(address, &token, &pieces[written..size.min(pieces.len())]);
        let (count, took) = (size.min(pieces.len()) - written, begun.elapsed().as_secs_f64());
        written = size.min(pieces.len());
        let cpu = (cpu_seconds() - cpu) * 1e3 / ratio(count, 1.0);
        println!(
            "\n{written} snippets ({count} written by {CLIENTS} clients at {:.0}/s, {cpu:.2} ms of CPU each)",
            ratio(count, took)
        );
        figures.push(measure(address, &pieces[..written]));
    }
    let missed = missed(&figures);
    for missed in &missed {
        println!("MISSED: {missed}");
    }
    if check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The goals that were not reached.
fn missed(figures: &[Figures]) -> Vec<String> {
    let mut missed = Vec::new();
    let (Some(first), Some(last)) = (figures.first(), figures.last()) else { return missed };
    if last.p99 > SLOWEST_MS {
        missed.push(format!("p99 of one client is {SLOWEST_MS} ms at most, and was {:.2}", last.p99));
    }
    if last.rate < RATE {
        missed.push(format!("{RATE} searches a second are answered, and {:.0} were", last.rate));
    }
    let logarithm = |figures: &Figures| ratio(figures.size, 1.0).ln();
    let (growth, most) = (last.selective / first.selective, logarithm(last) / logarithm(first) * GROWTH);
    if growth > most {
        missed.push(format!("a selective word costs {most:.2} times as much at most, and did {growth:.2}"));
    }
    missed
}

fn arguments() -> (Option<String>, Vec<usize>, bool) {
    let (mut database, mut check) = (None, false);
    let mut sizes = Vec::new();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--database-url" => database = arguments.next(),
            "--check" => check = true,
            size => sizes.push(size.parse().expect("a number of snippets")),
        }
    }
    if sizes.is_empty() {
        sizes.extend([10_000, 100_000]);
    }
    (database, sizes, check)
}

fn settings(data_dir: &Path, database: Option<String>) -> Settings {
    let folder = data_dir.to_str().expect("the name of a temporary folder is text");
    let mut flags: Vec<String> =
        ["--listen", "127.0.0.1:0", "--data-dir", folder, "--rate-limit", "0"].map(str::to_owned).to_vec();
    flags.extend(database.into_iter().flat_map(|url| ["--database-url".to_owned(), url]));
    Settings::from_args(flags).expect("the settings")
}

/// A title and a content.
type Piece = (String, String);

/// Pieces of real source files, always the same ones in the same order.
fn pieces(count: usize) -> Vec<Piece> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let root = home.expect("a home").join("registry/src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut numbers = Numbers(7);
    for at in (1..files.len()).rev() {
        files.swap(at, numbers.below(at + 1));
    }
    let mut pieces = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let name: Vec<_> = file.strip_prefix(&root).into_iter().flat_map(Path::components).skip(1).collect();
        let name = name.iter().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        let lines: Vec<&str> = text.lines().collect();
        for (number, piece) in lines.chunks(30).enumerate() {
            let content = piece.join("\n");
            if (200..20_000).contains(&content.len()) {
                let title: String = format!("{name} {number}").chars().take(200).collect();
                pieces.push((title, content));
            }
            if pieces.len() == count {
                return pieces;
            }
        }
    }
    println!("the local registry has sources for {} snippets only", pieces.len());
    pieces
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}

fn write(address: SocketAddr, token: &str, pieces: &[Piece]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::open(address);
                while let Some((title, content)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let snippet = json!({ "title": title, "content": content, "language": "rust" });
                    let (status, answer) = client.post("/v1/snippets", token, &snippet);
                    assert_eq!(status, 201, "{answer}");
                }
            });
        }
    });
}

fn measure(address: SocketAddr, pieces: &[Piece]) -> Figures {
    let kinds = queries(pieces);
    println!(
        "  {:<38} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "one client", "p50 ms", "p95 ms", "p99 ms", "max ms", "hits"
    );
    let mut client = Client::open(address);
    let (mut every, mut selective) = (Vec::new(), None);
    for (kind, queries) in &kinds {
        let (mut spans, mut hits) = (Vec::new(), 0);
        for query in queries {
            let begun = Instant::now();
            let (status, answer) = client.get(query);
            spans.push(begun.elapsed());
            assert_eq!(status, 200, "{answer}");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            hits += answer["data"].as_array().map_or(0, Vec::len);
        }
        print_row(kind, &mut spans, &format!("{:6.1}", ratio(hits, ratio(queries.len(), 1.0))));
        selective.get_or_insert(at(&spans, 500)); // Those come first.
        every.append(&mut spans);
    }
    print_row("all of them", &mut every, "");
    let queries: Vec<&String> = kinds.iter().flat_map(|(_, queries)| queries).collect();
    let cpu = cpu_seconds();
    let (mut spans, took) = load(address, &queries);
    let cpu = (cpu_seconds() - cpu) * 1e3 / ratio(spans.len(), 1.0);
    let rate = ratio(spans.len(), took.as_secs_f64());
    let more = format!("{rate:.0} queries/s, {cpu:.2} ms of CPU each");
    print_row(&format!("{CLIENTS} clients, all of them"), &mut spans, &more);
    Figures { size: pieces.len(), p99: at(&every, 990), rate, selective: selective.unwrap_or_default() }
}

/// What so many in a thousand took at most, in milliseconds, of spans in their order.
fn at(spans: &[Duration], share: usize) -> f64 {
    spans[(spans.len() * share / 1000).min(spans.len() - 1)].as_secs_f64() * 1e3
}

fn print_row(name: &str, spans: &mut [Duration], more: &str) {
    spans.sort_unstable();
    let at = |share| at(spans, share);
    println!("  {name:<38} {:8.2} {:8.2} {:8.2} {:8.2} {more}", at(500), at(950), at(990), at(1000));
}

fn load(address: SocketAddr, queries: &[&String]) -> (Vec<Duration>, Duration) {
    let begun = Instant::now();
    let spans = std::thread::scope(|scope| {
        let client = |number: usize| {
            let (mut client, mut numbers) = (Client::open(address), Numbers(number as u64));
            let mut spans = Vec::new();
            while begun.elapsed() < LOAD {
                let sent = Instant::now();
                let (status, answer) = client.get(queries[numbers.below(queries.len())]);
                assert_eq!(status, 200, "{answer}");
                spans.push(sent.elapsed());
            }
            spans
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    (spans, begun.elapsed())
}

/// How much CPU this process has used, clients and server together; says more than the clock on a busy machine.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn ratio(count: usize, by: f64) -> f64 {
    f64::from(u32::try_from(count).expect("a small number")) / by
}

/// What people type, by kind: all of it taken from the snippets.
fn queries(pieces: &[Piece]) -> Vec<(&'static str, Vec<String>)> {
    let mut numbers = Numbers(11);
    let mut frequency: HashMap<String, usize> = HashMap::new();
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() > 4);
        words.map(str::to_lowercase).collect()
    };
    for (_, content) in pieces {
        let distinct: std::collections::HashSet<String> = words(content).into_iter().collect();
        for word in distinct {
            *frequency.entry(word).or_default() += 1;
        }
    }
    let mut of = |make: &mut dyn FnMut(&Piece, &mut Numbers) -> Option<String>| -> Vec<String> {
        let mut made = Vec::new();
        while made.len() < QUERIES {
            let piece = &pieces[numbers.below(pieces.len())];
            made.extend(make(piece, &mut numbers));
        }
        made
    };
    // The same in any number of snippets.
    let selective =
        |piece: &Piece| words(&piece.1).into_iter().find(|word| (1..=20).contains(&frequency[word]));
    let any = |piece: &Piece, numbers: &mut Numbers| {
        let words = words(&piece.1);
        (!words.is_empty()).then(|| words[numbers.below(words.len())].clone())
    };
    vec![
        ("a selective word (in 20 at most)", of(&mut |piece, _| selective(piece))),
        ("any word", of(&mut any.clone())),
        (
            "a beginning of 2 to 6 letters",
            of(&mut |piece, numbers| {
                let word = any(piece, numbers)?;
                Some(word[..word.len().min(2 + numbers.below(5))].to_owned())
            }),
        ),
        (
            "two words, the last one begun",
            of(&mut |piece, numbers| {
                let last = any(piece, numbers)?;
                Some(format!("{} {}", any(piece, numbers)?, &last[..4]))
            }),
        ),
        (
            "a piece of code",
            of(&mut |piece, numbers| {
                let lines: Vec<&str> = piece
                    .1
                    .lines()
                    .map(str::trim)
                    .filter(|line| line.is_ascii() && line.len() > 20)
                    .collect();
                let line = lines.get(numbers.below(lines.len().max(1)))?;
                let start = numbers.below(line.len() - 15);
                Some(line[start..start + 10 + numbers.below(6)].to_owned())
            }),
        ),
        (
            "a word with a typo",
            of(&mut |piece, numbers| {
                let mut word = any(piece, numbers).filter(|word| word.len() > 5)?;
                word.remove(1 + numbers.below(word.len() - 2));
                Some(word)
            }),
        ),
        (
            "a word of nearly all",
            of(&mut |_, numbers| {
                Some(
                    [
                        "self",
                        "return",
                        "fn",
                        "let",
                        "fn self",
                        "impl fn",
                        "pub fn",
                        "the",
                        "fn main(",
                        "use std::",
                    ][numbers.below(10)]
                    .to_owned(),
                )
            }),
        ),
    ]
    .into_iter()
    .map(|(kind, queries)| (kind, queries.iter().map(|query| path(query)).collect()))
    .collect()
}

fn path(query: &str) -> String {
    let encoded: Vec<String> = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/v1/search?q={}", encoded.concat())
}

/// An HTTP client with one connection.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self { stream: BufReader::new(stream) }
    }

    fn sign_up(&mut self) -> String {
        let user = json!({ "email": "ann@example.org", "name": "Ann", "password": "correct horse battery" });
        let (status, answer) = self.post("/v1/users", "", &user);
        assert_eq!(status, 201, "{answer}");
        let session = json!({ "email": user["email"], "password": user["password"] });
        let (status, answer) = self.post("/v1/sessions", "", &session);
        assert_eq!(status, 201, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["token"].as_str().expect("a token").to_owned()
    }

    fn get(&mut self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn post(&mut self, path: &str, token: &str, body: &Value) -> (u16, String) {
        let body = body.to_string();
        let credential =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{credential}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        ))
    }

    fn send(&mut self, request: &str) -> (u16, String) {
        self.stream.get_mut().write_all(request.as_bytes()).expect("the request is sent");
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a line of the head");
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some((_, value)) =
                line.split_once(": ").filter(|(name, _)| *name == "content-length")
            {
                length = value.trim().parse().expect("a length");
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the body");
        (status, String::from_utf8(body).expect("UTF-8"))
    }
}
