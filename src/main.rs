//! The commands: `serve` (the default), `openapi`, `migrate`.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use snippetbox::{
    app::Server,
    clock::Clock,
    config::{LogFormat, Settings},
    db::Db,
    http::openapi,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const USAGE: &str = "\
Usage: snippetbox [COMMAND] [SETTINGS]

Commands:
  serve      Serve (the default)
  openapi    Print the OpenAPI document
  migrate    Bring the database's schema up to date, and end

Settings (each also as a variable: --rate-limit is SNIPPETBOX_RATE_LIMIT):
";

/// What a mistake of the person who starts the program ends with.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    let args: Result<Vec<String>, _> =
        std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    let Ok(mut args) = args else {
        eprintln!("snippetbox: the arguments are not text in UTF-8");
        return ExitCode::from(MISTAKE);
    };
    let command =
        if args.first().is_some_and(|arg| !arg.starts_with('-')) { args.remove(0) } else { "serve".into() };
    if command == "help" || args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{USAGE}{}", Settings::help());
        return ExitCode::SUCCESS;
    }
    match run(&command, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("snippetbox: {message}");
            ExitCode::from(MISTAKE)
        }
    }
}

fn run(command: &str, args: Vec<String>) -> Result<(), String> {
    if command == "openapi" {
        print!("{}", openapi::text().map_err(|error| error.to_string())?);
        return Ok(());
    }
    let settings =
        Settings::read(args, std::env::vars_os().collect()).map_err(|mistakes| mistakes.to_string())?;
    start_logging(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    match command {
        "serve" => runtime.block_on(serve(settings)),
        "migrate" => runtime.block_on(migrate(settings)),
        other => Err(format!("there is no command `{other}`; try --help")),
    }
}

fn start_logging(settings: &Settings) -> Result<(), String> {
    // The HTTP server takes each socket that is handed over for a body that failed, and would say so.
    let filter = format!("actix_http::h1::dispatcher=off,{}", settings.log);
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal()); // Colours are for eyes, not for files.
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

async fn migrate(settings: Settings) -> Result<(), String> {
    let url = settings.database_url();
    let db = Db::open(&url, settings.database_connections).await.map_err(|error| error.to_string())?;
    db.close().await;
    println!("the schema is up to date");
    Ok(())
}

async fn serve(settings: Settings) -> Result<(), String> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let storage = if settings.database_url().starts_with("sqlite") { "SQLite" } else { "PostgreSQL" };
    let public_url = settings.public_url.clone();
    let server = Server::start(settings, Clock::system()).await.map_err(|error| error.to_string())?;
    let url = public_url.unwrap_or_else(|| format!("http://{}", server.address()));
    greet(&url, storage);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("shutting down");
    server.stop().await;
    Ok(())
}

/// Says where the server listens, and three lines that work as they stand. That nobody reads it is no failure.
fn greet(url: &str, storage: &str) {
    let account = r#"{"email":"ann@example.com","name":"Ann","password":"correct horse"}"#;
    let session = r#"{"email":"ann@example.com","password":"correct horse"}"#;
    let snippet = r#"{"title":"Hello","content":"fn main() {}","language":"rust"}"#;
    let text = format!(
        "Snippetbox listens on {url} and stores in {storage}. Try:

  curl -s {url}/v1/users --json '{account}' --next -s -c cookies.txt {url}/v1/sessions --json '{session}'
  curl -s -b cookies.txt {url}/v1/snippets --json '{snippet}'
  curl -N '{url}/v1/events?topics=snippets&since=earliest'

The documentation is at {url}/docs/
"
    );
    let _ = std::io::stdout().write_all(text.as_bytes());
}
