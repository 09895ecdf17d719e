//! What a delivery costs, beside a loop over bare sockets: `cargo bench --bench fanout -- --help`.

mod aside;
mod bare;
mod crowd;
mod readers;
mod scenarios;
#[path = "../support/mod.rs"]
mod support;
mod target;
mod trials;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use self::support::{Result, report::Report, server::PROGRAM};

/// Measures a release server that it starts for itself. One load client on the same cores reads and publishes; the
/// figures that tell something are those beside the bare loop of the same run.
#[derive(Parser)]
pub struct Arguments {
    /// What to measure; everything when nothing is named
    scenarios: Vec<Scenario>,
    /// Connections in the scenarios that leave it open
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Publishes a second at the fixed rate
    #[arg(long, default_value_t = 8.0)]
    rate: f64,
    /// Seconds measured in each scenario
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How often what is compared with the bare loop is repeated; the medians count
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Also write the figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Another server to measure than the one built along
    #[arg(long, default_value = PROGRAM)]
    server: PathBuf,
    /// Given by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Memory of connections to which nothing is sent
    Idle,
    /// Cost and latency of deliveries at a fixed rate, ephemeral and durable
    Fixed,
    /// Cost of a send, and deliveries a second, with always something to send
    Saturated,
    /// The highest rate of publishes that is kept up with
    Open,
    /// 1,000 topics with 10 readers each
    Topics,
    /// 100 connections on 100 topics each, beside 100 on one
    Many,
    /// 10 readers of one topic, alone and beside idle connections on others
    Beside,
    /// How fast connections are accepted
    Connect,
    /// How fast everyone gets what was missed during a restart
    Resume,
    /// 100 readers that take nothing beside 1,000 healthy ones
    Stalled,
    /// The loop over bare sockets itself, for comparison by hand
    #[value(hide = true)]
    Bare,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let open = rlimit::increase_nofile_limit(u64::MAX)?;
    if arguments.scenarios == [Scenario::Bare] {
        return bare::run();
    }
    let needed = arguments.connections as u64 + 500;
    if open < needed {
        return Err(format!("{needed} open files are needed, and {open} allowed: raise `ulimit -Hn`").into());
    }
    let mut report = Report::default();
    for scenario in Scenario::value_variants() {
        let wanted = arguments.scenarios.is_empty() || arguments.scenarios.contains(scenario);
        if wanted {
            run(*scenario, &arguments, &mut report)?;
        }
    }
    arguments.json.map_or(Ok(()), |path| report.write(&path))
}

fn run(scenario: Scenario, arguments: &Arguments, report: &mut Report) -> Result<()> {
    match scenario {
        Scenario::Idle => scenarios::idle(arguments, report),
        Scenario::Fixed => scenarios::fixed(arguments, report),
        Scenario::Saturated => scenarios::saturated(arguments, report),
        Scenario::Open => scenarios::open(arguments, report),
        Scenario::Topics => trials::topics(arguments, report),
        Scenario::Many => trials::many(arguments, report),
        Scenario::Beside => trials::beside(arguments, report),
        Scenario::Connect => scenarios::connect(arguments, report),
        Scenario::Resume => trials::resume(arguments, report),
        Scenario::Stalled => trials::stalled(arguments, report),
        Scenario::Bare => Ok(()),
    }
}
