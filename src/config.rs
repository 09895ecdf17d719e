//! The settings: every one is a flag `--some-name` and a variable `SNIPPETBOX_SOME_NAME`; the flag wins.

use std::{error::Error as _, ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{CommandFactory as _, Parser, ValueEnum};

const PREFIX: &str = "SNIPPETBOX_";

/// The settings of a server.
#[derive(Debug, Clone, Parser)]
#[command(name = "snippetbox", no_binary_name = true, args_override_self = true, disable_help_flag = true)]
pub struct Settings {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// sqlite://FILE or postgres://USER@HOST/NAME [default: sqlite://DATA_DIR/snippetbox.db]
    #[arg(long, value_parser = database_url)]
    pub database_url: Option<String>,
    /// nats://HOST:PORT (or tls://…, several with commas between) where the nodes of a cluster meet; their database
    /// is PostgreSQL
    #[arg(long, value_parser = nats_url)]
    pub nats_url: Option<String>,
    /// Folder for the embedded database and for files
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,
    /// Connections to the database: readers of SQLite, or the pool of PostgreSQL
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_connections: u32,
    /// s3://BUCKET/PREFIX for archives, with the variables AWS_…, or file:///FOLDER [default: the folder DATA_DIR/files]
    #[arg(long, value_parser = files_url)]
    pub files_url: Option<String>,
    /// How clients reach the server, for links in messages [default: http://LISTEN]
    #[arg(long, value_parser = origin)]
    pub public_url: Option<String>,
    /// Origins (comma-separated) whose pages may call the API with credentials
    #[arg(long, value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<String>,
    /// Worker threads [default: one for each core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Whether public things can be read without credentials
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub public_read: bool,
    /// Whether a proxy in front is trusted to name the client's address (the last entry of X-Forwarded-For), and
    /// scheme and host (X-Forwarded-Proto, X-Forwarded-Host)
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    pub trust_proxy: bool,
    /// Requests a minute for each user or address; 0 for no limit
    #[arg(long, default_value_t = 6_000)]
    pub rate_limit: u32,
    /// Registrations and sign-ins a minute for each address; 0 for no limit
    #[arg(long, default_value_t = 30)]
    pub sign_in_limit: u32,
    /// How long the body of a request may take to arrive
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub body_timeout: Duration,
    /// How long a session lasts
    #[arg(long, default_value = "30d", value_parser = humantime::parse_duration)]
    pub session_ttl: Duration,
    /// How long exports and imports are kept after they have ended
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    pub export_ttl: Duration,
    /// How many bytes an import may have; unpacked, ten times as many
    #[arg(long, default_value_t = 256 << 20)]
    pub import_limit: usize,
    /// How many bytes of snippets an export or import moves in a second; 0 for no limit
    #[arg(long, default_value_t = 32 << 20)]
    pub job_rate: u64,
    /// How many events the history keeps at most
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub history_events: u64,
    /// How long the history keeps an event at most
    #[arg(long, default_value = "7d", value_parser = humantime::parse_duration)]
    pub history_age: Duration,
    /// How many bytes of the newest history are kept in memory
    #[arg(long, default_value_t = 64 << 20)]
    pub history_memory: usize,
    /// Time between two heartbeats of a stream
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub heartbeat: Duration,
    /// How many streams may be open at once; more are told to come back
    #[arg(long, default_value_t = 100_000)]
    pub max_streams: usize,
    /// Whether the sockets of streams are taken over from the HTTP server, which saves its buffers
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub stream_handover: bool,
    /// A stream whose client takes no byte for this long is closed
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub stall_timeout: Duration,
    /// How long somebody whose stream was cut is still there
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub presence_grace: Duration,
    /// With more users than this on a topic, only their number is told
    #[arg(long, default_value_t = 250)]
    pub presence_limit: usize,
    /// Over how long open streams are ended at shutdown
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub drain: Duration,
    /// How long requests that still run after that may take
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub shutdown_timeout: Duration,
    /// How the log is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,snippetbox::access=warn
    #[arg(long, default_value = "info")]
    pub log: String,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that is wrong with the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(Vec<String>);

impl Settings {
    /// Says in the log what is allowed, but hardly meant.
    pub fn warn(&self) {
        if self.nats_url.is_some() && self.files_url.is_none() {
            tracing::warn!(
                "--nats-url without --files-url: unless all nodes share the folder --data-dir, an archive is found at one \
                 of them alone (where they do, --files-url file:///… says so)"
            );
        }
    }

    /// Settings from flags alone, without the program's name.
    ///
    /// # Errors
    /// With every mistake named.
    pub fn from_args<T: Into<String>>(args: impl IntoIterator<Item = T>) -> Result<Self, Mistakes> {
        Self::read(args.into_iter().map(Into::into).collect(), Vec::new())
    }

    /// Settings from flags over variables; variables that do not begin with `SNIPPETBOX_` are not looked at.
    ///
    /// # Errors
    /// With every mistake named: unknown variables, unknown flags and wrong values.
    pub fn read(args: Vec<String>, variables: Vec<(OsString, OsString)>) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut all = Vec::new();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let flag = rest.to_lowercase().replace('_', "-");
            if !Self::flags().any(|known| known == flag) {
                mistakes.push(format!("{name}: there is no such setting"));
                continue;
            }
            let Some(value) = value.to_str() else {
                mistakes.push(format!("{name}: is not text in UTF-8"));
                continue;
            };
            let argument = format!("--{flag}={value}");
            if let Err(mistake) = Self::try_parse_from([&argument]) {
                mistakes.push(format!("{name}: {}", reason(&mistake)));
                continue;
            }
            all.push(argument);
        }
        mistakes.extend(args_one_by_one(&args).into_iter().filter_map(|group| {
            let flag = group[0].split('=').next().unwrap_or_default();
            Self::try_parse_from(&group).err().map(|mistake| format!("{flag}: {}", reason(&mistake)))
        }));
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        all.extend(args);
        let settings = Self::try_parse_from(all).map_err(|mistake| Mistakes(vec![reason(&mistake)]))?;
        if settings.nats_url.is_some() && settings.database_url().starts_with("sqlite:") {
            let rule =
                "--nats-url: the nodes of a cluster share a database: --database-url must be postgres://…";
            return Err(Mistakes(vec![rule.to_owned()]));
        }
        Ok(settings)
    }

    /// Where the data are.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.database_url
            .clone()
            .unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("snippetbox.db").display()))
    }

    /// The page that lists the settings.
    #[must_use]
    pub fn help() -> String {
        Self::command().help_template("{options}").render_long_help().to_string()
    }

    fn flags() -> impl Iterator<Item = String> {
        let flags: Vec<String> =
            Self::command().get_arguments().filter_map(|a| a.get_long().map(str::to_owned)).collect();
        flags.into_iter()
    }
}

/// Splits arguments into groups of a flag and its value, so that each can be judged alone.
fn args_one_by_one(args: &[String]) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for arg in args {
        match groups.last_mut() {
            Some(group) if !arg.starts_with("--") => group.push(arg.clone()),
            _ => groups.push(vec![arg.clone()]),
        }
    }
    groups
}

/// What clap says, on one line and without its advice about usage; of a value that breaks a rule, the rule alone:
/// it may hold a password.
fn reason(mistake: &clap::Error) -> String {
    if let Some(rule) = mistake.source() {
        return rule.to_string();
    }
    let text = mistake.to_string();
    let first = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn database_url(url: &str) -> Result<String, String> {
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    if known { Ok(url.to_owned()) } else { Err("must begin with sqlite: or postgres://".to_owned()) }
}

fn files_url(url: &str) -> Result<String, String> {
    let bucket = url.strip_prefix("s3://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let known = bucket || url.starts_with("file:///");
    if known {
        Ok(url.to_owned())
    } else {
        Err("must be s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER".to_owned())
    }
}

fn nats_url(url: &str) -> Result<String, String> {
    let known = |server: &str| ["nats://", "tls://"].iter().any(|scheme| server.trim().starts_with(scheme));
    if url.split(',').all(known) {
        Ok(url.to_owned())
    } else {
        Err("must begin with nats:// or tls://".to_owned())
    }
}

fn origin(text: &str) -> Result<String, String> {
    let url: actix_web::http::Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    match (url.scheme_str(), url.authority(), url.path()) {
        (Some("http" | "https"), Some(_), "/" | "") if !text.ends_with('/') => Ok(text.to_owned()),
        _ => Err("must be an origin such as https://app.example.com, without a path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Settings;

    #[test]
    fn every_mistake_is_named_at_once() {
        let variables = [("SNIPPETBOX_LISTN", "x"), ("SNIPPETBOX_WORKERS", "0"), ("HOME", "/")];
        let variables = variables.map(|(name, value)| (name.into(), value.into())).to_vec();
        let args = ["--heartbeat", "soon", "--what"].map(str::to_owned).to_vec();
        let mistakes = Settings::read(args, variables).unwrap_err().to_string();
        for part in ["SNIPPETBOX_LISTN", "SNIPPETBOX_WORKERS", "--heartbeat", "--what"] {
            assert!(mistakes.contains(part), "{part} is missing in:\n{mistakes}");
        }
        assert_eq!(mistakes.lines().count(), 4, "{mistakes}");
    }

    #[test]
    fn the_readme_lists_every_setting_as_it_is() {
        let readme = include_str!("../README.md").lines();
        let rows: Vec<String> = readme.filter(|line| line.starts_with("| `--")).map(str::to_owned).collect();
        let command = Settings::command();
        let settings = command.get_arguments().map(|setting| {
            let help = setting.get_help().unwrap().to_string();
            let (meaning, told) = help.split_once(" [default: ").unwrap_or((&help, "–]"));
            let values: Vec<_> = setting.get_default_values().iter().filter_map(|it| it.to_str()).collect();
            let default =
                if values.is_empty() { told.trim_end_matches(']').to_owned() } else { values.join(",") };
            format!("| `--{}` | {default} | {meaning} |", setting.get_long().unwrap())
        });
        assert_eq!(rows, settings.collect::<Vec<_>>());
    }

    #[test]
    fn a_variable_that_is_no_text_is_a_mistake() {
        let value = std::os::unix::ffi::OsStringExt::from_vec(b"\xff".to_vec());
        let mistakes =
            Settings::read(Vec::new(), vec![("SNIPPETBOX_LOG".into(), value)]).unwrap_err().to_string();
        assert!(mistakes.starts_with("SNIPPETBOX_LOG: "), "{mistakes}");
    }

    #[test]
    fn a_bus_without_a_shared_database_is_a_mistake() {
        let read = |args: &[&str]| Settings::from_args(args.iter().copied());
        let bus = "--nats-url=nats://127.0.0.1:4222";
        let mistake = read(&[bus]).unwrap_err().to_string();
        assert!(mistake.starts_with("--nats-url: ") && mistake.contains("postgres://"), "{mistake}");
        assert!(read(&[bus, "--database-url=postgres://a@b/c"]).is_ok());
        assert!(read(&["--nats-url=http://a:secret@b", "--database-url=postgres://a@b/c"]).is_err());
    }

    #[test]
    fn a_flag_wins_over_a_variable() {
        let variables = vec![("SNIPPETBOX_RATE_LIMIT".into(), "5".into())];
        let settings = Settings::read(vec!["--rate-limit=7".to_owned()], variables).unwrap();
        assert_eq!(settings.rate_limit, 7);
    }
}
