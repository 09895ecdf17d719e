//! What a large export costs: memory of the server, and what other requests notice.
//!
//!     cargo bench --bench export                              # 100,000 snippets of 10 KiB: 1 GiB, about 3 GB of disk
//!     cargo bench --bench export -- --snippets 10000          # less
//!     cargo bench --bench export -- --check                   # fails where a goal is missed
//!     cargo bench --bench export -- --settings "--job-rate 0" # with other settings of the server
//!
//! The real program runs as a process of its own, on SQLite in a temporary folder. Its resident memory is read from
//! `/proc`, so this needs Linux; `unzip` and `python3` check the archive where they are there.

mod data;
mod person;
#[path = "../support/server.rs"]
#[expect(dead_code, reason = "the other benches use the rest")]
mod server;

use std::{
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    person::Person,
    server::{PROGRAM, Server},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

/// How long requests are measured before the export.
const QUIET: Duration = Duration::from_secs(30);
/// The time between two requests that are measured.
const BETWEEN: Duration = Duration::from_millis(10);
/// How often the memory is looked at, in requests.
const LOOKS: usize = 10;
/// By how much the server's memory may grow during an export.
const GROWTH_KIB: u64 = 32 * 1024;
/// How many times as long as before the slowest hundredth of the requests may take meanwhile.
const SLOWDOWN: f64 = 1.2;

fn main() -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let (mut snippets, mut settings, mut check) = (100_000, Vec::new(), false);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        if name == "--check" {
            check = true;
            continue;
        }
        let value = arguments.next().ok_or("every argument has a value")?;
        match name.as_str() {
            "--snippets" => snippets = value.parse()?,
            "--settings" => settings = value.split_whitespace().map(str::to_owned).collect(),
            other => return Err(format!("there is no argument {other}").into()),
        }
    }
    let folder = tempfile::tempdir()?;
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let start = || Server::start(Path::new(PROGRAM), folder.path(), &settings);
    let owner = Person::register(&start()?).await?.id;
    data::fill(&folder.path().join("snippetbox.db"), &owner, snippets).await?;

    let server = start()?;
    let person = Person::sign_in(&server).await?;
    measure(&server, &person, &mut async |asked| Ok(asked < Duration::from_secs(5))).await?; // To warm up.
    let before = measure(&server, &person, &mut async |asked| Ok(asked < QUIET)).await?;
    let begun = Instant::now();
    let export = person.post("/v1/exports", &json!({ "format": "zip" })).await?;
    let path = format!("/v1/exports/{}", export["id"].as_str().ok_or("no id")?);
    let during = measure(&server, &person, &mut async |_| {
        let status = person.get(&path).await?["status"].clone();
        Ok(status == "queued" || status == "running")
    })
    .await?;
    let took = begun.elapsed();
    let export = person.get(&path).await?;
    println!("export: {} after {:.1} s, {} bytes", export["status"], took.as_secs_f64(), export["bytes"]);
    println!("memory: {} KiB before, at most {} KiB during", before.memory, during.memory);
    println!("        grown by {} KiB", during.memory.saturating_sub(before.memory));
    for (name, it) in [("before", &before), ("during", &during)] {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| it.percentile(percent).as_secs_f64() * 1_000.0);
        println!("{name}: {} requests, p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms", it.times.len());
    }
    let archive = folder.path().join("archive.zip");
    download(&person, &export, &archive).await?;
    println!("memory: {} KiB after the download", server.process.resident_kib()?);
    let verified = verify(&archive, &folder.path().join("snippetbox.db"));
    let missed = missed(&before, &during, export["status"] == "completed" && verified);
    for missed in &missed {
        println!("MISSED: {missed}");
    }
    if check && !missed.is_empty() { Err("a goal is missed".into()) } else { Ok(()) }
}

/// The goals that were not reached.
fn missed(before: &Measured, during: &Measured, is_whole: bool) -> Vec<String> {
    let grown = during.memory.saturating_sub(before.memory);
    let slowdown = during.percentile(99).as_secs_f64() / before.percentile(99).as_secs_f64();
    let goals = [
        (is_whole, "the archive is complete, and unzip and python3 read it".to_owned()),
        (grown <= GROWTH_KIB, format!("memory grows by {GROWTH_KIB} KiB at most, and did by {grown}")),
        (slowdown <= SLOWDOWN, format!("p99 is {SLOWDOWN} times that before at most, and was {slowdown:.2}")),
    ];
    goals.into_iter().filter(|goal| !goal.0).map(|goal| goal.1).collect()
}

/// What requests took, and how much memory the server had at most.
struct Measured {
    times: Vec<Duration>,
    memory: u64,
}

impl Measured {
    fn percentile(&self, percent: usize) -> Duration {
        self.times[(self.times.len() - 1) * percent / 100]
    }
}

/// Asks at a steady rate, each from the moment when it was due, for as long as `goes_on`.
async fn measure(
    server: &Server,
    person: &Person,
    goes_on: &mut impl AsyncFnMut(Duration) -> Result<bool, Failure>,
) -> Result<Measured, Failure> {
    let list = person.get("/v1/snippets?limit=20").await?;
    let one = format!("/v1/snippets/{}", list["data"][0]["id"].as_str().ok_or("no snippet")?);
    let begun = Instant::now();
    let mut measured = Measured { times: Vec::new(), memory: server.process.resident_kib()? };
    for number in 0.. {
        let due = begun + BETWEEN * u32::try_from(number)?;
        tokio::time::sleep_until(due.into()).await;
        match number % 10 {
            0 => drop(
                person
                    .post(
                        "/v1/snippets",
                        &json!({ "title": "New", "content": "x", "visibility": "unlisted" }),
                    )
                    .await?,
            ),
            1..5 => drop(person.get("/v1/snippets?limit=20").await?),
            _ => drop(person.get(&one).await?),
        }
        measured.times.push(due.elapsed());
        if number % LOOKS == 0 {
            measured.memory = measured.memory.max(server.process.resident_kib()?);
            if !goes_on(begun.elapsed()).await? {
                break;
            }
        }
    }
    measured.times.sort_unstable();
    Ok(measured)
}

/// Downloads an archive by its link.
async fn download(person: &Person, export: &Value, to: &Path) -> Result<(), Failure> {
    let mut file = std::fs::File::create(to)?;
    let link = export["download_url"].as_str().ok_or("no link")?;
    let mut answer = person.client.get(format!("{}{link}", person.url)).send().await?.error_for_status()?;
    while let Some(piece) = answer.chunk().await? {
        file.write_all(&piece)?;
    }
    Ok(())
}

const PYTHON: &str = "
import json, sqlite3, sys, uuid, zipfile
z, db = zipfile.ZipFile(sys.argv[1]), sqlite3.connect(sys.argv[2])
assert z.testzip() is None
m = json.loads(z.read('manifest.json'))
assert m['count'] == len(m['snippets']) == len(z.namelist()) - 1 == len(set(n.lower() for n in z.namelist())) - 1
for s in m['snippets']:
    row = db.execute('SELECT content FROM snippets WHERE id = ?', (uuid.UUID(s['id']).bytes,)).fetchone()
    assert z.read(s['file']) == row[0].encode(), s
print(m['count'], 'files, each equal to its snippet, byte by byte')";

/// Lets other programs read the archive, and holds every file against the database.
fn verify(archive: &Path, database: &Path) -> bool {
    let unzip = Command::new("unzip").arg("-tqq").arg(archive).status();
    let python = Command::new("python3").args(["-c", PYTHON]).args([archive, database]).status();
    println!("unzip -t: {unzip:?}\npython3 zipfile: {python:?}");
    [unzip, python].into_iter().all(|status| status.is_ok_and(|status| status.success()))
}
