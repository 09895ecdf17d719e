//! A NATS server of the test's own, which can go and come back at the same address.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub struct Nats {
    port: u16,
    child: Option<Child>,
}

impl Nats {
    pub fn start() -> Self {
        let mut nats = Self { port: free_port(), child: None };
        nats.restart();
        nats
    }

    /// What its clients are given, to reach it through `port`.
    pub fn url(port: u16) -> String {
        format!("nats://snippetbox:p%40ss%2Fword@127.0.0.1:{port}")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is killed");
            child.wait().expect("it has ended");
        }
    }

    /// Lets it stand still (`STOP`) or go on (`CONT`).
    pub fn send(&self, signal: &str) {
        let child = self.child.as_ref().expect("NATS runs").id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &child]).status();
        assert!(sent.expect("kill runs").success(), "the signal is sent");
    }

    /// Starts it, and returns when it listens.
    pub fn restart(&mut self) {
        self.kill();
        let program = std::env::var("TEST_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        let child = Command::new(&program)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["--user", "snippetbox", "--pass", "p@ss/word"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{program}: {error}")));
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < deadline, "NATS does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A test that fails leaves no server behind.
impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port below the range from which the kernel takes those of outgoing connections, so that it stays free while the
/// server is away. No other test of this process is given the same.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + (std::process::id() * 16 + step) % 10_000).expect("small");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
