//! The real program, as a process of its own that can be killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::TestApp;

/// The real program on the database and in the folder of a test.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    pub fn start(app: &TestApp, settings: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_snippetbox"))
            .args(["--listen", "127.0.0.1:0", "--log", "error", "--rate-limit", "0", "--sign-in-limit", "0"])
            .args(["--database-url", &app.database_url(), "--data-dir", &app.data_dir()])
            .args(settings)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("a URL").to_owned();
        Self { child, url }
    }

    /// SIGKILL: nothing of the process runs any more.
    pub fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }
}
