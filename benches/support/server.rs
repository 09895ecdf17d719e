//! The release server as a process of its own, and what the kernel tells about it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use super::Result;

/// The unit of times in `/proc/PID/stat`, which Linux fixes for user space.
const TICK: Duration = Duration::from_millis(10);

/// A process that is measured. It is killed when this is dropped.
pub struct Process {
    pub id: u32,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("the process has no output")?;
        Ok(Self { id: child.id(), child, stdout: BufReader::new(stdout) })
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(format!("the process ended: {:?}", self.child.wait()?).into());
        }
        Ok(line)
    }

    fn about(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.id))?)
    }

    /// The processor time that it has taken so far, the kernel's work for it included.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = self.about("stat")?;
        let (_, rest) = stat.rsplit_once(')').ok_or("the process has no figures")?;
        let ticks: u32 = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u32>().ok()).sum();
        Ok(TICK * ticks)
    }

    /// Its memory that is in use, in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = self.about("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill()); // It may have ended by itself.
        drop(self.child.wait());
    }
}

/// A server that answers.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server on a free port of the loopback address, with its data in `folder` and without limits.
    pub fn start(program: &Path, folder: &Path, more: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder);
        command.args(["--rate-limit", "0", "--sign-in-limit", "0", "--log", "error"]).args(more);
        let mut process = Process::start(&mut command)?;
        let line = process.line()?;
        let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let address = url.ok_or_else(|| format!("no address in {line:?}"))?.parse()?;
        Ok(Self { process, address })
    }
}

/// The server that cargo built along with this bench.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_snippetbox");
