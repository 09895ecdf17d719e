//! How fast the REST side is, beside the same SQL in a loop without HTTP: `cargo bench --bench rest -- --help`.

mod limit;
mod load;
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use self::support::{
    Result,
    report::Report,
    server::{PROGRAM, Server},
};

/// Measures a release server that it starts for itself, with one load generator on the same cores.
#[derive(Parser)]
pub struct Arguments {
    /// How many snippets there are; one run for each
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    rows: Vec<u64>,
    /// Seconds measured in each scenario
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Connections, each with one request in flight
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Only these scenarios: start, get, list, search, create, once
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
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

impl Arguments {
    fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn wants(&self, scenario: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == scenario)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::default();
    for rows in &arguments.rows {
        let folder = tempfile::tempdir()?;
        println!("\n{rows} snippets, {} connections:", arguments.connections);
        if arguments.wants("start") {
            report.add(scenarios::first_start(&arguments.server)?);
        }
        let server = Server::start(&arguments.server, folder.path(), &[])?;
        let seeded = scenarios::seed(&server, *rows)?;
        drop(server);
        scenarios::run(&arguments, folder.path(), &seeded, &mut report)?;
    }
    arguments.json.map_or(Ok(()), |path| report.write(&path))
}
