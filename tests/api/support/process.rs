//! The real program as a process of its own, for what can only be seen from outside: signals, exit codes, crashes.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running server.
pub struct Process {
    child: Child,
    pub url: String,
    /// What it said when it began to listen.
    pub greeting: String,
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snippetbox"));
    command.args(arguments).stdin(Stdio::null());
    command
}

impl Process {
    /// What other settings may change.
    const USUAL: [&str; 6] = ["--listen", "127.0.0.1:0", "--rate-limit", "0", "--sign-in-limit", "0"];

    /// Starts a server on a free port, and returns when it says that it listens.
    pub fn start(database_url: &str) -> Self {
        Self::start_with(database_url, &[])
    }

    /// The same with more settings.
    pub fn start_with(database_url: &str, settings: &[&str]) -> Self {
        let mut command = program(&Self::USUAL);
        command.args(["--log", "error"]).args(settings);
        Self::spawn(command, database_url)
    }

    /// The same with everything that is usually logged, into a file.
    pub fn start_logging(database_url: &str, log: File) -> Self {
        let mut command = program(&Self::USUAL);
        command.stderr(log);
        Self::spawn(command, database_url)
    }

    fn spawn(mut command: Command, database_url: &str) -> Self {
        let mut child = command
            // Where no test chooses one: not the folder in which the tests run.
            .env("SNIPPETBOX_DATA_DIR", env!("CARGO_TARGET_TMPDIR"))
            .args(["--database-url", database_url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut greeting = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        while !greeting.contains("/docs/") {
            let read = output.read_line(&mut greeting).expect("text");
            assert!(read > 0, "it ended before it said where it listens: {greeting}");
        }
        let url = greeting.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.expect("a URL").to_owned();
        Self { child, url, greeting }
    }

    /// The memory that the process has in use, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the state of the process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("kilobytes") * 1024
    }

    /// SIGKILL: nothing of the process runs any more.
    pub fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }

    /// Sends a signal by its name.
    pub fn send(&self, signal: &str) {
        // Of the shell, which is everywhere; the program of this name is not.
        let kill = format!("kill -s {signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("the shell runs").success(), "the signal is sent");
    }

    /// Sends a signal by its name, and tells how the process ended and after how long.
    pub fn end_by(mut self, signal: &str) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.send(signal);
        (self.child.wait().expect("it has ended"), begun.elapsed())
    }
}

/// A test that fails leaves no server behind.
impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the program with a mistake in its settings: its exit code, and what it said on standard error.
pub fn run_to_its_end(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut child = program(arguments)
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut said = String::new();
    child.stderr.take().expect("its errors").read_to_string(&mut said).expect("text");
    (child.wait().expect("it has ended").code(), said)
}
