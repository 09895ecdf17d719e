//! What is set against the bare loop: memory, the cost of a delivery and of a send, rates.

use std::time::{Duration, Instant};

use super::{
    Arguments,
    aside::Aside,
    crowd::Crowd,
    support::{
        Result,
        histogram::as_f64,
        report::{Report, Row},
    },
    target::{Sends, Target},
};

const TOPIC: &str = "custom:bench";
/// How long a target may settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// What one run came to.
pub struct Run {
    pub deliveries: u64,
    pub lost: u64,
    pub disordered: u64,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub publish_p50_ms: f64,
    /// The target's processor time for a delivery, in microseconds.
    pub cpu_us: f64,
    pub sends: Option<u64>,
    pub reads: u64,
    pub bytes: u64,
    pub published: u32,
}

impl Run {
    fn row(&self, name: String) -> Row {
        let Self { p50_ms, p99_ms, cpu_us, publish_p50_ms, .. } = *self;
        Row::new(name)
            .with("CPU µs/delivery", cpu_us)
            .with("p50 ms", p50_ms)
            .with("p99 ms", p99_ms)
            .with("publish p50 ms", publish_p50_ms)
            .with("publishes/s", f64::from(self.published) / self.seconds)
            .with("deliveries/s", as_f64(self.deliveries) / self.seconds)
            .with("deliveries/send", as_f64(self.deliveries) / as_f64(self.sends.unwrap_or(self.reads)))
            .with("lost", as_f64(self.lost))
            .with("out of order", as_f64(self.disordered))
    }

    fn cpu_per_send(&self) -> f64 {
        self.cpu_us * as_f64(self.deliveries) / as_f64(self.sends.unwrap_or(self.reads))
    }

    fn bytes_per_delivery(&self) -> u64 {
        self.bytes / self.deliveries.max(1)
    }
}

/// How publishes follow each other.
#[derive(Clone, Copy)]
pub enum Pace {
    /// So many a second, whatever comes of them.
    Open(f64),
    /// So many in flight, and never more than this undelivered.
    Closed { in_flight: usize, undelivered: u32 },
}

/// Publishes for the given time and waits for the last delivery. Each topic has as many readers as the others.
pub fn publish(
    crowd: &mut Crowd,
    target: &Target,
    topics: &[String],
    pace: Pace,
    arguments: &Arguments,
) -> Result<Run> {
    let listeners = crowd.readers.iter().filter(|reader| !reader.stalls).count() as u64;
    publish_to(crowd, target, topics, pace, listeners / topics.len() as u64, arguments)
}

/// Like [`publish`], with as many `listeners` to each topic.
pub fn publish_to(
    crowd: &mut Crowd,
    target: &Target,
    topics: &[String],
    pace: Pace,
    listeners: u64,
    arguments: &Arguments,
) -> Result<Run> {
    let sends = Sends::count(&target.process);
    crowd.listen(Duration::from_millis(500))?;
    crowd.reset();
    let (cpu, begun) = (target.process.cpu()?, Instant::now());
    let span = Duration::from_secs_f64(arguments.seconds);
    while begun.elapsed() < span {
        let due = match pace {
            Pace::Open(rate) => begun.elapsed().as_secs_f64() * rate >= f64::from(crowd.published),
            Pace::Closed { in_flight, undelivered } => {
                let out =
                    (u64::from(crowd.published) * listeners).saturating_sub(crowd.heard.latency.total());
                crowd.in_flight() < in_flight && out < u64::from(undelivered) * listeners
            }
        };
        let topic = &topics[crowd.published as usize % topics.len()];
        if !due || !crowd.publish(target, topic, arguments.payload)? {
            crowd.turn(wait(pace, crowd.published, begun))?;
        }
    }
    let expected = u64::from(crowd.published) * listeners;
    crowd.drain(expected)?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = (target.process.cpu()? - cpu).as_secs_f64();
    let heard = &crowd.heard;
    Ok(Run {
        deliveries: heard.latency.total(),
        lost: expected.saturating_sub(heard.latency.total()),
        disordered: heard.disordered,
        seconds,
        p50_ms: heard.latency.quantile_ms(0.5),
        p99_ms: heard.latency.quantile_ms(0.99),
        publish_p50_ms: crowd.publishing.quantile_ms(0.5),
        cpu_us: cpu * 1e6 / as_f64(heard.latency.total().max(1)),
        // One send answered each publish.
        sends: sends.end().map(|sends| sends.saturating_sub(u64::from(crowd.published))),
        reads: heard.reads,
        bytes: heard.bytes,
        published: crowd.published,
    })
}

/// How long there is nothing to publish.
fn wait(pace: Pace, published: u32, begun: Instant) -> Duration {
    const LONGEST: Duration = Duration::from_millis(50);
    match pace {
        Pace::Open(rate) => {
            let due = Duration::from_secs_f64(f64::from(published) / rate);
            due.saturating_sub(begun.elapsed()).min(LONGEST)
        }
        Pace::Closed { .. } => LONGEST,
    }
}

/// A target with its readers and publishers ready.
pub fn gather(target: &Target, connections: usize) -> Result<Crowd> {
    let mut crowd = Crowd::new()?;
    crowd.open(target, connections, false, |_| target.follow(TOPIC, None))?;
    Ok(crowd)
}

pub fn topic() -> Vec<String> {
    vec![TOPIC.to_owned()]
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Memory of connections to which nothing is sent; in the end of some that all came at once, as after a restart.
pub fn idle(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let all = arguments.connections;
    for (connections, opening) in [(1_000, None), (all, None), (all, Some(all))] {
        for target in [Target::server(arguments, false)?, Target::bare(0)?] {
            std::thread::sleep(SETTLE);
            let before = target.process.resident_kib()?;
            let mut crowd = Crowd::new()?;
            crowd.opening = opening.unwrap_or(crowd.opening);
            crowd.open(&target, connections, false, |_| target.follow(TOPIC, None))?;
            crowd.listen(SETTLE)?;
            let after = target.process.resident_kib()?;
            let each = (as_f64(after) - as_f64(before)) / as_f64(connections as u64);
            let how = if opening.is_some() { ", at once" } else { "" };
            let row = Row::new(format!("idle, {connections}{how}, {}", kind(&target)));
            report.add(row.with("KiB/connection", each).with("before MiB", as_f64(before) / 1024.0));
        }
    }
    Ok(())
}

fn kind(target: &Target) -> &'static str {
    if target.name() == "bare loop" { "bare loop" } else { "server" }
}

/// Cost and latency of deliveries at a fixed rate.
pub fn fixed(arguments: &Arguments, report: &mut Report) -> Result<()> {
    for durable in [false, true] {
        let run = |target: &Target| -> Result<Run> {
            let mut crowd = gather(target, arguments.connections)?;
            crowd.heard.in_order = true;
            publish(&mut crowd, target, &topic(), Pace::Open(arguments.rate), arguments)
        };
        let (mut cpu, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds.max(1) {
            let (server, bare) = beside_the_bare_loop(arguments, durable, report, "fixed", run)?;
            cpu.push(server.cpu_us / bare.cpu_us);
            p99.push(server.p99_ms / bare.p99_ms);
        }
        let name = if durable { "durable" } else { "ephemeral" };
        let row = Row::new(format!("fixed, {name} / bare loop, median"));
        report.add(row.with("CPU per delivery ×", median(cpu)).with("p99 ×", median(p99)));
    }
    Ok(())
}

/// Always something to send: 2 publishes in flight, at most 4 undelivered.
const ALWAYS: Pace = Pace::Closed { in_flight: 2, undelivered: 4 };

/// Cost of a send with always something to send, and what a POST takes meanwhile.
pub fn saturated(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let run = |target: &Target| -> Result<Run> {
        let mut crowd = gather(target, arguments.connections)?;
        publish(&mut crowd, target, &topic(), ALWAYS, arguments)
    };
    let mut cpu = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        let (server, bare) = beside_the_bare_loop(arguments, false, report, "saturated", run)?;
        cpu.push(server.cpu_per_send() / bare.cpu_per_send());
        for (name, run) in [("server", server), ("bare loop", bare)] {
            let sends = as_f64(run.sends.unwrap_or(run.reads));
            let row = Row::new(format!("saturated, sends, {name}"));
            let row = row.with("CPU µs/send", run.cpu_per_send()).with("sends/s", sends / run.seconds);
            report.add(row.with("counted by perf", f64::from(u8::from(run.sends.is_some()))));
        }
    }
    report.add(Row::new("saturated, server / bare loop, median").with("CPU per send ×", median(cpu)));
    // A run of its own, because more publishes change how many deliveries join.
    let target = Target::server(arguments, false)?;
    let mut crowd = gather(&target, arguments.connections)?;
    let aside = Aside::start(&target);
    let load = publish(&mut crowd, &target, &topic(), ALWAYS, arguments)?;
    let took = aside.end()?;
    let row = Row::new("saturated, a POST of another client");
    let row = row.with("p50 ms", took.quantile_ms(0.5)).with("p99 ms", took.quantile_ms(0.99));
    report.add(row.with("deliveries/s meanwhile", as_f64(load.deliveries) / load.seconds));
    Ok(())
}

/// Runs the same on the server and then on the bare loop, whose frames are made as long.
fn beside_the_bare_loop(
    arguments: &Arguments,
    durable: bool,
    report: &mut Report,
    name: &str,
    run: impl Fn(&Target) -> Result<Run>,
) -> Result<(Run, Run)> {
    let target = Target::server(arguments, durable)?;
    let server = run(&target)?;
    report.add(server.row(format!("{name}, {}", target.name())));
    drop(target);
    let own = arguments.payload as u64 + 8;
    let padding = usize::try_from(server.bytes_per_delivery().saturating_sub(own))?;
    let target = Target::bare(padding)?;
    let bare = run(&target)?;
    report.add(bare.row(format!("{name}, {}", target.name())));
    Ok((server, bare))
}

/// The highest rate that is kept up with: everything is delivered, 99 % within a second.
pub fn open(arguments: &Arguments, report: &mut Report) -> Result<()> {
    const STEP: f64 = 1.25;
    for target in [Target::server(arguments, false)?, Target::bare(256)?] {
        let mut crowd = gather(&target, arguments.connections)?;
        let (mut rate, mut best) = (arguments.rate, None);
        loop {
            let run = publish(&mut crowd, &target, &topic(), Pace::Open(rate), arguments)?;
            let kept_up = f64::from(run.published) >= rate * arguments.seconds * 0.98;
            if run.lost > 0 || run.p99_ms > 1_000.0 || !kept_up {
                break;
            }
            best = Some(run);
            rate *= STEP;
        }
        let best = best.ok_or("not even the first rate was kept up with")?;
        report.add(best.row(format!("highest open rate, {}", kind(&target))));
    }
    Ok(())
}

/// How fast connections are accepted, up to their first event.
pub fn connect(arguments: &Arguments, report: &mut Report) -> Result<()> {
    for target in [Target::server(arguments, false)?, Target::bare(0)?] {
        let cpu = target.process.cpu()?;
        let mut crowd = Crowd::new()?;
        let took = crowd.open(&target, arguments.connections, false, |_| target.follow(TOPIC, None))?;
        let cpu = (target.process.cpu()? - cpu).as_secs_f64() * 1e6;
        let count = as_f64(arguments.connections as u64);
        let row = Row::new(format!("connect, {}", kind(&target)));
        report.add(row.with("connections/s", count / took.as_secs_f64()).with("CPU µs each", cpu / count));
    }
    Ok(())
}
