//! What the bare loop has no answer to: topics, histories and readers that take nothing.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Arguments,
    crowd::Crowd,
    scenarios::{Pace, Run, publish, publish_to},
    support::{
        Result,
        histogram::as_f64,
        http::{Answer, call},
        report::{Report, Row},
    },
    target::{Kind, Target},
};

fn row(name: &str, run: &Run) -> Row {
    Row::new(name)
        .with("CPU µs/delivery", run.cpu_us)
        .with("p50 ms", run.p50_ms)
        .with("p99 ms", run.p99_ms)
        .with("deliveries/s", as_f64(run.deliveries) / run.seconds)
        .with("lost", as_f64(run.lost))
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("custom:bench{number}")).collect()
}

/// 1,000 topics with 10 readers each, 1,000 publishes a second over all of them.
pub fn topics(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let target = Target::server(arguments, false)?;
    let topics = names(1_000);
    let mut crowd = Crowd::new()?;
    crowd.open(&target, 10_000, false, |place| target.follow(&topics[place % topics.len()], None))?;
    let run = publish(&mut crowd, &target, &topics, Pace::Open(1_000.0), arguments)?;
    report.add(row("1,000 topics × 10 readers", &run));
    Ok(())
}

/// 100 publishes a second to 100 connections, which follow one topic or a hundred.
pub fn many(arguments: &Arguments, report: &mut Report) -> Result<()> {
    for count in [1, 100] {
        let target = Target::server(arguments, false)?;
        let topics = names(count);
        let mut crowd = Crowd::new()?;
        crowd.open(&target, 100, false, |_| target.follow(&topics.join(","), None))?;
        let run = publish_to(&mut crowd, &target, &topics, Pace::Open(100.0), 100, arguments)?;
        report.add(row(&format!("100 connections, {count} topics each"), &run));
    }
    Ok(())
}

/// 200 publishes a second to 10 readers of one topic, alone and beside idle connections on other topics.
pub fn beside(arguments: &Arguments, report: &mut Report) -> Result<()> {
    for idle in [0, arguments.connections] {
        let target = Target::server(arguments, false)?;
        let (mut others, mut crowd) = (Crowd::new()?, Crowd::new()?);
        others.open(&target, idle, false, |place| target.follow(&format!("custom:other{place}"), None))?;
        let topics = names(1);
        crowd.open(&target, 10, false, |_| target.follow(&topics[0], None))?;
        let run = publish(&mut crowd, &target, &topics, Pace::Open(200.0), arguments)?;
        report.add(row(&format!("10 readers beside {idle} idle ones"), &run));
    }
    Ok(())
}

/// Everyone comes back after the server was killed, and has missed 100 durable events.
pub fn resume(arguments: &Arguments, report: &mut Report) -> Result<()> {
    const MISSED: u32 = 100;
    let folder = tempfile::tempdir()?;
    let topic = "custom:bench";
    let target = Target::server_in(arguments, folder.path(), true)?;
    let Kind::Server { authorization, .. } = &target.kind else { return Err("this is no server".into()) };
    let line = format!("POST /v1/topics/{topic}/events");
    let (_, answer) = call(target.address, &line, authorization, r#"{"type":"tick","data":"seen"}"#)?;
    let place = Answer { status: 202, body: answer.as_bytes() }.field("id").ok_or("no id")?.to_owned();
    let mut crowd = Crowd::new()?;
    while crowd.published < MISSED {
        if !crowd.publish(&target, topic, arguments.payload)? {
            crowd.turn(Duration::from_secs(1))?;
        }
    }
    crowd.drain(0)?;
    drop(target); // Killed.
    let target = Target::server_in(arguments, folder.path(), true)?;
    let (cpu, begun) = (target.process.cpu()?, Instant::now());
    let mut crowd = Crowd::new()?;
    let follow = |_| target.follow(topic, Some(&place));
    let opened = crowd.open(&target, arguments.connections, false, follow)?;
    let expected = u64::from(MISSED) * arguments.connections as u64;
    crowd.drain(expected)?;
    let took = begun.elapsed().as_secs_f64();
    let complete = crowd.readers.iter().filter(|reader| reader.heard == MISSED).count();
    let cpu = (target.process.cpu()? - cpu).as_secs_f64() * 1e6;
    report.add(
        Row::new(format!("resume of {}, {MISSED} missed", arguments.connections))
            .with("seconds", took)
            .with("all open after s", opened.as_secs_f64())
            .with("complete", as_f64(complete as u64))
            .with("CPU µs/delivery", cpu / as_f64(expected)),
    );
    Ok(())
}

/// 100 readers that take nothing beside 1,000 healthy ones, 50 durable publishes of 2 KiB a second.
pub fn stalled(arguments: &Arguments, report: &mut Report) -> Result<()> {
    const HEALTHY: usize = 1_000;
    const RATE: f64 = 50.0;
    let (server, scenarios) = (arguments.server.clone(), Vec::new());
    let arguments = &Arguments { payload: 2_048, json: None, server, scenarios, ..*arguments };
    let topics = names(1);
    // What the run itself takes, the history of what was published for instance, is no matter of who stalls.
    let mut usual = 0.0;
    for stalling in [0, 100] {
        let target = Target::server(arguments, true)?;
        let mut crowd = Crowd::new()?;
        crowd.open(&target, HEALTHY, false, |_| target.follow(&topics[0], None))?;
        crowd.open(&target, stalling, true, |_| target.follow(&topics[0], None))?;
        let (memory, kernel) = (target.process.resident_kib()?, kernel_kib()?);
        let watch = Watch::start(target.address, as_f64(stalling as u64));
        let run = publish(&mut crowd, &target, &topics, Pace::Open(RATE), arguments)?;
        let (noticed, after) = watch.end()?;
        let grown = |before: u64, after: u64| as_f64(after) - as_f64(before);
        let user = grown(memory, target.process.resident_kib()?);
        let mut row = row(&format!("{HEALTHY} healthy beside {stalling} stalled"), &run);
        if stalling > 0 {
            row = row
                .with("noticed", noticed)
                .with("after s", after)
                .with("KiB each", (user - usual) / as_f64(stalling as u64))
                .with("kernel KiB each", grown(kernel, kernel_kib()?) / as_f64(stalling as u64));
        }
        usual = user;
        report.add(row);
    }
    Ok(())
}

/// The kernel's memory for TCP, of all processes and both sides.
fn kernel_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).ok_or("no figures of TCP")?;
    let pages: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
    Ok(pages * 4)
}

/// Looks at how many readers the server has found to lag.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(f64, f64)>>,
}

impl Watch {
    fn start(address: SocketAddr, wanted: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watch = move || {
            let begun = Instant::now();
            loop {
                let (_, figures) = call(address, "GET /metrics", "", "")?;
                let lagged = figures.lines().find_map(|line| line.strip_prefix("snippetbox_lagged_total "));
                let lagged: f64 = lagged.map_or(Ok(0.0), str::parse)?;
                if lagged >= wanted || stopped.load(Ordering::Relaxed) {
                    return Ok((lagged, begun.elapsed().as_secs_f64()));
                }
                thread::sleep(Duration::from_millis(100));
            }
        };
        Self { stop, thread: thread::spawn(watch) }
    }

    /// How many there are, and when the last of those that were waited for was found.
    fn end(self) -> Result<(f64, f64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watch has panicked")?
    }
}
