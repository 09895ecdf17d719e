//! What is measured: the server, or the loop over bare sockets.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    Arguments,
    support::{
        Result,
        http::{Answer, call, sign_up, write_request},
        server::{Process, Server},
    },
};

/// A server, or something like one, with what it takes to publish and to listen there.
pub struct Target {
    pub process: Process,
    pub address: SocketAddr,
    pub kind: Kind,
    /// The server's data, which go with it.
    _folder: Option<TempDir>,
}

pub enum Kind {
    Server {
        authorization: String,
        stream_token: String,
        durable: bool,
    },
    /// Its frames are made as long as those of the server, from `event:` to the end of the chunk.
    Bare {
        padding: usize,
    },
}

impl Target {
    pub fn server(arguments: &Arguments, durable: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let target = Self::server_in(arguments, folder.path(), durable)?;
        Ok(Self { _folder: Some(folder), ..target })
    }

    /// A server whose folder stays when it goes.
    pub fn server_in(arguments: &Arguments, folder: &Path, durable: bool) -> Result<Self> {
        let Server { process, address } = Server::start(&arguments.server, folder, &[])?;
        let authorization = sign_up(address)?;
        let (_, answer) = call(address, "POST /v1/stream-tokens", &authorization, "{}")?;
        let answer = Answer { status: 201, body: answer.as_bytes() };
        let stream_token = answer.field("token").ok_or("no stream token")?.to_owned();
        let kind = Kind::Server { authorization, stream_token, durable };
        Ok(Self { process, address, kind, _folder: None })
    }

    pub fn bare(padding: usize) -> Result<Self> {
        let mut process = Process::start(Command::new(std::env::current_exe()?).arg("bare"))?;
        let line = process.line()?;
        let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let address = url.ok_or("the loop has no address")?.parse()?;
        Ok(Self { process, address, kind: Kind::Bare { padding }, _folder: None })
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Server { durable: true, .. } => "durable",
            Kind::Server { durable: false, .. } => "ephemeral",
            Kind::Bare { .. } => "bare loop",
        }
    }

    /// The request that follows topics, from a place on or from now.
    pub fn follow(&self, topics: &str, after: Option<&str>) -> Vec<u8> {
        let mut line = format!("GET /v1/events?topics={topics}");
        if let Kind::Server { stream_token, .. } = &self.kind {
            line.push_str("&access_token=");
            line.push_str(stream_token);
        }
        if let Some(after) = after {
            line.push_str("&since=");
            line.push_str(after);
        }
        let mut request = Vec::new();
        write_request(&mut request, &line, "", "");
        request
    }

    /// The request that publishes a payload on a topic.
    pub fn publish(&self, out: &mut Vec<u8>, topic: &str, payload: &str) {
        match &self.kind {
            Kind::Server { authorization, durable, .. } => {
                let ephemeral = !durable;
                let body = format!(r#"{{"type":"tick","data":"{payload}","ephemeral":{ephemeral}}}"#);
                write_request(out, &format!("POST /v1/topics/{topic}/events"), authorization, &body);
            }
            Kind::Bare { padding } => {
                let body = format!("data: {:.<padding$}{payload}\n\n", "");
                write_request(out, "POST /", "", &body);
            }
        }
    }
}

/// Counts the sends of a process, where the machine has `perf` and leave to use it.
pub struct Sends(Option<Child>);

impl Sends {
    pub fn count(process: &Process) -> Self {
        const CALLS: &str = "syscalls:sys_enter_sendto,syscalls:sys_enter_sendmsg,syscalls:sys_enter_writev";
        let id = process.id.to_string();
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", CALLS, "-p", &id]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok())
    }

    /// How many there were; nothing where they could not be counted.
    pub fn end(self) -> Option<u64> {
        let child = self.0?;
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().ok()?;
        let output = child.wait_with_output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let count = |line: &str| line.split(',').next().and_then(|count| count.parse::<u64>().ok());
        let counts: Vec<u64> = text.lines().filter_map(count).collect();
        (!counts.is_empty()).then(|| counts.iter().sum())
    }
}
