//! What is measured through HTTP.

use std::{
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Arguments, limit,
    load::{Outcome, Until, drive},
    support::{
        Result,
        histogram::as_f64,
        http::{Answer, call, sign_up, write_request},
        report::{Report, Row},
        server::Server,
    },
};

/// How often a start is measured.
const STARTS: usize = 10;
/// After this long without requests, a server is idle.
const IDLE: Duration = Duration::from_secs(2);

/// The snippets of a database, and the header of their owner.
pub struct Seeded {
    pub authorization: String,
    pub ids: Vec<String>,
}

/// Fills a database through the API.
pub fn seed(server: &Server, rows: u64) -> Result<Seeded> {
    let authorization = sign_up(server.address)?;
    let (mut number, mut ids) = (0, Vec::new());
    let request = |out: &mut Vec<u8>| {
        number += 1;
        write_request(out, "POST /v1/snippets", &authorization, &snippet(number));
    };
    let outcome = drive(server.address, 64, Until::Count(rows), request, |answer| {
        ids.extend(answer.field("id").map(str::to_owned));
    })?;
    let rate = as_f64(rows) / outcome.seconds;
    println!("  seeded through the API at {rate:.0} snippets/s");
    if outcome.failures > 0 { Err("seeding failed".into()) } else { Ok(Seeded { authorization, ids }) }
}

/// A snippet of some 500 bytes, with two tags.
fn snippet(number: u64) -> String {
    const LANGUAGES: [&str; 8] = ["rust", "go", "python", "sql", "typescript", "c", "elixir", "bash"];
    let language = LANGUAGES[usize::try_from(number % 8).unwrap_or(0)];
    let line = format!("let value_{number} = compute(input[{}], \\\"{language}\\\");\\n", number % 97);
    let (content, tag) = (line.repeat(10), number % 50);
    format!(
        r#"{{"title":"Snippet {number} in {language}","content":"{content}","language":"{language}","tags":["bench","tag-{tag}"]}}"#
    )
}

/// The time from the start of the process to the first answer, in a folder without a database.
pub fn first_start(program: &Path) -> Result<Row> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let folder = tempfile::tempdir()?;
        times.push(start(program, folder.path())?.1);
    }
    Ok(Row::new("first start").with("ms", median_ms(times)))
}

fn start(program: &Path, folder: &Path) -> Result<(Server, Duration)> {
    let begun = Instant::now();
    let server = Server::start(program, folder, &[])?;
    let (status, _) = call(server.address, "GET /v1/snippets", "", "")?;
    let took = begun.elapsed();
    if status == 200 { Ok((server, took)) } else { Err(format!("the first answer is {status}").into()) }
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Every scenario that is wanted, on the database in `folder`.
pub fn run(arguments: &Arguments, folder: &Path, seeded: &Seeded, report: &mut Report) -> Result<()> {
    if arguments.wants("start") {
        let times: Result<Vec<_>> = (0..STARTS).map(|_| Ok(start(&arguments.server, folder)?.1)).collect();
        report.add(Row::new("start").with("ms", median_ms(times?)));
    }
    let (server, _) = start(&arguments.server, folder)?;
    std::thread::sleep(IDLE);
    report.add(Row::new("idle").with("MiB", as_f64(server.process.resident_kib()?) / 1024.0));
    let mut random = Random(42);
    let ids = &seeded.ids;
    let load = Load { arguments, server: &server, folder, seeded };
    if arguments.wants("get") {
        let get = |out: &mut Vec<u8>| {
            let _ = write!(out, "GET /v1/snippets/{} HTTP/1.1\r\nHost: b\r\n\r\n", random.one_of(ids));
        };
        report.add(load.reading("get one", get, limit::get)?);
    }
    if arguments.wants("list") {
        let list = |out: &mut Vec<u8>| out.extend_from_slice(b"GET /v1/snippets HTTP/1.1\r\nHost: b\r\n\r\n");
        report.add(load.reading("list of 20", list, limit::list)?);
    }
    let (_, document) = call(server.address, "GET /openapi.json", "", "")?;
    if arguments.wants("search") && document.contains("\"/v1/search\"") {
        let search = |out: &mut Vec<u8>| {
            let word = random.next() % (ids.len() as u64);
            let _ = write!(out, "GET /v1/search?q=value_{word} HTTP/1.1\r\nHost: b\r\n\r\n");
        };
        report.add(load.measure("search", search)?.0);
    }
    if arguments.wants("create") {
        report.add(load.creating("create", false)?);
    }
    if arguments.wants("once") {
        report.add(load.creating("create with idempotency key", true)?);
    }
    Ok(())
}

struct Load<'a> {
    arguments: &'a Arguments,
    server: &'a Server,
    folder: &'a Path,
    seeded: &'a Seeded,
}

impl Load<'_> {
    fn measure(&self, name: &str, request: impl FnMut(&mut Vec<u8>)) -> Result<(Row, f64)> {
        let (address, connections) = (self.server.address, self.arguments.connections);
        let before = self.server.process.cpu()?;
        let ignore = |_: &Answer<'_>| {};
        let until = Until::Measured(self.arguments.span());
        let outcome: Outcome = drive(address, connections, until, request, ignore)?;
        // The processor time holds the warm-up too, so it is set against the time and not against the requests.
        let cores = (self.server.process.cpu()? - before).as_secs_f64() / (self.arguments.seconds * 1.2);
        if outcome.failures > 0 {
            return Err(format!("{name}: {} requests failed", outcome.failures).into());
        }
        let rate = as_f64(outcome.latency.total()) / outcome.seconds;
        let row = Row::new(name)
            .with("requests/s", rate)
            .with("p50 ms", outcome.latency.quantile_ms(0.5))
            .with("p99 ms", outcome.latency.quantile_ms(0.99))
            .with("server CPU µs", cores / rate * 1e6);
        Ok((row, rate))
    }

    fn reading(
        &self,
        name: &str,
        request: impl FnMut(&mut Vec<u8>),
        limit: fn(&Path, &[String], Duration) -> Result<f64>,
    ) -> Result<Row> {
        let (row, rate) = self.measure(name, request)?;
        let limit = limit(self.folder, &self.seeded.ids, self.arguments.span())?;
        Ok(row.with("SQL alone/s", limit).with("share of it", rate / limit))
    }

    /// Creates snippets; with `once`, each under an idempotency key of its own.
    fn creating(&self, name: &str, once: bool) -> Result<Row> {
        let (mut number, run) = (0, std::process::id());
        let request = |out: &mut Vec<u8>| {
            number += 1;
            let key = if once { format!("Idempotency-Key: {run}-{number}\r\n") } else { String::new() };
            let headers = format!("{}{key}", self.seeded.authorization);
            write_request(out, "POST /v1/snippets", &headers, &snippet(number));
        };
        let before = self.commits()?;
        let (row, rate) = self.measure(name, request)?;
        let after = self.commits()?;
        let (group, span) = (self.arguments.connections, self.arguments.span());
        let limit = limit::create(self.folder, once, group, span)?;
        let alone = limit::create(self.folder, once, 1, span)?;
        Ok(row
            .with("writes per sync", (after.0 - before.0) / (after.1 - before.1).max(1.0))
            .with("SQL alone/s", limit)
            .with("share of it", rate / limit)
            .with("SQL alone, a sync each/s", alone))
    }

    /// How many writes the server has committed, and in how many transactions.
    fn commits(&self) -> Result<(f64, f64)> {
        let (_, figures) = call(self.server.address, "GET /metrics", "", "")?;
        let figure = |name: &str| {
            let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map_or(Ok(0.0), str::parse)
        };
        Ok((figure("snippetbox_writes_total")?, figure("snippetbox_commits_total")?))
    }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_of<'a>(&mut self, ids: &'a [String]) -> &'a str {
        let index = usize::try_from(self.next() % ids.len().max(1) as u64).unwrap_or(0);
        ids.get(index).map_or("", String::as_str)
    }
}
