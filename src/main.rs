//! The commands: `serve` (the default), `openapi`, `migrate`, `backup`, `restore`, `new-epoch`, `role`.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use snippetbox::{
    accounts::{self, Email, Role},
    app::Server,
    clock::Clock,
    config::{LogFormat, Settings},
    db::{self, Db},
    http::openapi,
    id::Ids,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const USAGE: &str = "\
Usage: snippetbox [COMMAND] [SETTINGS]

Commands:
  serve                    Serve (the default)
  openapi                  Print the OpenAPI document
  migrate                  Bring the database's schema up to date, and end
  backup FILE              Copy the embedded database to a new file, while the server runs
  restore FILE [--force]   Put such a copy in the place of the database (--force: of one that exists)
  new-epoch                After a restore by other means (pg_restore, a copied folder): tell clients to start anew
  role EMAIL admin|member  Make somebody an administrator, or one no more, while the server runs

Settings (each also as a variable: --rate-limit is SNIPPETBOX_RATE_LIMIT):
";

/// What a mistake of the person who starts the program ends with.
const MISTAKE: u8 = 2;

enum Command {
    Serve,
    OpenApi,
    Migrate,
    Backup(PathBuf),
    Restore { file: PathBuf, force: bool },
    NewEpoch,
    Role { email: String, role: Role },
}

impl Command {
    /// Takes the command and what belongs to it off the arguments; what is left are settings.
    fn take(args: &mut Vec<String>) -> Result<Self, String> {
        let Some(name) = take_word(args) else { return Ok(Self::Serve) };
        let mut word = |what| take_word(args).ok_or(format!("{name}: which {what}? Try --help"));
        match name.as_str() {
            "serve" => Ok(Self::Serve),
            "openapi" => Ok(Self::OpenApi),
            "migrate" => Ok(Self::Migrate),
            "backup" => Ok(Self::Backup(word("FILE")?.into())),
            "restore" => {
                let file = word("FILE")?.into();
                let before = args.len();
                args.retain(|arg| arg != "--force");
                Ok(Self::Restore { file, force: args.len() < before })
            }
            "new-epoch" => Ok(Self::NewEpoch),
            "role" => {
                let email = word("EMAIL")?;
                match word("role, admin or member")?.as_str() {
                    "admin" => Ok(Self::Role { email, role: Role::Admin }),
                    "member" => Ok(Self::Role { email, role: Role::Member }),
                    other => Err(format!("there is no role `{other}`, only admin and member")),
                }
            }
            other => Err(format!("there is no command `{other}`; try --help")),
        }
    }
}

/// The first argument, when it is no flag.
fn take_word(args: &mut Vec<String>) -> Option<String> {
    let is_word = args.first().is_some_and(|arg| !arg.starts_with('-'));
    is_word.then(|| args.remove(0))
}

fn main() -> ExitCode {
    let args: Result<Vec<String>, _> =
        std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    let Ok(args) = args else {
        eprintln!("snippetbox: the arguments are not text in UTF-8");
        return ExitCode::from(MISTAKE);
    };
    let help = args.first().is_some_and(|word| word == "help");
    if help || args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{USAGE}{}", Settings::help());
        return ExitCode::SUCCESS;
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("snippetbox: {message}");
            ExitCode::from(MISTAKE)
        }
    }
}

fn run(mut args: Vec<String>) -> Result<(), String> {
    let command = Command::take(&mut args)?;
    let settings =
        Settings::read(args, std::env::vars_os().collect()).map_err(|mistakes| mistakes.to_string())?;
    start_logging(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let done = match command {
        Command::Serve => runtime.block_on(serve(settings)),
        Command::OpenApi => print_document(),
        Command::Migrate => runtime.block_on(migrate(settings)),
        Command::Backup(file) => runtime.block_on(backup(&settings, &file)),
        Command::Restore { file, force } => runtime.block_on(restore(&settings, &file, force)),
        Command::NewEpoch => runtime.block_on(new_epoch(&settings)),
        Command::Role { email, role } => runtime.block_on(set_role(&settings, &email, role)),
    };
    runtime.shutdown_background(); // A thread that still computes something for a request does not hold up the end.
    done
}

fn start_logging(settings: &Settings) -> Result<(), String> {
    // The HTTP server takes each socket that is handed over for a body that failed, and would say so.
    // The client of the bus complains at each try to connect; that the bus is away is said once.
    let quiet = "actix_http::h1::dispatcher=off,async_nats::connector=off";
    let filter = format!("{quiet},{}", settings.log);
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal()); // Colours are for eyes, not for files.
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn print_document() -> Result<(), String> {
    print!("{}", openapi::text().map_err(|error| error.to_string())?);
    Ok(())
}

async fn migrate(settings: Settings) -> Result<(), String> {
    let url = settings.database_url();
    let db = Db::open(&url, settings.database_connections).await.map_err(|error| error.to_string())?;
    db.close().await;
    println!("the schema is up to date");
    Ok(())
}

async fn backup(settings: &Settings, file: &Path) -> Result<(), String> {
    db::backup(&settings.database_url(), file).await.map_err(|error| error.to_string())?;
    println!("the database is copied to {}", file.display());
    Ok(())
}

async fn restore(settings: &Settings, file: &Path, force: bool) -> Result<(), String> {
    let (url, epoch) = (settings.database_url(), Ids::new(Clock::system()).epoch());
    db::restore(&url, file, force, &epoch).await.map_err(|error| error.to_string())?;
    println!(
        "{} is in its place, as epoch {epoch}: clients that resume are told to start anew",
        file.display()
    );
    Ok(())
}

async fn new_epoch(settings: &Settings) -> Result<(), String> {
    let epoch = Ids::new(Clock::system()).epoch();
    db::renew_epoch(&settings.database_url(), &epoch).await.map_err(|error| error.to_string())?;
    println!("this is epoch {epoch} now: clients that resume are told to start anew");
    Ok(())
}

async fn set_role(settings: &Settings, address: &str, role: Role) -> Result<(), String> {
    let email = Email::try_from(address.to_owned()).map_err(|why| format!("{address}: it {why}"))?;
    let url = settings.database_url();
    let db = Db::open(&url, settings.database_connections).await.map_err(|error| error.to_string())?;
    let done = accounts::set_role(&db, Clock::system().now(), &email, role).await;
    db.close().await;
    done.map_err(|error| format!("{address}: {error}"))?;
    println!("{address} has this role now");
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
